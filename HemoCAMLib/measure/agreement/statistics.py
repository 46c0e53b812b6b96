"""Agreement of two measurements over many patients: Bland-Altman, ICC, concordance, bootstrap intervals."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

Values = NDArray[np.float64]

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Interval:
    """A number with its confidence interval; None is undefined.

    Attributes:
        value: the estimate.
        low: lower limit.
        high: upper limit.
    """

    value: float | None
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class BlandAltman:
    """Differences prediction minus truth (Bland and Altman, Lancet 1986; Stat Methods Med Res 1999).

    Attributes:
        bias: mean difference, with the interval of the t distribution.
        sd: standard deviation of the differences.
        lower_limit: bias - 1.96 sd, the lower limit of agreement, with its approximate interval (1999, section 2.2).
        upper_limit: bias + 1.96 sd, likewise.
    """

    bias: Interval
    sd: float | None
    lower_limit: Interval
    upper_limit: Interval


def bland_altman(prediction: ArrayLike, truth: ArrayLike) -> BlandAltman:
    """Bias and limits of agreement; undefined for fewer than two pairs.

    >>> round(bland_altman([1.0, 2.0, 4.0], [1.0, 1.0, 2.0]).bias.value, 2)
    1.0
    """
    difference = _values(prediction) - _values(truth)
    count = difference.size
    if count < 2:
        bias = float(difference[0]) if count else None
        return BlandAltman(Interval(bias), None, Interval(None), Interval(None))
    mean, sd = float(difference.mean()), float(difference.std(ddof=1))
    t = float(stats.t.ppf((1 + CONFIDENCE) / 2, count - 1))
    z = float(stats.norm.ppf((1 + CONFIDENCE) / 2))
    around_bias = t * sd / math.sqrt(count)
    # Variance of a limit: s² (1/n + z² / (2 (n - 1))).
    around_limit = t * sd * math.sqrt(1 / count + z * z / (2 * (count - 1)))
    lower, upper = mean - z * sd, mean + z * sd
    return BlandAltman(
        Interval(mean, mean - around_bias, mean + around_bias),
        sd,
        Interval(lower, lower - around_limit, lower + around_limit),
        Interval(upper, upper - around_limit, upper + around_limit),
    )


def icc_2_1(ratings: ArrayLike) -> Interval:
    """ICC(2,1): two-way random effects, absolute agreement, single rater (Shrout and Fleiss, Psychol Bull 1979).

    With mean squares of rows (BMS), columns (JMS) and residual (EMS), n rows and k columns::

        ICC = (BMS - EMS) / (BMS + (k - 1) EMS + k (JMS - EMS) / n)

    and the interval of the same paper (with the degrees of freedom by Satterthwaite's approximation).

    Args:
        ratings: [patient, rater]; for prediction against truth two columns.

    Returns:
        undefined for fewer than two patients or where nothing varies.

    >>> round(icc_2_1([[9, 2, 5, 8], [6, 1, 3, 2], [8, 4, 6, 8], [7, 1, 2, 6], [10, 5, 6, 9], [6, 2, 4, 7]]).value, 2)
    0.29
    """
    table = np.asarray(ratings, np.float64)
    n, k = table.shape
    if n < 2 or k < 2:
        return Interval(None)
    grand = table.mean()
    between = k * float(((table.mean(axis=1) - grand) ** 2).sum())
    columns = n * float(((table.mean(axis=0) - grand) ** 2).sum())
    residual = max(0.0, float(((table - grand) ** 2).sum()) - between - columns)
    bms, jms, ems = between / (n - 1), columns / (k - 1), residual / ((n - 1) * (k - 1))
    below = bms + (k - 1) * ems + k * (jms - ems) / n
    if below <= 0:
        return Interval(None)
    icc = (bms - ems) / below
    if residual <= _rounding(table):
        return Interval(icc)
    ratio = jms / ems
    part = k * icc * ratio + n * (1 + (k - 1) * icc) - k * icc
    freedom = (
        (k - 1) * (n - 1) * part**2 / ((n - 1) * (k * icc * ratio) ** 2 + (n * (1 + (k - 1) * icc) - k * icc) ** 2)
    )
    tail = (1 + CONFIDENCE) / 2
    f_low, f_high = float(stats.f.ppf(tail, n - 1, freedom)), float(stats.f.ppf(tail, freedom, n - 1))
    rest = k * jms + (k * n - k - n) * ems
    low = n * (bms - f_low * ems) / (f_low * rest + n * bms)
    high = n * (f_high * bms - ems) / (rest + n * f_high * bms)
    return Interval(icc, low, high)


def _rounding(table: NDArray[np.float64]) -> float:
    """A sum of squares that is no more than the rounding of its parts."""
    return float(16 * np.finfo(np.float64).eps * (table**2).sum())


def concordance(prediction: ArrayLike, truth: ArrayLike) -> Interval:
    """Lin's concordance correlation coefficient (Biometrics 1989), with the interval by Fisher's z transform.

    ``2 s_xy / (s_x² + s_y² + (mean x - mean y)²)`` with moments divided by n; the standard error of z is that of the
    note of correction (Biometrics 2000). Undefined for fewer than two pairs or where nothing varies.
    """
    x, y = _values(prediction), _values(truth)
    n = x.size
    if n < 2:
        return Interval(None)
    var_x, var_y = float(x.var()), float(y.var())
    covariance = float(((x - x.mean()) * (y - y.mean())).mean())
    apart = float(x.mean() - y.mean())
    below = var_x + var_y + apart**2
    if below <= 0:
        return Interval(None)
    c = 2 * covariance / below
    r = covariance / math.sqrt(var_x * var_y) if var_x > 0 and var_y > 0 else 0.0
    if n < 3 or abs(c) >= 1 or r == 0:
        return Interval(c)
    u2 = apart**2 / math.sqrt(var_x * var_y)
    variance = (
        (1 - r**2) * c**2 / ((1 - c**2) * r**2)
        + 2 * c**3 * (1 - c) * u2 / (r * (1 - c**2) ** 2)
        - c**4 * u2**2 / (2 * r**2 * (1 - c**2) ** 2)
    ) / (n - 2)
    if variance < 0:
        return Interval(c)
    around = float(stats.norm.ppf((1 + CONFIDENCE) / 2)) * math.sqrt(variance)
    z = math.atanh(c)
    return Interval(c, math.tanh(z - around), math.tanh(z + around))


class Bootstrap:
    """Percentile intervals over patients drawn with replacement (Efron and Tibshirani 1993, chapter 13).

    Scans of one patient are drawn together: they are not independent of each other.

    Args:
        patients: [row] whose scan each row is.
        draws: number of samples.
        seed: of the random numbers; the same seed gives the same intervals.
    """

    def __init__(self, patients: Sequence[str], *, draws: int = 2000, seed: int = 0) -> None:
        names, owner = np.unique(np.asarray(patients), return_inverse=True)
        rows = [np.flatnonzero(owner == index) for index in range(len(names))]
        rng = np.random.default_rng(seed)
        self._all = np.arange(owner.size)
        self._draws = (
            [np.concatenate([rows[index] for index in rng.integers(0, len(names), len(names))]) for _ in range(draws)]
            if len(names) > 1
            else []
        )

    def interval(self, statistic: Callable[[NDArray[np.intp]], float | None]) -> Interval:
        """The statistic of all rows and its interval; no interval for fewer than two patients.

        Args:
            statistic: of the rows with the given indices; None where it is undefined for them, which leaves the
                draw out.
        """
        value = statistic(self._all) if self._all.size else None
        if value is None:
            return Interval(None)
        found = [drawn for rows in self._draws if (drawn := statistic(rows)) is not None]
        if not found:
            return Interval(value)
        low, high = np.percentile(found, [50 * (1 - CONFIDENCE), 50 * (1 + CONFIDENCE)])
        return Interval(value, float(low), float(high))


def _values(values: ArrayLike) -> Values:
    return np.asarray(values, np.float64)
