"""Algorithm 1 of the weakly supervised paper: from one slice's activation maps to its label map."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import expit, logit

from HemoCAMLib.mask.settings import MaskSettings
from HemoCAMLib.mask.threshold import cells_in, map_threshold
from HemoCAMLib.mask.upsample import FloatMap, bounding_box, box_where_above, common_box, upsample_box
from HemoCAMLib.subtypes import SUBTYPES

#: Stands for "no evidence" where a logit is not finite; finite itself, so that interpolation stays finite.
NO_EVIDENCE_LOGIT = -1e4


def label_slice(
    maps: ArrayLike,
    probabilities: ArrayLike,
    brain: NDArray[np.bool_],
    settings: MaskSettings,
) -> NDArray[np.uint8]:
    """The subtype of every pixel of one slice.

    A subtype takes part where its probability exceeds its class threshold. A pixel takes the subtype with the
    highest score among those that exceed their threshold there, whatever the rule; ties go to the first subtype.
    The map covers the whole image and is interpolated bilinearly. Pixels outside the brain mask stay 0.

    On the absolute scale the score is the sigmoid of the interpolated local logit. On the per-image scale
    each called subtype's map is clipped at zero, divided by its largest value and multiplied by 255, at its own
    size and over the whole map, before it is interpolated, so its highest point always counts as certain.

    With the rule ``fixed`` the thresholds are the settings'; a map that is constant and positive then marks the whole
    brain on the per-image scale, where the class gate is its only protection. Every other rule finds the threshold of
    each called subtype's map in its scores, at the map's own size, and a constant map comes out empty.

    Values that are not finite count as no evidence, and so does a probability that is not a number.

    Args:
        maps: [5, h, w] local logits, or on the per-image scale maps of any method, in the order of
            :data:`~HemoCAMLib.subtypes.SUBTYPES`.
        probabilities: [5] of the slice, same order.
        brain: [rows, columns] pixels that may be labelled.
        settings: gates, scale, rule and thresholds.

    Returns:
        [rows, columns] uint8 labels, 0 for none.

    Source: Weakly supervised quantification of intracranial hemorrhage subtypes, section 3.3, Algorithm 1.
    """
    maps, gates = np.asarray(maps), np.asarray(probabilities, dtype=np.float64)
    if maps.ndim != 3 or maps.shape[0] != len(SUBTYPES) or gates.shape != (len(SUBTYPES),) or brain.ndim != 2:
        raise ValueError(f"expected maps [5, h, w], probabilities [5], brain [r, c]; got {maps.shape}, {gates.shape}")
    labels = np.zeros(brain.shape, np.uint8)
    called = np.flatnonzero(gates > np.asarray(settings.class_thresholds))
    if called.size == 0 or 0 in maps.shape:
        return labels
    inside = bounding_box(brain)
    if inside is None:
        return labels
    best: FloatMap = np.full(brain.shape, -np.inf, np.float32)
    counted = cells_in(brain, maps.shape[1:]) if settings.rule.over == "brain" else None
    for index in called:
        compared = compared_map(maps[index], settings.scale)
        threshold = _threshold(compared, settings, int(index), counted)
        if isinstance(threshold, float):
            cut_map, cut = compared, threshold
        else:
            # Where every cell has its own threshold, it is what a cell exceeds it by that is interpolated.
            cut_map, cut = (compared - threshold).astype(np.float32), 0.0
        reach = box_where_above(cut_map, cut, brain.shape)
        box = common_box(inside, reach) if reach else None
        if box is None:
            continue
        view = np.s_[box[0] : box[1], box[2] : box[3]]
        scores = upsample_box(compared, brain.shape, box)
        wins = (scores if cut_map is compared else upsample_box(cut_map, brain.shape, box)) > cut
        wins &= scores > best[view]
        np.copyto(best[view], scores, where=wins)
        np.copyto(labels[view], np.uint8(SUBTYPES[index].label), where=wins)
    labels *= brain
    return labels


def compared_map(raw: NDArray[np.generic], scale: str) -> FloatMap:
    """[h, w] float32 what is interpolated and compared: logits on the absolute scale, scores on the per-image scale.

    The sigmoid is monotone, so on the absolute scale logits are compared and no exponential is taken. Values that are
    not finite have become no evidence.
    """
    score_map = raw.astype(np.float32)
    finite = np.isfinite(score_map)
    if scale == "absolute":
        if not finite.all():
            score_map[~finite] = NO_EVIDENCE_LOGIT
        return score_map
    if not finite.all():
        score_map[~finite] = 0
    np.maximum(score_map, 0, out=score_map)
    peak = float(score_map.max())
    if peak > 0:
        # Division first: 255 / peak overflows where the peak is as small as float16 leaves it in a stored map.
        score_map /= np.float32(peak)
        score_map *= np.float32(255)
    return score_map


def compared_threshold(threshold: float, scale: str) -> float:
    """What :func:`compared_map` must exceed for the score to exceed a threshold on that scale."""
    if scale != "absolute":
        return float(threshold)
    if threshold <= 0:
        return NO_EVIDENCE_LOGIT
    if threshold >= 1:
        return math.inf
    return math.log(threshold / (1 - threshold))


def _threshold(
    compared: FloatMap, settings: MaskSettings, index: int, counted: NDArray[np.bool_] | None
) -> float | NDArray[np.float64]:
    """What a called subtype's map is held against, by the settings' rule."""
    if settings.rule.is_fixed:
        return compared_threshold(settings.mask_thresholds[index], settings.scale)
    scores = compared.astype(np.float64)
    if settings.scale != "absolute":
        return map_threshold(scores, settings.rule, counted)
    found = map_threshold(expit(scores), settings.rule, counted)
    if isinstance(found, float):
        return compared_threshold(found, settings.scale)
    # Finite, so that interpolation stays finite.
    cuts: NDArray[np.float64] = np.clip(logit(np.clip(found, 0, 1)), NO_EVIDENCE_LOGIT, -NO_EVIDENCE_LOGIT)
    return cuts
