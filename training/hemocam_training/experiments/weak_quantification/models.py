"""The compared networks: trained, asked, and their thresholds chosen on slices that they did not learn from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from hemocam_training.experiments.catalogue import DataSource, Progress
from hemocam_training.experiments.fitted import fitted_network, logits_of
from hemocam_training.experiments.parts import dataset_parts, phantom_parts
from hemocam_training.experiments.truth_scans import with_masks
from hemocam_training.experiments.weak_quantification.masks import class_thresholds, mask_thresholds
from hemocam_training.experiments.weak_quantification.predictions import Predictions, predictions
from hemocam_training.experiments.weak_quantification.settings import ModelChoice, Settings
from hemocam_training.leak_check import check_leak
from hemocam_training.learning.config import FitConfig
from hemocam_training.learning.config_file import changed_config
from hemocam_training.shards import SliceShards
from HemoCAMLib.errors import UsageError


@dataclass(frozen=True, eq=False)
class Parts:
    """What is learned from, chosen on and tested on.

    Attributes:
        train: learned from.
        tune: class thresholds are chosen on.
        test: AUROC is measured on.
        tune_masks: mask thresholds are chosen on.
        test_masks: Dice is measured on.
    """

    train: SliceShards
    tune: SliceShards
    test: SliceShards
    tune_masks: SliceShards
    test_masks: SliceShards


@dataclass(frozen=True, eq=False)
class Judged:
    """One network after its training.

    Attributes:
        title: of the network.
        test_probabilities: [slice, class] on the slices of the AUROC.
        test: probabilities and maps on the slices of the Dice.
        class_thresholds: by class name.
        mask_thresholds: by subtype, of 255.
    """

    title: str
    test_probabilities: NDArray[np.float32]
    test: Predictions
    class_thresholds: Mapping[str, float]
    mask_thresholds: Mapping[str, float]


def parts_of(settings: Settings, sources: list[DataSource], work: Path, told: Progress) -> Parts:
    """Phantoms; or a dataset for class labels and one for masks, or one dataset for both.

    Raises:
        LeakFound: ``TRAIN_LEAK``: scans of the dataset with masks are among those that are learned from.
        DataRefused: ``DATA_NO_MASKS``.
        UsageError: ``USAGE_DATA``: more than two datasets.
    """
    size = settings.fit.input_size
    if not sources:
        found = phantom_parts(settings.phantoms, work, size, told)
        return Parts(found["train"], found["tune"], found["test"], found["tune"], found["test"])
    if len(sources) > 2:
        raise UsageError("USAGE_DATA", "More than two datasets were given.", "Give labels first, then masks.")
    if len(sources) == 1:
        found = dataset_parts(
            with_masks(sources[0], "subtypes"), settings.fractions, work, size, told, workers=settings.workers
        )
        return Parts(found["train"], found["tune"], found["test"], found["tune"], found["test"])
    labels, masks = sources[0], with_masks(sources[1], "subtypes")
    check_leak(labels.index, masks.index).refuse()
    found = dataset_parts(labels, settings.fractions, work, size, told, workers=settings.workers)
    outlined = dataset_parts(masks, settings.mask_fractions, work / "masks", size, told, workers=settings.workers)
    return Parts(found["train"], found["tune"], found["test"], outlined["tune"], outlined["test"])


def judged(settings: Settings, model: ModelChoice, parts: Parts, work: Path, told: Progress) -> Judged:
    """Trains a network, unless that was done before, and asks it about every part."""
    folder = settings.folder(work, model.title)
    told(f"training {model.title}")
    network = fitted_network(_config(settings, model, work), folder / "fit", parts.train, parts.tune)
    told(f"maps of {model.title}")
    made = {
        part: predictions(network, slices, model.method, model.layer, folder / part)
        for part, slices in (("tune", parts.tune_masks), ("test", parts.test_masks))
    }
    if parts.tune is parts.tune_masks:
        chosen_on, probabilities = made["tune"].probabilities, made["test"].probabilities
    else:
        chosen_on, probabilities = (expit(logits_of(network, part)) for part in (parts.tune, parts.test))
    return Judged(
        model.title,
        probabilities,
        made["test"],
        class_thresholds(chosen_on, parts.tune),
        mask_thresholds(made["tune"], parts.tune_masks, settings.grid),
    )


def _config(settings: Settings, model: ModelChoice, work: Path) -> FitConfig:
    config = changed_config(settings.fit, model.settings)
    if not model.encoder_of:
        return config
    start = settings.folder(work, model.encoder_of) / "fit"
    return replace(config, network=replace(config.network, pretrained=False, start=start))
