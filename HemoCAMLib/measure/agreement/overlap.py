"""Overlap of two segmentations: counts of voxels, and the ratios that follow from them.

Every ratio comes from four counts (Taha and Hanbury, Metrics for evaluating 3D medical image segmentation, BMC Med
Imaging 2015; Maier-Hein et al., Metrics reloaded, Nat Methods 2024): TP voxels in both, FP in the prediction alone,
FN in the truth alone, TN in neither.

Empty cases: 0/0 is undefined and given as None, as MONAI (``ignore_empty``), nnU-Net and Metrics Reloaded do, so that
a mean over cases leaves it out. Where just one of the two is empty, Dice and IoU are 0.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from HemoCAMLib.measure.agreement.structures import CODES, Members, membership

#: Which of the two has no voxel at all.
Empty = Literal["neither", "both", "prediction", "truth"]

Counts = NDArray[np.int64]


@dataclass(frozen=True)
class Overlap:
    """Voxel counts of one structure and their ratios; None is 0/0.

    Attributes:
        true_positive: voxels in both.
        false_positive: in the prediction alone.
        false_negative: in the truth alone.
        true_negative: in neither, over the whole grid; air counts, so specificity is near 1 for any small lesion.
    """

    true_positive: int
    false_positive: int
    false_negative: int
    true_negative: int

    @property
    def empty(self) -> Empty:
        """Whether both, one or none of the two masks are empty."""
        prediction = self.true_positive + self.false_positive == 0
        truth = self.true_positive + self.false_negative == 0
        if prediction and truth:
            return "both"
        return "prediction" if prediction else "truth" if truth else "neither"

    @property
    def dice(self) -> float | None:
        """2 TP / (2 TP + FP + FN) (Dice 1945); the same as F1."""
        return ratio(2 * self.true_positive, 2 * self.true_positive + self.false_positive + self.false_negative)

    @property
    def iou(self) -> float | None:
        """TP / (TP + FP + FN) (Jaccard 1912)."""
        return ratio(self.true_positive, self.true_positive + self.false_positive + self.false_negative)

    @property
    def precision(self) -> float | None:
        """TP / (TP + FP); None where the prediction is empty."""
        return ratio(self.true_positive, self.true_positive + self.false_positive)

    @property
    def recall(self) -> float | None:
        """TP / (TP + FN), also called sensitivity; None where the truth is empty."""
        return ratio(self.true_positive, self.true_positive + self.false_negative)

    @property
    def specificity(self) -> float | None:
        """TN / (TN + FP); None where the truth fills the grid."""
        return ratio(self.true_negative, self.true_negative + self.false_positive)


@dataclass(frozen=True, eq=False)
class OverlapCounts:
    """Voxels per slice and structure.

    Attributes:
        both: [slice, structure] in both, structures in the order of STRUCTURES.
        prediction: [slice, structure] in the prediction.
        truth: [slice, structure] in the truth.
        slice_voxels: voxels of a slice.
    """

    both: Counts
    prediction: Counts
    truth: Counts
    slice_voxels: int

    def whole(self, structure: int) -> Overlap:
        """Of all slices together."""
        return self._overlap(
            int(self.both[:, structure].sum()),
            int(self.prediction[:, structure].sum()),
            int(self.truth[:, structure].sum()),
            self.slice_voxels * len(self.both),
        )

    def of_slice(self, index: int, structure: int) -> Overlap:
        """Of one slice."""
        return self._overlap(
            int(self.both[index, structure]),
            int(self.prediction[index, structure]),
            int(self.truth[index, structure]),
            self.slice_voxels,
        )

    @staticmethod
    def _overlap(both: int, prediction: int, truth: int, voxels: int) -> Overlap:
        return Overlap(both, prediction - both, truth - both, voxels - prediction - truth + both)


def count_overlap(prediction: Members, truth: Members, window: tuple[slice, slice, slice]) -> OverlapCounts:
    """Counts every structure at once from the joint histogram of each slice's bytes.

    Args:
        prediction: [slice, row, column].
        truth: same shape.
        window: box that holds every voxel of both, such as :func:`common_window` gives; nothing else is looked at.
    """
    slices, rows, columns = prediction.shape
    joint = np.zeros((slices, CODES * CODES), np.int64)
    for index in range(window[0].start, window[0].stop):
        pair = prediction[index][window[1:]].astype(np.uint16)
        pair *= CODES
        pair += truth[index][window[1:]]
        joint[index] = np.bincount(pair.ravel(), minlength=CODES * CODES)
    table = joint.reshape(slices, CODES, CODES)
    member = membership()
    return OverlapCounts(
        both=np.einsum("npt,sp,st->ns", table, member, member, optimize=True),
        prediction=table.sum(axis=2) @ member.T,
        truth=table.sum(axis=1) @ member.T,
        slice_voxels=rows * columns,
    )


def common_window(*arrays: NDArray[np.uint8]) -> tuple[slice, slice, slice]:
    """The smallest box that holds every voxel that is not zero in any of the arrays; empty where all are zero.

    >>> labels = np.zeros((4, 5, 6), np.uint8)
    >>> labels[1:3, 2, 4] = 1
    >>> common_window(labels)
    (slice(1, 3, None), slice(2, 3, None), slice(4, 5, None))
    """
    shape = arrays[0].shape
    slices = np.zeros(shape[0], bool)
    rows = np.zeros(shape[1], bool)
    columns = np.zeros(shape[2], bool)
    for array in arrays:
        # Slice by slice: an empty slice, the most frequent, is looked at once only.
        for index in range(shape[0]):
            by_row = array[index].any(axis=1)
            if by_row.any():
                slices[index] = True
                rows |= by_row
                columns |= array[index][by_row].any(axis=0)
    if not slices.any():
        return slice(0, 0), slice(0, 0), slice(0, 0)
    first_slice, last_slice = _ends(slices)
    first_row, last_row = _ends(rows)
    first_column, last_column = _ends(columns)
    return slice(first_slice, last_slice), slice(first_row, last_row), slice(first_column, last_column)


def _ends(used: NDArray[np.bool_]) -> tuple[int, int]:
    found = np.flatnonzero(used)
    return int(found[0]), int(found[-1]) + 1


def ratio(part: float, whole: float) -> float | None:
    """part / whole, None for 0/0.

    >>> ratio(0, 0) is None, ratio(1, 4)
    (True, 0.25)
    """
    return part / whole if whole else None
