"""What a run tells while it goes: events, and where the time went."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from HemoCAMLib.run.protocol import Message


class Reporter:
    """Sends the events of one run and adds up its time by stage.

    Args:
        emit: takes events.
    """

    def __init__(self, emit: Callable[[Message], None]) -> None:
        self.emit = emit
        self._timing_s: dict[str, float] = {}

    @contextmanager
    def timed(self, stage: str) -> Iterator[None]:
        """Adds the time spent within to a stage."""
        started_s = time.perf_counter()
        try:
            yield
        finally:
            self._timing_s[stage] = self._timing_s.get(stage, 0.0) + time.perf_counter() - started_s

    @property
    def timing_s(self) -> dict[str, float]:
        """Seconds by stage, as in ``result.json``."""
        return {stage: round(seconds, 4) for stage, seconds in self._timing_s.items()}

    def progress(self, stage: str, fraction: float, seconds_left: float | None = None) -> None:
        """Says how far a stage has come, 0 to 1, and how long it may still take."""
        left = None if seconds_left is None else round(seconds_left, 1)
        self.emit({"event": "progress", "stage": stage, "fraction": round(fraction, 4), "seconds_left": left})

    def notice(self, code: str, message: str) -> None:
        """Says aloud that something is done otherwise than asked."""
        self.emit({"event": "notice", "code": code, "message": message})
