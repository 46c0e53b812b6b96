"""The tables of the volumes experiment."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from hemocam_training.experiments.reporting import Table
from hemocam_training.experiments.volumes.agreement import CLINICAL_LIMIT, VolumeAgreement, volume_agreement
from hemocam_training.experiments.volumes.decision import volume_decision
from hemocam_training.experiments.volumes.measure import METHODS, ScanVolumes
from HemoCAMLib.subtypes import ANY

INTERVALS = "In brackets: 95 % interval of a bootstrap over patients."
ML_DECIMALS = {"truth_ml": 1, "bias_ml": 1, "lower_ml": 1, "upper_ml": 1, "error_ml": 1, "false_ml": 2}
ERROR_HEADS = {
    "truth_ml": "true mL, median",
    "bias_ml": "bias, mL",
    "lower_ml": "lower limit, mL",
    "upper_ml": "upper limit, mL",
    "error_ml": "median |error|, mL",
}

ByStructure = Mapping[str, Sequence[ScanVolumes]]


def error_table(by_structure: ByStructure, draws: int) -> Table:
    """mL error of the mask by structure: Bland-Altman's bias and limits."""
    rows = [
        {
            "structure": name,
            "scans": found.scans,
            **_errors(found),
            "relative_error": found.relative_error,
            "absent": found.absent,
            "false_ml": found.false_ml,
        }
        for name, found in _of_mask(by_structure, draws)
    ]
    return Table(
        "volume_error",
        "Error of the mask's volume by subtype",
        rows,
        {
            **ERROR_HEADS,
            "scans": "scans with it",
            "relative_error": "median |error|, share",
            "absent": "scans without",
            "false_ml": "mL there, mean",
        },
        "Prediction minus truth over the scans whose truth holds the structure; the limits of agreement are bias ± "
        f"1.96 standard deviations (Bland and Altman). {INTERVALS}",
        {**ML_DECIMALS, "relative_error": 2},
    )


def coefficient_table(by_structure: ByStructure, draws: int) -> Table:
    """Agreement of the mask's volume by structure as coefficients."""
    rows = [
        {
            "structure": name,
            "scans": found.scans,
            "patients": found.patients,
            "icc": found.icc,
            "concordance": found.concordance,
            "within_limit": found.within_limit,
        }
        for name, found in _of_mask(by_structure, draws)
    ]
    return Table(
        "volume_coefficients",
        "Agreement of the mask's volume by subtype",
        rows,
        {
            "scans": "scans with it",
            "icc": "ICC(2,1)",
            "concordance": "Lin's concordance",
            "within_limit": f"within ±{CLINICAL_LIMIT:.0%}",
        },
        "ICC(2,1): two-way random effects, absolute agreement, single measurement (Shrout and Fleiss; ICC(A,1) of "
        f"McGraw and Wong). Over the scans whose truth holds the structure. {INTERVALS}",
        {"within_limit": 2},
    )


def method_table(by_structure: ByStructure, draws: int) -> Table:
    """Every way of measuring, ABC/2 among them, beside the mask."""
    rows = []
    for name, scans in by_structure.items():
        for method, title in METHODS.items():
            found = volume_agreement(scans, method, draws=draws)
            if found.scans:
                rows.append(
                    {
                        "structure": name,
                        "measured": title,
                        "scans": found.scans,
                        **_errors(found),
                        "concordance": found.concordance,
                    }
                )
    return Table(
        "volume_methods",
        "ABC/2 and one uniform step beside true extents",
        rows,
        {**ERROR_HEADS, "concordance": "Lin's concordance"},
        "All against the truth by its slices' true extents. ABC/2 is that of the structure's largest lesion (for “any” "
        "the sum over subtypes); one uniform step is the mean distance of neighbouring slice positions, tilt ignored. "
        f"The rows of the truth show what the short cut alone costs, without any error of a mask. {INTERVALS}",
        ML_DECIMALS,
    )


