"""AUROC and Dice with intervals over patients."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
from numpy.typing import NDArray

from hemocam_training.experiments.bootstrap import Estimate, bootstrap_means, bootstrap_statistic
from hemocam_training.experiments.patient_draws import Values, drawn_estimate, patient_weights
from hemocam_training.experiments.weak_quantification.masks import STRUCTURES, Counts
from hemocam_training.metrics import auroc
from hemocam_training.shards import SliceShards
from HemoCAMLib.subtypes import ANY, CLASS_NAMES, SUBTYPE_NAMES

MEAN = "mean"


def auroc_by_class(probabilities: NDArray[np.float32], slices: SliceShards, draws: int) -> dict[str, Estimate]:
    """Slice-level AUROC of "any" and every subtype on the labels that are known, and the mean over subtypes."""

    def of(rows: NDArray[np.intp], name: str) -> float:
        c = CLASS_NAMES.index(name)
        use = rows[slices.known[rows, c] > 0]
        return auroc(probabilities[use, c], slices.target[use, c] > 0)

    def mean(rows: NDArray[np.intp]) -> float:
        return float(np.mean([of(rows, name) for name in SUBTYPE_NAMES]))

    def estimate(statistic: Callable[[NDArray[np.intp]], float]) -> Estimate:
        return bootstrap_statistic(statistic, slices.patients.tolist(), draws=draws, method="percentile")

    found = {name: estimate(partial(of, name=name)) for name in (*SUBTYPE_NAMES, ANY)}
    return {**found, MEAN: estimate(mean)}


def dice_by_structure(counts: Counts, patients: Sequence[str], draws: int) -> dict[str, Estimate]:
    """Dice pooled over the pixels of all slices, by structure, and the mean over structures as in the paper's tables.

    Args:
        counts: [slice, structure, (both, called, true)].
        patients: of every slice.
    """
    drawn = drawn_dice(counts, patient_weights(patients, draws=draws))
    by_structure = {name: drawn_estimate(drawn[:, k]) for k, name in enumerate(STRUCTURES)}
    return {**by_structure, MEAN: drawn_estimate(drawn.mean(axis=1))}


def drawn_dice(counts: Counts, weights: Values) -> Values:
    """[draw, structure] pooled Dice under [draw, slice] weights; NaN where nothing is called or true."""
    above = weights @ (2 * counts[:, :, 0])
    below = weights @ (counts[:, :, 1] + counts[:, :, 2])
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(above / below, np.float64)


def dice_of_scans(counts: Counts, slices: SliceShards, draws: int) -> dict[str, Estimate]:
    """Mean over scans of each structure's Dice, over the scans whose truth holds it."""
    scans = np.unique(slices.scans)
    summed = np.stack([counts[slices.scans == scan].sum(axis=0) for scan in scans]).astype(float)
    patients = [str(slices.patients[slices.scans == scan][0]) for scan in scans]
    both, called, true = np.moveaxis(summed, 2, 0)
    dice = np.where(true > 0, 2 * both / np.maximum(called + true, 1), np.nan)
    return dict(zip(STRUCTURES, bootstrap_means(dice, patients, draws=draws), strict=True))
