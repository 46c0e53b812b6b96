"""The refinement and the smallest lesion that give the best finished masks."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

import numpy as np

from hemocam_training.evaluation.mask_counts import MaskCounts, Way
from hemocam_training.mapped_scans import MappedScan
from HemoCAMLib.mask import MaskSettings
from HemoCAMLib.mask.refine import RefinementSettings
from HemoCAMLib.model.calibration import Calibration

#: Refinements by name, in the order in which they are tried.
STARTS: dict[str, RefinementSettings | None] = {
    "off": None,
    "hysteresis": RefinementSettings(),
    "hu-mixture": RefinementSettings(name="hu-mixture"),
    "random-walker": RefinementSettings(name="random-walker"),
}

#: What is tried next around the best of them, one parameter after the other.
STEPS: dict[str, tuple[tuple[str, tuple[dict[str, Any], ...]], ...]] = {
    "hysteresis": (
        ("lowest_hu and seed_hu", tuple({"lowest_hu": hu, "seed_hu": hu} for hu in (38.0, 40.0, 44.0, 46.0))),
        ("reach_mm", ({"reach_mm": 4.0}, {"reach_mm": 12.0})),
        ("smallest_height", ({"smallest_height": 0.0},)),
    ),
    "hu-mixture": (("reach_mm", ({"reach_mm": 4.0}, {"reach_mm": 12.0})),),
    "random-walker": (("reach_mm", ({"reach_mm": 4.0}, {"reach_mm": 12.0})),),
}

VOLUMES_ML = (0.0, 0.05, 0.1, 0.2, 0.3, 0.5, 0.8)

#: A later candidate must be better by this much: masks of a few dozen scans do not tell smaller gains from chance.
LEAST_GAIN = 1e-3

Scans = Iterable[MappedScan]
OnStep = Callable[[str], None]


def mask_goal(scans: Scans, calibration: Calibration | None, settings: MaskSettings) -> float:
    """How good finished masks are: the mean of pooled Dice and of mean Dice over slices, of any hemorrhage.

    Pooled Dice weighs large bleeds and everything that is called where nothing is; the mean over slices that bleed
    weighs small ones too.
    """
    counts, way = MaskCounts(), Way("tried", settings)
    for scan in scans:
        if scan.mask_kind == "subtypes":
            counts.add(scan, way, calibration)
    both, called, truth = (np.concatenate(one)[:, 0] for one in (counts.both, counts.called, counts.truth))
    bleeding = truth > 0
    if not bleeding.any():
        return 1.0 if not called.any() else 0.0
    of_slices = 2 * both[bleeding] / (called[bleeding] + truth[bleeding])
    return float((2 * both.sum() / (called.sum() + truth.sum()) + of_slices.mean()) / 2)


def choose_refinement(
    scans: Scans, calibration: Calibration | None, settings: MaskSettings, on_step: OnStep
) -> tuple[MaskSettings, dict[str, float]]:
    """Settings with the refinement of the highest goal; the goal of everything that was tried."""
    tried: dict[str, float] = {}
    best, chosen = -1.0, settings

    def attempt(name: str, candidate: MaskSettings) -> None:
        nonlocal best, chosen
        on_step(f"refinement: {name}")
        goal = mask_goal(scans, calibration, candidate)
        tried[name] = round(goal, 4)
        if goal > best + LEAST_GAIN:
            best, chosen = goal, candidate

    for name, start in STARTS.items():
        attempt(name, replace(settings, refinement=start))
    winner = "off" if chosen.refinement is None else chosen.refinement.name
    for _, changes in STEPS.get(winner, ()):
        base = chosen.refinement
        for change in changes:
            if base is not None:
                told = ", ".join(f"{name} {value:g}" for name, value in change.items())
                attempt(f"{winner}, {told}", replace(settings, refinement=replace(base, **change)))
    # Region growing fills what a lower threshold would have marked, and the other way round.
    base_thresholds = chosen.mask_thresholds
    for factor in (0.6, 0.8, 1.2, 1.4):
        limit = 1.0 if chosen.scale == "absolute" else 255.0
        moved = tuple(round(min(limit, value * factor), 4) for value in base_thresholds)
        attempt(f"{winner}, mask thresholds × {factor:g}", replace(chosen, mask_thresholds=moved))
    return chosen, tried


def choose_smallest_lesion(
    scans: Scans, calibration: Calibration | None, settings: MaskSettings, on_step: OnStep
) -> tuple[MaskSettings, dict[str, float]]:
    """Settings with the smallest lesion of the best mean over scans of any-hemorrhage Dice; empty called empty is 1."""
    tried: dict[str, float] = {}
    best, chosen = -1.0, settings
    for volume in VOLUMES_ML:
        on_step(f"smallest lesion: {volume:g} mL")
        candidate = replace(settings, minimum_volume_ml=volume)
        scores = []
        for scan in scans:
            if scan.mask_kind != "subtypes":
                continue
            counts = MaskCounts()
            counts.add(scan, Way("tried", candidate), calibration)
            total = int(counts.called[0][:, 0].sum() + counts.truth[0][:, 0].sum())
            scores.append(2 * int(counts.both[0][:, 0].sum()) / total if total else 1.0)
        tried[f"{volume:g}"] = round(float(np.mean(scores)), 4)
        if np.mean(scores) > best + 1e-4:
            best, chosen = float(np.mean(scores)), candidate
    return chosen, tried
