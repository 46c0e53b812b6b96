"""The page: everything that is known about a run, put into the template."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import HemoCAMLib
from HemoCAMLib.ct import HeadCT
from HemoCAMLib.measure.agreement import Agreement
from HemoCAMLib.report.choice import key_slices
from HemoCAMLib.report.comparison import comparison_section
from HemoCAMLib.report.facts import doubtful_slices, facts, summary, volume_text
from HemoCAMLib.report.patient import Patient
from HemoCAMLib.report.pictures import Illustrator
from HemoCAMLib.report.strip import probability_strip
from HemoCAMLib.report.template import rendered, write_page
from HemoCAMLib.report.windows import BRAIN, SUBDURAL, data_uri
from HemoCAMLib.run.map_settings import LOCAL_LOGIT
from HemoCAMLib.run.result import Result
from HemoCAMLib.subtypes import ANY, SUBTYPES


@dataclass(frozen=True)
class ReportOptions:
    """What goes into a report.

    Attributes:
        pdf: also write ``report.pdf``.
        key_slices: at most so many slices are shown.
    """

    pdf: bool = False
    key_slices: int = 6


def write_report(
    result: Result,
    out: str | os.PathLike[str],
    *,
    ct: HeadCT | None = None,
    agreement: Agreement | None = None,
    patient: Patient | None = None,
    options: ReportOptions | None = None,
) -> list[Path]:
    """Writes one self-contained HTML page, and a PDF where asked for. The file names say nothing about the patient.

    Args:
        result: a finished run.
        out: folder, made where it is missing; a report in it is replaced.
        ct: the scan (:func:`~HemoCAMLib.run.source.scan_of_run`); without it the page has no pictures and says so.
        agreement: comparison with ground truth.
        patient: shown at the top; None makes a page without patient data.
        options: see there.

    Returns:
        the files written.

    Raises:
        UsageError: ``USAGE_OUT``, the folder cannot be written; ``USAGE_REPORT_LIBRARY``, a library for pages or PDF is
            not installed.
    """
    options = options or ReportOptions()
    html = report_html(result, ct=ct, agreement=agreement, patient=patient, options=options)
    return write_page(html, Path(out), "report", pdf=options.pdf)


def report_html(
    result: Result,
    *,
    ct: HeadCT | None = None,
    agreement: Agreement | None = None,
    patient: Patient | None = None,
    options: ReportOptions | None = None,
) -> str:
    """The page as text; arguments and errors as :func:`write_report`."""
    options = options or ReportOptions()
    shown = key_slices(result.slices, options.key_slices)
    return rendered(
        "report.html",
        version=HemoCAMLib.__version__,
        patient=asdict(patient) if patient is not None else None,
        summary=summary(result),
        facts=facts(result),
        doubtful=[index + 1 for index in doubtful_slices(result)],
        rows=_volume_rows(result),
        total=volume_text(result.volume_ml["total"]),
        strip=probability_strip(result.slices, shown if ct is not None else []),
        figures=_figures(result, ct, shown) if ct is not None else [],
        windows=(BRAIN, SUBDURAL),
        heat_scale=_heat_scale(result),
        scan=result.fields["input"],
        warnings=result.warnings,
        quality=result.quality,
        model=result.fields["model"],
        settings=result.fields["settings"],
        thresholds=_threshold_rows(result),
        comparison=comparison_section(agreement) if agreement is not None else None,
    )


def _volume_rows(result: Result) -> list[dict[str, Any]]:
    fields, rows = result.fields, []
    for subtype in SUBTYPES:
        name = subtype.name
        volume = result.volume_ml[name]
        likely = max(result.slices, key=lambda entry, name=name: entry["probability"][name])  # type: ignore[misc]
        rows.append(
            {
                "name": name,
                "title": subtype.title,
                "color": "rgb({},{},{})".format(*subtype.color_rgb),
                "found": volume > 0,
                "volume": volume_text(volume),
                "abc2": volume_text(fields["abc2_ml"][name]) if volume > 0 else "",
                "diameter": f"{fields['largest_diameter_mm'][name]:.0f} mm" if volume > 0 else "",
                "side": fields["side"][name] if volume > 0 else "",
                "lesions": fields["components"][name] if volume > 0 else "",
                "slices": sum(entry["area_mm2"][name] > 0 for entry in result.slices) if volume > 0 else "",
                "probability": f"{likely['probability'][name]:.2f}",
                "likely_slice": likely["index"] + 1,
            }
        )
    return rows


def _threshold_rows(result: Result) -> list[dict[str, Any]]:
    mask = result.fields["settings"]["mask"]
    return [
        {"name": s.name, "gate": mask["class_thresholds"][s.name], "mask": mask["mask_thresholds"][s.name]}
        for s in SUBTYPES
    ]


def _figures(result: Result, ct: HeadCT, shown: Sequence[int]) -> list[dict[str, Any]]:
    illustrator = Illustrator(ct)
    labels: NDArray[np.uint8] = ct.grid.to_canonical(result.labels)  # type: ignore[assignment]
    ceiling = _map_ceiling(result)
    figures = []
    for index in shown:
        entry = result.slices[index]
        views = illustrator.pictures(ct.slices[index], labels[index], _activation(result, index, ceiling))
        found = [s.name for s in SUBTYPES if entry["area_mm2"][s.name] > 0]
        figures.append(
            {
                "number": index + 1,
                "position_mm": entry["position_mm"] - result.slices[0]["position_mm"],
                "extent_mm": entry["extent_mm"],
                "findings": [
                    {"name": name, "area_mm2": entry["area_mm2"][name], "probability": entry["probability"][name]}
                    for name in found
                ],
                "any": entry["probability"][ANY],
                "brain": data_uri(views.brain),
                "outlined": data_uri(views.outlined),
                "heat": data_uri(views.heat),
            }
        )
    return figures


def _activation(result: Result, index: int, ceiling: float) -> NDArray[np.float32]:
    """[h, w] 0..1 of the strongest subtype: its local probability, or a signed map's share of the ceiling."""
    subtypes = [row for row, name in enumerate(result.classes) if name != ANY]
    maps = np.asarray(result.activation[subtypes, index], np.float32)
    shares = 1 / (1 + np.exp(-maps)) if _is_probability(result) else np.clip(maps / ceiling, 0, 1)
    # Not a number where no map was made.
    strongest: NDArray[np.float32] = np.nan_to_num(shares).max(axis=0)
    return strongest


def _is_probability(result: Result) -> bool:
    return result.map_method == LOCAL_LOGIT


def _map_ceiling(result: Result) -> float:
    """The largest value of a signed map anywhere in the scan."""
    return 1.0 if _is_probability(result) else max(float(np.nan_to_num(result.activation).max()), 1e-30)


def _heat_scale(result: Result) -> str:
    if _is_probability(result):
        return "local probability of the strongest class, 0 to 1, the same scale in every slice"
    return f"{result.map_method}, as a share of the largest value in the scan"
