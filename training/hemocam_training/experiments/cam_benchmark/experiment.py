"""The experiment of Rafati et al.: classifiers compared, then every map of the best one.

Hemorica (or phantoms) is split by patient. Epochs and thresholds are chosen on the tuning part, everything else is
measured on the test part.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import nn

from hemocam_training.experiments.cam_benchmark import experiment_figures as figures
from hemocam_training.experiments.cam_benchmark import experiment_tables as tables
from hemocam_training.experiments.cam_benchmark.classifiers import VariantResult, classifier_table, run_variant
from hemocam_training.experiments.cam_benchmark.compare import Row, compare
from hemocam_training.experiments.cam_benchmark.settings import Settings
from hemocam_training.experiments.cam_benchmark.slices import BenchmarkSlice, bleeding_slices, scans_of
from hemocam_training.experiments.catalogue import DataSource, Progress
from hemocam_training.experiments.parts import cached
from hemocam_training.experiments.reporting import Report, Section
from hemocam_training.experiments.truth_scans import phantoms
from hemocam_training.learning.config_file import changed_config, config_values
from hemocam_training.learning.fit import load_fitted
from hemocam_training.scan_sources import IndexSource, ScanSource
from hemocam_training.seeds import TEST_SEED, TRAINING_SEED, TUNING_SEED
from hemocam_training.shards import SliceShards
from hemocam_training.splits import split_by_fractions
from HemoCAMLib.errors import UsageError
from HemoCAMLib.model.stacks import StackSettings

__all__ = ["Settings", "run"]

_SOURCE = (
    "Rafati, Hoseyni, Khoramdel, Nikoofard: Benchmarking class activation map methods for explainable brain hemorrhage "
    "classification on Hemorica dataset: figures 2 to 4, tables."
)

_CLASSIFIERS_TEXT = (
    "Variants of a factor differ in nothing else from the first variant, or say so. Precision-recall curves run from "
    "the lower threshold (right) to the higher one (left)."
)
_MAPS_TEXT = (
    "A pixel is marked where the map, stretched to 0 to 255 in its slice, exceeds a threshold that was chosen for the "
    "method and the layer on the tuning patients."
)


def run(settings: Settings, sources: Sequence[DataSource], work: Path, *, quick: bool, progress: Progress) -> Report:
    """See :class:`hemocam_training.experiments.catalogue.ExperimentModule`.

    Raises:
        UsageError: ``USAGE_DATA``: more than one index; ``USAGE_NO_MASKS``: no bleeding slice has a mask.
    """
    scans = _parts(settings, sources)
    sizes = {changed_config(settings.fit, variant.settings).input_size for variant in settings.variants}
    shards = {size: _shards(settings, scans, size, _stored_size(size, sizes), work, progress) for size in sizes}
    results: list[VariantResult] = []
    for variant in settings.variants:
        parts = shards[changed_config(settings.fit, variant.settings).input_size]
        results.append(run_variant(settings, variant, parts, work / "fits" / _slug(variant.title)))
        progress(f"{variant.title}: F1 {results[-1].best_f1.mean:.3f}")
    chosen = _map_variant(settings, results)
    network: nn.Module = load_fitted(chosen.folder, best=True)[0]
    stacks = StackSettings(chosen.config.input_size, chosen.config.input_size)
    tuning, test = (_bleeding(scans[part], settings) for part in ("tune", "test"))
    progress(f"maps of {chosen.variant.title}: {len(tuning)} slices for thresholds, {len(test)} to score")
    rows = compare(network, stacks, settings.maps.comparison(settings.draws), tuning, test, progress)
    shown = figures.overlay_figure(network, stacks, rows, test, settings.maps, work)
    return _report(settings, scans, results, chosen, rows, test, shown, quick=quick, real=bool(sources))


def _parts(settings: Settings, sources: Sequence[DataSource]) -> dict[str, ScanSource]:
    """Scans of the three parts; no patient is in two."""
    if len(sources) > 1:
        raise UsageError("USAGE_DATA", "This experiment takes one dataset with masks.", "Give one --data.")
    if not sources:
        counts = settings.phantoms
        return {
            "train": phantoms(TRAINING_SEED, counts.train, counts.matrix, noise=False),
            "tune": phantoms(TUNING_SEED, counts.tune, counts.matrix),
            "test": phantoms(TEST_SEED, counts.test, counts.matrix),
        }
    split = split_by_fractions([sources[0].index], {str(part): share for part, share in settings.fractions.items()})
    return {part: IndexSource(split.rows(sources[0].index, part), sources[0].root) for part in settings.fractions}


def _stored_size(size: int, sizes: Collection[int]) -> int:
    """The size at which slices for an input size are cached: the largest that is asked for, where that is a multiple.

    >>> [_stored_size(size, {128, 192, 256}) for size in (128, 192, 256)]
    [256, 192, 256]
    """
    return max(sizes) if max(sizes) % size == 0 else size


def _shards(
    settings: Settings, scans: Mapping[str, ScanSource], size: int, stored: int, work: Path, progress: Progress
) -> dict[str, SliceShards]:
    """Slices of that size of every part."""
    folders = {part: work / f"slices-{stored}" / part for part in scans}
    for part, folder in folders.items():
        if not folder.is_dir():
            progress(f"slices of {stored} × {stored} to {_PURPOSE[part]}")
        cached(scans[part], folder, stored, lambda _: None, workers=settings.workers)
    return {part: SliceShards(folder, size=size) for part, folder in folders.items()}


def _bleeding(source: ScanSource, settings: Settings) -> list[BenchmarkSlice]:
    found = list(bleeding_slices(scans_of(source), settings.slices_per_scan))
    if not found:
        raise UsageError(
            "USAGE_NO_MASKS", "No slice with a mask of hemorrhage is there to score maps on.", "Give data with masks."
        )
    return found if settings.classes == "subtypes" else [replace(one, tells_subtypes=False) for one in found]


def _map_variant(settings: Settings, results: Sequence[VariantResult]) -> VariantResult:
    if settings.map_variant == "best":
        return max(results, key=lambda result: result.best_f1.mean)
    return next(result for result in results if result.variant.title == settings.map_variant)


def _report(
    settings: Settings,
    scans: Mapping[str, ScanSource],
    results: Sequence[VariantResult],
    chosen: VariantResult,
    rows: Sequence[Row],
    test: Sequence[BenchmarkSlice],
    shown: Any,
    *,
    quick: bool,
    real: bool,
) -> Report:
    counts = ", ".join(f"{len(source)} to {_PURPOSE[part]}" for part, source in scans.items())
    data = [
        f"{'Scans' if real else 'Synthetic heads'}: {counts}. "
        + ("Parts are by patient, stratified by subtype." if real else "No head is in two parts."),
        f"Maps: {chosen.variant.title}, {len(test)} slices with hemorrhage of {len({one.patient for one in test})} "
        "patients of the test part, every map against the mask of its class.",
    ]
    sections = [
        Section(
            "Classifiers",
            [_CLASSIFIERS_TEXT],
            [classifier_table(results, settings)],
            [figures.classifier_figure(results), figures.curve_figure(results, settings.curve_thresholds)],
        ),
        Section(
            "Maps by method and layer",
            [_MAPS_TEXT],
            [tables.layer_table(rows), tables.best_table(rows)],
            [figures.layer_figure(rows)],
        ),
        Section(
            "Maps by mask threshold",
            ["Each method at its best layer."],
            [tables.rule_table(rows), tables.long_table(rows)],
            [figures.threshold_figure(rows)],
        ),
        Section("What it looks like", [], [], [shown]),
    ]
    if settings.classes == "subtypes":
        sections[1] = replace(sections[1], tables=[*sections[1].tables, tables.subtype_table(rows)])
    return Report(
        title="Which map outlines a hemorrhage best? The CAM benchmark",
        question="How well do networks that learned only whether a slice bleeds show where it bleeds, by map method, "
        "layer and threshold, and what does the classifier owe to its size, its input and its training?",
        data=data,
        sections=sections,
        limits=_limits(settings, real=real),
        settings=config_values(settings),
        quick=quick,
        sources=[_SOURCE],
    )


_PURPOSE = {"train": "learn from", "tune": "choose epochs and thresholds on", "test": "score"}


def _limits(settings: Settings, *, real: bool) -> list[str]:
    limits = [
        "Maps are scored on slices that bleed, whose class is taken as known: this is about where, not about whether.",
        "A method's best layer is the best on the scored slices, as in the paper; among few slices that flatters it.",
        "One training of each variant: the deviation over epochs is not that over trainings.",
        f"Methods marked † see every {settings.maps.slow_step}th slice only; their rows are not comparable to the "
        "second digit. Methods marked ‡ take every layer at once.",
        f"A slice's maps and those of its neighbours are alike; at most {settings.slices_per_scan} slices of a scan "
        "count, and intervals draw patients.",
        "The paper's own splits, optimiser and number of epochs are not published; the settings here are ours.",
    ]
    if not real:
        limits.insert(0, "The heads are synthetic: the figures compare methods on drawn lesions, they predict nothing.")
    return limits


def _slug(title: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")
