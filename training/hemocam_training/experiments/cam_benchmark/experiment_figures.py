"""The experiment's figures."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from torch import nn

from hemocam_training.experiments.cam_benchmark.classifiers import VariantResult
from hemocam_training.experiments.cam_benchmark.compare import LAYERLESS, Row
from hemocam_training.experiments.cam_benchmark.figures import Panel, draw_panels
from hemocam_training.experiments.cam_benchmark.maps import slice_maps
from hemocam_training.experiments.cam_benchmark.masks import GIVEN, map_mask
from hemocam_training.experiments.cam_benchmark.settings import MapSettings
from hemocam_training.experiments.cam_benchmark.slices import BenchmarkSlice
from hemocam_training.experiments.cam_benchmark.tables import best_rows, main_rows, marked
from hemocam_training.experiments.reporting import Figure, figure_of
from hemocam_training.experiments.reporting.figures import COLOURS, styled
from HemoCAMLib.cam import Explainer
from HemoCAMLib.model.stacks import StackSettings
from HemoCAMLib.subtypes import ANY

#: Lines that a reader can still tell apart.
_MOST_LINES = 8


def classifier_figure(results: Sequence[VariantResult]) -> Figure:
    """Mean and deviation of the best epochs' F1, a bar a variant, in groups by factor."""
    factors = list(dict.fromkeys(result.variant.factor for result in results))
    with styled():
        canvas, axis = plt.subplots(figsize=(max(5.5, 1.15 * len(results)), 3.0))
        place, places, centres = 0.0, [], {}
        for factor in factors:
            group = [result for result in results if result.variant.factor == factor]
            own = [place + number for number in range(len(group))]
            colour = COLOURS[factors.index(factor) % len(COLOURS)]
            for at, result in zip(own, group, strict=True):
                spread = 0.0 if np.isnan(result.best_f1.sd) else result.best_f1.sd
                mean = result.best_f1.mean
                axis.bar(at, mean, 0.7, yerr=spread, color=colour, alpha=0.75, capsize=3)
                axis.annotate(f"{mean:.3f}", (at, mean + spread + 0.02), ha="center", va="bottom", fontsize=8)
            places += own
            centres[factor] = float(np.mean(own))
            place = own[-1] + 1.6
        ordered = [result for factor in factors for result in results if result.variant.factor == factor]
        axis.set_xticks(places, [_wrapped(result.variant.title) for result in ordered], fontsize=8)
        for factor, centre in centres.items():
            axis.annotate(factor, (centre, 1.02), xycoords=("data", "axes fraction"), ha="center", fontsize=9)
        axis.set_ylabel("F1")
        axis.set_ylim(0, 1.08)
        axis.grid(axis="x", visible=False)
        caption = "Mean and standard deviation over the epochs with the highest F1 on the tuning patients."
        return figure_of(canvas, "classifiers", "F1 of the best epochs", caption)


def curve_figure(results: Sequence[VariantResult], ends: tuple[float, float]) -> Figure:
    """Precision against recall between two thresholds, a line a variant."""
    with styled():
        canvas, axis = plt.subplots(figsize=(6.6, 3.6))
        lowest = 1.0
        for number, result in enumerate(results):
            _, precision, recall = result.curve(ends)
            lowest = min([lowest, *(float(np.nanmin(each)) for each in (precision, recall) if np.isfinite(each).any())])
            colour, style = COLOURS[number % len(COLOURS)], "-" if number < len(COLOURS) else "--"
            axis.plot(recall, precision, style, color=colour, lw=1.5, label=result.variant.title)
            axis.plot(recall[:1], precision[:1], "o", color=colour, ms=4)
            axis.plot(recall[-1:], precision[-1:], "s", color=colour, ms=4)
        axis.set_xlabel("recall")
        axis.set_ylabel("precision")
        start = np.floor(10 * lowest) / 10 - 0.02
        axis.set_xlim(start, 1.02)
        axis.set_ylim(start, 1.02)
        axis.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
        return figure_of(
            canvas,
            "precision_recall",
            "Precision and recall",
            f"Test patients, the best epoch's weights. From a threshold of {ends[0]:g} (dot) to {ends[1]:g} (square).",
        )


