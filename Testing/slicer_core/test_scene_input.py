"""From a volume node to what is analysed, and what is said about it at once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from dicom_writer import write_series
from finished_run import five_lesions
from mrml_nodes import acquisition_transform, new_scene, segment_points_ras, volume_node, voxels
from scene_runs import run_of_input
from synthetic_head import chest_hu, head_hu

from HemoCAMLib.errors import InputRefused
from HemoCAMLib.scene import SceneResult, analysis_input, frame_in_job
from HemoCAMLib.scene.volume_grid import VolumeGrid

pytestmark = pytest.mark.slicer_core

HU = head_hu(slices=9)
CORNER_RAS = (100.3, 107.1, 20.0)
MATRIX = np.array([[-3.4, 0, 0, 100.3], [0, -3.4, 0, 107.1], [0, 0, 5, 20], [0, 0, 0, 1.0]])


def loaded_series(folder: Path, z_mm: list[float], hu: np.ndarray = HU) -> tuple[Any, dict[str, str]]:
    """A node as Slicer's DICOM reader leaves it, with its files in a database of a dictionary."""
    positions = [(-CORNER_RAS[0], -CORNER_RAS[1], z) for z in z_mm]
    paths = write_series(folder, hu, positions_mm=positions)
    database = {str(pydicom.dcmread(path).SOPInstanceUID): str(path) for path in paths}
    node = volume_node(new_scene(), hu, MATRIX)
    node.SetAttribute("DICOM.instanceUIDs", " ".join(database))
    true = np.array([(CORNER_RAS[0], CORNER_RAS[1], z) for z in z_mm])
    if np.abs(true[:, 2] - (20 + 5 * np.arange(len(z_mm)))).max() > 1e-3:
        acquisition_transform(node, true)
    return node, database


def even(count: int = 9) -> list[float]:
    return [20.0 + 5 * index for index in range(count)]


def uneven() -> list[float]:
    """Thin below, thick above."""
    return [20.0 + offset for offset in (0, 3, 6, 9, 12, 19, 26, 33, 40)]


def test_the_files_are_preferred_and_uneven_slices_come_out_at_their_true_extents(tmp_path: Path) -> None:
    node, database = loaded_series(tmp_path / "series", uneven())
    chosen = analysis_input(node, database.get)
    assert chosen.files is not None
    assert chosen.arguments(tmp_path)["series_uid"] == "1.2.3.4"
    assert [note.code for note in chosen.notes] == ["CT_UNEVEN_STEPS"]
    labels = five_lesions(HU.shape)
    result = run_of_input(tmp_path / "run", chosen, labels)
    shown = SceneResult.open_run(node, chosen.grid, result)
    steps = np.diff(uneven())
    extents = np.concatenate([steps[:1], (steps[1:] + steps[:-1]) / 2, steps[-1:]])
    expected = sum(np.count_nonzero(labels[k] == 1) * extents[k] for k in range(9)) * 3.4**2 / 1000
    assert shown.volume_table.GetTable().GetColumnByName("Volume").GetValue(0) == pytest.approx(expected, abs=1e-3)
    heights = {z for _, _, z in segment_points_ras(shown.segmentation, "IPH", world=True)}
    assert heights == {uneven()[k] for k in range(9) if (labels[k] == 1).any()}


def test_files_in_several_folders_are_gathered_without_names(tmp_path: Path) -> None:
    node, database = loaded_series(tmp_path / "series", even())
    for number, uid in enumerate(list(database)):
        moved = tmp_path / f"part{number % 2}" / f"Secret^Person{number}.dcm"
        moved.parent.mkdir(exist_ok=True)
        Path(database[uid]).rename(moved)
        database[uid] = str(moved)
    chosen = analysis_input(node, database.get)
    run = chosen.prepare(tmp_path / "run", {"threads": 1})
    folder = Path(run.read_job().input)
    assert sorted(path.name for path in folder.iterdir()) == [f"{index:05d}.dcm" for index in range(9)]


def test_a_volume_whose_files_are_gone_is_analysed_as_it_was_loaded_and_this_is_said(tmp_path: Path) -> None:
    node, database = loaded_series(tmp_path / "series", even())
    Path(next(iter(database.values()))).unlink()
    chosen = analysis_input(node, database.get)
    assert chosen.files is None
    assert [note.code for note in chosen.notes] == ["CT_FILES_GONE"]
    assert chosen.voxels is not None
    assert np.shares_memory(chosen.voxels, voxels(node.GetImageData()))


def test_an_uneven_volume_whose_files_are_gone_is_refused(tmp_path: Path) -> None:
    node, _ = loaded_series(tmp_path / "series", uneven())
    with pytest.raises(InputRefused) as refused:
        analysis_input(node, lambda uid: None)
    assert refused.value.code == "CT_BENT"


