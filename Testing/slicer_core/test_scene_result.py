"""A result in the scene: while a run goes, when it is done, saved and opened again, deleted, closed in the middle."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from finished_run import five_lesions
from mrml_nodes import (
    as_points,
    in_study,
    new_scene,
    node_ids,
    segment_points_ras,
    slicer,
    volume_node,
    voxels,
    vtk,
)
from scene_runs import run_of_input
from synthetic_head import head_hu

from HemoCAMLib.errors import WorkerFailed
from HemoCAMLib.run.folder import RunFolder
from HemoCAMLib.run.label_file import RawLabels
from HemoCAMLib.run.result import Result
from HemoCAMLib.scene import (
    AnalysisInput,
    BelongingsWatch,
    HeatMaps,
    Placement,
    RunStream,
    SceneResult,
    analysis_input,
)
from HemoCAMLib.scene.result_folder import belongings_of, remove_folder
from HemoCAMLib.subtypes import SUBTYPE_NAMES, SUBTYPES

pytestmark = pytest.mark.slicer_core

HU = head_hu(slices=9)
LABELS = five_lesions(HU.shape)
MATRIX = np.array([[-3.4, 0, 0, 100.3], [0, -3.4, 0, 107.1], [0, 0, 5, 20], [0, 0, 0, 1.0]])


def finished(tmp_path: Path, labels: np.ndarray = LABELS) -> tuple[Any, AnalysisInput, Result]:
    node = volume_node(new_scene(tmp_path / "cache"), HU, MATRIX)
    chosen = analysis_input(node)
    return node, chosen, run_of_input(tmp_path / "run", chosen, labels)


def test_segments_have_the_names_colours_and_codes_of_their_subtypes(tmp_path: Path) -> None:
    node, chosen, result = finished(tmp_path)
    segmentation = SceneResult.open_run(node, chosen.grid, result).segmentation.GetSegmentation()
    terminologies = slicer.vtkSlicerTerminologiesModuleLogic
    for subtype in SUBTYPES:
        segment = segmentation.GetSegment(subtype.name)
        assert segment.GetName() == subtype.title
        np.testing.assert_allclose(np.multiply(segment.GetColor(), 255), subtype.color_rgb)
        entry = slicer.vtkSlicerTerminologyEntry()
        assert terminologies.DeserializeTerminologyEntry(segment.GetTerminology(), entry)
        assert entry.GetCategoryObject().GetCodeValue() == "49755003"
        assert entry.GetTypeObject().GetCodeValue() == "50960005"
        region = entry.GetRegionObject().GetCodeValue() or None
        assert region == (subtype.region[0] if subtype.region else None)


def test_only_subtypes_that_were_found_have_segments_and_maps(tmp_path: Path) -> None:
    labels = np.where(np.isin(LABELS, (1, 4)), LABELS, 0).astype(np.uint8)
    node, chosen, result = finished(tmp_path, labels)
    shown = SceneResult.open_run(node, chosen.grid, result)
    assert list(shown.segmentation.GetSegmentation().GetSegmentIDs()) == ["IPH", "SDH"]
    assert sorted(shown.heat_maps) == ["IPH", "SDH"]


def test_a_scan_without_hemorrhage_has_a_result_too(tmp_path: Path) -> None:
    node, chosen, result = finished(tmp_path, np.zeros_like(LABELS))
    shown = SceneResult.open_run(node, chosen.grid, result)
    assert shown.segmentation.GetSegmentation().GetNumberOfSegments() == 0
    assert shown.heat_maps == {}
    volumes = shown.volume_table.GetTable().GetColumnByName("Volume")
    assert [volumes.GetValue(row) for row in range(6)] == [0.0] * 6


def test_everything_lies_in_one_folder_beside_the_ct(tmp_path: Path) -> None:
    node, chosen, result = finished(tmp_path)
    study, item = in_study(node)
    shown = SceneResult.open_run(node, chosen.grid, result)
    hierarchy = node.GetScene().GetSubjectHierarchyNode()
    assert hierarchy.GetItemParent(shown.folder) == study == hierarchy.GetItemParent(item)
    roles = {child.GetAttribute("HemoCAM.role") for child in _data_nodes(hierarchy, shown.folder)}
    assert roles == {"record", "segmentation", "heat-map", "colors", "volumes", "slices", "chart", "series"}
    added = {one for one in node_ids(node.GetScene()) if "Display" not in one and "Storage" not in one}
    in_folder = {child.GetID() for child in _data_nodes(hierarchy, shown.folder)}
    assert added - in_folder == {node.GetID(), hierarchy.GetID()}


def _data_nodes(hierarchy: Any, item: int) -> list[Any]:
    found = vtk.vtkCollection()
    hierarchy.GetDataNodesInBranch(item, found)
    return [found.GetItemAsObject(index) for index in range(found.GetNumberOfItems())]


def test_tables_say_what_result_json_says(tmp_path: Path) -> None:
    node, chosen, result = finished(tmp_path)
    shown = SceneResult.open_run(node, chosen.grid, result)
    table = shown.volume_table.GetTable()
    for row, subtype in enumerate(SUBTYPES):
        assert table.GetValueByName(row, "Hemorrhage").ToString() == subtype.title
        assert table.GetValueByName(row, "Volume").ToDouble() == result.volume_ml[subtype.name]
        assert table.GetValueByName(row, "ABC/2").ToDouble() == result.fields["abc2_ml"][subtype.name]
        assert table.GetValueByName(row, "Side").ToString() == result.fields["side"][subtype.name]
        assert table.GetValueByName(row, "Lesions").ToInt() == result.fields["components"][subtype.name]
    assert table.GetValueByName(5, "Volume").ToDouble() == pytest.approx(sum(result.volume_ml.values()) / 2)
    assert shown.volume_table.GetColumnUnitLabel("Volume") == "mL"
    slices = shown.slice_table.GetTable()
    assert slices.GetNumberOfRows() == 9
    assert slices.GetValueByName(3, "SAH area").ToDouble() == result.slices[3]["area_mm2"]["SAH"]
    assert slices.GetValueByName(8, "Position").ToDouble() == result.slices[8]["position_mm"]


def test_the_strip_plots_columns_that_exist(tmp_path: Path) -> None:
    node, chosen, result = finished(tmp_path)
    shown = SceneResult.open_run(node, chosen.grid, result)
    assert shown.chart.GetNumberOfPlotSeriesNodes() == 6
    for index in range(6):
        series = shown.chart.GetNthPlotSeriesNode(index)
        table = series.GetTableNode()
        assert table is shown.slice_table
        for name in (series.GetXColumnName(), series.GetYColumnName()):
            assert table.GetTable().GetColumnByName(name).IsNumeric()


def test_slices_appear_as_they_are_done_and_the_end_corrects_them(tmp_path: Path) -> None:
    node, chosen, result = finished(tmp_path, np.where(LABELS == 5, 0, LABELS).astype(np.uint8))
    before = node_ids(node.GetScene())
    run = chosen.prepare(tmp_path / "going")
    written = RawLabels(run.raw_labels_path, HU.shape)
    unfiltered = LABELS.copy()
    unfiltered[1, 40:43, 40:43] = 3
    # A subtype that is gone once small lesions are removed.
    unfiltered[unfiltered == 5] = 0
    unfiltered[3, 5:7, 5:7] = 5
    final = np.where(LABELS == 5, 0, LABELS).astype(np.uint8)
    stream = RunStream(run, HU.shape)
    shown = SceneResult.start(node, chosen.grid, run, HU.shape)
    for first in range(0, 9, 2):
        count = min(2, 9 - first)
        for index in range(first, first + count):
            written.write(index, unfiltered[index])
        labels = stream.labels(first, count)
        assert shown.put_slices(result.slices[first : first + count], labels, _maps(result, first, count))
        assert shown.update()
        seen = np.where((np.arange(9) < first + count)[:, None, None], unfiltered, 0)
        assert _label_sets(shown) == {name: _points(seen, name) for name in SUBTYPE_NAMES if _points(seen, name)}
        assert shown.slice_table.GetTable().GetNumberOfRows() == first + count
    assert shown.record.state == "running"
    assert "EDH" in shown.heat_maps
    assert shown.complete(result)
    assert _label_sets(shown) == {name: _points(final, name) for name in SUBTYPE_NAMES[:4]}
    assert sorted(shown.heat_maps) == sorted(SUBTYPE_NAMES[:4])
    assert shown.record.state == "complete"
    written.close()
    shown.remove()
    assert node_ids(node.GetScene()) - before <= {node.GetScene().GetSubjectHierarchyNode().GetID()}


def _maps(result: Result, first: int, count: int) -> np.ndarray:
    return np.moveaxis(np.asarray(result.activation[:, first : first + count]), 1, 0)


def _label_sets(shown: SceneResult) -> dict[str, set[tuple[float, float, float]]]:
    ids = shown.segmentation.GetSegmentation().GetSegmentIDs()
    return {name: segment_points_ras(shown.segmentation, name) for name in ids}


def _points(labels: np.ndarray, name: str) -> set[tuple[float, float, float]]:
    ijk = np.argwhere(labels == SUBTYPE_NAMES.index(name) + 1)[:, ::-1]
    return as_points(ijk @ MATRIX[:3, :3].T + MATRIX[:3, 3])


def test_one_update_tells_viewers_once_a_segment_and_not_more(tmp_path: Path) -> None:
    node, chosen, result = finished(tmp_path)
    shown = SceneResult.open_run(node, chosen.grid, result)
    segmentation, told = shown.segmentation.GetSegmentation(), []
    segmentation.AddObserver(segmentation.SourceRepresentationModified, lambda *_: told.append(1))
    changed = LABELS.copy()
    changed[2:5] = np.roll(LABELS[2:5], 1, axis=2)
    assert shown.show_labels(changed, result.fields, result.slices)
    assert 1 <= len(told) <= 5
    assert _label_sets(shown) == {name: _points(changed, name) for name in SUBTYPE_NAMES}


def test_writing_goes_on_after_an_editor_replaced_the_label_map(tmp_path: Path) -> None:
    node, chosen, result = finished(tmp_path)
    shown = SceneResult.open_run(node, chosen.grid, result)
    segmentation, told = shown.segmentation.GetSegmentation(), []
    # As an edit with overlap allowed does: the segment leaves the shared label map, with an extent of its own.
    segmentation.SeparateSegmentLabelmap("SAH")
    changed = LABELS.copy()
    changed[1] = np.roll(LABELS[1], 2, axis=1)
    segmentation.AddObserver(segmentation.SourceRepresentationModified, lambda *_: told.append(1))
    assert shown.show_labels(changed, result.fields, result.slices)
    assert told
    assert _label_sets(shown) == {name: _points(changed, name) for name in SUBTYPE_NAMES}


def test_a_result_that_is_found_again_can_lose_whole_slices(tmp_path: Path) -> None:
    node, chosen, result = finished(tmp_path)
    SceneResult.open_run(node, chosen.grid, result)
    (again,) = SceneResult.in_scene(node.GetScene())
    fewer = LABELS.copy()
    fewer[2:4] = 0
    assert again.show_labels(fewer, result.fields, result.slices)
    assert _label_sets(again) == {name: _points(fewer, name) for name in SUBTYPE_NAMES}


def test_labels_of_another_shape_or_value_are_a_mistake_of_the_caller(tmp_path: Path) -> None:
    node, chosen, result = finished(tmp_path)
    shown = SceneResult.open_run(node, chosen.grid, result)
    for first, labels in ((0, LABELS[:, :-1]), (5, LABELS), (-1, LABELS[:1]), (0, LABELS + np.uint8(9))):
        with pytest.raises(ValueError, match="labels"):
            shown.show_labels(labels, {}, []) if first == 0 else shown._writer.put(first, labels)
    assert _label_sets(shown) == {name: _points(LABELS, name) for name in SUBTYPE_NAMES}


def test_maps_of_another_method_are_shown_by_their_positive_part_up_to_their_largest_value(tmp_path: Path) -> None:
    node, chosen, _ = finished(tmp_path)
    placement = Placement(chosen.grid, np.arange(9))
    maps = HeatMaps(node, placement, ["any", "SAH"], "hires-cam")
    values = np.full((9, 2, 8, 6), -3.0, np.float32)
    values[2, 1, 4, 5], values[3, 1, 0, 0], values[4, 1] = 40.0, 10.0, np.nan
    assert maps.put(0, values, ["SAH", "EDH"])
    assert maps.update()
    assert list(maps.nodes) == ["SAH"]
    shown = voxels(maps.nodes["SAH"].GetImageData())
    assert (shown[2, 4, 5], shown[3, 0, 0]) == (1.0, 0.25)
    assert shown.sum() == 1.25


def test_a_heat_map_that_the_user_deleted_is_not_made_again(tmp_path: Path) -> None:
    node, chosen, result = finished(tmp_path)
    maps = HeatMaps(node, Placement(chosen.grid, np.arange(9)), result.classes)
    for _ in range(2):
        assert maps.put(0, _maps(result, 0, 9), ["IPH", "SAH"])
        assert maps.update()
        if "IPH" in maps.nodes:
            node.GetScene().RemoveNode(maps.nodes["IPH"])
    assert list(maps.nodes) == ["SAH"]


def test_a_node_that_the_application_has_put_somewhere_is_moved_into_the_folder(tmp_path: Path) -> None:
    node, chosen, result = finished(tmp_path)
    hierarchy = node.GetScene().GetSubjectHierarchyNode()
    shown = SceneResult.open_run(node, chosen.grid, result)
    other = node.GetScene().AddNewNodeByClass("vtkMRMLTextNode")
    item = hierarchy.CreateItem(hierarchy.GetSceneItemID(), other)
    shown.adopt(other, "note")
    assert hierarchy.GetItemByDataNode(other) == item
    assert hierarchy.GetItemParent(item) == shown.folder
    assert shown.nodes("note") == [other]


@pytest.mark.parametrize("kind", ["mrb", "mrml"])
def test_a_saved_scene_brings_everything_back(kind: str, tmp_path: Path) -> None:
    node, chosen, result = finished(tmp_path)
    in_study(node)
    shown = SceneResult.open_run(node, chosen.grid, result)
    before, points = shown.record, _label_sets(shown)
    maps = {name: voxels(one.GetImageData()).copy() for name, one in shown.heat_maps.items()}
    scene = _saved_and_opened(node.GetScene(), tmp_path, kind)
    (again,) = SceneResult.in_scene(scene)
    assert again.record.to_text() == before.to_text()
    assert again.find_run_folder() == result.folder
    assert again.record.result == json.loads(json.dumps(result.fields))
    assert _label_sets(again) == points
    assert {name: np.array_equal(voxels(one.GetImageData()), maps[name]) for name, one in again.heat_maps.items()} == (
        dict.fromkeys(SUBTYPE_NAMES, True)
    )
    heat = again.heat_maps["IPH"].GetDisplayNode()
    assert heat.GetColorNode().GetColorName(255) == "1.00"
    assert (heat.GetApplyThreshold(), heat.GetLowerThreshold()) == (1, 0.05)
    for column in ("Volume", "Lesions", "Side"):
        old, new = (table.GetTable().GetColumnByName(column) for table in (shown.volume_table, again.volume_table))
        assert [old.GetVariantValue(row).ToString() for row in range(6)] == [
            new.GetVariantValue(row).ToString() for row in range(6)
        ]
    assert again.volume_table.GetTable().GetColumnByName("Volume").IsNumeric()
    assert again.volume_table.GetColumnUnitLabel("Volume") == "mL"
    series = again.chart.GetNthPlotSeriesNode(1)
    assert series.GetTableNode() is again.slice_table
    assert again.slice_table.GetTable().GetColumnByName(series.GetYColumnName()).IsNumeric()
    segment = again.segmentation.GetSegmentation().GetSegment("SDH")
    assert "54214006" in segment.GetTerminology()
    hierarchy = scene.GetSubjectHierarchyNode()
    assert hierarchy.GetItemParent(again.folder) == hierarchy.GetItemParent(hierarchy.GetItemByDataNode(again.volume))
    changed = np.roll(LABELS, 1, axis=2)
    assert again.show_labels(changed, result.fields, result.slices)
    assert _label_sets(again) == {name: _points(changed, name) for name in SUBTYPE_NAMES}


def _saved_and_opened(scene: Any, folder: Path, kind: str) -> Any:
    if kind == "mrb":
        path = folder / "saved.mrb"
        assert scene.WriteToMRB(str(path))
        opened = new_scene(folder / "other-cache")
        assert opened.ReadFromMRB(str(path), True)
        return opened
    target = folder / "saved"
    target.mkdir()
    assert scene.SaveSceneToSlicerDataBundleDirectory(str(target))
    opened = new_scene(folder / "other-cache")
    (file,) = target.glob("*.mrml")
    opened.SetURL(str(file))
    assert opened.Connect()
    return opened


def test_a_scene_loaded_into_another_one_keeps_both_results_apart(tmp_path: Path) -> None:
    node, chosen, result = finished(tmp_path)
    SceneResult.open_run(node, chosen.grid, result)
    path = tmp_path / "saved.mrb"
    scene = node.GetScene()
    assert scene.WriteToMRB(str(path))
    assert scene.ReadFromMRB(str(path), False)
    first, second = SceneResult.in_scene(scene)
    assert first.segmentation is not second.segmentation
    assert first.volume is not second.volume
    second.remove()
    assert first.is_open
    assert not second.is_open


def test_removing_a_result_leaves_the_scene_as_it_was(tmp_path: Path) -> None:
    node, chosen, result = finished(tmp_path)
    in_study(node)
    before = node_ids(node.GetScene())
    shown = SceneResult.open_run(node, chosen.grid, result)
    shown.segmentation.CreateClosedSurfaceRepresentation()
    shown.remove()
    assert node_ids(node.GetScene()) == before
    assert not shown.is_open
    assert not shown.update()


def test_deleting_the_folder_in_the_data_tree_leaves_nothing_under_watch(tmp_path: Path) -> None:
    node, chosen, result = finished(tmp_path)
    scene = node.GetScene()
    in_study(node)
    before = node_ids(scene)
    later: list[Callable[[], None]] = []
    watch = BelongingsWatch(scene, later.append)
    shown = SceneResult.open_run(node, chosen.grid, result)
    assert scene.WriteToMRB(str(tmp_path / "adds_storage_nodes.mrb"))
    own_storage = {one.GetID() for one in belongings_of(node)}
    scene.GetSubjectHierarchyNode().RemoveItem(shown.folder, True, True)
    (sweep,) = later
    sweep()
    assert node_ids(scene) - own_storage == before
    watch.stop()


def test_a_watch_leaves_the_nodes_of_others_alone(tmp_path: Path) -> None:
    node, chosen, result = finished(tmp_path)
    scene = node.GetScene()
    shown = SceneResult.open_run(node, chosen.grid, result)
    other = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode")
    other.SetAndObserveDisplayNodeID(shown.heat_maps["IPH"].GetDisplayNode().GetID())
    watch = BelongingsWatch(scene, lambda call: call())
    shown.remove()
    assert other.GetDisplayNode() is not None
    watch.stop()


@pytest.mark.parametrize("moment", range(10))
def test_a_scene_that_is_closed_in_the_middle_gets_nothing_more(moment: int, tmp_path: Path) -> None:
    node, chosen, result = finished(tmp_path)
    scene = node.GetScene()
    later: list[Callable[[], None]] = []
    watch = BelongingsWatch(scene, later.append)
    run = chosen.prepare(tmp_path / "going")
    shown, answers = None, []
    for step in range(10):
        if step == moment:
            scene.Clear()
            left = node_ids(scene)
        if step == 0 and shown is None and moment > 0:
            shown = SceneResult.start(node, chosen.grid, run, HU.shape)
        elif shown is not None and step < 9:
            # Put and update at different moments, so that a scene also closes between the two.
            records = result.slices[step : step + 1]
            answers.append((step, shown.put_slices(records, LABELS[step : step + 1], _maps(result, step, 1))))
            if step % 2:
                answers.append((step, shown.update()))
    if shown is not None:
        answers += [(9, shown.complete(result)), (9, shown.end("cancelled")), (9, shown.show_labels(LABELS, {}, []))]
        shown.remove()
        assert [answer for _, answer in answers] == [step < moment for step, _ in answers]
    assert later == []
    assert node_ids(scene) == left
    watch.stop()


@pytest.mark.parametrize("moment", range(1, 8))
def test_a_scene_that_is_closed_while_a_run_is_completed_gets_nothing_more(moment: int, tmp_path: Path) -> None:
    node, chosen, result = finished(tmp_path)
    scene = node.GetScene()
    shown = SceneResult.start(node, chosen.grid, chosen.prepare(tmp_path / "going"), HU.shape)
    steps = shown.completing(result)
    for _ in range(moment):
        next(steps)
    scene.Clear()
    left = node_ids(scene)
    assert list(steps) == []
    assert not shown.is_open
    assert node_ids(scene) == left


def test_a_damaged_label_map_is_a_refusal_and_leaves_nothing(tmp_path: Path) -> None:
    node, chosen, result = finished(tmp_path)
    in_study(node)
    before = node_ids(node.GetScene())
    path = RunFolder(result.folder).labels_path
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(WorkerFailed) as failed:
        SceneResult.open_run(node, chosen.grid, result)
    assert failed.value.code == "WORKER_INCOMPLETE"
    assert node_ids(node.GetScene()) == before


def test_deleting_the_ct_or_a_part_in_the_middle_ends_the_writing(tmp_path: Path) -> None:
    for part in ("volume", "segmentation", "folder"):
        node, chosen, result = finished(tmp_path / part)
        shown = SceneResult.start(node, chosen.grid, chosen.prepare(tmp_path / part / "going"), HU.shape)
        assert shown.put_slices(result.slices[:3], LABELS[:3])
        scene = node.GetScene()
        if part == "folder":
            remove_folder(scene, shown.folder)
        else:
            scene.RemoveNode(node if part == "volume" else shown.segmentation)
        left = node_ids(scene)
        assert not shown.update()
        assert not shown.put_slices(result.slices[3:5], LABELS[3:5])
        assert not shown.complete(result)
        assert node_ids(scene) == left


def test_a_table_that_the_user_deleted_does_not_stop_the_rest(tmp_path: Path) -> None:
    node, chosen, result = finished(tmp_path)
    shown = SceneResult.start(node, chosen.grid, chosen.prepare(tmp_path / "going"), HU.shape)
    node.GetScene().RemoveNode(shown.slice_table)
    assert shown.put_slices(result.slices[:3], LABELS[:3])
    assert shown.update()
    assert shown.complete(result)
    assert _label_sets(shown) == {name: _points(LABELS, name) for name in SUBTYPE_NAMES}


def test_a_cancelled_run_keeps_what_it_found_and_says_so(tmp_path: Path) -> None:
    node, chosen, result = finished(tmp_path)
    shown = SceneResult.start(node, chosen.grid, chosen.prepare(tmp_path / "going"), HU.shape)
    shown.put_slices(result.slices[:4], LABELS[:4])
    assert shown.end("cancelled")
    assert shown.record.state == "cancelled"
    seen = np.where((np.arange(9) < 4)[:, None, None], LABELS, 0)
    assert _label_sets(shown) == {name: _points(seen, name) for name in SUBTYPE_NAMES if _points(seen, name)}


def test_a_record_that_cannot_be_read_is_left_aside(tmp_path: Path) -> None:
    node, chosen, result = finished(tmp_path)
    shown = SceneResult.open_run(node, chosen.grid, result)
    for text in ("", "{", "[]", '{"schema": 99}', '{"schema": 1, "state": "complete"}'):
        shown.record_node.SetText(text)
        assert SceneResult.in_scene(node.GetScene()) == []


def test_a_moved_run_folder_is_found_beside_the_scene(tmp_path: Path) -> None:
    node, chosen, result = finished(tmp_path)
    shown = SceneResult.open_run(node, chosen.grid, result)
    beside = tmp_path / "elsewhere" / "run"
    beside.parent.mkdir()
    result.folder.rename(beside)
    assert shown.find_run_folder() is None
    node.GetScene().SetRootDirectory(str(beside.parent))
    assert shown.find_run_folder() == beside
