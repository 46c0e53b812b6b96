"""Many cases at once: one row a case and structure, and what they come to over all patients."""

from __future__ import annotations

import csv
import statistics as median_of
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from HemoCAMLib.errors import HemoCAMError, UsageError, out_of_memory
from HemoCAMLib.measure.agreement.agreement import (
    EVERYTHING,
    OVERLAP_METRICS,
    SURFACE_METRICS,
    Agreement,
    CompareOptions,
)
from HemoCAMLib.measure.agreement.files import compare
from HemoCAMLib.measure.agreement.mapping import read_mapping
from HemoCAMLib.measure.agreement.statistics import (
    BlandAltman,
    Bootstrap,
    Interval,
    bland_altman,
    concordance,
    icc_2_1,
)
from HemoCAMLib.measure.agreement.structures import STRUCTURES

#: Version of ``cohort.json``.
COHORT_SCHEMA = 1

_COLUMNS = ("prediction", "truth", "patient", "map")

#: Metrics averaged over cases, each with a bootstrap interval over patients.
AVERAGED = (
    *OVERLAP_METRICS,
    *SURFACE_METRICS,
    "box_iou",
    "lesion_f1",
    "lesion_sensitivity",
    "slice_sensitivity",
    "slice_specificity",
    "slice_auroc",
)


@dataclass(frozen=True)
class Case:
    """One line of the table of cases.

    Attributes:
        number: of the line, from 1; results name cases by it alone, since paths and names may be a patient's.
        prediction: path.
        truth: path.
        patient: whose scan it is; empty makes a patient of its own.
        mapping: what the truth's labels mean; empty goes by names.
    """

    number: int
    prediction: Path
    truth: Path
    patient: str = ""
    mapping: str = ""


@dataclass(frozen=True)
class FailedCase:
    """A case that could not be compared.

    Attributes:
        number: of the case.
        error: code, message, advice.
    """

    number: int
    error: dict[str, str]


@dataclass(frozen=True)
class StructureSummary:
    """One structure over all cases.

    Attributes:
        cases: that were compared in it.
        with_truth: cases whose truth holds it.
        means: mean of each metric over the cases where it is defined, with a bootstrap interval over patients.
        counts: cases where each metric is defined.
        medians: medians over the same cases.
        pooled_dice: Dice of the voxels of all cases together, with its bootstrap interval.
        volume_error_ml: median absolute volume difference, with its bootstrap interval.
        volume: bias and limits of agreement of volumes in mL.
        icc: ICC(2,1) of volumes.
        concordance: Lin's concordance of volumes.
    """

    cases: int
    with_truth: int
    means: dict[str, Interval]
    counts: dict[str, int]
    medians: dict[str, float | None]
    pooled_dice: Interval
    volume_error_ml: Interval
    volume: BlandAltman
    icc: Interval
    concordance: Interval


@dataclass(frozen=True)
class Cohort:
    """All cases and what they come to.

    Attributes:
        rows: one a case and structure: ``case``, ``patient`` (a number in order of appearance), ``structure``, metrics.
        failed: cases that were refused.
        summaries: by structure.
        notes: by case number.
        seed: of the bootstrap.
    """

    rows: tuple[dict[str, Any], ...]
    failed: tuple[FailedCase, ...]
    summaries: dict[str, StructureSummary] = field(default_factory=dict)
    notes: dict[int, tuple[str, ...]] = field(default_factory=dict)
    seed: int = 0

    def to_dict(self) -> dict[str, Any]:
        """Content of ``cohort.json``."""
        return {
            "schema": COHORT_SCHEMA,
            "bootstrap": {"seed": self.seed, "over": "patients"},
            "cases": list(self.rows),
            "failed": [asdict(failed) for failed in self.failed],
            "notes": {str(number): list(notes) for number, notes in self.notes.items() if notes},
            "structures": {name: asdict(summary) for name, summary in self.summaries.items()},
        }


def read_cases(table: str | Path) -> tuple[Case, ...]:
    """The cases of a CSV table with the columns ``prediction``, ``truth`` and, if wanted, ``patient`` and ``map``.

    Relative paths are meant from the table's folder.

    Raises:
        UsageError: ``USAGE_TABLE``, it cannot be read or lacks a column or a path.
    """
    path = Path(table)
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            sample = file.read(4096)
            file.seek(0)
            delimiter = ";" if sample.split("\n", 1)[0].count(";") > sample.split("\n", 1)[0].count(",") else ","
            rows = list(csv.DictReader(file, delimiter=delimiter))
    except (OSError, ValueError, csv.Error) as error:
        raise _bad_table("The table of cases cannot be read.", str(error)) from error
    if not rows:
        raise _bad_table("The table holds no case.")
    columns = {str(name).strip().lower(): name for name in rows[0] if name is not None}
    if not {"prediction", "truth"} <= set(columns):
        raise _bad_table("The table lacks the column prediction or truth.")
    return tuple(_case(number, row, columns, path.parent) for number, row in enumerate(rows, start=1))


