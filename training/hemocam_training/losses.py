"""Losses of the weakly supervised LSE-UNet (paper 3, equations 6 and 7)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

#: Weights of the four scales in the classification loss, finest first.
ALPHA = (2.0, 0.5, 0.25, 0.125)
#: Weights of the three steps between scales in the heat-map consistency loss.
BETA = (0.5, 0.25, 0.125)


def known_cross_entropy(logits: Tensor, target: Tensor, known: Tensor) -> Tensor:
    """Binary cross entropy, mean over the labels that are known; all [N, C], target and known 0 or 1."""
    loss = functional.binary_cross_entropy_with_logits(logits.float(), target, reduction="none")
    return (loss * known).sum() / known.sum().clamp(min=1)


def classification_loss(logits: Sequence[Tensor], target: Tensor, known: Tensor) -> Tensor:
    """Equation 6: binary cross entropy at every scale, over the labels that are known.

    Args:
        logits: four [N, C], finest first.
        target: [N, C] 0 or 1.
        known: [N, C] 1 where the label counts; 0 for lesions too small to be sure of.
    """
    total = torch.zeros((), device=target.device)
    for weight, scale in zip(ALPHA, logits, strict=True):
        total = total + weight * known_cross_entropy(scale, target, known)
    return total


def consistency_loss(local_logits: Sequence[Tensor]) -> Tensor:
    """Equation 7: each map, averaged over 2 x 2, should equal the next coarser one.

    Args:
        local_logits: four [N, C, h, w], finest first, each half the size of the one before.
    """
    total = torch.zeros((), device=local_logits[0].device)
    for weight, fine, coarse in zip(BETA, local_logits[:-1], local_logits[1:], strict=True):
        total = total + weight * functional.mse_loss(functional.avg_pool2d(fine.float(), 2), coarse.float())
    return total
