"""The comparison as CSV and as tables of methods by layers, the form of the CAM benchmark paper."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hemocam_training.experiments.bootstrap import Estimate
from hemocam_training.experiments.cam_benchmark.compare import LAYERLESS, Row
from hemocam_training.experiments.cam_benchmark.scores import MEASURES
from HemoCAMLib.subtypes import ANY, SUBTYPE_NAMES

#: Measures of a table of methods by layers, and how they are called there.
BY_LAYER = {"dice": "Dice", "iou": "IoU", "box_iou": "box IoU"}
AT_BEST_LAYER = {
    "dice": "Dice",
    "iou": "IoU",
    "precision": "precision",
    "recall": "recall",
    "box_iou": "box IoU",
    "box_dice": "box Dice",
    "loose_hit_rate": "loose hit",
    "peak_hit_rate": "peak hit",
    "dice_pooled": "Dice, pooled",
}


def write_csv(rows: Sequence[Row], path: Path) -> None:
    """Every row, each measure with the ends of its interval."""
    with path.open("w", newline="", encoding="utf-8") as file:
        out = csv.writer(file, lineterminator="\n")
        fixed = ("method", "layer", "class", "mask_rule", "slices_of", "threshold", "slices", "scans", "ms_per_slice")
        out.writerow([*fixed, *(column for name in MEASURES for column in (name, f"{name}_low", f"{name}_high"))])
        for row in rows:
            threshold = "" if row.threshold is None else f"{row.threshold:g}"
            values = [v for name in MEASURES for v in _ends(row.estimates[name])]
            what = (row.method, row.layer, row.name, row.rule, row.part, threshold, row.slices, row.scans)
            out.writerow([*what, f"{row.milliseconds:.1f}", *(f"{value:.4f}" for value in values)])


def read_csv(path: Path) -> list[Row]:
    """What :func:`write_csv` wrote, rounded as it stands there."""
    with path.open() as file:
        return [
            Row(
                line["method"],
                line["layer"],
                line["class"],
                line["mask_rule"],
                line["slices_of"],
                float(line["threshold"]) if line["threshold"] else None,
                int(line["slices"]),
                int(line["scans"]),
                float(line["ms_per_slice"]),
                {
                    name: Estimate(*(float(line[column]) for column in (name, f"{name}_low", f"{name}_high")))
                    for name in MEASURES
                },
            )
            for line in csv.DictReader(file)
        ]


def layer_table(rows: Sequence[Row], name: str = ANY, rule: str = "fixed") -> str:
    """Methods by layers: Dice with its interval, IoU and box IoU. The best of each column is bold.

    Methods marked † saw only the subset; they stand beside the others in :func:`subset_table`. One marked ‡ takes every
    layer at once, and stands under the first.
    """
    chosen = main_rows(rows, name, rule)
    layers = list(dict.fromkeys(row.layer for row in chosen))
    head = ["method", *(f"{layer} {title}" for layer in layers for title in BY_LAYER.values())]
    best = {
        (layer, measure): max(r.estimates[measure].value for r in chosen if r.layer == layer and r.part == "all")
        for layer in layers
        for measure in BY_LAYER
    }
    lines = []
    for method in _methods(chosen):
        cells = [marked(method, chosen)]
        for layer in layers:
            row = next((r for r in chosen if r.method == method and r.layer == layer), None)
            for measure in BY_LAYER:
                text = "–" if row is None else _cell(row.estimates[measure], interval=measure == "dice")
                cells.append(f"**{text}**" if row and row.estimates[measure].value == best[layer, measure] else text)
        lines.append(cells)
    return _markdown(head, lines)


def best_layer_table(rows: Sequence[Row], name: str = ANY, rule: str = "fixed") -> str:
    """Each method at the layer where its Dice is largest: every measure."""
    lines = []
    for row in best_rows(rows, name, rule):
        values = [_cell(row.estimates[measure]) for measure in AT_BEST_LAYER]
        lines.append([marked(row.method, [row]), layer_name(row), *values])
    return _markdown(["method", "layer", *AT_BEST_LAYER.values()], lines)


def subtype_table(rows: Sequence[Row], rule: str = "fixed") -> str:
    """Dice by subtype, each method at the layer that is best for "any"."""
    lines = []
    counts: dict[str, int] = {}
    for best in best_rows(rows, ANY, rule):
        cells = [marked(best.method, [best]), layer_name(best)]
        for name in SUBTYPE_NAMES:
            row = next(
                (r for r in main_rows(rows, name, rule) if (r.method, r.layer) == (best.method, best.layer)), None
            )
            cells.append("–" if row is None else _cell(row.estimates["dice"]))
            if row is not None and row.part == "all":
                counts[name] = row.slices
        lines.append(cells)
    return _markdown(["method", "layer", *(f"{name} (n={counts.get(name, 0)})" for name in SUBTYPE_NAMES)], lines)


def rule_table(rows: Sequence[Row], name: str = ANY) -> str:
    """Dice by mask rule, each method at the layer that is best with its fixed threshold."""
    rules = list(dict.fromkeys(row.rule for row in rows))
    lines = []
    for best in best_rows(rows, name):
        cells = [marked(best.method, [best]), layer_name(best)]
        for rule in rules:
            row = next(
                (r for r in main_rows(rows, name, rule) if (r.method, r.layer) == (best.method, best.layer)), None
            )
            if row is None:
                cells.append("–")
                continue
            text = _cell(row.estimates["dice"])
            cells.append(f"{text} (at {row.threshold:g})" if row.threshold is not None else text)
        lines.append(cells)
    return _markdown(["method", "layer", *rules], lines)


def subset_table(rows: Sequence[Row], name: str = ANY, rule: str = "fixed") -> str:
    """Dice by layer on the slices that every method saw."""
    chosen = [row for row in rows if (row.name, row.rule, row.part) == (name, rule, "subset")]
    layers = list(dict.fromkeys(row.layer for row in chosen))
    lines = []
    for method in _methods(chosen):
        at = {row.layer: _cell(row.estimates["dice"], interval=True) for row in chosen if row.method == method}
        lines.append([_with_layers(method), *(at.get(layer, "–") for layer in layers)])
    return _markdown(["method", *layers], lines)


def agreement_table(agreement: Mapping[str, Any]) -> str:
    """Approximate methods by layers: median correlation with the exact map, in brackets the smallest.

    Args:
        agreement: what :mod:`hemocam_training.compare_fast_maps` wrote.
    """
    rows = agreement["rows"]
    layers = list(dict.fromkeys(row["layer"] for row in rows))
    at = {(row["method"], row["layer"]): f"{row['median']:.2f} ({row['smallest']:.2f})" for row in rows}
    lines = [
        [method, *(at.get((method, layer), "–") for layer in layers)]
        for method in dict.fromkeys(row["method"] for row in rows)
    ]
    return _markdown(["method", *layers], lines)


def best_rows(rows: Sequence[Row], name: str = ANY, rule: str = "fixed") -> list[Row]:
    """Each method at its best layer, best first."""
    best: dict[str, Row] = {}
    for row in main_rows(rows, name, rule):
        if row.method not in best or row.estimates["dice"].value > best[row.method].estimates["dice"].value:
            best[row.method] = row
    return sorted(best.values(), key=lambda row: -row.estimates["dice"].value)


def main_rows(rows: Sequence[Row], name: str, rule: str) -> list[Row]:
    """One row a method and layer: of all slices, or of the subset where a method saw no more."""
    chosen = {}
    for row in sorted(rows, key=lambda row: row.part, reverse=True):
        if (row.name, row.rule) == (name, rule):
            chosen[row.method, row.layer] = row
    order = [(row.method, row.layer) for row in rows]
    return sorted(chosen.values(), key=lambda row: order.index((row.method, row.layer)))


def _methods(rows: Sequence[Row]) -> list[str]:
    return list(dict.fromkeys(row.method for row in rows))


def marked(method: str, rows: Sequence[Row]) -> str:
    """The method's name, † where it saw only the subset, ‡ where it takes every layer at once."""
    few = all(row.part == "subset" for row in rows if row.method == method)
    return f"{_with_layers(method)} †" if few else _with_layers(method)


def _with_layers(method: str) -> str:
    return f"{method} ‡" if method in LAYERLESS else method


def layer_name(row: Row) -> str:
    """The layer, or ``every``."""
    return "every" if row.method in LAYERLESS else row.layer


def _cell(estimate: Estimate, *, interval: bool = False) -> str:
    value, low, high = _ends(estimate)
    return f"{value:.2f} ({low:.2f}–{high:.2f})" if interval else f"{value:.2f}"


def _ends(estimate: Estimate) -> tuple[float, float, float]:
    return estimate.value, estimate.low, estimate.high


def _markdown(head: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    rows = [head, ["---"] * len(head), *lines]
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)
