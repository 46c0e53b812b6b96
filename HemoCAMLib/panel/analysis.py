"""One analysis under way: from a volume node through the worker to nodes that fill while it goes."""

from __future__ import annotations

import logging
import shutil
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import qt

from HemoCAMLib.errors import Cancelled, HemoCAMError, InputRefused, WorkerFailed, error_from_dict
from HemoCAMLib.panel.analysis_result import AnalysisResult
from HemoCAMLib.panel.worker_host import WorkerHost
from HemoCAMLib.run.folder import RunFolder
from HemoCAMLib.run.protocol import Message
from HemoCAMLib.run.result import Result
from HemoCAMLib.scene import (
    AnalysisInput,
    RunStream,
    SceneResult,
    Steps,
    VolumeGrid,
    analysis_input_steps,
    frame_in_job,
)
from HemoCAMLib.scene.bridge import Node
from HemoCAMLib.scene.dicom_files import FileOfUid
from HemoCAMLib.subtypes import CLASS_NAMES

#: What callbacks can be connected to.
EVENTS = ("state", "slices", "progress", "finished")

#: States after which nothing happens any more.
FINAL_STATES = ("done", "cancelled", "failed")

#: Nodes are brought up to date this often: each time costs the application a rendering of 100 to 175 ms.
UPDATE_MS = 400

#: How often the handle looks after its nodes, and takes slices in.
TURN_MS = 50

#: Slices that are taken in at once: a few milliseconds.
SLICES_A_TURN = 8


