"""Bounding boxes of masks, and how well found boxes fit true ones."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.optimize import linear_sum_assignment

from HemoCAMLib.ct.geometry import SliceGeometry

#: A found box fits a true one in the usual detection scores where their IoU is at least this (PASCAL VOC).
HIT_IOU = 0.5


@dataclass(frozen=True)
class Box:
    """An upright box of pixels or voxels.

    Attributes:
        start: first index along each axis: (row, column), or (slice, row, column).
        stop: one past the last index along each axis.

    >>> box = Box((2, 3), (5, 9))
    >>> box.shape, box.count
    ((3, 6), 18)
    """

    start: tuple[int, ...]
    stop: tuple[int, ...]

    def __post_init__(self) -> None:
        if len(self.start) != len(self.stop) or any(a >= b for a, b in zip(self.start, self.stop, strict=True)):
            raise ValueError(f"no box from {self.start} to {self.stop}")

    @property
    def shape(self) -> tuple[int, ...]:
        """Pixels along each axis."""
        return tuple(b - a for a, b in zip(self.start, self.stop, strict=True))

    @property
    def count(self) -> int:
        """Pixels in the box."""
        return math.prod(self.shape)

    @property
    def centre(self) -> tuple[float, ...]:
        """Index of the middle along each axis; a box of one pixel has its centre at that pixel's index."""
        return tuple((a + b - 1) / 2 for a, b in zip(self.start, self.stop, strict=True))

    @property
    def view(self) -> tuple[slice, ...]:
        """What to index an array with to get the box's part of it."""
        return tuple(slice(a, b) for a, b in zip(self.start, self.stop, strict=True))

    def holds(self, point: Sequence[float]) -> bool:
        """Whether an index point lies in the box; its outer pixels count to their outer edges."""
        return all(a - 0.5 <= x <= b - 0.5 for a, b, x in zip(self.start, self.stop, point, strict=True))

    def size_mm(self, geometry: SliceGeometry) -> tuple[float, ...]:
        """Edge lengths in mm along each axis.

        Along slices it is the sum of the slices' own extents along the normal, so that uneven steps count as they are.
        """
        rows, columns = self.shape[-2:]
        in_plane = rows * geometry.pixel_spacing_mm[0], columns * geometry.pixel_spacing_mm[1]
        if len(self.shape) == 2:
            return in_plane
        return float(geometry.extents_mm[self.start[0] : self.stop[0]].sum()), *in_plane


def boxes_of(mask: NDArray[np.bool_], *, smallest: int = 1) -> tuple[Box, ...]:
    """The bounding boxes of the connected components of a mask.

    Pixels that touch by an edge or a corner are connected (8-connected in two dimensions, 26-connected in three).

    Args:
        mask: [rows, columns] or [slices, rows, columns] bool.
        smallest: components with fewer pixels give no box.

    Returns:
        One box a component, in the order in which scanning the array meets them.

    >>> boxes_of(np.array([[1, 1, 0, 0], [0, 0, 0, 1], [0, 0, 0, 1]], bool))
    (Box(start=(0, 0), stop=(1, 2)), Box(start=(1, 3), stop=(3, 4)))
    """
    mask = np.asarray(mask, dtype=bool)
    whole = _bounding_box(mask)
    if whole is None:
        return ()
    numbered, found = ndimage.label(mask[whole.view], structure=np.ones((3,) * mask.ndim, bool))
    counts = np.bincount(numbered.ravel(), minlength=found + 1)[1:]
    boxes = []
    for ranges, count in zip(ndimage.find_objects(numbered), counts, strict=True):
        if count >= smallest:
            start = tuple(int(r.start) + first for r, first in zip(ranges, whole.start, strict=True))
            stop = tuple(int(r.stop) + first for r, first in zip(ranges, whole.start, strict=True))
            boxes.append(Box(start, stop))
    return tuple(boxes)


def box_intersection(a: Box, b: Box) -> int:
    """Pixels that two boxes share.

    >>> box_intersection(Box((0, 0), (4, 4)), Box((2, 1), (9, 3)))
    4
    """
    sides = [min(p, q) - max(m, n) for m, n, p, q in zip(a.start, b.start, a.stop, b.stop, strict=True)]
    return math.prod(sides) if min(sides) > 0 else 0


