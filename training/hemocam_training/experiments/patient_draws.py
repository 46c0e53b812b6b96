"""Draws of patients as weights of rows, for statistics that follow from weighted sums: thousands of draws at once."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence

import numpy as np
from numpy.typing import NDArray

from hemocam_training.experiments.bootstrap import Estimate, rows_by_patient

Values = NDArray[np.float64]

#: Fewer draws than this share with a value, and the interval would be about other data.
FEWEST_VALID = 0.5


def patient_weights(patients: Sequence[Hashable], *, draws: int, seed: int = 0) -> Values:
    """[1 + draws, row] how often each row is taken: once each, then as often as its patient was drawn.

    Without draws where there are no two patients: an interval would say that nothing is uncertain.
    """
    rows_of = rows_by_patient(patients)
    count = len(rows_of)
    weights = np.ones((1 + draws if count > 1 else 1, len(patients)))
    if count < 2:
        return weights
    drawn = np.random.default_rng(seed).multinomial(count, np.full(count, 1 / count), size=draws)
    for number, rows in enumerate(rows_of):
        weights[1:, rows] = drawn[:, [number]]
    return weights


def weighted_estimate(statistic: Callable[[Values], Values], weights: Values) -> Estimate:
    """A statistic of [draw, row] weights of :func:`patient_weights`, with its interval; NaN where it has no value."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return drawn_estimate(statistic(weights))


def drawn_estimate(found: Values, *, level: float = 0.95) -> Estimate:
    """The first of [1 + draws] values, with the percentile interval (Efron 1979) of the others that are numbers.

    Without one where most draws have no value.
    """
    value, drawn = float(found[0]), found[1:][np.isfinite(found[1:])]
    if drawn.size < max(FEWEST_VALID * (len(found) - 1), 1):
        return Estimate(value)
    low, high = np.percentile(drawn, (50 * (1 - level), 50 * (1 + level)))
    return Estimate(value, float(low), float(high))
