"""The panel on finished runs, without a network: open, thresholds, compare, correct, export, save, remove."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from module_panel import labels_of, open_finished_run, show_panel

pytestmark = pytest.mark.slicer_core


@pytest.fixture
def widget(host: Any) -> Any:
    """The panel with a head CT chosen."""
    return show_panel(host)


@pytest.fixture
def opened(host: Any, widget: Any, tmp_path: Path) -> Any:
    """The panel with a finished run in which IPH and SDH were found."""
    open_finished_run(host, widget, tmp_path / "run")
    return widget


def settle(host: Any, widget: Any) -> None:
    """Lets everything that was begun come to its end."""
    panel = widget.panel
    busy = (panel.thresholds, panel.keep.watch, panel.result._stepper, panel.compare._stepper)
    assert host.run_until(lambda: not any(part.busy for part in busy) and not panel._gather.isActive(), 30)
    host.run_for(0.1)


def cell(table: Any, row: int, column: int) -> str:
    return str(table.item(row, column).text())


def test_a_finished_run_is_opened_without_torch(host: Any, widget: Any, tmp_path: Path) -> None:
    import slicer

    run = open_finished_run(host, widget, tmp_path / "run")
    settle(host, widget)
    ui = widget.ui
    table = ui.volumeTable
    assert [cell(table, row, 0) for row in range(6)] == ["IPH", "IVH", "SAH", "SDH", "EDH", "All"]
    assert float(cell(table, 0, 1)) == pytest.approx(run.volume_ml["IPH"], rel=0.02)
    assert cell(table, 1, 1) == "0"
    assert float(cell(table, 5, 1)) == pytest.approx(run.volume_ml["total"], rel=0.02)
    assert [ui.heatMapSelector.itemData(n) for n in range(ui.heatMapSelector.count)] == ["", "IPH", "SDH"]
    assert "mL of hemorrhage" in ui.summaryLabel.text
    # The larger one is shown over the CT.
    composite = slicer.app.layoutManager().sliceWidget("Red").mrmlSliceCompositeNode()
    shown = widget.panel.choice.complete
    assert composite.GetBackgroundVolumeID() == shown.volume.GetID()
    assert composite.GetForegroundVolumeID() == shown.heat_maps["IPH"].GetID()
    assert composite.GetForegroundOpacity() == pytest.approx(0.5)
    ui.heatMapOpacitySlider.value = 0.2
    assert composite.GetForegroundOpacity() == pytest.approx(0.2)


def test_a_row_of_the_table_goes_to_its_largest_bleed(host: Any, opened: Any) -> None:
    panel = opened.panel
    view = panel.common.views.strip_node()
    for row, slices in ((0, range(3, 6)), (3, range(7, 9))):
        opened.ui.volumeTable.cellClicked.emit(row, 0)
        settle(host, opened)
        assert panel.result._position.index_of(view) in slices


def test_a_slider_changes_masks_tables_and_what_is_stored(host: Any, opened: Any) -> None:
    ui, panel = opened.ui, opened.panel
    before = labels_of(panel.choice.complete)
    ui.gateSDHSlider.value = 0.9
    settle(host, opened)
    shown = panel.choice.complete
    assert shown.record.result["settings"]["mask"]["class_thresholds"]["SDH"] == 0.9
    assert not (labels_of(shown) == 4).any()
    assert cell(ui.volumeTable, 3, 1) == "0"
    ui.runThresholdsButton.click()
    settle(host, opened)
    assert ui.gateSDHSlider.value == pytest.approx(0.4)
    assert (labels_of(shown) == 4).any() == (before == 4).any()


def test_sliders_follow_the_chosen_result_and_the_model(host: Any, opened: Any) -> None:
    ui = opened.ui
    assert ui.gateIPHSlider.value == pytest.approx(0.4)
    ui.modelThresholdsButton.click()
    settle(host, opened)
    own = opened.panel.input.model.metadata
    assert ui.gateIPHSlider.value == pytest.approx(own.class_thresholds["IPH"], abs=0.005)
    assert ui.maskIPHSlider.value == pytest.approx(own.mask_thresholds["absolute"]["IPH"], abs=0.005)


def test_looking_at_a_models_thresholds_does_not_round_them(host: Any, widget: Any, tmp_path: Path) -> None:
    from HemoCAMLib.resources import resource_folder

    copy = tmp_path / "copy"
    shutil.copytree(next(resource_folder("models").iterdir()), copy)
    described = copy / "configs" / "metadata.json"
    metadata = json.loads(described.read_text(encoding="utf-8"))
    metadata["hemocam"]["class_thresholds"]["IPH"] = 0.4357
    described.write_text(json.dumps(metadata), encoding="utf-8")
    host.dialogs.queue("getOpenFileName", str(described))
    widget.ui.addModelButton.click()
    panel = widget.panel
    own = panel.input.model.metadata.class_thresholds
    assert own["IPH"] == 0.4357
    assert widget.ui.gateIPHSlider.value == 0.44
    assert panel.thresholds.changes_for_analysis() == {}
    widget.ui.gateSAHSlider.value = 0.3
    changes = panel.thresholds.changes_for_analysis()
    assert changes == {"class_thresholds": {**{name: own[name] for name in ("IPH", "IVH", "SDH", "EDH")}, "SAH": 0.3}}


def test_the_papers_thresholds_are_on_the_scale_of_each_image(host: Any, opened: Any) -> None:
    ui = opened.ui
    ui.paperThresholdsButton.click()
    settle(host, opened)
    assert ui.scaleSelector.currentData == "per_image"
    assert [getattr(ui, f"mask{name}Slider").value for name in ("IPH", "IVH", "SAH", "SDH", "EDH")] == [
        75,
        125,
        125,
        75,
        25,
    ]
    assert not ui.refinementCheck.checked
    mask = opened.panel.choice.complete.record.result["settings"]["mask"]
    assert (mask["scale"], mask["refinement"]) == ("per_image", None)


def test_a_truth_is_guessed_corrected_and_compared(host: Any, opened: Any, tmp_path: Path) -> None:
    import slicer

    ui, panel = opened.ui, opened.panel
    shown = panel.choice.complete
    truth = slicer.vtkMRMLSegmentationNode()
    truth.Copy(shown.segmentation)
    truth.SetName("expert")
    slicer.mrmlScene.AddNode(truth)
    segment = truth.GetSegmentation().GetSegment("SDH")
    segment.SetName("something")
    segment.RemoveTag("TerminologyEntry")
    ui.truthSelector.setCurrentNode(truth)
    settle(host, opened)
    names = {cell(ui.mappingTable, row, 0): row for row in range(ui.mappingTable.rowCount)}
    boxes = {name: ui.mappingTable.cellWidget(row, 1) for name, row in names.items()}
    assert boxes["Intraparenchymal hemorrhage"].currentData == "IPH"
    assert boxes["something"].currentData == ""
    assert "something" in ui.mappingNoteLabel.text
    boxes["something"].currentIndex = boxes["something"].findData("SDH")
    assert ui.mappingNoteLabel.text == ""
    ui.compareApplyButton.click()
    settle(host, opened)
    assert ui.agreementTable.columnCount >= 3
    assert cell(ui.agreementTable, 0, 0) == "1.00"
    assert ui.agreementStripFrame.isVisibleTo(ui.compareButton)
    assert panel.compare.comparison.overlap.GetSegmentation().GetNumberOfSegments() == 1
    assert slicer.util.getNodesByClass("vtkMRMLTableNode")


def test_a_truth_whose_labels_say_nothing_is_refused_in_words(host: Any, opened: Any) -> None:
    import slicer

    ui = opened.ui
    labels = np.full((40, 64, 60), 9, np.uint8)
    labels[0] = 8
    node = slicer.util.addVolumeFromArray(labels, name="odd", nodeClassName="vtkMRMLLabelMapVolumeNode")
    ui.truthSelector.setCurrentNode(node)
    settle(host, opened)
    ui.compareApplyButton.click()
    settle(host, opened)
    assert ui.compareNoteLabel.text
    assert not ui.agreementTable.isVisibleTo(ui.compareButton)


def test_the_editor_gets_the_right_volume_and_tables_follow_edits(host: Any, opened: Any) -> None:
    import slicer

    ui, panel = opened.ui, opened.panel
    shown = panel.choice.complete
    before = float(cell(ui.volumeTable, 0, 1))
    ui.segmentEditorButton.click()
    editor = slicer.modules.SegmentEditorWidget.editor
    assert editor.segmentationNode() is shown.segmentation
    assert editor.sourceVolumeNode() is shown.volume
    blank = np.zeros(slicer.util.arrayFromVolume(shown.volume).shape, np.uint8)
    blank[4, 20:24, 20:24] = 1
    slicer.util.updateSegmentBinaryLabelmapFromArray(blank, shown.segmentation, "IPH", shown.volume)
    settle(host, opened)
    assert float(cell(ui.volumeTable, 0, 1)) < before
    assert "Corrected by hand" in ui.summaryLabel.text
    # In testing mode questions are answered with no: the corrections stay.
    ui.gateSDHSlider.value = 0.95
    settle(host, opened)
    assert ui.gateSDHSlider.value == pytest.approx(0.4)
    assert (labels_of(shown) == 1).sum() == 16


def test_tables_and_label_map_are_written(host: Any, opened: Any, tmp_path: Path) -> None:
    import SimpleITK as sitk

    host.dialogs.queue("getSaveFileName", str(tmp_path / "out.nrrd"))
    opened.panel.keep._on_label_map()
    written = sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / "out.nrrd")))
    assert set(np.unique(written)) == {0, 1, 4}
    host.dialogs.queue("getExistingDirectory", str(tmp_path / "tables"))
    opened.panel.keep._on_tables()
    lines = (tmp_path / "tables" / "volumes.csv").read_text(encoding="utf-8").splitlines()
    assert lines[0].startswith("Hemorrhage,")
    assert "mL" in lines[0]
    assert len(lines) == 7


def test_removing_a_result_leaves_the_ct_alone(host: Any, opened: Any) -> None:
    import slicer

    opened.ui.removeResultButton.click()
    settle(host, opened)
    assert slicer.util.getNodesByClass("vtkMRMLSegmentationNode") == []
    assert len(slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode")) == 1
    assert opened.ui.summaryLabel.text == "No result yet."
    assert opened.ui.resultSelector.count == 0


def test_deleting_the_folder_in_the_data_tree_is_noticed(host: Any, opened: Any) -> None:
    import slicer

    hierarchy = slicer.mrmlScene.GetSubjectHierarchyNode()
    hierarchy.RemoveItem(opened.panel.choice.current.folder)
    settle(host, opened)
    assert opened.panel.choice.current is None
    assert opened.ui.summaryLabel.text == "No result yet."


def test_a_model_that_is_none_is_refused_and_one_that_is_stays_listed(host: Any, widget: Any, tmp_path: Path) -> None:
    from HemoCAMLib.resources import resource_folder

    ui = widget.ui
    (tmp_path / "no.zip").write_bytes(b"no zip")
    host.dialogs.queue("getOpenFileName", str(tmp_path / "no.zip"))
    ui.addModelButton.click()
    assert ui.modelSelector.count == 1
    copy = tmp_path / "copy"
    shutil.copytree(next(resource_folder("models").iterdir()), copy)
    host.dialogs.queue("getOpenFileName", str(copy / "configs" / "metadata.json"))
    ui.addModelButton.click()
    assert ui.modelSelector.count == 2
    assert widget.panel.input.model.key == str(copy)
    assert "Research" in ui.modelCardLabel.text
    assert ui.removeModelButton.enabled
    widget.onReload()
    import slicer

    renewed = slicer.modules.HemoCAMWidget
    assert renewed.panel.input.model.key == str(copy)
    renewed.ui.removeModelButton.click()
    assert renewed.ui.modelSelector.count == 1


def test_a_scene_that_is_saved_and_opened_has_the_result_again(host: Any, opened: Any, tmp_path: Path) -> None:
    import slicer

    opened.ui.gateSDHSlider.value = 0.9
    settle(host, opened)
    numbers = opened.panel.choice.complete.record.result["volume_ml"]
    host.dialogs.queue("getSaveFileName", str(tmp_path / "scene"))
    opened.ui.saveSceneButton.click()
    host.close_scene()
    assert opened.ui.summaryLabel.text == "No result yet."
    # As on another computer: the run folder is in the scene's file alone.
    shutil.rmtree(tmp_path / "run")
    slicer.util.loadScene(str(tmp_path / "scene.mrb"))
    settle(host, opened)
    assert opened.panel.choice.complete.record.result["volume_ml"] == numbers
    assert opened.ui.gateSDHSlider.value == pytest.approx(0.9)
    opened.ui.runThresholdsButton.click()
    settle(host, opened)
    assert opened.ui.gateSDHSlider.value == pytest.approx(0.4)
    assert (labels_of(opened.panel.choice.complete) == 4).any()
    opened.ui.refinementCheck.checked = True
    settle(host, opened)
    settings = opened.panel.choice.complete.record.result["settings"]["mask"]
    assert settings["refinement"]["name"] == opened.panel.input.model.metadata.refinement["name"]


def test_mouse_and_arrow_keys_choose_a_slice(host: Any, opened: Any) -> None:
    from panel_host.convert import to_qt
    from PySide6.QtCore import QPoint, Qt
    from PySide6.QtTest import QTest

    strip = opened.panel.result.strip
    widget = to_qt(strip)
    layout = strip.layout_of()
    QTest.mouseClick(widget, Qt.MouseButton.LeftButton, Qt.KeyboardModifier.NoModifier, QPoint(layout.left(7) + 1, 5))
    assert strip.current_slice == 7
    QTest.keyClick(widget, Qt.Key.Key_Right)
    assert strip.current_slice == 8
    QTest.keyClick(widget, Qt.Key.Key_Left)
    assert strip.current_slice == 7
    assert opened.ui.stripLabel.text.startswith("Slice 8 of 40")