def test_a_volume_that_was_filtered_is_not_replaced_by_its_files(tmp_path: Path) -> None:
    node, database = loaded_series(tmp_path / "series", even())
    values = voxels(node.GetImageData())
    values[:] = np.where(values > -500, values + 7, values)
    chosen = analysis_input(node, database.get)
    assert chosen.files is None
    assert [note.code for note in chosen.notes] == ["CT_CHANGED"]


def test_a_cropped_copy_is_not_replaced_by_the_files_of_its_original(tmp_path: Path) -> None:
    node, database = loaded_series(tmp_path / "series", even())
    cropped = volume_node(new_scene(), HU[2:8], MATRIX)
    cropped.SetAttribute("DICOM.instanceUIDs", node.GetAttribute("DICOM.instanceUIDs"))
    assert analysis_input(cropped, database.get).files is None


def test_a_series_with_a_slice_stored_twice_is_shown_on_the_slices_that_were_analysed(tmp_path: Path) -> None:
    doubled = np.concatenate([HU[:4], HU[3:]])
    heights = [20.0, 25, 30, 35, 35, 40, 45, 50, 55, 60]
    node, database = loaded_series(tmp_path / "series", heights, doubled)
    chosen = analysis_input(node, database.get)
    labels = five_lesions(HU.shape)
    result = run_of_input(tmp_path / "run", chosen, labels)
    shown = SceneResult.open_run(node, chosen.grid, result)
    assert shown.placement.run_shape == HU.shape
    seen = {z for _, _, z in segment_points_ras(shown.segmentation, "SAH", world=True)}
    assert seen == {20.0 + 5 * k for k in range(9) if (labels[k] == 3).any()}


def test_gaps_are_told_before_anything_runs(tmp_path: Path) -> None:
    node, database = loaded_series(tmp_path / "series", [*even(5), 50, 55, 60, 65])
    chosen = analysis_input(node, database.get)
    assert chosen.refusal is not None
    assert chosen.refusal.code == "CT_MISSING_SLICES"


def test_tilt_is_told_in_degrees(tmp_path: Path) -> None:
    tilted = MATRIX.copy()
    tilted[:3, 1] = [0, -3.4 * np.cos(np.radians(20)), -3.4 * np.sin(np.radians(20))]
    chosen = analysis_input(volume_node(new_scene(), HU, tilted))
    assert [note.code for note in chosen.notes] == ["CT_TILTED"]
    assert "20.0 degrees" in chosen.notes[0].message


@pytest.mark.parametrize(
    ("stored", "code"),
    [(chest_hu(), "CT_NOT_HEAD"), (np.clip(HU, 0, 80).astype(np.uint8), "CT_NOT_HU")],
    ids=["a chest", "windowed grey values"],
)
def test_what_would_be_refused_is_said_at_once(stored: np.ndarray, code: str) -> None:
    chosen = analysis_input(volume_node(new_scene(), stored, MATRIX))
    assert chosen.refusal is not None
    assert chosen.refusal.code == code


def test_stored_values_without_their_offset_are_no_reason_to_refuse() -> None:
    stored = (HU.astype(np.int32) + 1024).astype(np.uint16)
    assert analysis_input(volume_node(new_scene(), stored, MATRIX)).notes == ()


def test_other_nodes_are_refused_with_a_sentence() -> None:
    scene = new_scene()
    label_map = volume_node(scene, HU.astype(np.int16), MATRIX, kind="vtkMRMLLabelMapVolumeNode")
    empty = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode")
    for node, code in ((label_map, "CT_NOT_CT"), (empty, "CT_NO_IMAGE")):
        with pytest.raises(InputRefused) as refused:
            analysis_input(node)
        assert refused.value.code == code
    with pytest.raises(InputRefused) as refused:
        analysis_input(volume_node(scene, HU, MATRIX), modality="MR")
    assert refused.value.code == "CT_NOT_CT"


def test_a_run_folder_opens_over_the_same_volume_again(tmp_path: Path) -> None:
    node = volume_node(new_scene(), HU, MATRIX, first_ijk=(2, 0, 1))
    chosen = analysis_input(node)
    result = run_of_input(tmp_path / "run", chosen, five_lesions(HU.shape))
    again = VolumeGrid.of_node(node, frame_in_job(chosen.prepare(tmp_path / "other"), node))
    np.testing.assert_allclose(again.frame, chosen.grid.frame)
    shown = SceneResult.open_run(node, again, result)
    assert shown.segmentation.GetSegmentation().GetNumberOfSegments() == 5


def test_a_run_of_another_scan_is_refused_and_leaves_nothing(tmp_path: Path) -> None:
    scene = new_scene()
    node, other = volume_node(scene, HU, MATRIX), volume_node(scene, HU[:, :, :50], MATRIX)
    result = run_of_input(tmp_path / "run", analysis_input(node), five_lesions(HU.shape))
    before = scene.GetNumberOfNodes()
    with pytest.raises(InputRefused) as refused:
        SceneResult.open_run(other, VolumeGrid.of_node(other), result)
    assert refused.value.code == "CT_OTHER_SERIES"
    assert scene.GetNumberOfNodes() == before
