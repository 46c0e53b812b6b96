"""The probability above which a slice shows a subtype."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hemocam_training.metrics import youden_threshold
from HemoCAMLib.subtypes import CLASS_NAMES

#: Specificities over slices at which a gate stricter than the ROC's is tried. No gate is looser than the first: a
#: head has some thirty slices, and a weak class must not fill the healthy ones.
GATE_SPECIFICITIES = (0.97, 0.98, 0.99, 0.995)

Scores = NDArray[np.floating]
Flags = NDArray[np.bool_]


@dataclass(frozen=True)
class GateCandidates:
    """Thresholds of one class that are worth trying.

    Attributes:
        asked: what was asked for: the largest true-positive minus false-positive rate, or a sensitivity.
        stricter: never below ``asked``.
        cleanest: above every slice without the class.
    """

    asked: float
    stricter: tuple[float, ...]
    cleanest: float


def gate_candidates(scores: Scores, positive: Flags, sensitivity: float | None = None) -> GateCandidates:
    """Thresholds of one class from the probabilities of slices whose label is known.

    A class without positive or without negative slices is never called: its threshold is 1.

    Args:
        scores: [slice] probabilities.
        positive: [slice].
        sensitivity: least share of positive slices above the threshold; None for the largest TPR − FPR.
    """
    if positive.all() or not positive.any():
        return GateCandidates(1.0, (1.0,), 1.0)
    asked = youden_threshold(scores, positive) if sensitivity is None else at_sensitivity(scores, positive, sensitivity)
    at = np.quantile(scores[~positive], GATE_SPECIFICITIES)
    return GateCandidates(asked, tuple(float(max(one, asked)) for one in at), float(scores[~positive].max()))


def at_sensitivity(scores: Scores, positive: Flags, sensitivity: float) -> float:
    """The highest threshold that still calls this share of the positive slices; called is ``score > threshold``.

    >>> at_sensitivity(np.array([0.1, 0.4, 0.6, 0.8]), np.array([False, True, True, True]), 0.6)
    0.5
    """
    found = np.sort(scores[positive].astype(np.float64))[::-1]
    needed = int(np.ceil(sensitivity * found.size - 1e-9))
    if needed == 0:
        return float(found[0])
    lowest = found[needed - 1]
    # Half-way to the next slice below, of either kind: the threshold does not sit on the one that it has to call.
    below = scores[scores < lowest]
    return float((lowest + (below.max() if below.size else 0.0)) / 2)


def candidates_by_class(
    probabilities: Scores, target: NDArray[np.floating], known: NDArray[np.floating], sensitivity: float | None
) -> dict[str, GateCandidates]:
    """By class name, from [slice, class] arrays."""
    found = {}
    for c, name in enumerate(CLASS_NAMES):
        use = known[:, c] > 0
        found[name] = gate_candidates(probabilities[use, c], target[use, c] > 0, sensitivity)
    return found
