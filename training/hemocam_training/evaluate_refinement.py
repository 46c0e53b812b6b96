"""What each refinement of the masks gains and costs on phantoms, with and without it from the same maps.

    python -m hemocam_training.evaluate_refinement --model ../Resources/models/hemocam-phantom --store MAPS

Parameters are chosen on the tuning phantoms (``--first-seed 2010000 --scans 28``); the table that is published comes
from the test phantoms, which nothing was chosen on.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from hemocam_training.cache import TEST_SEED
from hemocam_training.evaluate_phantoms import Tally, baseline_labels
from hemocam_training.stored_scans import StoredScan, stored_phantom
from HemoCAMLib.mask import label_scan
from HemoCAMLib.mask.settings import MaskSettings
from HemoCAMLib.model.bundle import ModelBundle
from HemoCAMLib.model.registry import load_network
from HemoCAMLib.subtypes import ANY, SUBTYPE_NAMES, SUBTYPES

#: What the published table compares; values as :meth:`RefinementSettings.from_value` takes them.
VARIANTS: dict[str, Any] = {
    "none": None,
    "hysteresis": "hysteresis",
    "hysteresis, empty regions kept": {"name": "hysteresis", "where_empty": "keep"},
    "hysteresis, flat lesions kept": {"name": "hysteresis", "smallest_height": 0},
    "hysteresis, 2 mm off the skull": {"name": "hysteresis", "skull_mm": {"IPH": 2, "IVH": 2, "SAH": 2}},
    "hu-mixture": "hu-mixture",
    "random-walker": "random-walker",
    "flat lesions only": "map-only",
    "2 mm off the skull only": {"name": "map-only", "smallest_height": 0, "skull_mm": {"IPH": 2, "IVH": 2, "SAH": 2}},
}

BASELINE = "HU > 46 alone"

#: Scans differ in length; times are given for one of this many slices.
TIMED_SLICES = 40

TABLE_COLUMNS = (
    *SUBTYPE_NAMES,
    "any",
    "any, mean of scans",
    "median error, mL",
    "bias, mL",
    "false mL, healthy scans",
    "false mL, all scans",
    f"ms for {TIMED_SLICES} slices",
)


@dataclass
class Variant:
    """Counts of one way to make masks, over all scans.

    Attributes:
        settings: the way; None for the threshold on HU alone, which needs no model.
        tallies: by subtype name and "any".
        false_ml: of each scan, volume called hemorrhage where there is none.
        milliseconds: of each scan, scaled to :data:`TIMED_SLICES`.
    """

    settings: MaskSettings | None
    tallies: dict[str, Tally] = field(default_factory=lambda: {name: Tally() for name in (*SUBTYPE_NAMES, ANY)})
    false_ml: list[float] = field(default_factory=list)
    milliseconds: list[float] = field(default_factory=list)

    def add(self, scan: StoredScan) -> None:
        """Makes the masks of one scan and counts."""
        started = time.perf_counter()
        if self.settings is None:
            found = list(baseline_labels(scan.hu, scan.brain, scan.geometry.pixel_spacing_mm[0]).view(np.uint8))
        else:
            found = list(
                label_scan(scan.local_logits, scan.probabilities, scan.brain, scan.geometry, self.settings, scan.hu)
            )
        self.milliseconds.append((time.perf_counter() - started) * 1000 * TIMED_SLICES / len(found))
        table = np.stack([confusion(labels, truth) for labels, truth in zip(found, scan.truth, strict=True)])
        for subtype in SUBTYPES:
            k = subtype.label
            called, real = table[:, k].sum(axis=1), table[:, :, k].sum(axis=1)
            self.tallies[subtype.name].add_counts(table[:, k, k], called, real, scan.voxel_ml)
        called, real = table[:, 1:].sum(axis=(1, 2)), table[:, :, 1:].sum(axis=(1, 2))
        self.tallies[ANY].add_counts(table[:, 1:, 1:].sum(axis=(1, 2)), called, real, scan.voxel_ml)
        self.false_ml.append(float((table[:, 1:, 0].sum(axis=1) * scan.voxel_ml).sum()))

    def summary(self) -> dict[str, Any]:
        """All figures as plain values."""
        return {
            "settings": None if self.settings is None else self.settings.as_dict(),
            "masks": {name: tally.summary() for name, tally in self.tallies.items()},
            "false_ml_mean": round(float(np.mean(self.false_ml)), 4),
            "milliseconds_median": round(float(np.median(self.milliseconds)), 1),
            "milliseconds_largest": round(float(np.max(self.milliseconds)), 1),
        }


def confusion(called: NDArray[np.uint8], truth: NDArray[np.uint8]) -> NDArray[np.int64]:
    """[called label, true label] number of pixels.

    >>> confusion(np.array([[1, 0]], np.uint8), np.array([[1, 2]], np.uint8))[:3, :3].tolist()
    [[0, 0, 1], [0, 1, 0], [0, 0, 0]]
    """
    size = len(SUBTYPES) + 1
    if not (called.any() or truth.any()):
        table = np.zeros((size, size), np.int64)
        table[0, 0] = called.size
        return table
    return np.bincount((called * np.uint8(size) + truth).ravel(), minlength=size * size).reshape(size, size)


def true_presence(truth: NDArray[np.uint8]) -> NDArray[np.float32]:
    """[5, slice] 1 where a slice shows a subtype, else 0."""
    return np.stack([(truth == subtype.label).any(axis=(1, 2)) for subtype in SUBTYPES]).astype(np.float32)


def evaluate(
    bundle: ModelBundle,
    seeds: range,
    store: Path,
    variants: Mapping[str, Any],
    *,
    baseline: bool = True,
    true_gates: bool = False,
) -> dict[str, Any]:
    """Figures of every variant on the phantoms of these seeds.

    Args:
        bundle: gives maps and all other mask settings.
        seeds: of the phantoms.
        store: folder for their maps, which belongs to this bundle.
        variants: refinements by name, or tables of the mask settings to change (with a key ``refinement``).
        baseline: whether a threshold on HU is measured beside them.
        true_gates: call a subtype in the slices that truly show it, instead of where its probability says so: the
            masks are judged apart from the classification, as in the weakly supervised paper's second table.
    """
    network = load_network(bundle, torch.device("cpu"))
    recommended = replace(MaskSettings.from_metadata(bundle.metadata.hemocam_fields()), refinement=None)
    compared = {name: Variant(changed(recommended, change)) for name, change in variants.items()}
    if baseline:
        compared[BASELINE] = Variant(None)
    for seed in seeds:
        scan = stored_phantom(store, seed, network, bundle.metadata.stack_settings)
        if true_gates:
            scan = replace(scan, probabilities=true_presence(scan.truth))
        for name, variant in compared.items():
            if name == BASELINE:
                # It knows no subtypes: its pixels count as "any" only.
                variant.add(replace(scan, truth=(scan.truth > 0).view(np.uint8)))
            else:
                variant.add(scan)
    return {
        "data": {"what": "synthetic head CTs", "scans": len(seeds), "first_seed": seeds[0], "last_seed": seeds[-1]},
        "model": {"name": bundle.metadata.name, "version": bundle.metadata.version},
        "variants": {name: variant.summary() for name, variant in compared.items()},
    }


def changed(recommended: MaskSettings, change: Any) -> MaskSettings:
    """The bundle's settings with another refinement, or with other values of any field."""
    whole = isinstance(change, Mapping) and "name" not in change
    return recommended.changed(change if whole else {"refinement": change})


