"""A cohort on disk: JSON, CSV, a page in Markdown, and figures."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from HemoCAMLib.measure.agreement.cohort import AVERAGED, Cohort, StructureSummary
from HemoCAMLib.measure.agreement.figures import draw_figures
from HemoCAMLib.measure.agreement.files import csv_text, write_texts
from HemoCAMLib.measure.agreement.statistics import Interval

COHORT_JSON, CASES_CSV, SUMMARY_CSV, REPORT_MD = "cohort.json", "cases.csv", "summary.csv", "cohort.md"

_TITLES = {
    "hausdorff_mm": "Hausdorff, mm",
    "hausdorff95_mm": "Hausdorff 95 %, mm",
    "mean_surface_distance_mm": "surface distance (average symmetric), mm",
    "surface_dice_1mm": "surface Dice at 1 mm",
    "surface_dice_2mm": "surface Dice at 2 mm",
    "iou": "IoU",
    "box_iou": "box IoU",
    "dice": "Dice",
    "lesion_f1": "lesion F1",
    "slice_auroc": "slice AUROC",
}


def write_cohort(cohort: Cohort, out: str | Path, *, figures: bool = True) -> list[str]:
    """Writes ``cohort.json``, ``cases.csv``, ``summary.csv``, ``cohort.md`` and, with matplotlib, ``figures/``.

    Returns:
        names of the files within the folder.

    Raises:
        UsageError: it cannot be written (``USAGE_OUT``).
    """
    folder = Path(out)
    texts = {
        COHORT_JSON: json.dumps(cohort.to_dict(), indent=1, allow_nan=False, ensure_ascii=False) + "\n",
        CASES_CSV: csv_text(cohort.rows),
        SUMMARY_CSV: csv_text(summary_rows(cohort)),
        REPORT_MD: markdown(cohort),
    }
    write_texts(folder, texts)
    return [*texts, *(draw_figures(cohort, folder) if figures else ())]


def summary_rows(cohort: Cohort) -> list[dict[str, Any]]:
    """One row a structure and number: value, interval, cases."""
    rows = []
    for name, summary in cohort.summaries.items():
        for title, interval, cases in _numbers(summary):
            rows.append(
                {
                    "structure": name,
                    "number": title,
                    "value": interval.value,
                    "low": interval.low,
                    "high": interval.high,
                    "cases": cases,
                }
            )
    return rows


def markdown(cohort: Cohort) -> str:
    """The cohort as a page for people."""
    compared = len({row["case"] for row in cohort.rows})
    patients = len({row["patient"] for row in cohort.rows})
    lines = [
        "# Agreement with ground truth",
        "",
        f"{compared} scans of {patients} patients compared, {len(cohort.failed)} refused. "
        "Brackets are 95 % intervals: bootstrap over patients for means, medians and pooled Dice "
        f"(seed {cohort.seed}), analytic for the rest. Means leave out scans where a number is undefined. "
        "Volumes are in mL with every slice's true extent.",
        "",
        "Research software, not for clinical use.",
    ]
    for name, summary in cohort.summaries.items():
        lines += ["", f"## {name}", "", f"{summary.cases} scans, {summary.with_truth} with {name} in the truth.", ""]
        lines += ["| | value | 95 % interval | scans |", "|---|---|---|---|"]
        lines += [
            f"| {title} | {_text(interval.value)} | {_range(interval)} | {cases} |"
            for title, interval, cases in _numbers(summary)
        ]
    if cohort.failed:
        lines += ["", "## Refused", "", "| case | why |", "|---|---|"]
        lines += [f"| {case.number} | {case.error['message']} {case.error['advice']} |" for case in cohort.failed]
    return "\n".join(lines) + "\n"


def _numbers(summary: StructureSummary) -> list[tuple[str, Interval, int]]:
    cases = summary.cases
    numbers = [("pooled Dice", summary.pooled_dice, cases)]
    for metric in AVERAGED:
        title = _TITLES.get(metric, metric.replace("_", " "))
        if summary.counts[metric]:
            numbers.append((f"mean {title}", summary.means[metric], summary.counts[metric]))
            numbers.append((f"median {title}", Interval(summary.medians[metric]), summary.counts[metric]))
    volume = summary.volume
    return [
        *numbers,
        ("median absolute volume difference, mL", summary.volume_error_ml, cases),
        ("bias of volume, mL", volume.bias, cases),
        ("lower limit of agreement, mL", volume.lower_limit, cases),
        ("upper limit of agreement, mL", volume.upper_limit, cases),
        ("ICC(2,1) of volume", summary.icc, cases),
        ("Lin's concordance of volume", summary.concordance, cases),
    ]


def _text(value: float | None) -> str:
    return "" if value is None else f"{value:.3g}" if abs(value) < 1000 else f"{value:.0f}"


def _range(interval: Interval) -> str:
    return "" if interval.low is None else f"{_text(interval.low)} to {_text(interval.high)}"
