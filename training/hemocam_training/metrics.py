"""Scores of classification and of masks."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata


def auroc(scores: NDArray[np.floating], positive: NDArray[np.bool_]) -> float:
    """Area under the ROC curve, ties counted half; NaN where a class is absent.

    >>> auroc(np.array([0.1, 0.4, 0.35, 0.8]), np.array([False, False, True, True]))
    0.75
    """
    count = int(positive.sum())
    if count in (0, positive.size):
        return float("nan")
    ranks = rankdata(scores)
    return float((ranks[positive].sum() - count * (count + 1) / 2) / (count * (positive.size - count)))


def youden_threshold(scores: NDArray[np.floating], positive: NDArray[np.bool_]) -> float:
    """The threshold with the largest true-positive minus false-positive rate; called is ``score > threshold``."""
    order = np.argsort(-scores, kind="stable")
    ranked, hits = scores[order], positive[order]
    difference = np.cumsum(hits) / max(hits.sum(), 1) - np.cumsum(~hits) / max((~hits).sum(), 1)
    # Between equal scores no threshold can cut.
    difference[:-1][ranked[:-1] == ranked[1:]] = -np.inf
    best = int(np.argmax(difference))
    below = ranked[best + 1] if best + 1 < ranked.size else 0.0
    return float((ranked[best] + below) / 2)


def dice(true_positive: float, predicted: float, truth: float) -> float:
    """2 |A and B| / (|A| + |B|); NaN where both are empty."""
    return 2 * true_positive / (predicted + truth) if predicted + truth > 0 else float("nan")
