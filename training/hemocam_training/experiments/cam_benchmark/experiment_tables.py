"""The experiment's tables of maps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hemocam_training.experiments.cam_benchmark.compare import Row
from hemocam_training.experiments.cam_benchmark.scores import MEASURES
from hemocam_training.experiments.cam_benchmark.tables import (
    AT_BEST_LAYER,
    BY_LAYER,
    best_rows,
    layer_name,
    main_rows,
    marked,
)
from hemocam_training.experiments.reporting import Table
from HemoCAMLib.subtypes import ANY, SUBTYPE_NAMES

_INTERVAL = "95 % intervals of a bootstrap over patients."
_TITLES = {**AT_BEST_LAYER, "loose_hit_rate": "loose hit rate", "peak_hit_rate": "highest point inside"}


def layer_table(rows: Sequence[Row]) -> Table:
    """Methods by layers: Dice, IoU and box IoU at the chosen threshold."""
    chosen = main_rows(rows, ANY, "fixed")
    layers = list(dict.fromkeys(row.layer for row in chosen))
    lines: list[dict[str, Any]] = []
    for method in dict.fromkeys(row.method for row in chosen):
        line: dict[str, Any] = {"method": marked(method, chosen)}
        for layer in layers:
            row = next((r for r in chosen if (r.method, r.layer) == (method, layer)), None)
            for measure in BY_LAYER:
                estimate = row.estimates[measure] if row else None
                # Intervals of Dice only: nine of them would not fit a page.
                line[f"{measure}_{layer}"] = estimate if measure == "dice" or not estimate else estimate.value
        lines.append(line)
    names = {f"{measure}_{layer}": f"{layer} {title}" for layer in layers for measure, title in BY_LAYER.items()}
    return Table(
        "methods_by_layer",
        "Methods by layers, any hemorrhage",
        lines,
        names,
        f"† every n-th slice only, see the limits. ‡ takes every layer at once. {_INTERVAL}",
        dict.fromkeys(names, 2),
        dict.fromkeys(names, "max"),
    )


def best_table(rows: Sequence[Row]) -> Table:
    """Every measure, each method at its best layer."""
    lines = [
        {
            "method": marked(row.method, [row]),
            "layer": layer_name(row),
            "threshold": row.threshold,
            **{
                # Intervals of all nine would not fit a page; they are in the table of everything.
                measure: row.estimates[measure] if measure in BY_LAYER else row.estimates[measure].value
                for measure in AT_BEST_LAYER
            },
        }
        for row in best_rows(rows)
    ]
    return Table(
        "methods_at_best_layer",
        "Each method at its best layer",
        lines,
        _TITLES,
        "Dice, IoU, pixel precision and recall and those of the boxes are means over slices. Loose hit rate: share of "
        "the true boxes that a box of the mask overlaps at all. Threshold: of 255, chosen on the tuning patients. "
        f"{_INTERVAL}",
        {**dict.fromkeys(AT_BEST_LAYER, 2), "threshold": 0},
        dict.fromkeys(AT_BEST_LAYER, "max"),
    )


def subtype_table(rows: Sequence[Row]) -> Table:
    """Dice by subtype, each method at the layer that is best for "any"."""
    lines: list[dict[str, Any]] = []
    for best in best_rows(rows):
        line: dict[str, Any] = {"method": marked(best.method, [best]), "layer": layer_name(best)}
        for name in SUBTYPE_NAMES:
            found = [r for r in main_rows(rows, name, "fixed") if (r.method, r.layer) == (best.method, best.layer)]
            line[name] = found[0].estimates["dice"] if found else None
        lines.append(line)
    return Table("dice_by_subtype", "Dice by subtype", lines, {}, _INTERVAL, dict.fromkeys(SUBTYPE_NAMES, 2),
                 dict.fromkeys(SUBTYPE_NAMES, "max"))  # fmt: skip


def rule_table(rows: Sequence[Row]) -> Table:
    """Dice by mask threshold, each method at its best layer."""
    rules = list(dict.fromkeys(row.rule for row in rows if row.name == ANY))
    lines: list[dict[str, Any]] = []
    for best in best_rows(rows):
        line: dict[str, Any] = {"method": marked(best.method, [best]), "layer": layer_name(best)}
        for rule in rules:
            found = [r for r in main_rows(rows, ANY, rule) if (r.method, r.layer) == (best.method, best.layer)]
            line[rule] = found[0].estimates["dice"].value if found else None
        lines.append(line)
    return Table(
        "dice_by_threshold",
        "Dice by mask threshold",
        lines,
        {"fixed": "chosen"} | {rule: rule.removeprefix("fixed:") for rule in rules if rule.startswith("fixed:")},
        "Numbers are thresholds of 255; the others find theirs in each map, those with @brain inside the brain only.",
        dict.fromkeys(rules, 2),
        dict.fromkeys(rules, "max"),
    )


def long_table(rows: Sequence[Row]) -> Table:
    """Method × layer × class × threshold: everything."""
    lines = [
        {
            "method": row.method,
            "layer": row.layer,
            "class": row.name,
            "threshold_rule": row.rule,
            "slices_of": row.part,
            "threshold": row.threshold,
            "slices": row.slices,
            "patients": row.scans,
            **{measure: row.estimates[measure] for measure in MEASURES},
        }
        for row in rows
    ]
    return Table(
        "scores",
        "Everything: methods × layers × thresholds",
        lines,
        note=f"{len(lines)} rows, every measure with the ends of its interval.",
        decimals={"threshold": 0},
        on_page=False,
    )
