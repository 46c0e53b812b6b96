"""Weights and history of what was trained: a folder of ``hemocam-train fit``, a file of weights, or a bundle."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hemocam_training.bundle_export.description import Description
from hemocam_training.errors import ConfigRefused
from hemocam_training.learning.config_file import read_config
from hemocam_training.learning.fit import SETTINGS, fitted_classes
from hemocam_training.learning.networks import registry_name, stored_weights
from hemocam_training.learning.records import BEST, CHECKPOINT, HISTORY
from HemoCAMLib.model.bundle import ModelBundle
from HemoCAMLib.model.bundle_source import METADATA_MEMBER
from HemoCAMLib.subtypes import CLASS_NAMES

#: Of a training's last row, what a bundle keeps.
_KEPT = ("stage", "size", "step", "slices", "minutes", "scans")


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """What was trained.

    Attributes:
        architecture, arguments: as the registry names them.
        classes: in the order of the logits.
        input_size: rows and columns.
        weights: by name.
        history: last row of every stage.
    """

    architecture: str
    arguments: Mapping[str, Any]
    classes: tuple[str, ...]
    input_size: int
    weights: Mapping[str, NDArray[Any]]
    history: tuple[dict[str, Any], ...]

    @property
    def scans(self) -> int | None:
        """How many scans the last stage learned from, where its history tells."""
        found = self.history[-1].get("scans") if self.history else None
        return int(found) if found else None


def read_checkpoint(runs: Sequence[Path], description: Description, *, best: bool = False) -> Checkpoint:
    """The weights of the last of some trainings, each of which started from the one before.

    Args:
        runs: folders, or a safetensors file or a bundle alone.
        description: tells the network where the folder does not.
        best: the check with the best score instead of the last one.

    Raises:
        ConfigRefused: ``TRAIN_START``: there are no weights; ``TRAIN_EXPORT_NETWORK``: nothing tells the network.
    """
    last = runs[-1]
    if (last / METADATA_MEMBER).is_file() or last.suffix == ".zip":
        return _of_bundle(ModelBundle.open(last))
    weights_path = last / (BEST if best else CHECKPOINT) if last.is_dir() else last
    weights = {name: value.numpy() for name, value in stored_weights(weights_path).items()}
    history = tuple(row for run in runs for row in _last_rows(run))
    if last.is_dir() and (last / SETTINGS).is_file():
        config = read_config(last / SETTINGS)
        architecture, arguments = registry_name(config.network)
        return Checkpoint(architecture, arguments, tuple(fitted_classes(last)), config.input_size, weights, history)
    if description.network is None:
        raise ConfigRefused(
            "TRAIN_EXPORT_NETWORK",
            f"Nothing tells which network the weights of {last.name} belong to.",
            "Give the description a network: architecture, arguments, input_size.",
        )
    network = description.network
    size = int(history[-1]["size"]) if history and "size" in history[-1] else network.input_size
    return Checkpoint(network.architecture, network.arguments, network.classes or CLASS_NAMES, size, weights, history)


def _of_bundle(bundle: ModelBundle) -> Checkpoint:
    metadata = bundle.metadata
    stages = metadata.metrics.get("training", {}).get("stages", ())
    weights = {name: np.asarray(value) for name, value in bundle.read_weights().items()}
    single = {name: value.astype(np.float32) if value.dtype.kind == "f" else value for name, value in weights.items()}
    return Checkpoint(
        metadata.architecture,
        metadata.arguments,
        metadata.subtypes,
        metadata.input_size[0],
        single,
        tuple(dict(stage) for stage in stages),
    )


def _last_rows(run: Path) -> list[dict[str, Any]]:
    """The last row of every stage of a training; none where there is no history."""
    place = run / HISTORY
    if not place.is_file():
        return []
    rows: list[dict[str, Any]] = json.loads(place.read_text(encoding="utf-8"))
    by_stage = {row.get("stage", 1): row for row in rows}
    kept = [{key: row[key] for key in _KEPT if row.get(key) is not None} for row in by_stage.values()]
    if kept:
        scores = rows[-1].get("auroc")
        kept[-1] |= {"auroc": scores} if isinstance(scores, dict) else {}
    return kept
