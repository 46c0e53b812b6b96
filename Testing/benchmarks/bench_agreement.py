"""Agreement with ground truth: time beside MONAI and SimpleITK, and differences from their numbers. ``make bench``.

``python bench_agreement.py [--quick]``. A five-class pair of 512×512×40 on a uniform grid, which is all that the
others can hold. Each library computes the same metrics for the same six structures (any and five subtypes). The
differences are the largest over random pairs of many shapes and spacings. Writes ``results/agreement.json``.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from bench_report import Figure, console, report
from numpy.typing import NDArray

from HemoCAMLib.measure.agreement import OVERLAP_ONLY, STRUCTURES, CompareOptions, compare_label_maps
from HemoCAMLib.measure.agreement.structures import mask_of, members_of_labels

sys.path.append(str(Path(__file__).resolve().parents[1] / "fixtures"))

from agreement_references import REFERENCES, blobs, ours, reference, reference_auroc, uniform_geometry

from HemoCAMLib.measure.agreement.detection import auroc

SHAPE = (40, 512, 512)
SPACING_MM = (5.0, 0.45, 0.45)
ROUNDS, RANDOM_PAIRS = 7, 60

OVERLAP = ("dice", "iou", "precision", "recall", "specificity")
SURFACE = ("hausdorff_mm", "hausdorff95_mm", "mean_surface_distance_mm", "surface_dice_1mm", "surface_dice_2mm")

Labels = NDArray[np.uint8]


def five_class_pair() -> tuple[Labels, Labels]:
    """A truth with every subtype, 110 mL together, and a prediction that is off by some pixels."""
    k, row, column = np.ogrid[: SHAPE[0], : SHAPE[1], : SHAPE[2]]
    truth = np.zeros(SHAPE, np.uint8)

    def ellipsoid(centre: tuple[float, ...], radii: tuple[float, ...]) -> NDArray[np.bool_]:
        parts = [((axis - c) / r) ** 2 for axis, c, r in zip((k, row, column), centre, radii, strict=True)]
        return parts[0] + parts[1] + parts[2] < 1

    truth[ellipsoid((20, 256, 180), (6, 40, 32))] = 1
    truth[ellipsoid((22, 280, 262), (5, 34, 14))] = 2
    rng = np.random.default_rng(0)
    for angle in rng.uniform(0, 2 * np.pi, 24):
        centre = float(rng.integers(8, 34)), 256 + 170 * np.sin(angle), 256 + 140 * np.cos(angle)
        truth[ellipsoid(centre, (1.6, 13, 7))] = 3
    crescent = ellipsoid((20, 256, 256), (15, 210, 182)) & ~ellipsoid((20, 256, 264), (16, 212, 182))
    truth[crescent & (column < 200)] = 4
    truth[ellipsoid((26, 150, 400), (4, 46, 16))] = 5
    return np.roll(truth, (0, 3, -4), (0, 1, 2)), truth


def seconds(work: Callable[[], object], rounds: int) -> float:
    """Median time of some calls; one before them is not counted."""
    work()
    times = []
    for _ in range(rounds):
        started = time.perf_counter()
        work()
        times.append(time.perf_counter() - started)
    return statistics.median(times)


def library_seconds(library: str, metrics: tuple[str, ...], prediction: Labels, truth: Labels, rounds: int) -> float:
    """A library's time for its share of the metrics, all six structures; making the masks is not counted."""
    members = [members_of_labels(labels) for labels in (prediction, truth)]
    masks = [[mask_of(each, name) for each in members] for name in STRUCTURES]
    offered = [metric for metric in metrics if (metric, library) in REFERENCES]

    def work() -> None:
        for predicted, true in masks:
            for metric in offered:
                reference(metric, library, predicted, true, SPACING_MM)

    return seconds(work, rounds)


