"""The experiment's tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from hemocam_training.experiments.bootstrap import Estimate, bootstrap_means, bootstrap_statistic
from hemocam_training.experiments.cam_versus_mask.classify import MEASURES, FoldResult, folds_summary, pooled_accuracy
from hemocam_training.experiments.reporting import MeanSd, Table

#: Below the first an outline is called failed, above the second good (Kang et al., section 3).
FAILED_BELOW, GOOD_ABOVE = 0.01, 0.5

#: Kang et al., table 2: mean (standard deviation) of accuracy, precision, recall, F1.
PUBLISHED = {
    "AlexNet": ((0.902, 0.086), (0.900, 0.091), (0.896, 0.089), (0.896, 0.089)),
    "VGG-16": ((0.928, 0.089), (0.926, 0.082), (0.928, 0.072), (0.924, 0.087)),
    "VGG-19": ((0.950, 0.040), (0.944, 0.048), (0.946, 0.038), (0.944, 0.043)),
}
#: Kang et al., section 3: mean IoU of all, then by kind the shares above 0.5 and below 0.01, VGG-19, 95th percentile.
PUBLISHED_IOU = 0.153
PUBLISHED_SHARES = {"meningioma": (0.23, 0.02), "glioma": (0.05, 0.33), "pituitary": (0.0, 0.85), "all": (None, 0.42)}

_IOU = {"iou": "IoU", "good": f"IoU > {GOOD_ABOVE:g}", "failed": f"IoU < {FAILED_BELOW:g}"}
_INTERVAL = "In brackets: 95 % interval of a bootstrap over patients."


def classification_table(results: Mapping[str, Sequence[FoldResult]], draws: int, *, published: bool) -> Table:
    """Networks by measures, mean (sd) over folds; the study's own rows below where asked for."""
    rows: list[dict[str, Any]] = []
    for title, folds in results.items():
        rows.append({"network": title, **folds_summary(folds), "pooled": pooled_accuracy(folds, draws)})
    if published:
        rows += [
            {"network": f"{title}, published", **{m: MeanSd(*v) for m, v in zip(MEASURES, values, strict=True)}}
            for title, values in PUBLISHED.items()
            if title in results
        ]
    return Table(
        "classification",
        "Classification, five-fold" if len(next(iter(results.values()))) == 5 else "Classification by folds",
        rows,
        {"f1": "F1", "pooled": "accuracy, all slices"},
        "Mean (standard deviation) over folds; precision, recall and F1 are means over classes. Last column: every "
        f"slice by the network that has not seen its patient. {_INTERVAL}",
        best=dict.fromkeys((*MEASURES, "pooled"), "max") if not published else {},
    )


def rule_table(cases: pd.DataFrame, draws: int) -> Table:
    """Every threshold rule over all cases."""
    rows = []
    measures = ("iou", "dice", "precision", "recall", "good", "failed")
    for rule, found in cases.groupby("rule", sort=False):
        shown = found.assign(good=found["iou"] > GOOD_ABOVE, failed=found["iou"] < FAILED_BELOW)
        marked = 100 * float(found["mask_share"].mean())
        rows.append({"rule": str(rule), **_means(shown, measures, draws), "mask_share": marked})
    return Table(
        "rules",
        "Masks by threshold rule",
        rows,
        {**_IOU, "dice": "Dice", "mask_share": "marked, % of image"},
        f"Means over all slices; the third and second last columns are shares of slices. {_INTERVAL}",
        {"mask_share": 1},
        {"iou": "max", "dice": "max", "good": "max", "failed": "min"},
    )


def class_table(chosen: pd.DataFrame, rules: Mapping[int, str], draws: int, *, published: bool) -> Table:
    """By kind of tumour, at the rule that was chosen on the other folds."""
    groups = [(str(name), found) for name, found in chosen.groupby("category")] + [("all", chosen)]
    groups.append(("classified right", chosen[chosen["predicted"] == chosen["category"]]))
    rows: list[dict[str, Any]] = []
    for name, found in groups:
        shown = found.assign(good=found["iou"] > GOOD_ABOVE, failed=found["iou"] < FAILED_BELOW)
        row: dict[str, Any] = {"tumour": name, "slices": len(found), "patients": int(found["patient"].nunique())}
        row |= _means(shown, ("iou", "good", "failed", "peak_inside"), draws)
        if published:
            good, failed = PUBLISHED_SHARES.get(name, (None, None))
            row |= {"published_good": good, "published_failed": failed}
        rows.append(row)
    named = ", ".join(sorted(set(rules.values())))
    return Table(
        "classes",
        "Masks by kind of tumour",
        rows,
        {
            **_IOU,
            "peak_inside": "highest point inside",
            "published_good": "published > 0.5",
            "published_failed": "published < 0.01",
        },
        f"Threshold rule chosen for each fold on the other folds: {named}. Shares of slices. {_INTERVAL}",
    )


