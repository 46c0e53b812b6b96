"""Figures of a cohort: volumes against each other, and their differences (Bland-Altman), one pair a structure."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from HemoCAMLib.errors import UsageError
from HemoCAMLib.measure.agreement.cohort import Cohort, StructureSummary

FIGURES = "figures"

#: Blue and vermilion of Okabe and Ito's palette, told apart with any colour vision; lines also differ in their dashes.
_POINTS, _LINES = "#0072B2", "#D55E00"
_TEXT = "#1a1a1a"


def figures_possible() -> bool:
    """Whether matplotlib is installed."""
    from importlib.util import find_spec

    return find_spec("matplotlib") is not None


def draw_figures(cohort: Cohort, folder: Path) -> list[str]:
    """Writes ``figures/volume_NAME.png`` and ``.svg`` for every structure with two cases or more.

    Returns:
        names of the files within the folder; none without matplotlib.

    Raises:
        UsageError: the folder cannot be written (``USAGE_OUT``).
    """
    if not figures_possible():
        return []
    names: list[str] = []
    for structure, summary in cohort.summaries.items():
        rows = [row for row in cohort.rows if row["structure"] == structure]
        prediction, truth = (np.array([row[key] for row in rows], float) for key in ("prediction_ml", "truth_ml"))
        if len(rows) > 1 and (prediction.any() or truth.any()):
            names += _draw(structure, summary, prediction, truth, folder)
    return names


def _draw(
    structure: str, summary: StructureSummary, prediction: NDArray[np.float64], truth: NDArray[np.float64], folder: Path
) -> list[str]:
    import matplotlib
    from matplotlib.figure import Figure

    settings: dict[str, Any] = {"font.size": 10, "text.color": _TEXT, "axes.labelcolor": _TEXT, "svg.fonttype": "none"}
    settings["svg.hashsalt"] = "hemocam"
    with matplotlib.rc_context(settings):  # type: ignore[arg-type]
        figure = Figure(figsize=(10, 4.6), layout="constrained")
        left, right = figure.subplots(1, 2)
        _scatter(left, prediction, truth, summary)
        _bland_altman(right, prediction, truth, summary)
        figure.suptitle(f"{structure}: volume, {len(truth)} scans")
        names = [f"{FIGURES}/volume_{structure}.{kind}" for kind in ("png", "svg")]
        try:
            (folder / FIGURES).mkdir(parents=True, exist_ok=True)
            for name in names:
                no_date = {"Date": None} if name.endswith("svg") else None
                figure.savefig(folder / name, dpi=150, metadata=no_date)
        except OSError as error:
            raise UsageError(
                "USAGE_OUT", "The figures cannot be written.", "Choose a folder on a disk with room.", str(error)
            ) from error
    return names


def _scatter(axes: Any, prediction: NDArray[np.float64], truth: NDArray[np.float64], summary: StructureSummary) -> None:
    top = 1.05 * max(float(prediction.max()), float(truth.max()), 1e-3)
    axes.plot([0, top], [0, top], color=_LINES, linestyle="--", label="identity")
    axes.scatter(truth, prediction, s=28, color=_POINTS, alpha=0.75, edgecolor="white", linewidth=0.5)
    axes.set(xlim=(0, top), ylim=(0, top), aspect="equal", xlabel="truth, mL", ylabel="prediction, mL")
    icc, lin = summary.icc.value, summary.concordance.value
    parts = [f"ICC(2,1) {icc:.3f}" if icc is not None else "", f"concordance {lin:.3f}" if lin is not None else ""]
    axes.set_title(", ".join(part for part in parts if part), fontsize=10)
    axes.legend(frameon=False)
    axes.grid(alpha=0.25)


def _bland_altman(
    axes: Any, prediction: NDArray[np.float64], truth: NDArray[np.float64], summary: StructureSummary
) -> None:
    axes.scatter((prediction + truth) / 2, prediction - truth, s=28, color=_POINTS, alpha=0.75, edgecolor="white")
    volume = summary.volume
    lines = (("bias", volume.bias, "-"), ("-1.96 SD", volume.lower_limit, "--"), ("+1.96 SD", volume.upper_limit, "--"))
    for title, interval, dashes in lines:
        if interval.value is None:
            continue
        axes.axhline(interval.value, color=_LINES, linestyle=dashes)
        if interval.low is not None and interval.high is not None:
            axes.axhspan(interval.low, interval.high, color=_LINES, alpha=0.1, linewidth=0)
        axes.annotate(
            f"{title} {interval.value:.1f}",
            (1, interval.value),
            xycoords=("axes fraction", "data"),
            ha="right",
            va="bottom",
            fontsize=9,
        )
    axes.axhline(0, color=_TEXT, linewidth=0.8)
    axes.set(xlabel="mean of prediction and truth, mL", ylabel="prediction - truth, mL")
    axes.set_title("Bland-Altman, limits of agreement with 95 % intervals", fontsize=10)
    axes.grid(alpha=0.25)
