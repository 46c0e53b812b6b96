"""Agreement on a decision by volume, such as "30 mL or more": sensitivity, specificity, Cohen's kappa."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import binomtest

from hemocam_training.experiments.bootstrap import Estimate
from hemocam_training.experiments.patient_draws import patient_weights, weighted_estimate

Values = NDArray[np.float64]


@dataclass(frozen=True)
class Decision:
    """How often the same is decided on the prediction's volume as on the truth's.

    Attributes:
        threshold_ml: at or above it the answer is yes.
        both, only_prediction, only_truth, neither: scans by who says yes.
        sensitivity, specificity: with Wilson's interval: a bootstrap has no spread where all scans are right.
        kappa: Cohen's, with the interval of a bootstrap over patients; NaN where everyone always says the same.
    """

    threshold_ml: float
    both: int
    only_prediction: int
    only_truth: int
    neither: int
    sensitivity: Estimate
    specificity: Estimate
    kappa: Estimate


def volume_decision(
    prediction_ml: ArrayLike,
    truth_ml: ArrayLike,
    patients: Sequence[Hashable],
    *,
    threshold_ml: float = 30.0,
    draws: int = 2000,
) -> Decision:
    """The decision on [scan] volumes.

    Sources: Wilson, J Am Stat Assoc 1927 (by scipy); Cohen, Educ Psychol Meas 1960.

    >>> found = volume_decision([31.0, 5.0, 40.0, 2.0], [35.0, 4.0, 20.0, 1.0], "abcd", draws=100)
    >>> found.both, found.only_prediction, found.only_truth, found.neither, found.kappa.value
    (1, 1, 0, 2, 0.5)
    """
    called, true = (np.asarray(each, float) >= threshold_ml for each in (prediction_ml, truth_ml))
    cells = np.stack([called & true, called & ~true, ~called & true, ~called & ~true], axis=1).astype(float)
    both, only_prediction, only_truth, neither = (int(n) for n in cells.sum(axis=0))
    weights = patient_weights(patients, draws=draws)
    return Decision(
        threshold_ml,
        both,
        only_prediction,
        only_truth,
        neither,
        rate(both, both + only_truth),
        rate(neither, neither + only_prediction),
        weighted_estimate(lambda drawn: kappa(drawn @ cells), weights),
    )


def rate(hits: int, of: int) -> Estimate:
    """A share with Wilson's 95 % interval; NaN of none.

    >>> str(rate(8, 10))
    '0.800 (0.490 to 0.943)'
    """
    if of == 0:
        return Estimate(float("nan"))
    interval = binomtest(hits, of).proportion_ci(0.95, method="wilson")
    return Estimate(hits / of, float(interval.low), float(interval.high))


def kappa(cells: Values) -> Values:
    """[draw] Cohen's kappa of [draw, (both, only first, only second, neither)] counts; NaN where chance agrees fully.

    >>> kappa(np.array([[20.0, 5.0, 10.0, 15.0]])).round(6).tolist()
    [0.4]
    """
    both, first, second, neither = cells.T
    total = cells.sum(axis=1)
    agreed = (both + neither) / total
    by_chance = ((both + first) * (both + second) + (neither + first) * (neither + second)) / total**2
    return np.where(by_chance < 1, (agreed - by_chance) / np.where(by_chance < 1, 1 - by_chance, 1), np.nan)
