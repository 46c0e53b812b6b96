"""A training from its settings: stages in order, each on Lightning's trainer."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from hemocam_training.learning.config import FitConfig
from hemocam_training.learning.slices import SliceSource


@dataclass(frozen=True)
class FitResult:
    """What a training left.

    Attributes:
        folder: everything that it wrote.
        checkpoint: weights of the last check (averaged where the settings ask for it), a safetensors file.
        best: weights of the check with the best score.
        history: one row a check: ``stage``, ``size``, ``step``, ``slices``, ``epoch``, ``minutes``, ``loss``,
            ``learning_rate``, ``scans``, and ``auroc`` and ``f1`` by class, ``mean_auroc``, ``mean_f1``,
            ``validation_loss``.
    """

    folder: Path
    checkpoint: Path
    best: Path
    history: list[dict[str, Any]]

    def best_epochs(self, count: int = 5, score: str = "mean_f1") -> list[dict[str, Any]]:
        """Rows of the last stage with the highest scores, best first."""
        rows = [row for row in self.history if row["stage"] == self.history[-1]["stage"]]
        return sorted(rows, key=lambda row: -(row[score] if row[score] is not None else -1.0))[:count]


def fit(
    config: FitConfig,
    out: Path,
    *,
    resume: bool = False,
    train: SliceSource | None = None,
    validation: SliceSource | None = None,
) -> FitResult:
    """Train to the end of the last stage.

    Args:
        config: all settings.
        out: folder for weights, history, logs and the state to resume from; new, or an interrupted training's.
        resume: go on where an interrupted training of the same settings stood.
        train: slices to learn from; those of ``config.data.train`` where None.
        validation: slices to look at; those of ``config.data.validation`` where None.

    Raises:
        ConfigRefused, DataRefused, UsageError: the settings, the slices or the folder cannot be used.
    """
    raise NotImplementedError


def load_fitted(folder: Path, *, best: bool = False) -> tuple[nn.Module, FitConfig]:
    """The trained network in evaluation mode, and the settings it was trained with."""
    raise NotImplementedError
