"""From the scene: truth and corrections as something that can be compared and measured."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from dicom_writer import write_series
from finished_run import five_lesions
from mrml_nodes import (
    acquisition_transform,
    linear_transform,
    new_scene,
    segment_points_ras,
    segmentation_node,
    slicer,
    volume_node,
    voxels,
    vtk,
)
from numpy.typing import NDArray
from scene_runs import run_of_input
from synthetic_head import head_hu

from HemoCAMLib.ct import head_ct_from_array
from HemoCAMLib.errors import InputRefused
from HemoCAMLib.measure import Measurer
from HemoCAMLib.measure.agreement import compare_label_maps, compare_segmentations
from HemoCAMLib.scene import (
    SceneResult,
    add_overlap,
    analysis_input,
    corrected,
    guess_mapping,
    largest_bleed_ras,
    measure,
    midline_of,
    place_of,
    read_segmentation_node,
    refresh_tables,
    write_agreement_table,
    write_slice_agreement_table,
)
from HemoCAMLib.scene.edited import labels_of_members
from HemoCAMLib.subtypes import SUBTYPE_NAMES, SUBTYPES

pytestmark = pytest.mark.slicer_core

HU = head_hu(slices=9)
LABELS = five_lesions(HU.shape)
MATRIX = np.array([[-3.4, 0, 0, 100.3], [0, -3.4, 0, 107.1], [0, 0, 5, 20], [0, 0, 0, 1.0]])


def shown_result(tmp_path: Path, labels: NDArray[np.uint8] = LABELS) -> tuple[SceneResult, Any]:
    """A result over a CT, and the CT."""
    node = volume_node(new_scene(), HU, MATRIX)
    chosen = analysis_input(node)
    return SceneResult.open_run(node, chosen.grid, run_of_input(tmp_path / "run", chosen, labels)), node


def masks(labels: NDArray[np.uint8]) -> dict[str, NDArray[np.bool_]]:
    return {subtype.title: labels == subtype.label for subtype in SUBTYPES}


def labels_of(found: Any) -> NDArray[np.uint8]:
    return labels_of_members(found.members)


def read(shown: SceneResult, node: Any, mapping: Any = None) -> Any:
    return read_segmentation_node(node, shown.volume, shown.placement, shown.record.geometry, mapping)


def test_what_was_written_is_read_back_to_the_voxel(tmp_path: Path) -> None:
    shown, _ = shown_result(tmp_path)
    again = corrected(shown)
    np.testing.assert_array_equal(labels_of(again), LABELS)
    assert again.subtypes == SUBTYPE_NAMES
    np.testing.assert_allclose(again.probability["SAH"], [0.5] * 9)


def test_a_truth_on_the_cts_grid_compares_as_its_label_map_does(tmp_path: Path) -> None:
    shown, node = shown_result(tmp_path)
    truth_labels = np.roll(LABELS, 2, axis=2)
    truth = segmentation_node(node.GetScene(), masks(truth_labels), MATRIX)
    agreement = compare_segmentations(corrected(shown), read(shown, truth))
    geometry = head_ct_from_array(HU, MATRIX).geometry
    expected = compare_label_maps(LABELS, truth_labels, geometry)
    assert agreement.grid == "same"
    for name in ("any", *SUBTYPE_NAMES):
        assert agreement[name].overlap == expected[name].overlap
        assert agreement[name].volume.truth_own_grid_ml == pytest.approx(expected[name].volume.truth_ml)


def test_a_truth_cropped_to_its_extent_is_still_on_the_cts_grid(tmp_path: Path) -> None:
    shown, node = shown_result(tmp_path)
    cropped = MATRIX.copy()
    cropped[:3, 3] = (MATRIX @ [7, 9, 1, 1])[:3]
    truth = segmentation_node(node.GetScene(), {"IPH": LABELS[1:6, 9:40, 7:50] == 1}, cropped)
    found = read(shown, truth)
    expected = np.zeros_like(LABELS)
    expected[1:6, 9:40, 7:50] = LABELS[1:6, 9:40, 7:50] == 1
    np.testing.assert_array_equal(labels_of(found), expected)


def test_a_truth_on_another_grid_is_resampled_and_this_is_said(tmp_path: Path) -> None:
    shown, node = shown_result(tmp_path)
    # Half the pixel, a slice at each of the CT's heights: nearest neighbour gives the same voxels back.
    fine = np.repeat(np.repeat(LABELS, 2, axis=1), 2, axis=2)
    half = MATRIX @ np.array([[0.5, 0, 0, -0.25], [0, 0.5, 0, -0.25], [0, 0, 1, 0], [0, 0, 0, 1]])
    truth = segmentation_node(node.GetScene(), masks(fine), half)
    agreement = compare_segmentations(corrected(shown), read(shown, truth))
    assert agreement.grid == "resampled"
    assert any("resampled" in note for note in agreement.notes)
    for name in SUBTYPE_NAMES:
        assert agreement[name].dice == 1
        assert agreement[name].volume.truth_own_grid_ml == pytest.approx(agreement[name].volume.truth_ml, rel=1e-6)


def test_segments_on_grids_of_their_own_are_each_resampled(tmp_path: Path) -> None:
    shown, node = shown_result(tmp_path)
    truth = segmentation_node(node.GetScene(), {"IPH": LABELS == 1}, MATRIX)
    fine = np.repeat(np.repeat(LABELS == 3, 2, axis=1), 2, axis=2)
    half = MATRIX @ np.array([[0.5, 0, 0, -0.25], [0, 0.5, 0, -0.25], [0, 0, 1, 0], [0, 0, 0, 1]])
    other = segmentation_node(node.GetScene(), {"SAH": fine}, half)
    truth.GetSegmentation().AddSegment(other.GetSegmentation().GetNthSegment(0), "SAH")
    found = read(shown, truth)
    np.testing.assert_array_equal(labels_of(found), np.where(np.isin(LABELS, (1, 3)), LABELS, 0))
    assert any("several grids" in note for note in found.notes)


def test_a_truth_under_a_transform_lies_where_it_was_moved_to(tmp_path: Path) -> None:
    shown, node = shown_result(tmp_path)
    scene = node.GetScene()
    back = np.eye(4)
    back[:3, 3] = [6.8, -3.4, 5]
    away = np.linalg.inv(back) @ MATRIX
    truth = segmentation_node(scene, masks(LABELS), away)
    truth.SetAndObserveTransformNodeID(linear_transform(scene, back).GetID())
    np.testing.assert_array_equal(labels_of(read(shown, truth)), LABELS)


def test_a_truth_over_a_tilted_series_counts_with_true_positions_wherever_its_transform_puts_it(
    tmp_path: Path,
) -> None:
    positions = [(-100.3, -107.1 + 1.2 * k + (2.0 if k > 4 else 0), 20.0 + 5 * k) for k in range(9)]
    paths = write_series(tmp_path / "series", HU, positions_mm=positions)
    import pydicom

    database = {str(pydicom.dcmread(path).SOPInstanceUID): str(path) for path in paths}
    node = volume_node(new_scene(), HU, MATRIX)
    node.SetAttribute("DICOM.instanceUIDs", " ".join(database))
    transform = acquisition_transform(node, np.array(positions) * [-1, -1, 1])
    chosen = analysis_input(node, database.get)
    shown = SceneResult.open_run(node, chosen.grid, run_of_input(tmp_path / "run", chosen, LABELS))
    geometry = shown.record.geometry
    assert geometry is not None
    np.testing.assert_allclose(geometry.positions_mm, positions, atol=1e-3)
    # Drawn on the volume as Slicer shows it: same grid, same transform.
    drawn = segmentation_node(node.GetScene(), masks(LABELS), MATRIX)
    drawn.SetAndObserveTransformNodeID(transform.GetID())
    assert compare_segmentations(corrected(shown), read(shown, drawn))["any"].dice == 1
    # Without a transform: drawn with a tool that knows one step for all slices, so its voxels are the scan's.
    straight = segmentation_node(node.GetScene(), masks(LABELS), MATRIX)
    assert compare_segmentations(corrected(shown), read(shown, straight))["any"].dice == 1
    # On a grid of its own in the world it is held against the slices where they truly are.
    up = np.array([[-1, 0, 0, 100], [0, -1, 0, 110], [0, 0, 1, 17.5], [0, 0, 0, 1.0]])
    world = _sampled(geometry.positions_mm, up, (46, 230, 202))
    agreement = compare_segmentations(corrected(shown), read(shown, segmentation_node(node.GetScene(), world, up)))
    assert agreement.grid == "resampled"
    assert agreement["any"].dice > 0.99


def _sampled(
    positions_lps_mm: NDArray[np.float64], matrix: NDArray[np.float64], shape: tuple[int, int, int]
) -> dict[str, NDArray[np.bool_]]:
    """The labels on a fine upright grid in the world, from the slices' true positions: nearest slice, nearest pixel."""
    k, j, i = np.meshgrid(*(np.arange(size) for size in shape), indexing="ij")
    x, y, z = (matrix[axis, 0] * i + matrix[axis, 1] * j + matrix[axis, 2] * k + matrix[axis, 3] for axis in range(3))
    index = np.abs(positions_lps_mm[:, 2] - z[..., None]).argmin(axis=-1)
    column = np.rint((-x - positions_lps_mm[index, 0]) / 3.4).astype(int)
    row = np.rint((-y - positions_lps_mm[index, 1]) / 3.4).astype(int)
    inside = (row >= 0) & (row < LABELS.shape[1]) & (column >= 0) & (column < LABELS.shape[2])
    found = np.zeros(shape, np.uint8)
    found[inside] = LABELS[index[inside], row[inside], column[inside]]
    return masks(found)


