"""How long label maps of a whole scan take from stored maps: what a slider for thresholds feels.

A bad case on purpose: every slice shows all five subtypes, each with two lesions of several centimetres.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from HemoCAMLib.ct.geometry import SliceGeometry
from HemoCAMLib.mask import MaskSettings, PackedMasks, label_scan
from HemoCAMLib.mask.threshold_rule import ThresholdRule

RULES = ("fixed", "mean", "percentile:90", "percentile:90@brain", "otsu", "multi-otsu:3", "adaptive:35")
REPEATS = 5


def scene(
    map_size: int, slices: int = 40, size: int = 512
) -> tuple[NDArray[np.float16], NDArray[np.float32], PackedMasks, SliceGeometry]:
    """Maps [5, slice, h, w], probabilities [5, slice], brain masks and geometry."""
    rng = np.random.default_rng(0)
    row, column = np.mgrid[:size, :size] - size / 2
    brain = PackedMasks()
    for index in range(slices):
        scale = size * (1 - 0.3 * abs(index / slices - 0.5))
        brain.append(np.hypot(column / (0.33 * scale), row / (0.42 * scale)) < 1)
    noise = rng.normal(size=(5, slices, map_size, map_size)).astype(np.float32)
    maps = ndimage.gaussian_filter(noise, (0, 0, 1.5, 1.5)) - 6
    row, column = np.mgrid[:map_size, :map_size] / map_size
    for subtype in range(5):
        for _ in range(2):
            (y, x), (height, width) = rng.uniform(0.3, 0.7, 2), rng.uniform(0.05, 0.14, 2)
            maps[subtype] += 9 * np.exp(-(((row - y) / height) ** 2) - ((column - x) / width) ** 2).astype(np.float32)
    positions = np.arange(slices)[:, None] * np.array([0, 0, 3.5])
    geometry = SliceGeometry(positions, np.eye(3)[0], np.eye(3)[1], (0.45, 0.45))
    return maps.astype(np.float16), rng.uniform(0.6, 1, (5, slices)).astype(np.float32), brain, geometry


def settings_to_time() -> dict[str, MaskSettings]:
    """By name."""
    timed = {}
    for volume in (0.0, 0.1):
        for rule in RULES:
            for scale in ("absolute", "per_image"):
                thresholds = (0.5,) * 5 if scale == "absolute" else (75.0, 125.0, 125.0, 75.0, 25.0)
                timed[f"{rule} {scale} {volume:g} mL"] = MaskSettings(
                    (0.5,) * 5, thresholds, scale, volume, rule=ThresholdRule.from_value(rule)
                )
    return timed


def milliseconds(map_size: int) -> dict[str, float]:
    """Median time of a whole scan by settings."""
    maps, probabilities, brain, geometry = scene(map_size)
    found = {}
    for name, settings in settings_to_time().items():
        times = []
        for _ in range(REPEATS):
            started_s = time.perf_counter()
            for _labels in label_scan(maps, probabilities, brain, geometry, settings):
                pass
            times.append(time.perf_counter() - started_s)
        found[name] = round(1000 * float(np.median(times)), 1)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description="Time label maps of 512×512×40 from stored maps")
    parser.add_argument("--out", type=Path, help="JSON file to write")
    chosen = parser.parse_args()
    result = {
        "cores": os.cpu_count(),
        "volume": [40, 512, 512],
        "median_ms": {f"maps of {size}×{size}": milliseconds(size) for size in (64, 128)},
    }
    for size, times in result["median_ms"].items():
        print(size)
        for name, value in times.items():
            print(f"  {name:36} {value:8.1f} ms")
    if chosen.out:
        chosen.out.write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
