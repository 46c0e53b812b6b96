"""Thresholds of a trained network, chosen on validation phantoms.

Masks are used for that: of phantoms that the network never saw and that are not the test phantoms. The weights
themselves never see a mask.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from torch import nn

from hemocam_training.metrics import youden_threshold
from hemocam_training.phantoms import Phantom
from hemocam_training.scans import ScanMaps, scan_labels, scan_maps
from hemocam_training.stacks import labels_from_areas
from HemoCAMLib.mask.brain_mask import find_brain
from HemoCAMLib.mask.settings import MaskSettings
from HemoCAMLib.mask.upsample import upsample_box
from HemoCAMLib.model.stacks import StackSettings
from HemoCAMLib.subtypes import CLASS_NAMES, SUBTYPES

ABSOLUTE_GRID = (*(k / 20 for k in range(1, 19)), 0.93, 0.96, 0.98, 0.99)
PER_IMAGE_GRID = tuple(range(10, 246, 5))
#: Specificities over slices at which a gate stricter than the ROC's is tried. No gate is looser than the first: a
#: head has some thirty slices, and a weak class must not fill the healthy ones.
GATE_SPECIFICITIES = (0.97, 0.98, 0.99, 0.995)

#: A subtype whose masks never reach this pooled Dice is called only above every slice without it.
WEAK_DICE = 0.2
VOLUME_GRID_ML = (0.0, 0.05, 0.1, 0.2, 0.3, 0.5, 0.8)


@dataclass(frozen=True)
class Thresholds:
    """What tuning found; tables by name as the bundle's metadata wants them."""

    class_thresholds: dict[str, float]
    mask_thresholds: dict[str, dict[str, float]]
    minimum_volume_ml: float
    dice: dict[str, dict[str, float]] = field(default_factory=dict)


def tune(network: nn.Module, phantoms: Iterable[Phantom], settings: StackSettings) -> Thresholds:
    """Class thresholds, mask thresholds per subtype, and the smallest volume.

    A subtype's class threshold is where TPR - FPR is largest, as in the paper, or where 97 % of the slices without
    the subtype stay clean, whichever is stricter. One that is stricter still is taken, jointly with the mask
    threshold, where that gives a higher Dice pooled over all slices, and the strictest for a subtype whose masks are
    of little worth anyhow (:data:`WEAK_DICE`). That subtypes compete for a pixel is left out
    there, and included in the choice of the smallest volume.
    """
    scans = [_Scan(phantom, scan_maps(network, phantom.hu, settings)) for phantom in phantoms]
    youden, stricter, cleanest = _class_thresholds(scans)
    gates = dict(youden)
    tables: dict[str, dict[str, float]] = {"absolute": {}, "per_image": {}}
    scores: dict[str, dict[str, float]] = {"absolute": {}, "per_image": {}}
    for k, subtype in enumerate(SUBTYPES):
        name = subtype.name
        candidates = np.unique(np.maximum(stricter[name], youden[name]))
        dice = _pooled_dice(scans, k, candidates, "absolute", np.array(ABSOLUTE_GRID))
        if dice.max() < WEAK_DICE:
            candidates = np.array([cleanest[name]])
            dice = _pooled_dice(scans, k, candidates, "absolute", np.array(ABSOLUTE_GRID))
        gate, threshold = np.unravel_index(int(np.argmax(dice)), dice.shape)
        gates[name] = round(float(candidates[gate]), 4)
        tables["absolute"][name] = ABSOLUTE_GRID[threshold]
        scores["absolute"][name] = round(float(dice[gate, threshold]), 4)
        dice = _pooled_dice(scans, k, candidates[gate : gate + 1], "per_image", np.array(PER_IMAGE_GRID, float))
        tables["per_image"][name] = float(PER_IMAGE_GRID[int(np.argmax(dice[0]))])
        scores["per_image"][name] = round(float(dice.max()), 4)
    return Thresholds(gates, tables, _smallest_volume(scans, gates, tables["absolute"]), scores)


