"""How long a stage is, where it stands, and what the learning rate is there."""

from __future__ import annotations

import math
import time

from hemocam_training.learning.config import ScheduleConfig, StageConfig

#: Checks of a stage that does not say how often it is to be checked.
_CHECKS = 10


def learning_rate_factor(schedule: ScheduleConfig, progress: float) -> float:
    """Factor of the largest learning rate at a share 0..1 of a stage.

    >>> one_cycle = ScheduleConfig()
    >>> [round(learning_rate_factor(one_cycle, at), 3) for at in (0, 0.05, 1)]
    [0.05, 1.0, 0.01]
    >>> falling = ScheduleConfig(shape="steps", warm_up=0, every=0.3, factor=0.1)
    >>> [round(learning_rate_factor(falling, at), 4) for at in (0, 0.29, 0.3, 0.61)]
    [1.0, 1.0, 0.1, 0.01]
    """
    if progress < schedule.warm_up:
        return schedule.first + (1 - schedule.first) * progress / schedule.warm_up
    if schedule.shape == "constant":
        return 1.0
    if schedule.shape == "steps":
        return schedule.factor ** math.floor(progress / schedule.every + 1e-9)
    after = min(1.0, (progress - schedule.warm_up) / (1 - schedule.warm_up))
    return schedule.last + (1 - schedule.last) * 0.5 * (1 + math.cos(math.pi * after))


class StageClock:
    """Where a stage stands. Steps decide, or minutes where the stage's length is given in minutes.

    Args:
        stage: its length and its checks.
        slice_count: of the data, for epochs.

    Attributes:
        steps_per_epoch: full batches of the data.
    """

    def __init__(self, stage: StageConfig, slice_count: int) -> None:
        self.steps_per_epoch = max(1, slice_count // stage.batch)
        self._stage = stage
        self._before = 0.0
        self._started: float | None = None
        self._last_check = 0.0
        self.steps = stage.epochs * self.steps_per_epoch if stage.epochs else stage.steps

    @property
    def minutes(self) -> float:
        """Trained so far, over interruptions."""
        running = 0.0 if self._started is None else time.monotonic() - self._started
        return (self._before + running) / 60

    def start(self, minutes_before: float = 0.0) -> None:
        """The clock runs from now on."""
        self._before, self._started = 60 * minutes_before, time.monotonic()
        self._last_check = minutes_before

    def progress(self, step: int) -> float:
        """Share of the stage before that step, 0..1."""
        if self.steps is not None:
            return min(1.0, step / self.steps)
        assert self._stage.minutes is not None
        return min(1.0, self.minutes / self._stage.minutes)

    def finished(self, step: int) -> bool:
        """Whether so many steps are all of it."""
        return self.progress(step) >= 1

    def check_due(self, step: int) -> bool:
        """Whether a check comes after so many steps."""
        if self.finished(step):
            return True
        if self.steps is None:
            assert self._stage.minutes is not None
            if self._stage.check_steps is None and self._stage.check_epochs is None:
                return self.minutes - self._last_check >= (self._stage.check_minutes or self._stage.minutes / _CHECKS)
        return step % self.steps_between_checks == 0

    def checked(self) -> None:
        """A check was made."""
        self._last_check = self.minutes

    @property
    def steps_between_checks(self) -> int:
        """Where steps decide."""
        if self._stage.check_steps is not None:
            return self._stage.check_steps
        if self._stage.check_epochs is not None:
            return self._stage.check_epochs * self.steps_per_epoch
        if self._stage.epochs is not None:
            return self.steps_per_epoch
        return max(1, math.ceil((self.steps or 1) / _CHECKS))