def test_a_label_map_node_is_read_with_the_numbers_that_the_user_says(tmp_path: Path) -> None:
    shown, node = shown_result(tmp_path)
    bhsd = np.array([0, 2, 3, 4, 5, 1], np.uint8)[LABELS]
    truth = volume_node(node.GetScene(), bhsd, MATRIX, kind="vtkMRMLLabelMapVolumeNode", name="truth")
    with pytest.raises(InputRefused) as refused:
        read(shown, truth)
    assert refused.value.code == "TRUTH_LABELS_AMBIGUOUS"
    assert "--map" not in refused.value.advice
    np.testing.assert_array_equal(labels_of(read(shown, truth, "bhsd")), LABELS)
    by_hand = {"1": "EDH", "2": "IPH", "3": "IVH", "4": "SAH", "5": "SDH"}
    np.testing.assert_array_equal(labels_of(read(shown, truth, by_hand)), LABELS)


def test_a_label_map_of_one_value_is_hemorrhage_of_any_kind(tmp_path: Path) -> None:
    shown, node = shown_result(tmp_path)
    truth = volume_node(node.GetScene(), (LABELS > 0).astype(np.uint8), MATRIX, kind="vtkMRMLLabelMapVolumeNode")
    agreement = compare_segmentations(corrected(shown), read(shown, truth))
    assert list(agreement.structures) == ["any"]
    assert agreement["any"].dice == 1


