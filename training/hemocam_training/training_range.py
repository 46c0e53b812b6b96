"""The range of a model's training scans, for the comparison with a scan at hand; written into its bundle.

python -m hemocam_training.training_range --bundle Resources/models/hemocam-phantom
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable
from dataclasses import asdict, replace
from pathlib import Path

from hemocam_training.cache import TRAINING_SEED
from hemocam_training.phantoms import make_phantom
from HemoCAMLib.mask import find_brain
from HemoCAMLib.model.bundle import ModelBundle, write_bundle
from HemoCAMLib.quality import COMPARED, ScanStatistics, measure_scan


def training_range(scans: Iterable[ScanStatistics]) -> dict[str, tuple[float, float]]:
    """By statistic the lowest and the highest value of the training scans; statistics that no scan has are left out."""
    by_name: dict[str, list[float]] = {name: [] for name in COMPARED}
    for statistics in scans:
        for name, value in asdict(statistics).items():
            if name in by_name and value is not None:
                by_name[name].append(value)
    return {name: (round(min(values), 3), round(max(values), 3)) for name, values in by_name.items() if values}


def phantom_statistics(count: int) -> Iterable[ScanStatistics]:
    """Of the first training phantoms, at full size."""
    for seed in range(TRAINING_SEED, TRAINING_SEED + count):
        phantom = make_phantom(seed)
        brain = find_brain(phantom.hu, phantom.geometry)
        yield measure_scan(phantom.hu, phantom.geometry, brain)


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure training phantoms and write their range into a bundle")
    parser.add_argument("--bundle", type=Path, required=True, help="folder of the bundle, rewritten in place")
    parser.add_argument("--scans", type=int, default=60)
    chosen = parser.parse_args()
    found = training_range(phantom_statistics(chosen.scans))
    bundle = ModelBundle.open(chosen.bundle)
    weights = (chosen.bundle / "models" / "model.safetensors").read_bytes()
    write_bundle(chosen.bundle, replace(bundle.metadata, training_range=found), weights)
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
