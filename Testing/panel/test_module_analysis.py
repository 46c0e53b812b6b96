"""The panel with a real worker: a whole analysis, cancel, closed scenes, deleted nodes, the end of the module."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from module_panel import LIMIT_S, add_head, is_alive, show_panel, start_analysis
from torch_python import python_with_torch

pytestmark = pytest.mark.slicer_core


@pytest.fixture
def host() -> Iterator[Any]:
    """The application, whose Python can start a real worker."""
    pytest.importorskip("PySide6", reason="PySide6-Essentials is not installed")
    pytest.importorskip("slicer", reason="slicer-core is not installed")
    from panel_host import PanelHost

    with PanelHost(python=str(python_with_torch())) as running:
        yield running


@pytest.fixture
def widget(host: Any) -> Any:
    """The panel with a head CT chosen."""
    return show_panel(host)


def worker_pids() -> tuple[int, ...]:
    from HemoCAMLib.panel.worker_host import application_worker

    return application_worker().pids


def assert_nothing_runs(host: Any, pids: tuple[int, ...]) -> None:
    assert pids
    assert host.run_until(lambda: not any(map(is_alive, pids)), 15)


def test_a_whole_analysis_streams_ends_and_is_told_in_words(host: Any, widget: Any) -> None:
    import slicer

    ui, panel = widget.ui, widget.panel
    assert ui.applyButton.enabled
    handle = start_analysis(host, widget)
    assert ui.applyButton.text == "Cancel"
    assert ui.progressBar.isVisible()
    # It goes on while another module is shown.
    host.select_module("Other")
    assert host.run_until(lambda: handle.finished, LIMIT_S)
    assert handle.state == "done", handle.error
    host.select_module("HemoCAM")
    assert host.run_until(lambda: not panel.result._stepper.busy, 20)
    assert ui.applyButton.text == "Analyse"
    assert "Finished in" in ui.statusLabel.text
    assert "CPU" in ui.statusLabel.text
    assert panel.choice.complete is not None
    assert ui.resultSelector.count == 1
    assert ui.volumeTable.rowCount == 6
    total = panel.choice.complete.record.result["volume_ml"]["total"]
    assert ("No hemorrhage found" in ui.summaryLabel.text) == (total == 0)
    # The heat maps of the result are volumes, but no CT.
    host.run_for(0.2)
    assert ui.inputSelector.nodeCount() == 1
    assert slicer.util.getNodesByClass("vtkMRMLPlotChartNode")
    view = panel.common.views.strip_node()
    for index in (0, 5, 2):
        panel.result.strip._choose(index)
        assert panel.result._position.index_of(view) == index
        assert ui.stripLabel.text.startswith(f"Slice {index + 1} of {handle.slice_count}")
    # The engine's own lists of methods and layers, for the next analysis.
    assert host.run_until(lambda: ui.mapMethodSelector.count > 5, 60)
    assert ui.mapMethodSelector.findData("hires-cam") > 0
    assert ui.mapLayerSelector.findData("[-1]") > 0
    ui.logButton.click()
    window = panel.run._log
    assert '"event": "done"' in window.text.toPlainText()
    assert window.dialog.isVisible()


def test_cancel_keeps_what_was_found_and_the_button_works_again(host: Any, widget: Any) -> None:
    handle = start_analysis(host, widget)
    widget.ui.applyButton.click()
    assert not widget.ui.applyButton.enabled
    assert host.run_until(lambda: handle.finished, LIMIT_S)
    assert handle.state == "cancelled"
    assert "Cancelled after" in widget.ui.statusLabel.text
    assert widget.ui.applyButton.text == "Analyse"
    assert widget.ui.applyButton.enabled
    again = start_analysis(host, widget)
    assert again.run_folder == handle.run_folder
    assert host.run_until(lambda: again.finished, LIMIT_S)
    assert again.state == "done"
    assert len(widget.panel.choice.results()) == 1


def test_closing_the_scene_in_the_middle_leaves_no_process_and_no_node(host: Any, widget: Any) -> None:
    import slicer

    start_analysis(host, widget)
    pids = worker_pids()
    host.close_scene()
    assert_nothing_runs(host, pids)
    assert slicer.util.getNodesByClass("vtkMRMLSegmentationNode") == []
    assert slicer.util.getNodesByClass("vtkMRMLTextNode") == []
    assert widget.ui.statusLabel.text == ""
    assert not widget.ui.applyButton.enabled
    assert widget.ui.summaryLabel.text == "No result yet."
    # Everything works again in the new scene.
    add_head(widget)
    host.run_until(lambda: widget.ui.applyButton.enabled, 20)
    handle = start_analysis(host, widget)
    assert host.run_until(lambda: handle.finished, LIMIT_S)
    assert handle.state == "done"


def test_deleting_the_ct_in_the_middle_ends_the_run(host: Any, widget: Any) -> None:
    import slicer

    handle = start_analysis(host, widget)
    pids = worker_pids()
    slicer.mrmlScene.RemoveNode(widget.panel.input.volume)
    assert host.run_until(lambda: handle.finished, 20)
    assert handle.state == "cancelled"
    assert_nothing_runs(host, pids)
    host.run_for(0.2)
    assert not widget.ui.applyButton.enabled


def test_reloading_the_module_in_the_middle_leaves_no_process(host: Any, widget: Any) -> None:
    import slicer

    handle = start_analysis(host, widget)
    pids = worker_pids()
    widget.onReload()
    assert handle.finished
    assert_nothing_runs(host, pids)
    renewed = slicer.modules.HemoCAMWidget
    assert renewed is not widget
    # The result that was begun is still there, said to be unfinished.
    assert "cancelled" in renewed.ui.summaryLabel.text or "not finished" in renewed.ui.summaryLabel.text


def test_quitting_in_the_middle_leaves_no_process(host: Any, widget: Any) -> None:
    start_analysis(host, widget)
    pids = worker_pids()
    host.application.aboutToQuit.emit()
    assert_nothing_runs(host, pids)


def test_a_volume_that_is_no_head_is_refused_before_anything_runs(host: Any, widget: Any) -> None:
    import numpy as np
    import slicer

    node = slicer.util.addVolumeFromArray(np.zeros((20, 64, 64), np.int16))
    widget.ui.inputSelector.setCurrentNode(node)
    assert host.run_until(lambda: not widget.ui.applyButton.enabled and widget.ui.inputNotesLabel.text, 20)
    assert widget.ui.applyButton.toolTip != ""
