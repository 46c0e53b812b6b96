"""The follow-up as a page: change by subtype, statements, the same slices of both scans side by side."""

from __future__ import annotations

import json
import os
from itertools import zip_longest
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import HemoCAMLib
from HemoCAMLib.errors import UsageError
from HemoCAMLib.followup.compare import FollowUp
from HemoCAMLib.report.choice import key_slices
from HemoCAMLib.report.facts import signed, volume_text
from HemoCAMLib.report.pictures import Illustrator
from HemoCAMLib.report.template import rendered, write_page
from HemoCAMLib.report.windows import SUBDURAL, data_uri
from HemoCAMLib.subtypes import SUBTYPE_NAMES, SUBTYPES, subtype_named


def write_followup(found: FollowUp, out: str | os.PathLike[str], *, pdf: bool = False, count: int = 6) -> list[Path]:
    """Writes ``followup.json`` and ``followup.html``, and ``followup.pdf`` where asked for; no patient data in them.

    Args:
        found: the comparison.
        out: folder, made where it is missing.
        pdf: also write the PDF.
        count: at most so many slices are shown.

    Returns:
        the files written.

    Raises:
        UsageError: ``USAGE_OUT``, ``USAGE_REPORT_LIBRARY``.
    """
    folder = Path(out)
    files = write_page(followup_html(found, count), folder, "followup", pdf=pdf)
    numbers = folder / "followup.json"
    try:
        numbers.write_text(json.dumps(found.to_dict(), indent=1, allow_nan=False), encoding="utf-8")
    except OSError as error:
        raise UsageError(
            "USAGE_OUT", "The follow-up cannot be written.", "Choose a folder on a disk with room.", str(error)
        ) from error
    return [numbers, *files]


def followup_html(found: FollowUp, count: int = 6) -> str:
    """The page as text; arguments and errors as :func:`write_followup`."""
    alignment = found.alignment
    return rendered(
        "followup.html",
        version=HemoCAMLib.__version__,
        models=[run.result.fields["model"] for run in (found.first, found.second)],
        statements=found.change.sentences(),
        rows=[_row(found, name) for name in (*SUBTYPE_NAMES, "total")],
        figures=_figures(found, count),
        window=SUBDURAL,
        alignment=alignment,
        notes=found.notes,
    )


def _row(found: FollowUp, name: str) -> dict[str, Any]:
    change = found.change[name]
    percent = change.change_percent
    color = subtype_named(name).color_rgb if name in SUBTYPE_NAMES else (90, 90, 90)
    return {
        "name": "All" if name == "total" else name,
        "color": "rgb({},{},{})".format(*color),
        "first": volume_text(change.first_ml),
        "second": volume_text(change.second_ml),
        "change": f"{signed(change.change_ml, 2)} mL",
        "percent": "new" if change.is_new else "–" if percent is None else f"{signed(percent, 0)} %",
        "found": change.first_ml > 0 or change.second_ml > 0,
    }


def _figures(found: FollowUp, count: int) -> list[dict[str, Any]]:
    """Slices of the first scan, beside the second scan in the same plane of the head."""
    indices = _chosen(found, count)
    later_hu, later_labels = found.second_on_first(indices)
    # One frame for both, so that they show the same place at the same size.
    illustrator, labels = Illustrator(found.first.ct), found.first.labels
    figures = []
    for place, index in enumerate(indices):
        before = illustrator.pictures(found.first.ct.slices[index], labels[index], None)
        after = illustrator.pictures(later_hu[place], later_labels[place], None)
        figures.append(
            {
                "number": index + 1,
                "before": data_uri(before.outlined),
                "after": data_uri(after.outlined),
                "before_names": _names(labels[index]),
                "after_names": _names(later_labels[place]),
            }
        )
    return figures


def _names(labels: NDArray[np.uint8]) -> list[str]:
    return [subtype.name for subtype in SUBTYPES if (labels == subtype.label).any()]


def _chosen(found: FollowUp, count: int) -> list[int]:
    """Key slices of the first scan in turn with the places of those of the second."""
    first, second = found.first.ct.geometry, found.second.ct
    middle_mm = second.geometry.row_direction * (
        second.shape[2] / 2 * second.geometry.pixel_spacing_mm[1]
    ) + second.geometry.column_direction * (second.shape[1] / 2 * second.geometry.pixel_spacing_mm[0])
    there = second.geometry.positions_mm[key_slices(found.second.result.slices, count)] + middle_mm
    along_mm = found.alignment.to_first(there) @ first.normal
    nearest = [int(np.abs(first.offsets_mm - place).argmin()) for place in along_mm]
    chosen: list[int] = []
    for pair in zip_longest(key_slices(found.first.result.slices, count), nearest):
        chosen += [index for index in dict.fromkeys(pair) if index is not None and index not in chosen]
    return sorted(chosen[:count])
