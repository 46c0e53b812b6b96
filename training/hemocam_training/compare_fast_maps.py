"""How closely the approximate methods follow the exact ones on held-out phantoms.

    python -m hemocam_training.compare_fast_maps --model RUN/bundle --out MAPS

Writes ``agreement.json`` beside the scores of ``hemocam-train benchmark-cams``, which puts it on its page:
correlation of the two maps of a slice and class over positions, at each layer, on the same slices as the benchmark's
subset.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from hemocam_training.experiments.cam_benchmark.bundles import BenchmarkOptions
from hemocam_training.experiments.cam_benchmark.compare import Comparison
from hemocam_training.experiments.cam_benchmark.maps import slice_maps
from hemocam_training.experiments.cam_benchmark.slices import BenchmarkSlice, bleeding_slices, scans_of
from HemoCAMLib.cam import Explainer
from HemoCAMLib.model.bundle import ModelBundle
from HemoCAMLib.model.registry import load_network

#: Approximate method to the exact one.
EXACT = {"ablation-cam-fast": "ablation-cam", "score-cam-fast": "score-cam"}


def agreement(bundle: ModelBundle, slices: Sequence[BenchmarkSlice], layers: Sequence[str]) -> list[dict[str, Any]]:
    """One row for each approximate method and layer.

    Args:
        bundle: any architecture whose classes are :data:`~HemoCAMLib.subtypes.CLASS_NAMES`.
        slices: to explain, each for the classes that it shows.
        layers: presets or module names.
    """
    network = load_network(bundle)
    steps = dict.fromkeys([*EXACT, *EXACT.values()], 1)
    rows = []
    for layer in layers:
        found = slice_maps(Explainer(network, [layer]), bundle.metadata.stack_settings, steps, slices)
        for fast, exact in EXACT.items():
            values = [
                _correlation(one, other)
                for left, right in zip(found[fast], found[exact], strict=True)
                for one, other in zip(left.maps, right.maps, strict=True)
            ]
            rows.append(
                {
                    "method": fast,
                    "layer": layer,
                    "maps": len(values),
                    "median": round(float(np.median(values)), 4),
                    "smallest": round(float(np.min(values)), 4),
                }
            )
            print(rows[-1], flush=True)
    return rows


def _correlation(one: np.ndarray[Any, Any], other: np.ndarray[Any, Any]) -> float:
    """1 where the two are the same, also where both are constant."""
    if np.allclose(one, other, rtol=1e-5, atol=0):
        return 1.0
    if one.std() == 0 or other.std() == 0:
        return 0.0
    return float(np.corrcoef(one.ravel().astype(float), other.ravel().astype(float))[0, 1])


def main() -> None:
    parser = argparse.ArgumentParser(description="Agreement of approximate maps with the exact ones")
    parser.add_argument("--model", type=ModelBundle.open, required=True, help="bundle")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--layers", nargs="+", default=list(Comparison.layers))
    parser.add_argument("--step", type=int, default=Comparison.slow_step, help="every which slice")
    parser.add_argument("--test-scans", type=int, default=BenchmarkOptions.test_scans)
    parser.add_argument("--threads", type=int, default=2)
    chosen = parser.parse_args()
    torch.set_num_threads(chosen.threads)
    options = BenchmarkOptions(test_scans=chosen.test_scans)
    slices = list(bleeding_slices(scans_of(options.test_source), options.slices_per_scan))[:: chosen.step]
    rows = agreement(chosen.model, slices, chosen.layers)
    chosen.out.mkdir(parents=True, exist_ok=True)
    (chosen.out / "agreement.json").write_text(
        json.dumps({"slices": len(slices), "rows": rows}, indent=1) + "\n", encoding="utf-8"
    )


if __name__ == "__main__":
    main()
