"""The worker driven by an asyncio event loop."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

from HemoCAMLib.run.conversation import CANCEL_GRACE_S, Conversation, raise_for
from HemoCAMLib.run.plain import CHUNK_BYTES, TICK_S
from HemoCAMLib.run.process import kill_tree, process_group, worker_command, worker_environment
from HemoCAMLib.run.protocol import FINAL_EVENTS, Message


class AsyncWorker:
    """A worker process for asyncio programs; use with ``async with``.

    Cancelling the task that awaits :meth:`run` cancels the run and waits until the worker has let go of it.
    """

    def __init__(self, python: str | None = None, cancel_grace_s: float = CANCEL_GRACE_S) -> None:
        self._python = python
        self._cancel_grace_s = cancel_grace_s
        self._process: asyncio.subprocess.Process | None = None
        self._conversation: Conversation | None = None
        self._reader: asyncio.Task[None] | None = None
        self._listener: Callable[[Message], None] = lambda event: None

    async def start(self) -> None:
        """Starts the process unless it runs."""
        if self._process is not None and self._process.returncode is None:
            return
        await self.close()
        process = await asyncio.create_subprocess_exec(
            *worker_command(self._python),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            env=worker_environment(),
            **process_group(),
        )
        assert process.stdin is not None
        conversation = Conversation(
            process.stdin.write, lambda: kill_tree(process.pid), lambda e: self._listener(e), self._cancel_grace_s
        )
        self._process, self._conversation = process, conversation
        self._reader = asyncio.create_task(_read(process, conversation))

    async def run(self, run_folder: str | Path, on_event: Callable[[Message], None] = lambda event: None) -> None:
        """Runs the job in ``run_folder``; raises as :meth:`HemoCAMLib.run.plain.PlainWorker.run` does."""
        await self.start()
        conversation = self._conversation
        assert conversation is not None
        final: asyncio.Future[Message] = asyncio.get_running_loop().create_future()

        def listen(event: Message) -> None:
            if event["event"] in FINAL_EVENTS and not final.done():
                final.set_result(event)
            on_event(event)

        self._listener = listen
        conversation.analyze(run_folder)
        try:
            await self._wait(conversation, final)
        except asyncio.CancelledError:
            conversation.cancel()
            await self._wait(conversation, final)
            raise
        raise_for(final.result())

    async def _wait(self, conversation: Conversation, final: asyncio.Future[Message]) -> None:
        loop = asyncio.get_running_loop()
        while not final.done():
            await asyncio.wait([final], timeout=TICK_S)
            conversation.tick(loop.time())

    async def close(self) -> None:
        """Ends the process: asked first, killed where it does not go."""
        process, conversation, reader = self._process, self._conversation, self._reader
        if process is None or conversation is None or reader is None:
            return
        conversation.shutdown()
        assert process.stdin is not None
        with contextlib.suppress(OSError):
            process.stdin.close()
        try:
            await asyncio.wait_for(process.wait(), timeout=2.0)
        except asyncio.TimeoutError:
            kill_tree(process.pid)
            await process.wait()
        await reader
        self._process = self._conversation = self._reader = None

    async def __aenter__(self) -> AsyncWorker:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()


async def _read(process: asyncio.subprocess.Process, conversation: Conversation) -> None:
    assert process.stdout is not None
    while chunk := await process.stdout.read(CHUNK_BYTES):
        conversation.bytes_received(chunk)
    conversation.process_ended(await process.wait())
