"""What happens to an analysis that is disturbed, at moments drawn by chance; afterwards nothing is left behind."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")

#: Slices of the phantom.
SLICES = 29

#: This share of the moments lies before the first slice, within so many seconds.
BEFORE_FIRST, WITHIN_S = 0.3, 2.0


def python_with_torch() -> str:
    """The interpreter of the environment that `make test` makes: Slicer's own Python has no torch."""
    for place in (ROOT / ".venv/bin/python", ROOT / ".venv/Scripts/python.exe"):
        if place.is_file() and subprocess.run([place, "-c", "import torch"], capture_output=True).returncode == 0:
            return str(place)
    pytest.skip("no .venv with torch beside this environment (make test makes one)")


@dataclass
class Stage:
    """The application with the phantom loaded, and one analysis under way."""

    host: Any
    logic: Any
    volume: Any
    folder: Path
    handle: Any = None

    def start(self) -> None:
        from HemoCAMLib.panel.selftest.phantom_run import phantom_in_scene

        self.volume, _ = phantom_in_scene()
        self.handle = self.logic.analyze(self.volume, runFolder=self.folder, overwrite=True, threads=1, wait=False)

    @property
    def worker(self) -> Any:
        from HemoCAMLib.panel.worker_host import application_worker

        return application_worker()

    def stored(self, role: str) -> list[Any]:
        import slicer

        scene = slicer.mrmlScene
        nodes = (scene.GetNthNode(index) for index in range(scene.GetNumberOfNodes()))
        return [node for node in nodes if node.GetAttribute("HemoCAM.role") == role]


@pytest.fixture(scope="module")
def application() -> Iterator[Any]:
    pytest.importorskip("PySide6", reason="PySide6-Essentials is not installed")
    pytest.importorskip("slicer", reason="slicer-core is not installed")
    from panel_host import PanelHost

    with PanelHost(python=python_with_torch()) as host:
        host.load_module(ROOT / "HemoCAM" / "HemoCAM.py")
        yield host


@pytest.fixture
def stage(application: Any, tmp_path: Path) -> Iterator[Stage]:
    from HemoCAMLib.panel.worker_host import end_application_worker

    application.close_scene()
    made = Stage(application, sys.modules["HemoCAM"].HemoCAMLogic(), None, tmp_path / "Lékař")
    yield made
    end_application_worker()
    application.close_scene()
    assert application.take_errors() == []


def close_scene(stage: Stage) -> None:
    stage.host.close_scene()


def delete_input(stage: Stage) -> None:
    import slicer

    slicer.mrmlScene.RemoveNode(stage.volume)


def delete_result_folder(stage: Stage) -> None:
    if stage.handle.shown is not None:
        stage.handle.shown.remove()
    else:
        stage.handle.cancel()


def delete_segmentation(stage: Stage) -> None:
    import slicer

    if stage.handle.shown is not None:
        slicer.mrmlScene.RemoveNode(stage.handle.shown.segmentation)
    else:
        stage.handle.cancel()


def kill_worker(stage: Stage) -> None:
    for pid in stage.worker.pids[-1:]:
        os.kill(pid, signal.SIGKILL)


def kill_launcher(stage: Stage) -> None:
    for pid in stage.worker.pids[:1]:
        os.kill(pid, signal.SIGKILL)


def cancel(stage: Stage) -> None:
    stage.handle.cancel()


def quit_application(stage: Stage) -> None:
    stage.host.application.aboutToQuit.emit()


def end_worker_as_a_reload_does(stage: Stage) -> None:
    from HemoCAMLib.panel.worker_host import end_application_worker

    end_application_worker()


#: (event, how often when quick, how often in all, whether the worker may stay warm)
EVENTS: list[tuple[Callable[[Stage], None], int, int, bool]] = [
    (close_scene, 2, 10, False),
    (delete_input, 1, 3, False),
    (delete_result_folder, 0, 3, False),
    (delete_segmentation, 0, 3, False),
    (kill_worker, 1, 3, False),
    (kill_launcher, 0, 2, False),
    (cancel, 1, 4, True),
    (end_worker_as_a_reload_does, 1, 2, False),
    (quit_application, 1, 3, False),
]


