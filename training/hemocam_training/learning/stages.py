"""One stage of a training on Lightning's trainer."""

from __future__ import annotations

import contextlib
import logging
import signal
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from hemocam_training.errors import ConfigRefused
from hemocam_training.learning.averaging import ExponentialAverage
from hemocam_training.learning.batches import Batches, Share, ValidationBatches
from hemocam_training.learning.config import FitConfig, StageConfig, TrainerConfig
from hemocam_training.learning.learner import Learner
from hemocam_training.learning.machines import Processes
from hemocam_training.learning.networks import EncoderClassifier
from hemocam_training.learning.objectives import Objective, positive_weight
from hemocam_training.learning.records import SCORES, STATE, ProgressLine, Records
from hemocam_training.learning.schedules import StageClock
from hemocam_training.learning.slices import SliceSource, open_slices
from HemoCAMLib.errors import Cancelled, WorkerFailed
from HemoCAMLib.model import torchvision_guard  # noqa: F401  (lightning imports torchvision)
from HemoCAMLib.model.lse_unet import LseUNet

# isort: split
import lightning.pytorch as pl
from lightning.fabric.plugins.environments.slurm import SLURMEnvironment
from lightning.pytorch.callbacks import Callback, EarlyStopping
from lightning.pytorch.loggers import Logger, MLFlowLogger, TensorBoardLogger
from lightning.pytorch.strategies import DDPStrategy

LOGS = "logs"


@dataclass(frozen=True)
class Sources:
    """Slices of a stage.

    Attributes:
        train: to learn from.
        validation: to look at, if any.
    """

    train: SliceSource
    validation: SliceSource | None


@dataclass(frozen=True)
class StageRun:
    """A stage that is to be run.

    Attributes:
        config: all settings.
        number: of the stage, from 1.
        out: folder of the training.
        before: rows of the stages before.
        until_step: stop after so many steps as if interrupted.
        show: a line of progress.
    """

    config: FitConfig
    number: int
    out: Path
    before: list[dict[str, Any]]
    until_step: int | None
    show: bool


def run_stage(run: StageRun, network: nn.Module, sources: Sources, started: Processes) -> bool:
    """Train one stage, from its state on disk if there is one; the weights are then in the folder.

    Args:
        run: the stage.
        network: the whole network; changed in place.
        sources: slices of the stage's size.
        started: processes that share the work.

    Returns:
        Whether the stage came to its end.

    Raises:
        WorkerFailed: ``TRAIN_DIVERGED``: the loss is no longer a number.
        Cancelled: the user interrupted it.
    """
    config, stage, settings = run.config, run.config.stages[run.number - 1], run.config.trainer
    _refuse_impossible(stage, settings, started)
    share = Share(started.rank, started.count, settings.accumulate)
    learner = _learner(run, network, sources, share)
    average = ExponentialAverage(settings.averaging) if settings.averaging is not None else None
    records = Records(
        run.out,
        run.number,
        run.before,
        average,
        network,
        monitor=settings.monitor,
        keep_all=settings.keep_every_check,
        reload=(lambda: learner.take(_reopened(config, stage.input_size))) if config.data.reload else None,
        until_step=run.until_step,
    )
    state = run.out / STATE
    with _quiet():
        trainer = _trainer(config, run, _callbacks(run, records, average, sources, started), started)
        try:
            trainer.fit(learner, ckpt_path=str(state) if state.exists() else None, weights_only=True)
        except FloatingPointError as error:
            raise WorkerFailed(
                "TRAIN_DIVERGED",
                f"The loss is no longer a number at step {trainer.global_step} of stage {run.number}.",
                "Lower the learning rate or clip the gradient; a smaller precision may be the cause too.",
            ) from error
        except SystemExit as ended:
            if not trainer.interrupted:
                raise
            # Lightning makes an interruption the end of the process, and lets further ones pass unheard.
            signal.signal(signal.SIGINT, signal.default_int_handler)
            raise Cancelled(
                "CANCELLED", "The training was interrupted.", "Resume it: it goes on from its last check."
            ) from ended
    stopped_early = run.until_step is None or trainer.global_step < run.until_step
    return learner.clock.finished(trainer.global_step) or (settings.early_stop is not None and stopped_early)


def _refuse_impossible(stage: StageConfig, settings: TrainerConfig, started: Processes) -> None:
    if stage.minutes is not None and started.count > 1:
        raise ConfigRefused(
            "TRAIN_CONFIG_MINUTES",
            "Several processes cannot train by the clock: they would not stop at the same step.",
            "Give the stage's length in steps or epochs.",
        )
    if settings.accelerator == "gpu" and not _on_gpu(settings):
        raise ConfigRefused("TRAIN_CONFIG_DEVICES", "There is no GPU here.", "Set trainer.accelerator to auto or cpu.")
    if settings.precision == "16-mixed" and not _on_gpu(settings):
        raise ConfigRefused(
            "TRAIN_CONFIG_PRECISION", "16-mixed needs a GPU.", "Set trainer.precision to bf16-mixed or 32-true."
        )