def test_meanings_are_guessed_from_names_and_codes_and_unknown_ones_are_asked_for(tmp_path: Path) -> None:
    shown, node = shown_result(tmp_path)
    truth = segmentation_node(
        node.GetScene(), {"left acute SDH": LABELS == 4, "Segment_1": LABELS == 3, "IVH": LABELS == 2}, MATRIX
    )
    assert guess_mapping(truth) == {"left acute SDH": "SDH", "Segment_1": None, "IVH": "IVH"}
    with pytest.raises(InputRefused) as refused:
        read(shown, truth)
    assert refused.value.code == "TRUTH_LABELS"
    assert "Segment_1" in refused.value.message
    found = read(shown, truth, {"left acute SDH": "SDH", "Segment_1": "SAH", "IVH": "IVH"})
    np.testing.assert_array_equal(labels_of(found), np.where(np.isin(LABELS, (2, 3, 4)), LABELS, 0))
    named = truth.GetSegmentation()
    named.GetSegment(named.GetSegmentIdBySegmentName("Segment_1")).SetTerminology(
        shown.segmentation.GetSegmentation().GetSegment("SAH").GetTerminology()
    )
    assert guess_mapping(truth)["Segment_1"] == "SAH"


def test_a_truth_that_knows_some_subtypes_only_is_compared_in_those(tmp_path: Path) -> None:
    shown, node = shown_result(tmp_path)
    drawn = {"IVH": LABELS == 2, "other hemorrhage": np.isin(LABELS, (1, 3, 4, 5))}
    agreement = compare_segmentations(corrected(shown), read(shown, segmentation_node(node.GetScene(), drawn, MATRIX)))
    assert list(agreement.structures) == ["any", "IVH"]
    assert agreement["any"].dice == agreement["IVH"].dice == 1


def test_a_surface_is_turned_into_voxels_without_touching_it(tmp_path: Path) -> None:
    shown, node = shown_result(tmp_path)
    sphere = vtk.vtkSphereSource()
    sphere.SetCenter(0.0, 0.0, 40.0)
    sphere.SetRadius(17.0)
    sphere.SetThetaResolution(60)
    sphere.SetPhiResolution(60)
    sphere.Update()
    truth = node.GetScene().AddNewNodeByClass("vtkMRMLSegmentationNode", "Surface")
    truth.SetSourceRepresentationToClosedSurface()
    assert truth.AddSegmentFromClosedSurfaceRepresentation(sphere.GetOutput(), "IPH", [1.0, 0.0, 0.0])
    found = read(shown, truth)
    assert not truth.GetSegmentation().ContainsRepresentation("Binary labelmap")
    points = np.argwhere(labels_of(found) == 1) @ np.array([[0, 0, 5], [0, -3.4, 0], [-3.4, 0, 0]]) + [100.3, 107.1, 20]
    inside = np.linalg.norm(points - [0, 0, 40], axis=1)
    assert inside.max() < 17.1
    assert found.volume_ml["IPH"] == pytest.approx(4 / 3 * np.pi * 17**3 / 1000, rel=0.1)


