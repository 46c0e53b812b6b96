"""A training from its settings: stages in order, each from the weights of the one before."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import nn

from hemocam_training.errors import ConfigRefused, DataRefused
from hemocam_training.learning.config import FitConfig, TrainerConfig
from hemocam_training.learning.config_file import config_values, read_config, write_config
from hemocam_training.learning.machines import processes
from hemocam_training.learning.networks import new_network
from hemocam_training.learning.records import BEST, CHECKPOINT, HISTORY, STATE, write_text
from hemocam_training.learning.slices import SliceSource, class_names, open_slices
from hemocam_training.learning.stages import Sources, StageRun, run_stage, wait_for_all
from HemoCAMLib.errors import UsageError

SETTINGS, CLASSES = "config.yaml", "classes.json"

#: Settings that may differ when a training is resumed.
_MAY_DIFFER = (
    "data.workers",
    "data.train.",
    "data.validation.",
    "data.split",
    *(f"trainer.{name}" for name in ("accelerator", "devices", "nodes", "threads", "log", "keep_every_check")),
)


@dataclass(frozen=True)
class FitResult:
    """What a training left.

    Attributes:
        folder: everything that it wrote.
        checkpoint: weights of the last check (averaged where the settings ask for it), a safetensors file.
        best: weights of the last stage's check with the best score.
        history: one row a check: ``stage``, ``size``, ``step``, ``slices``, ``epoch``, ``minutes``, ``loss``,
            ``learning_rate``, ``scans``, ``auroc`` and ``f1`` by class (``dice`` for a segmentation),
            ``mean_auroc``, ``mean_f1``, ``validation_loss``; None where there is none.
    """

    folder: Path
    checkpoint: Path
    best: Path
    history: list[dict[str, Any]]

    def best_epochs(self, count: int = 5, score: str = "mean_f1") -> list[dict[str, Any]]:
        """Rows of the last stage with the highest scores, best first."""
        rows = [row for row in self.history if row["stage"] == self.history[-1]["stage"]]
        return sorted(rows, key=lambda row: -(row[score] if row[score] is not None else -1.0))[:count]


def fit(
    config: FitConfig,
    out: Path,
    *,
    resume: bool = False,
    train: SliceSource | None = None,
    validation: SliceSource | None = None,
    until_step: int | None = None,
    show: bool = False,
) -> FitResult:
    """Train to the end of the last stage.

    Args:
        config: all settings.
        out: folder for weights, history, logs and the state to resume from; new, or an interrupted training's.
        resume: go on where an interrupted training of the same settings stood; a finished one is given back.
        train: slices to learn from; those that the settings name where None. They have to be of the right size.
        validation: slices to look at; those that the settings name where None and ``train`` is None.
        until_step: stop at the first check of a stage after so many steps, as if interrupted.
        show: a line of progress on standard error.

    Raises:
        ConfigRefused, DataRefused, UsageError: the settings, the slices or the folder cannot be used.
        WorkerFailed: ``TRAIN_DIVERGED``: the loss is no longer a number.
    """
    started = processes(config.trainer)
    history = _prepared(out, config, resume=resume, write=started.rank == 0)
    network: nn.Module | None = None
    with _torch_settings(config.trainer):
        for number, stage in enumerate(config.stages, start=1):
            if _weights_after(out, number).exists() and number < len(config.stages):
                continue
            sources = _sources(config, stage.input_size, train, validation)
            if network is None:
                network = _network_before(out, config, number, sources.train, write=started.rank == 0)
            if _weights_after(out, number).exists():
                break
            run = StageRun(config, number, out, [row for row in history if row["stage"] < number], until_step, show)
            finished = run_stage(run, network, sources, started)
            history = json.loads((out / HISTORY).read_text(encoding="utf-8"))
            network.load_state_dict(load_file(out / CHECKPOINT))
            if not finished:
                break
            if started.rank == 0:
                (out / STATE).unlink(missing_ok=True)
                _weights_after(out, number).write_bytes((out / CHECKPOINT).read_bytes())
            wait_for_all(started)
    return FitResult(out, out / CHECKPOINT, out / BEST, history)


def load_fitted(folder: Path, *, best: bool = False) -> tuple[nn.Module, FitConfig]:
    """The trained network and the settings it was trained with.

    Args:
        folder: of a training.
        best: the last stage's check with the best score instead of the last check.

    Returns:
        The network in evaluation mode, without gradients.

    Raises:
        ConfigRefused: ``TRAIN_CONFIG_FILE``: the folder is not that of a training that came to a check.
    """
    config = read_config(folder / SETTINGS)
    try:
        weights = load_file(folder / (BEST if best else CHECKPOINT))
    except OSError as error:
        raise ConfigRefused(
            "TRAIN_CONFIG_FILE", f"{folder.name} holds no trained weights.", "Wait for the training's first check."
        ) from error
    settings = replace(config.network, pretrained=False, start=None)
    network = new_network(settings, config.network.classes or len(fitted_classes(folder)), 0)
    network.load_state_dict(weights)
    return network.eval().requires_grad_(False), config


def fitted_classes(folder: Path) -> list[str]:
    """Names of the classes of a training's data, in the order of its logits."""
    names: list[str] = json.loads((folder / CLASSES).read_text(encoding="utf-8"))
    return names


