"""Training and scoring of the classifiers, fold by fold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import accuracy_score, confusion_matrix, precision_recall_fscore_support

from hemocam_training.experiments.bootstrap import Estimate, bootstrap_statistic
from hemocam_training.experiments.cam_versus_mask.settings import NetworkChoice, Settings
from hemocam_training.experiments.fitted import fitted_network, logits_of
from hemocam_training.experiments.reporting import MeanSd, mean_sd
from hemocam_training.learning.config import FitConfig
from hemocam_training.learning.config_file import changed_config
from hemocam_training.learning.slices import CategorySlices
from hemocam_training.shards import SliceShards

MEASURES = ("accuracy", "precision", "recall", "f1")


@dataclass(frozen=True, eq=False)
class FoldResult:
    """What one network says of the slices of one fold.

    Attributes:
        fold: its number, from 1.
        patients: [slice].
        truth, predicted: [slice] number of the class.
        slices: the fold's own.
        folder: of the trained network.
    """

    fold: int
    patients: list[str]
    truth: NDArray[np.int64]
    predicted: NDArray[np.int64]
    slices: CategorySlices
    folder: Path

    def measures(self) -> dict[str, float]:
        return classification_measures(self.truth, self.predicted, len(self.slices.class_names))


def classification_measures(truth: NDArray[np.int64], predicted: NDArray[np.int64], classes: int) -> dict[str, float]:
    """Accuracy, and precision, recall and F1 as means over classes (macro), by scikit-learn."""
    precision, recall, f1, _ = precision_recall_fscore_support(
        truth, predicted, labels=range(classes), average="macro", zero_division=0
    )
    values = (accuracy_score(truth, predicted), precision, recall, f1)
    return {name: float(value) for name, value in zip(MEASURES, values, strict=True)}


def config_of(settings: Settings, choice: NetworkChoice) -> FitConfig:
    """The training of one network."""
    return changed_config(settings.fit, (f"network.architecture={choice.architecture}", *choice.settings))


def run_fold(
    config: FitConfig, shards: Path, folds: Mapping[int, Sequence[str]], fold: int, classes: list[str], out: Path
) -> FoldResult:
    """Train on all folds but one and classify that one."""
    every = SliceShards(shards, size=config.input_size)
    others = [patient for number, patients in folds.items() if number != fold for patient in patients]
    train, test = CategorySlices(every.subset(others), classes), CategorySlices(every.subset(folds[fold]), classes)
    network = fitted_network(config, out, train)
    logits = logits_of(network, test)
    truth, predicted = test.target.argmax(axis=1), logits.argmax(axis=1)
    return FoldResult(fold, test.shards.patients.tolist(), truth, predicted, test, out)


def folds_summary(results: Sequence[FoldResult]) -> dict[str, MeanSd]:
    """Mean and standard deviation over folds, by measure."""
    measured = [result.measures() for result in results]
    return {name: mean_sd([one[name] for one in measured]) for name in MEASURES}


def pooled_accuracy(results: Sequence[FoldResult], draws: int) -> Estimate:
    """Share of all slices that is classified right, each by the network that has not seen its patient."""
    right = np.concatenate([result.truth == result.predicted for result in results])
    patients = [patient for result in results for patient in result.patients]
    return bootstrap_statistic(lambda rows: float(right[rows].mean()), patients, draws=draws)


def confusion(results: Sequence[FoldResult]) -> list[dict[str, Any]]:
    """Rows of true classes, columns of predicted ones, slices of all folds."""
    names = results[0].slices.class_names
    truth = np.concatenate([result.truth for result in results])
    predicted = np.concatenate([result.predicted for result in results])
    counts = confusion_matrix(truth, predicted, labels=range(len(names)))
    return [
        {"true": name, **{f"called {other}": int(n) for other, n in zip(names, row, strict=True)}}
        for name, row in zip(names, counts, strict=True)
    ]