def test_volumes_follow_edits_with_every_slices_own_extent(tmp_path: Path) -> None:
    shown, node = shown_result(tmp_path)
    edited = LABELS.copy()
    edited[4, 20:30, 20:28] = 4
    edited[edited == 1] = 0
    _edit(shown.segmentation, node, edited)
    measured = measure(corrected(shown))
    measurer = Measurer(head_ct_from_array(HU, MATRIX).geometry)
    for index, plane in enumerate(edited):
        measurer.add(index, plane)
    assert measured == measurer.finish()
    assert refresh_tables(shown, measured)
    volumes = shown.volume_table.GetTable().GetColumnByName("Volume")
    assert volumes.GetValue(0) == 0
    assert volumes.GetValue(3) == pytest.approx(measured.volume_ml["SDH"])
    area = shown.slice_table.GetTable().GetValueByName(4, "SDH area").ToDouble()
    assert area == pytest.approx(np.count_nonzero(edited[4] == 4) * 3.4**2)


def _edit(segmentation: Any, volume: Any, labels: NDArray[np.uint8]) -> None:
    """Replaces every segment as the Segment Editor does: through Slicer's own segmentations logic."""
    logic = slicer.vtkSlicerSegmentationsModuleLogic
    for subtype in SUBTYPES:
        image = slicer.vtkOrientedImageData()
        image.SetDimensions(*labels.shape[::-1])
        image.AllocateScalars(vtk.VTK_UNSIGNED_CHAR, 1)
        voxels(image)[:] = labels == subtype.label
        matrix = vtk.vtkMatrix4x4()
        volume.GetIJKToRASMatrix(matrix)
        image.SetGeometryFromImageToWorldMatrix(matrix)
        assert logic.SetBinaryLabelmapToSegment(image, segmentation, subtype.name, logic.MODE_REPLACE)


def test_segments_that_overlap_count_once_in_the_total(tmp_path: Path) -> None:
    shown, node = shown_result(tmp_path)
    segmentation = shown.segmentation.GetSegmentation()
    segmentation.SeparateSegmentLabelmap("SAH")
    image = segmentation.GetSegment("SAH").GetRepresentation("Binary labelmap")
    matrix = vtk.vtkMatrix4x4()
    node.GetIJKToRASMatrix(matrix)
    image.SetDimensions(*LABELS.shape[::-1])
    image.AllocateScalars(vtk.VTK_UNSIGNED_CHAR, 1)
    image.SetGeometryFromImageToWorldMatrix(matrix)
    voxels(image)[:] = (LABELS == 3) | (LABELS == 1)
    segmentation.GetSegment("SAH").SetLabelValue(1)
    measured = measure(corrected(shown))
    voxel_ml = 3.4**2 * 5 / 1000
    assert measured.volume_ml["SAH"] == pytest.approx(np.isin(LABELS, (1, 3)).sum() * voxel_ml)
    assert measured.volume_ml["IPH"] == pytest.approx((LABELS == 1).sum() * voxel_ml)
    assert measured.volume_ml["total"] == pytest.approx((LABELS > 0).sum() * voxel_ml)


def test_a_segment_of_something_else_is_left_out_with_a_note(tmp_path: Path) -> None:
    shown, node = shown_result(tmp_path)
    extra = segmentation_node(node.GetScene(), {"Perihematomal edema": LABELS == 0}, MATRIX)
    shown.segmentation.GetSegmentation().CopySegmentFromSegmentation(
        extra.GetSegmentation(), extra.GetSegmentation().GetNthSegmentID(0)
    )
    found = corrected(shown)
    assert any("Perihematomal edema" in note for note in found.notes)
    np.testing.assert_array_equal(labels_of(found), LABELS)


