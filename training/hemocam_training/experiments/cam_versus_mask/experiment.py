"""From a dataset to the report."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd
from torch import nn

from hemocam_training.datasets import ScanIndex, dataset_named
from hemocam_training.datasets import prepare as prepare_index
from hemocam_training.datasets.brain_tumour import BrainTumours
from hemocam_training.experiments.cam_versus_mask import figures, tables
from hemocam_training.experiments.cam_versus_mask.classify import (
    FoldResult,
    config_of,
    confusion,
    folds_summary,
    run_fold,
)
from hemocam_training.experiments.cam_versus_mask.localise import at_best_rule, best_rules, score_fold
from hemocam_training.experiments.cam_versus_mask.settings import NetworkChoice, Settings
from hemocam_training.experiments.cam_versus_mask.synthetic_set import write_synthetic_set
from hemocam_training.experiments.catalogue import DataSource, Progress
from hemocam_training.experiments.reporting import Report, Section, Table
from hemocam_training.learning.config_file import config_values
from hemocam_training.learning.fit import load_fitted
from hemocam_training.scan_sources import IndexSource
from hemocam_training.shards import SliceShards, write_shards
from hemocam_training.splits import split_into_folds, supplied_folds
from HemoCAMLib.errors import UsageError

#: Slices of this set are scans of their own; so many of them share a file.
_SLICES_PER_SHARD = 256

_SOURCE = (
    "Kang, Park, Ahn, Van Messem, De Neve: Towards a quantitative analysis of class activation mapping for deep "
    "learning-based computer-aided diagnosis: networks, folds, thresholds, table 2, section 3."
)

_PUBLISHED = f"The study found a mean IoU of {tables.PUBLISHED_IOU} with VGG-19 at the 95th percentile."
_SIZE_TEXT = (
    "IoU is low for a small tumour even where the map finds it: a map of few cells can hardly be cut smaller than a "
    "cell, and a rule that marks a fixed share of the image cannot fit a smaller tumour. It is too kind to a large "
    "one, which chance overlaps. So every slice is also held against two ends: what a mask of equal area would reach "
    "by chance (0), and what the ideal map of the same resolution would reach at its best threshold (1).",
    "size-adjusted IoU = (IoU − chance) / (bound − chance), with chance = a·m / (a + m − a·m) for the shares a of "
    "the tumour and m of the mask. Beside it stands the reachable IoU, that of the same map at its best threshold: "
    "how well the map points, with no rule in it.",
)


def run(settings: Settings, sources: Sequence[DataSource], work: Path, *, quick: bool, progress: Progress) -> Report:
    """See :class:`hemocam_training.experiments.catalogue.ExperimentModule`.

    Raises:
        UsageError: ``USAGE_DATA``: other data than one index of the brain-tumour set.
        DataRefused: the dataset supplies no folds, or too few patients for them.
    """
    source, synthetic = _source(settings, sources, work, progress)
    if settings.fold_source == "supplied":
        made = supplied_folds(source.index)
    else:
        made = split_into_folds([source.index], settings.folds, settings.fit.trainer.seed)
    folds = dict(enumerate(made.parts.values(), 1))
    progress("slices are cached")
    shards = work / "shards"
    write_shards(
        IndexSource(source.index, source.root),
        shards,
        size=settings.cached_size,
        workers=settings.workers,
        scans_per_shard=_SLICES_PER_SHARD,
    )
    classes = sorted(set(SliceShards(shards).categories.tolist()))
    results: dict[str, list[FoldResult]] = {}
    for choice in settings.networks:
        results[choice.title] = []
        for fold in folds:
            folder = work / "fits" / _slug(choice) / f"fold-{fold}"
            result = run_fold(config_of(settings, choice), shards, folds, fold, classes, folder)
            results[choice.title].append(result)
            progress(f"{choice.title}, fold {fold} of {len(folds)}: accuracy {result.measures()['accuracy']:.3f}")
    chosen = _map_network(settings, results)
    cases = _score(settings, results[chosen], progress)
    cases.to_parquet(work / "cases.parquet")
    return _report(settings, source.index, results, chosen, cases, quick=quick, synthetic=synthetic)


def _source(
    settings: Settings, sources: Sequence[DataSource], work: Path, progress: Progress
) -> tuple[DataSource, bool]:
    if len(sources) > 1 or (sources and sources[0].name != BrainTumours.name):
        raise UsageError(
            "USAGE_DATA", "This experiment takes one dataset, the brain tumours.", f"Prepare {BrainTumours.name}."
        )
    if sources:
        return sources[0], False
    drawn, folder = settings.synthetic, work / "synthetic"
    progress("slices are drawn")
    write_synthetic_set(
        folder,
        patients=drawn.patients,
        slices_per_patient=drawn.slices_per_patient,
        size=drawn.size,
        seed=drawn.seed,
    )
    return DataSource(prepare_index(dataset_named(BrainTumours.name), folder, 1), folder), True


def _map_network(settings: Settings, results: Mapping[str, Sequence[FoldResult]]) -> str:
    if settings.map_network != "best":
        return settings.map_network
    return max(results, key=lambda title: folds_summary(results[title])["accuracy"].mean)


def _score(settings: Settings, results: Sequence[FoldResult], progress: Progress) -> pd.DataFrame:
    found = []
    for result in results:
        network: nn.Module = load_fitted(result.folder)[0]
        found.append(
            score_fold(
                network,
                result.slices,
                fold=result.fold,
                method=settings.method,
                layer=settings.layer,
                rules=settings.rules,
            )
        )
        progress(f"maps of fold {result.fold} are scored")
    return pd.concat(found, ignore_index=True)


def _report(
    settings: Settings,
    index: ScanIndex,
    results: Mapping[str, Sequence[FoldResult]],
    chosen: str,
    cases: pd.DataFrame,
    *,
    quick: bool,
    synthetic: bool,
) -> Report:
    real = not quick and not synthetic
    best = at_best_rule(cases)
    of_folds = best_rules(cases)
    slices = results[chosen][0].slices.shards
    data = [
        f"{len(index)} slices of {len(set(index.patient_keys))} patients"
        + (", drawn for this run in the layout of the brain-tumour set." if synthetic else f" of {index.dataset_name}.")
        + f" Folds {'as the dataset supplies them' if settings.fold_source == 'supplied' else 'made here'}, by patient;"
        f" slices of {settings.cached_size} × {settings.cached_size}.",
        f"Maps: {settings.method} at {settings.layer} of {chosen}, of the class that it predicts, interpolated from the"
        f" network's own resolution to {slices.size} × {slices.size}.",
    ]
    confusions = Table("confusion", f"Confusion, {chosen}", confusion(results[chosen]), note="Slices of all folds.")
    sections = [
        Section(
            "Classification",
            ["Every network is trained once for each fold, on the patients of the other folds."],
            [tables.classification_table(results, settings.draws, published=real), confusions],
            [figures.classification_figure(results)],
        ),
        Section(
            "Masks by threshold",
            ["A pixel is marked where the map of the predicted class exceeds the threshold that a rule finds in it."],
            [tables.rule_table(cases, settings.draws), tables.class_rule_table(cases, settings.draws)],
            [figures.rule_figure(cases, settings.draws)],
        ),
        Section(
            "Masks by kind of tumour",
            [f"The study found a mean IoU of {tables.PUBLISHED_IOU} with VGG-19 at the 95th percentile."]
            if real
            else [],
            [tables.class_table(best, of_folds, settings.draws, published=real)],
            [figures.example_figure(best, {result.fold: result for result in results[chosen]}, settings)],
        ),
        Section(
            "Taking size into account",
            _SIZE_TEXT,
            [
                tables.size_table(best, settings.size_edges_percent, settings.draws),
                tables.regression_table(best, settings.draws),
            ],
            [figures.size_figure(best), figures.strata_figure(best, settings.size_edges_percent, settings.draws)],
        ),
    ]
    return Report(
        title="Class activation maps against drawn masks: brain tumours",
        question="How well does the map of a tumour classifier outline the tumour that it classified, and how much of "
        "that is the map, how much the threshold, how much the size of the tumour?",
        data=data,
        sections=sections,
        limits=_limits(settings, synthetic=synthetic),
        settings=config_values(settings),
        quick=quick,
        sources=[_SOURCE],
    )


def _limits(settings: Settings, *, synthetic: bool) -> list[str]:
    limits = [
        "Two-dimensional slices only; slices of a patient are alike, which is why intervals draw patients.",
        "The study divided images, not patients, into folds, as far as its numbers of images tell. Its accuracies and "
        "these are not of the same task: here no patient is in two folds.",
        "The bound is that of a threshold on an interpolated map; contours that follow the image could exceed it.",
        "Masks are scored at the size that the network sees, not at the size the images were stored in.",
        "Chance is that of a mask anywhere in the image. A map that knows only where heads are lies above it.",
        "The rule for a fold is chosen on the other folds' slices, whose networks have seen this fold's patients.",
    ]
    if not settings.fit.network.pretrained:
        limits.append("Networks start from random weights; the study started from weights learned on photographs.")
    if synthetic:
        limits.insert(0, "The slices are drawn, not scanned: nothing here is about tumours or about patients.")
    return limits


def _slug(choice: NetworkChoice) -> str:
    return re.sub(r"[^a-z0-9]+", "-", choice.title.lower()).strip("-")
