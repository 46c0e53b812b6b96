"""Weakly supervised quantification: networks trained on class labels, masks from their maps, Dice against outlines.

The tables of "Beyond Classification: Elaborating Network Predictions for Better Weakly Supervised Quantization".
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from hemocam_training.experiments.catalogue import DataSource, Progress
from hemocam_training.experiments.reporting import Report, Section
from hemocam_training.experiments.weak_quantification import figures, tables
from hemocam_training.experiments.weak_quantification.models import Judged, Parts, judged, parts_of
from hemocam_training.experiments.weak_quantification.settings import Settings
from hemocam_training.learning.config_file import config_values

QUESTION = (
    "How well do masks follow from maps of networks that saw class labels only? The LSE-UNet, with and without its "
    "heat-map consistency loss, against Grad-CAM of plain classifiers, by classifier's gates and by true labels, under "
    "several mask thresholds."
)
LIMITS = (
    "True labels as gates take away every false alarm and miss of the classifier: they ask for the map alone.",
    "Thresholds that were tuned on outlines make a method less weakly supervised than its name; the rows of equal "
    "thresholds do without.",
    "Subtypes compete for a pixel by their scores on each map's own scale, as in the paper: the peak of a faint map "
    "counts as much as that of a strong one.",
)
SOURCES = (
    "Chen and Kuo, Beyond Classification: Elaborating Network Predictions for Better Weakly Supervised Quantization, "
    "algorithm 1, equations 4-7, tables 1-7, section 6.",
    "Selvaraju et al., Grad-CAM, ICCV 2017.",
    "Pinheiro and Collobert, From Image-level to Pixel-level Labeling with Convolutional Networks, CVPR 2015.",
)


def run(settings: Settings, sources: Sequence[DataSource], work: Path, *, quick: bool, progress: Progress) -> Report:
    """The experiment; see :class:`~hemocam_training.experiments.catalogue.ExperimentModule`.

    Raises:
        LeakFound: ``TRAIN_LEAK``.
        UsageError: ``USAGE_DATA``.
    """
    parts = parts_of(settings, list(sources), work, progress)
    models = [judged(settings, model, parts, work, progress) for model in settings.models]
    progress("tables and figures")
    return _report(settings, sources, parts, models, quick=quick)


def _report(
    settings: Settings, sources: Sequence[DataSource], parts: Parts, models: Sequence[Judged], *, quick: bool
) -> Report:
    draws = settings.draws
    by_classifier = tables.dice_table(models, parts, draws, of_truth=False)
    by_truth = tables.dice_table(models, parts, draws, of_truth=True)
    sections = [
        Section("Classification", tables=(tables.auroc_table(models, parts, draws),)),
        Section(
            "Masks",
            tables=(by_classifier, by_truth, tables.scan_dice_table(models, parts, draws)),
            figures=(figures.dice_figure(by_classifier, by_truth), figures.mask_figure(models, parts)),
        ),
        Section(
            "Mask thresholds",
            tables=(tables.threshold_table(models), tables.threshold_sets_table(models, parts, draws)),
        ),
    ]
    if settings.ablation:
        pair = [next(one for one in models if one.title == title) for title in settings.ablation]
        sections.append(
            Section(
                "Ablation: heat-map consistency",
                tables=(tables.ablation_table(pair[0], pair[1], parts, draws),),
                figures=(figures.ablation_figure(pair[0], pair[1], parts),),
            )
        )
    return Report(
        title="Weakly supervised quantification of hemorrhage subtypes",
        question=QUESTION,
        data=_data_lines(settings, sources, parts),
        sections=sections,
        limits=LIMITS,
        settings=config_values(settings),
        quick=quick,
        sources=SOURCES,
    )


def _data_lines(settings: Settings, sources: Sequence[DataSource], parts: Parts) -> list[str]:
    origin = " and ".join(dict.fromkeys(source.name for source in sources)) or "phantoms"
    counted = {
        "learned from": parts.train,
        "class thresholds": parts.tune,
        "AUROC": parts.test,
        "mask thresholds": parts.tune_masks,
        "Dice": parts.test_masks,
    }
    told = "; ".join(f"{what}: {len(part)} slices of {part.scan_count} scans" for what, part in counted.items())
    size = settings.fit.input_size
    return [
        f"{origin}, {size} × {size}. {told}. Patients are in one part only.",
        "Masks by algorithm 1 of the paper: each map over its own largest value times 255; no brain mask, no "
        "refinement.",
    ]
