"""Gates, mask thresholds and refinement moved one at a time, as long as finished masks become better."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy.special import expit, logit

from hemocam_training.bundle_tuning.refinement import LEAST_GAIN, VOLUMES_ML, mask_goal
from hemocam_training.evaluation.mask_counts import Way, labels_by
from hemocam_training.mapped_scans import MappedScan
from HemoCAMLib.errors import UsageError
from HemoCAMLib.mask import MaskSettings
from HemoCAMLib.mask.settings import MASK_THRESHOLD_LIMIT, NEVER_CALLED
from HemoCAMLib.model.calibration import Calibration
from HemoCAMLib.subtypes import SUBTYPE_NAMES

#: What is tried around the settings at hand; gates move in log-odds, the large steps first: they leave a poor start
#: behind sooner.
GATE_STEPS = (-1.4, 1.4, -0.5, 0.5)
MASK_STEPS = {"absolute": 0.12, "per_image": 20.0}
#: HU and mm alike.
REFINEMENT_STEP = 3.0
#: What each refinement uses; hysteresis uses all of them.
REFINEMENT_FIELDS: dict[str, tuple[str, ...]] = {
    "hysteresis": ("lowest_hu", "seed_hu", "reach_mm", "above_brain_hu"),
    "hu-mixture": ("reach_mm",),
    "random-walker": ("seed_hu", "reach_mm"),
}
_DIRECTIONS = {"down": -1, "up": 1}
_LOWEST_GATE = 0.01
#: A mL over the limit outweighs any gain of Dice.
_EXCESS_WEIGHT = 2.0


@dataclass(frozen=True)
class Limit:
    """How much may be marked where nothing is.

    Attributes:
        scans: without hemorrhage.
        false_ml: in one of them on average.
    """

    scans: Sequence[MappedScan]
    false_ml: float

    def reached_ml(self, calibration: Calibration | None, settings: MaskSettings) -> float:
        """What the settings mark in one of the scans on average."""
        way = Way("tried", settings)
        each = [
            float(((np.stack(labels_by(scan, way, calibration)) > 0).sum(axis=(1, 2)) * scan.voxel_ml).sum())
            for scan in self.scans
        ]
        return float(np.mean(each)) if each else 0.0


def descend(
    sets: Sequence[Iterable[MappedScan]],
    limit: Limit,
    calibration: Calibration | None,
    settings: MaskSettings,
    rounds: int,
    on_step: Callable[[str], None],
) -> tuple[MaskSettings, dict[str, Any]]:
    """Settings after some rounds in which every one of them is moved, and what was gained on the way.

    What rises is :func:`mask_goal`, the mean over the sets, as long as no more than the limit is marked where nothing
    is. A move that helps is made again; the descent ends early when a round changes nothing.

    Args:
        sets: scans with masks; each set weighs the same.
        limit: on false findings.
        calibration: of the bundle's probabilities.
        settings: to start from.
        rounds: at most.
        on_step: told what is tried.
    """

    def judged(candidate: MaskSettings) -> tuple[float, float, float]:
        goal = float(np.mean([mask_goal(scans, calibration, candidate) for scans in sets]))
        false_ml = limit.reached_ml(calibration, candidate)
        return goal - _EXCESS_WEIGHT * max(0.0, false_ml - limit.false_ml), goal, false_ml

    best = judged(settings)
    start = _told(best)
    steps: list[dict[str, Any]] = []
    for number in range(1, rounds + 1):
        changed = False
        for name, move in _moves():
            on_step(f"round {number}: {name}")
            while (candidate := move(settings)) is not None and candidate != settings:
                found = judged(candidate)
                if found[0] <= best[0] + LEAST_GAIN:
                    break
                best, settings, changed = found, candidate, True
                steps.append({"changed": name, **_told(found)})
        if not changed:
            break
    return settings, {"start": start, "steps": steps, "end": _told(best), "negative_scans": len(limit.scans)}


Move = Callable[[MaskSettings], MaskSettings | None]


def _moves() -> Iterator[tuple[str, Move]]:
    """Every move with its name; a move gives None where it makes no sense."""
    for index, subtype in enumerate(SUBTYPE_NAMES):
        for step in GATE_STEPS:
            yield f"gate of {subtype}, log-odds {step:+g}", _gate(index, step)
        for way, sign in _DIRECTIONS.items():
            yield f"mask threshold of {subtype}, {way}", _mask_threshold(index, sign)
        yield f"empty regions of {subtype}", _empty_regions(index)
    for name in REFINEMENT_FIELDS["hysteresis"]:
        for way, sign in _DIRECTIONS.items():
            yield f"{name}, {way}", _refinement(name, sign)
    for volume in VOLUMES_ML:
        yield f"smallest lesion {volume:g} mL", lambda now, volume=volume: replace(now, minimum_volume_ml=volume)


def _gate(index: int, step: float) -> Move:
    def move(now: MaskSettings) -> MaskSettings | None:
        gate = now.class_thresholds[index]
        if gate >= NEVER_CALLED:
            return None
        moved = round(float(np.clip(expit(logit(gate) + step), _LOWEST_GATE, 1 - _LOWEST_GATE)), 4)
        return replace(now, class_thresholds=_with(now.class_thresholds, index, moved))

    return move


def _mask_threshold(index: int, sign: int) -> Move:
    def move(now: MaskSettings) -> MaskSettings | None:
        limit = MASK_THRESHOLD_LIMIT[now.scale]
        moved = round(now.mask_thresholds[index] + sign * MASK_STEPS[now.scale], 4)
        if not 0.04 * limit <= moved <= 0.96 * limit:
            return None
        return replace(now, mask_thresholds=_with(now.mask_thresholds, index, moved))

    return move


def _refinement(name: str, sign: int) -> Move:
    def move(now: MaskSettings) -> MaskSettings | None:
        if now.refinement is None or name not in REFINEMENT_FIELDS.get(now.refinement.name, ()):
            return None
        moved = getattr(now.refinement, name) + sign * REFINEMENT_STEP
        try:
            return replace(now, refinement=replace(now.refinement, **{name: moved}))
        except UsageError:
            # Limits that would not rise, or a value out of its range.
            return None

    return move


def _empty_regions(index: int) -> Move:
    def move(now: MaskSettings) -> MaskSettings | None:
        if now.refinement is None:
            return None
        words = list(now.refinement.where_empty)
        words[index] = "clear" if words[index] == "keep" else "keep"
        return replace(now, refinement=replace(now.refinement, where_empty=tuple(words)))

    return move


def _with(values: tuple[float, ...], index: int, value: float) -> tuple[float, ...]:
    return (*values[:index], value, *values[index + 1 :])


def _told(found: tuple[float, float, float]) -> dict[str, float]:
    return {"goal": round(found[1], 4), "false_ml": round(found[2], 3)}
