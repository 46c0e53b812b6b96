"""How a mask fits the truth, and what that comes to over many slices, with intervals over patients."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hemocam_training.experiments.bootstrap import Estimate, bootstrap_ratios
from HemoCAMLib.mask.boxes import boxes_of, score_boxes

#: Components smaller than this give no box; a reader would not draw one around them.
SMALLEST_BOX_MM2 = 20.0

#: What :func:`summarise` gives: means over slices, then the same from pixels of all slices together.
MEASURES = (
    "dice",
    "iou",
    "precision",
    "recall",
    "box_iou",
    "box_dice",
    "loose_hit_rate",
    "peak_hit_rate",
    "dice_pooled",
    "iou_pooled",
    "precision_pooled",
    "recall_pooled",
)


@dataclass(frozen=True)
class SliceScore:
    """One mask against its truth.

    Attributes:
        patient: whom a bootstrap draws.
        both, called, truth: pixels in mask and truth, in the mask, in the truth.
        box_iou, box_dice: of the areas that the boxes of mask and truth cover.
        boxes_hit, boxes: true boxes that a box of the mask overlaps at all, and true boxes.
        peak_inside: the map's highest point lies in the truth; independent of any threshold.
    """

    patient: str
    both: int
    called: int
    truth: int
    box_iou: float
    box_dice: float
    boxes_hit: int
    boxes: int
    peak_inside: bool


def score_mask(
    patient: str, mask: NDArray[np.bool_], truth: NDArray[np.bool_], pixel_area_mm2: float, *, peak_inside: bool
) -> SliceScore:
    """The score of one mask.

    Args:
        patient: whom a bootstrap draws.
        mask, truth: [row, column].
        pixel_area_mm2: of one pixel.
        peak_inside: see :class:`SliceScore`.
    """
    smallest = max(1, round(SMALLEST_BOX_MM2 / pixel_area_mm2))
    fit = score_boxes(boxes_of(mask, smallest=smallest), boxes_of(truth, smallest=smallest))
    return SliceScore(
        patient,
        int((mask & truth).sum()),
        int(mask.sum()),
        int(truth.sum()),
        _number(fit.covered_iou),
        _number(fit.covered_dice),
        fit.overlap_hits,
        fit.true,
        peak_inside,
    )


def summarise(scores: Sequence[SliceScore], draws: int = 1000) -> dict[str, Estimate]:
    """Every measure of :data:`MEASURES`, with intervals from drawing patients with replacement.

    An empty mask counts with precision 0.

    >>> one = SliceScore("a", both=2, called=4, truth=4, box_iou=0, box_dice=0, boxes_hit=1, boxes=1, peak_inside=False)
    >>> summarise([one])["dice"].value
    0.5
    """
    shares = np.stack([_shares(score) for score in scores], axis=1)
    found = bootstrap_ratios(shares[0], shares[1], [score.patient for score in scores], draws=draws)
    return dict(zip(MEASURES, found, strict=True))


def _shares(score: SliceScore) -> NDArray[np.float64]:
    """[2, measure] what one slice adds to the numerator and the denominator of each measure."""
    both, called, truth = score.both, score.called, score.truth
    either = called + truth - both
    means = (
        2 * both / (called + truth),
        both / either,
        both / max(called, 1),
        both / truth,
        score.box_iou,
        score.box_dice,
    )
    numerators = (*means, score.boxes_hit, score.peak_inside, 2 * both, both, both, both)
    denominators = (*(1,) * len(means), score.boxes, 1, called + truth, either, called, truth)
    return np.array([numerators, denominators], float)


def _number(value: float) -> float:
    return 0.0 if np.isnan(value) else float(value)
