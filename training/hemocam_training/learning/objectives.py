"""What is lowered, for a network and a batch, by the settings."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from hemocam_training.errors import ConfigRefused
from hemocam_training.learning.config import LossConfig
from hemocam_training.learning.losses import classification_loss, consistency_loss, known_cross_entropy, mask_loss
from hemocam_training.learning.slices import SliceSource

Outputs = Callable[[Tensor], Any]


class Objective:
    """A loss with its settings.

    Args:
        loss: settings.
        part: which part of the network learns; an encoder learns as a plain classifier.
        positive_weight: [class] or None.
    """

    def __init__(self, loss: LossConfig, part: Literal["all", "encoder"], positive_weight: Tensor | None) -> None:
        self.kind = "classification" if part == "encoder" and loss.kind == "lse" else loss.kind
        self._loss, self._positive_weight = loss, positive_weight

    @property
    def masked(self) -> bool:
        """Whether masks are needed."""
        return self.kind == "segmentation"

    def outputs_of(self, network: nn.Module) -> Outputs:
        """The pass that the loss looks at."""
        deep: Any = network
        return deep.deep_supervision if self.kind == "lse" else network

    def __call__(self, outputs: Any, batch: dict[str, Any]) -> Tensor:
        """The loss of what that pass gave for ``batch["x"]``."""
        if self.kind == "segmentation":
            return mask_loss(outputs, batch["masks"])
        target, known = batch["target"], batch["known"]
        if self.kind == "one-of-many":
            return _one_of_many(outputs, target, self._loss.label_smoothing)
        weight = None if self._positive_weight is None else self._positive_weight.to(target.device)
        if self.kind == "classification":
            return known_cross_entropy(outputs, target, known, positive_weight=weight, known_count=batch["known_count"])
        judged = classification_loss(
            outputs.logits,
            target,
            known,
            alpha=self._loss.alpha,
            positive_weight=weight,
            known_count=batch["known_count"],
        )
        return judged + consistency_loss(outputs.local_logits, beta=self._loss.beta)


def probabilities(kind: str, logits: Tensor) -> Tensor:
    """Class logits [N, C] to probabilities, by the kind of loss."""
    return logits.float().softmax(dim=1) if kind == "one-of-many" else logits.float().sigmoid()


def positive_weight(loss: LossConfig, source: SliceSource) -> Tensor | None:
    """Weight of each class's positive labels, [C]; None where it is 1.

    Raises:
        ConfigRefused: ``TRAIN_CONFIG_WEIGHTS``: not one for each class, or a class without positives to balance.
    """
    count = source.target.shape[1]
    wanted = loss.positive_weight
    if wanted == 1.0:
        return None
    if wanted == "balanced":
        positives = (source.target * source.known).sum(axis=0)
        negatives = ((1 - source.target) * source.known).sum(axis=0)
        if (positives == 0).any():
            raise ConfigRefused(
                "TRAIN_CONFIG_WEIGHTS",
                "A class has no positive slice, so that its weight cannot be balanced.",
                "Give positive_weight as numbers, or add slices.",
            )
        return torch.from_numpy(np.asarray(negatives / positives, dtype=np.float32))
    if isinstance(wanted, tuple):
        if len(wanted) != count:
            raise ConfigRefused(
                "TRAIN_CONFIG_WEIGHTS",
                f"There are {len(wanted)} positive weights for {count} classes.",
                "Give one each.",
            )
        return torch.tensor(wanted)
    assert isinstance(wanted, float)
    return torch.full((count,), wanted)


def _one_of_many(logits: Tensor, target: Tensor, smoothing: float) -> Tensor:
    return functional.cross_entropy(logits.float(), target.argmax(dim=1), label_smoothing=smoothing)
