"""The comparison with ground truth as rows of a table."""

from __future__ import annotations

from typing import Any

from HemoCAMLib.measure.agreement import Agreement
from HemoCAMLib.report.facts import signed, volume_figure

#: Heading in two lines and how a value is written, by field of ``agreement.json``.
_COLUMNS: tuple[tuple[tuple[str, str], str, str], ...] = (
    (("Dice", ""), "dice", "{:.2f}"),
    (("IoU", ""), "iou", "{:.2f}"),
    (("Precision", ""), "precision", "{:.2f}"),
    (("Recall", ""), "recall", "{:.2f}"),
    (("Hausdorff", "95 %, mm"), "hausdorff95_mm", "{:.1f}"),
    (("Surface", "mean, mm"), "mean_surface_distance_mm", "{:.1f}"),
    (("Lesion", "F1"), "lesion_f1", "{:.2f}"),
)


def comparison_section(agreement: Agreement) -> dict[str, Any]:
    """Headings, one row a structure and notes; a value that is not defined is a dash with its reason in the notes."""
    rows, reasons = [], set()
    for name, structure in agreement.to_dict()["structures"].items():
        values = {**structure, "lesion_f1": structure.get("lesions", {}).get("f1")}
        percent = structure["difference_percent"]
        rows.append(
            {
                "name": name,
                "ours": volume_figure(structure["prediction_ml"]),
                "truth": volume_figure(structure["truth_ml"]),
                "difference": signed(structure["difference_ml"], 2),
                "percent": "–" if percent is None else signed(percent, 0),
                "values": [
                    "–" if values.get(field) is None else form.format(values[field]) for _, field, form in _COLUMNS
                ],
            }
        )
        if structure["empty"] in ("both", "prediction", "truth"):
            reasons.add(f"{name}: {next(iter(structure['undefined'].values()), 'one of the two is empty')}.")
    return {
        "headings": [heading for heading, _, _ in _COLUMNS],
        "rows": rows,
        "notes": [*agreement.notes, *sorted(reasons)],
    }
