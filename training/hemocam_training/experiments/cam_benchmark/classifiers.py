"""Classifiers compared: F1 of the best epochs, and precision and recall on patients that nothing was chosen on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit
from sklearn.metrics import average_precision_score
from torch import Tensor

from hemocam_training.experiments.bootstrap import Estimate, Rows, bootstrap_statistic
from hemocam_training.experiments.cam_benchmark.settings import Settings, Variant
from hemocam_training.experiments.fitted import logits_of
from hemocam_training.experiments.reporting import MeanSd, Table, mean_sd
from hemocam_training.learning.config import FitConfig
from hemocam_training.learning.config_file import changed_config
from hemocam_training.learning.fit import fit, load_fitted
from hemocam_training.learning.slices import SliceSource
from hemocam_training.metrics import auroc
from hemocam_training.shards import SliceShards
from HemoCAMLib.subtypes import ANY

#: Thresholds between the ends of a precision-recall curve, both included.
CURVE_POINTS = 41
#: Probability from which a slice is called.
CALLED = 0.5


@dataclass(frozen=True, eq=False)
class AnySlices:
    """Cached slices with the one label whether they bleed.

    Attributes:
        shards: the slices.
    """

    shards: SliceShards

    class_names = (ANY,)

    @cached_property
    def target(self) -> NDArray[np.float32]:
        """[slice, 1]."""
        return self.shards.target[:, :1]

    @cached_property
    def known(self) -> NDArray[np.float32]:
        """[slice, 1]."""
        return self.shards.known[:, :1]

    def __len__(self) -> int:
        return len(self.shards)

    def stacks_hu(self, indices: NDArray[np.int64], repeated: NDArray[np.bool_]) -> Tensor:
        """See :class:`hemocam_training.learning.slices.SliceSource`."""
        return self.shards.stacks_hu(indices, repeated)

    def balanced_indices(self, rng: np.random.Generator, count: int) -> NDArray[np.int64]:
        """Half of them any slices, half of them bleeding."""
        bleeding = np.flatnonzero(self.target[:, 0] > 0)
        some = count // 2 if bleeding.size else 0
        return np.concatenate([rng.integers(len(self), size=count - some), rng.choice(bleeding, some)])


@dataclass(frozen=True, eq=False)
class VariantResult:
    """One classifier after its training.

    Attributes:
        variant: which.
        config: of its training.
        folder: of its training.
        epochs_f1: F1 of "any" at every check on the tuning patients.
        best_f1: over the best epochs.
        patients: [slice] of the test slices whose label is known.
        probability: [slice] of "any", by the weights of the best check.
        bleeding: [slice] truth.
    """

    variant: Variant
    config: FitConfig
    folder: Path
    epochs_f1: list[float]
    best_f1: MeanSd
    patients: list[str]
    probability: NDArray[np.float64]
    bleeding: NDArray[np.bool_]

    def curve(self, ends: tuple[float, float]) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
        """Thresholds, precision, recall; precision is NaN where nothing is called."""
        thresholds = np.linspace(*ends, CURVE_POINTS)
        pairs = np.array([precision_recall(self.probability, self.bleeding, float(t)) for t in thresholds])
        return thresholds, pairs[:, 0], pairs[:, 1]

    def scores(self, draws: int) -> dict[str, Estimate]:
        """On the test patients: precision, recall, F1 at a probability of one half, average precision, AUROC."""

        def average_precision(rows: Rows) -> float:
            shown = self.bleeding[rows]
            return float(average_precision_score(shown, self.probability[rows])) if shown.any() else float("nan")

        def at_half(rows: Rows, which: int) -> float:
            precision, recall = precision_recall(self.probability[rows], self.bleeding[rows], CALLED)
            both = precision + recall
            return (precision, recall, 2 * precision * recall / both if both else 0.0)[which]

        statistics = {
            "precision": lambda rows: at_half(rows, 0),
            "recall": lambda rows: at_half(rows, 1),
            "f1": lambda rows: at_half(rows, 2),
            "average_precision": average_precision,
            "auroc": lambda rows: auroc(self.probability[rows], self.bleeding[rows]),
        }
        return {
            name: bootstrap_statistic(statistic, self.patients, draws=draws) for name, statistic in statistics.items()
        }


def precision_recall(
    probability: NDArray[np.float64], bleeding: NDArray[np.bool_], threshold: float
) -> tuple[float, float]:
    """Of calling what reaches a threshold; NaN where nothing is called, or nothing is there.

    >>> precision_recall(np.array([0.9, 0.6, 0.2]), np.array([True, False, True]), 0.5)
    (0.5, 0.5)
    """
    called = probability >= threshold
    hits = int((called & bleeding).sum())
    precision = hits / int(called.sum()) if called.any() else float("nan")
    return precision, hits / int(bleeding.sum()) if bleeding.any() else float("nan")


def run_variant(settings: Settings, variant: Variant, parts: Mapping[str, SliceShards], out: Path) -> VariantResult:
    """Train one classifier, choose its epochs on the tuning patients, classify the test patients."""
    config = changed_config(settings.fit, variant.settings)
    train, tune, test = (_labelled(parts[part], settings) for part in ("train", "tune", "test"))
    history = fit(config, out, resume=True, train=train, validation=tune).history
    last = [row for row in history if row["stage"] == history[-1]["stage"]]
    f1 = [float(row["f1"][ANY] or 0.0) for row in last]
    logits = logits_of(load_fitted(out, best=True)[0], test)[:, 0]
    known = test.known[:, 0] > 0
    return VariantResult(
        variant,
        config,
        out,
        f1,
        mean_sd(sorted(f1)[-settings.best_epochs :]),
        parts["test"].patients[known].tolist(),
        expit(logits[known].astype(np.float64)),
        test.target[known, 0] > 0,
    )


def classifier_table(results: Sequence[VariantResult], settings: Settings) -> Table:
    """The factors and their variants."""
    rows = [
        {
            "factor": result.variant.factor,
            "variant": result.variant.title,
            "best_f1": result.best_f1,
            **result.scores(settings.draws),
        }
        for result in results
    ]
    return Table(
        "classifiers",
        "Classifiers",
        rows,
        {"best_f1": f"F1 of {settings.best_epochs} best epochs", "f1": "F1", "auroc": "AUROC"},
        "Third column: mean (standard deviation) of the epochs with the highest F1 on the tuning patients, as in the "
        "paper. Others: the best epoch's weights on the test patients, a slice called from a probability of 0.5; 95 % "
        "intervals of a bootstrap over patients.",
        best=dict.fromkeys(("best_f1", "f1", "average_precision", "auroc"), "max"),
    )


def _labelled(shards: SliceShards, settings: Settings) -> SliceSource:
    return AnySlices(shards) if settings.classes == "any" else shards
