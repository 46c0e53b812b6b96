"""A prediction and a truth on disk, compared, and the result written."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from HemoCAMLib.errors import UsageError
from HemoCAMLib.measure.agreement.agreement import EVERYTHING, Agreement, CompareOptions
from HemoCAMLib.measure.agreement.compare import compare_segmentations
from HemoCAMLib.measure.agreement.read import Map, read_segmentation

#: Names of the files that one comparison writes.
AGREEMENT_JSON, SLICES_CSV, LESIONS_CSV = "agreement.json", "agreement_slices.csv", "agreement_lesions.csv"


def compare(
    prediction: str | Path,
    truth: str | Path,
    mapping: Map = None,
    *,
    prediction_mapping: Map = None,
    options: CompareOptions = EVERYTHING,
) -> Agreement:
    """Compares what lies in two places.

    Args:
        prediction: a run folder (with the scan's true geometry and probabilities) or any segmentation file.
        truth: NIfTI, NRRD, Slicer's ``.seg.nrrd``, DICOM SEG, or another run folder.
        mapping: what the truth's labels mean: the name of a data set (``hemocam``, ``bhsd``, ``physionet``,
            ``instance``, ``totalsegmentator``, ``blast-ct``, ``binary``), a JSON file or a table; None goes by names.
        prediction_mapping: the same for a prediction from elsewhere; None takes plain values for HemoCAM's own.
        options: what to compute.

    Raises:
        InputRefused: one cannot be read or understood, or they have no place in common.
        UsageError: ``USAGE_MAP``.
    """
    predicted = read_segmentation(prediction, prediction_mapping, role="prediction")
    return compare_segmentations(predicted, read_segmentation(truth, mapping), options)


def write_agreement(agreement: Agreement, out: str | Path) -> Path:
    """Writes ``agreement.json`` and, where computed, ``agreement_slices.csv`` and ``agreement_lesions.csv``.

    Returns:
        the folder.

    Raises:
        UsageError: it cannot be written (``USAGE_OUT``).
    """
    folder = Path(out)
    fields = agreement.to_dict()
    lesions = [
        {"structure": name, **pair}
        for name, structure in fields["structures"].items()
        for pair in structure.get("lesions", {}).get("pairs", ())
    ]
    texts = {AGREEMENT_JSON: json.dumps(fields, indent=1, allow_nan=False, ensure_ascii=False) + "\n"}
    if agreement.options.slices:
        texts[SLICES_CSV] = csv_text(fields["slices"])
    if agreement.options.lesions:
        texts[LESIONS_CSV] = csv_text(lesions)
    write_texts(folder, texts)
    return folder


def csv_text(rows: Sequence[Mapping[str, Any]]) -> str:
    """Rows of equal columns as CSV; what is undefined is an empty cell."""
    text = io.StringIO()
    if rows:
        writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    return text.getvalue()


def write_texts(folder: Path, texts: Mapping[str, str]) -> None:
    """Writes files into a folder, each whole or not at all.

    Raises:
        UsageError: ``USAGE_OUT``.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in texts.items():
            temporary = folder / (name + ".tmp")
            temporary.write_text(text, encoding="utf-8", newline="")
            temporary.replace(folder / name)
    except OSError as error:
        raise UsageError(
            "USAGE_OUT", "The output folder cannot be written.", "Choose a folder on a disk with room.", str(error)
        ) from error
