"""Exceptions that the application would only print.

PythonQt and VTK print an exception in a slot, a timer, an override or an observer, and go on. A test must not: what
was raised is kept here until somebody asks for it.
"""

from __future__ import annotations

import sys
import traceback
from types import TracebackType

_seen: list[BaseException] = []


def record(error: BaseException) -> None:
    """Print as the application does, and remember."""
    traceback.print_exception(error)
    _seen.append(error)


def take() -> list[BaseException]:
    """What was raised since the last call; the list is empty afterwards."""
    errors = list(_seen)
    _seen.clear()
    return errors


def excepthook(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Stands in for sys.excepthook: PySide6 and VTK report what they swallow through it."""
    error.__traceback__ = trace
    record(error)


class Recording:
    """While active, everything that C++ swallows ends in `take`."""

    def __enter__(self) -> None:
        self._before = sys.excepthook
        sys.excepthook = excepthook
        take()

    def __exit__(self, *_: object) -> None:
        sys.excepthook = self._before