def box_iou(a: Box, b: Box) -> float:
    """Intersection over union of two boxes, 0..1 (Jaccard index).

    >>> round(box_iou(Box((0, 0), (2, 2)), Box((0, 1), (2, 3))), 4)
    0.3333
    """
    shared = box_intersection(a, b)
    return shared / (a.count + b.count - shared)


def box_dice(a: Box, b: Box) -> float:
    """Dice coefficient of two boxes, 0..1; equals 2 IoU / (1 + IoU).

    >>> box_dice(Box((0, 0), (2, 2)), Box((0, 1), (2, 3)))
    0.5
    """
    return 2 * box_intersection(a, b) / (a.count + b.count)


@dataclass(frozen=True)
class BoxScore:
    """How the boxes found in one image fit the true ones.

    Attributes:
        found: number of boxes found.
        true: number of true boxes.
        matched_iou: IoU of each pair of the best one-to-one matching that overlaps at all, largest first.
        centre_hits: true boxes in which the centre of some found box lies, or whose centre lies in a found box.
        overlap_hits: true boxes that some found box overlaps in at least one pixel: the loosest hit.
        covered_iou: IoU of the pixels that any found box covers with those that any true box covers;
            NaN where there is no box at all.
        covered_dice: their Dice coefficient.
    """

    found: int
    true: int
    matched_iou: tuple[float, ...]
    centre_hits: int
    overlap_hits: int
    covered_iou: float
    covered_dice: float

    @property
    def mean_iou(self) -> float:
        """Mean IoU over the true boxes, an unmatched one counting 0; NaN without a true box."""
        return sum(self.matched_iou) / self.true if self.true else math.nan

    def hits(self, iou: float = HIT_IOU) -> int:
        """Matched pairs with at least this IoU: true positives of the detection score.

        False positives are ``found - hits``, false negatives ``true - hits``.
        """
        return sum(value >= iou for value in self.matched_iou)


def score_boxes(found: Sequence[Box], true: Sequence[Box]) -> BoxScore:
    """Fit of found boxes to true ones in one image, one box matched with one at most.

    The matching has the largest sum of IoU (Kuhn, The Hungarian method, 1955; scipy's linear_sum_assignment).

    >>> score = score_boxes([Box((0, 0), (4, 4)), Box((8, 8), (9, 9))], [Box((0, 0), (4, 3))])
    >>> score.matched_iou, score.hits(), score.centre_hits
    ((0.75,), 1, 1)
    """
    iou = _table(found, true, box_iou)
    pairs = linear_sum_assignment(-iou) if iou.size else ((), ())
    matched = sorted((float(value) for value in iou[pairs] if value > 0), reverse=True) if iou.size else []
    centred = _table(found, true, lambda a, b: b.holds(a.centre) or a.holds(b.centre))
    covered_iou, covered_dice = _covered(found, true)
    return BoxScore(
        found=len(found),
        true=len(true),
        matched_iou=tuple(matched),
        centre_hits=int(centred.any(axis=0).sum()),
        overlap_hits=int((iou > 0).any(axis=0).sum()),
        covered_iou=covered_iou,
        covered_dice=covered_dice,
    )


def _table(found: Sequence[Box], true: Sequence[Box], value: Callable[[Box, Box], float]) -> NDArray[np.float64]:
    """[found, true] a value of every pair."""
    return np.array([[value(a, b) for b in true] for a in found], np.float64).reshape(len(found), len(true))


def _covered(found: Sequence[Box], true: Sequence[Box]) -> tuple[float, float]:
    boxes = (*found, *true)
    if not boxes:
        return math.nan, math.nan
    lowest = np.min([box.start for box in boxes], axis=0)
    shape = np.max([box.stop for box in boxes], axis=0) - lowest
    planes = np.zeros((2, *shape), bool)
    for plane, group in zip(planes, (found, true), strict=True):
        for box in group:
            plane[tuple(slice(r.start - first, r.stop - first) for r, first in zip(box.view, lowest, strict=True))] = (
                True
            )
    shared, either = int((planes[0] & planes[1]).sum()), int((planes[0] | planes[1]).sum())
    return shared / either, 2 * shared / (either + shared)


def _bounding_box(mask: NDArray[Any]) -> Box | None:
    start, stop = [], []
    for axis in range(mask.ndim):
        used = np.flatnonzero(mask.any(axis=tuple(other for other in range(mask.ndim) if other != axis)))
        if used.size == 0:
            return None
        start.append(int(used[0]))
        stop.append(int(used[-1]) + 1)
    return Box(tuple(start), tuple(stop))
