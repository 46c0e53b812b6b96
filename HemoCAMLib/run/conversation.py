"""The host's half of the conversation with the worker, without any input or output of its own.

Whoever owns the process (a plain loop, asyncio, a QProcess in Slicer) hands in what arrived and what time
it is, and gets events back through one callback. Nothing here blocks, starts threads or knows of Qt.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from HemoCAMLib.errors import Cancelled, WorkerFailed, error_from_dict
from HemoCAMLib.run.protocol import FINAL_EVENTS, PROTOCOL_VERSION, LineBuffer, Message, decode, encode

#: How long a cancelled worker may take to finish its batch before its process tree is killed.
CANCEL_GRACE_S = 10.0


class Conversation:
    """Follows one worker process through any number of runs.

    Args:
        send: writes bytes to the worker's standard input.
        kill: kills the worker's whole process tree.
        on_event: called with every event, in order; the last of a run is one of ``done``, ``cancelled``, ``error``.
        cancel_grace_s: time between a cancel and the kill that follows where the worker does not answer.

    The owner calls :meth:`bytes_received` with what the worker printed, :meth:`process_ended` once when it
    is gone, and :meth:`tick` with a monotonic clock now and then (every 0.1-1 s while a run is under way).

    >>> sent, seen = [], []
    >>> talk = Conversation(sent.append, lambda: None, seen.append)
    >>> talk.bytes_received(b'{"event": "ready", "protocol": 1}\\n')
    >>> talk.analyze("run")
    >>> sent
    [b'{"command": "analyze", "run_folder": "run"}\\n']
    """

    def __init__(
        self,
        send: Callable[[bytes], None],
        kill: Callable[[], None],
        on_event: Callable[[Message], None],
        cancel_grace_s: float = CANCEL_GRACE_S,
    ) -> None:
        self._send = send
        self._kill = kill
        self._on_event = on_event
        self._cancel_grace_s = cancel_grace_s
        self._lines = LineBuffer()
        self._run_folder: str | None = None
        self._cancel_asked = False
        self._kill_at: float | None = None
        self.ready = False
        self.ended = False

    @property
    def busy(self) -> bool:
        """Whether a run has been asked for and not ended."""
        return self._run_folder is not None

    @property
    def cancelling(self) -> bool:
        """Whether the run under way has been asked to stop."""
        return self.busy and self._cancel_asked

    def analyze(self, run_folder: str | Path) -> None:
        """Starts the run whose ``job.json`` lies in ``run_folder``.

        Raises:
            WorkerFailed: the worker is busy (``WORKER_BUSY``) or gone (``WORKER_ENDED``).
        """
        if self.ended:
            raise WorkerFailed("WORKER_ENDED", "The analysis process has ended.", "Start it again.")
        if self.busy:
            raise WorkerFailed("WORKER_BUSY", "An analysis is already running.", "Wait for it or cancel it first.")
        self._run_folder = str(run_folder)
        self._cancel_asked = False
        self._kill_at = None
        self._deliver({"command": "analyze", "run_folder": self._run_folder})

    def describe(self, model: str) -> None:
        """Asks which maps a model can make; the event ``description`` comes when the worker has time.

        Args:
            model: as in a job.
        """
        if not self.ended:
            self._deliver({"command": "describe", "model": model})

    def cancel(self) -> None:
        """Asks the worker to stop after the batch in hand; :meth:`tick` kills it where it does not."""
        if self.busy and not self._cancel_asked:
            self._cancel_asked = True
            self._deliver({"command": "cancel"})

    def shutdown(self) -> None:
        """Asks an idle worker to end."""
        if not self.ended:
            self._deliver({"command": "shutdown"})

    def bytes_received(self, data: bytes) -> None:
        """Takes what the worker printed and calls back for every complete event in it."""
        for line in self._lines.feed(data):
            message = decode(line)
            if message is not None and "event" in message:
                self._take(message)

    def tick(self, now_s: float) -> None:
        """Kills the worker where a cancel has gone unanswered for too long.

        Args:
            now_s: a monotonic clock.
        """
        if not self.cancelling:
            return
        if self._kill_at is None:
            self._kill_at = now_s + self._cancel_grace_s
        elif now_s >= self._kill_at:
            self._kill()

    def process_ended(self, exit_code: int | None) -> None:
        """Takes note that the process is gone; a run under way ends as cancelled or failed."""
        if self.ended:
            return
        self.ended = True
        if not self.busy:
            return
        if self._cancel_asked:
            self._take({"event": "cancelled", "run_folder": self._run_folder, "killed": True})
        else:
            self._take({"event": "error", "run_folder": self._run_folder, **_death(exit_code).as_dict()})

    def _take(self, message: Message) -> None:
        if message["event"] == "ready":
            if message.get("protocol") != PROTOCOL_VERSION:
                error = WorkerFailed(
                    "WORKER_VERSION",
                    "The analysis process belongs to another version of HemoCAM.",
                    "Install one version only and start again.",
                )
                message = {"event": "error", "run_folder": self._run_folder, **error.as_dict()}
                self._kill()
            else:
                self.ready = True
        if message["event"] in FINAL_EVENTS:
            self._run_folder = None
        self._on_event(message)

    def _deliver(self, command: Message) -> None:
        try:
            self._send(encode(command))
        except OSError:
            # The pipe is broken because the process died; its end is reported through process_ended.
            return


def raise_for(event: Message) -> None:
    """Raises what a run's final event stands for; returns for ``done``.

    Raises:
        Cancelled: the run was cancelled.
        HemoCAMError: whatever the worker refused or failed at.
    """
    if event["event"] == "cancelled":
        raise Cancelled(
            "CANCELLED", "The analysis was cancelled.", "Run it again with the same folder to go on where it stopped."
        )
    if event["event"] == "error":
        raise error_from_dict(event)


def _death(exit_code: int | None) -> WorkerFailed:
    if exit_code in (-9, 137):
        return WorkerFailed(
            "WORKER_KILLED",
            "The analysis process was killed, often because the computer ran out of memory.",
            "Close other programs or choose a smaller batch size, then run again: it goes on where it stopped.",
            f"exit code {exit_code}",
        )
    return WorkerFailed(
        "WORKER_DIED",
        "The analysis process stopped unexpectedly.",
        "Run again: it goes on where it stopped. If it happens again, send worker.log from the run folder.",
        f"exit code {exit_code}",
    )
