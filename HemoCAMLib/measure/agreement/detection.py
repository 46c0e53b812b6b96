"""Whether the right slices were called: sensitivity, specificity, and AUROC of the probabilities."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from HemoCAMLib.measure.agreement.overlap import ratio


@dataclass(frozen=True)
class SliceDetection:
    """Slices as cases: positive where a mask has at least one voxel of the structure.

    Attributes:
        true_positive: slices that show it in both.
        false_positive: in the prediction alone.
        false_negative: in the truth alone.
        true_negative: in neither.
        auroc: area under the ROC curve of the classifier's probability per slice against the truth; None without
            probabilities, and where every slice or none shows the structure.
    """

    true_positive: int
    false_positive: int
    false_negative: int
    true_negative: int
    auroc: float | None = None

    @property
    def sensitivity(self) -> float | None:
        """TP / (TP + FN); None where no slice of the truth shows it."""
        return ratio(self.true_positive, self.true_positive + self.false_negative)

    @property
    def specificity(self) -> float | None:
        """TN / (TN + FP); None where every slice of the truth shows it."""
        return ratio(self.true_negative, self.true_negative + self.false_positive)


def detect_slices(
    prediction: NDArray[np.bool_], truth: NDArray[np.bool_], probability: NDArray[np.floating] | None = None
) -> SliceDetection:
    """Counts [slice] flags of prediction and truth, and scores [slice] probabilities.

    >>> detection = detect_slices(np.array([True, False]), np.array([True, True]), np.array([0.9, 0.2]))
    >>> detection.sensitivity, detection.auroc
    (0.5, None)
    """
    return SliceDetection(
        true_positive=int(np.count_nonzero(prediction & truth)),
        false_positive=int(np.count_nonzero(prediction & ~truth)),
        false_negative=int(np.count_nonzero(~prediction & truth)),
        true_negative=int(np.count_nonzero(~prediction & ~truth)),
        auroc=None if probability is None else auroc(truth, probability),
    )


def auroc(truth: NDArray[np.bool_], score: NDArray[np.floating]) -> float | None:
    """Area under the ROC curve: the chance that a positive scores above a negative, ties counting half.

    The Mann-Whitney statistic (Hanley and McNeil, Radiology 1982).

    >>> auroc(np.array([False, True, True]), np.array([0.1, 0.1, 0.7]))
    0.75
    """
    positive = int(np.count_nonzero(truth))
    negative = truth.size - positive
    if not positive or not negative:
        return None
    ranks = rankdata(score)
    return float((ranks[truth].sum() - positive * (positive + 1) / 2) / (positive * negative))
