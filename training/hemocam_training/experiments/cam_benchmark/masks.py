"""Masks of single maps by the rules of :mod:`HemoCAMLib.mask`, and the fixed threshold that suits a method best."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from HemoCAMLib.mask.label_slice import label_slice
from HemoCAMLib.mask.settings import NEVER_CALLED, MaskSettings
from HemoCAMLib.mask.threshold_rule import ThresholdRule
from HemoCAMLib.mask.upsample import upsample_box
from HemoCAMLib.subtypes import SUBTYPES

#: Fixed thresholds that are tried, of 255. The lowest are for methods that leave one sharp peak, such as HiResCAM at
#: the input of LSE pooling.
GRID = (0.5, 1.0, 2.0, 3.0, 5.0, 7.0, *(float(t) for t in range(10, 251, 5)))

#: Rule of a fixed threshold of 255 times the probability, for maps that are local logits; every other rule looks at
#: each map on its own scale.
ABSOLUTE = "absolute"

#: Begins a rule whose fixed threshold is given and not chosen, such as ``fixed:75``.
GIVEN = "fixed:"


def score_image(
    activation_map: NDArray[np.float32], shape: tuple[int, int], rule: str = "fixed"
) -> NDArray[np.float32]:
    """[row, column] the map interpolated to the image, 0..255: its positive part, 255 at its largest value.

    Args:
        activation_map: [h, w], signed.
        shape: of the image.
        rule: for ``absolute`` it is the sigmoid that is shown, times 255, whatever the map's largest value is.
    """
    whole = (0, shape[0], 0, shape[1])
    finite = np.nan_to_num(activation_map, nan=0.0, posinf=0.0, neginf=0.0).astype(np.float32)
    if rule == ABSOLUTE:
        certain: NDArray[np.float32] = (255 * expit(upsample_box(finite, shape, whole))).astype(np.float32)
        return certain
    positive = np.maximum(finite, 0)
    peak = float(positive.max())
    if peak > 0:
        positive = positive / np.float32(peak) * np.float32(255)
    enlarged: NDArray[np.float32] = upsample_box(positive, shape, whole)
    return enlarged


def map_mask(
    activation_map: NDArray[np.float32], brain: NDArray[np.bool_], rule: str, threshold: float = 0.0
) -> NDArray[np.bool_]:
    """[row, column] the mask of one map whose class is known to be there.

    Args:
        activation_map: [h, w], signed.
        brain: [row, column].
        rule: ``absolute``, or what :meth:`ThresholdRule.from_value` reads, on the per-image scale.
        threshold: of 255, where the rule is ``absolute`` or ``fixed``, its number given or not.
    """
    others = len(SUBTYPES) - 1
    gates = (0.0, *(NEVER_CALLED,) * others)
    if rule == ABSOLUTE:
        settings = MaskSettings(gates, (threshold / 255, *(0.0,) * others))
    else:
        settings = MaskSettings(
            gates,
            (threshold, *(0.0,) * others),
            scale="per_image",
            rule=ThresholdRule.from_value("fixed" if rule.startswith(GIVEN) else rule),
            map_values="signed",
        )
    maps = np.zeros((len(SUBTYPES), *activation_map.shape), np.float32)
    maps[0] = activation_map
    return label_slice(maps, (1.0, *(0.0,) * others), brain, settings) > 0


def dice_curve(scores: NDArray[np.float32], truth: NDArray[np.bool_], brain: NDArray[np.bool_]) -> NDArray[np.float64]:
    """[threshold] Dice at every threshold of :data:`GRID`, from two histograms.

    Args:
        scores: [row, column] from :func:`score_image`.
        truth, brain: [row, column].
    """
    grid = np.array(GRID, np.float32)
    both, called = (
        # A pixel in bin b exceeds the first b thresholds.
        np.cumsum(np.bincount(np.searchsorted(grid, scores[pixels], side="left"), minlength=grid.size + 1)[::-1])[::-1][
            1:
        ]
        for pixels in (brain & truth, brain)
    )
    curve: NDArray[np.float64] = 2 * both / np.maximum(called + truth.sum(), 1)
    return curve


def best_threshold(curves: Sequence[NDArray[np.float64]]) -> float:
    """The threshold of :data:`GRID` with the largest mean of these curves."""
    return float(GRID[int(np.argmax(np.mean(curves, axis=0)))])
