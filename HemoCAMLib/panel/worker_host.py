"""One warm worker process for the application, driven by the signals of ``QProcess``; nothing here waits."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import qt
import slicer

from HemoCAMLib.errors import WorkerFailed
from HemoCAMLib.run.conversation import CANCEL_GRACE_S, Conversation
from HemoCAMLib.run.process import worker_command, worker_environment
from HemoCAMLib.run.process_tree import kill_with_children
from HemoCAMLib.run.protocol import FINAL_EVENTS, Message

#: How often the conversation is told the time while a run is under way.
TICK_MS = 200

#: An idle worker holds the network in memory; after this long it ends.
IDLE_SHUTDOWN_S = 600.0

#: What a worker that could not even start has to say.
_ERROR_TAIL_BYTES = 4000

#: Processes that were killed and whose end Qt has not told yet: an object that goes before its process warns and waits.
_dying: list[Any] = []


class WorkerHost:
    """Starts the worker when it is needed, hands it one run at a time, and ends it without a trace.

    >>> host = WorkerHost()  # doctest: +SKIP
    >>> host.submit(run.path, lambda event: print(event["event"]))  # doctest: +SKIP

    Args:
        python: interpreter of the worker; None takes ``sys.executable``, which is PythonSlicer in the application.
        idle_shutdown_s: seconds without a run after which the process ends; 0 keeps it.
        cancel_grace_s: see :class:`~HemoCAMLib.run.conversation.Conversation`.
    """

    def __init__(
        self,
        python: str | None = None,
        idle_shutdown_s: float = IDLE_SHUTDOWN_S,
        cancel_grace_s: float = CANCEL_GRACE_S,
    ) -> None:
        self._python = python
        self._cancel_grace_s = cancel_grace_s
        self._process: Any = None
        self._conversation: Conversation | None = None
        self._worker_pid = 0
        self._listener: Callable[[Message], None] | None = None
        self._on_description: Callable[[Message], None] | None = None
        self._errors = b""
        self._clock = qt.QTimer()
        self._clock.setInterval(TICK_MS)
        self._clock.connect("timeout()", self._tick)
        self._idle = qt.QTimer()
        self._idle.setSingleShot(True)
        self._idle.setInterval(int(idle_shutdown_s * 1000))
        self._idle.connect("timeout()", self.shutdown)

    @property
    def pids(self) -> tuple[int, ...]:
        """The process that was started and, once that is ready, the interpreter under it; empty where none runs."""
        if self._process is None:
            return ()
        return tuple(dict.fromkeys(pid for pid in (int(self._process.processId()), self._worker_pid) if pid > 0))

    @property
    def busy(self) -> bool:
        """Whether a run has been handed over and not ended."""
        return self._conversation is not None and self._conversation.busy

    @property
    def ready(self) -> bool:
        """Whether the worker has said that it listens."""
        return self._conversation is not None and self._conversation.ready

    def start(self) -> None:
        """Starts the process unless it runs, so that a later run need not wait for imports; returns at once."""
        if self._process is not None:
            return
        process = qt.QProcess()
        self._process = process
        self._worker_pid, self._errors = 0, b""
        self._conversation = Conversation(self._write, self._kill, self._on_event, self._cancel_grace_s)
        environment = qt.QProcessEnvironment.systemEnvironment()
        for name, value in worker_environment().items():
            environment.insert(name, value)
        process.setProcessEnvironment(environment)
        process.connect("readyReadStandardOutput()", self._on_output)
        process.connect("readyReadStandardError()", self._on_error_output)
        process.connect("finished(int,QProcess::ExitStatus)", self._on_finished)
        process.connect("errorOccurred(QProcess::ProcessError)", self._on_process_error)
        program, *arguments = worker_command(self._python or sys.executable)
        process.start(program, arguments)
        self._rest()

    def submit(self, run_folder: str | Path, on_event: Callable[[Message], None]) -> None:
        """Hands over the run whose ``job.json`` lies in a folder; returns at once.

        Args:
            run_folder: prepared (:meth:`~HemoCAMLib.scene.AnalysisInput.prepare`).
            on_event: called on the main thread with every event of the run, in order; the last one is ``done``,
                ``cancelled`` or ``error``.

        Raises:
            WorkerFailed: ``WORKER_BUSY``, another run is under way.
        """
        if self.busy:
            raise WorkerFailed("WORKER_BUSY", "An analysis is already running.", "Wait for it or cancel it first.")
        if self._conversation is not None and self._conversation.ended:
            self.shutdown()
        self._listener = on_event
        self.start()
        if self._conversation is None:
            # Where a process cannot be started some systems say so at once, and the listener knows it already.
            return
        self._idle.stop()
        self._clock.start()
        self._conversation.analyze(run_folder)

    def describe(self, model: str, on_description: Callable[[Message], None]) -> None:
        """Asks which maps a model can make; starts the process where it does not run, and returns at once.

        Args:
            model: as in a job.
            on_description: called with the event ``description`` when the worker has time; not after :meth:`shutdown`.
        """
        self._on_description = on_description
        self.start()
        if self._conversation is not None:
            self._conversation.describe(model)

    def cancel(self) -> None:
        """Asks for the end of the run under way; it comes as the event ``cancelled``, by force after the grace time."""
        if self._conversation is not None:
            self._conversation.cancel()

    def shutdown(self) -> None:
        """Kills the worker with all it started, whatever it does; the next run starts another one.

        A run under way ends as cancelled. What it has written stays in its folder, and it can go on from there.
        """
        process, self._process = self._process, None
        listener = self._listener if self.busy else None
        self._conversation = self._listener = self._on_description = None
        self._clock.stop()
        self._idle.stop()
        if process is None:
            return
        # Qt tells the end of a process that was not started within start() itself.
        for signal, slot in (
            ("readyReadStandardOutput()", self._on_output),
            ("readyReadStandardError()", self._on_error_output),
            ("finished(int,QProcess::ExitStatus)", self._on_finished),
            ("errorOccurred(QProcess::ProcessError)", self._on_process_error),
        ):
            process.disconnect(signal, slot)
        if process.state() != qt.QProcess.NotRunning:
            _dying.append(process)
            process.connect("finished(int,QProcess::ExitStatus)", _forget_dead)
            kill_with_children(int(process.processId()), self._worker_pid)
            process.closeWriteChannel()
        self._worker_pid = 0
        if listener is not None:
            listener({"event": "cancelled", "killed": True})

    def wait_until_gone(self, limit_ms: int = 2000) -> None:
        """Waits until every process that was killed is gone: for the end of the application, when no event comes."""
        for process in list(_dying):
            process.waitForFinished(limit_ms)
        _forget_dead()

    def _write(self, data: bytes) -> None:
        self._process.write(data)

    def _kill(self) -> None:
        kill_with_children(*self.pids)

    def _tick(self) -> None:
        if self._conversation is not None:
            self._conversation.tick(time.monotonic())

    def _on_output(self) -> None:
        data = self._process.readAllStandardOutput().data()
        if self._conversation is not None:
            self._conversation.bytes_received(data)

    def _on_error_output(self) -> None:
        self._errors = (self._errors + self._process.readAllStandardError().data())[-_ERROR_TAIL_BYTES:]

    def _on_finished(self, exit_code: int, exit_status: int) -> None:
        self._on_output()
        crashed = exit_status == qt.QProcess.CrashExit
        self._gone(-9 if crashed and exit_code in (0, 9) else exit_code)

    def _on_process_error(self, error: int) -> None:
        if error != qt.QProcess.FailedToStart:
            # Every other error is followed by the end of the process.
            return
        detail = str(self._process.errorString())
        self._end_run(
            WorkerFailed(
                "WORKER_START",
                "The analysis process could not be started.",
                "Restart the application; if it happens again, install HemoCAM again.",
                detail,
            )
        )
        self._gone(None)

    def _gone(self, exit_code: int | None) -> None:
        conversation, process = self._conversation, self._process
        # The launcher may have been killed without the interpreter that it started.
        kill_with_children(self._worker_pid)
        self._process, self._conversation, self._worker_pid = None, None, 0
        self._clock.stop()
        if process is not None:
            # Not deleted within its own signal.
            process.deleteLater()
        if conversation is None:
            return
        died_at_start = not conversation.ready and conversation.busy and not conversation.cancelling
        if died_at_start and self._errors:
            self._end_run(
                WorkerFailed(
                    "WORKER_START",
                    "The analysis process ended before it was ready.",
                    "Restart the application; if it happens again, install HemoCAM again.",
                    self._errors.decode("utf-8", "replace"),
                )
            )
        conversation.process_ended(exit_code)

    def _end_run(self, error: WorkerFailed) -> None:
        self._on_event({"event": "error", **error.as_dict()})

    def _on_event(self, event: Message) -> None:
        if event["event"] == "ready":
            self._worker_pid = int(event.get("pid", 0))
        if event["event"] == "description":
            if self._on_description is not None:
                self._on_description(event)
            return
        listener = self._listener
        if event["event"] in FINAL_EVENTS:
            self._listener = None
            self._clock.stop()
            self._rest()
        if listener is not None and event["event"] != "ready":
            listener(event)

    def _rest(self) -> None:
        if self._idle.interval > 0 and self._process is not None:
            self._idle.start()


def _forget_dead(*_: object) -> None:
    for process in list(_dying):
        if process.state() == qt.QProcess.NotRunning:
            _dying.remove(process)
            process.deleteLater()


_shared: WorkerHost | None = None


def application_worker() -> WorkerHost:
    """The worker that panel, scripts and tests share; made when first asked for, ended with the application."""
    global _shared
    if _shared is None:
        _shared = WorkerHost(idle_shutdown_s=_idle_setting_s())
        slicer.app.connect("aboutToQuit()", end_application_worker)
    return _shared


def end_application_worker() -> None:
    """Ends the shared worker and waits until it is gone: before a reload, and when the application ends."""
    global _shared
    host, _shared = _shared, None
    if host is None:
        return
    slicer.app.disconnect("aboutToQuit()", end_application_worker)
    host.shutdown()
    host.wait_until_gone()


def _idle_setting_s() -> float:
    return float(slicer.util.settingsValue("HemoCAM/IdleShutdownSeconds", IDLE_SHUTDOWN_S, converter=float))