def compare_cases(
    cases: Sequence[Case],
    *,
    options: CompareOptions = EVERYTHING,
    mapping: str | None = None,
    prediction_mapping: str | None = None,
    seed: int = 0,
    on_case: Callable[[Case, Agreement | HemoCAMError], None] = lambda case, outcome: None,
) -> Cohort:
    """Compares every case; one that is refused is listed with its error and the rest goes on.

    Args:
        cases: from :func:`read_cases`.
        options: what to compute; rows per slice are never kept.
        mapping: for cases without one of their own.
        prediction_mapping: for the predictions of all cases.
        seed: of the bootstrap.
        on_case: called after every case.
    """
    rows: list[dict[str, Any]] = []
    failed: list[FailedCase] = []
    notes: dict[int, tuple[str, ...]] = {}
    patients: dict[str, int] = {}
    for case in cases:
        patient = patients.setdefault(case.patient or f"\0{case.number}", len(patients) + 1)
        try:
            agreement = compare(
                case.prediction,
                case.truth,
                case.mapping or mapping,
                prediction_mapping=prediction_mapping,
                options=options,
            )
        except (HemoCAMError, MemoryError) as error:
            refusal = error if isinstance(error, HemoCAMError) else out_of_memory()
            fields = {name: text for name, text in refusal.as_dict().items() if name != "detail"}
            failed.append(FailedCase(case.number, fields))
            on_case(case, refusal)
            continue
        rows.extend({"case": case.number, "patient": patient, **row} for row in case_rows(agreement))
        notes[case.number] = agreement.notes
        on_case(case, agreement)
    summaries = {name: summarize_structure(own, seed) for name, own in _by_structure(rows)}
    return Cohort(tuple(rows), tuple(failed), summaries, notes, seed)


def case_rows(agreement: Agreement) -> list[dict[str, Any]]:
    """One flat row a structure."""
    rows = []
    for name, structure in agreement.structures.items():
        fields = structure.to_dict()
        lesions, detection = fields.get("lesions") or {}, fields["slice_detection"]
        row = {"structure": name, "empty": fields["empty"], **fields["voxels"]}
        for key in (
            *OVERLAP_METRICS,
            "volume_dice",
            *SURFACE_METRICS,
            "box_iou",
            "prediction_ml",
            "truth_ml",
            "truth_own_grid_ml",
            "difference_ml",
            "difference_percent",
        ):
            row[key] = fields.get(key)
        for key in ("truth_count", "prediction_count", "found", "missed", "false_positives", "f1", "sensitivity"):
            row[f"lesion_{key}"] = lesions.get(key)
        for key in ("sensitivity", "specificity", "auroc"):
            row[f"slice_{key}"] = detection[key]
        row["grid"] = agreement.grid
        rows.append(row)
    return rows


def summarize_structure(rows: Sequence[Mapping[str, Any]], seed: int = 0) -> StructureSummary:
    """What the rows of one structure come to; intervals are drawn over patients."""
    bootstrap = Bootstrap([str(row["patient"]) for row in rows], seed=seed)
    columns = {name: _column(rows, name) for name in (*AVERAGED, "prediction_ml", "truth_ml")}
    counts = np.array([[row["true_positive"], row["false_positive"], row["false_negative"]] for row in rows], float)
    prediction, truth = columns["prediction_ml"], columns["truth_ml"]

    def mean_of(name: str) -> Callable[[NDArray[np.intp]], float | None]:
        values = columns[name]

        def mean(chosen: NDArray[np.intp]) -> float | None:
            defined = values[chosen][~np.isnan(values[chosen])]
            return float(defined.mean()) if defined.size else None

        return mean

    def pooled(chosen: NDArray[np.intp]) -> float | None:
        tp, fp, fn = counts[chosen].sum(axis=0)
        return float(2 * tp / (2 * tp + fp + fn)) if tp + fp + fn else None

    def error_ml(chosen: NDArray[np.intp]) -> float | None:
        return float(np.median(np.abs(prediction[chosen] - truth[chosen])))

    defined = {name: columns[name][~np.isnan(columns[name])] for name in AVERAGED}
    return StructureSummary(
        cases=len(rows),
        with_truth=int(np.count_nonzero(truth > 0)),
        means={name: bootstrap.interval(mean_of(name)) for name in AVERAGED},
        counts={name: int(values.size) for name, values in defined.items()},
        medians={name: median_of.median(values.tolist()) if values.size else None for name, values in defined.items()},
        pooled_dice=bootstrap.interval(pooled),
        volume_error_ml=bootstrap.interval(error_ml),
        volume=bland_altman(prediction, truth),
        icc=icc_2_1(np.stack([prediction, truth], axis=1)),
        concordance=concordance(prediction, truth),
    )


def _column(rows: Sequence[Mapping[str, Any]], name: str) -> NDArray[np.float64]:
    return np.array([np.nan if row[name] is None else row[name] for row in rows], np.float64)


def _by_structure(rows: Sequence[dict[str, Any]]) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    for name in STRUCTURES:
        own = [row for row in rows if row["structure"] == name]
        if own:
            yield name, own


def _case(number: int, row: Mapping[str, str | None], columns: Mapping[str, str], folder: Path) -> Case:
    values = {name: (row.get(columns[name]) or "").strip() if name in columns else "" for name in _COLUMNS}
    if not values["prediction"] or not values["truth"]:
        raise _bad_table(f"Line {number} of the table lacks a path.")
    mapping = values["map"]
    if mapping and (folder / mapping).is_file():
        mapping = str(folder / mapping)
    if mapping:
        read_mapping(mapping)
    return Case(number, folder / values["prediction"], folder / values["truth"], values["patient"], mapping)


def _bad_table(message: str, detail: str = "") -> UsageError:
    return UsageError(
        "USAGE_TABLE",
        message,
        "Write a CSV file with columns prediction,truth and, if you wish, patient,map.",
        detail,
    )
