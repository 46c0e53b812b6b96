"""Estimates with confidence intervals of a bootstrap over patients.

Slices of one patient are alike, so it is patients that are drawn with replacement, each with all its rows. One value a
row is nothing that an interval may be taken from.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import DegenerateDataWarning
from scipy.stats import bootstrap as scipy_bootstrap

Rows = NDArray[np.intp]

#: Below this share of draws in which a statistic has a value, an interval would be about other data.
_FEWEST_VALID = 0.5


@dataclass(frozen=True)
class Estimate:
    """A value with the ends of its confidence interval; the ends are NaN where there is none."""

    value: float
    low: float = float("nan")
    high: float = float("nan")

    def __str__(self) -> str:
        return f"{self.value:.3f} ({self.low:.3f} to {self.high:.3f})"


def bootstrap_statistic(
    statistic: Callable[[Rows], float],
    patients: Sequence[Hashable],
    *,
    draws: int = 2000,
    level: float = 0.95,
    method: Literal["BCa", "percentile"] = "BCa",
    seed: int = 0,
) -> Estimate:
    """A statistic of rows with the interval that drawing patients gives it.

    scipy's bootstrap draws numbers of patients; the statistic sees the rows of those drawn, a patient's rows twice
    where it was drawn twice. A difference between two methods is a statistic of the rows that both share.

    Args:
        statistic: of row numbers, such as ``lambda rows: auroc(scores[rows], positive[rows])``; NaN where it has no
            value for a draw (no positive row), which is left out of the percentiles.
        patients: of every row.
        draws: how many.
        level: of the interval.
        method: ``BCa`` (Efron 1987, bias-corrected and accelerated) falls back to percentiles where it is not defined:
            the statistic is the same in every draw or without each patient, or has no value in some draw.
        seed: of the draws.

    Returns:
        The statistic of all rows. With a single patient, or where less than half of the draws have a value, the
        interval is NaN.

    >>> bootstrap_statistic(lambda rows: float(rows.mean()), ["a", "b", "b", "c"], draws=200).value
    1.5
    """
    rows_of = rows_by_patient(patients)
    value = float(statistic(np.arange(len(patients), dtype=np.intp)))
    if len(rows_of) < 2:
        return Estimate(value)

    def of_drawn(numbers: NDArray[np.intp]) -> float:
        return float(statistic(np.concatenate([rows_of[number] for number in numbers])))

    with warnings.catch_warnings(), np.errstate(invalid="ignore", divide="ignore"):
        warnings.simplefilter("ignore", DegenerateDataWarning)
        warnings.simplefilter("ignore", RuntimeWarning)
        found = scipy_bootstrap(
            (np.arange(len(rows_of)),),
            of_drawn,
            n_resamples=draws,
            vectorized=False,
            confidence_level=level,
            method=method,
            random_state=np.random.default_rng(seed),
        )
    low, high = map(float, found.confidence_interval)
    if np.isfinite([low, high]).all():
        return Estimate(value, low, high)
    low, high = _percentiles(found.bootstrap_distribution[:, None], level)[:, 0]
    return Estimate(value, float(low), float(high))


def bootstrap_ratios(
    numerators: ArrayLike,
    denominators: ArrayLike,
    patients: Sequence[Hashable],
    *,
    draws: int = 2000,
    level: float = 0.95,
    seed: int = 0,
) -> list[Estimate]:
    """Σ numerators / Σ denominators of many measures at once, with percentile intervals (Efron 1979).

    A mean over slices has denominators of 1, a pooled Dice 2·|A∩B| over |A|+|B|. A draw only weighs patients anew, so
    thousands of draws of a dozen measures are one product of matrices; :func:`bootstrap_statistic` with ``percentile``
    is the same, slower.

    Args:
        numerators, denominators: [row, measure]. A row that does not count for a measure has 0 in both.
        patients: of every row.
        draws, level, seed: as above.

    Returns:
        One estimate a measure; NaN where its denominators sum to 0.

    >>> [estimate.value for estimate in bootstrap_ratios([[1.0], [0.0], [2.0]], [[1.0], [1.0], [1.0]], "abb")]
    [1.0]
    """
    above, below = np.atleast_2d(np.asarray(numerators, float)), np.atleast_2d(np.asarray(denominators, float))
    rows_of = rows_by_patient(patients)
    shares = np.stack([[each[rows].sum(axis=0) for rows in rows_of] for each in (above, below)])
    count = len(rows_of)
    with np.errstate(invalid="ignore", divide="ignore"):
        values = shares[0].sum(axis=0) / shares[1].sum(axis=0)
        if count < 2:
            return [Estimate(float(value)) for value in values]
        weights = np.random.default_rng(seed).multinomial(count, np.full(count, 1 / count), size=draws)
        drawn = (weights @ shares[0]) / (weights @ shares[1])
    low, high = _percentiles(drawn, level)
    return [Estimate(*map(float, each)) for each in zip(values, low, high, strict=True)]


def bootstrap_means(
    values: ArrayLike, patients: Sequence[Hashable], *, draws: int = 2000, level: float = 0.95, seed: int = 0
) -> list[Estimate]:
    """Means over rows of many measures at once, NaN left out; see :func:`bootstrap_ratios`.

    Args:
        values: [row, measure], or [row] for one.
    """
    table = np.asarray(values, float)
    table = table[:, None] if table.ndim == 1 else table
    known = np.isfinite(table)
    return bootstrap_ratios(np.where(known, table, 0), known, patients, draws=draws, level=level, seed=seed)


def rows_by_patient(patients: Sequence[Hashable]) -> list[Rows]:
    """Row numbers of each patient, patients in the order in which they first appear."""
    found: dict[Hashable, list[int]] = {}
    for row, patient in enumerate(patients):
        found.setdefault(patient, []).append(row)
    return [np.array(rows, dtype=np.intp) for rows in found.values()]


def _percentiles(drawn: NDArray[np.float64], level: float) -> NDArray[np.float64]:
    """[2, measure] ends of the interval of [draw, measure]; NaN where too few draws have a value."""
    valid = np.isfinite(drawn)
    drawn = np.where(valid, drawn, np.nan)
    few = valid.mean(axis=0) < _FEWEST_VALID
    drawn[:, few] = 0
    ends = np.nanpercentile(drawn, (50 * (1 - level), 50 * (1 + level)), axis=0)
    ends[:, few] = np.nan
    return ends