def cases() -> list[Any]:
    draw = random.Random(20261121)
    found = []
    for inject, quick, every, warm in EVENTS:
        for number in range(every):
            share = draw.random()
            marks = [pytest.mark.slow] if number >= quick else []
            found.append(pytest.param(inject, share, warm, id=f"{inject.__name__}-at-{share:.2f}", marks=marks))
    return found


def reach(stage: Stage, share: float) -> None:
    """Turns the event loop until a moment: some time after the click, or some slices into the run."""
    if share < BEFORE_FIRST:
        stage.host.run_until(lambda: stage.handle.finished, share / BEFORE_FIRST * WITHIN_S)
        return
    slices = int((share - BEFORE_FIRST) / (1 - BEFORE_FIRST) * (SLICES + 2))
    reached = lambda: stage.handle.state == "running" and stage.handle.slices_done >= slices  # noqa: E731
    assert stage.host.run_until(lambda: stage.handle.finished or reached(), 240)


def is_running(pid: int) -> bool:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8")
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] != "Z"


@pytest.mark.parametrize(("inject", "share", "warm"), cases())
def test_a_disturbed_analysis_leaves_nothing_behind(
    inject: Callable[[Stage], None],
    share: float,
    warm: bool,
    stage: Stage,
    capsys: pytest.CaptureFixture[str],
) -> None:
    import slicer

    stage.start()
    reach(stage, share)
    state, slices, pids = stage.handle.state, stage.handle.slices_done, stage.worker.pids
    inject(stage)
    assert stage.host.run_until(lambda: stage.handle.finished, 60), stage.handle.state
    stage.host.run_for(0.3)
    # A worker that was done before it could be stopped stays warm, as it does after any run.
    done = (stage.handle.run_folder / "result.json").exists()
    if not warm and not done and state not in ("preparing", "completing", "done"):
        assert stage.host.run_until(lambda: not any(map(is_running, pids)), 10), pids
    records = stage.stored("record")
    assert {stage.handle.shown.record.state for _ in records} <= {"complete", "cancelled", "failed"}
    if inject is close_scene:
        assert not records
        assert not [name for name in slicer.util.getNodes("*") if "HemoCAM" in name]
    if inject in (delete_input, delete_segmentation) and state != "done":
        assert not records
    if stage.handle.state == "failed":
        assert stage.handle.error.code in ("WORKER_KILLED", "WORKER_DIED", "WORKER_START")
        assert stage.handle.error.advice
    assert stage.host.take_errors() == []
    with capsys.disabled():
        print(
            f"\n{inject.__name__} ({state}, {slices} slices done): {stage.handle.state}, "
            f"{sum(map(is_running, pids))} processes, {len(records)} results, 0 exceptions",
            end="",
        )


def test_a_worker_that_hangs_is_killed_after_the_grace_time(stage: Stage) -> None:
    stage.worker._cancel_grace_s = 0.5
    stage.start()
    assert stage.host.run_until(lambda: stage.handle.state == "running", 120)
    pids = stage.worker.pids
    os.kill(pids[-1], signal.SIGSTOP)
    stage.handle.cancel()
    assert stage.host.run_until(lambda: stage.handle.finished, 20)
    assert stage.handle.state == "cancelled"
    assert stage.host.run_until(lambda: not any(map(is_running, pids)), 10)


def test_a_worker_that_cannot_start_is_told_in_words(stage: Stage) -> None:
    from HemoCAMLib.panel.worker_host import WorkerHost

    seen: list[Any] = []
    host = WorkerHost(python="/nowhere/python")
    host.submit(stage.folder, seen.append)
    assert stage.host.run_until(lambda: bool(seen), 10)
    assert seen[0]["code"] == "WORKER_START"
    assert host.pids == ()
    assert not host.busy


def test_an_idle_worker_ends_by_itself(stage: Stage) -> None:
    from HemoCAMLib.panel.worker_host import WorkerHost

    host = WorkerHost(idle_shutdown_s=0.2)
    host.start()
    pids = host.pids
    assert pids
    assert stage.host.run_until(lambda: host.pids == () and not any(map(is_running, pids)), 30)


def test_a_second_run_is_refused_while_one_goes(stage: Stage) -> None:
    from HemoCAMLib.errors import WorkerFailed

    stage.start()
    assert stage.host.run_until(lambda: stage.handle.state == "starting", 30)
    with pytest.raises(WorkerFailed) as caught:
        stage.worker.submit(stage.folder / "other", lambda event: None)
    assert caught.value.code == "WORKER_BUSY"
