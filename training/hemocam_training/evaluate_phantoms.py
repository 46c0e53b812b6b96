"""How good a bundle is on held-out phantoms, with the smoothed-HU baseline beside it.

    python -m hemocam_training.evaluate_phantoms --model Resources/models/hemocam-phantom --json evaluation.json

These are synthetic scans: the figures compare versions of a model, they do not predict what it does on patients.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage

from hemocam_training.cache import TEST_SEED
from hemocam_training.metrics import auroc, dice
from hemocam_training.phantoms import make_phantom
from hemocam_training.scans import scan_labels, scan_maps
from hemocam_training.stacks import labels_from_areas
from HemoCAMLib.mask.brain_mask import find_brain
from HemoCAMLib.mask.settings import MaskSettings
from HemoCAMLib.model.bundle import ModelBundle
from HemoCAMLib.model.registry import load_network
from HemoCAMLib.subtypes import ANY, CLASS_NAMES, SUBTYPES

BASELINE_HU, BASELINE_SIGMA_MM, BASELINE_EROSION_MM = 46.0, 1.0, 4.0


@dataclass
class Tally:
    """Pixels and volumes of one subtype (or any hemorrhage) over all scans."""

    both: int = 0
    called: int = 0
    truth: int = 0
    scan_dice: list[float] = field(default_factory=list)
    slice_dice: list[float] = field(default_factory=list)
    true_ml: list[float] = field(default_factory=list)
    called_ml: list[float] = field(default_factory=list)

    def add(self, called: NDArray[np.bool_], truth: NDArray[np.bool_], voxel_ml: NDArray[np.float64]) -> None:
        """One scan: masks [slice, row, column] and the volume of a voxel in each slice."""
        both, seen, real = (m.sum(axis=(1, 2)) for m in (called & truth, called, truth))
        self.add_counts(both, seen, real, voxel_ml)

    def add_counts(
        self,
        both: NDArray[np.int64],
        called: NDArray[np.int64],
        truth: NDArray[np.int64],
        voxel_ml: NDArray[np.float64],
    ) -> None:
        """One scan: pixels [slice] called rightly, called and true, and the volume of a voxel in each slice."""
        per_slice = [both, called, truth]
        both, seen, real = (int(m.sum()) for m in per_slice)
        self.both, self.called, self.truth = self.both + both, self.called + seen, self.truth + real
        if real:
            self.scan_dice.append(dice(both, seen, real))
            self.slice_dice += [dice(b, s, r) for b, s, r in zip(*per_slice, strict=True) if r]
        self.true_ml.append(float((per_slice[2] * voxel_ml).sum()))
        self.called_ml.append(float((per_slice[1] * voxel_ml).sum()))

    def summary(self) -> dict[str, Any]:
        """Dice pooled over pixels, mean over scans and slices that have the subtype, and volume errors in mL."""
        true, called = np.array(self.true_ml), np.array(self.called_ml)
        present = true > 0
        error, absent = (called - true)[present], called[~present]
        return {
            "scans": int(present.sum()),
            "dice_pooled": _rounded(dice(self.both, self.called, self.truth)),
            "dice_mean_scan": _mean(self.scan_dice),
            "dice_mean_slice": _mean(self.slice_dice),
            "true_ml_median": _rounded(np.median(true[present])) if present.any() else None,
            "volume_error_ml_median_abs": _rounded(np.median(np.abs(error))) if present.any() else None,
            "volume_error_relative_median_abs": _rounded(np.median(np.abs(error) / true[present]))
            if present.any()
            else None,
            "volume_bias_ml_mean": _rounded(error.mean()) if present.any() else None,
            "false_ml_mean_where_absent": _rounded(absent.mean()) if absent.size else None,
        }


def _rounded(value: Any) -> float | None:
    return None if np.isnan(value) else round(float(value), 4)


def _mean(values: list[float]) -> float | None:
    return _rounded(np.mean(values)) if values else None


def baseline_labels(
    hu_slices: NDArray[np.int16], brain: Iterable[NDArray[np.bool_]], spacing: float
) -> NDArray[np.bool_]:
    """[slice, row, column] smoothed HU above 46 in the eroded brain mask; ``spacing`` is that of the pixels in mm."""
    found = np.zeros(hu_slices.shape, bool)
    for index, (hu, inside) in enumerate(zip(hu_slices, brain, strict=True)):
        if inside.any():
            depth = ndimage.distance_transform_edt(inside) * spacing
            smooth = ndimage.gaussian_filter(np.clip(hu, -50, 150).astype(np.float32), BASELINE_SIGMA_MM / spacing)
            found[index] = (smooth > BASELINE_HU) & (depth > BASELINE_EROSION_MM)
    return found


def evaluate(bundle: ModelBundle, seeds: range) -> dict[str, Any]:
    """Every figure of one bundle on the phantoms of these seeds."""
    network = load_network(bundle, torch.device("cpu"))
    settings = MaskSettings.from_metadata(bundle.metadata.hemocam_fields())
    names = [subtype.name for subtype in SUBTYPES]
    model = {name: Tally() for name in (*names, ANY)}
    baseline = Tally()
    probabilities, areas = [], []
    for seed in seeds:
        phantom = make_phantom(seed)
        brain = find_brain(phantom.hu, phantom.geometry)
        found = scan_maps(network, phantom.hu, bundle.metadata.stack_settings)
        labels = scan_labels(found, phantom.hu, phantom.geometry, brain, settings)
        voxel_ml = phantom.geometry.extents_mm * phantom.geometry.pixel_area_mm2 / 1000
        for subtype in SUBTYPES:
            model[subtype.name].add(labels == subtype.label, phantom.labels == subtype.label, voxel_ml)
        model[ANY].add(labels > 0, phantom.labels > 0, voxel_ml)
        inside = (brain.slice(index, hu) for index, hu in enumerate(phantom.hu))
        threshold = baseline_labels(phantom.hu, inside, phantom.geometry.pixel_spacing_mm[0])
        baseline.add(threshold, phantom.labels > 0, voxel_ml)
        probabilities.append(found.probabilities)
        areas.append(phantom.areas_mm2.astype(np.float32))
    scores = np.concatenate(probabilities)
    target, known = labels_from_areas(np.concatenate(areas))
    rates = {}
    for c, name in enumerate(CLASS_NAMES):
        use = known[:, c] > 0
        positive, score = target[use, c] > 0, scores[use, c]
        gate = bundle.metadata.class_thresholds[name]
        rates[name] = {
            "auroc": _rounded(auroc(score, positive)),
            "positive_slices": int(positive.sum()),
            "sensitivity": _rounded((score > gate)[positive].mean()),
            "specificity": _rounded((score <= gate)[~positive].mean()),
        }
    return {
        "data": {
            "what": "held-out synthetic head CTs",
            "scans": len(seeds),
            "slices": len(scores),
            "first_seed": seeds[0],
            "last_seed": seeds[-1],
            "matrix": 512,
        },
        "model": {
            "name": bundle.metadata.name,
            "version": bundle.metadata.version,
            "weights_sha256": bundle.metadata.weights_sha256,
        },
        "classification": rates,
        "masks": {name: tally.summary() for name, tally in model.items()},
        "baseline_any": {
            "rule": f"HU smoothed by {BASELINE_SIGMA_MM} mm above {BASELINE_HU}, {BASELINE_EROSION_MM} mm inside "
            "the brain mask",
            **baseline.summary(),
        },
    }


def table(result: dict[str, Any]) -> str:
    """The figures as text."""
    lines = ["class  AUROC  sens.  spec.  Dice pooled / scan / slice  true mL  |error| mL  relative  bias mL  false mL"]
    rows = [(name, result["classification"][name], result["masks"][name]) for name in CLASS_NAMES]
    rows.append(("HU>46", {}, result["baseline_any"]))
    for name, rate, mask in rows:
        figures = [rate.get("auroc"), rate.get("sensitivity"), rate.get("specificity")]
        figures += [
            mask[key]
            for key in (
                "dice_pooled",
                "dice_mean_scan",
                "dice_mean_slice",
                "true_ml_median",
                "volume_error_ml_median_abs",
                "volume_error_relative_median_abs",
                "volume_bias_ml_mean",
                "false_ml_mean_where_absent",
            )
        ]
        lines.append(f"{name:6}" + "".join("      -" if v is None else f"{v:7.3f}" for v in figures))
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description="Evaluate a bundle on held-out phantoms")
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--scans", type=int, default=40)
    parser.add_argument("--first-seed", type=int, default=TEST_SEED)
    parser.add_argument("--threads", type=int, default=2)
    chosen = parser.parse_args()
    torch.set_num_threads(chosen.threads)
    seeds = range(chosen.first_seed, chosen.first_seed + chosen.scans)
    result = evaluate(ModelBundle.open(chosen.model), seeds)
    print(table(result))
    text = json.dumps(result, indent=1)
    if chosen.json:
        chosen.json.write_text(text + "\n", encoding="utf-8")
    else:
        print(text)


if __name__ == "__main__":
    main()
