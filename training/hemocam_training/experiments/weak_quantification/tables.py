"""The tables of the weakly supervised paper, and those that it leaves out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np

from hemocam_training.experiments.bootstrap import Estimate, bootstrap_means
from hemocam_training.experiments.patient_draws import drawn_estimate, patient_weights
from hemocam_training.experiments.reporting import Table
from hemocam_training.experiments.weak_quantification.heat_maps import grain
from hemocam_training.experiments.weak_quantification.masks import (
    PAPER_THRESHOLDS,
    STRUCTURES,
    UNIFORM_THRESHOLDS,
    Gates,
    pixel_counts,
)
from hemocam_training.experiments.weak_quantification.models import Judged, Parts
from hemocam_training.experiments.weak_quantification.scores import (
    MEAN,
    auroc_by_class,
    dice_by_structure,
    dice_of_scans,
    drawn_dice,
)
from HemoCAMLib.subtypes import ANY, CLASS_NAMES, SUBTYPE_NAMES

INTERVALS = "In brackets: 95 % interval of a bootstrap over patients."
POOLED = (
    "Dice of the pixels of all test slices together; Normal are the pixels without hemorrhage, and the mean is over "
    f"all six as in the paper. {INTERVALS}"
)
BEST: dict[str, Literal["max", "min"]] = dict.fromkeys((*STRUCTURES, MEAN), "max")
BEST_AUROC: dict[str, Literal["max", "min"]] = dict.fromkeys((*SUBTYPE_NAMES, ANY, MEAN), "max")


def auroc_table(models: Sequence[Judged], parts: Parts, draws: int) -> Table:
    """Slice-level AUROC per subtype."""
    rows = [{"model": one.title, **auroc_by_class(one.test_probabilities, parts.test, draws)} for one in models]
    return Table(
        "auroc",
        "AUROC per subtype",
        rows,
        {MEAN: "mean of subtypes"},
        f"Slices of patients that neither training nor the choice of thresholds saw. {INTERVALS}",
        best=BEST_AUROC,
    )  # fmt: skip


def dice_table(models: Sequence[Judged], parts: Parts, draws: int, *, of_truth: bool) -> Table:
    """Dice with the thresholds that were tuned for each network."""
    rows = []
    for one in models:
        counts = pixel_counts(one.test, parts.test_masks, gates_of(one, of_truth), one.mask_thresholds)
        rows.append({"model": one.title, **dice_by_structure(counts, parts.test_masks.patients.tolist(), draws)})
    gates = "the true labels as gates" if of_truth else "the classifier's gates"
    return Table(
        "dice_true_labels" if of_truth else "dice_classifier_gates",
        f"Dice with {gates}",
        rows,
        note=f"A subtype takes part in a slice where {_gate_words(of_truth)}. {POOLED}",
        best=BEST,
    )


def scan_dice_table(models: Sequence[Judged], parts: Parts, draws: int) -> Table:
    """The same masks, scan by scan."""
    rows = []
    for one in models:
        for of_truth in (False, True):
            counts = pixel_counts(one.test, parts.test_masks, gates_of(one, of_truth), one.mask_thresholds)
            found = dice_of_scans(counts, parts.test_masks, draws)
            rows.append({"model": one.title, "gates": "true labels" if of_truth else "classifier", **found})
    return Table(
        "dice_scans",
        "Dice scan by scan",
        rows,
        note="Mean over the scans that hold the structure; what is called in other scans does not count. The paper "
        f"does not say over what its Dice is taken. {INTERVALS}",
        best=BEST,
    )


def threshold_table(models: Sequence[Judged]) -> Table:
    """Class and mask thresholds."""
    rows = [
        {
            "model": one.title,
            **{f"m_{name}": one.mask_thresholds[name] for name in SUBTYPE_NAMES},
            **{f"c_{name}": one.class_thresholds[name] for name in SUBTYPE_NAMES},
        }
        for one in models
    ]
    paper = {f"m_{name}": value for name, value in PAPER_THRESHOLDS.items()}
    heads = {f"m_{name}": f"mask {name}" for name in SUBTYPE_NAMES} | {
        f"c_{name}": f"class {name}" for name in SUBTYPE_NAMES
    }
    return Table(
        "thresholds",
        "Thresholds",
        [*rows, {"model": "the paper's, for its network", **paper}],
        heads,
        "Mask thresholds are of 255 and chosen for the best pooled Dice with true labels as gates; class thresholds "
        "where true-positive minus false-positive rate is largest. Both on slices that are not tested on.",
        dict.fromkeys(paper, 0),
    )


def threshold_sets_table(models: Sequence[Judged], parts: Parts, draws: int) -> Table:
    """Dice with true labels as gates under several sets of mask thresholds."""
    rows = []
    for one in models:
        sets: dict[str, Mapping[str, float]] = {
            "tuned": one.mask_thresholds,
            "75/125/125/75/25": PAPER_THRESHOLDS,
            **{f"all {value:g}": dict.fromkeys(SUBTYPE_NAMES, value) for value in UNIFORM_THRESHOLDS},
        }
        for name, thresholds in sets.items():
            counts = pixel_counts(one.test, parts.test_masks, gates_of(one, True), thresholds)
            found = dice_by_structure(counts, parts.test_masks.patients.tolist(), draws)
            rows.append({"model": one.title, "mask thresholds": name, **found})
    return Table(
        "dice_thresholds",
        "Dice by mask thresholds, true labels as gates",
        rows,
        note=f"75/125/125/75/25 are the paper's for its own network. {POOLED}",
        best=BEST,
    )


def ablation_table(with_loss: Judged, without: Judged, parts: Parts, draws: int) -> Table:
    """The heat-map consistency loss: with, without, and the paired difference."""
    slices = parts.test_masks
    patients = slices.patients.tolist()
    weights = patient_weights(patients, draws=draws)
    found: dict[str, list[Any]] = {}
    for of_truth in (False, True):
        drawn = [
            drawn_dice(pixel_counts(one.test, slices, gates_of(one, of_truth), one.mask_thresholds), weights).mean(
                axis=1
            )
            for one in (with_loss, without)
        ]
        name = "dice_true" if of_truth else "dice_gates"
        found[name] = [drawn_estimate(values) for values in (*drawn, drawn[0] - drawn[1])]
    grains = np.array([grains_of(one, parts) for one in (with_loss, without)])
    found["grain"] = bootstrap_means(np.stack([*grains, grains[0] - grains[1]], axis=1), patients, draws=draws)
    aurocs = [auroc_by_class(one.test_probabilities, parts.test, draws)[MEAN] for one in (with_loss, without)]
    found["auroc"] = [*aurocs, Estimate(aurocs[0].value - aurocs[1].value)]
    titles = (with_loss.title, without.title, "difference, paired")
    return Table(
        "ablation",
        "Heat-map consistency loss",
        [{"model": title, **{name: each[place] for name, each in found.items()}} for place, title in enumerate(titles)],
        {
            "dice_gates": "Dice, classifier's gates",
            "dice_true": "Dice, true labels",
            "grain": "grain of the heat map",
            "auroc": "AUROC, mean",
        },
        "Dice is the mean over the six structures. Grain is the share of a heat map's variance within blocks of 2 × 2 "
        "cells (a checkerboard has 1, independent noise .75), mean over the maps of subtypes that the slices show: the "
        f"grid-like pattern that the paper describes. {INTERVALS}",
    )


def grains_of(one: Judged, parts: Parts) -> list[float]:
    """[slice] mean grain of the maps of the subtypes that a slice shows; NaN where it shows none."""
    slices = parts.test_masks
    first = len(CLASS_NAMES) - len(SUBTYPE_NAMES)
    found = []
    for position in range(len(slices)):
        shown = np.flatnonzero(slices.target[position, first:] > 0)
        values = [grain(one.test.maps[position, place].astype(np.float32)) for place in shown]
        found.append(float(np.mean(values)) if values else float("nan"))
    return found


def gates_of(one: Judged, of_truth: bool) -> Gates:
    """The gates of a network."""
    return Gates(of_truth, one.class_thresholds)


def _gate_words(of_truth: bool) -> str:
    return "its true mask shows it" if of_truth else "the classifier's probability exceeds the class threshold"