def class_rule_table(cases: pd.DataFrame, draws: int) -> Table:
    """Mean IoU, rules by kinds."""
    rows = []
    for rule, found in cases.groupby("rule", sort=False):
        row: dict[str, Any] = {"rule": str(rule)}
        for name, part in found.groupby("category"):
            row[str(name)] = _means(part, ("iou",), draws)["iou"]
        rows.append(row)
    names = [name for name in (rows[0] if rows else {}) if name != "rule"]
    return Table("rules_by_class", "Mean IoU by threshold rule and kind", rows, {}, _INTERVAL,
                 best=dict.fromkeys(names, "max"))  # fmt: skip


def size_labels(edges_percent: Sequence[float]) -> list[str]:
    """Names of the strata, smallest first.

    >>> size_labels((0.5, 2))
    ['up to 0.5 %', '0.5 to 2 %', 'above 2 %']
    """
    edges = [f"{edge:g}" for edge in edges_percent]
    between = [f"{low} to {high} %" for low, high in pairwise(edges)]
    return [f"up to {edges[0]} %", *between, f"above {edges[-1]} %"]


def size_strata(chosen: pd.DataFrame, edges_percent: Sequence[float]) -> list[tuple[str, pd.DataFrame]]:
    """The cases of each stratum, smallest tumours first; empty strata are left out."""
    place = np.searchsorted(np.asarray(edges_percent) / 100, chosen["lesion_share"].to_numpy())
    return [
        (label, chosen[place == number])
        for number, label in enumerate(size_labels(edges_percent))
        if (place == number).any()
    ]


def size_table(chosen: pd.DataFrame, edges_percent: Sequence[float], draws: int) -> Table:
    """IoU beside what was reachable, by size of the tumour."""
    measures = ("iou", "recall", "precision", "reachable", "relative", "bound", "adjusted")
    rows = [
        {"size": label, "slices": len(found), **_means(found, measures, draws)}
        for label, found in size_strata(chosen, edges_percent)
    ]
    return Table(
        "size",
        "Masks by size of the tumour",
        rows,
        {
            "iou": "IoU",
            "size": "area, % of image",
            "reachable": "reachable IoU",
            "relative": "IoU / reachable",
            "bound": "bound of the resolution",
            "adjusted": "size-adjusted IoU",
        },
        "Reachable: the same map at its best threshold. Bound: the ideal map of the same number of cells at its best "
        f"threshold. Size-adjusted: 0 what chance gives, 1 the bound. {_INTERVAL}",
        dict.fromkeys(measures, 2),
    )


def regression_table(chosen: pd.DataFrame, draws: int) -> Table:
    """How much each measure depends on the tumour's size."""
    size = np.log2(chosen["lesion_share"].to_numpy(float))
    names = {"iou": "IoU", "reachable": "reachable IoU", "relative": "IoU / reachable", "adjusted": "size-adjusted IoU"}
    rows = []
    for measure, title in names.items():
        values = chosen[measure].to_numpy(float)
        slope, explained = regression(size, values, chosen["patient"].tolist(), draws)
        rows.append({"measure": title, "slope": slope, "explained": explained})
    return Table(
        "size_regression",
        "How much size explains",
        rows,
        {"slope": "change per doubling of the area", "explained": "share of variance explained (R²)"},
        "Straight line by least squares on the logarithm of the area. The less of a measure's spread the size "
        "explains, the fairer it is to all sizes; slopes are in units of each measure, whose ranges differ. "
        f"{_INTERVAL}",
    )


def regression(
    size: NDArray[np.float64], values: NDArray[np.float64], patients: Sequence[str], draws: int
) -> tuple[Estimate, Estimate]:
    """Slope of values on size and R² (least squares), each with its interval over patients."""

    def line(rows: NDArray[np.intp]) -> tuple[float, float]:
        x, y = size[rows], values[rows]
        known = np.isfinite(x) & np.isfinite(y)
        x, y = x[known] - x[known].mean(), y[known] - y[known].mean()
        if not (x**2).sum() or not (y**2).sum():
            return float("nan"), float("nan")
        slope = float((x * y).sum() / (x**2).sum())
        return slope, float((x * y).sum() ** 2 / ((x**2).sum() * (y**2).sum()))

    return (
        bootstrap_statistic(lambda rows: line(rows)[0], patients, draws=draws),
        bootstrap_statistic(lambda rows: line(rows)[1], patients, draws=draws),
    )


def _means(cases: pd.DataFrame, measures: Sequence[str], draws: int) -> dict[str, Estimate]:
    values = cases[list(measures)].to_numpy(float)
    found = bootstrap_means(values, cases["patient"].tolist(), draws=draws) if len(cases) else []
    return dict(zip(measures, found, strict=True)) if found else {}
