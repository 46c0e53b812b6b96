"""Long work in small steps, so that whoever has an event loop can let it turn in between.

A function whose name ends in ``_steps`` is a generator: each step takes some milliseconds (measured at 300 slices of
512 x 512), what the function gives is the generator's own return value. The function of the same name without the
ending does all steps at once.

>>> def count_steps(limit):
...     for number in range(limit):
...         yield
...     return limit
>>> finish(count_steps(3))
3
"""

from __future__ import annotations

import gc
import threading
from collections.abc import Callable, Generator
from typing import Any, TypeAlias, TypeVar

Made = TypeVar("Made")

#: Work in steps that gives something at its end: ``value = yield from work_steps()``.
Steps: TypeAlias = Generator[None, None, Made]

#: A step of waiting for a thread lasts this long at most.
_TURN_S = 0.01


def finish(steps: Steps[Made]) -> Made:
    """Does all steps at once.

    Raises:
        Exception: whatever a step raises.
    """
    while True:
        try:
            next(steps)
        except StopIteration as end:
            made: Made = end.value
            return made


class _Collection:
    """Python's cyclic garbage collection, which rests while threads work.

    It runs in whatever thread it is due, and destroys there what it finds: widgets and timers that a panel has let go
    of must only ever be destroyed on the main thread.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._paused = 0
        self._was_enabled = True

    def pause(self) -> Callable[[], None]:
        """Pauses it until the function that is returned was called twice: by the thread, and by who waits for it."""
        left = 2
        with self._lock:
            if self._paused == 0:
                self._was_enabled = gc.isenabled()
                gc.disable()
            self._paused += 1

        def leave() -> None:
            nonlocal left
            with self._lock:
                left -= 1
                self._paused -= left == 0
                if left == 0 and self._paused == 0 and self._was_enabled:
                    gc.enable()

        return leave


_collection = _Collection()


def in_background(work: Callable[..., Made], *arguments: Any) -> Steps[Made]:
    """Calls a function in a thread of its own; a step waits for it, a hundredth of a second at most.

    The waiting is what lets the thread run: in Slicer a Python thread stands still while the event loop has Python's
    lock. The function must not touch MRML, VTK or Qt. Where the steps are given up it runs to its end, for nobody.

    Raises:
        Exception: whatever the function raises.
    """
    outcome: list[tuple[Made | None, BaseException | None]] = []

    leave = _collection.pause()

    def run() -> None:
        try:
            outcome.append((work(*arguments), None))
        except BaseException as error:
            outcome.append((None, error))
        leave()

    thread = threading.Thread(target=run, name="HemoCAM", daemon=True)
    try:
        thread.start()
        while thread.is_alive():
            thread.join(_TURN_S)
            yield
    finally:
        leave()
    made, error = outcome[0]
    if error is not None:
        raise error
    return made  # type: ignore[return-value]