def _callbacks(
    run: StageRun, records: Records, average: ExponentialAverage | None, sources: Sources, started: Processes
) -> list[Callback]:
    settings = run.config.trainer
    found: list[Callback] = [records, *([average] if average is not None else [])]
    if settings.early_stop is not None and sources.validation is not None:
        name, sign = SCORES[settings.monitor]
        stop = EarlyStopping(
            monitor=name,
            mode="max" if sign > 0 else "min",
            patience=settings.early_stop.checks,
            min_delta=settings.early_stop.least_gain,
            check_finite=False,
            verbose=False,
        )
        found.append(stop)
    if run.show and started.rank == 0:
        found.append(ProgressLine(run.number, len(run.config.stages)))
    return found


def wait_for_all(started: Processes) -> None:
    """Until every process is here."""
    if started.count > 1:
        torch.distributed.barrier()


def _learner(run: StageRun, network: nn.Module, sources: Sources, share: Share) -> Learner:
    config, stage = run.config, run.config.stages[run.number - 1]
    trained = network
    if stage.part == "encoder":
        assert isinstance(network, LseUNet)
        trained = EncoderClassifier(network, network.class_count)
    if config.trainer.channels_last:
        trained = trained.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    objective = Objective(config.loss, stage.part, positive_weight(config.loss, sources.train))
    batches = Batches(
        sources.train,
        config.data,
        config.augmentation,
        size=stage.input_size,
        batch=stage.batch,
        seed=(config.trainer.seed, run.number),
        share=share,
        masked=objective.masked,
        on_device=_on_gpu(config.trainer),
    )
    validation = None
    if sources.validation is not None:
        per_pass = max(1, stage.batch // (share.processes * share.accumulate))
        validation = ValidationBatches(
            sources.validation, config.data, size=stage.input_size, batch=per_pass, share=share, masked=objective.masked
        )
    clock = StageClock(stage, len(sources.train))
    return Learner(trained, config, run.number, objective, batches, validation, clock, share)


def _on_gpu(settings: TrainerConfig) -> bool:
    return settings.accelerator != "cpu" and torch.cuda.is_available()


def _reopened(config: FitConfig, size: int) -> SliceSource:
    opened = open_slices(config.data, size)
    assert opened is not None
    return opened


def _trainer(config: FitConfig, run: StageRun, callbacks: list[Callback], started: Processes) -> pl.Trainer:
    settings = config.trainer
    plugins: list[Any] = [SLURMEnvironment(auto_requeue=False)] if started.started_by == "slurm" else []
    return pl.Trainer(
        accelerator="gpu" if _on_gpu(settings) else "cpu",
        devices=started.devices,
        num_nodes=started.nodes,
        # Some encoders have parameters that only their own classifiers use.
        strategy=DDPStrategy(find_unused_parameters=True) if started.count > 1 else "auto",
        precision=settings.precision,
        accumulate_grad_batches=settings.accumulate,
        gradient_clip_val=config.optimiser.clip_norm,
        deterministic=settings.deterministic,
        sync_batchnorm=settings.sync_batch_norm,
        callbacks=callbacks,
        logger=_logger(settings, run),
        plugins=plugins,
        default_root_dir=run.out,
        max_epochs=-1,
        num_sanity_val_steps=0,
        use_distributed_sampler=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        log_every_n_steps=10,
    )


def _logger(settings: TrainerConfig, run: StageRun) -> Logger | bool:
    name = f"stage-{run.number}"
    if settings.log == "tensorboard":
        return TensorBoardLogger(run.out, name=LOGS, version=name)
    if settings.log == "mlflow":
        try:
            return MLFlowLogger(run.out.name, run_name=name, save_dir=str(run.out / LOGS))
        except ModuleNotFoundError as error:
            raise ConfigRefused(
                "TRAIN_CONFIG_LOG", "MLflow is not installed.", "Install it with: pip install mlflow", str(error)
            ) from error
    return False


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without Lightning's advice, which is about settings that are not the user's."""
    loggers = [logging.getLogger(name) for name in ("lightning.pytorch", "lightning.fabric")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"lightning\..*")
        warnings.filterwarnings("ignore", message=r".*isinstance\(treespec, LeafSpec\).*")
        try:
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)
