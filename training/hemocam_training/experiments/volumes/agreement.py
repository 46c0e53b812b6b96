"""Agreement of millilitres over many scans, every figure with the interval of a bootstrap over patients."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hemocam_training.experiments.bootstrap import Estimate
from hemocam_training.experiments.patient_draws import drawn_estimate, patient_weights, weighted_estimate
from hemocam_training.experiments.volumes.measure import ScanVolumes
from hemocam_training.experiments.volumes.moments import Moments, Values, weighted_median

#: Difference from the truth that published work took as the clinical limit.
CLINICAL_LIMIT = 0.10


@dataclass(frozen=True)
class VolumeAgreement:
    """One way of measuring against the truth, over the scans whose truth holds the structure.

    Attributes:
        scans, patients: how many.
        truth_ml: median of the truth.
        bias_ml: mean difference from the truth.
        lower_ml, upper_ml: Bland and Altman's limits of agreement.
        error_ml: median absolute difference.
        relative_error: median absolute difference as a share of the truth.
        within_limit: share of scans no farther from the truth than :data:`CLINICAL_LIMIT` of it.
        icc: ICC(2,1), absolute agreement, single measurement.
        concordance: Lin's.
        absent: scans whose truth lacks the structure.
        false_ml: mean volume in those.
    """

    scans: int
    patients: int
    truth_ml: float
    bias_ml: Estimate
    lower_ml: Estimate
    upper_ml: Estimate
    error_ml: Estimate
    relative_error: Estimate
    within_limit: Estimate
    icc: Estimate
    concordance: Estimate
    absent: int
    false_ml: Estimate


def volume_agreement(rows: Sequence[ScanVolumes], method: str, *, draws: int = 2000) -> VolumeAgreement:
    """Of one structure.

    Args:
        rows: one a scan.
        method: key of :data:`~.measure.METHODS`.
        draws: of the bootstrap.
    """
    present = [row for row in rows if row.truth_ml > 0]
    absent = [row for row in rows if row.truth_ml <= 0]
    truth, found = _columns(present, method)
    patients = [row.patient for row in present]
    weights = patient_weights(patients, draws=draws)
    error = np.abs(found - truth)
    relative = error / truth
    within = (relative <= CLINICAL_LIMIT).astype(float)
    if present:
        moments = Moments.of(found, truth, weights)
        lower, upper = moments.limits
        of_moments = [moments.bias, lower, upper, moments.icc, moments.concordance]
    else:
        of_moments = [np.full(len(weights), np.nan)] * 5
    bias_ml, lower_ml, upper_ml, icc, concordance = (drawn_estimate(drawn) for drawn in of_moments)
    return VolumeAgreement(
        len(present),
        len(set(patients)),
        float(np.median(truth)) if present else float("nan"),
        bias_ml,
        lower_ml,
        upper_ml,
        weighted_estimate(lambda drawn: weighted_median(error, drawn), weights),
        weighted_estimate(lambda drawn: weighted_median(relative, drawn), weights),
        weighted_estimate(lambda drawn: _mean(within, drawn), weights),
        icc,
        concordance,
        len(absent),
        _false_ml(absent, method, draws),
    )


def _false_ml(absent: Sequence[ScanVolumes], method: str, draws: int) -> Estimate:
    _, found = _columns(absent, method)
    weights = patient_weights([row.patient for row in absent], draws=draws)
    return weighted_estimate(lambda drawn: _mean(found, drawn), weights)


def _mean(values: Values, weights: Values) -> Values:
    return weights @ values / weights.sum(axis=1) if values.size else np.full(len(weights), np.nan)


def _columns(rows: Sequence[ScanVolumes], method: str) -> tuple[Values, Values]:
    return np.array([row.truth_ml for row in rows]), np.array([row.by_method[method] for row in rows])
