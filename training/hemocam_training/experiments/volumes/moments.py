"""Agreement of two measurements from weighted sums, so that thousands of bootstrap draws cost one product of matrices.

A draw of patients with replacement is a weight for every scan: how often its patient was drawn. Every statistic here
takes [draw, scan] weights and gives one value a draw; weights of one are the sample itself. The statistics are those
of :mod:`HemoCAMLib.measure.agreement.statistics`, which gives them with their textbook intervals.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

Values = NDArray[np.float64]

#: Of the differences that lie within the limits of agreement, for a normal distribution.
LIMIT_SD = 1.959963984540054


@dataclass(frozen=True, eq=False)
class Moments:
    """Sums of pairs (prediction, truth), one value a draw.

    Attributes:
        count: scans, each as often as it was drawn.
        mean_x, mean_y: means of prediction and truth.
        xx, yy, xy: Σ (x - mean x)², Σ (y - mean y)², Σ (x - mean x)(y - mean y).
    """

    count: Values
    mean_x: Values
    mean_y: Values
    xx: Values
    yy: Values
    xy: Values

    @classmethod
    def of(cls, prediction: ArrayLike, truth: ArrayLike, weights: Values) -> Moments:
        """The sums of [scan] pairs under [draw, scan] weights."""
        x, y = np.asarray(prediction, float), np.asarray(truth, float)
        # About the sample's own means, so that squares of large numbers do not cancel.
        centre_x, centre_y = x.mean(), y.mean()
        x, y = x - centre_x, y - centre_y
        sums = weights @ np.stack([np.ones_like(x), x, y, x * x, y * y, x * y], axis=1)
        count, sum_x, sum_y, sum_xx, sum_yy, sum_xy = sums.T
        mean_x, mean_y = _ratio(sum_x, count), _ratio(sum_y, count)
        return cls(
            count,
            mean_x + centre_x,
            mean_y + centre_y,
            np.maximum(sum_xx - sum_x * mean_x, 0),
            np.maximum(sum_yy - sum_y * mean_y, 0),
            sum_xy - sum_x * mean_y,
        )

    @property
    def bias(self) -> Values:
        """Mean of prediction minus truth."""
        return self.mean_x - self.mean_y

    @property
    def sd(self) -> Values:
        """Standard deviation of the differences, with n - 1."""
        return np.sqrt(np.maximum(_ratio(self.xx + self.yy - 2 * self.xy, self.count - 1), 0))

    @property
    def limits(self) -> tuple[Values, Values]:
        """Bland and Altman's limits of agreement, bias ± 1.96 SD."""
        return self.bias - LIMIT_SD * self.sd, self.bias + LIMIT_SD * self.sd

    @property
    def icc(self) -> Values:
        """ICC(2,1) of Shrout and Fleiss 1979, ICC(A,1) of McGraw and Wong 1996: two-way random effects, absolute
        agreement, single measurement; NaN for fewer than two scans or where nothing varies."""
        n = self.count
        between = (self.xx + self.yy + 2 * self.xy) / 2
        columns = n * self.bias**2 / 2
        residual = np.maximum(self.xx + self.yy - between, 0)
        bms, ems = _ratio(between, n - 1), _ratio(residual, n - 1)
        return _ratio(bms - ems, bms + ems + 2 * (columns - ems) / n)

    @property
    def concordance(self) -> Values:
        """Lin's concordance correlation coefficient, moments divided by n; NaN where nothing varies."""
        below = (self.xx + self.yy) / self.count + self.bias**2
        return np.where(self.count > 1, _ratio(2 * self.xy / self.count, below), np.nan)


def weighted_median(values: ArrayLike, weights: Values) -> Values:
    """[draw] median of [scan] values, each as often as its whole-number weight says; NaN where all weights are 0."""
    values = np.asarray(values, float)
    if not values.size:
        return np.full(len(weights), np.nan)
    order = np.argsort(values, kind="stable")
    upto = np.cumsum(weights[:, order], axis=1)
    total = upto[:, -1]
    middles = [values[order[(upto > place[:, None]).argmax(axis=1)]] for place in ((total - 1) // 2, total // 2)]
    return np.where(total > 0, (middles[0] + middles[1]) / 2, np.nan)


def _ratio(above: Values, below: Values) -> Values:
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(below > 0, above / below, np.nan)
