"""Where results lie: voxel for voxel in the patient, for every way in which a volume can be stored and moved."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from finished_run import five_lesions
from mrml_nodes import (
    acquisition_transform,
    array_of,
    as_points,
    in_world,
    linear_transform,
    new_scene,
    segment_points_ras,
    volume_node,
    voxels,
)
from numpy.typing import NDArray
from scene_runs import MAP_SHAPE, cells_with, run_of_input
from synthetic_head import head_hu
from vtk import vtkMatrix4x4

from HemoCAMLib.ct import head_ct_from_array
from HemoCAMLib.errors import InputRefused
from HemoCAMLib.scene import SceneResult, analysis_input
from HemoCAMLib.scene.parent_transform import frame_of
from HemoCAMLib.subtypes import SUBTYPES

pytestmark = pytest.mark.slicer_core

HU = head_hu(slices=9)
LABELS = five_lesions(HU.shape)
RAS = np.diag([-1.0, -1.0, 1.0])


def directions(slice_: tuple[float, ...], row: tuple[float, ...], column: tuple[float, ...]) -> NDArray[np.float64]:
    """[3, 3] columns are the steps, mm RAS, of canonical slice, row and column."""
    return np.array([slice_, row, column], float).T


#: Steps of the canonical axes: straight, tilted (sheared), oblique.
STRAIGHT = directions((0, 0, 5), (0, -3.4, 0), (-3.4, 0, 0))
TILTED = directions((0, 0, 5), (0, -3.4 * np.cos(0.3), -3.4 * np.sin(0.3)), (-3.4, 0, 0))

#: By name: steps, and how the node stores canonical axes: order of (slice, row, column), axes that run backwards.
STORED: dict[str, tuple[NDArray[np.float64], tuple[int, int, int], tuple[int, ...]]] = {
    "axial": (STRAIGHT, (0, 1, 2), ()),
    "axial, head first": (STRAIGHT, (0, 1, 2), (0,)),
    "axial, seen from above": (STRAIGHT, (0, 1, 2), (2,)),
    "coronal": (STRAIGHT, (1, 0, 2), (1,)),
    "sagittal": (STRAIGHT, (2, 0, 1), (0, 1)),
    "tilted": (TILTED, (0, 1, 2), ()),
    "tilted, head first": (TILTED, (0, 1, 2), (0, 1)),
}


def stored_volume(name: str) -> tuple[NDArray[np.int16], NDArray[np.float64]]:
    """[k, j, i] as a node stores the head in that way, and its matrix."""
    steps, order, flips = STORED[name]
    stored = np.flip(np.transpose(HU, order), flips)
    matrix = np.eye(4)
    origin = np.array([100.0, 107.0, -20.0])
    for axis, canonical in enumerate(order):
        step = steps[:, canonical]
        if axis in flips:
            origin = origin + (stored.shape[axis] - 1) * step
            step = -step
        matrix[:3, 2 - axis] = step
    matrix[:3, 3] = origin
    return np.ascontiguousarray(stored), matrix


def expected_points(name: str, mask: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Centres of canonical voxels in mm RAS, from the steps alone."""
    return np.array([100.0, 107.0, -20.0]) + np.argwhere(mask) @ STORED[name][0].T


@pytest.mark.parametrize("name", STORED)
def test_every_voxel_of_a_result_lies_where_it_was_found(name: str, tmp_path: Path) -> None:
    stored, matrix = stored_volume(name)
    node = volume_node(new_scene(), stored, matrix)
    chosen = analysis_input(node)
    result = run_of_input(tmp_path / "run", chosen, LABELS)
    shown = SceneResult.open_run(node, chosen.grid, result)
    for subtype in SUBTYPES:
        points = segment_points_ras(shown.segmentation, subtype.name)
        assert points == as_points(expected_points(name, subtype.label == LABELS)), subtype.name


@pytest.mark.parametrize("name", STORED)
def test_a_map_covers_the_whole_image_with_its_pixels_half_a_pixel_inside(name: str, tmp_path: Path) -> None:
    stored, matrix = stored_volume(name)
    node = volume_node(new_scene(), stored, matrix)
    chosen = analysis_input(node)
    shown = SceneResult.open_run(node, chosen.grid, run_of_input(tmp_path / "run", chosen, LABELS))
    steps = STORED[name][0]
    # A cell of the map spans 4 rows and 5 columns of the image; its centre is their middle.
    block = np.array([HU.shape[1] / MAP_SHAPE[0], HU.shape[2] / MAP_SHAPE[1]])
    for subtype in SUBTYPES:
        found = bright_points(shown.heat_maps[subtype.name])
        cells = np.array([cells_with(plane == subtype.label) for plane in LABELS])
        index = np.argwhere(cells).astype(float)
        index[:, 1:] = (index[:, 1:] + 0.5) * block - 0.5
        assert found == as_points(np.array([100.0, 107.0, -20.0]) + index @ steps.T), subtype.name


def bright_points(heat_map: Any, *, world: bool = False) -> set[tuple[float, float, float]]:
    """Centres of a heat map's voxels above one half."""
    matrix = vtkMatrix4x4()
    heat_map.GetIJKToRASMatrix(matrix)
    ijk = np.argwhere(voxels(heat_map.GetImageData()) > 0.5)[:, ::-1]
    points = (array_of(matrix) @ np.column_stack([ijk, np.ones(len(ijk))]).T).T[:, :3]
    return as_points(in_world(heat_map, points) if world else points)