def _weights_after(out: Path, number: int) -> Path:
    return out / f"stage-{number}.safetensors"


def _sources(config: FitConfig, size: int, train: SliceSource | None, validation: SliceSource | None) -> Sources:
    if train is None:
        opened = open_slices(config.data, size)
        assert opened is not None
        train, validation = opened, open_slices(config.data, size, validation=True)
    if validation is not None and class_names(train) != class_names(validation):
        raise DataRefused(
            "TRAIN_CLASSES",
            "The slices to look at have other classes than those to learn from.",
            "Divide the data so that every class is in both parts.",
        )
    return Sources(train, validation)


def _network_before(out: Path, config: FitConfig, number: int, source: SliceSource, *, write: bool) -> nn.Module:
    """The network as the stage before left it."""
    names = class_names(source)
    network = new_network(config.network, config.network.classes or len(names), config.trainer.seed)
    if write:
        write_text(out / CLASSES, json.dumps(names))
    if number > 1:
        network.load_state_dict(load_file(_weights_after(out, number - 1)))
    elif _weights_after(out, number).exists():
        network.load_state_dict(load_file(_weights_after(out, number)))
    return network


def _prepared(out: Path, config: FitConfig, *, resume: bool, write: bool) -> list[dict[str, Any]]:
    """The folder with its settings, and the history that is there."""
    # Settings alone are left by a training that never came to its first check: nothing of it is lost.
    if (out / HISTORY).exists():
        if not resume:
            raise UsageError(
                "USAGE_FILE_EXISTS", f"{out.name} holds a training already.", "Resume it, or name another folder."
            )
        _refuse_other_settings(read_config(out / SETTINGS), config)
        rows: list[dict[str, Any]] = json.loads((out / HISTORY).read_text(encoding="utf-8"))
        return rows
    if write:
        try:
            out.mkdir(parents=True, exist_ok=True)
            write_config(out / SETTINGS, config)
        except OSError as error:
            raise UsageError(
                "USAGE_CANNOT_WRITE", f"{out.name} cannot be written to.", "Name another folder."
            ) from error
    return []


def _refuse_other_settings(before: FitConfig, now: FitConfig) -> None:
    old, new = _flat(config_values(before)), _flat(config_values(now))
    for name in sorted(set(old) | set(new)):
        if old.get(name) != new.get(name) and not name.startswith(_MAY_DIFFER):
            raise ConfigRefused(
                "TRAIN_RESUME_OTHER",
                f"The training was begun with {name} {old.get(name)!r}, not {new.get(name)!r}.",
                "Resume it with its own settings, or begin another one.",
            )


def _flat(values: Any, name: str = "") -> dict[str, Any]:
    if isinstance(values, dict):
        pairs: Any = values.items()
    elif isinstance(values, list):
        pairs = enumerate(values)
    else:
        return {name: values}
    return {key: value for inner, part in pairs for key, value in _flat(part, f"{name}.{inner}".strip(".")).items()}


@contextlib.contextmanager
def _torch_settings(trainer: TrainerConfig) -> Iterator[None]:
    """Threads and determinism, put back afterwards."""
    threads, deterministic = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    chance = torch.get_rng_state()
    try:
        if trainer.threads is not None:
            torch.set_num_threads(trainer.threads)
        yield
    finally:
        torch.set_num_threads(threads)
        torch.use_deterministic_algorithms(deterministic)
        torch.set_rng_state(chance)
