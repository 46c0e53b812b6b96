"""One stage of a training as Lightning's trainer wants it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from hemocam_training.learning.batches import Batches, Share, ValidationBatches, finished, training_loader
from hemocam_training.learning.config import FitConfig, OptimiserConfig, StageConfig
from hemocam_training.learning.losses import mask_loss
from hemocam_training.learning.objectives import Objective, probabilities
from hemocam_training.learning.schedules import StageClock, learning_rate_factor
from hemocam_training.learning.scores import classification_scores, mask_scores
from hemocam_training.learning.slices import SliceSource, class_names
from HemoCAMLib.model import torchvision_guard  # noqa: F401  (lightning imports torchvision)

# isort: split
import lightning.pytorch as pl

#: Share of the newest loss in the one that is shown.
_NEWEST = 0.02
_DROPOUT = 17


class Learner(pl.LightningModule):
    """A network that learns for one stage.

    Everything that chance decides at a step follows from the step's number, so a training that was interrupted goes
    on exactly as it would have.

    Args:
        network: what learns in this stage.
        config: all settings.
        number: of the stage, from 1.
        objective: what is lowered.
        batches: to learn from.
        validation: to look at.
        clock: where the stage stands.
        share: what of a batch this process works on.
    """

    def __init__(
        self,
        network: nn.Module,
        config: FitConfig,
        number: int,
        objective: Objective,
        batches: Batches,
        validation: ValidationBatches | None,
        clock: StageClock,
        share: Share,
    ) -> None:
        super().__init__()
        self.network = network
        self.stage: StageConfig = config.stages[number - 1]
        self.mean_loss: float | None = None
        self.scores: dict[str, Any] = {}
        self._config, self._number, self._share = config, number, share
        self._kept = _NotCopied(objective, batches, validation, clock)
        self._seen: list[tuple[Tensor, Tensor]] = []
        self._mask_sums: list[tuple[Tensor, Tensor, float]] = []

    @property
    def clock(self) -> StageClock:
        """Where the stage stands."""
        return self._kept.clock

    @property
    def source(self) -> SliceSource:
        """Slices that are learned from."""
        return self._kept.batches.source

    def take(self, source: SliceSource) -> None:
        """Learn from other slices from the next check on."""
        self._kept.batches.source = source

    def learning_rate(self, step: int) -> float:
        """At that step."""
        largest = self.stage.learning_rate or self._config.optimiser.learning_rate
        return largest * learning_rate_factor(self._config.schedule, self.clock.progress(step))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """The optimiser of the settings."""
        rate = self.stage.learning_rate or self._config.optimiser.learning_rate
        return optimiser(self._config.optimiser, self.network, rate)

    def configure_gradient_clipping(
        self,
        optimizer: torch.optim.Optimizer,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """The norm of the settings.

        Lightning refuses it for fused optimisers under mixed precision, for the sake of their gradient scaler; only
        float16 has one.
        """
        if gradient_clip_val is not None and self._config.trainer.precision == "bf16-mixed":
            torch.nn.utils.clip_grad_norm_(self.parameters(), gradient_clip_val)
        else:
            self.clip_gradients(optimizer, gradient_clip_val, gradient_clip_algorithm)

    def train_dataloader(self) -> DataLoader[dict[str, Any]]:
        """From where the training stands to its next check."""
        return training_loader(
            self._kept.batches,
            start=lambda: self.global_step,
            over=self.clock.check_due,
            accumulate=self._share.accumulate,
            workers=self._config.data.workers,
            pin=self.device.type == "cuda",
        )

    def val_dataloader(self) -> DataLoader[dict[str, Any]] | list[Any]:
        """This process's share of the validation slices."""
        if self._kept.validation is None:
            return []
        return DataLoader(self._kept.validation, batch_size=None, num_workers=self._config.data.workers)

    def on_train_batch_start(self, batch: dict[str, Any], batch_idx: int) -> None:
        """Learning rate and chance of this step."""
        rate = self.learning_rate(self.global_step)
        optimisers: Any = self.optimizers(use_pl_optimizer=False)
        for group in optimisers.param_groups:
            group["lr"] = rate
        chance = [self._config.trainer.seed, self._number, _DROPOUT, self._share.rank, int(batch["position"])]
        torch.manual_seed(int(np.random.SeedSequence(chance).generate_state(1, np.uint64)[0]))

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> Tensor:
        """The loss of one part of a batch."""
        batch = finished(batch, self._kept.batches.bank)
        if self._kept.outputs is None:
            self._kept.outputs = self._kept.objective.outputs_of(self.network)
            if self._config.trainer.compile:
                self._kept.outputs = torch.compile(self._kept.outputs)
        loss = self._kept.objective(self._kept.outputs(self._laid_out(batch["x"])), batch)
        newest = loss.detach()
        if not torch.isfinite(newest):
            raise FloatingPointError
        self.mean_loss = (
            float(newest) if self.mean_loss is None else (1 - _NEWEST) * self.mean_loss + _NEWEST * float(newest)
        )
        return loss

    def on_validation_epoch_start(self) -> None:
        """Nothing seen yet."""
        self._seen, self._mask_sums = [], []

    def validation_step(self, batch: dict[str, Any], batch_idx: int) -> None:
        """Logits of some slices."""
        logits = self.network(self._laid_out(batch["x"]))
        if self._kept.objective.masked:
            masks = batch["masks"].long()
            called, count = logits.argmax(dim=1), logits.shape[1]
            common = torch.bincount(masks[called == masks].flatten(), minlength=count)
            both = torch.bincount(called.flatten(), minlength=count) + torch.bincount(masks.flatten(), minlength=count)
            self._mask_sums.append((common, both, float(mask_loss(logits, masks))))
        else:
            self._seen.append((batch["indices"], logits.float()))

    def on_validation_epoch_end(self) -> None:
        """Scores over all processes' slices."""
        validation = self._kept.validation
        if validation is None:
            return
        if self._kept.objective.masked:
            common = self._summed(torch.stack([sums[0] for sums in self._mask_sums]).sum(dim=0))
            both = self._summed(torch.stack([sums[1] for sums in self._mask_sums]).sum(dim=0))
            loss = torch.tensor([np.mean([sums[2] for sums in self._mask_sums])], device=self.device)
            mean = float(self._summed(loss)[0]) / self._share.processes
            self.scores = mask_scores(common.cpu().numpy().astype(float), both.cpu().numpy().astype(float), mean)
        else:
            source = validation.source
            found = probabilities(self._kept.objective.kind, self._gathered_logits(len(source))).cpu().numpy()
            self.scores = classification_scores(found, source.target, source.known, class_names(source))
        self._seen, self._mask_sums = [], []
        for name in ("mean_auroc", "mean_f1", "validation_loss"):
            value = self.scores[name]
            self.log(name, float("nan") if value is None else value, logger=False)

    def _gathered_logits(self, count: int) -> Tensor:
        """[slice, class] of all processes."""
        indices, logits = (torch.cat(parts) for parts in zip(*self._seen, strict=True))
        everything = torch.zeros(count, logits.shape[1], device=logits.device)
        everything[indices] = logits
        if self._share.processes == 1:
            return everything
        there = torch.zeros(count, device=logits.device)
        there[indices] = 1
        # Slices that were given twice, to come out even, are averaged with themselves.
        return self._summed(everything) / self._summed(there)[:, None]

    def _summed(self, values: Tensor) -> Tensor:
        if self._share.processes == 1:
            return values
        total: Tensor = self.trainer.strategy.reduce(values, reduce_op="sum")
        return total

    def _laid_out(self, x: Tensor) -> Tensor:
        return x.contiguous(memory_format=torch.channels_last) if self._config.trainer.channels_last else x


class _NotCopied:
    """What is no part of the network: a copy of the learner, for the average, shares it."""

    def __init__(
        self, objective: Objective, batches: Batches, validation: ValidationBatches | None, clock: StageClock
    ) -> None:
        self.objective, self.batches, self.validation, self.clock = objective, batches, validation, clock
        self.outputs: Callable[[Tensor], Any] | None = None

    def __deepcopy__(self, memo: dict[int, Any]) -> _NotCopied:
        return self


def optimiser(settings: OptimiserConfig, network: nn.Module, learning_rate: float) -> torch.optim.Optimizer:
    """The optimiser over a network's parameters that learn."""
    parameters = [parameter for parameter in network.parameters() if parameter.requires_grad]
    fused = True if settings.fused else None
    if settings.name == "sgd":
        return torch.optim.SGD(
            parameters,
            lr=learning_rate,
            momentum=settings.momentum,
            nesterov=settings.nesterov,
            weight_decay=settings.weight_decay,
            fused=fused,
        )
    method = torch.optim.AdamW if settings.name == "adamw" else torch.optim.Adam
    return method(parameters, lr=learning_rate, betas=settings.betas, weight_decay=settings.weight_decay, fused=fused)
