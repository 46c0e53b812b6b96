"""Bland-Altman plots, volumes against each other, and errors over tilt and thickness."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np

from hemocam_training.experiments.reporting import Figure, figure_of
from hemocam_training.experiments.reporting.figures import COLOURS, styled
from hemocam_training.experiments.volumes.agreement import volume_agreement
from hemocam_training.experiments.volumes.measure import METHODS, ScanVolumes

ByStructure = Mapping[str, Sequence[ScanVolumes]]
COLUMNS = 3
POINTS = {"s": 22, "alpha": 0.8, "edgecolor": "white", "linewidth": 0.4}


def bland_altman_figure(by_structure: ByStructure, method: str, draws: int) -> Figure:
    """Differences over means, one panel a structure, with bias, limits and their intervals."""
    shown = {name: [row for row in rows if row.truth_ml > 0] for name, rows in by_structure.items()}
    shown = {name: rows for name, rows in shown.items() if len(rows) > 1}
    with styled():
        canvas, panels = _panels(len(shown), 2.6)
        for panel, (name, rows) in zip(panels, shown.items(), strict=False):
            truth, found = _pairs(rows, method)
            panel.axhline(0, color="#8a949e", linewidth=0.8, linestyle=":")
            panel.scatter((truth + found) / 2, found - truth, color=COLOURS[0], zorder=3, **POINTS)
            agreement = volume_agreement(rows, method, draws=draws)
            lines = (
                (agreement.bias_ml, COLOURS[2], "-"),
                (agreement.lower_ml, COLOURS[1], "--"),
                (agreement.upper_ml, COLOURS[1], "--"),
            )
            for estimate, colour, dashes in lines:
                panel.axhline(estimate.value, color=colour, linestyle=dashes, linewidth=1.3)
                if np.isfinite([estimate.low, estimate.high]).all():
                    panel.axhspan(estimate.low, estimate.high, color=colour, alpha=0.13, linewidth=0)
                panel.annotate(
                    f"{estimate.value:+.1f}",
                    (1, estimate.value),
                    xycoords=("axes fraction", "data"),
                    ha="right",
                    va="bottom",
                    fontsize=8,
                    zorder=4,
                    bbox={"boxstyle": "square,pad=0.1", "facecolor": "white", "edgecolor": "none", "alpha": 0.7},
                )
            panel.set_title(f"{name}, {len(rows)} scans")
            panel.set(xlabel="mean of both, mL", ylabel="measured − truth, mL")
        return figure_of(
            canvas,
            f"bland_altman_{method.removesuffix('_ml')}",
            f"Bland-Altman: {METHODS[method]}",
            "Each point is a scan that holds the structure. Green: bias; orange dashes: limits of agreement "
            "(± 1.96 SD); bands: their 95 % intervals by a bootstrap over patients. Mind the different axes.",
            f"Bland-Altman plots of {METHODS[method]} against the truth by structure; the figures are in the tables.",
        )


def scatter_figure(by_structure: ByStructure) -> Figure:
    """Measured over true volume, the mask and ABC/2 of the mask, one panel a structure."""
    shown = {name: rows for name, rows in by_structure.items() if any(row.truth_ml > 0 for row in rows)}
    with styled():
        canvas, panels = _panels(len(shown), 2.9)
        for panel, (name, rows) in zip(panels, shown.items(), strict=False):
            top = 1.08 * max(1.0, *(max(row.truth_ml, row.by_method["mask_ml"]) for row in rows))
            for colour, marker, method in ((COLOURS[4], "^", "mask_abc2_ml"), (COLOURS[0], "o", "mask_ml")):
                truth, found = _pairs(rows, method)
                panel.scatter(truth, np.minimum(found, top), color=colour, marker=marker, label=METHODS[method],
                              clip_on=False, **POINTS)  # fmt: skip
            panel.plot([0, top], [0, top], color="#5b6773", linewidth=0.8, linestyle="--", zorder=0)
            panel.set(xlim=(-0.02 * top, top), ylim=(-0.02 * top, top), xlabel="truth, mL", ylabel="measured, mL")
            panel.set_aspect("equal")
            panel.set_title(name)
        if shown:
            panels[0].legend(loc="upper left")
        return figure_of(
            canvas,
            "volumes",
            "Measured against true volume",
            "Every scan, those without the structure too (at 0 on the lower axis). Dashes: equality. ABC/2 beyond the "
            "axis is drawn at its upper edge.",
            "Scatter plots of measured over true volume by structure; the figures are in the tables.",
        )


def geometry_figure(rows: Sequence[ScanVolumes]) -> Figure:
    """Error of one uniform step on the truth itself, over tilt and over slice extent."""
    bleeding = [row for row in rows if row.truth_ml > 0]
    truth, one_step = _pairs(bleeding, "truth_one_step_ml")
    percent = 100 * (one_step - truth) / truth
    uneven = np.array([row.uneven for row in bleeding], bool)
    axes = (
        ("gantry tilt, °", np.array([row.tilt_deg for row in bleeding])),
        ("median slice extent, mm", np.array([row.extent_mm for row in bleeding])),
    )
    with styled():
        canvas, panels = plt.subplots(1, 2, figsize=(8.4, 3.1), layout="constrained", sharey=True)
        for panel, (label, values) in zip(panels, axes, strict=True):
            panel.axhline(0, color="#1c2733", linewidth=0.8)
            for mark, which, name in (("o", ~uneven, "even steps"), ("D", uneven, "uneven steps")):
                colour = COLOURS[1] if mark == "D" else COLOURS[0]
                panel.scatter(values[which], percent[which], color=colour, marker=mark, label=name, **POINTS)
            panel.set_xlabel(label)
        if len(bleeding):
            tilts = np.linspace(0, max(1.0, float(axes[0][1].max())), 60)
            panels[0].plot(tilts, 100 * (1 / np.cos(np.radians(tilts)) - 1), color="#5b6773", linewidth=1, zorder=0,
                           label="1 / cos(tilt)")  # fmt: skip
        panels[0].set_ylabel("one uniform step − truth, %")
        panels[0].legend()
        return figure_of(
            canvas,
            "geometry",
            "What one uniform step costs",
            "The truth's own volume, measured with one step for all slices, against true extents: no mask is involved. "
            "With tilt and even steps it is too large by 1 / cos(tilt).",
            "Scatter plots of the volume error of one uniform step over gantry tilt and slice extent.",
        )


def _panels(count: int, tall: float) -> tuple[Any, list[Any]]:
    """A grid of that many axes."""
    columns = min(COLUMNS, max(count, 1))
    rows = -(-max(count, 1) // columns)
    canvas, grid = plt.subplots(
        rows, columns, figsize=(3.1 * columns, tall * rows), layout="constrained", squeeze=False
    )
    for panel in grid.flat[count:]:
        panel.axis("off")
    return canvas, list(grid.flat)


def _pairs(rows: Sequence[ScanVolumes], method: str) -> tuple[np.ndarray, np.ndarray]:
    return np.array([row.truth_ml for row in rows]), np.array([row.by_method[method] for row in rows])
