"""Volumes, ABC/2, sides and counts, against closed forms and against labelling in one piece."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import ndimage

from HemoCAMLib.ct.geometry import SliceGeometry
from HemoCAMLib.mask import ComponentAccumulator
from HemoCAMLib.measure import Measurements, Measurer, MidlinePlane
from HemoCAMLib.subtypes import ANY, SUBTYPES

MIDDLE = MidlinePlane(np.array([1.0, 0.0, 0.0]), 0.0)

volumes = hnp.arrays(
    np.uint8,
    hnp.array_shapes(min_dims=3, max_dims=3, min_side=1, max_side=6),
    elements=st.sampled_from([0, 0, 0, 1, 2, 5]),
)


def stack(
    offsets_mm: np.ndarray, shape: tuple[int, int], spacing_mm: tuple[float, float] = (0.5, 0.5), tilt_deg: float = 0
) -> SliceGeometry:
    """Slices around the origin; with a tilt the table moves along the body, so that the stack is sheared."""
    tilt = np.radians(tilt_deg)
    column_direction = np.array([0, np.cos(tilt), np.sin(tilt)])
    positions = np.outer(offsets_mm / np.cos(tilt), [0, 0, 1.0])
    positions = positions - np.array([(shape[1] - 1) / 2 * spacing_mm[1], 0, 0])
    positions = positions - (shape[0] - 1) / 2 * spacing_mm[0] * column_direction
    return SliceGeometry(positions, np.eye(3)[0], column_direction, spacing_mm)


def points_mm(geometry: SliceGeometry, shape: tuple[int, int]) -> np.ndarray:
    row, column = np.mgrid[: shape[0], : shape[1]]
    row_mm, column_mm = geometry.pixel_spacing_mm
    in_plane = row[..., None] * row_mm * geometry.column_direction + column[..., None] * column_mm * np.eye(3)[0]
    return geometry.positions_mm[:, None, None] + in_plane


def measure(labels: np.ndarray, geometry: SliceGeometry, midline: MidlinePlane | None = MIDDLE) -> Measurements:
    measurer = Measurer(geometry, midline)
    for index, slice_labels in enumerate(labels):
        measurer.add(index, slice_labels)
    return measurer.finish()


def ellipsoid(geometry: SliceGeometry, shape: tuple[int, int], centre: tuple[float, ...], axes_mm: tuple[float, ...]):  # type: ignore[no-untyped-def]
    return (((points_mm(geometry, shape) - centre) / axes_mm) ** 2).sum(axis=-1) <= 1


@pytest.mark.parametrize("tilt_deg", [0.0, 18.5, -25.0])
@pytest.mark.parametrize("spacing_mm", [(0.5, 0.5), (0.4, 0.7)])
def test_an_ellipsoid_has_its_volume_whatever_the_tilt(tilt_deg: float, spacing_mm: tuple[float, float]) -> None:
    shape = (150, 120)
    geometry = stack(np.arange(-20, 20.5, 1.0), shape, spacing_mm, tilt_deg)
    labels = ellipsoid(geometry, shape, (0, 0, 0), (12, 20, 14)).astype(np.uint8)
    result = measure(labels, geometry)
    true_ml = 4 / 3 * np.pi * 12 * 20 * 14 / 1000
    assert result.volume_ml["IPH"] == pytest.approx(true_ml, rel=0.005)
    assert result.volume_ml["total"] == result.volume_ml["IPH"]


def test_abc2_of_an_ellipsoid_is_its_volume_times_three_over_pi() -> None:
    shape = (150, 120)
    geometry = stack(np.arange(-20, 20.25, 0.5), shape)
    labels = ellipsoid(geometry, shape, (0, 0, 0), (12, 20, 14)).astype(np.uint8)
    result = measure(labels, geometry)
    assert result.abc2_ml["IPH"] == pytest.approx(40 * 24 * 28 / 2 / 1000, rel=0.03)
    assert result.abc2_ml["IPH"] / result.volume_ml["IPH"] == pytest.approx(3 / np.pi, rel=0.03)
    assert result.largest_diameter_mm["IPH"] == pytest.approx(40, rel=0.02)


def test_uneven_steps_count_each_slice_by_its_own_extent() -> None:
    offsets = np.array([0.0, 4.0, 8.0, 9.1, 16.1, 23.1])
    labels = np.zeros((6, 10, 10), np.uint8)
    labels[:, 2:6, 2:7] = 4
    geometry = stack(offsets, (10, 10), (0.5, 0.8))
    extents_mm = [4, 4, 2.55, 4.05, 7, 7]
    area_mm2 = 20 * 0.4
    result = measure(labels, geometry)
    assert result.volume_ml["SDH"] == pytest.approx(area_mm2 * sum(extents_mm) / 1000)
    assert [row["SDH"] for row in result.area_mm2] == pytest.approx([area_mm2] * 6)
    # Five columns of 0.8 mm by four rows of 0.5 mm.
    a_mm = np.hypot(4.0, 1.5)
    assert result.largest_diameter_mm["SDH"] == pytest.approx(a_mm)
    assert result.abc2_ml["SDH"] == pytest.approx(a_mm * 2.2 * sum(extents_mm) / 2 / 1000, rel=0.1)
    assert result.components["SDH"] == 1


def test_abc2_uses_the_largest_lesion_and_its_largest_slice() -> None:
    labels = np.zeros((4, 40, 40), np.uint8)
    labels[0, 5, 5:15] = 1
    labels[1, 5:7, 5:25] = 1
    labels[3, 30:36, 30:31] = 1
    result = measure(labels, stack(np.arange(4) * 5.0, (40, 40), (1.0, 1.0)))
    # The slice with two rows of 20: A joins the middles of the short edges of its first and last pixel.
    a_mm = np.hypot(20, 1)
    assert result.largest_diameter_mm["IPH"] == pytest.approx(a_mm)
    assert result.abc2_ml["IPH"] == pytest.approx(a_mm * 2 * 10 / 2 / 1000, rel=0.05)
    assert result.components["IPH"] == 2


@settings(max_examples=60, deadline=None)
@given(volumes, st.floats(0.3, 1.2), st.floats(0.3, 1.2))
def test_volumes_areas_and_counts_equal_labelling_in_one_piece(
    volume: np.ndarray, row_mm: float, column_mm: float
) -> None:
    geometry = stack(np.cumsum([1.0, 2.0, 0.7, 4.0, 1.0, 5.0])[: len(volume)], volume.shape[1:], (row_mm, column_mm))
    result = measure(volume, geometry)
    areas_mm2 = {s.name: (volume == s.label).sum(axis=(1, 2)) * row_mm * column_mm for s in SUBTYPES}
    for subtype in SUBTYPES:
        expected_ml = (areas_mm2[subtype.name] * geometry.extents_mm).sum() / 1000
        assert result.volume_ml[subtype.name] == pytest.approx(expected_ml)
        assert [row[subtype.name] for row in result.area_mm2] == pytest.approx(areas_mm2[subtype.name].tolist())
        expected_count = ndimage.label(volume == subtype.label, structure=np.ones((3, 3, 3)))[1]
        assert result.components[subtype.name] == expected_count
        assert (result.side[subtype.name] == "none") == (expected_count == 0)
    assert result.volume_ml["total"] == pytest.approx(sum(result.volume_ml[s.name] for s in SUBTYPES))
    for row in result.area_mm2:
        assert row[ANY] == pytest.approx(sum(row[s.name] for s in SUBTYPES))


@settings(max_examples=60, deadline=None)
@given(volumes)
def test_turning_the_stack_upside_down_changes_nothing(volume: np.ndarray) -> None:
    offsets = np.cumsum([1.0, 2.0, 0.7, 4.0, 1.0, 5.0])[: len(volume)]
    upright = measure(volume, stack(offsets, volume.shape[1:]))
    turned = measure(volume[::-1], stack(-offsets[::-1], volume.shape[1:]))
    assert turned.volume_ml == pytest.approx(upright.volume_ml)
    assert turned.largest_diameter_mm == pytest.approx(upright.largest_diameter_mm)
    assert turned.components == upright.components
    assert turned.side == upright.side
    assert turned.area_mm2[::-1] == upright.area_mm2


@settings(max_examples=40, deadline=None)
@given(volumes)
def test_subtypes_measured_together_equal_subtypes_measured_apart(volume: np.ndarray) -> None:
    geometry = stack(np.arange(len(volume)) * 3.0, volume.shape[1:])
    together = measure(volume, geometry)
    for subtype in SUBTYPES:
        apart = measure(np.where(volume == subtype.label, volume, 0).astype(np.uint8), geometry)
        assert apart.volume_ml["total"] == pytest.approx(together.volume_ml[subtype.name])
        assert apart.abc2_ml[subtype.name] == pytest.approx(together.abc2_ml[subtype.name])
        assert apart.side[subtype.name] == together.side[subtype.name]


def test_an_empty_scan_measures_zero_and_lies_on_no_side() -> None:
    result = measure(np.zeros((3, 8, 8), np.uint8), stack(np.arange(3) * 5.0, (8, 8)))
    assert result == Measurements.empty(3)
    assert set(result.volume_ml.values()) == {0.0}
    assert set(result.side.values()) == {"none"}
    assert len(result.area_mm2) == 3


def test_slices_without_labels_may_be_left_out() -> None:
    labels = np.zeros((5, 8, 8), np.uint8)
    labels[1, 2:4, 2:4] = labels[3, 2:4, 2:4] = 2
    geometry = stack(np.arange(5) * 5.0, (8, 8))
    measurer = Measurer(geometry, MIDDLE)
    measurer.add(1, labels[1])
    measurer.add(3, labels[3])
    assert measurer.finish() == measure(labels, geometry)


def test_a_lone_slice_takes_its_thickness() -> None:
    geometry = SliceGeometry(np.zeros((1, 3)), np.eye(3)[0], np.eye(3)[1], (1.0, 1.0), slice_thickness_mm=2.5)
    assert measure(np.full((1, 20, 20), 5, np.uint8), geometry).volume_ml["EDH"] == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("lesions", "side"),
    [
        ([(30, 0, 0, 8)], "left"),
        ([(-30, 0, 0, 8)], "right"),
        ([(30, 0, 0, 8), (-30, 0, 0, 8)], "both"),
        ([(30, 0, 0, 12), (-30, 10, 0, 4)], "left"),
        ([(30, 0, 0, 12), (-30, 10, 0, 7)], "both"),
        ([(0, 0, 0, 8)], "both"),
        ([(0, 0, 0, 2.4)], "both"),
        ([(6, 0, 0, 8)], "left"),
    ],
    ids=["left", "right", "both", "specks do not vote", "a real one does", "across", "thin midline", "a little across"],
)
def test_the_side_is_the_patients(lesions: list[tuple[float, ...]], side: str) -> None:
    shape = (80, 120)
    geometry = stack(np.arange(-20, 21, 2.0), shape, (1.0, 1.0))
    labels = np.zeros((21, *shape), np.uint8)
    for x, y, z, radius in lesions:
        labels[ellipsoid(geometry, shape, (x, y, z), (radius,) * 3)] = 1
    assert measure(labels, geometry).side["IPH"] == side


def test_mirrored_storage_does_not_change_the_side() -> None:
    shape = (60, 60)
    geometry = stack(np.arange(3) * 5.0, shape, (1.0, 1.0))
    labels = np.zeros((3, *shape), np.uint8)
    labels[:, 20:30, 40:50] = 4
    mirrored = SliceGeometry(
        geometry.positions_mm[::-1] + np.array([59.0, 0, 0]),
        -geometry.row_direction,
        geometry.column_direction,
        (1.0, 1.0),
    )
    assert measure(labels, geometry).side["SDH"] == "left"
    assert measure(labels[::-1, :, ::-1], mirrored).side["SDH"] == "left"


def test_without_a_midline_the_middle_of_the_image_stands_in() -> None:
    shape = (60, 60)
    geometry = stack(np.arange(3) * 5.0, shape, (1.0, 1.0))
    labels = np.zeros((3, *shape), np.uint8)
    labels[:, 20:30, 5:15] = 4
    assert measure(labels, geometry, None).side["SDH"] == "right"


def test_measurements_are_plain_json() -> None:
    labels = np.full((2, 5, 5), 3, np.uint8)
    text = json.dumps(measure(labels, stack(np.arange(2) * 5.0, (5, 5))).as_dict())
    assert json.loads(text)["components"]["SAH"] == 1


@given(st.integers(0, 2**32 - 1), st.sampled_from([0.0, 0.004, 0.02, 1.0]))
def test_leaving_out_small_lesions_is_measuring_the_filtered_labels(seed, minimum_volume_ml):
    chance = np.random.default_rng(seed)
    labels = (chance.integers(1, 6, (4, 12, 14)) * (chance.random((4, 12, 14)) < 0.35)).astype(np.uint8)
    geometry = SliceGeometry(np.arange(4)[:, None] * np.array([[0, 0.5, 2.0]]), *np.eye(3)[:2], (0.9, 1.1))
    components = ComponentAccumulator(geometry, minimum_volume_ml)
    at_once, afterwards = Measurer(geometry), Measurer(geometry)
    for index in range(4):
        components.add(index, labels[index])
        at_once.add(index, labels[index])
    components.finish()
    for index in range(4):
        filtered = components.filter(index, labels[index])
        assert components.changes(index) == (filtered != labels[index]).any()
        afterwards.add(index, filtered)
    one, other = at_once.finish(components.kept_regions).as_dict(), afterwards.finish().as_dict()
    assert one.keys() == other.keys()
    for name in ("volume_ml", "abc2_ml", "largest_diameter_mm", "components"):
        assert one[name] == pytest.approx(other[name])
    assert one["side"] == other["side"]
    for area, filtered_area in zip(one["area_mm2"], other["area_mm2"], strict=True):
        assert area == pytest.approx(filtered_area)