class _Scan:
    """A phantom, what the network says of it, and where its brain is."""

    def __init__(self, phantom: Phantom, found: ScanMaps) -> None:
        self.phantom, self.found = phantom, found
        self.brain = find_brain(phantom.hu, phantom.geometry)
        self.inside = [self.brain.slice(index, hu) for index, hu in enumerate(phantom.hu)]


def _class_thresholds(scans: list[_Scan]) -> tuple[dict[str, float], dict[str, list[float]], dict[str, float]]:
    """By class name: the threshold of the largest TPR - FPR, of the stricter specificities, of specificity 1."""
    probabilities = np.concatenate([scan.found.probabilities for scan in scans])
    target, known = labels_from_areas(np.concatenate([s.phantom.areas_mm2 for s in scans]).astype(np.float32))
    youden, stricter, cleanest = {}, {}, {}
    for c, name in enumerate(CLASS_NAMES):
        use = known[:, c] > 0
        scores, positive = probabilities[use, c], target[use, c] > 0
        youden[name] = round(youden_threshold(scores, positive), 4)
        stricter[name] = [float(q) for q in np.quantile(scores[~positive], GATE_SPECIFICITIES)]
        cleanest[name] = float(scores[~positive].max())
    return youden, stricter, cleanest


def _pooled_dice(
    scans: list[_Scan], k: int, gates: NDArray[np.float64], scale: str, grid: NDArray[np.float64]
) -> NDArray[np.float64]:
    """[gate, threshold] Dice of subtype number ``k`` over the pixels of all scans."""
    hits, called, truth = np.zeros((gates.size, grid.size)), np.zeros((gates.size, grid.size)), 0
    for scan in scans:
        wanted = scan.phantom.labels == SUBTYPES[k].label
        truth += int(wanted.sum())
        for index in np.flatnonzero(scan.found.probabilities[:, k + 1] > gates[0]):
            inside = scan.inside[index]
            score = _score(scan.found.local_logits[index, k + 1], scale, inside.shape)
            passed = scan.found.probabilities[index, k + 1] > gates
            for counts, pixels in ((called, inside), (hits, inside & wanted[index])):
                # A pixel in bin b exceeds the first b thresholds.
                bins = np.bincount(np.searchsorted(grid, score[pixels], side="left"), minlength=grid.size + 1)
                counts[passed] += np.cumsum(bins[::-1])[::-1][1:]
    return 2 * hits / np.maximum(called + truth, 1)


def _score(local_logits: NDArray[np.float32], scale: str, shape: tuple[int, int]) -> NDArray[np.float32]:
    """The score that :func:`HemoCAMLib.mask.label_slice.label_slice` compares with the threshold."""
    whole = (0, shape[0], 0, shape[1])
    if scale == "absolute":
        return 1 / (1 + np.exp(-upsample_box(local_logits, shape, whole)))
    positive = np.maximum(local_logits, 0)
    largest = positive.max()
    return upsample_box(positive * np.float32(255 / largest if largest > 0 else 0), shape, whole)


def _smallest_volume(scans: list[_Scan], gates: dict[str, float], table: dict[str, float]) -> float:
    """The smallest-lesion volume with the best mean over scans of any-hemorrhage Dice; empty called empty counts 1."""
    best, chosen = -1.0, 0.0
    names = [subtype.name for subtype in SUBTYPES]
    for volume in VOLUME_GRID_ML:
        settings = MaskSettings(
            tuple(gates[n] for n in names), tuple(table[n] for n in names), minimum_volume_ml=volume
        )
        scores = []
        for scan in scans:
            truth = scan.phantom.labels > 0
            called = scan_labels(scan.found, scan.phantom.hu, scan.phantom.geometry, scan.brain, settings) > 0
            total = called.sum() + truth.sum()
            scores.append(2 * (called & truth).sum() / total if total else 1.0)
        if np.mean(scores) > best + 1e-4:
            best, chosen = float(np.mean(scores)), volume
    return chosen
