"""Masks from class activation maps of tumour classifiers, measured against drawn masks.

The study of Kang et al. (AlexNet, VGG-16 and VGG-19 on Cheng's brain tumours, five-fold), with folds by patient,
intervals over patients, thresholds that are chosen on other patients than those they are judged on, the thresholds
that its outlook names (Otsu, locally adaptive), and a measure that takes the size of the tumour into account.
"""

from __future__ import annotations

from hemocam_training.experiments.cam_versus_mask.experiment import run
from hemocam_training.experiments.cam_versus_mask.settings import Settings

__all__ = ["Settings", "run"]