def table(result: Mapping[str, Any]) -> str:
    """The figures as a Markdown table: pooled Dice by subtype, then of any hemorrhage; volumes in mL."""
    lines = ["| | " + " | ".join(TABLE_COLUMNS) + " |", "|---" * (len(TABLE_COLUMNS) + 1) + "|"]
    for name, figures in result["variants"].items():
        masks, alone = figures["masks"], figures["settings"] is None
        cells = ["–" if alone else _cell(masks[subtype]["dice_pooled"]) for subtype in SUBTYPE_NAMES]
        cells += [_cell(masks[ANY]["dice_pooled"]), _cell(masks[ANY]["dice_mean_scan"])]
        cells += [_cell(masks[ANY]["volume_error_ml_median_abs"], 1), _cell(masks[ANY]["volume_bias_ml_mean"], 1)]
        cells += [_cell(masks[ANY]["false_ml_mean_where_absent"], 2), _cell(figures["false_ml_mean"], 2)]
        cells.append(_cell(figures["milliseconds_median"], 0))
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _cell(value: float | None, digits: int = 3) -> str:
    return "–" if value is None else f"{value:.{digits}f}"


def main() -> None:
    parser = argparse.ArgumentParser(description="Compare refinements of masks on phantoms")
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--scans", type=int, default=40)
    parser.add_argument("--first-seed", type=int, default=TEST_SEED)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--store", type=Path, help="folder that keeps maps between calls")
    parser.add_argument("--variants", type=Path, help="JSON file: name to refinement, or to changed mask settings")
    parser.add_argument("--no-baseline", action="store_true")
    parser.add_argument("--true-gates", action="store_true", help="call a subtype exactly where it is")
    chosen = parser.parse_args()
    torch.set_num_threads(chosen.threads)
    seeds = range(chosen.first_seed, chosen.first_seed + chosen.scans)
    variants = json.loads(chosen.variants.read_text(encoding="utf-8")) if chosen.variants else VARIANTS
    with tempfile.TemporaryDirectory() as temporary:
        store = chosen.store or Path(temporary)
        result = evaluate(
            ModelBundle.open(chosen.model),
            seeds,
            store,
            variants,
            baseline=not chosen.no_baseline,
            true_gates=chosen.true_gates,
        )
    print(table(result))
    if chosen.json:
        chosen.json.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