def decision_table(by_structure: ByStructure, threshold_ml: float, draws: int) -> Table:
    """Agreement on "at least so many mL" over all scans, those without hemorrhage too."""
    rows = []
    for name, scans in by_structure.items():
        for method in ("mask_ml", "mask_abc2_ml", "truth_abc2_ml"):
            truth = [row.truth_ml for row in scans]
            called = [row.by_method[method] for row in scans]
            patients = [row.patient for row in scans]
            found = volume_decision(called, truth, patients, threshold_ml=threshold_ml, draws=draws)
            rows.append(
                {
                    "structure": name,
                    "measured": METHODS[method],
                    "both": found.both,
                    "only_prediction": found.only_prediction,
                    "only_truth": found.only_truth,
                    "neither": found.neither,
                    "sensitivity": found.sensitivity,
                    "specificity": found.specificity,
                    "kappa": found.kappa,
                }
            )
    return Table(
        "volume_decision",
        f"Agreement on {threshold_ml:g} mL or more",
        rows,
        {"both": "both yes", "only_prediction": "only measured", "only_truth": "only truth", "neither": "both no",
         "kappa": "Cohen's kappa"},
        "All scans count. Sensitivity and specificity with Wilson's 95 % interval, which does not vanish where every "
        "scan is right; kappa with that of a bootstrap over patients, none where a draw seldom holds both answers.",
        {"sensitivity": 2, "specificity": 2, "kappa": 2},
    )  # fmt: skip


def stratum_table(by_stratum: Mapping[str, Sequence[ScanVolumes]], draws: int) -> Table:
    """Any hemorrhage by tilt and slice thickness, with true extents and without."""
    rows = []
    for stratum, scans in by_stratum.items():
        for method in ("mask_ml", "mask_one_step_ml", "truth_one_step_ml", "mask_abc2_ml"):
            found = volume_agreement(scans, method, draws=draws)
            if found.scans:
                row = {"stratum": stratum, "measured": METHODS[method], "scans": found.scans, **_errors(found)}
                rows.append({**row, "relative_error": found.relative_error, "concordance": found.concordance})
    return Table(
        "volume_strata",
        "Any hemorrhage by gantry tilt, slice thickness and spacing",
        rows,
        {**ERROR_HEADS, "relative_error": "median |error|, share", "concordance": "Lin's concordance"},
        "“truth, one uniform step” has no error but that of the geometry. A stratum's thickness is the median extent "
        f"of a scan's slices along the normal. {INTERVALS}",
        {**ML_DECIMALS, "relative_error": 3},
    )


def scan_table(rows: Sequence[ScanVolumes]) -> Table:
    """Every scan: any hemorrhage."""
    lines = [
        {
            "scan": row.scan,
            "tilt_deg": row.tilt_deg,
            "extent_mm": row.extent_mm,
            "uneven": row.uneven,
            "truth_ml": row.truth_ml,
            **row.by_method,
        }
        for row in rows
        if row.structure == ANY
    ]
    decimals = {"tilt_deg": 1, "extent_mm": 2, "truth_ml": 2, **dict.fromkeys(METHODS, 2)}
    heads = {"tilt_deg": "tilt, °", "extent_mm": "slice extent, mm", "truth_ml": "truth", **METHODS}
    return Table("volume_scans", "Every scan: any hemorrhage, mL", lines, heads, decimals=decimals)


def long_table(rows: Sequence[ScanVolumes]) -> Table:
    """Every scan and structure, for other analyses of the same volumes."""
    lines = [
        {"scan": row.scan, "structure": row.structure, "truth_ml": row.truth_ml, **row.by_method}
        for row in rows
        if row.structure != ANY and (row.truth_ml > 0 or row.by_method["mask_ml"] > 0)
    ]
    decimals = {"truth_ml": 2, **dict.fromkeys(METHODS, 2)}
    return Table(
        "volume_scans_by_subtype", "Every scan by subtype, mL", lines, {"truth_ml": "truth", **METHODS},
        decimals=decimals,
    )  # fmt: skip


def _of_mask(by_structure: ByStructure, draws: int) -> list[tuple[str, VolumeAgreement]]:
    return [(name, volume_agreement(scans, "mask_ml", draws=draws)) for name, scans in by_structure.items()]


def _errors(found: VolumeAgreement) -> dict[str, object]:
    return {name: getattr(found, name) for name in ERROR_HEADS}
