"""Qt's event loop as Slicer runs it: Python's lock stays with the main thread.

Neither CTK nor Slicer 5.12 switches PythonQt's thread support on, so a Python thread runs only while the main thread
is in Python. PySide6 gives the lock away in its own event loop; here the loop of C++ is called through
`ctypes.PyDLL`, which keeps it. Where the symbol has another name (Windows) PySide6's own call is used and threads
run more than they would in Slicer.
"""

from __future__ import annotations

import ctypes
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import PySide6
from PySide6 import QtCore

PROCESS_EVENTS = "_ZN16QCoreApplication13processEventsE6QFlagsIN10QEventLoop17ProcessEventsFlagEE"
SEND_POSTED_EVENTS = "_ZN16QCoreApplication16sendPostedEventsEP7QObjecti"
WAIT_FOR_MORE_EVENTS = 0x04
ALL_EVENTS = 0x00


def _with_lock_held(symbol: str, *argument_types: Any) -> Callable[..., Any] | None:
    folder = Path(PySide6.__file__).parent
    for library in (*folder.glob("Qt/lib/libQt6Core.so.6"), *folder.glob("Qt/lib/QtCore.framework/Versions/A/QtCore")):
        function = getattr(ctypes.PyDLL(str(library)), symbol, None)
        if function is not None:
            function.argtypes, function.restype = argument_types, None
            return function  # type: ignore[no-any-return]
    return None


_process = _with_lock_held(PROCESS_EVENTS, ctypes.c_int)
_send_posted = _with_lock_held(SEND_POSTED_EVENTS, ctypes.c_void_p, ctypes.c_int)
THREADS_STARVE = _process is not None


def _delete_later() -> None:
    """What `deleteLater` asked for; only Qt's own exec() does it by itself."""
    if _send_posted is None:
        QtCore.QCoreApplication.sendPostedEvents(None, QtCore.QEvent.Type.DeferredDelete)
    else:
        _send_posted(None, QtCore.QEvent.Type.DeferredDelete.value)


def process_events(*_: Any) -> None:
    """Handle what is waiting, and return."""
    if _process is None:
        QtCore.QCoreApplication.processEvents()
    else:
        _process(ALL_EVENTS)


def run_until(done: Callable[[], bool], limit_s: float = 10.0, *, poll_s: float = 0.02, nested: bool = False) -> bool:
    """Run the event loop until `done()`; False when the time is over.

    `done` is asked after every event and every `poll_s`; a Python thread gets its turn there.
    A nested loop, such as a dialog's, does not delete what was asked to be deleted before it began.
    """
    end = time.monotonic() + limit_s
    alarm = QtCore.QTimer()
    alarm.setSingleShot(True)
    while not done():
        left_s = end - time.monotonic()
        if left_s <= 0:
            return False
        if not alarm.isActive():
            alarm.start(int(min(left_s, poll_s) * 1000) + 1)
        if _process is None:
            QtCore.QCoreApplication.processEvents()
            time.sleep(0.001)
        else:
            _process(WAIT_FOR_MORE_EVENTS)
        if not nested:
            _delete_later()
    return True


def run_for(seconds: float) -> None:
    """Run the event loop for some time."""
    end = time.monotonic() + seconds
    run_until(lambda: time.monotonic() >= end, seconds, poll_s=seconds)


@dataclass
class Heartbeat:
    """Gaps between the beats of a timer: how long the event loop did not turn.

    >>> # with Heartbeat() as beat: ...; beat.worst_gap_ms; beat.gap_ms(99)
    """

    interval_ms: int = 2
    gaps_ms: list[float] = field(default_factory=list)

    def __enter__(self) -> Heartbeat:
        self._timer = QtCore.QTimer()
        self._timer.setTimerType(QtCore.Qt.TimerType.PreciseTimer)
        self._timer.timeout.connect(self._beat)
        self._last = time.perf_counter()
        self._timer.start(self.interval_ms)
        return self

    def _beat(self) -> None:
        now = time.perf_counter()
        self.gaps_ms.append((now - self._last) * 1000)
        self._last = now

    def __exit__(self, *_: object) -> None:
        self._timer.stop()
        self._beat()

    @property
    def worst_gap_ms(self) -> float:
        """Longest time between two beats, in ms."""
        return max(self.gaps_ms)

    def gap_ms(self, percentile: float) -> float:
        """The gap that `percentile` per cent of the gaps do not exceed, in ms (nearest rank)."""
        ordered = sorted(self.gaps_ms)
        return ordered[max(0, -(-len(ordered) * percentile // 100).__int__() - 1)]
