"""Experiment "weak-quantification": masks from networks that saw class labels only, RSNA 2019 to BHSD."""

from __future__ import annotations

from hemocam_training.experiments.weak_quantification.experiment import run
from hemocam_training.experiments.weak_quantification.settings import Settings

__all__ = ["Settings", "run"]
