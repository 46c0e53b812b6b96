"""What the scene room does without Slicer: grids, the record, reading a run that is still going."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from synthetic_head import head_hu

from HemoCAMLib.ct import SliceGeometry, head_ct_from_array
from HemoCAMLib.export.parametric_map import map_geometry
from HemoCAMLib.run.folder import GrowingArray, RunFolder
from HemoCAMLib.run.label_file import RawLabels
from HemoCAMLib.scene.input_notes import notes_on_positions
from HemoCAMLib.scene.label_map import box_on_grid
from HemoCAMLib.scene.record import Record
from HemoCAMLib.scene.run_stream import RunStream
from HemoCAMLib.scene.volume_grid import VolumeGrid

TO_LPS = np.diag([-1.0, -1.0, 1.0])

axes = st.sampled_from([(0, 1, 2), (0, 2, 1), (1, 0, 2), (1, 2, 0), (2, 0, 1), (2, 1, 0)])
signs = st.tuples(*[st.sampled_from([-1.0, 1.0])] * 3)
small = st.floats(-0.1, 0.1)


def grid_of(
    shape: tuple[int, int, int], order: tuple[int, int, int], sign: tuple[float, ...], shear: float
) -> VolumeGrid:
    """Any of the 48 ways to store axes, with slices sheared against each other."""
    steps = np.eye(3)[:, list(order)] * [0.9 * sign[0], 1.1 * sign[1], 4.0 * sign[2]]
    steps[1, order.index(2)] += 4 * shear
    matrix = np.eye(4)
    matrix[:3, :3], matrix[:3, 3] = steps, [12.0, -7.0, 30.0]
    return VolumeGrid(shape, (0, 0, 0), matrix, matrix)


@given(axes, signs, small)
def test_a_grid_orders_slices_as_the_engine_does(
    order: tuple[int, int, int], sign: tuple[float, ...], shear: float
) -> None:
    shape = (5, 7, 6)
    grid = grid_of(shape, order, sign, shear)
    voxels = np.arange(np.prod(shape)).reshape(shape)
    canonical = grid.to_canonical(voxels)
    np.testing.assert_array_equal(grid.to_stored(canonical), voxels)
    geometry = grid.geometry
    slice_, row, column = 3, 2, 4
    point = geometry.positions_mm[slice_] + row * geometry.pixel_spacing_mm[0] * geometry.column_direction
    point = TO_LPS @ (point + column * geometry.pixel_spacing_mm[1] * geometry.row_direction)
    k, j, i = np.unravel_index(int(canonical[slice_, row, column]), shape)
    np.testing.assert_allclose((grid.array_to_frame @ [i, j, k, 1])[:3], point, atol=1e-9)


@given(axes, signs, st.integers(1, 9), st.integers(1, 9))
def test_a_coarse_map_lies_as_the_dicom_export_puts_it(
    order: tuple[int, int, int], sign: tuple[float, ...], rows: int, columns: int
) -> None:
    grid = grid_of((5, 8, 6), order, sign, 0.05)
    slices, image_rows, image_columns = grid.canonical_shape
    to_local = grid.coarse_to_local((rows, columns))
    index = np.arange(slices * rows * columns).reshape(slices, rows, columns)
    stored = grid.to_stored(index)
    expected = map_geometry(grid.geometry, (image_rows, image_columns), (rows, columns))
    where = np.argwhere(stored == index[2, rows - 1, columns - 1])[0]
    point = expected.positions_mm[2] + (rows - 1) * expected.pixel_spacing_mm[0] * expected.column_direction
    point = TO_LPS @ (point + (columns - 1) * expected.pixel_spacing_mm[1] * expected.row_direction)
    np.testing.assert_allclose((to_local @ [*where[::-1], 1])[:3], point, atol=1e-9)


def test_a_grid_of_an_array_is_the_engines_own() -> None:
    hu = head_hu(slices=9)
    matrix = np.array([[-3.4, 0, 0, 100.3], [0, -3.25, 1.0, 107.1], [0, -1.0, 5, 20], [0, 0, 0, 1.0]])
    ct = head_ct_from_array(hu, matrix)
    grid = VolumeGrid(hu.shape, (0, 0, 0), matrix, matrix)
    np.testing.assert_allclose(grid.geometry.positions_mm, ct.geometry.positions_mm)
    np.testing.assert_array_equal(grid.to_canonical(hu), ct.hu)


@given(st.tuples(*[st.integers(-9, 9)] * 3), st.tuples(*[st.integers(1, 8)] * 3))
def test_boxes_of_two_arrays_on_one_grid_name_the_same_places(
    offset: tuple[int, int, int], shape: tuple[int, int, int]
) -> None:
    grid = grid_of((6, 7, 5), (0, 1, 2), (1.0, 1.0, 1.0), 0.05)
    shift = np.eye(4)
    shift[:3, 3] = offset
    boxes = box_on_grid(grid.array_to_local @ shift, shape, grid)
    assert boxes is not None
    places = np.stack(np.meshgrid(*map(np.arange, grid.shape), indexing="ij"))
    own = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij")) + np.reshape(offset[::-1], (3, 1, 1, 1))
    np.testing.assert_array_equal(own[(slice(None), *boxes[0])], places[(slice(None), *boxes[1])])
    inside = all(offset[2 - axis] + shape[axis] > 0 and offset[2 - axis] < grid.shape[axis] for axis in range(3))
    assert (own[(slice(None), *boxes[0])].size > 0) == inside


def test_arrays_on_other_grids_have_no_box() -> None:
    grid = grid_of((6, 7, 5), (0, 1, 2), (1.0, 1.0, 1.0), 0.0)
    half, turned = np.eye(4), np.eye(4)
    half[0, 3] = 0.5
    turned[:2, :2] = [[np.cos(0.02), -np.sin(0.02)], [np.sin(0.02), np.cos(0.02)]]
    for other in (half, turned, np.diag([2.0, 2.0, 1.0, 1.0])):
        assert box_on_grid(grid.array_to_local @ other, (6, 7, 5), grid) is None


def test_a_record_comes_back_from_its_text_whatever_the_path_is_called() -> None:
    geometry = SliceGeometry(np.array([[0.0, 0, 0], [0, 1.25, 4.5]]), np.eye(3)[0], np.eye(3)[1], (0.4, 0.5), 5.0)
    record = Record(
        "complete", "/data/Lékař ∑/run", (2, 3, 4), np.diag([1.0, 2, 3, 1]), (0, 1), geometry, {"threads": 1}
    )
    again = Record.from_text(record.to_text())
    assert again is not None
    assert again.to_text() == record.to_text()
    assert again.run_folder == "/data/Lékař ∑/run"
    assert record.to_text().isascii()
    np.testing.assert_array_equal(again.geometry.positions_mm, geometry.positions_mm)


@given(st.text(max_size=60) | st.just('{"schema": 1, "run_shape": [1, 2]}'))
def test_a_damaged_record_is_no_record(text: str) -> None:
    assert Record.from_text(text) is None


def test_a_run_that_goes_is_read_slice_by_slice_without_touching_its_files(tmp_path: Path) -> None:
    run, shape = RunFolder(tmp_path), (4, 3, 5)
    stream = RunStream(run, shape)
    assert stream.labels(0, 1) is None
    assert stream.maps(0, 1) is None
    assert list(tmp_path.iterdir()) == []
    labels, maps = RawLabels(run.raw_labels_path, shape), GrowingArray(run.activation_path, (2, 4, 3, 2), "<f2")
    rng = np.random.default_rng(3)
    wanted, values = rng.integers(0, 6, shape, np.uint8), rng.normal(size=(2, 4, 3, 2)).astype(np.float16)
    for index in range(3):
        labels.write(index, wanted[index])
        maps.write(index, values[:, index])
    np.testing.assert_array_equal(stream.labels(1, 2), wanted[1:3])
    np.testing.assert_array_equal(stream.maps(1, 2), np.moveaxis(values[:, 1:3], 1, 0))
    assert stream.labels(3, 2) is None
    labels.close()
    maps.close()


@pytest.mark.parametrize(
    ("heights", "codes"),
    [
        ([0, 5, 10, 15], []),
        ([0, 3, 6, 9, 16, 23, 30], ["CT_UNEVEN_STEPS"]),
        ([0, 5, 10, 20, 25, 30], ["CT_MISSING_SLICES"]),
        ([0, 5, 5, 10], ["CT_DUPLICATES"]),
        ([0], []),
    ],
)
def test_positions_say_what_the_reader_would_say(heights: list[float], codes: list[str]) -> None:
    positions = np.array([[0.0, 0.0, height] for height in heights])
    notes = notes_on_positions(SliceGeometry(positions, np.eye(3)[0], np.eye(3)[1], (0.5, 0.5), 5.0))
    assert [note.code for note in notes] == codes
    assert [note.code for note in notes if note.refused] == [code for code in codes if code == "CT_MISSING_SLICES"]