def layer_figure(rows: Sequence[Row]) -> Figure:
    """Dice of every method at every layer with intervals."""
    chosen = main_rows(rows, ANY, "fixed")
    layers = list(dict.fromkeys(row.layer for row in chosen))
    methods = [row.method for row in best_rows(rows)][::-1]
    with styled():
        canvas, axis = plt.subplots(figsize=(6.4, 0.9 + 0.3 * len(methods)))
        for number, layer in enumerate(layers):
            for row in (row for row in chosen if row.layer == layer):
                at, estimate = methods.index(row.method), row.estimates["dice"]
                axis.errorbar(
                    estimate.value,
                    at + 0.18 * ((len(layers) - 1) / 2 - number),
                    xerr=_arms(estimate.value, estimate.low, estimate.high),
                    fmt="o",
                    ms=4,
                    lw=1.2,
                    color=COLOURS[number],
                    label=layer if row is next(r for r in chosen if r.layer == layer) else None,
                )
        axis.set_yticks(
            range(len(methods)), [marked(method, [r for r in chosen if r.method == method]) for method in methods]
        )
        axis.set_xlim(left=0)
        axis.set_ylim(-0.6, len(methods) - 0.4)
        axis.set_xlabel("Dice, mean over slices, 95 % interval over patients")
        axis.grid(axis="y", visible=False)
        axis.legend(title="layer", loc="center left", bbox_to_anchor=(1.0, 0.5))
        return figure_of(canvas, "dice_by_layer", "Dice by method and layer",
                         "Best first. Thresholds chosen on the tuning patients for each method and layer.")  # fmt: skip


def threshold_figure(rows: Sequence[Row]) -> Figure:
    """Dice against the threshold, the best methods at their best layers."""
    with styled():
        canvas, axis = plt.subplots(figsize=(6.6, 3.2))
        for number, best in enumerate(best_rows(rows)[:_MOST_LINES]):
            points = [
                (row.threshold, row.estimates["dice"].value)
                for rule in dict.fromkeys(row.rule for row in rows if row.rule.startswith(GIVEN))
                for row in main_rows(rows, ANY, rule)
                if (row.method, row.layer) == (best.method, best.layer) and row.threshold is not None
            ]
            layer = "every layer" if best.method in LAYERLESS else best.layer
            axis.plot(*zip(*sorted(points), strict=True), "o-", ms=3, lw=1.3, color=COLOURS[number],
                      label=f"{marked(best.method, [best])} {layer}")  # fmt: skip
        axis.set_xlabel("threshold, of 255")
        axis.set_ylabel("Dice")
        axis.set_ylim(bottom=0)
        axis.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
        caption = f"At most {_MOST_LINES} methods, those with the highest Dice at their chosen threshold."
        return figure_of(canvas, "dice_by_threshold", "Dice against the threshold", caption)


def overlay_figure(
    network: nn.Module,
    stacks: StackSettings,
    rows: Sequence[Row],
    test: Sequence[BenchmarkSlice],
    settings: MapSettings,
    work: Path,
) -> Figure:
    """The slice with the median lesion: map and mask at every layer, from the earliest to the last."""
    areas = [int(one.truth(ANY).sum()) for one in test]
    one = test[int(np.argsort(areas, kind="stable")[len(areas) // 2])]
    layers = sorted(settings.layers, key=settings.layers.index, reverse=True)
    panels = []
    for method in settings.figure_methods:
        panels.append(Panel("slice, truth outlined"))
        for layer in layers:
            found = slice_maps(Explainer(network, [layer]), stacks, {method: 1}, [one]).get(method)
            chosen = [row for row in main_rows(rows, ANY, "fixed") if (row.method, row.layer) == (method, layer)]
            if not found or not chosen:
                panels += [Panel("", blank=True)] * 2
                continue
            activation_map = found[0].maps[0]
            mask = map_mask(activation_map, one.brain, "fixed", chosen[0].threshold or 0.0)
            panels += [Panel(f"{method} {layer}", activation_map), Panel(f"mask {layer}", mask=mask)]
    path = work / "overlay.png"
    draw_panels(one.hu[1], one.truth(ANY), panels, path, columns=1 + 2 * len(layers), colours=96)
    return Figure(
        "overlay",
        "Maps and masks by layer",
        path.read_bytes(),
        "The test slice whose lesion has the median area. Red: map only; green: truth only; yellow: both. Each map is "
        "stretched to its own largest value, its threshold is the one chosen on the tuning patients.",
        "A slice with the map and the mask of every layer beside the truth.",
    )


def _arms(value: float, low: float, high: float) -> list[list[float]] | None:
    return None if np.isnan(low) else [[max(value - low, 0)], [max(high - value, 0)]]


def _wrapped(title: str) -> str:
    return title.replace(", ", ",\n").replace(" ", "\n", 1) if len(title) > 12 else title
