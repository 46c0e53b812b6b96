"""The worker process: ``python -m HemoCAMLib.run.worker``.

Reads commands from standard input and writes events to standard output, as :mod:`HemoCAMLib.run.protocol`
says. It stays warm: torch and the network are loaded once. It never outlives its parent, because the end of
standard input ends it, in the middle of a batch too.
"""

from __future__ import annotations

import contextlib
import faulthandler
import logging
import os
import queue
import sys
import threading
import time
import traceback
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from HemoCAMLib import __version__
from HemoCAMLib.errors import Cancelled, HemoCAMError, WorkerFailed, out_of_memory
from HemoCAMLib.run.folder import RunFolder
from HemoCAMLib.run.protocol import PROTOCOL_VERSION, Message, decode, encode

#: After the end of standard input the batch in hand may still finish; then the process goes, whatever it does.
ORPHAN_GRACE_S = 3.0


class EventStream:
    """Writes events to the host and, while a run is under way, to its ``events.jsonl``; from any thread."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self._lock = threading.Lock()
        self._journal: IO[bytes] | None = None
        self._run_folder = ""

    def emit(self, message: Message) -> None:
        """Writes one event to the journal and sends it to the host."""
        with self._lock:
            self.record(message)
            self.send(message)

    def record(self, message: Message) -> None:
        """Writes one event, with the wall-clock time, to the journal of the run under way."""
        if self._journal is not None:
            self._journal.write(encode({**message, "time_s": round(time.time(), 3)}))

    def send(self, message: Message) -> None:
        """Sends one event to the host; the run under way adds its folder."""
        if self._run_folder:
            message = {**message, "run_folder": self._run_folder}
        with contextlib.suppress(BrokenPipeError):
            self._stream.write(encode(message))
            self._stream.flush()

    @contextlib.contextmanager
    def journal(self, folder: RunFolder) -> Iterator[None]:
        """Within it, events also go to the run's journal, unbuffered so that a kill loses none."""
        with folder.events_path.open("ab", buffering=0) as self._journal:
            try:
                yield
            finally:
                self._journal = None

    @contextlib.contextmanager
    def of_run(self, run_folder: str) -> Iterator[None]:
        """Within it, every event names the run folder."""
        self._run_folder = run_folder
        try:
            yield
        finally:
            self._run_folder = ""


