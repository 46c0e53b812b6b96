"""Slice geometry, missing steps and the slice file, against closed form."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from HemoCAMLib.ct import ASSUMED_THICKNESS_MM, SliceFile, SliceGeometry
from HemoCAMLib.ct.orientation import StoredGrid, canonical_geometry, reorientation_of
from HemoCAMLib.ct.steps import missing_steps

steps_lists = st.lists(st.floats(0.3, 12), min_size=1, max_size=40)
tilts = st.floats(-29, 29)


def geometry(steps: list[float], tilt_deg: float = 0.0) -> SliceGeometry:
    """Slices whose positions are these table steps apart, with a tilted gantry."""
    angle = np.radians(tilt_deg)
    z = np.concatenate([[0.0], np.cumsum(steps)])
    return SliceGeometry(
        positions_mm=np.stack([np.full_like(z, -120), np.full_like(z, -110), z], axis=1),
        row_direction=np.array([1.0, 0, 0]),
        column_direction=np.array([0, np.cos(angle), -np.sin(angle)]),
        pixel_spacing_mm=(0.5, 0.5),
    )


@given(steps=steps_lists, tilt=tilts)
def test_extents_sum_to_the_covered_length_plus_half_the_outer_steps(steps: list[float], tilt: float) -> None:
    extents = geometry(steps, tilt).extents_mm
    expected = (sum(steps) + (steps[0] + steps[-1]) / 2) * np.cos(np.radians(tilt))
    assert extents.sum() == pytest.approx(expected)
    assert (extents > 0).all()


@given(steps=steps_lists, tilt=tilts)
def test_tilt_changes_extents_by_its_cosine_only(steps: list[float], tilt: float) -> None:
    tilted = geometry(steps, tilt)
    np.testing.assert_allclose(tilted.extents_mm, geometry(steps).extents_mm * np.cos(np.radians(tilt)))
    assert tilted.tilt_deg == pytest.approx(tilt, abs=1e-9)
    assert tilted.uniform_step_mm == pytest.approx(np.mean(steps))


@given(steps=steps_lists, tilt=tilts, seed=st.integers(0, 99))
def test_a_rigid_motion_of_the_patient_changes_no_extent(steps: list[float], tilt: float, seed: int) -> None:
    rotation, _ = np.linalg.qr(np.random.default_rng(seed).normal(size=(3, 3)))
    rotation *= np.sign(np.linalg.det(rotation))
    still = geometry(steps, tilt)
    moved = SliceGeometry(
        still.positions_mm @ rotation.T + 17, rotation @ still.row_direction, rotation @ still.column_direction, (1, 1)
    )
    np.testing.assert_allclose(moved.extents_mm, still.extents_mm, rtol=1e-7, atol=1e-9)


def test_a_lone_slice_has_its_thickness_or_the_assumed_one() -> None:
    lone = SliceGeometry(np.zeros((1, 3)), np.eye(3)[0], np.eye(3)[1], (1, 1), 3.0)
    assert lone.extents_mm == pytest.approx([3.0])
    bare = SliceGeometry(np.zeros((1, 3)), np.eye(3)[0], np.eye(3)[1], (1, 1))
    assert bare.extents_mm == pytest.approx([ASSUMED_THICKNESS_MM])


@given(
    order=st.permutations([0, 1, 2]),
    flips=st.sets(st.sampled_from([0, 1, 2])),
    tilt=st.floats(-25, 25),
    steps=st.lists(st.floats(1, 8), min_size=3, max_size=3),
)
@settings(deadline=None)
def test_reorientation_keeps_every_voxel_where_it_is(
    order: list[int], flips: set[int], tilt: float, steps: list[float]
) -> None:
    angle = np.radians(tilt)
    canonical = np.array([[0, 0, steps[0]], [0, np.cos(angle) * steps[1], -np.sin(angle) * steps[1]], [steps[2], 0, 0]])
    shape = (3, 4, 5)
    values = np.arange(60).reshape(shape)
    stored_steps = canonical[order].copy()
    stored = values.transpose(order)
    origin = np.array([3.0, -7.0, 11.0])
    for axis in flips:
        origin = origin + stored_steps[axis] * (stored.shape[axis] - 1)
        stored_steps[axis] *= -1
        stored = np.flip(stored, axis)
    positions = origin + np.arange(stored.shape[0])[:, None] * stored_steps[0]
    grid = StoredGrid(stored.shape, positions, stored_steps[0], stored_steps[1], stored_steps[2])
    turn = reorientation_of(grid)
    back = np.transpose(np.flip(stored, turn.flips), turn.order)
    np.testing.assert_array_equal(back, values)
    result, input_grid = canonical_geometry(grid, turn, None)
    np.testing.assert_array_equal(input_grid.to_stored(back), stored)
    np.testing.assert_allclose(result.positions_mm[0], [3, -7, 11], atol=1e-9)
    np.testing.assert_allclose(np.diff(result.positions_mm, axis=0), np.repeat(canonical[:1], 2, 0), atol=1e-9)
    assert result.pixel_spacing_mm == pytest.approx((steps[1], steps[2]))


@pytest.mark.parametrize(
    ("steps", "holes"),
    [
        ([5] * 10, []),
        ([5, 5, 10, 5, 5], [2]),
        ([5, 5, 15, 5, 5], [2]),
        ([5, 5, 10, 10, 5, 5], [2, 3]),
        ([5, 5, 10, 15, 5, 5], [2, 3]),
        ([5, 5, 10, 5, 10, 5, 5], [2, 4]),
        ([10, 5, 5, 5], [0]),
        ([5, 5, 5, 10], [3]),
        ([5, 10], [1]),
        ([5], []),
        ([], []),
        ([4] * 13 + [1.08] + [7] * 13, []),
        ([2.5] * 10 + [5] * 10, []),
        ([2.5] * 10 + [10] * 10, []),
        ([2.5] * 10 + [5] * 4 + [10] + [5] * 5, [14]),
        ([2.5] * 3 + [5] + [2.5] * 3 + [5] * 6, [3]),
        ([5.0, 5.1, 4.9, 5.0, 9.6, 5.0], [4]),
        ([0.6] * 50 + [1.2] + [0.6] * 50, [50]),
    ],
)
def test_holes_are_told_from_changes_of_protocol(steps: list[float], holes: list[int]) -> None:
    assert missing_steps(np.array(steps, dtype=float)) == holes


def test_planned_blocks_are_known_by_their_thickness() -> None:
    """Thick slices above and below a thin block would look like holes by their steps alone."""
    steps = np.array([5.0] * 4 + [10.0, 10.0] + [5.0] * 4)
    assert missing_steps(steps) == [4, 5]
    thickness = np.array([5.0] * 4 + [5.0, 15.0, 5.0] + [5.0] * 4)
    assert missing_steps(steps, thickness) == []


@given(count=st.integers(6, 60), missing=st.data(), step=st.floats(0.5, 10))
def test_one_missing_slice_inside_a_regular_series_is_always_found(
    count: int, missing: st.DataObject, step: float
) -> None:
    hole = missing.draw(st.integers(1, count - 2))
    positions = np.delete(np.arange(count) * step, hole)
    assert missing_steps(np.diff(positions)) == [hole - 1]


def test_the_slice_file_reads_what_was_written_in_any_order(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    values = rng.integers(-1024, 3000, (7, 5, 6)).astype(np.int16)
    file = SliceFile.create(tmp_path / "deep" / "a.raw", values.shape)
    for index in rng.permutation(7):
        file[int(index)] = values[index]
    np.testing.assert_array_equal(np.stack(list(file)), values)
    np.testing.assert_array_equal(file[-1], values[-1])
    np.testing.assert_array_equal(np.stack(file[2:5]), values[2:5])
    np.testing.assert_array_equal(np.stack(list(pickle.loads(pickle.dumps(file)))), values)
    file[0][:] = 0
    np.testing.assert_array_equal(file[0], values[0])
    with pytest.raises(IndexError):
        file[7]
    with pytest.raises(ValueError, match="does not fit"):
        file[0] = values[0].T
    with pytest.raises(ValueError, match="does not fit"):
        SliceFile(file.path, (8, 5, 6))
    file.close()
    np.testing.assert_array_equal(file[3], values[3])
