"""Losses: class labels with what is known of them, the LSE-UNet's two equations, masks."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

#: Weights of the four scales in the classification loss, finest first (weakly supervised paper, section 4).
ALPHA = (2.0, 0.5, 0.25, 0.125)
#: Weights of the three steps between scales in the heat-map consistency loss.
BETA = (0.5, 0.25, 0.125)


def known_cross_entropy(
    logits: Tensor,
    target: Tensor,
    known: Tensor,
    *,
    positive_weight: Tensor | None = None,
    known_count: Tensor | float | None = None,
) -> Tensor:
    """Binary cross entropy, mean over the labels that are known.

    Args:
        logits, target, known: [N, C]; target and known 0 or 1.
        positive_weight: [C], factor of the loss of positive labels.
        known_count: divisor instead of this batch's own number of known labels: that of the whole batch shared out
            evenly, where this is one part of it, so that the parts' gradients add up to the whole batch's.
    """
    loss = functional.binary_cross_entropy_with_logits(
        logits.float(), target, reduction="none", pos_weight=positive_weight
    )
    count = known.sum() if known_count is None else torch.as_tensor(known_count, device=known.device)
    return (loss * known).sum() / count.clamp(min=1e-6 if known_count is not None else 1)


def classification_loss(
    logits: Sequence[Tensor],
    target: Tensor,
    known: Tensor,
    *,
    alpha: Sequence[float] = ALPHA,
    positive_weight: Tensor | None = None,
    known_count: Tensor | float | None = None,
) -> Tensor:
    """Equation 6 of the weakly supervised paper: binary cross entropy at every scale, over the labels that are known.

    Args:
        logits: [N, C] of each scale, finest first.
        target: [N, C] 0 or 1.
        known: [N, C] 1 where the label counts; 0 for lesions too small to be sure of.
        alpha: weight of each scale.
        positive_weight, known_count: see :func:`known_cross_entropy`.
    """
    total = torch.zeros((), device=target.device)
    for weight, scale in zip(alpha, logits, strict=True):
        if weight:
            total = total + weight * known_cross_entropy(
                scale, target, known, positive_weight=positive_weight, known_count=known_count
            )
    return total


def consistency_loss(local_logits: Sequence[Tensor], *, beta: Sequence[float] = BETA) -> Tensor:
    """Equation 7 of the weakly supervised paper: each map, averaged over 2 x 2, should equal the next coarser one.

    Args:
        local_logits: four [N, C, h, w], finest first, each half the size of the one before.
        beta: weight of each step, finest first.
    """
    total = torch.zeros((), device=local_logits[0].device)
    for weight, fine, coarse in zip(beta, local_logits[:-1], local_logits[1:], strict=True):
        if weight:
            total = total + weight * functional.mse_loss(functional.avg_pool2d(fine.float(), 2), coarse.float())
    return total


def mask_loss(logits: Tensor, masks: Tensor) -> Tensor:
    """Cross entropy of pixels plus one minus the mean soft Dice of the classes that are in this batch.

    MONAI's ``DiceCELoss`` counts absent classes, whose Dice says nothing in a batch of a few slices.

    Args:
        logits: [N, C, H, W], background first.
        masks: [N, H, W] class numbers.
    """
    wide, classes = logits.float(), masks.long()
    truth = functional.one_hot(classes, wide.shape[1]).movedim(-1, 1).to(wide.dtype)
    predicted = wide.softmax(dim=1)
    common, both = (predicted * truth).sum(dim=(0, 2, 3)), (predicted + truth).sum(dim=(0, 2, 3))
    present = truth.sum(dim=(0, 2, 3)) > 0
    dice = (2 * common / both.clamp(min=1e-6))[present].mean()
    return functional.cross_entropy(wide, classes) + 1 - dice
