"""An evaluation as tables, one page, and a file for programs and model cards."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from hemocam_training.evaluation.baseline import BASELINE_RULE
from hemocam_training.evaluation.collect import Collected
from hemocam_training.evaluation.figures_of import (
    DRAWS,
    Row,
    card_rows,
    classification_rows,
    mask_rows,
    negative_rows,
    plain,
)
from hemocam_training.evaluation.pictures import reliability_figure, volume_figure
from hemocam_training.experiments.reporting import Report, Section, Table, write_report
from HemoCAMLib.errors import UsageError
from HemoCAMLib.model.bundle import ModelBundle
from HemoCAMLib.subtypes import CLASS_NAMES

VERSION = 1

_SYNTHETIC = "These are synthetic scans: the figures compare versions of a model, they do not predict patients."
_HEADINGS = {
    "auroc": "AUROC",
    "dice_pooled": "Dice, pooled",
    "dice_mean_slice": "Dice, mean of slices",
    "dice_mean_scan": "Dice, mean of scans",
    "iou_pooled": "IoU, pooled",
    "iou_mean_slice": "IoU, mean of slices",
    "true_ml_median": "true mL, median",
    "volume_error_ml": "|error| mL, median",
    "volume_error_share": "|error| / true, median",
    "bias_ml": "bias, mL",
    "false_ml": "false mL where absent",
    "false_ml_mean": "false mL, mean",
    "false_ml_largest": "false mL, largest",
    "clean_scans": "share left clean",
    "false_ml_all_scans": "false mL, all scans",
    "milliseconds": "ms for 40 slices",
    "calibration_error": "calibration error",
    "brier": "Brier score",
}


def write_evaluation(
    found: Collected, bundle: ModelBundle, source: Mapping[str, Any], leak_check: str, out: Path, draws: int = DRAWS
) -> dict[str, Any]:
    """Writes ``index.html``, ``tables/``, ``figures/``, ``evaluation.json``, ``scans.csv`` and ``slices.csv``.

    Scans are numbered; no name or pseudonym is written.

    Returns:
        The content of ``evaluation.json``.

    Raises:
        UsageError: ``USAGE_CANNOT_WRITE``.
    """
    metadata = bundle.metadata
    classification = classification_rows(found, metadata.class_thresholds, draws)
    masks = {way.name: mask_rows(found, way.name, draws) for way in found.ways}
    negatives = negative_rows(found, draws)
    data = _data(found, source)
    synthetic = source.get("dataset") == "phantoms"
    report = Report(
        title=f"{metadata.name} {metadata.version}: evaluation",
        question="How well does this model call hemorrhage in slices, outline it, and measure it?",
        data=[data, leak_check],
        sections=[
            Section(
                "Slices",
                [
                    "Labels that are not known do not count, and neither do lesions below 20 mm² in a slice.",
                ],
                [Table("classification", "Classification of slices", classification, _HEADINGS)],
                [reliability_figure(found)],
            ),
            Section(
                "Masks",
                [
                    "Pooled over the pixels of all scans, and as means over slices and scans that show the class. "
                    "With classifier gates a subtype is called where its probability exceeds its threshold; with true "
                    "labels in the slices that show it.",
                    f"{_name_of_baseline(found)}: {BASELINE_RULE}." if _name_of_baseline(found) else "",
                ],
                [
                    Table(f"masks_{number}", name, rows, _HEADINGS)
                    for number, (name, rows) in enumerate(masks.items(), 1)
                    if rows
                ],
                [figure for figure in [volume_figure(found)] if figure is not None],
            ),
            Section(
                "Where there is none",
                ["Volume that is called hemorrhage in scans known to be without any, and false volume in all scans."],
                [Table("negatives", "False hemorrhage", negatives, _HEADINGS, decimals={"milliseconds": 0})],
            ),
        ],
        limits=[
            *([_SYNTHETIC] if synthetic else []),
            f"Intervals: {draws} samples of the patients, 95 %; they say nothing of other scanners or hospitals.",
        ],
        settings={
            "model": metadata.name,
            "version": metadata.version,
            "weights_sha256": metadata.weights_sha256,
            "source": dict(source),
            "ways": {way.name: None if way.settings is None else plain(way.settings.as_dict()) for way in found.ways},
        },
        quick=False,
    )
    result = {
        "hemocam_evaluation": VERSION,
        "model": {
            "name": metadata.name,
            "version": metadata.version,
            "weights_sha256": metadata.weights_sha256,
        },
        "data": {"what": data, **plain(dict(source))},
        "leak_check": leak_check,
        "left_out": {str(number): why for number, why in found.left_out.items()},
        "bootstrap": {"draws": draws, "over": "patients"},
        "classification": plain(classification),
        "masks": plain(masks),
        "negatives": plain(negatives),
        "card": {
            "title": "How it does on synthetic scans" if synthetic else f"How it does on {source.get('dataset')}",
            "data": data,
            "leak_check": leak_check,
            "rows": card_rows(classification, next(iter(masks.values()), [])),
            "note": _SYNTHETIC if synthetic else "",
        },
    }
    write_report(report, out)
    try:
        (out / "evaluation.json").write_text(json.dumps(result, indent=1, allow_nan=False) + "\n", encoding="utf-8")
        _scan_table(found).to_csv(out / "scans.csv", index=False, float_format="%.6g", lineterminator="\n")
        _slice_table(found).to_csv(out / "slices.csv", index=False, float_format="%.6g", lineterminator="\n")
    except OSError as error:
        raise UsageError(
            "USAGE_CANNOT_WRITE", "The evaluation cannot be written.", "Choose a folder that can be written to."
        ) from error
    return result


def _name_of_baseline(found: Collected) -> str:
    return next((way.name for way in found.ways if way.settings is None), "")


def _data(found: Collected, source: Mapping[str, Any]) -> str:
    scans, slices, patients = len(found.patients), len(found.scan_of), len(set(found.patients))
    kind = "synthetic head CTs" if source.get("dataset") == "phantoms" else f"scans of {source.get('dataset')}"
    told = f"{scans} {kind} of {patients} patients, {slices} slices"
    if "first_seed" in source:
        told += f", seeds {source['first_seed']} to {int(source['first_seed']) + int(source['scans']) - 1}"
    return f"{told}; {len(found.left_out)} could not be used." if found.left_out else f"{told}."


def _scan_table(found: Collected) -> pd.DataFrame:
    """A row a scan, way and class: pixels and mL."""
    rows: list[Row] = []
    for way in found.ways:
        counts = found.counts[way.name]
        pixels = {name: found.per_scan(getattr(counts, name)) for name in ("both", "called", "truth")}
        volumes = {
            name: found.per_scan(getattr(counts, name) * found.voxel_ml[:, None]) for name in ("called", "truth")
        }
        for scan in range(len(found.patients)):
            for c, name in enumerate(CLASS_NAMES):
                if way.settings is None and c:
                    continue
                judged = bool(found.judged[scan, c])
                rows.append(
                    {
                        "scan": scan + 1,
                        "masks": way.name,
                        "class": name,
                        "called_pixels": int(pixels["called"][scan, c]),
                        "true_pixels": int(pixels["truth"][scan, c]) if judged else None,
                        "both_pixels": int(pixels["both"][scan, c]) if judged else None,
                        "called_ml": volumes["called"][scan, c],
                        "true_ml": volumes["truth"][scan, c] if judged else None,
                    }
                )
    return pd.DataFrame(rows)


def _slice_table(found: Collected) -> pd.DataFrame:
    """A row a slice: probabilities and labels, empty where unknown."""
    table: dict[str, Any] = {"scan": found.scan_of + 1}
    for c, name in enumerate(CLASS_NAMES):
        table[f"probability_{name}"] = found.probabilities[:, c]
        table[name] = np.where(found.known[:, c] > 0, found.target[:, c], np.nan)
    return pd.DataFrame(table)
