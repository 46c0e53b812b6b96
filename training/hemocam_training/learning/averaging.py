"""Exponential average of weights, on Lightning's own callback."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from HemoCAMLib.model import torchvision_guard  # noqa: F401  (lightning imports torchvision)

# isort: split
import lightning.pytorch as pl
from lightning.pytorch.callbacks import WeightAveraging


class ExponentialAverage(WeightAveraging):
    """Average of parameters and buffers with a decay that rises to its value over the first steps.

    The decay of step n is ``min(decay, (1 + n) / (10 + n))``, so that the random weights of the start are forgotten
    early. Validation sees the average; the optimiser goes on from the weights themselves.

    Args:
        decay: 0 to 1.
    """

    def __init__(self, decay: float) -> None:
        def update(averages: Sequence[Tensor], currents: Sequence[Tensor], updates: Tensor | int) -> None:
            count = int(updates) + 1
            share = 1 - min(decay, (1 + count) / (10 + count))
            if averages[0].is_floating_point():
                torch._foreach_lerp_(list(averages), list(currents), share)
            else:
                torch._foreach_copy_(list(averages), list(currents))

        super().__init__(use_buffers=True, multi_avg_fn=update)

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """The average lies where the training will be, not where the network was made."""
        super().setup(trainer, pl_module, stage)
        if self._average_model is not None:
            self._average_model.to(trainer.strategy.root_device)

    def averaged(self, learner: nn.Module) -> nn.Module:
        """The averaged copy of what is being trained; that itself before the first step."""
        average: Any = self._average_model
        return learner if average is None else average.module
