"""The tables of the segmentation-explained experiment."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from hemocam_training.experiments.bootstrap import Estimate, bootstrap_means, bootstrap_ratios
from hemocam_training.experiments.reporting import Table
from hemocam_training.experiments.segmentation_explained.explain import (
    HIRES,
    MEASURES,
    METHODS,
    REFERENCES,
    SEG,
    Explained,
)

HEADS = {
    "energy_truth": "energy in truth",
    "energy_explained": "energy in explained pixels",
    "pointing_truth": "points at truth",
    "pointing_explained": "points at explained pixels",
    "deletion": "deletion, area",
    "insertion": "insertion, area",
    "drop_at_size": "drop at lesion size",
}
WHAT = (
    "Energy: share of the map's positive part inside. Points: the highest pixel lies inside. Deletion and insertion: "
    "area under the mean probability of the class over the explained pixels while pixels of the head are deleted or "
    "inserted in the map's order; small is good for deletion. Drop: what that probability loses when as many pixels "
    "are deleted as are explained. In brackets: 95 % interval of a bootstrap over patients."
)


def segmentation_table(counts: Mapping[str, Sequence[tuple[str, int, int, int]]], draws: int) -> Table:
    """How well the network segments, by class.

    Args:
        counts: by class (patient, pixels in both, predicted, true), one a slice.
    """
    rows: list[dict[str, Any]] = []
    for name, slices in counts.items():
        patients = [one[0] for one in slices]
        numbers = np.array([one[1:] for one in slices], float).reshape(-1, 3)
        both, predicted, true = numbers.T
        above = np.stack([2 * both, both, both], axis=1)
        below = np.stack([predicted + true, predicted, true], axis=1)
        dice, precision, recall = bootstrap_ratios(above, below, patients, draws=draws)
        shown = int((true > 0).sum())
        rows.append({"class": name, "slices": shown, "dice": dice, "precision": precision, "recall": recall})
    return Table(
        "segmentation",
        "The network's own masks",
        rows,
        {"slices": "slices with it", "dice": "Dice, pooled"},
        "Over the pixels of all test slices together. A map explains a network, right or wrong: poor masks make poor "
        "reading of what is below.",
        {"dice": 2, "precision": 2, "recall": 2},
    )


def score_table(explained: Sequence[Explained], layers: Mapping[str, str], draws: int) -> Table:
    """Every method at every layer, and the two references.

    Args:
        layers: title by name.
    """
    patients = [one.patient for one in explained]
    rows = []
    for method, layer in _keys(explained):
        values = np.array([[one.scores[method, layer][measure] for measure in MEASURES] for one in explained])
        estimates = bootstrap_means(values, patients, draws=draws)
        rows.append(
            {
                "map": {**METHODS, **REFERENCES}[method],
                "layer": layers.get(layer, "–"),
                **dict(zip(MEASURES, estimates, strict=True)),
            }
        )
    return Table(
        "scores",
        f"Scores by layer, {len(explained)} maps each",
        rows,
        HEADS,
        WHAT,
        dict.fromkeys(MEASURES, 2),
    )


def difference_table(explained: Sequence[Explained], layers: Mapping[str, str], draws: int) -> Table:
    """Seg-HiRes-Grad-CAM minus Seg-Grad-CAM on the same slice and class, by layer."""
    rows = [
        {"layer": title, **differences(explained, layer, draws), "better": _share_better(explained, layer, draws)}
        for layer, title in layers.items()
    ]
    return Table(
        "differences",
        "Seg-HiRes-Grad-CAM minus Seg-Grad-CAM, paired",
        rows,
        {**HEADS, "better": "share with more energy in truth"},
        "Positive favours Seg-HiRes-Grad-CAM, but for deletion, where negative does. Each pair is one class of one "
        "slice at one layer; in brackets the 95 % interval of a bootstrap over patients, which draws pairs together. "
        "An interval that holds 0 shows no difference.",
        {**dict.fromkeys(MEASURES, 3), "better": 2},
    )


def class_table(explained: Sequence[Explained], names: Mapping[int, str], layer: str, title: str, draws: int) -> Table:
    """The same differences by class at one layer."""
    rows = []
    for number, name in names.items():
        own = [one for one in explained if one.number == number]
        if own:
            rows.append({"class": name, "maps": len(own), **differences(own, layer, draws)})
    return Table(
        "differences_by_class",
        f"The same by class, layer {title}",
        rows,
        HEADS,
        "Classes that are seldom found have few pairs; read the intervals.",
        dict.fromkeys(MEASURES, 3),
    )


def differences(explained: Sequence[Explained], layer: str, draws: int) -> dict[str, Estimate]:
    """Mean of Seg-HiRes-Grad-CAM minus Seg-Grad-CAM by measure, over pairs where both have a value."""
    values = np.array(
        [[one.scores[HIRES, layer][m] - one.scores[SEG, layer][m] for m in MEASURES] for one in explained], float
    ).reshape(-1, len(MEASURES))
    estimates = bootstrap_means(values, [one.patient for one in explained], draws=draws)
    return dict(zip(MEASURES, estimates, strict=True))


def _share_better(explained: Sequence[Explained], layer: str, draws: int) -> Estimate:
    pairs = np.array([[one.scores[method, layer]["energy_truth"] for method in (HIRES, SEG)] for one in explained])
    known = np.isfinite(pairs).all(axis=1)
    better = np.where(known, np.sign(pairs[:, 0] - pairs[:, 1]) / 2 + 0.5, np.nan)
    return bootstrap_means(better, [one.patient for one in explained], draws=draws)[0]


def _keys(explained: Sequence[Explained]) -> list[tuple[str, str]]:
    return list(explained[0].scores)