class Analysis:
    """The handle of an analysis; everything happens in later turns of the event loop.

    The result appears in the scene slice by slice. It ends in one of the states ``done``, ``cancelled`` and ``failed``.
    Where the scene is closed, the CT or a part of the result deleted in the meantime, it ends as cancelled: the worker
    is killed, and what is left of the result is taken out of the scene.

    >>> handle = Analysis(worker, volume_node, run_folder)  # doctest: +SKIP
    >>> handle.connect("finished", lambda handle: print(handle.state, handle.result))  # doctest: +SKIP

    Args:
        worker: hands the run to the process; one run at a time.
        volume_node: the CT.
        run_folder: of the run, made if absent; an unfinished run of the same scan and settings there goes on.
        settings: fields of :class:`~HemoCAMLib.run.job.AnalyzeJob`: ``model``, ``device``, ``mask``, ``map``, ...
        file_of_uid: path of a DICOM file by SOP instance UID; None where there is no database.
        modality: of the DICOM series where it is known; anything but CT is refused.
        overwrite: allow the run folder to hold another analysis.
        discard: delete the run folder where the result was deleted before it was complete.
        update_ms: nodes are brought up to date at most this often.

    Attributes:
        state: ``preparing``, ``starting`` (the worker reads the scan and loads the model), ``running``, ``completing``
            (the worker is done, nodes are being brought to the final result), ``done``, ``cancelled`` or ``failed``.
        error: why it failed or was cancelled: a sentence for the user, and what to do next.
        shown: the nodes, from the first slice on; None before.
        result: once the state is ``done``.
        slices_done: slices that are analysed.
        slice_count: slices of the scan; 0 while unknown.
        seconds_left: None while unknown.
        device: what the network runs on; empty while unknown.
        run_folder: where the run is written.
        log_path: what the worker has to say; the file may not be there yet.
        input: what is analysed, with notes about it; None while preparing.
        notices: what is done otherwise than asked, sentences.
        quality: how far the scan is from what the model was trained on, as in ``result.json``; empty while unknown.
    """

    def __init__(
        self,
        worker: WorkerHost,
        volume_node: Node,
        run_folder: str | Path,
        settings: Mapping[str, Any] | None = None,
        *,
        file_of_uid: FileOfUid | None = None,
        modality: str = "",
        overwrite: bool = False,
        discard: bool = False,
        update_ms: int = UPDATE_MS,
    ) -> None:
        self.state = "preparing"
        self.error: HemoCAMError | None = None
        self.shown: SceneResult | None = None
        self.result: AnalysisResult | None = None
        self.slices_done = 0
        self.slice_count = 0
        self.seconds_left: float | None = None
        self.device = ""
        self.run_folder = Path(run_folder)
        self.log_path = RunFolder(run_folder).log_path
        self.input: AnalysisInput | None = None
        self.notices: list[str] = []
        self.quality: dict[str, Any] = {}
        self._worker = worker
        self._volume = volume_node
        self._scene = volume_node.GetScene()
        self._settings = dict(settings or {})
        self._file_of_uid = file_of_uid
        self._modality = modality
        self._overwrite = overwrite
        self._discard = discard
        self._callbacks: dict[str, list[Callable[[Analysis], object]]] = {event: [] for event in EVENTS}
        self._submitted = False
        self._run_shape: tuple[int, int, int] | None = None
        self._stream: RunStream | None = None
        self._waiting: list[dict[str, Any]] = []
        self._stale = False
        self._steps: Steps[None] | None = self._preparing()
        self._update_s = update_ms / 1000
        self._updated_s = 0.0
        self._turn = qt.QTimer()
        self._turn.setInterval(0)
        self._turn.connect("timeout()", self._take_turn)
        self._turn.start()

    @property
    def finished(self) -> bool:
        """Whether it is over, in whatever way."""
        return self.state in FINAL_STATES

    def connect(self, event: str, callback: Callable[[Analysis], object]) -> None:
        """Calls a function with this handle, on the main thread.

        Args:
            event: ``state`` at every change of :attr:`state`; ``slices`` when new slices show; ``progress`` when
                ``slices_done``, ``seconds_left``, ``device`` or ``notices`` changed; ``finished`` once, last.
            callback: takes the handle.
        """
        self._callbacks[event].append(callback)

    def cancel(self) -> None:
        """Asks for the end; it comes with ``finished`` after the batch in hand, by force after ten seconds."""
        if self.finished or self.state == "completing":
            return
        if self._submitted:
            self._worker.cancel()
        else:
            self._end("cancelled", _cancelled())

    def abandon(self) -> None:
        """Ends it at once and kills the worker: for the end of a module or of the application."""
        if self.finished:
            return
        was_submitted = self._submitted
        if self._nodes_gone():
            self._clear_away()
            self._end("cancelled", _cancelled())
        else:
            self._end_with_nodes("cancelled", _cancelled())
        if was_submitted:
            self._worker.shutdown()

    def _clear_away(self) -> None:
        """Takes what is left of the result out of the scene, and its run folder with it."""
        if self.shown is not None and self._scene is not None and not self._scene.IsClosing():
            self.shown.remove()
        if self._discard and self._submitted:
            folder = self.run_folder
            # The worker holds files in it until it is gone.
            qt.QTimer.singleShot(1000, lambda: shutil.rmtree(folder, ignore_errors=True))

    def _take_turn(self) -> None:
        """One small step; what goes wrong in it ends the analysis, never the application."""
        try:
            if self._nodes_gone():
                self.abandon()
            elif self._steps is not None:
                self._step()
            else:
                self._take_slices_in()
        except HemoCAMError as error:
            self._fail(error)
        except Exception as error:
            logging.exception("HemoCAM")
            self._fail(_unforeseen(error))

    def _nodes_gone(self) -> bool:
        if self._scene is None or self._volume.GetScene() is not self._scene or self._scene.IsClosing():
            return True
        return self.shown is not None and not self.shown.is_open

    def _preparing(self) -> Steps[None]:
        self.input = yield from analysis_input_steps(self._volume, self._file_of_uid, self._modality)
        refusal = self.input.refusal
        if refusal is not None and not (refusal.code == "CT_MISSING_SLICES" and self._settings.get("allow_gaps")):
            raise InputRefused(refusal.code, refusal.message)
        yield
        run = yield from self.input.prepare_steps(self.run_folder, self._settings, overwrite=self._overwrite)
        self._turn.setInterval(TURN_MS)
        self._submitted = True
        self._worker.submit(run.path, self._on_event)
        self._set_state("starting")

    def _on_event(self, event: Message) -> None:
        """Takes note of what the worker says; the nodes follow in turns of their own."""
        take = {
            "input": self._on_input,
            "model": self._on_model,
            "quality": self._on_quality,
            "notice": self._on_notice,
            "progress": self._on_progress,
            "slices": self._on_slices,
            "done": self._on_done,
            "cancelled": self._on_cancelled,
            "error": self._on_error,
        }.get(event["event"])
        if take is None or self.finished:
            return
        try:
            take(event)
        except Exception as error:
            # The application would print it and leave the analysis hanging.
            logging.exception("HemoCAM")
            self._fail(error if isinstance(error, HemoCAMError) else _unforeseen(error))

    def _on_input(self, event: Message) -> None:
        self._run_shape = (int(event["slices"]), int(event["rows"]), int(event["columns"]))
        self.slice_count = self._run_shape[0]
        self._call("progress")

    def _on_model(self, event: Message) -> None:
        self.device = str(event.get("device", ""))
        assert self._run_shape is not None
        assert self.input is not None
        if self.shown is None and not self._nodes_gone():
            try:
                run = RunFolder(self.run_folder)
                classes = tuple(event.get("classes", CLASS_NAMES))
                self.shown = SceneResult.start(self._volume, self.input.grid, run, self._run_shape, classes=classes)
                self._stream = RunStream(run, self._run_shape)
            except InputRefused:
                # The reader left copies of slices out; which ones is known when the run is complete.
                self.shown = None
        self._set_state("running")

    def _on_quality(self, event: Message) -> None:
        self.quality = {key: value for key, value in event.items() if key not in ("event", "run_folder")}
        self._call("progress")

    def _on_notice(self, event: Message) -> None:
        self.notices.append(str(event["message"]))
        self._call("progress")

    def _on_progress(self, event: Message) -> None:
        self.seconds_left = event.get("seconds_left")
        self._call("progress")

    def _on_slices(self, event: Message) -> None:
        records = event["slices"]
        self.slices_done = max([self.slices_done, *(int(record["index"]) + 1 for record in records)])
        self._waiting += records

    def _on_done(self, event: Message) -> None:
        self._submitted = False
        self.seconds_left = 0.0
        self._steps = self._completing()
        self._turn.setInterval(0)
        self._set_state("completing")

    def _on_cancelled(self, event: Message) -> None:
        self._submitted = False
        self._end_with_nodes("cancelled", _cancelled())

    def _on_error(self, event: Message) -> None:
        self._submitted = False
        self._fail(error_from_dict(event))

    def _take_slices_in(self) -> None:
        """Some slices, or one update of the nodes: never both in one turn."""
        if self.shown is None:
            return
        if self._waiting:
            self._put(self._waiting[:SLICES_A_TURN])
            del self._waiting[:SLICES_A_TURN]
        elif self._stale and time.monotonic() - self._updated_s >= self._update_s:
            self.shown.update()
            self._stale, self._updated_s = False, time.monotonic()
            self._call("slices")

    def _put(self, records: list[dict[str, Any]]) -> None:
        assert self.shown is not None
        assert self._stream is not None
        first, count = int(records[0]["index"]), len(records)
        if [int(record["index"]) for record in records] != list(range(first, first + count)):
            for record in records:
                self._put([record])
            return
        self.shown.put_slices(records, self._stream.labels(first, count), self._stream.maps(first, count))
        self._stale = True

    def _completing(self) -> Steps[None]:
        result = Result.load(self.run_folder)
        if self.shown is None:
            assert self.input is not None
            frame = frame_in_job(RunFolder(self.run_folder), self._volume)
            grid = VolumeGrid.of_node(self._volume, frame)
            self.shown = yield from SceneResult.open_run_steps(self._volume, grid, result)
            return
        self._waiting.clear()
        yield from self.shown.completing(result)

    def _step(self) -> None:
        assert self._steps is not None
        try:
            next(self._steps)
        except StopIteration:
            self._steps = None
            if self.state != "completing":
                return
            assert self.shown is not None
            self.result = AnalysisResult(self.shown)
            self.slices_done = self.slice_count
            self._call("slices")
            self._end("done", None)

    def _fail(self, error: HemoCAMError) -> None:
        if isinstance(error, Cancelled):
            self._end_with_nodes("cancelled", error)
            return
        if self._submitted:
            self._worker.shutdown()
        self._end_with_nodes("failed", error)

    def _end_with_nodes(self, state: str, error: HemoCAMError) -> None:
        """What was found until now is shown and kept."""
        if self.finished:
            return
        if self.shown is not None and not self._nodes_gone():
            for first in range(0, len(self._waiting), SLICES_A_TURN):
                self._put(self._waiting[first : first + SLICES_A_TURN])
            self.shown.end("cancelled" if state == "cancelled" else "failed")
        self._end(state, error)

    def _end(self, state: str, error: HemoCAMError | None) -> None:
        self._turn.stop()
        # A connected timer keeps this object, and with it every array of the run, as long as the application lives.
        self._turn.disconnect("timeout()", self._take_turn)
        self._steps, self._submitted = None, False
        self._waiting.clear()
        self.error, self.seconds_left = error, None
        self._set_state(state)
        self._call("finished")

    def _set_state(self, state: str) -> None:
        if state != self.state and not self.finished:
            self.state = state
            self._call("state")

    def _call(self, event: str) -> None:
        """A callback that raises is written to the log: it must not end the analysis of others."""
        for callback in list(self._callbacks[event]):
            try:
                callback(self)
            except Exception:
                logging.exception("HemoCAM: a callback of “%s” raised", event)


def _cancelled() -> Cancelled:
    return Cancelled(
        "CANCELLED", "The analysis was cancelled.", "Run it again with the same folder to go on where it stopped."
    )


def _unforeseen(error: Exception) -> WorkerFailed:
    return WorkerFailed(
        "WORKER_FAILED",
        "The analysis failed for a reason that HemoCAM did not foresee.",
        "Send the application's log and worker.log from the run folder to the developers.",
        repr(error),
    )