def test_an_image_whose_indices_do_not_begin_at_zero_keeps_its_place(tmp_path: Path) -> None:
    stored, matrix = stored_volume("axial")
    scene = new_scene()
    node = volume_node(scene, stored, matrix, first_ijk=(3, -2, 7))
    chosen = analysis_input(node)
    shown = SceneResult.open_run(node, chosen.grid, run_of_input(tmp_path / "run", chosen, LABELS))
    shift = matrix[:3, :3] @ [3, -2, 7]
    assert segment_points_ras(shown.segmentation, "IPH") == as_points(expected_points("axial", LABELS == 1) + shift)
    ct = head_ct_from_array(chosen.voxels, chosen.grid.array_to_frame)
    np.testing.assert_allclose(ct.geometry.positions_mm[0] * [-1, -1, 1], np.add(shift, [100, 107, -20]))


def test_a_moved_volume_is_analysed_where_it_is_and_its_result_moves_with_it(tmp_path: Path) -> None:
    scene = new_scene()
    stored, matrix = stored_volume("tilted")
    node = volume_node(scene, stored, matrix)
    angle = 0.4
    move = np.eye(4)
    move[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    move[:3, 3] = [12, -30, 41]
    transform = linear_transform(scene, move)
    node.SetAndObserveTransformNodeID(transform.GetID())
    chosen = analysis_input(node)
    np.testing.assert_allclose(chosen.grid.array_to_frame, move @ matrix, atol=1e-9)
    shown = SceneResult.open_run(node, chosen.grid, run_of_input(tmp_path / "run", chosen, LABELS))
    true = expected_points("tilted", LABELS == 3)
    assert segment_points_ras(shown.segmentation, "SAH", world=True) == as_points(true @ move[:3, :3].T + move[:3, 3])
    transform.SetMatrixTransformToParent(vtkMatrix4x4())
    assert segment_points_ras(shown.segmentation, "SAH", world=True) == as_points(true)


def test_a_volume_that_lies_on_its_side_is_turned_for_the_analysis_alone(tmp_path: Path) -> None:
    scene = new_scene()
    stored, matrix = stored_volume("axial")
    node = volume_node(scene, stored, matrix)
    upright = np.eye(4)
    upright[:3, :3] = [[1, 0, 0], [0, 0, 1], [0, -1, 0]]
    # The image is made of sagittal planes in its own space, and axial ones in the world.
    node.SetIJKToRASMatrix(_matrix(np.linalg.inv(upright) @ matrix))
    node.SetAndObserveTransformNodeID(linear_transform(scene, upright).GetID())
    chosen = analysis_input(node)
    assert chosen.grid.canonical_shape == HU.shape
    shown = SceneResult.open_run(node, chosen.grid, run_of_input(tmp_path / "run", chosen, LABELS))
    assert segment_points_ras(shown.segmentation, "EDH", world=True) == as_points(expected_points("axial", LABELS == 5))


def _matrix(array: NDArray[np.float64]) -> vtkMatrix4x4:
    matrix = vtkMatrix4x4()
    matrix.DeepCopy(array.ravel().tolist())
    return matrix


def positions(step: tuple[float, float, float], extra_mm: float = 0.0) -> NDArray[np.float64]:
    """[slice, 3] first pixels in mm RAS; from the fifth on slices lie that much higher."""
    index = np.arange(HU.shape[0])[:, None]
    return np.array([100.0, 107.0, -20.0]) + index * np.array(step) + (index > 4) * np.array([0, 0, extra_mm])


def test_the_transform_of_a_tilted_series_is_taken_for_the_shear_that_it_is(tmp_path: Path) -> None:
    scene = new_scene()
    stored, matrix = stored_volume("axial")
    node = volume_node(scene, stored, matrix)
    acquisition_transform(node, positions((0, 1.5, 5)))
    sheared = matrix.copy()
    sheared[:3, 2] = [0, 1.5, 5]
    np.testing.assert_allclose(frame_of(node), sheared, atol=1e-6)
    chosen = analysis_input(node)
    shown = SceneResult.open_run(node, chosen.grid, run_of_input(tmp_path / "run", chosen, LABELS))
    mask = LABELS == 2
    true = np.argwhere(mask) @ directions((0, 1.5, 5), (0, -3.4, 0), (-3.4, 0, 0)).T + [100.0, 107.0, -20.0]
    assert segment_points_ras(shown.segmentation, "IVH", world=True) == as_points(true)
    assert len(bright_points(shown.heat_maps["IVH"], world=True)) == sum(int(cells_with(plane).sum()) for plane in mask)


def test_a_volume_whose_slices_are_moved_unevenly_is_refused_with_a_way_out() -> None:
    stored, matrix = stored_volume("axial")
    node = volume_node(new_scene(), stored, matrix)
    acquisition_transform(node, positions((0, 0, 5), extra_mm=2.0))
    with pytest.raises(InputRefused) as refused:
        analysis_input(node)
    assert refused.value.code == "CT_BENT"
    assert "DICOM" in refused.value.advice
