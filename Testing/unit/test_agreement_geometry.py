"""Distances, volumes and resampling where slices are tilted, uneven or on another grid."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk
from agreement_references import blobs, uniform_geometry
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from scipy.spatial.distance import cdist

from HemoCAMLib.ct import SliceGeometry
from HemoCAMLib.errors import InputRefused
from HemoCAMLib.measure.agreement import Segmentation, compare_label_maps, compare_segmentations
from HemoCAMLib.measure.agreement.resample import one_step_reading, resample_nearest, same_grid


def tilted_geometry(steps_mm: list[float], tilt_deg: float, pixel_mm: tuple[float, float]) -> SliceGeometry:
    """Slices tilted about the left-right axis whose table moves straight up by each step."""
    angle = np.radians(tilt_deg)
    positions = np.zeros((len(steps_mm) + 1, 3))
    positions[1:, 2] = np.cumsum(steps_mm)
    return SliceGeometry(
        positions, np.array([1.0, 0, 0]), np.array([0, np.cos(angle), -np.sin(angle)]), pixel_mm, slice_thickness_mm=5
    )


geometries = st.builds(
    tilted_geometry,
    st.lists(st.floats(0.6, 9), min_size=4, max_size=4),
    st.floats(-30, 30),
    st.tuples(st.floats(0.3, 1.5), st.floats(0.3, 1.5)),
)


@settings(max_examples=25, deadline=None)
@given(geometries, st.integers(0, 1000))
def test_distances_are_those_between_all_true_voxel_positions(geometry: SliceGeometry, seed: int) -> None:
    prediction, truth = blobs(np.random.default_rng(seed), (5, 12, 11))
    positions = []
    for mask in (prediction, truth):
        border = mask & ~ndimage.binary_erosion(mask)
        k, row, column = np.nonzero(border)
        row_mm, column_mm = geometry.pixel_spacing_mm
        positions.append(
            geometry.positions_mm[k]
            + np.outer(row * row_mm, geometry.column_direction)
            + np.outer(column * column_mm, geometry.row_direction)
        )
    table = cdist(*positions)
    forth, back = table.min(axis=1), table.min(axis=0)
    both = np.concatenate([forth, back])
    surface = compare_label_maps(prediction, truth, geometry, truth_subtypes=())["any"].surface
    assert surface is not None
    assert surface.hausdorff_mm == pytest.approx(both.max())
    assert surface.hausdorff95_mm == pytest.approx(max(np.percentile(forth, 95), np.percentile(back, 95)))
    assert surface.mean_surface_distance_mm == pytest.approx(both.mean())
    assert surface.surface_dice_2mm == pytest.approx((both <= 2).mean())


@settings(max_examples=25, deadline=None)
@given(geometries, st.integers(0, 1000))
def test_volumes_are_pixels_times_area_times_the_extent_of_their_slice(geometry: SliceGeometry, seed: int) -> None:
    prediction, truth = blobs(np.random.default_rng(seed), (5, 12, 11))
    any_ = compare_label_maps(prediction, truth, geometry, truth_subtypes=())["any"]
    slice_ml = geometry.extents_mm * np.prod(geometry.pixel_spacing_mm) / 1000
    expected = [float(slice_ml @ mask.sum(axis=(1, 2))) for mask in (prediction, truth, prediction & truth)]
    assert any_.volume.prediction_ml == pytest.approx(expected[0])
    assert any_.volume.truth_ml == pytest.approx(expected[1])
    assert any_.volume_dice == pytest.approx(2 * expected[2] / (expected[0] + expected[1]))
    assert any_.lesions is not None
    assert sum(pair.truth_ml for pair in any_.lesions.pairs) == pytest.approx(expected[1])


def test_a_plate_moved_by_one_tilted_slice_is_one_tables_step_away() -> None:
    geometry = tilted_geometry([4.0, 4.0, 7.0], 20, (1.0, 1.0))
    truth = np.zeros((4, 9, 9), np.uint8)
    prediction = truth.copy()
    truth[1, 4, 4] = 1
    for index, distance_mm in ((0, 4.0), (2, 4.0), (3, 11.0)):
        prediction[:] = 0
        prediction[index, 4, 4] = 1
        surface = compare_label_maps(prediction, truth, geometry)["IPH"].surface
        # The table moves straight up; on a grid without shear the same voxels would be 4 and 11 mm times the cosine.
        assert surface is not None
        assert surface.hausdorff_mm == pytest.approx(distance_mm)


def test_uneven_slices_weigh_volumes_but_not_voxel_counts() -> None:
    geometry = tilted_geometry([2.0, 2.0, 8.0, 8.0], 0, (1.0, 1.0))
    truth = np.zeros((5, 6, 6), np.uint8)
    prediction = truth.copy()
    truth[1:5, 2:4, 2:4] = 1
    prediction[1, 2:4, 2:4] = 1
    iph = compare_label_maps(prediction, truth, geometry)["IPH"]
    assert iph.dice == pytest.approx(2 * 4 / 20)
    assert iph.volume_dice == pytest.approx(2 * 2 / (2 + 2 + 5 + 8 + 8))
    assert iph.volume.difference_percent == pytest.approx(100 * (2 / 23 - 1))


def segmentation(members: np.ndarray, geometry: SliceGeometry, **fields: object) -> Segmentation:
    return Segmentation(members.astype(np.uint8), geometry, **fields)  # type: ignore[arg-type]


@settings(max_examples=20, deadline=None)
@given(
    st.integers(0, 1000),
    st.tuples(st.floats(-3, 3), st.floats(-3, 3), st.floats(-4, 4)),
    st.floats(0.6, 1.6),
    st.floats(-15, 15),
)
def test_resampling_gives_the_voxels_that_simpleitk_gives_on_grids_it_can_hold(
    seed: int, shift_mm: tuple[float, float, float], scale: float, turn_deg: float
) -> None:
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 32, (6, 14, 12)).astype(np.uint8)
    old = uniform_geometry(6, (3.0, 1.1, 0.9))
    angle = np.radians(turn_deg)
    turn = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
    turn = turn @ np.array([[1, 0, 0], [0, np.cos(angle), -np.sin(angle)], [0, np.sin(angle), np.cos(angle)]])
    pixel_mm, step_mm = (1.1 * scale, 0.8 * scale), 2.3 * scale
    positions = np.array(shift_mm) + np.arange(7)[:, None] * step_mm * turn[:, 2]
    new = SliceGeometry(positions, turn[:, 0], turn[:, 1], pixel_mm)
    image = sitk.GetImageFromArray(labels)
    image.SetSpacing((0.9, 1.1, 3.0))
    grid = sitk.Image([13, 15, 7], sitk.sitkUInt8)
    grid.SetSpacing((pixel_mm[1], pixel_mm[0], step_mm))
    grid.SetOrigin(list(shift_mm))
    grid.SetDirection(turn.ravel().tolist())
    expected = sitk.GetArrayFromImage(sitk.Resample(image, grid, sitk.Transform(), sitk.sitkNearestNeighbor, 0))
    found = resample_nearest(segmentation(labels, old), new, (7, 15, 13)).members
    # A voxel centre may fall on the very border of two voxels.
    assert (found != expected).mean() < 0.005


def test_resampling_onto_tilted_uneven_slices_hits_the_voxel_that_holds_the_centre() -> None:
    rng = np.random.default_rng(5)
    old = tilted_geometry([3.0, 1.5, 6.0, 2.0], 18, (1.0, 0.8))
    members = rng.integers(1, 32, (5, 40, 40)).astype(np.uint8)
    new = tilted_geometry([4.0, 1.0, 5.0], 18, (0.71, 0.93))
    resampled = resample_nearest(segmentation(members, old), new, (4, 30, 30))
    for index in range(4):
        offset = new.offsets_mm[index]
        plane = int(np.argmin(np.abs(old.offsets_mm - offset)))
        for row, column in rng.integers(0, 30, (20, 2)):
            point = new.positions_mm[index] + row * 0.71 * new.column_direction + column * 0.93 * new.row_direction
            away = point - old.positions_mm[plane]
            place = round(float(away @ old.column_direction) / 1.0), round(float(away @ old.row_direction) / 0.8)
            inside = 0 <= place[0] < 40 and 0 <= place[1] < 40
            assert resampled.members[index, row, column] == (members[plane, place[0], place[1]] if inside else 0)


def test_a_truth_on_another_grid_is_resampled_and_that_is_said() -> None:
    geometry = uniform_geometry(6, (5.0, 0.5, 0.5))
    fine = uniform_geometry(30, (1.0, 0.25, 0.25))
    truth = np.zeros((30, 80, 80), np.uint8)
    truth[5:16, 20:48, 20:48] = 1
    prediction = np.zeros((6, 40, 40), np.uint8)
    prediction[1:4, 10:24, 10:24] = 1
    agreement = compare_segmentations(segmentation(prediction, geometry), segmentation(truth, fine))
    assert agreement.grid == "resampled"
    assert "nearest neighbour" in agreement.notes[0]
    assert agreement["IPH"].dice == 1
    assert agreement["IPH"].volume.truth_own_grid_ml == pytest.approx(11 * 28 * 28 * 0.0625 / 1000)
    assert agreement["IPH"].volume.truth_ml == pytest.approx(3 * 14 * 14 * 1.25 / 1000)


def test_a_truth_that_covers_part_of_the_scan_says_how_much() -> None:
    geometry = uniform_geometry(10, (5.0, 1.0, 1.0))
    labels = np.zeros((10, 20, 20), np.uint8)
    labels[2, 5:8, 5:8] = 1
    part = uniform_geometry(5, (5.0, 1.0, 1.0))
    agreement = compare_segmentations(segmentation(labels, geometry), segmentation(labels[:5], part))
    assert agreement["IPH"].dice == 1
    assert "covers 50 % of the scan" in agreement.notes[1]


def test_a_truth_elsewhere_in_space_is_refused() -> None:
    labels = np.ones((4, 10, 10), np.uint8)
    here = uniform_geometry(4, (5.0, 1.0, 1.0))
    there = SliceGeometry(here.positions_mm + 500, here.row_direction, here.column_direction, here.pixel_spacing_mm)
    with pytest.raises(InputRefused) as refusal:
        compare_segmentations(segmentation(labels, here), segmentation(labels, there))
    assert refusal.value.code == "TRUTH_NO_OVERLAP"


class TestOneStepReading:
    """A mask drawn in a tool that knows one step per volume, on a scan whose slices are tilted and uneven."""

    true = tilted_geometry([4.22] * 6 + [1.14] + [7.38] * 6, 18.5, (0.5, 0.5))

    def header(self) -> SliceGeometry:
        """What ITK makes of the series: the first position, then the mean step along the normal."""
        step = self.true.uniform_step_mm * self.true.normal
        positions = self.true.positions_mm[0] + np.arange(14)[:, None] * step
        return SliceGeometry(positions, self.true.row_direction, self.true.column_direction, (0.5, 0.5))

    def test_is_compared_voxel_for_voxel_at_the_true_positions(self) -> None:
        labels = np.zeros((14, 30, 30), np.uint8)
        labels[3:11, 10:20, 10:20] = 8
        agreement = compare_segmentations(segmentation(labels, self.true), segmentation(labels, self.header()))
        assert agreement.grid == "same"
        assert "voxel for voxel" in agreement.notes[0]
        assert agreement["SDH"].dice == 1
        volume = agreement["SDH"].volume
        assert volume.truth_ml == pytest.approx(float(self.true.extents_mm[3:11].sum()) * 25 / 1000)
        assert volume.truth_own_grid_ml == pytest.approx(8 * self.true.uniform_step_mm * 25 / 1000)

    def test_is_not_assumed_for_other_slices_of_the_same_number(self) -> None:
        header, shape = self.header(), (14, 30, 30)
        assert one_step_reading(self.true, header, shape, shape)
        half = SliceGeometry(
            header.positions_mm[0] + (header.positions_mm - header.positions_mm[0]) / 2,
            header.row_direction,
            header.column_direction,
            (0.5, 0.5),
        )
        assert not one_step_reading(self.true, half, shape, shape)
        moved = SliceGeometry(header.positions_mm + 3, header.row_direction, header.column_direction, (0.5, 0.5))
        assert not one_step_reading(self.true, moved, shape, shape)
        assert not one_step_reading(self.true, header, shape, (14, 31, 30))


def test_a_grid_is_the_same_within_a_hair_only() -> None:
    geometry, shape = uniform_geometry(4, (5.0, 0.5, 0.5)), (4, 500, 500)
    hair = SliceGeometry(geometry.positions_mm + 0.005, geometry.row_direction, geometry.column_direction, (0.5, 0.5))
    assert same_grid(geometry, hair, shape, shape)
    pixel = SliceGeometry(geometry.positions_mm + 0.4, geometry.row_direction, geometry.column_direction, (0.5, 0.5))
    assert not same_grid(geometry, pixel, shape, shape)
    wide = SliceGeometry(geometry.positions_mm, geometry.row_direction, geometry.column_direction, (0.5, 0.501))
    assert not same_grid(geometry, wide, shape, shape)
