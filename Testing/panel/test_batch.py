"""Several scans into one table, with the real worker."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from synthetic_head import head_hu
from torch_python import python_with_torch

pytestmark = pytest.mark.slicer_core

ROOT = Path(__file__).resolve().parents[2]
MATRIX = np.array([[-3.4, 0, 0, 100.3], [0, -3.4, 0, 107.1], [0, 0, 5, 20], [0, 0, 0, 1.0]])
QUICK = {"device": "cpu", "threads": 1}


@pytest.fixture
def host() -> Iterator[Any]:
    """The application, whose Python can start a real worker."""
    pytest.importorskip("PySide6", reason="PySide6-Essentials is not installed")
    pytest.importorskip("slicer", reason="slicer-core is not installed")
    from panel_host import PanelHost

    with PanelHost(python=str(python_with_torch())) as running:
        yield running


@pytest.fixture
def logic(host: Any) -> Iterator[Any]:
    from HemoCAMLib.panel.scripting import Scripting
    from HemoCAMLib.panel.worker_host import end_application_worker

    yield Scripting()
    end_application_worker()


def add_volume(hu: np.ndarray, name: str) -> Any:
    import slicer

    from HemoCAMLib.scene.bridge import matrix_of_array

    return slicer.util.addVolumeFromArray(hu, matrix_of_array(MATRIX), name)


def rows_of(table_node: Any) -> list[dict[str, Any]]:
    table = table_node.GetTable()
    names = [table.GetColumnName(column) for column in range(table.GetNumberOfColumns())]
    return [
        {name: table.GetColumn(column).GetValue(row) for column, name in enumerate(names)}
        for row in range(table.GetNumberOfRows())
    ]


def test_a_scan_that_fails_does_not_stop_the_others(logic: Any, host: Any, tmp_path: Path) -> None:
    nodes = [
        add_volume(head_hu(slices=4), "first"),
        add_volume(np.full((4, 64, 64), -1000, np.int16), "air"),
        add_volume(head_hu(slices=3), "gone"),
        add_volume(head_hu(slices=5), "last"),
    ]
    batch = logic.analyzeSeveral(nodes, folder=tmp_path / "batch", wait=False, **QUICK)
    nodes[2].GetScene().RemoveNode(nodes[2])
    assert host.run_until(lambda: batch.finished, 120)
    assert [scan.state for scan in batch.scans] == ["done", "failed", "failed", "done"]
    rows = rows_of(batch.table_node)
    assert [row["Scan"] for row in rows] == ["first"] * 6 + ["air", "gone"] + ["last"] * 6
    assert [row["Hemorrhage"] for row in rows[:6]][-1] == "All"
    assert sum(row["Volume"] for row in rows[:5]) == pytest.approx(rows[5]["Volume"], abs=1e-3)
    assert batch.scans[1].error.code == "CT_NOT_HEAD"
    assert rows[6]["Note"] == f"{batch.scans[1].error.message} {batch.scans[1].error.advice}".strip()
    assert rows[7]["Note"] == "The volume is no longer in the scene. Load it again."
    assert [result.volume.GetName() for result in logic.results()] == ["first", "last"]
    assert logic.results()[0].volume_ml["total"] == pytest.approx(rows[5]["Volume"])
    assert (batch.done_count, batch.failed_count) == (2, 2)


def test_a_batch_that_was_cancelled_goes_on_where_it_stopped(logic: Any, host: Any, tmp_path: Path) -> None:
    nodes = [add_volume(head_hu(slices=count), f"scan {count}") for count in (3, 40, 4)]
    batch = logic.analyzeSeveral(nodes, folder=tmp_path / "batch", wait=False, batchSize=2, **QUICK)
    assert host.run_until(lambda: batch.scans[1].state == "running" and batch.handle and batch.handle.slices_done, 120)
    batch.cancel()
    assert host.run_until(lambda: batch.finished, 60)
    assert [scan.state for scan in batch.scans] == ["done", "cancelled", "waiting"]
    written = np.load(batch.run_folder(batch.scans[1]) / "probabilities.npy")
    already = int(np.isfinite(written).all(axis=0).sum())
    assert 0 < already < 40
    run_of_first = (batch.run_folder(batch.scans[0]) / "result.json").stat().st_mtime_ns
    steps: list[int] = []
    batch.connect("changed", lambda batch: steps.append(batch.done_count))
    batch.start()
    assert host.run_until(lambda: batch.finished, 240)
    assert [scan.state for scan in batch.scans] == ["done"] * 3
    assert (batch.run_folder(batch.scans[0]) / "result.json").stat().st_mtime_ns == run_of_first
    assert steps[0] == 1
    assert steps[-1] == 3
    assert len(rows_of(batch.table_node)) == 18
    names = {path.name for path in (tmp_path / "batch").iterdir()}
    assert names == {"0001", "0002", "0003"}


def test_closing_the_scene_ends_a_batch(logic: Any, host: Any, tmp_path: Path) -> None:
    import slicer

    from HemoCAMLib.panel import worker_host

    nodes = [add_volume(head_hu(slices=30), f"scan {index}") for index in range(3)]
    batch = logic.analyzeSeveral(nodes, folder=tmp_path / "batch", wait=False, **QUICK)
    assert host.run_until(lambda: batch.handle is not None and batch.handle.state == "running", 120)
    slicer.mrmlScene.Clear(0)
    assert host.run_until(lambda: batch.finished, 30)
    assert batch.state == "cancelled"
    assert host.run_until(lambda: worker_host.application_worker().pids == (), 10)
    assert slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLTextNode") == 0


def test_what_a_batch_loads_itself_goes_again(logic: Any, host: Any, tmp_path: Path) -> None:
    import slicer

    from HemoCAMLib.errors import InputRefused
    from HemoCAMLib.panel.batch import Scan

    made: list[Any] = []

    def load() -> Any:
        made.append(add_volume(head_hu(slices=3), "loaded"))
        return made[0]

    def unload(handle: Any) -> None:
        handle.shown.remove()
        slicer.mrmlScene.RemoveNode(made[0])

    def refuse() -> Any:
        raise InputRefused("CT_UNREADABLE", "The series could not be loaded.", "Choose a head CT.")

    scans = [Scan("unreadable", refuse, key="2.25.1"), Scan("series", load, key="2.25.2", unload=unload)]
    batch = logic.analyzeSeveral(scans, folder=tmp_path / "batch", wait=True, **QUICK)
    assert [scan.state for scan in batch.scans] == ["failed", "done"]
    assert logic.results() == []
    assert slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLScalarVolumeNode") == 0
    assert "2.25" not in " ".join(path.name for path in (tmp_path / "batch").iterdir())
    assert rows_of(batch.table_node)[0]["Note"] == "The series could not be loaded. Choose a head CT."


def test_the_panels_list_analyses_what_is_ticked(host: Any) -> None:
    import qt
    import slicer

    host.load_module(ROOT / "HemoCAM" / "HemoCAM.py")
    panel = host.select_module("HemoCAM").panel
    for count in (3, 4):
        add_volume(head_hu(slices=count), f"scan {count}")
    part = panel.batch
    assert host.run_until(lambda: part.list.count == 2, 5)
    assert not part.apply_button.enabled
    part.list.item(1).setCheckState(qt.Qt.Checked)
    add_volume(head_hu(slices=5), "scan 5")
    assert host.run_until(lambda: part.list.count == 3, 5)
    assert [name.split(":")[0] for name in part.ticked] == ["node"]
    assert part.apply_button.enabled
    part.apply_button.click()
    assert part.apply_button.text == "Cancel"
    assert host.run_until(lambda: part.batch.finished, 120)
    assert [scan.name for scan in part.batch.scans] == ["scan 4"]
    assert part.batch.scans[0].state == "done"
    assert "1 of 1 scans done" in part.status_label.text
    assert slicer.app.applicationLogic().GetSelectionNode().GetActiveTableID() == part.batch.table_node.GetID()
    part.list.item(2).setCheckState(qt.Qt.Checked)
    part.apply_button.click()
    batch = part.batch
    assert host.run_until(lambda: batch.done_count == 1, 120)
    part.apply_button.click()
    assert host.run_until(lambda: batch.finished, 60)
    if batch.done_count == 1:
        assert part.apply_button.text == "Go on"
        part.apply_button.click()
        assert part.batch is batch
        assert host.run_until(lambda: batch.finished, 120)
    assert batch.done_count == 2
    assert part.apply_button.text == "Analyse ticked scans"
    part.on_add()
    assert part.status_label.text == "The DICOM database holds no CT series."


def test_a_finished_analysis_is_not_kept_in_memory(logic: Any, host: Any, tmp_path: Path) -> None:
    def analysed() -> weakref.ref[Any]:
        node = add_volume(head_hu(slices=3), "scan")
        handle = logic.analyze(node, runFolder=tmp_path / "run", wait=False, **QUICK)
        assert host.run_until(lambda: handle.finished, 120)
        handle.result.remove()
        return weakref.ref(handle)

    handle = analysed()
    host.run_for(0.1)
    gc.collect()
    assert handle() is None
