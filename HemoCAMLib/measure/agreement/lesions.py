"""Lesion by lesion: which true lesions were found, which found ones are false, and how well each pair fits.

A lesion is a 26-connected set of voxels of one structure. Two matching rules:

* by touch (default, ``minimum_iou`` 0): a true lesion is found where the prediction has at least one voxel of it, and
  is then compared with all predicted lesions that touch it, together; a predicted lesion that touches none is a false
  positive. So ISLES 2022 counts (Hernandez Petzsche et al., Sci Data 2022).
* by IoU (``minimum_iou`` t > 0): one predicted lesion for one true lesion, the pairs of largest summed IoU among those
  of at least t (for t > 0.5 the matching of panoptic quality, Kirillov et al., CVPR 2019).

F1 = 2 TP / (2 TP + FP + FN), sensitivity = TP / (TP + FN), precision = TP / (TP + FP), where TP are true lesions found.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.optimize import linear_sum_assignment

from HemoCAMLib.mask.boxes import Box, box_iou
from HemoCAMLib.measure.agreement.overlap import ratio
from HemoCAMLib.measure.agreement.surface import Surface, SurfaceAgreement, SurfacePair, nearest, summarize

_TOUCHING = np.ones((3, 3, 3), bool)

Volumes = NDArray[np.float64]
LesionMap = NDArray[np.int32]
Distances = NDArray[np.float64]


@dataclass(frozen=True)
class LesionPair:
    """One true lesion and what was predicted of it, or one false positive.

    Attributes:
        number: of the true lesion, from 1 in scan order; None for a false positive.
        found: whether the matching rule counts the true lesion as found.
        truth_ml: volume of the true lesion; 0 for a false positive.
        prediction_ml: volume of the matched predicted lesions together.
        first_slice: first slice index of the pair.
        last_slice: last slice index of the pair.
        dice: of the pair; 0 where there is nothing to compare with.
        iou: of the pair.
        box_iou: IoU of their three-dimensional bounding boxes, in voxels.
        surface: distances; None where there is nothing to compare with, or they were not asked for.
    """

    number: int | None
    found: bool
    truth_ml: float
    prediction_ml: float
    first_slice: int
    last_slice: int
    dice: float
    iou: float
    box_iou: float
    surface: SurfaceAgreement | None


@dataclass(frozen=True)
class LesionAgreement:
    """Lesions of one structure.

    Attributes:
        truth_count: true lesions.
        prediction_count: predicted lesions.
        found: true lesions found (TP).
        false_positives: predicted lesions that match none (FP).
        pairs: true lesions in scan order, then false positives.
    """

    truth_count: int
    prediction_count: int
    found: int
    false_positives: int
    pairs: tuple[LesionPair, ...]

    @property
    def missed(self) -> int:
        """True lesions not found (FN)."""
        return self.truth_count - self.found

    @property
    def f1(self) -> float | None:
        """None without any lesion."""
        return ratio(2 * self.found, 2 * self.found + self.false_positives + self.missed)

    @property
    def sensitivity(self) -> float | None:
        """None without a true lesion."""
        return ratio(self.found, self.truth_count)

    @property
    def precision(self) -> float | None:
        """None where nothing was found and nothing is false."""
        return ratio(self.found, self.found + self.false_positives)

    @property
    def box_iou(self) -> float | None:
        """Mean over true lesions of the IoU of bounding boxes, 0 for those not found; None without a true lesion."""
        values = [pair.box_iou for pair in self.pairs if pair.number is not None]
        return ratio(sum(values), len(values))


@dataclass(frozen=True, eq=False)
class Lesions:
    """The lesions of one mask within a window of the scan.

    Attributes:
        map: [slice, row, column] of the window, 0 none, else lesion number from 1.
        voxels: [lesions] number of voxels.
        volume_ml: [lesions].
        boxes: of each lesion, in voxels of the scan.
    """

    map: LesionMap
    voxels: NDArray[np.int64]
    volume_ml: Volumes
    boxes: tuple[Box, ...]

    @property
    def count(self) -> int:
        return len(self.boxes)


def find_lesions(mask: NDArray[np.bool_], slice_ml: Volumes, corner: tuple[int, int, int]) -> Lesions:
    """The lesions of a mask.

    Args:
        mask: [slice, row, column] window of a scan.
        slice_ml: [slice of the scan] volume of one voxel in each slice.
        corner: index of the window's first voxel.
    """
    if not mask.size:
        return Lesions(np.zeros(mask.shape, np.int32), np.zeros(0, np.int64), np.zeros(0), ())
    numbered, count = ndimage.label(mask, structure=_TOUCHING, output=np.int32)
    per_slice = np.zeros((mask.shape[0], count), np.int64)
    for index, plane in enumerate(numbered):
        per_slice[index] = np.bincount(plane.ravel(), minlength=count + 1)[1:]
    boxes = []
    for ranges in ndimage.find_objects(numbered):
        start = tuple(int(side.start) + first for side, first in zip(ranges, corner, strict=True))
        stop = tuple(int(side.stop) + first for side, first in zip(ranges, corner, strict=True))
        boxes.append(Box(start, stop))
    window_ml = slice_ml[corner[0] : corner[0] + mask.shape[0]]
    return Lesions(numbered, per_slice.sum(axis=0), window_ml @ per_slice, tuple(boxes))


def compare_lesions(
    prediction: Lesions,
    truth: Lesions,
    surfaces: SurfacePair | None,
    corner: tuple[int, int, int],
    minimum_iou: float = 0.0,
) -> LesionAgreement:
    """Matches the lesions of one structure.

    Args:
        prediction: predicted lesions.
        truth: true lesions in the same window.
        surfaces: of both masks, for distances per lesion; None leaves them out.
        corner: index of the window's first voxel.
        minimum_iou: see the rules above.
    """
    shared = _shared_voxels(prediction, truth)
    matches = _by_touch(shared) if minimum_iou <= 0 else _by_iou(shared, prediction, truth, minimum_iou)
    parts = None if surfaces is None else _Parts((prediction, truth), surfaces, corner)
    pairs = [_pair(number, matches[number], shared, prediction, truth, parts) for number in range(truth.count)]
    matched = {index for match in matches for index in match}
    false = [index for index in range(prediction.count) if index not in matched]
    return LesionAgreement(
        truth_count=truth.count,
        prediction_count=prediction.count,
        found=sum(pair.found for pair in pairs),
        false_positives=len(false),
        pairs=(*pairs, *(_false_positive(index, prediction) for index in false)),
    )


def _shared_voxels(prediction: Lesions, truth: Lesions) -> NDArray[np.int64]:
    """[predicted lesions, true lesions] voxels in both."""
    shared = np.zeros((prediction.count, truth.count), np.int64)
    for first, second in zip(prediction.map, truth.map, strict=True):
        met = (first > 0) & (second > 0)
        keys = (first[met].astype(np.int64) - 1) * truth.count + (second[met] - 1)
        found, counts = np.unique(keys, return_counts=True)
        shared.flat[found] += counts
    return shared


def _by_touch(shared: NDArray[np.int64]) -> list[tuple[int, ...]]:
    """For every true lesion: the predicted ones that touch it."""
    return [tuple(np.flatnonzero(column).tolist()) for column in shared.T]


def _by_iou(
    shared: NDArray[np.int64], prediction: Lesions, truth: Lesions, minimum_iou: float
) -> list[tuple[int, ...]]:
    matches: list[tuple[int, ...]] = [()] * truth.count
    if shared.size:
        iou = shared / (prediction.voxels[:, None] + truth.voxels[None, :] - shared)
        allowed = np.where(iou >= minimum_iou, iou, 0.0)
        for row, column in zip(*linear_sum_assignment(-allowed), strict=True):
            if allowed[row, column] > 0:
                matches[int(column)] = (int(row),)
    return matches


class _Parts:
    """Distances between lesions, from those between the whole surfaces.

    Lesions of one structure do not touch, so the surface of each is its part of the whole surface. Where the nearest
    voxel of a whole surface belongs to the lesions in question it is their nearest too; only the rest is searched anew.
    """

    def __init__(self, lesions: tuple[Lesions, Lesions], surfaces: SurfacePair, corner: tuple[int, int, int]) -> None:
        self._pair = surfaces
        self._owners = [
            own.map[tuple((surface.indices - corner).T)] - 1
            for own, surface in zip(lesions, (surfaces.prediction, surfaces.truth), strict=True)
        ]

    def compare(self, predicted: tuple[int, ...], true: int) -> SurfaceAgreement | None:
        """Of one true lesion and the predicted ones matched with it; None where there are none."""
        if not predicted:
            return None
        chosen = np.isin(self._owners[0], predicted), self._owners[1] == true
        parts = self._pair.prediction.part(chosen[0]), self._pair.truth.part(chosen[1])
        forth, back = self._pair.from_prediction, self._pair.from_truth
        return summarize(
            _within(parts[0], parts[1], forth.distance_mm[chosen[0]], chosen[1][forth.index[chosen[0]]]),
            _within(parts[1], parts[0], back.distance_mm[chosen[1]], chosen[0][back.index[chosen[1]]]),
        )


def _within(origin: Surface, target: Surface, distance_mm: Distances, valid: NDArray[np.bool_]) -> Distances:
    if valid.all():
        return distance_mm
    distance_mm = distance_mm.copy()
    distance_mm[~valid] = nearest(origin.part(~valid), target).distance_mm
    return distance_mm


def _pair(
    number: int,
    match: tuple[int, ...],
    shared: NDArray[np.int64],
    prediction: Lesions,
    truth: Lesions,
    parts: _Parts | None,
) -> LesionPair:
    own = truth.boxes[number]
    chosen = list(match)
    box = _around([prediction.boxes[index] for index in chosen])
    both = int(shared[chosen, number].sum())
    either = int(prediction.voxels[chosen].sum() + truth.voxels[number]) - both
    return LesionPair(
        number=number + 1,
        found=bool(match),
        truth_ml=float(truth.volume_ml[number]),
        prediction_ml=float(prediction.volume_ml[chosen].sum()),
        first_slice=min(own.start[0], box.start[0]) if box else own.start[0],
        last_slice=(max(own.stop[0], box.stop[0]) if box else own.stop[0]) - 1,
        dice=2 * both / (both + either),
        iou=both / either,
        box_iou=box_iou(own, box) if box else 0.0,
        surface=None if parts is None else parts.compare(match, number),
    )


def _around(boxes: list[Box]) -> Box | None:
    if not boxes:
        return None
    start = np.min([box.start for box in boxes], axis=0)
    stop = np.max([box.stop for box in boxes], axis=0)
    return Box(tuple(start.tolist()), tuple(stop.tolist()))


def _false_positive(index: int, prediction: Lesions) -> LesionPair:
    box = prediction.boxes[index]
    volume_ml = float(prediction.volume_ml[index])
    return LesionPair(None, False, 0.0, volume_ml, box.start[0], box.stop[0] - 1, 0.0, 0.0, 0.0, None)
