"""Thresholds of a trained network, chosen on validation phantoms.

The class thresholds use class labels. The mask thresholds and the smallest volume use masks: of phantoms that the
network never saw and that are not the test phantoms. The weights themselves never see a mask.
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

ABSOLUTE_GRID = (
    0.05,
    0.1,
    0.15,
    0.2,
    0.25,
    0.3,
    0.35,
    0.4,
    0.45,
    0.5,
    0.55,
    0.6,
    0.65,
    0.7,
    0.75,
    0.8,
    0.85,
    0.9,
    0.93,
    0.96,
    0.98,
    0.99,
)
PER_IMAGE_GRID = tuple(range(10, 246, 5))
VOLUME_GRID_ML = (0.0, 0.05, 0.1, 0.2, 0.3, 0.5, 0.8)


@dataclass(frozen=True)
class Thresholds:
    """What tuning found; tables by name as the bundle's metadata wants them."""

    class_thresholds: dict[str, float]
    mask_thresholds: dict[str, dict[str, float]]
    minimum_volume_ml: float
    dice: dict[str, dict[str, float]] = field(default_factory=dict)


def tune(network: nn.Module, phantoms: Iterable[Phantom], settings: StackSettings) -> Thresholds:
    """Class thresholds by TPR - FPR, mask thresholds by pooled Dice per subtype, smallest volume by scan Dice.

    The gates are applied while mask thresholds are chosen, each subtype by itself; that subtypes compete for a
    pixel is left out there, and included in the choice of the smallest volume.
    """
    scans = [(phantom, scan_maps(network, phantom.hu, settings)) for phantom in phantoms]
    gates = _class_thresholds(scans)
    brains = [find_brain(phantom.hu, phantom.geometry) for phantom, _ in scans]
    tables: dict[str, dict[str, float]] = {}
    scores: dict[str, dict[str, float]] = {}
    for scale, grid in (("absolute", ABSOLUTE_GRID), ("per_image", PER_IMAGE_GRID)):
        tables[scale], scores[scale] = _mask_thresholds(scans, brains, gates, scale, np.array(grid, np.float64))
    volume = _smallest_volume(scans, brains, gates, tables["absolute"])
    return Thresholds(gates, tables, volume, scores)


def _class_thresholds(scans: list[tuple[Phantom, ScanMaps]]) -> dict[str, float]:
    probabilities = np.concatenate([found.probabilities for _, found in scans])
    target, known = labels_from_areas(np.concatenate([p.areas_mm2 for p, _ in scans]).astype(np.float32))
    chosen = {}
    for c, name in enumerate(CLASS_NAMES):
        use = known[:, c] > 0
        chosen[name] = round(youden_threshold(probabilities[use, c], target[use, c] > 0), 4)
    return chosen


def _mask_thresholds(
    scans: list[tuple[Phantom, ScanMaps]], brains: list, gates: dict[str, float], scale: str, grid: NDArray[np.float64]
) -> tuple[dict[str, float], dict[str, float]]:
    table, scores = {}, {}
    for k, subtype in enumerate(SUBTYPES):
        hits, called, truth = np.zeros(grid.size), np.zeros(grid.size), 0
        for (phantom, found), brain in zip(scans, brains, strict=True):
            wanted = phantom.labels == subtype.label
            truth += int(wanted.sum())
            for index in np.flatnonzero(found.probabilities[:, k + 1] > gates[subtype.name]):
                inside = brain.slice(int(index), phantom.hu[index])
                score = _score(found.local_logits[index, k + 1], scale, inside.shape)[inside]
                bins = np.searchsorted(grid, score, side="left")
                # A pixel with bin b exceeds the first b thresholds.
                for values, counts in ((score, called), (score[wanted[index][inside]], hits)):
                    where = bins if values is score else np.searchsorted(grid, values, side="left")
                    counts += np.cumsum(np.bincount(where, minlength=grid.size + 1)[::-1])[::-1][1:]
        dice = 2 * hits / np.maximum(called + truth, 1)
        best = int(np.argmax(dice))
        table[subtype.name], scores[subtype.name] = float(grid[best]), round(float(dice[best]), 4)
    return table, scores


def _score(local_logits: NDArray[np.float32], scale: str, shape: tuple[int, int]) -> NDArray[np.float32]:
    """The score that :func:`HemoCAMLib.mask.label_slice.label_slice` compares with the threshold."""
    whole = (0, shape[0], 0, shape[1])
    if scale == "absolute":
        return 1 / (1 + np.exp(-upsample_box(local_logits, shape, whole)))
    positive = np.maximum(local_logits, 0)
    largest = positive.max()
    return upsample_box(positive * np.float32(255 / largest if largest > 0 else 0), shape, whole)


def _smallest_volume(
    scans: list[tuple[Phantom, ScanMaps]], brains: list, gates: dict[str, float], table: dict[str, float]
) -> float:
    """The smallest-lesion volume with the best mean over scans of any-hemorrhage Dice; empty called empty counts 1."""
    best, chosen = -1.0, 0.0
    names = [subtype.name for subtype in SUBTYPES]
    for volume in VOLUME_GRID_ML:
        settings = MaskSettings(
            tuple(gates[n] for n in names), tuple(table[n] for n in names), minimum_volume_ml=volume
        )
        scores = []
        for (phantom, found), brain in zip(scans, brains, strict=True):
            labels = scan_labels(found, phantom.hu, phantom.geometry, brain, settings)
            both = ((labels > 0) & (phantom.labels > 0)).sum()
            total = (labels > 0).sum() + (phantom.labels > 0).sum()
            scores.append(2 * both / total if total else 1.0)
        if np.mean(scores) > best + 1e-4:
            best, chosen = float(np.mean(scores)), volume
    return chosen
