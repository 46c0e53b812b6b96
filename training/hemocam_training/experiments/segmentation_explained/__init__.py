"""Experiment "segmentation-explained": Seg-Grad-CAM against Seg-HiRes-Grad-CAM, in numbers."""

from __future__ import annotations

from hemocam_training.experiments.segmentation_explained.experiment import Settings, run

__all__ = ["Settings", "run"]
