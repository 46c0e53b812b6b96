"""From stored maps to label maps: what a slider for thresholds waits for. ``make bench``.

``python bench_masks.py [--quick]``. A scan of 512×512×40 is analysed once with the model that ships; then its label
maps are made anew, in this process as a program with a slider does it. Writes ``results/masks.json``.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from bench_contender import timed_ms
from bench_report import Figure, console, report
from bench_scans import write_scan
from numpy.typing import NDArray

import HemoCAMLib as hc
from HemoCAMLib.ct import HeadCT, read_head_ct
from HemoCAMLib.mask import MaskSettings, PackedMasks, find_brain, label_scan
from HemoCAMLib.mask.refine import REFINEMENT_NAMES, RefinementSettings
from HemoCAMLib.model import find_model
from HemoCAMLib.run.record import ClassOrder
from HemoCAMLib.subtypes import SUBTYPE_NAMES

SLICES, STEP_MM = 40, 4.0
ROUNDS = 9


@dataclass(frozen=True)
class StoredMaps:
    """What a program holds while its user tries thresholds.

    Attributes:
        ct: the scan.
        local_logits: [5, slice, h, w].
        probabilities: [5, slice].
        brain: masks of all slices.
    """

    ct: HeadCT
    local_logits: NDArray[np.floating[Any]]
    probabilities: NDArray[np.floating[Any]]
    brain: PackedMasks

    def label(self, settings: MaskSettings) -> list[NDArray[np.uint8]]:
        """The label maps of all slices."""
        hu = self.ct.slices
        return list(label_scan(self.local_logits, self.probabilities, self.brain, self.ct.geometry, settings, hu))


def analysed(folder: Path) -> StoredMaps:
    """A scan after its analysis."""
    scan = write_scan(folder / "scan", SLICES, STEP_MM)
    with hc.PlainWorker() as worker:
        result = hc.analyze(scan, folder / "run", worker=worker)
    ct = read_head_ct(scan)
    classes = ClassOrder(find_model().metadata.subtypes)
    maps = np.stack([classes.subtype_maps(result.activation[:, index]) for index in range(SLICES)], axis=1)
    gates = np.stack([classes.subtype_probabilities(result.probabilities[:, index]) for index in range(SLICES)], axis=1)
    found, brain = find_brain((ct.slices[index] for index in range(SLICES)), ct.geometry), PackedMasks()
    for index in range(SLICES):
        brain.append(found.slice(index, ct.slices[index]))
    return StoredMaps(ct, maps, gates, brain)


def variants() -> dict[str, tuple[str, MaskSettings, str]]:
    """By key: title, settings and goal."""
    own = replace(MaskSettings.from_metadata(find_model().metadata.hemocam_fields()), refinement=None)
    plain = replace(own, minimum_volume_ml=0.0)
    everything = replace(plain, class_thresholds=(0.0,) * len(SUBTYPE_NAMES), mask_thresholds=(0.05,) * 5)
    tables = {
        "algorithm_1": ("Algorithm 1, the model's thresholds", plain, "≤100"),
        "algorithm_1_all": ("Algorithm 1, all subtypes in all slices, thresholds 0.05", everything, "≤100"),
        "small_lesions_removed": ("  and small lesions removed", own, "≤100"),
    }
    for name in REFINEMENT_NAMES:
        settings = replace(own, refinement=RefinementSettings(name=name))  # type: ignore[arg-type]
        tables[f"refinement/{name}"] = (f"Refined: {name}", settings, "≤2000")
    for name in REFINEMENT_NAMES:
        crowded = replace(everything, refinement=RefinementSettings(name=name))  # type: ignore[arg-type]
        tables[f"refinement_all/{name}"] = (f"Refined, all subtypes in all slices: {name}", crowded, "")
    return tables


def measure(stored: StoredMaps, rounds: int) -> list[Figure]:
    """All variants in turns; the first round warms up."""
    chosen = variants()
    times: dict[str, list[float]] = {name: [] for name in chosen}
    pixels: dict[str, int] = {}
    for _ in range(rounds):
        for name, (_title, settings, _goal) in chosen.items():
            times[name].append(_timed(lambda settings=settings: stored.label(settings), name, pixels))  # type: ignore[misc]
    return [
        Figure(name, title, statistics.median(times[name][1:]), "ms", goal, f"{pixels[name]} pixels labelled")
        for name, (title, _settings, goal) in chosen.items()
    ]


def _timed(label: Callable[[], list[NDArray[np.uint8]]], name: str, pixels: dict[str, int]) -> float:
    made: list[NDArray[np.uint8]] = []
    elapsed_ms = timed_ms(lambda: made.extend(label()))
    pixels[name] = sum(int(np.count_nonzero(labels)) for labels in made)
    return elapsed_ms


def main() -> None:
    """Measures and reports."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="two rounds, no results file")
    quick = parser.parse_args().quick
    out = console()
    with tempfile.TemporaryDirectory(prefix="hemocam-bench-") as scratch:
        out.print(f"Masks of 512×512×{SLICES} …")
        figures = measure(analysed(Path(scratch)), 2 if quick else ROUNDS)
    report(f"Label maps of 512×512×{SLICES} from stored maps", "masks", figures, out, keep=not quick)


if __name__ == "__main__":
    main()
