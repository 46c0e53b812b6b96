"""Thresholds, refinement and calibration of a bundle, chosen on scans that it never learned from.

Masks may be used for that; the weights themselves never see one.
"""

from __future__ import annotations

from hemocam_training.bundle_tuning.outcome import Tuning
from hemocam_training.bundle_tuning.tune import TuneOptions, tune

__all__ = ["TuneOptions", "Tuning", "tune"]