def test_overlap_is_green_red_and_yellow_where_it_should_be(tmp_path: Path) -> None:
    shown, node = shown_result(tmp_path)
    truth_labels = np.roll(LABELS, 2, axis=2)
    truth = read(shown, segmentation_node(node.GetScene(), masks(truth_labels), MATRIX))
    overlap = add_overlap(node, shown.placement, corrected(shown), truth, "SAH")
    shown.adopt(overlap, "overlap")
    mine, true = LABELS == 3, truth_labels == 3
    expected = {"both": mine & true, "prediction": mine & ~true, "truth": true & ~mine}
    for name, mask in expected.items():
        points = segment_points_ras(overlap, name)
        assert len(points) == mask.sum()
        ijk = np.argwhere(mask)[:, ::-1] @ MATRIX[:3, :3].T + MATRIX[:3, 3]
        assert points == {(float(x), float(y), float(z)) for x, y, z in np.round(ijk, 1) + 0.0}
    colors = [overlap.GetSegmentation().GetSegment(name).GetColor() for name in expected]
    assert [int(np.argmax(color)) for color in colors[:2]] == [1, 0]
    shown.remove()
    assert overlap.GetScene() is None


def test_a_truth_elsewhere_in_space_is_refused(tmp_path: Path) -> None:
    shown, node = shown_result(tmp_path)
    far = MATRIX.copy()
    far[:3, 3] += 1000
    truth = read(shown, segmentation_node(node.GetScene(), {"IPH": LABELS == 1}, far))
    with pytest.raises(InputRefused) as refused:
        compare_segmentations(corrected(shown), truth)
    assert refused.value.code == "TRUTH_NO_OVERLAP"


def test_other_nodes_are_no_truth(tmp_path: Path) -> None:
    shown, node = shown_result(tmp_path)
    with pytest.raises(InputRefused) as refused:
        read(shown, node)
    assert refused.value.code == "TRUTH_NOT_SEGMENTATION"


def test_an_empty_truth_is_a_truth_without_hemorrhage(tmp_path: Path) -> None:
    shown, node = shown_result(tmp_path)
    empty = node.GetScene().AddNewNodeByClass("vtkMRMLSegmentationNode", "Empty")
    agreement = compare_segmentations(corrected(shown), read(shown, empty))
    assert agreement["any"].overlap.empty == "truth"
    empty.GetSegmentation().AddEmptySegment("IPH", "IPH")
    assert compare_segmentations(corrected(shown), read(shown, empty))["IPH"].overlap.empty == "truth"


def test_a_comparison_becomes_tables(tmp_path: Path) -> None:
    shown, node = shown_result(tmp_path)
    truth = read(shown, segmentation_node(node.GetScene(), masks(np.roll(LABELS, 1, axis=2)), MATRIX))
    agreement = compare_segmentations(corrected(shown), truth)
    table = node.GetScene().AddNewNodeByClass("vtkMRMLTableNode")
    write_agreement_table(table, agreement)
    assert table.GetTable().GetValueByName(1, "Hemorrhage").ToString() == "IPH"
    assert table.GetTable().GetValueByName(1, "Dice").ToDouble() == pytest.approx(agreement["IPH"].dice, abs=1e-4)
    write_slice_agreement_table(table, agreement, "any")
    dice = [table.GetTable().GetValueByName(row, "Dice").ToDouble() for row in range(9)]
    assert np.isnan(dice[0])
    assert dice[2] == pytest.approx(agreement["any"].slices[2].overlap.dice)


def test_views_are_sent_into_the_largest_bleed(tmp_path: Path) -> None:
    labels = np.zeros_like(LABELS)
    labels[3, 10:14, 10:13] = 2
    labels[5:7, 30:40, 20:40] = 4
    labels[6, 33:37, 25:35] = 0
    shown, node = shown_result(tmp_path, labels)
    node.SetAndObserveTransformNodeID(linear_transform(node.GetScene(), np.eye(4) + 7 * np.eye(4, k=3)).GetID())
    x, y, z = largest_bleed_ras(labels, node, shown.placement)
    ijk = np.linalg.inv(MATRIX) @ [x - 7, y, z, 1]
    i, j, k = np.round(ijk[:3]).astype(int)
    assert k == 5
    assert labels[k, j, i] == 4
    assert largest_bleed_ras(np.zeros_like(labels), node, shown.placement) is None
    np.testing.assert_allclose(place_of(0, 0, 0, node, shown.placement), [107.3, 107.1, 20], atol=1e-9)


def test_sides_are_told_by_the_heads_own_middle(tmp_path: Path) -> None:
    labels = np.zeros_like(LABELS)
    labels[4, 20:30, 36:44] = 1
    labels[4, 20:30, 16:24] = 3
    shown, _ = shown_result(tmp_path, labels)
    found = corrected(shown)
    midline = midline_of(head_ct_from_array(HU, MATRIX).slices, found)
    assert midline is not None
    # Columns run to the patient's left.
    assert measure(found, midline).side["IPH"] == "left"
    assert measure(found, midline).side["SAH"] == "right"