def timings(rounds: int) -> list[Figure]:
    prediction, truth = five_class_pair()
    geometry = uniform_geometry(SHAPE[0], SPACING_MM)
    probability = np.random.default_rng(1).random(SHAPE[0])
    probabilities = dict.fromkeys(STRUCTURES, probability)

    def run(options: CompareOptions) -> float:
        return seconds(
            lambda: compare_label_maps(prediction, truth, geometry, probabilities=probabilities, options=options),
            rounds,
        )

    everything, overlap = run(CompareOptions()), run(OVERLAP_ONLY)
    surfaces = run(CompareOptions(lesions=False, slices=False))
    few = max(1, rounds // 3)
    monai = [library_seconds("MONAI", metrics, prediction, truth, few) for metrics in (OVERLAP, SURFACE)]
    itk = [library_seconds("SimpleITK", metrics, prediction, truth, few) for metrics in (OVERLAP, SURFACE)]
    return [
        Figure("everything_s", "HemoCAM: everything, with lesions and slices", everything, "s", "≤2"),
        Figure("overlap_s", "HemoCAM: overlap, volumes, slices called", overlap, "s", "≤0.2"),
        Figure("surfaces_s", "HemoCAM: overlap and surfaces of the scan", surfaces, "s"),
        Figure("monai_overlap_s", "MONAI: overlap", monai[0], "s", note="no volumes, no slices"),
        Figure("monai_surfaces_s", "MONAI: surfaces", monai[1], "s", note="all five, six structures"),
        Figure("itk_overlap_s", "SimpleITK: overlap", itk[0], "s", note="Dice and IoU only"),
        Figure("itk_surfaces_s", "SimpleITK: surfaces", itk[1], "s", note="Hausdorff and mean distance only"),
        Figure("monai_ratio", "MONAI over HemoCAM, overlap and surfaces", sum(monai) / surfaces, "×"),
        Figure("itk_ratio", "SimpleITK over HemoCAM, overlap and surfaces", sum(itk) / surfaces, "×"),
    ]


def differences(pairs: int) -> list[Figure]:
    """The largest difference of every metric from every library, over random pairs of masks."""
    rng = np.random.default_rng(0)
    worst: dict[tuple[str, str], float] = dict.fromkeys(REFERENCES, 0.0)
    auroc_worst = 0.0
    options = CompareOptions(lesion_minimum_iou=float(np.nextafter(0.5, 1)))
    for _ in range(pairs):
        shape = (int(rng.integers(1, 12)), int(rng.integers(12, 64)), int(rng.integers(12, 64)))
        spacing = (float(rng.uniform(0.5, 7)), float(rng.uniform(0.3, 2)), float(rng.uniform(0.3, 2)))
        prediction, truth = blobs(rng, shape)
        geometry = uniform_geometry(shape[0], spacing)
        agreement = compare_label_maps(prediction, truth, geometry, truth_subtypes=(), options=options)
        for metric, library in REFERENCES:
            theirs = reference(metric, library, prediction, truth, spacing)
            difference = abs((ours(metric, agreement) or 0.0) - theirs)
            worst[metric, library] = max(worst[metric, library], difference)
        flags, score = rng.random(30) < 0.4, np.round(rng.random(30), 1)
        flags[:2] = True, False
        auroc_worst = max(auroc_worst, abs((auroc(flags, score) or 0.0) - reference_auroc(flags, score)))
    return [
        *(
            Figure(
                f"difference_{metric}_{library}",
                f"{metric} and {library}",
                value,
                "mm" if metric.endswith("_mm") else "",
                # MONAI interpolates percentiles of distances in single precision.
                "≤1e-4" if metric == "hausdorff95_mm" else "≤1e-5",
            )
            for (metric, library), value in worst.items()
        ),
        Figure("difference_auroc_scikit-learn", "slice AUROC and scikit-learn", auroc_worst, "", "≤1e-5"),
    ]


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--quick", action="store_true", help="few rounds, results not kept")
    quick = arguments.parse_args().quick
    figures = timings(1 if quick else ROUNDS) + differences(6 if quick else RANDOM_PAIRS)
    report("Agreement", "agreement", figures, console(), keep=not quick)


if __name__ == "__main__":
    main()
