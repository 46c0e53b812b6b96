"""From a bundle and tuning scans to its settings: calibration, gates, mask thresholds, refinement, smallest lesion."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray

from hemocam_training.bundle_tuning.calibrate import CalibrationKind, calibration_scores, fit_calibration
from hemocam_training.bundle_tuning.class_thresholds import GateCandidates, candidates_by_class
from hemocam_training.bundle_tuning.descent import Limit, descend
from hemocam_training.bundle_tuning.outcome import Tuning
from hemocam_training.bundle_tuning.refinement import choose_refinement, choose_smallest_lesion, mask_goal
from hemocam_training.bundle_tuning.sources import SlicesAlone
from hemocam_training.mapped_scans import MappedScan, MapStore
from hemocam_training.metrics import auroc
from hemocam_training.scan_sources import LabelledScan, ScanSource
from HemoCAMLib.errors import UsageError
from HemoCAMLib.mask import MaskSettings
from HemoCAMLib.mask.grid_search import PAPER_GRID, SubtypeGrid, TuningScan, grid_search
from HemoCAMLib.mask.settings import NEVER_CALLED
from HemoCAMLib.model.calibration import Calibration
from HemoCAMLib.subtypes import CLASS_NAMES, SUBTYPE_NAMES

#: Mask thresholds that are tried on either scale; the paper's grid is among those of the per-image scale.
ABSOLUTE_GRID = (*(k / 20 for k in range(1, 19)), 0.93, 0.96, 0.98, 0.99)
PER_IMAGE_GRID = tuple(sorted({*range(10, 246, 5), *PAPER_GRID}))
GRIDS: dict[str, tuple[float, ...]] = {"absolute": ABSOLUTE_GRID, "per_image": PER_IMAGE_GRID}

#: A subtype whose masks never reach this pooled Dice is called only above every slice without it.
WEAK_DICE = 0.2


@dataclass(frozen=True)
class TuneOptions:
    """What is chosen, and how.

    Attributes:
        sensitivity: least share of positive slices that each class threshold calls; None takes the largest
            true-positive minus false-positive rate, as in the weakly supervised paper.
        joint_gates: also try stricter class thresholds, jointly with the mask thresholds, and take the pair with the
            highest pooled Dice. False keeps what the ROC curve says.
        calibration: ``platt``, ``temperature`` or ``none``.
        mask_scale: recommended scale; thresholds of both are found.
        refinement: search the refinement; False keeps the bundle's.
        rounds: in which gates, mask thresholds, refinement and smallest lesion are then moved one at a time by what
            finished masks come to (:func:`~hemocam_training.bundle_tuning.descent.descend`); 0 leaves them.
        slices_alone: so many slices of each scan are then judged as single slices too.
        false_ml: most that may be marked in a scan of ``negatives`` on average, where ``rounds`` are run.
    """

    sensitivity: float | None = None
    joint_gates: bool = True
    calibration: CalibrationKind = "platt"
    mask_scale: str = "absolute"
    refinement: bool = True
    rounds: int = 0
    slices_alone: int = 0
    false_ml: float = 1.0

    def __post_init__(self) -> None:
        if self.rounds < 0 or self.slices_alone < 0 or not 0 <= self.false_ml < float("inf"):
            raise UsageError(
                "USAGE_TUNING_ROUNDS", "Rounds, slices and mL are 0 or more.", "Give --rounds 2, for example."
            )
        if self.sensitivity is not None and not 0 < self.sensitivity <= 1:
            raise UsageError("USAGE_SENSITIVITY", "A sensitivity lies between 0 and 1.", "Give 0.95, for example.")
        if self.calibration not in get_args(CalibrationKind):
            known = ", ".join(get_args(CalibrationKind))
            raise UsageError("USAGE_CALIBRATION", f"There is no calibration “{self.calibration}”.", f"Known: {known}.")
        if self.mask_scale not in GRIDS:
            known = ", ".join(GRIDS)
            raise UsageError("USAGE_MASK_SCALE", f"There is no mask scale “{self.mask_scale}”.", f"Known: {known}.")


def tune(
    store: MapStore,
    source: ScanSource,
    leak_check: str,
    options: TuneOptions | None = None,
    on_step: Callable[[str], None] = lambda sentence: None,
    *,
    negatives: Sequence[LabelledScan] = (),
) -> Tuning:
    """Settings of the store's bundle.

    Calibration is fitted on the logits of slices with known labels. Class thresholds follow from the ROC curves of
    the calibrated probabilities, mask thresholds from a grid over all scans with masks of subtypes, in one pass a
    scale; that subtypes compete for a pixel is left out there, and included in the choice of the refinement and of the
    smallest lesion, which are judged on finished label maps.

    Without masks of subtypes the bundle's mask settings stay.

    Args:
        store: of the bundle's maps.
        source: scans that the bundle never learned from; whoever calls has made sure of that.
        leak_check: how, in words.
        options: what is chosen.
        on_step: told what is done, a sentence at a time.
        negatives: scans without hemorrhage, in which ``options.false_ml`` is kept.
    """
    wanted, metadata = options or TuneOptions(), store.bundle.metadata
    logits, target, known = _slices(store, source, on_step)
    calibration = fit_calibration(logits, target, known, wanted.calibration)
    # A class that the model lacks is never called, whatever its line says.
    calibration = _of_classes(calibration, metadata.subtypes)
    scans = _Scans(store, source, calibration)
    probabilities = np.concatenate([scan.probabilities(calibration) for scan in scans])
    candidates = candidates_by_class(probabilities, target, known, wanted.sensitivity)
    gates = {name: round(found.asked, 6) for name, found in candidates.items()}
    figures: dict[str, Any] = {
        "slices": len(logits),
        "classification": classification(logits, probabilities, target, known, gates),
    }
    recommended = MaskSettings.from_metadata(metadata.hemocam_fields())
    tables: Mapping[str, Mapping[str, float]] = metadata.mask_thresholds
    scale = wanted.mask_scale
    if any(scan.mask_kind == "subtypes" for scan in scans):
        on_step("mask thresholds")
        gates, tables, found = _mask_thresholds(scans, candidates, gates, wanted)
        settings = replace(
            recommended,
            class_thresholds=_ordered(gates, NEVER_CALLED),
            mask_thresholds=_ordered(tables[scale], 0.0),
            scale=scale,  # type: ignore[arg-type]
        )
        settings, chosen = _finished_masks(scans, settings, wanted, on_step)
        if wanted.rounds:
            on_step("slices alone and scans without hemorrhage")
            sets = [scans]
            if wanted.slices_alone:
                sets.append(_Scans(store, SlicesAlone(source, wanted.slices_alone), calibration))
            limit = Limit([store.mapped(scan) for scan in negatives], wanted.false_ml)
            settings, chosen["descent"] = descend(sets, limit, calibration, settings, wanted.rounds, on_step)
            gates |= dict(zip(SUBTYPE_NAMES, settings.class_thresholds, strict=True))
        tables = {**tables, scale: dict(zip(SUBTYPE_NAMES, settings.mask_thresholds, strict=True))}
        figures |= {"mask_thresholds": found, "masks": chosen}
    else:
        on_step("no masks of subtypes: the mask settings stay")
        settings, scale = recommended, metadata.mask_scale
    names = [name for name in metadata.subtypes if name in SUBTYPE_NAMES]
    return Tuning(
        weights_sha256=metadata.weights_sha256,
        class_thresholds={name: gates[name] for name in metadata.subtypes},
        mask_thresholds={one: {name: float(table[name]) for name in names} for one, table in tables.items()},
        mask_scale=scale,
        minimum_volume_ml=settings.minimum_volume_ml,
        refinement=None if settings.refinement is None else settings.refinement.as_dict(),
        calibration=calibration,
        source={**source.describe(), "used": scans.count},
        leak_check=leak_check,
        figures=figures,
    )


class _Scans:
    """The tuning scans, read from the store again for every pass."""

    def __init__(self, store: MapStore, source: ScanSource, calibration: Calibration | None) -> None:
        self._store, self._source, self.calibration = store, source, calibration
        self.count = sum(1 for _ in self)

    def __iter__(self) -> Iterator[MappedScan]:
        return self._store.scans(self._source)

    def for_grid(self) -> Iterator[TuningScan]:
        """Those with masks of subtypes."""
        for scan in self:
            if scan.mask_kind == "subtypes" and scan.truth is not None:
                gates = scan.probabilities(self.calibration)[:, 1:].T
                yield TuningScan(scan.local_logits, gates, scan.brain, scan.truth)


def _slices(
    store: MapStore, source: ScanSource, on_step: Callable[[str], None]
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
    """Logits, target and known of all slices, [slice, class] each."""
    logits, target, known = [], [], []
    for done, scan in enumerate(store.scans(source), 1):
        on_step(f"{done} of {len(source)} scans mapped")
        logits.append(scan.logits)
        target.append(scan.target)
        known.append(scan.known)
    return np.concatenate(logits), np.concatenate(target), np.concatenate(known)


def _of_classes(calibration: Calibration | None, classes: tuple[str, ...]) -> Calibration | None:
    if calibration is None:
        return None
    return Calibration(*({name: line[name] for name in classes} for line in (calibration.scale, calibration.offset)))


def classification(
    logits: NDArray[np.floating[Any]],
    probabilities: NDArray[np.floating[Any]],
    target: NDArray[np.floating[Any]],
    known: NDArray[np.floating[Any]],
    gates: Mapping[str, float],
) -> dict[str, dict[str, Any]]:
    """By class: AUROC, rates at the threshold, and how calibration changed the probabilities."""
    rows = {}
    for c, name in enumerate(CLASS_NAMES):
        use = known[:, c] > 0
        score, positive = probabilities[use, c], target[use, c] > 0
        if not positive.any() or positive.all():
            continue
        before = np.nan_to_num(1 / (1 + np.exp(-logits[use, c].astype(np.float64))))
        rows[name] = {
            "positive_slices": int(positive.sum()),
            "auroc": round(auroc(score, positive), 4),
            "sensitivity": round(float((score > gates[name])[positive].mean()), 4),
            "specificity": round(float((score <= gates[name])[~positive].mean()), 4),
            "uncalibrated": {k: round(v, 5) for k, v in asdict(calibration_scores(before, positive)).items()},
            "calibrated": {k: round(v, 5) for k, v in asdict(calibration_scores(score, positive)).items()},
        }
    return rows


def _mask_thresholds(
    scans: _Scans, candidates: Mapping[str, GateCandidates], gates: dict[str, float], options: TuneOptions
) -> tuple[dict[str, float], dict[str, dict[str, float]], dict[str, Any]]:
    """Gates and mask thresholds of both scales, and the Dice that they came to.

    Gates are chosen on the recommended scale, jointly with its thresholds; those of the other scale follow.
    """
    scale = options.mask_scale
    tried = {}
    for name in SUBTYPE_NAMES:
        one = candidates[name]
        tried[name] = [*one.stricter, one.cleanest] if options.joint_gates else [one.asked]
    tables: dict[str, dict[str, float]] = {scale: {}}
    found: dict[str, Any] = {scale: {}}
    chosen, exact = dict(gates), {}
    for name, grid in grid_search(scans.for_grid(), tried, GRIDS[scale], scale).items():  # type: ignore[arg-type]
        gate, threshold, dice = _best_pair(grid, candidates[name], options)
        exact[name] = [gate]
        chosen[name] = round(gate, 6)
        tables[scale][name] = threshold
        found[scale][name] = {"pooled_dice": round(dice, 4), **_paper_grid(grid, scale)}
    other = next(one for one in GRIDS if one != scale)
    tables[other], found[other] = {}, {}
    for name, grid in grid_search(scans.for_grid(), exact, GRIDS[other], other).items():  # type: ignore[arg-type]
        _, threshold, dice = grid.best()
        tables[other][name] = threshold
        found[other][name] = {"pooled_dice": round(dice, 4), **_paper_grid(grid, other)}
    return chosen, tables, found


def _best_pair(grid: SubtypeGrid, candidates: GateCandidates, options: TuneOptions) -> tuple[float, float, float]:
    if not options.joint_gates:
        return grid.best()
    gate, threshold, dice = grid.best(gates=candidates.stricter)
    return grid.best(gates=[candidates.cleanest]) if dice < WEAK_DICE else (gate, threshold, dice)


def _paper_grid(grid: SubtypeGrid, scale: str) -> dict[str, Any]:
    """The best of the paper's own thresholds, on its own scale."""
    if scale != "per_image":
        return {}
    columns = np.flatnonzero(np.isin(grid.thresholds, PAPER_GRID))
    dice = grid.pooled_dice.max(axis=0)[columns]
    best = int(np.argmax(dice))
    return {
        "paper_grid": {"threshold": float(grid.thresholds[columns[best]]), "pooled_dice": round(float(dice[best]), 4)}
    }


def _finished_masks(
    scans: _Scans, settings: MaskSettings, options: TuneOptions, on_step: Callable[[str], None]
) -> tuple[MaskSettings, dict[str, Any]]:
    """Refinement and smallest lesion, judged on finished label maps."""
    figures: dict[str, Any] = {}
    if options.refinement:
        settings, figures["refinement"] = choose_refinement(scans, scans.calibration, settings, on_step)
    settings, figures["minimum_volume_ml"] = choose_smallest_lesion(scans, scans.calibration, settings, on_step)
    figures["goal"] = round(mask_goal(scans, scans.calibration, settings), 4)
    return settings, figures


def _ordered(table: Mapping[str, float], missing: float) -> tuple[float, ...]:
    return tuple(float(table.get(name, missing)) for name in SUBTYPE_NAMES)
