"""Figures of merit of a collection, each with its interval from drawing patients."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hemocam_training.bundle_tuning.calibrate import calibration_scores
from hemocam_training.evaluation.collect import Collected
from hemocam_training.experiments.bootstrap import Estimate, bootstrap_means, bootstrap_ratios, bootstrap_statistic
from hemocam_training.metrics import auroc
from HemoCAMLib.subtypes import CLASS_NAMES

#: Samples of patients.
DRAWS = 1000

Row = dict[str, Any]


def classification_rows(found: Collected, thresholds: Mapping[str, float], draws: int = DRAWS) -> list[Row]:
    """A row a class: slices, AUROC, sensitivity and specificity at its threshold, calibration.

    Only slices whose label is known count. A class without positive or without negative slices has no AUROC.

    Args:
        found: the collection.
        thresholds: by class name.
        draws: samples of patients.
    """
    rows = []
    patients = np.array(found.slice_patients)
    for c, name in enumerate(CLASS_NAMES):
        use = found.known[:, c] > 0
        if name not in thresholds or not use.any():
            continue
        score, positive = found.probabilities[use, c], found.target[use, c] > 0
        called = score > thresholds[name]
        of = patients[use].tolist()
        sensitivity, specificity = bootstrap_ratios(
            np.stack([called & positive, ~called & ~positive], axis=1),
            np.stack([positive, ~positive], axis=1),
            of,
            draws=draws,
        )
        quality = calibration_scores(score, positive)
        rows.append(
            {
                "class": name,
                "slices": int(use.sum()),
                "positive_slices": int(positive.sum()),
                "auroc": _auroc(score, positive, of, draws),
                "threshold": thresholds[name],
                "sensitivity": sensitivity,
                "specificity": specificity,
                "calibration_error": quality.expected_error,
                "brier": quality.brier,
            }
        )
    return rows


def mask_rows(found: Collected, way: str, draws: int = DRAWS) -> list[Row]:
    """A row a class of one way to make masks: Dice and IoU, pooled and by slice and scan, and volumes in mL.

    Pooled figures are over the pixels of all scans whose true pixels are known, those without the class among them;
    means by slice and scan are over those that show it. A class whose true pixels are known nowhere has no row.
    """
    rows = []
    for c, name in enumerate(CLASS_NAMES):
        scans = found.judged[:, c]
        if not scans.any() or not _knows(found, way, c):
            continue
        rows.append({"class": name, **_overlap(found, way, c, draws), **_volumes(found, way, c, draws)})
    return rows


def negative_rows(found: Collected, draws: int = DRAWS) -> list[Row]:
    """A row a way: what it calls hemorrhage where there is none, in scans without any and in all."""
    rows = []
    clear = _clear_scans(found)
    for way in found.ways:
        counts = found.counts[way.name]
        called = found.per_scan(counts.called[:, 0] * found.voxel_ml)
        false = found.per_scan(counts.false_any * found.voxel_ml)
        of_clear = called[clear]
        judged = found.judged[:, 0] & np.isfinite(false)
        rows.append(
            {
                "masks": way.name,
                "negative_scans": int(clear.sum()),
                "false_ml_mean": _mean(of_clear, _of(found, clear), draws),
                "false_ml_largest": float(of_clear.max()) if of_clear.size else float("nan"),
                "clean_scans": _mean((of_clear == 0).astype(float), _of(found, clear), draws),
                "false_ml_all_scans": _mean(false[judged], _of(found, judged), draws),
                "milliseconds": float(np.median(counts.seconds / _lengths(found)) * 40_000),
            }
        )
    return rows


def card_rows(classification: list[Row], masks: list[Row]) -> list[Row]:
    """What a model card shows, by class, as plain values."""
    by_class: dict[str, Row] = {}
    for row in (*classification, *masks):
        by_class.setdefault(row["class"], {}).update(row)
    kept = ("class", "auroc", "sensitivity", "specificity", "scans", "dice_pooled", "dice_mean_slice",
            "volume_error_ml", "false_ml")  # fmt: skip
    return [{key: plain(row[key]) for key in kept if key in row} for row in by_class.values()]


def plain(value: Any) -> Any:
    """For JSON: an estimate is a table, what is no number is None."""
    if isinstance(value, Estimate):
        return {"value": plain(value.value), "low": plain(value.low), "high": plain(value.high)}
    if isinstance(value, float | np.floating):
        return round(float(value), 5) if np.isfinite(value) else None
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return int(value) if isinstance(value, np.integer) else value


def _knows(found: Collected, way: str, c: int) -> bool:
    """The threshold on HU alone knows no subtypes."""
    settings = next(one.settings for one in found.ways if one.name == way)
    return c == 0 or settings is not None


def _overlap(found: Collected, way: str, c: int, draws: int) -> Row:
    counts, patients = found.counts[way], found.slice_patients
    judged = found.judged[found.scan_of, c]
    both, called, truth = (np.where(judged, one[:, c], 0) for one in (counts.both, counts.called, counts.truth))
    pooled_dice, pooled_iou = bootstrap_ratios(
        np.stack([2 * both, both], axis=1),
        np.stack([called + truth, called + truth - both], axis=1),
        patients,
        draws=draws,
    )
    slice_dice, slice_iou = _mean_overlap(both, called, truth, patients, draws)
    scan_both, scan_called, scan_truth = (found.per_scan(one) for one in (both, called, truth))
    scan_dice, _ = _mean_overlap(scan_both, scan_called, scan_truth, found.patients, draws)
    return {
        "scans": int((scan_truth > 0).sum()),
        "slices": int((truth > 0).sum()),
        "dice_pooled": pooled_dice,
        "dice_mean_slice": slice_dice,
        "dice_mean_scan": scan_dice,
        "iou_pooled": pooled_iou,
        "iou_mean_slice": slice_iou,
    }


def _mean_overlap(
    both: NDArray[Any], called: NDArray[Any], truth: NDArray[Any], patients: list[str], draws: int
) -> list[Estimate]:
    """Mean Dice and IoU of the rows that show the class; patients are drawn among those who have such a row."""
    there = truth > 0
    if not there.any():
        return [Estimate(float("nan"))] * 2
    hits, total = both[there].astype(np.float64), (called + truth)[there].astype(np.float64)
    of = [patient for patient, kept in zip(patients, there, strict=True) if kept]
    return bootstrap_means(np.stack([2 * hits / total, hits / (total - hits)], axis=1), of, draws=draws)


def _volumes(found: Collected, way: str, c: int, draws: int) -> Row:
    """Errors are called minus true."""
    counts = found.counts[way]
    called = found.per_scan(counts.called[:, c] * found.voxel_ml)
    true = found.per_scan(counts.truth[:, c] * found.voxel_ml)
    judged = found.judged[:, c] & np.isfinite(true)
    present, absent = judged & (true > 0), judged & (true == 0)
    error, of = (called - true)[present], _of(found, present)
    return {
        "true_ml_median": float(np.median(true[present])) if present.any() else float("nan"),
        "volume_error_ml": _median(np.abs(error), of, draws),
        "volume_error_share": _median(np.abs(error) / true[present], of, draws),
        "bias_ml": _mean(error, of, draws),
        "false_ml": _mean(called[absent], _of(found, absent), draws),
    }


def _auroc(score: NDArray[np.float32], positive: NDArray[np.bool_], patients: list[str], draws: int) -> Estimate:
    if not positive.any() or positive.all():
        return Estimate(float("nan"))
    return bootstrap_statistic(
        lambda rows: auroc(score[rows], positive[rows]), patients, draws=draws, method="percentile"
    )


def _median(values: NDArray[np.float64], patients: list[str], draws: int) -> Estimate:
    if not values.size:
        return Estimate(float("nan"))
    return bootstrap_statistic(lambda rows: float(np.median(values[rows])), patients, draws=draws, method="percentile")


def _mean(values: NDArray[np.float64], patients: list[str], draws: int) -> Estimate:
    return bootstrap_means(values, patients, draws=draws)[0] if values.size else Estimate(float("nan"))


def _of(found: Collected, scans: NDArray[np.bool_]) -> list[str]:
    return [patient for patient, kept in zip(found.patients, scans, strict=True) if kept]


def _clear_scans(found: Collected) -> NDArray[np.bool_]:
    """[scan] known to be without hemorrhage, and with geometry."""
    first = next(iter(found.counts.values()))
    empty = found.per_scan(first.truth[:, 0]) == 0
    measured = np.isfinite(found.per_scan(found.voxel_ml))
    clear: NDArray[np.bool_] = found.judged[:, 0] & empty & measured
    return clear


def _lengths(found: Collected) -> NDArray[np.int64]:
    return np.bincount(found.scan_of, minlength=len(found.patients))
