"""Every setting of a training, typed; read from YAML by :mod:`hemocam_training.learning.config_file`.

Ranges are checked where an object is made, so settings written in Python are held to the same rules as a file.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

Share = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=1)]

_STRICT = ConfigDict(extra="forbid", arbitrary_types_allowed=False)


def _in_order(name: str, pair: tuple[float, float]) -> None:
    if pair[0] > pair[1]:
        raise ValueError(f"{name} is a lowest and a highest value, in that order")


@dataclass(frozen=True, config=_STRICT)
class DataConfig:
    """Which slices, and how batches are drawn from them.

    Attributes:
        train: folders of cached slices to learn from; none where sources are handed to ``fit``.
        painted: folders of heads (``hemocam-train anatomies``) on which blood is painted while the training goes on,
            instead of ``train``.
        validation: folders of cached slices that are only looked at; those of ``train`` where there is a split.
        split: parts of the patients, a JSON file of ``hemocam-train split``.
        train_parts, validation_parts: of that split.
        labels: ``subtypes``: any hemorrhage and its subtypes; ``categories``: the classes that a dataset has instead,
            of which a slice has one, such as kinds of tumour.
        sampling: ``balanced``: half of a batch any slices, half positive for a subtype drawn evenly; ``all``: every
            slice once an epoch, in an order drawn anew.
        repeated_share: share of stacks whose neighbours are missing, the slice standing in for them.
        without_hidden: leave out phantoms whose subdural a reader would hardly see.
        reload: take in slices that were written to the folder since, at every check; such a run cannot be repeated
            exactly.
        validation_noise_sd_hu: noise added to validation slices; for phantoms, which are stored free of noise.
        workers: processes that prepare batches beside the training process.
    """

    train: tuple[Path, ...] = ()
    painted: tuple[Path, ...] = ()
    validation: tuple[Path, ...] = ()
    split: Path | None = None
    train_parts: tuple[str, ...] = ("train",)
    validation_parts: tuple[str, ...] = ("tune",)
    labels: Literal["subtypes", "categories"] = "subtypes"
    sampling: Literal["balanced", "all"] = "balanced"
    repeated_share: Share = 0.0
    without_hidden: bool = False
    reload: bool = False
    validation_noise_sd_hu: NotNegative = 0.0
    workers: Annotated[int, Field(ge=0, le=256)] = 0


@dataclass(frozen=True, config=_STRICT)
class NetworkConfig:
    """The network and the weights that it starts from.

    Attributes:
        architecture: a name of :mod:`HemoCAMLib.model.registry`, or of the papers' networks in
            :data:`hemocam_training.learning.networks.PAPER_NETWORKS`, which brings its arguments.
        arguments: of the architecture, as a bundle writes them.
        pretrained: start the encoder from published weights, which are fetched if they are not at hand.
        start: weights to start from: a safetensors file, a bundle or the name of one that ships, or the folder of an
            earlier training. Where they are those of another kind of network on the same encoder, the encoder is taken.
        first_bias: of the LSE-UNet's local scores; 2 makes few positions positive at the beginning.
        classes: number of logits; as many as the data has labels where None.
    """

    architecture: str
    arguments: dict[str, Any] = Field(default_factory=dict)
    pretrained: bool = False
    start: Path | None = None
    first_bias: float | None = None
    classes: Annotated[int, Field(ge=1, le=1000)] | None = None


@dataclass(frozen=True, config=_STRICT)
class LossConfig:
    """What is lowered.

    Attributes:
        kind: ``classification``: binary cross entropy per class; ``lse``: that at four scales, and the consistency of
            their heat maps (equations 6 and 7 of the weakly supervised paper); ``one-of-many``: cross entropy of
            classes that exclude each other; ``segmentation``: cross entropy and soft Dice of masks.
        positive_weight: weight of positive labels: one number, one for each class, or ``balanced``: each class's
            negatives divided by its positives.
        alpha: of equation 6, finest scale first.
        beta: of equation 7, finest step first; zeros leave the consistency out.
        label_smoothing: of ``one-of-many``.
    """

    kind: Literal["classification", "lse", "one-of-many", "segmentation"] = "classification"
    positive_weight: Positive | tuple[Positive, ...] | Literal["balanced"] = 1.0
    alpha: tuple[NotNegative, NotNegative, NotNegative, NotNegative] = (2.0, 0.5, 0.25, 0.125)
    beta: tuple[NotNegative, NotNegative, NotNegative] = (0.5, 0.25, 0.125)
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0


@dataclass(frozen=True, config=_STRICT)
class OptimiserConfig:
    """How weights move.

    Attributes:
        name: the method.
        learning_rate: largest of the schedule.
        weight_decay: decoupled for ``adamw``, added to the gradient for the others.
        betas: of ``adam`` and ``adamw``.
        momentum: of ``sgd``.
        nesterov: of ``sgd``.
        clip_norm: largest norm of the gradient; None leaves it as it is.
        fused: torch's fused form of the step.
    """

    name: Literal["adamw", "adam", "sgd"] = "adamw"
    learning_rate: Positive = 1e-3
    weight_decay: NotNegative = 0.0
    betas: tuple[Share, Share] = (0.9, 0.999)
    momentum: Share = 0.9
    nesterov: bool = False
    clip_norm: Positive | None = None
    fused: bool = False


@dataclass(frozen=True, config=_STRICT)
class ScheduleConfig:
    """How the learning rate goes over a stage, as a factor of the largest.

    Attributes:
        shape: ``one-cycle``: linear rise over ``warm_up``, then a cosine to ``last``; ``steps``: multiplied by
            ``factor`` at every ``every`` of the stage; ``constant``. ``warm_up`` acts in all of them.
        warm_up: share of the stage.
        first: factor at its beginning.
        last: factor at its end.
        every: share of the stage between two falls.
        factor: of one fall.
    """

    shape: Literal["one-cycle", "steps", "constant"] = "one-cycle"
    warm_up: Annotated[float, Field(ge=0, lt=1)] = 0.05
    first: Share = 0.05
    last: Share = 0.01
    every: Annotated[float, Field(gt=0, le=1)] = 0.34
    factor: Annotated[float, Field(gt=0, le=1)] = 0.1


@dataclass(frozen=True, config=_STRICT)
class StageConfig:
    """One part of the training; each starts from the weights of the one before, with a fresh optimiser.

    Attributes:
        input_size: rows and columns of the stacks.
        batch: slices in a step, over all processes and accumulated parts together.
        minutes, steps, epochs: the length; exactly one of them. With ``minutes`` the number of steps depends on the
            machine. An epoch is as many steps as the data has full batches.
        part: ``encoder``: only the encoder learns, as a classifier of its own (average pooling and a linear layer that
            are dropped afterwards); ``all``.
        learning_rate: instead of the optimiser's.
        check_minutes, check_steps, check_epochs: how often the validation slices are looked at and a checkpoint is
            written; at most one of them. Where none is given: once an epoch for ``epochs``, ten times otherwise.
    """

    input_size: Annotated[int, Field(ge=32, le=2048)]
    batch: Count
    minutes: Positive | None = None
    steps: Count | None = None
    epochs: Count | None = None
    part: Literal["all", "encoder"] = "all"
    learning_rate: Positive | None = None
    check_minutes: Positive | None = None
    check_steps: Count | None = None
    check_epochs: Count | None = None

    def __post_init__(self) -> None:
        if sum(length is not None for length in (self.minutes, self.steps, self.epochs)) != 1:
            raise ValueError("a stage has exactly one of minutes, steps and epochs")
        if sum(every is not None for every in (self.check_minutes, self.check_steps, self.check_epochs)) > 1:
            raise ValueError("a stage has at most one of check_minutes, check_steps and check_epochs")
        if self.check_minutes is not None and self.minutes is None:
            raise ValueError("check_minutes goes with minutes only")


@dataclass(frozen=True, config=_STRICT)
class AugmentationConfig:
    """Chance changes of slice stacks, made on HU before windowing; all ranges are drawn evenly, one draw a stack.

    Left and right may be swapped: the subtypes are the same on both sides.

    Attributes:
        mirror_share: share of stacks that are swapped.
        rotation_deg: largest angle to either side.
        wide_rotation_deg, wide_share: another largest angle, for that share of stacks.
        scale: the image is shown at 1/scale of its size.
        stretch: of the columns against the rows.
        shift: largest move, as a share of half the image.
        blur_share, blur_sigma_px: share of stacks that are blurred, and by how much.
        sharpen_share, sharpen_amount: share of the others that are sharpened by an unsharp mask of 0.8 px.
        noise_sd_hu: correlated CT noise.
        gain: factor of the HU.
        offset_hu: added to the HU.
        slow_sd_hu: slow brightness changes, as scatter leaves them.
        near_bone_hu: brightness beside bone, as beam hardening leaves it.
    """

    mirror_share: Share = 0.5
    rotation_deg: Annotated[float, Field(ge=0, le=180)] = 11.46
    wide_rotation_deg: Annotated[float, Field(ge=0, le=180)] = 28.65
    wide_share: Share = 0.15
    scale: tuple[Positive, Positive] = (0.85, 1.3)
    stretch: tuple[Positive, Positive] = (0.95, 1.05)
    shift: Share = 0.12
    blur_share: Share = 0.35
    blur_sigma_px: tuple[Positive, Positive] = (0.3, 1.0)
    sharpen_share: Share = 0.2
    sharpen_amount: NotNegative = 0.6
    noise_sd_hu: tuple[NotNegative, NotNegative] = (1.5, 5.0)
    gain: tuple[Positive, Positive] = (0.94, 1.06)
    offset_hu: tuple[float, float] = (-6.0, 8.0)
    slow_sd_hu: tuple[NotNegative, NotNegative] = (0.0, 4.0)
    near_bone_hu: tuple[NotNegative, NotNegative] = (0.0, 20.0)

    def __post_init__(self) -> None:
        for name in (
            "scale",
            "stretch",
            "blur_sigma_px",
            "noise_sd_hu",
            "gain",
            "offset_hu",
            "slow_sd_hu",
            "near_bone_hu",
        ):
            _in_order(name, getattr(self, name))
        if not math.isfinite(sum(self.offset_hu)):
            raise ValueError("offset_hu must be finite")


@dataclass(frozen=True, config=_STRICT)
class EarlyStopConfig:
    """End a stage when its score no longer rises.

    Attributes:
        checks: so many checks in a row without a better score.
        least_gain: smallest rise that counts.
    """

    checks: Count
    least_gain: NotNegative = 0.0


@dataclass(frozen=True, config=_STRICT)
class TrainerConfig:
    """On what, how exactly, and what is written.

    Attributes:
        accelerator: ``auto`` takes a GPU where there is one.
        devices: processes on this machine; None takes what torchrun or SLURM started, else one.
        nodes: machines; None takes what torchrun or SLURM started, else one.
        precision: Lightning's names; ``bf16-mixed`` runs the network in bfloat16, weights stay in float32.
        accumulate: parts that a batch is cut into on each device, their gradients added.
        averaging: decay of the exponential average of weights, which is what is judged and kept; None keeps the
            weights themselves. It rises to that value over the first steps.
        monitor: score of a check that chooses the best one and stops early: mean over classes of ``auroc`` or
            ``f1``, or the ``loss``.
        early_stop: None goes on to the end.
        seed: of weights, batches, chance changes and dropout.
        deterministic: only operations that give the same bits again on the same machine.
        threads: of torch on the CPU; None leaves it as it is.
        channels_last: memory layout of networks and stacks.
        compile: ``torch.compile`` the network.
        sync_batch_norm: normalise over the batch of all processes (GPUs only).
        log: where curves go; ``tensorboard`` and ``mlflow`` write to the run's own folder.
        keep_every_check: keep the weights of every check, not only of the last and the best.
    """

    accelerator: Literal["auto", "cpu", "gpu"] = "auto"
    devices: Count | None = None
    nodes: Count | None = None
    precision: Literal["32-true", "bf16-mixed", "16-mixed"] = "32-true"
    accumulate: Count = 1
    averaging: Annotated[float, Field(ge=0, lt=1)] | None = 0.998
    monitor: Literal["auroc", "f1", "loss"] = "auroc"
    early_stop: EarlyStopConfig | None = None
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    deterministic: bool = False
    threads: Count | None = None
    channels_last: bool = True
    compile: bool = False
    sync_batch_norm: bool = False
    log: Literal["tensorboard", "mlflow", "none"] = "tensorboard"
    keep_every_check: bool = False


@dataclass(frozen=True, config=_STRICT)
class FitConfig:
    """A training.

    Attributes:
        network: what learns.
        stages: in order.
        data: from what.
        loss: what is lowered.
        optimiser: how weights move.
        schedule: how the learning rate goes over a stage.
        augmentation: chance changes; None shows the slices as they are.
        trainer: on what, how exactly, and what is written.
    """

    network: NetworkConfig
    stages: Annotated[tuple[StageConfig, ...], Field(min_length=1)]
    data: DataConfig = Field(default_factory=DataConfig)
    loss: LossConfig = Field(default_factory=LossConfig)
    optimiser: OptimiserConfig = Field(default_factory=OptimiserConfig)
    schedule: ScheduleConfig = Field(default_factory=ScheduleConfig)
    augmentation: AugmentationConfig | None = None
    trainer: TrainerConfig = Field(default_factory=TrainerConfig)

    def __post_init__(self) -> None:
        if self.loss.kind == "lse" and self.network.architecture != "lse-unet":
            raise ValueError("the loss lse is for the architecture lse-unet")
        if any(stage.part == "encoder" for stage in self.stages) and self.network.architecture != "lse-unet":
            raise ValueError("only an lse-unet has an encoder that can be trained first")

    @property
    def input_size(self) -> int:
        """Rows and columns of the last stage, which are those of the model."""
        return self.stages[-1].input_size