class Commands:
    """Reads commands in a thread of its own, so that a cancel is seen while the network computes."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self._queue: queue.SimpleQueue[Message] = queue.SimpleQueue()
        self.cancelled = threading.Event()
        threading.Thread(target=self._read, daemon=True).start()

    def next(self) -> Message:
        """The next command to carry out, in order; waits for it."""
        return self._queue.get()

    def _read(self) -> None:
        for line in iter(self._stream.readline, b""):
            message = decode(line)
            if message is None:
                continue
            if message.get("command") == "cancel":
                self.cancelled.set()
                continue
            if message.get("command") == "analyze":
                # Cleared here, in the order of the commands: a cancel that follows at once must not be lost.
                self.cancelled.clear()
            self._queue.put(message)
        self.cancelled.set()
        self._queue.put({"command": "shutdown"})
        # A network that hangs, or a very long batch, must not keep an orphan alive.
        time.sleep(ORPHAN_GRACE_S)
        os._exit(0)


class Worker:
    """Carries out commands one after the other; holds what stays warm between them."""

    def __init__(self, commands: Commands, events: EventStream) -> None:
        self._commands = commands
        self._events = events
        self._networks: Any = None

    def warm_up(self) -> None:
        """Imports the torch side before the first command, so that a scan chosen later starts at once."""
        with contextlib.suppress(HemoCAMError):
            self._load_torch_side()

    def serve(self) -> None:
        """Works until told to shut down."""
        while (command := self._commands.next()).get("command") != "shutdown":
            if command.get("command") == "analyze" and isinstance(command.get("run_folder"), str):
                with self._events.of_run(command["run_folder"]):
                    # Sent when the folder is free again, so that the host may use it at once.
                    self._events.send(self._analyze(RunFolder(command["run_folder"])))
            elif command.get("command") == "describe":
                self._events.send(self._describe(str(command.get("model", ""))))

    def _analyze(self, folder: RunFolder) -> Message:
        """Runs one job and gives its final event; no error leaves this function."""
        started_s = time.monotonic()
        try:
            with folder.lock(), _log_to(folder.log_path), self._events.journal(folder):
                final = self._guarded(folder, started_s)
                self._events.record(final)
            return final
        except HemoCAMError as error:
            return _error_event(error)
        except OSError as error:
            return _error_event(
                WorkerFailed(
                    "WORKER_DISK", "The run folder cannot be written.", "Check that the disk has room.", str(error)
                )
            )

    def _describe(self, model: str) -> Message:
        """What maps a model can make; a model that cannot be described has none to offer."""
        described: dict[str, Any] = {"methods": [], "layers": [], "modules": []}
        try:
            self._load_torch_side()
            from HemoCAMLib.run.describe import describe_model

            described = describe_model(model)
        except Exception:
            traceback.print_exc()
        return {"event": "description", "model": model, **described}

    def _guarded(self, folder: RunFolder, started_s: float) -> Message:
        try:
            self._load_torch_side()
            from HemoCAMLib.run.pipeline import run_analysis

            job = folder.read_job()
            run_analysis(folder, job, self._networks, self._events.emit, self._commands.cancelled.is_set)
            return {"event": "done", "seconds": round(time.monotonic() - started_s, 3)}
        except Cancelled:
            return {"event": "cancelled"}
        except HemoCAMError as error:
            return _error_event(error)
        except MemoryError:
            return _error_event(out_of_memory())
        except Exception:
            traceback.print_exc()
            return _error_event(
                WorkerFailed(
                    "WORKER_FAILED",
                    "The analysis failed for a reason that HemoCAM did not foresee.",
                    "Send worker.log from the run folder to the developers.",
                    traceback.format_exc(limit=-1),
                )
            )

    def _load_torch_side(self) -> None:
        if self._networks is not None:
            return
        try:
            from HemoCAMLib.run.networks import NetworkCache
        except ImportError as error:
            raise WorkerFailed(
                "WORKER_NO_TORCH",
                "PyTorch or one of its companions is not installed.",
                "Install hemocam[worker]; in Slicer, install the PyTorch extension.",
                str(error),
            ) from error
        self._networks = NetworkCache()


def _error_event(error: HemoCAMError) -> Message:
    return {"event": "error", **error.as_dict()}


@contextlib.contextmanager
def _log_to(path: Path) -> Iterator[None]:
    """Sends standard error, native code's too, to the run's log."""
    before = os.dup(2)
    with path.open("ab", buffering=0) as log:
        os.dup2(log.fileno(), 2)
    try:
        yield
    finally:
        sys.stderr.flush()
        os.dup2(before, 2)
        os.close(before)


def _claim_stdout() -> IO[bytes]:
    """Keeps the real standard output for events; what any library prints goes to standard error instead."""
    stream = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    return stream


def _keep_values_out_of_logs() -> None:
    """Libraries warn with the offending value, which in DICOM can be a name."""
    warnings.simplefilter("ignore")
    logging.getLogger("pydicom").setLevel(logging.CRITICAL)


def main() -> None:
    """Entry point of the process."""
    events = EventStream(_claim_stdout())
    faulthandler.enable()
    _keep_values_out_of_logs()
    commands = Commands(sys.stdin.buffer)
    events.emit({"event": "ready", "protocol": PROTOCOL_VERSION, "version": __version__, "pid": os.getpid()})
    worker = Worker(commands, events)
    worker.warm_up()
    worker.serve()
    # Daemon threads and torch's own pools are not worth waiting for.
    os._exit(0)


if __name__ == "__main__":
    main()
