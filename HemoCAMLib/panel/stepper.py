"""Work in small steps on the application's event loop: one piece of work at a time, the latest wins."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any

import qt

from HemoCAMLib.errors import HemoCAMError, WorkerFailed
from HemoCAMLib.scene import Steps

#: Steps are taken until this much time has gone by; then the event loop has its turn.
TURN_S = 0.015


class Stepper:
    """Takes the steps of a generator whenever the event loop has time.

    >>> stepper = Stepper()  # doctest: +SKIP
    >>> stepper.start(measure_steps(segmentation), print, show_error)  # doctest: +SKIP
    """

    def __init__(self) -> None:
        self._steps: Steps[Any] | None = None
        self._done: Callable[[Any], object] = lambda made: None
        self._failed: Callable[[HemoCAMError], object] = lambda error: None
        self._timer = qt.QTimer()
        self._timer.setInterval(0)
        self._timer.connect("timeout()", self._take_turn)

    @property
    def busy(self) -> bool:
        """Whether there is work left."""
        return self._steps is not None

    def start(
        self,
        steps: Steps[Any],
        done: Callable[[Any], object],
        failed: Callable[[HemoCAMError], object] = lambda error: None,
    ) -> None:
        """Begins; what was not finished before is given up.

        Args:
            steps: the work.
            done: called with what it gives.
            failed: called where it was refused.
        """
        self.cancel()
        self._steps, self._done, self._failed = steps, done, failed
        self._timer.start()

    def cancel(self) -> None:
        """Gives the work up."""
        self._timer.stop()
        steps, self._steps = self._steps, None
        if steps is not None:
            steps.close()

    def finish(self) -> None:
        """Does what is left at once."""
        while self.busy:
            self._take_turn()

    def _take_turn(self) -> None:
        steps = self._steps
        if steps is None:
            self._timer.stop()
            return
        until = time.monotonic() + TURN_S
        try:
            while self._steps is steps and time.monotonic() < until:
                next(steps)
        except StopIteration as end:
            self._end()
            self._done(end.value)
        except HemoCAMError as error:
            self._end()
            self._failed(error)
        except Exception as error:
            logging.exception("HemoCAM")
            self._end()
            self._failed(
                WorkerFailed(
                    "WORKER_FAILED",
                    "This could not be done, for a reason that HemoCAM did not foresee.",
                    "The application's log has more.",
                    repr(error),
                )
            )

    def _end(self) -> None:
        self._timer.stop()
        self._steps = None
