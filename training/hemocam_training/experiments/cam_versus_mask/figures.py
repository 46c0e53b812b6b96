"""The experiment's figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.patches import Patch
from numpy.typing import NDArray

from hemocam_training.experiments.bootstrap import bootstrap_means
from hemocam_training.experiments.cam_benchmark.figures import BOTH, MAP_ONLY, TRUTH_ONLY, overlap_image
from hemocam_training.experiments.cam_versus_mask.classify import MEASURES, FoldResult
from hemocam_training.experiments.cam_versus_mask.localise import rule_mask
from hemocam_training.experiments.cam_versus_mask.settings import Settings
from hemocam_training.experiments.cam_versus_mask.size_aware import over_image
from hemocam_training.experiments.cam_versus_mask.tables import size_strata
from hemocam_training.experiments.reporting import Figure, figure_of
from hemocam_training.experiments.reporting.figures import COLOURS, styled
from hemocam_training.learning.augmentation import windowed
from hemocam_training.learning.fit import load_fitted
from HemoCAMLib.cam import Explainer
from HemoCAMLib.mask.threshold_rule import ThresholdRule

#: Examples of each kind: the cases at these quantiles of IoU, so that nobody chose them.
_QUANTILES = {"best tenth": 0.9, "median": 0.5, "worst tenth": 0.1}
_KIND_COLOUR = dict(zip(("meningioma", "glioma", "pituitary"), COLOURS, strict=False))


def classification_figure(results: Mapping[str, Sequence[FoldResult]]) -> Figure:
    """Accuracy, precision, recall and F1 of every network, a dot a fold."""
    with styled():
        canvas, axis = plt.subplots(figsize=(6.4, 2.9))
        width = 0.8 / len(results)
        for number, (title, folds) in enumerate(results.items()):
            measured = [result.measures() for result in folds]
            places = np.arange(len(MEASURES)) + (number - (len(results) - 1) / 2) * width
            values = np.array([[one[name] for name in MEASURES] for one in measured])
            axis.bar(places, values.mean(axis=0), width * 0.9, color=COLOURS[number], alpha=0.35, label=title)
            for place, column in zip(places, values.T, strict=True):
                spread = np.linspace(-0.25, 0.25, len(column)) * width
                axis.plot(place + spread, column, "o", ms=3.2, color=COLOURS[number])
        axis.set_xticks(range(len(MEASURES)), [name if name != "f1" else "F1" for name in MEASURES])
        axis.set_ylim(0, 1)
        axis.grid(axis="x", visible=False)
        axis.legend(ncol=len(results), loc="upper center", bbox_to_anchor=(0.5, 1.16))
        return figure_of(
            canvas,
            "classification",
            "Classification by folds",
            "Bars: means over folds; dots: folds. Precision, recall and F1 are means over classes.",
        )


def rule_figure(cases: pd.DataFrame, draws: int) -> Figure:
    """Mean IoU by rule and kind with intervals."""
    rules, kinds = list(dict.fromkeys(cases["rule"])), sorted(cases["category"].unique())
    with styled():
        canvas, axis = plt.subplots(figsize=(7.2, 2.9))
        for number, kind in enumerate(kinds):
            found = cases[cases["category"] == kind]
            estimates = [
                bootstrap_means(part["iou"].to_numpy(), part["patient"].tolist(), draws=draws)[0]
                for part in (found[found["rule"] == rule] for rule in rules)
            ]
            values = np.array([estimate.value for estimate in estimates])
            ends = np.array([(estimate.low, estimate.high) for estimate in estimates]).T
            places = np.arange(len(rules)) + (number - (len(kinds) - 1) / 2) * 0.2
            axis.errorbar(
                places, values, np.abs(ends - values), fmt="o", ms=4, lw=1.3, color=_KIND_COLOUR.get(kind), label=kind
            )
        axis.set_xticks(range(len(rules)), [rule.replace(":", "\n") for rule in rules])
        axis.set_ylim(bottom=0)
        axis.set_ylabel("mean IoU")
        axis.grid(axis="x", visible=False)
        axis.legend(ncol=len(kinds), loc="upper center", bbox_to_anchor=(0.5, 1.16))
        return figure_of(
            canvas, "iou_by_rule", "IoU by threshold rule", "Means over slices, 95 % intervals over patients."
        )


def size_figure(chosen: pd.DataFrame) -> Figure:
    """IoU and the size-adjusted IoU of every slice against the tumour's size."""
    with styled():
        canvas, axes = plt.subplots(1, 2, figsize=(8.4, 3.2), sharex=True)
        for axis, measure, title in zip(axes, ("iou", "adjusted"), ("IoU", "size-adjusted IoU"), strict=True):
            for kind, found in chosen.groupby("category"):
                axis.scatter(100 * found["lesion_share"], found[measure], s=9, alpha=0.7, label=str(kind), lw=0,
                             color=_KIND_COLOUR.get(str(kind)))  # fmt: skip
            _trend(axis, chosen, measure, "black", "straight line")
            axis.set_xscale("log", base=2)
            powers = _powers(100 * chosen["lesion_share"])
            axis.set_xticks(powers, [f"{power:g}" for power in powers])
            axis.set_xlabel("area of the tumour, % of image")
            axis.set_title(title)
        ordered = chosen.sort_values("lesion_share")
        window = max(3, len(ordered) // 12)
        axes[0].plot(
            100 * ordered["lesion_share"].rolling(window, center=True).median(),
            ordered["bound"].rolling(window, center=True).median(),
            color="#777777", ls="--", lw=1.2, label="bound of the resolution",
        )  # fmt: skip
        axes[0].set_ylim(-0.02, 1)
        handles, labels = axes[0].get_legend_handles_labels()
        canvas.legend(handles, labels, ncol=5, loc="upper center", bbox_to_anchor=(0.5, 1.06))
        canvas.tight_layout()
        return figure_of(
            canvas,
            "size",
            "IoU against the size of the tumour",
            "Each dot is a slice. Dashed: what the ideal map of the same number of cells reaches, running median.",
        )


def strata_figure(chosen: pd.DataFrame, edges_percent: Sequence[float], draws: int) -> Figure:
    """What is reached and what could be, by size."""
    strata = size_strata(chosen, edges_percent)
    lines = {"bound": ("bound of the resolution", "#777777"), "reachable": ("reachable IoU", COLOURS[0]),
             "iou": ("IoU", COLOURS[1]), "adjusted": ("size-adjusted IoU", COLOURS[2])}  # fmt: skip
    with styled():
        canvas, axis = plt.subplots(figsize=(6.4, 3.0))
        for number, (measure, (title, colour)) in enumerate(lines.items()):
            parts = [(part[measure].to_numpy(), part["patient"].tolist()) for _, part in strata]
            found = [bootstrap_means(values, patients, draws=draws)[0] for values, patients in parts]
            values = np.array([estimate.value for estimate in found])
            ends = np.array([(estimate.low, estimate.high) for estimate in found]).T
            axis.errorbar(np.arange(len(strata)) + 0.06 * (number - 1.5), values, np.abs(ends - values), fmt="o-", ms=4,
                          lw=1.3, color=colour, label=title)  # fmt: skip
        axis.set_xticks(range(len(strata)), [f"{label}\n({len(part)} slices)" for label, part in strata])
        axis.set_xlabel("area of the tumour, share of the image")
        axis.axhline(0, color="#999999", lw=0.8)
        axis.grid(axis="x", visible=False)
        axis.legend(ncol=4, loc="upper center", bbox_to_anchor=(0.5, 1.16))
        return figure_of(
            canvas, "strata", "What is reached, by size", "Means over slices, 95 % intervals over patients."
        )


def example_figure(chosen: pd.DataFrame, folds: Mapping[int, FoldResult], settings: Settings) -> Figure:
    """Cases of each kind at the 90th, 50th and 10th percentile of IoU, mask against truth."""
    rules = best_rules_of(chosen)
    kinds = sorted(chosen["category"].unique())
    with styled():
        canvas, axes = plt.subplots(len(kinds), len(_QUANTILES), figsize=(6.6, 2.3 * len(kinds)), squeeze=False)
        for row, kind in enumerate(kinds):
            found = chosen[chosen["category"] == kind].sort_values("iou")
            for column, (name, quantile) in enumerate(_QUANTILES.items()):
                case = found.iloc[round(quantile * (len(found) - 1))]
                axis = axes[row, column]
                image, truth, mask = _example(case, folds[int(case["fold"])], settings, rules)
                axis.imshow(image, cmap="gray", vmin=0, vmax=1)
                axis.imshow(overlap_image(mask, truth))
                axis.set_title(f"{kind}, {name}: IoU {case['iou']:.2f}", fontsize=8)
                axis.axis("off")
        colours = zip(("map only", "truth only", "both"), (MAP_ONLY, TRUTH_ONLY, BOTH), strict=True)
        handles = [Patch(color=(r / 255, g / 255, b / 255), label=name) for name, (r, g, b) in colours]
        canvas.legend(handles=handles, ncol=3, loc="lower center", bbox_to_anchor=(0.5, -0.03))
        canvas.tight_layout(pad=0.4, h_pad=1.2)
        return figure_of(
            canvas,
            "examples",
            "Masks and truth",
            "Of each kind the slices at the 90th, 50th and 10th percentile of IoU, by the rule chosen on other folds.",
        )


def best_rules_of(chosen: pd.DataFrame) -> dict[int, str]:
    """By fold the rule of its rows."""
    return {int(fold): str(found["rule"].iloc[0]) for fold, found in chosen.groupby("fold")}


def _example(
    case: pd.Series, result: FoldResult, settings: Settings, rules: Mapping[int, str]
) -> tuple[NDArray[np.float32], NDArray[np.bool_], NDArray[np.bool_]]:
    slices = result.slices
    index = np.flatnonzero(slices.shards.series == case["scan"])[:1]
    stacks = windowed(slices.stacks_hu(index, np.ones(1, bool)))
    explanation = Explainer(load_fitted(result.folder)[0], [settings.layer]).run(stacks)
    predicted = slices.class_names.index(case["predicted"])
    activation_map = explanation.maps(settings.method, [predicted]).values[0, 0].float().cpu().numpy()
    truth = slices.masks(index)[0] > 0
    mask = rule_mask(over_image(activation_map, truth.shape), ThresholdRule.from_value(rules[result.fold]))
    return stacks[0, 1].numpy(), truth, mask


def _trend(axis: Axes, chosen: pd.DataFrame, measure: str, colour: str, label: str) -> None:
    known = np.isfinite(chosen[measure])
    x, y = np.log2(100 * chosen["lesion_share"][known].to_numpy()), chosen[measure][known].to_numpy()
    if len(x) > 2 and np.ptp(x) > 0:
        slope, start = np.polyfit(x, y, 1)
        ends = np.array([x.min(), x.max()])
        axis.plot(2**ends, start + slope * ends, color=colour, lw=1.4, label=label)


def _powers(shares: pd.Series) -> list[float]:
    low, high = np.floor(np.log2(shares.min())), np.ceil(np.log2(shares.max()))
    return [float(2.0**power) for power in np.arange(low, high + 1)]
