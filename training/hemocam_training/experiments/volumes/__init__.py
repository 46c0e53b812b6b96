"""Experiment "volumes": how well millilitres agree with the truth, in the measures that clinics and reviewers use."""

from __future__ import annotations

from hemocam_training.experiments.volumes.experiment import Settings, run

__all__ = ["Settings", "run"]
