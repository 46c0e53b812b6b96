"""The worker driven by a plain loop: for scripts, the command line and tests."""

from __future__ import annotations

import contextlib
import queue
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

from HemoCAMLib.run.conversation import CANCEL_GRACE_S, Conversation, raise_for
from HemoCAMLib.run.process import kill_tree, start_worker
from HemoCAMLib.run.protocol import FINAL_EVENTS, Message

#: How often the loop looks at the clock.
TICK_S = 0.1

CHUNK_BYTES = 1 << 16


class PlainWorker:
    """A worker process and the loop that listens to it; use as a context manager.

    The process starts with the first run and stays warm for the next ones. A reader thread only moves bytes
    into a queue; every callback happens in the thread that called :meth:`run`.

    Args:
        python: interpreter of the worker, default the one that runs now.
        cancel_grace_s: see :class:`~HemoCAMLib.run.conversation.Conversation`.
    """

    def __init__(self, python: str | None = None, cancel_grace_s: float = CANCEL_GRACE_S) -> None:
        self._python = python
        self._cancel_grace_s = cancel_grace_s
        self._process: subprocess.Popen[bytes] | None = None
        self._conversation: Conversation | None = None
        self._chunks: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        self._listener: Callable[[Message], None] = lambda event: None

    @property
    def pid(self) -> int | None:
        """Process identifier of the worker, None while there is none."""
        return self._process.pid if self._process else None

    def start(self) -> None:
        """Starts the process unless it runs; a scan can then be analysed without waiting for imports."""
        if self._process is not None and self._process.poll() is None:
            return
        self.close()
        process = start_worker(self._python)
        self._process = process
        self._chunks = queue.SimpleQueue()
        self._conversation = Conversation(
            self._write, self._kill, lambda event: self._listener(event), self._cancel_grace_s
        )
        threading.Thread(target=_pump, args=(process, self._chunks), daemon=True).start()

    def run(
        self,
        run_folder: str | Path,
        on_event: Callable[[Message], None] = lambda event: None,
        cancelled: Callable[[], bool] = lambda: False,
    ) -> None:
        """Runs the job in ``run_folder`` to its end.

        Args:
            run_folder: folder with ``job.json``.
            on_event: called with every event.
            cancelled: asked about every 0.1 s; True cancels the run, as does a KeyboardInterrupt.

        Raises:
            Cancelled: the run was cancelled.
            HemoCAMError: whatever the worker refused or failed at.
        """
        self.start()
        conversation = self._conversation
        assert conversation is not None
        final: list[Message] = []

        def listen(event: Message) -> None:
            if event["event"] in FINAL_EVENTS:
                final.append(event)
            on_event(event)

        self._listener = listen
        conversation.analyze(run_folder)
        while not final:
            try:
                if cancelled():
                    conversation.cancel()
                self._step(conversation)
            except KeyboardInterrupt:
                # The second Ctrl-C means now.
                if conversation.cancelling:
                    self._kill()
                conversation.cancel()
            except BaseException:
                # Nobody listens to the run any more, so it must not go on.
                self._kill()
                self.close()
                raise
        raise_for(final[0])

    def close(self) -> None:
        """Ends the process: asked first, killed where it does not go."""
        process, conversation = self._process, self._conversation
        if process is None or conversation is None:
            return
        conversation.shutdown()
        with contextlib.suppress(OSError):
            assert process.stdin is not None
            process.stdin.close()
        try:
            process.wait(timeout=2.0)
        except subprocess.TimeoutExpired:
            kill_tree(process.pid)
            process.wait()
        self._process = self._conversation = None

    def __enter__(self) -> PlainWorker:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _kill(self) -> None:
        if self._process is not None:
            kill_tree(self._process.pid)

    def _write(self, data: bytes) -> None:
        assert self._process is not None
        assert self._process.stdin is not None
        self._process.stdin.write(data)

    def _step(self, conversation: Conversation) -> None:
        assert self._process is not None
        try:
            chunk = self._chunks.get(timeout=TICK_S)
        except queue.Empty:
            chunk = None
        if chunk:
            conversation.bytes_received(chunk)
        elif chunk == b"":
            conversation.process_ended(self._process.wait())
        conversation.tick(time.monotonic())


def _pump(process: subprocess.Popen[bytes], chunks: queue.SimpleQueue[bytes]) -> None:
    """Moves the worker's output into a queue until it ends; the empty chunk says so."""
    assert process.stdout is not None
    while chunk := process.stdout.read(CHUNK_BYTES):
        chunks.put(chunk)
    chunks.put(b"")
