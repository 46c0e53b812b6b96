"""Probabilities that mean what they say: a line per class through the logits, and how far off they are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import expit

from HemoCAMLib.model.calibration import LARGEST_OFFSET, LARGEST_SCALE, Calibration
from HemoCAMLib.subtypes import CLASS_NAMES

CalibrationKind = Literal["platt", "temperature", "none"]

#: Fewer labels of either kind than this say nothing of a probability.
FEWEST_LABELS = 8
BINS = 10

Values = NDArray[np.float64]


@dataclass(frozen=True)
class CalibrationScores:
    """How well probabilities agree with labels.

    Attributes:
        log_loss: mean negative log-likelihood.
        brier: mean squared difference (Brier 1950).
        expected_error: mean over ten equally wide bins of |mean probability − share of positives|, weighted by their
            size (Naeini et al., AAAI 2015).
    """

    log_loss: float
    brier: float
    expected_error: float


def fit_calibration(
    logits: NDArray[np.floating], target: NDArray[np.floating], known: NDArray[np.floating], kind: CalibrationKind
) -> Calibration | None:
    """The line of every class with the highest likelihood; the slope is positive.

    Platt's targets, (n₊ + 1)/(n₊ + 2) and 1/(n₋ + 2) in place of 1 and 0, keep probabilities finite where the classes
    separate (Platt 1999, section 2.2). A class with too few labels, or whose logits tell nothing, keeps its sigmoid.

    Args:
        logits: [slice, class], not a number for a class that the model lacks.
        target, known: [slice, class] 0 or 1.
        kind: ``platt`` fits slope and offset, ``temperature`` the slope alone; ``none`` gives None.
    """
    if kind == "none":
        return None
    scale, offset = {}, {}
    for c, name in enumerate(CLASS_NAMES):
        use = (known[:, c] > 0) & np.isfinite(logits[:, c])
        slope, shift = _line(logits[use, c].astype(np.float64), target[use, c] > 0, with_offset=kind == "platt")
        scale[name], offset[name] = round(slope, 5), round(shift, 5)
    return Calibration(scale, offset)


def calibration_scores(probabilities: NDArray[np.floating], positive: NDArray[np.bool_]) -> CalibrationScores:
    """Scores of one class; all [slice].

    >>> calibration_scores(np.array([0.5, 0.5]), np.array([True, False])).brier
    0.25
    """
    p = np.clip(probabilities.astype(np.float64), 1e-7, 1 - 1e-7)
    loss = -np.where(positive, np.log(p), np.log1p(-p)).mean()
    places = np.minimum((p * BINS).astype(int), BINS - 1)
    counts = np.bincount(places, minlength=BINS)
    apart = np.abs(np.bincount(places, p, BINS) - np.bincount(places, positive, BINS))
    return CalibrationScores(float(loss), float(((p - positive) ** 2).mean()), float(apart.sum() / counts.sum()))


def _line(logits: Values, positive: NDArray[np.bool_], *, with_offset: bool) -> tuple[float, float]:
    count = int(positive.sum())
    if min(count, positive.size - count) < FEWEST_LABELS:
        return 1.0, 0.0
    wanted = np.where(positive, (count + 1) / (count + 2), 1 / (positive.size - count + 2))

    def loss(line: Values) -> tuple[float, Values]:
        # The slope is searched as its logarithm, so that it stays positive.
        slope = np.exp(line[0])
        z = slope * logits + (line[1] if with_offset else 0.0)
        difference = expit(z) - wanted
        value = float((np.logaddexp(0, z) - wanted * z).mean())
        gradient = np.array([(difference * logits).mean() * slope, difference.mean() if with_offset else 0.0])
        return value, gradient

    bounds = [(-np.log(LARGEST_SCALE), np.log(LARGEST_SCALE)), (-LARGEST_OFFSET, LARGEST_OFFSET)]
    found = minimize(loss, np.zeros(2), jac=True, method="L-BFGS-B", bounds=bounds)
    slope, shift = float(np.exp(found.x[0])), float(found.x[1])
    at_bound = slope <= 1.01 / LARGEST_SCALE or slope >= 0.99 * LARGEST_SCALE
    return (1.0, 0.0) if not found.success or at_bound else (slope, shift)
