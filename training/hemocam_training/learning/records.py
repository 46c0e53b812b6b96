"""What a stage leaves while it goes on: weights, history, the state to resume from, a line of progress."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from safetensors.torch import save_file
from torch import nn

from hemocam_training.learning.averaging import ExponentialAverage
from hemocam_training.learning.learner import Learner
from HemoCAMLib.cli.streams import messages
from HemoCAMLib.model import torchvision_guard  # noqa: F401  (lightning imports torchvision)

# isort: split
import lightning.pytorch as pl

HISTORY, CHECKPOINT, BEST, STATE = "progress.json", "checkpoint.safetensors", "best.safetensors", "state.ckpt"

#: Which of a row's values each score of the settings is, and its sign: higher is better.
SCORES = {"auroc": ("mean_auroc", 1.0), "f1": ("mean_f1", 1.0), "loss": ("validation_loss", -1.0)}


class Records(pl.Callback):
    """Writes at every check, and ends the stage when its clock says so.

    Args:
        out: folder of the training.
        stage: number of the stage, from 1.
        before: rows of the stages before.
        average: that is judged and kept; None for the weights themselves.
        whole: the whole network, of which this stage may train a part.
        monitor: score that chooses the best check.
        keep_all: weights of every check.
        reload: slices that were written since, after every check; None for none.
        until_step: end the run there as if it had been interrupted.
    """

    def __init__(
        self,
        out: Path,
        stage: int,
        before: list[dict[str, Any]],
        average: ExponentialAverage | None,
        whole: nn.Module,
        *,
        monitor: str,
        keep_all: bool,
        reload: Callable[[], None] | None,
        until_step: int | None,
    ) -> None:
        self.rows = list(before)
        self._out, self._stage, self._average, self._whole = out, stage, average, whole
        self._monitor, self._keep_all, self._reload, self._until_step = monitor, keep_all, reload, until_step
        self._best: float | None = None
        self._minutes = 0.0
        self._mean_loss: float | None = None

    def state_dict(self) -> dict[str, Any]:
        """What resuming needs besides weights and optimiser."""
        return {
            "rows": json.dumps(self.rows),
            "best": self._best,
            "minutes": self._minutes,
            "mean_loss": self._mean_loss,
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """See :meth:`state_dict`."""
        self.rows, self._best = json.loads(state_dict["rows"]), state_dict["best"]
        self._minutes, self._mean_loss = state_dict["minutes"], state_dict["mean_loss"]

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """The clock runs on from where it stood."""
        learner = _learner(pl_module)
        learner.clock.start(self._minutes)
        learner.mean_loss = self._mean_loss

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """A check: Lightning's epochs are what lies between two of them."""
        learner, step = _learner(pl_module), trainer.global_step
        learner.clock.checked()
        self._minutes, self._mean_loss = learner.clock.minutes, learner.mean_loss
        row = self._row(learner, step)
        self.rows.append(row)
        name, sign = SCORES[self._monitor]
        score = None if row[name] is None else sign * row[name]
        is_best = self._best is None or (score is not None and score > self._best) or not learner.scores
        if is_best:
            self._best = score
        if trainer.is_global_zero:
            self._write(learner, row, is_best=is_best)
        if trainer.logger is not None:
            trainer.logger.log_metrics(_curves(row), step)
        finished = learner.clock.finished(step)
        # A finished stage is told by its weights; a state at its end would be resumed into one step too many.
        if not finished:
            trainer.save_checkpoint(self._out / f"{STATE}.partial")
            if trainer.is_global_zero:
                (self._out / f"{STATE}.partial").replace(self._out / STATE)
        trainer.strategy.barrier()
        if self._reload is not None:
            self._reload()
        if finished or (self._until_step is not None and step >= self._until_step):
            trainer.should_stop = True

    def _row(self, learner: Learner, step: int) -> dict[str, Any]:
        scans = getattr(learner.source, "scan_count", None)
        return {
            "stage": self._stage,
            "size": learner.stage.input_size,
            "step": step,
            "slices": step * learner.stage.batch,
            "epoch": round(step / learner.clock.steps_per_epoch, 3),
            "minutes": round(learner.clock.minutes, 2),
            "loss": None if learner.mean_loss is None else round(learner.mean_loss, 5),
            "learning_rate": learner.learning_rate(step),
            "scans": scans,
            "mean_auroc": None,
            "mean_f1": None,
            "validation_loss": None,
            **learner.scores,
        }

    def _write(self, learner: Learner, row: dict[str, Any], *, is_best: bool) -> None:
        weights = self._weights(learner)
        write_weights(self._out / CHECKPOINT, weights)
        if is_best:
            write_weights(self._out / BEST, weights)
        if self._keep_all:
            folder = self._out / "checks"
            folder.mkdir(exist_ok=True)
            write_weights(folder / f"{self._stage}-{row['step']:07d}.safetensors", weights)
        write_text(self._out / HISTORY, json.dumps(self.rows, indent=1))

    def _weights(self, learner: Learner) -> dict[str, torch.Tensor]:
        """Of the whole network, with the average's where this stage trains them."""
        judged = learner if self._average is None else self._average.averaged(learner)
        trained: Any = judged.network
        found = self._whole.state_dict()
        found |= {name: value for name, value in trained.state_dict().items() if name in found}
        return found


class ProgressLine(pl.Callback):
    """One line on the terminal: stage, step, loss, last score, time left."""

    def __init__(self, stage: int, stages: int) -> None:
        columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[shown]}"))
        self._progress = Progress(*columns, TimeRemainingColumn(), console=messages(), transient=True)
        self._title = f"stage {stage} of {stages}"
        self._task: TaskID | None = None

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """The line appears."""
        self._task = self._progress.add_task(self._title, total=1.0, shown="")
        self._progress.start()

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """The line moves."""
        assert self._task is not None
        learner, step = _learner(pl_module), trainer.global_step
        shown = [f"step {step}" + (f"/{learner.clock.steps}" if learner.clock.steps else "")]
        shown += [f"loss {learner.mean_loss:.4f}"] if learner.mean_loss is not None else []
        shown += [
            f"{title} {learner.scores[name]:.3f}"
            for name, title in (("mean_auroc", "AUROC"), ("mean_f1", "F1"))
            if learner.scores.get(name) is not None
        ]
        self._progress.update(self._task, completed=learner.clock.progress(step), shown=", ".join(shown))

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """The line goes."""
        self._progress.stop()

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        """The line goes, whatever happened."""
        self._progress.stop()


def write_weights(path: Path, weights: dict[str, torch.Tensor]) -> None:
    """A safetensors file, whole or not at all."""
    partial = path.with_name(path.name + ".partial")
    save_file({name: value.detach().cpu().contiguous().clone() for name, value in weights.items()}, partial)
    partial.replace(path)


def write_text(path: Path, text: str) -> None:
    """A text file, whole or not at all."""
    partial = path.with_name(path.name + ".partial")
    partial.write_text(text, encoding="utf-8")
    partial.replace(path)


def _learner(module: pl.LightningModule) -> Learner:
    assert isinstance(module, Learner)
    return module


def _curves(row: dict[str, Any]) -> dict[str, float]:
    """Numbers of a row by the names that they have in a log."""
    flat = {name: value for name, value in row.items() if isinstance(value, float | int) and name != "stage"}
    for score in ("auroc", "f1", "dice"):
        flat |= {f"{score}/{name}": value for name, value in row.get(score, {}).items() if value is not None}
    return {name: float(value) for name, value in flat.items()}
