"""Masks by Algorithm 1 of the weakly supervised paper, with gates and thresholds of several kinds, and their pixels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hemocam_training.experiments.weak_quantification.predictions import SUBTYPE_CLASSES, Predictions
from hemocam_training.metrics import youden_threshold
from hemocam_training.shards import SliceShards
from HemoCAMLib.mask import MaskSettings, label_slice
from HemoCAMLib.mask.grid_search import PAPER_GRID, TuningScan, grid_search
from HemoCAMLib.subtypes import CLASS_NAMES, SUBTYPE_NAMES, SUBTYPES

#: The paper's mask thresholds of 255 for its own network, table 4.
PAPER_THRESHOLDS = {"IPH": 75.0, "IVH": 125.0, "SAH": 125.0, "SDH": 75.0, "EDH": 25.0}
#: Tables 5, 6, 7.
UNIFORM_THRESHOLDS = (125.0, 75.0, 25.0)

#: Structures of the Dice tables: the paper counts the pixels without hemorrhage too.
NORMAL = "Normal"
STRUCTURES = (NORMAL, *SUBTYPE_NAMES)

Counts = NDArray[np.int64]


@dataclass(frozen=True)
class Gates:
    """When a subtype takes part in a slice.

    Attributes:
        of_truth: where the slice's true label says so; else by the classifier.
        thresholds: of the classifier's probabilities, by class name.
    """

    of_truth: bool
    thresholds: Mapping[str, float]


def class_thresholds(probabilities: NDArray[np.float32], slices: SliceShards) -> dict[str, float]:
    """By class where true-positive minus false-positive rate is largest; .5 for a class without both kinds of slices.

    Args:
        probabilities: [slice, class].
        slices: with their labels.
    """
    chosen = {}
    for c, name in enumerate(CLASS_NAMES):
        known = slices.known[:, c] > 0
        positive = slices.target[known, c] > 0
        both = positive.any() and not positive.all()
        chosen[name] = youden_threshold(probabilities[known, c], positive) if both else 0.5
    return chosen


def mask_thresholds(found: Predictions, slices: SliceShards, grid: Sequence[float] = PAPER_GRID) -> dict[str, float]:
    """By subtype the threshold of the grid with the best pooled Dice where the true labels gate, as in the paper.

    Subtypes are tuned one at a time; the paper found that their maps hardly overlap.
    """
    scans = (_tuning_scan(found, slices, scan) for scan in np.unique(slices.scans))
    return {name: search.best()[1] for name, search in grid_search(scans, [0.5], grid).items()}


def pixel_counts(found: Predictions, slices: SliceShards, gates: Gates, thresholds: Mapping[str, float]) -> Counts:
    """[slice, structure, (both, called, true)] pixels of the masks; structures are :data:`STRUCTURES`."""
    counts = np.zeros((len(slices), len(STRUCTURES), 3), np.int64)
    for position in range(len(slices)):
        truth = slices.masks(np.array([position]))[0]
        labels = labels_of(found, slices, gates, thresholds, position)
        pairs = np.bincount(6 * labels.ravel().astype(np.intp) + truth.ravel(), minlength=36).reshape(6, 6)
        counts[position] = np.stack([pairs.diagonal(), pairs.sum(axis=1), pairs.sum(axis=0)], axis=1)
    return counts


def labels_of(
    found: Predictions, slices: SliceShards, gates: Gates, thresholds: Mapping[str, float], position: int
) -> NDArray[np.uint8]:
    """[row, column] the mask of one slice: no brain mask, no refinement, as in the paper."""
    cut = tuple(thresholds[name] for name in SUBTYPE_NAMES)
    called = (0.5,) * len(SUBTYPES) if gates.of_truth else tuple(gates.thresholds[name] for name in SUBTYPE_NAMES)
    settings = MaskSettings(called, cut, scale="per_image", map_values="signed")
    everywhere = np.ones((slices.size, slices.size), bool)
    return label_slice(found.maps[position], _gating(found, slices, gates, position), everywhere, settings)


def _gating(found: Predictions, slices: SliceShards, gates: Gates, position: int) -> NDArray[np.float32]:
    """[5] what is held against the gates."""
    by_class = _true_labels(slices, position) if gates.of_truth else found.probabilities[position]
    held: NDArray[np.float32] = by_class[list(SUBTYPE_CLASSES)]
    return held


def _true_labels(slices: SliceShards, position: int) -> NDArray[np.float32]:
    """[class] 1 where the mask shows any pixel of it, however small."""
    return (np.nan_to_num(slices.areas_mm2[position]) > 0).astype(np.float32)


def _tuning_scan(found: Predictions, slices: SliceShards, scan: int) -> TuningScan:
    own = np.flatnonzero(slices.scans == scan)
    gating = np.stack([_true_labels(slices, position) for position in own.tolist()])[:, list(SUBTYPE_CLASSES)]
    inside = np.ones((own.size, slices.size, slices.size), bool)
    return TuningScan(found.maps[own].swapaxes(0, 1).astype(np.float32), gating.T, inside, slices.masks(own))
