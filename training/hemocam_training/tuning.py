"""Thresholds of a trained network, chosen on validation phantoms.

Masks are used for that: of phantoms that the network never saw and that are not the test phantoms. The weights
themselves never see a mask.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
from torch import nn

from hemocam_training.metrics import youden_threshold
from hemocam_training.phantoms import Phantom
from hemocam_training.scans import ScanMaps, scan_labels, scan_maps
from hemocam_training.stacks import labels_from_areas
from HemoCAMLib.mask.brain_mask import find_brain
from HemoCAMLib.mask.grid_search import TuningScan, grid_search
from HemoCAMLib.mask.settings import MaskSettings
from HemoCAMLib.model.stacks import StackSettings
from HemoCAMLib.subtypes import CLASS_NAMES, SUBTYPE_NAMES, SUBTYPES

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
    candidates = {name: np.maximum(stricter[name], youden[name]).tolist() for name in SUBTYPE_NAMES}
    tried = {name: [*candidates[name], cleanest[name]] for name in SUBTYPE_NAMES}
    absolute = grid_search((scan.for_tuning for scan in scans), tried, ABSOLUTE_GRID, "absolute")
    gates = dict(youden)
    exact_gates = {}
    tables: dict[str, dict[str, float]] = {"absolute": {}, "per_image": {}}
    scores: dict[str, dict[str, float]] = {"absolute": {}, "per_image": {}}
    for name, grid in absolute.items():
        gate, threshold, dice = grid.best(gates=candidates[name])
        if dice < WEAK_DICE:
            gate, threshold, dice = grid.best(gates=[cleanest[name]])
        exact_gates[name] = [gate]
        gates[name] = round(gate, 4)
        tables["absolute"][name] = threshold
        scores["absolute"][name] = round(dice, 4)
    for name, grid in grid_search((scan.for_tuning for scan in scans), exact_gates, PER_IMAGE_GRID).items():
        _, threshold, dice = grid.best()
        tables["per_image"][name] = threshold
        scores["per_image"][name] = round(dice, 4)
    return Thresholds(gates, tables, _smallest_volume(scans, gates, tables["absolute"]), scores)


class _Scan:
    """A phantom, what the network says of it, and where its brain is."""

    def __init__(self, phantom: Phantom, found: ScanMaps) -> None:
        self.phantom, self.found = phantom, found
        self.brain = find_brain(phantom.hu, phantom.geometry)
        inside = [self.brain.slice(index, hu) for index, hu in enumerate(phantom.hu)]
        maps, probabilities = (
            array[:, -len(SUBTYPES) :].swapaxes(0, 1) for array in (found.local_logits, found.probabilities)
        )
        self.for_tuning = TuningScan(maps, probabilities, inside, phantom.labels)


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


def _smallest_volume(scans: list[_Scan], gates: dict[str, float], table: dict[str, float]) -> float:
    """The smallest-lesion volume with the best mean over scans of any-hemorrhage Dice; empty called empty counts 1."""
    best, chosen = -1.0, 0.0
    for volume in VOLUME_GRID_ML:
        settings = MaskSettings(
            tuple(gates[n] for n in SUBTYPE_NAMES), tuple(table[n] for n in SUBTYPE_NAMES), minimum_volume_ml=volume
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
