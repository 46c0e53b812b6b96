"""The training loop: one-cycle AdamW with averaged weights, checkpoints while it goes on."""

from __future__ import annotations

import argparse
import copy
import json
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from hemocam_training.augmentation import NoiseBank, augment, windowed
from hemocam_training.cache import SIZE
from hemocam_training.metrics import auroc
from hemocam_training.stacks import CachedStacks
from HemoCAMLib.subtypes import CLASS_NAMES

#: Network, windowed stacks [N, 3, H, W], target [N, C] and which of it is known [N, C], to the loss to lower.
Loss = Callable[[nn.Module, Tensor, Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class FitOptions:
    """How to train.

    Attributes:
        minutes: length of the schedule; ignored where ``steps`` is given.
        steps: length in steps, or None.
        batch: slices in a step.
        learning_rate: largest of the one-cycle schedule.
        weight_decay: of AdamW.
        averaging: decay of the exponential average of weights.
        repeated_share: share of stacks whose neighbours are missing (a single slice as input).
        seed: of everything.
        size: rows and columns of the training stacks.
        without_hidden: leave out phantoms whose subdural a reader would hardly see.
    """

    minutes: float = 55.0
    steps: int | None = None
    batch: int = 16
    learning_rate: float = 1.5e-3
    weight_decay: float = 0.02
    averaging: float = 0.998
    repeated_share: float = 0.3
    seed: int = 0
    size: int = SIZE
    without_hidden: bool = False


def training_step(
    network: nn.Module, loss_of: Loss, optimiser: torch.optim.Optimizer, x: Tensor, target: Tensor, known: Tensor
) -> float:
    """One step, the network in bfloat16; the loss before it."""
    loss = loss_of(network, x.contiguous(memory_format=torch.channels_last), target, known)
    optimiser.zero_grad(set_to_none=True)
    loss.backward()
    nn.utils.clip_grad_norm_(network.parameters(), 5.0)
    optimiser.step()
    return float(loss.detach())


def learning_rate_factor(progress: float) -> float:
    """One cycle: linear rise over the first twentieth, cosine to 1 % at the end."""
    if progress < 0.05:
        return 0.05 + 0.95 * progress / 0.05
    return 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * min(1.0, (progress - 0.05) / 0.95)))


class Fit:
    """A training run that can be looked at while it goes on.

    Args:
        network: changed in place.
        loss_of: what to lower.
        cache: folder with ``train`` and ``validation``.
        options: how.
    """

    def __init__(self, network: nn.Module, loss_of: Loss, cache: Path, options: FitOptions) -> None:
        self.network, self.options, self._loss_of, self._cache = network, options, loss_of, cache
        self.average = {name: value.detach().clone() for name, value in network.state_dict().items()}
        self.data = self._stacks()
        self._optimiser = torch.optim.AdamW(
            network.parameters(), lr=options.learning_rate, weight_decay=options.weight_decay, betas=(0.9, 0.98)
        )
        self._rng = np.random.default_rng([options.seed, 11])
        self._generator = torch.Generator().manual_seed(options.seed)
        self._bank = NoiseBank(options.size, seed=options.seed)
        self.step = 0
        self.loss = 0.0

    def reload(self) -> None:
        """Take in phantoms that were rendered since."""
        self.data = self._stacks()

    def _stacks(self) -> CachedStacks:
        return CachedStacks(self._cache / "train", size=self.options.size, without_hidden=self.options.without_hidden)

    def advance(self, progress: float) -> None:
        """One step at that share of the schedule."""
        for group in self._optimiser.param_groups:
            group["lr"] = self.options.learning_rate * learning_rate_factor(progress)
        indices = self.data.balanced_indices(self._rng, self.options.batch)
        repeated = self._rng.random(indices.size) < self.options.repeated_share
        stacks = self.data.stacks_hu(indices, repeated)
        x = augment(stacks, torch.from_numpy(repeated), self._bank, self._generator)
        target, known = torch.from_numpy(self.data.target[indices]), torch.from_numpy(self.data.known[indices])
        loss = training_step(self.network, self._loss_of, self._optimiser, x, target, known)
        self.loss = loss if self.step == 0 else 0.98 * self.loss + 0.02 * loss
        self.step += 1
        decay = min(self.options.averaging, (1 + self.step) / (10 + self.step))
        state = self.network.state_dict()
        floating = [name for name, kept in self.average.items() if kept.dtype.is_floating_point]
        torch._foreach_lerp_([self.average[n] for n in floating], [state[n] for n in floating], 1 - decay)


def slice_logits(network: nn.Module, data: CachedStacks, bank: NoiseBank, *, sd_hu: float = 3.0) -> Tensor:
    """[slice, class] logits of every slice with noise of one strength, without other changes."""
    network.eval()
    generator = torch.Generator().manual_seed(1)
    found = []
    with torch.inference_mode():
        for indices in np.array_split(np.arange(len(data)), max(1, len(data) // 16)):
            hu = data.stacks_hu(indices, np.zeros(indices.size, bool))
            hu = hu + sd_hu * bank.draw(hu.shape[0] * 3, generator).view_as(hu)
            found.append(network(windowed(hu).contiguous(memory_format=torch.channels_last)))
    return torch.cat(found)


def validate(network: nn.Module, weights: dict[str, Tensor], data: CachedStacks, bank: NoiseBank) -> dict[str, float]:
    """Slice-level AUROC by class name on known labels, of a network like this one with these weights."""
    judged = copy.deepcopy(network)
    judged.load_state_dict(weights)
    logits = slice_logits(judged, data, bank).numpy()
    scores = {}
    for c, name in enumerate(CLASS_NAMES):
        known = data.known[:, c] > 0
        scores[name] = auroc(logits[known, c], data.target[known, c] > 0)
    return scores


def add_fit_options(parser: argparse.ArgumentParser) -> None:
    """The command-line options that every training has."""
    parser.add_argument("--cache", type=Path, required=True, help="folder with train and validation")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--checkpoint-minutes", type=float, default=5.0)
    parser.add_argument("--without-hidden", action="store_true", help="leave out barely visible subdurals")
    parser.add_argument("--threads", type=int, default=2)


def fit_to(out: Path, fit: Fit, cache: Path, checkpoint_minutes: float) -> None:
    """Train to the end of the schedule, leaving ``checkpoint.safetensors`` and ``progress.json`` in ``out``."""
    out.mkdir(parents=True, exist_ok=True)
    validation, bank = (
        CachedStacks(cache / "validation", size=fit.options.size),
        NoiseBank(fit.options.size, 8, seed=99),
    )
    start = last = time.monotonic()
    history: list[dict[str, object]] = []
    while True:
        elapsed = (time.monotonic() - start) / 60
        done = fit.step / fit.options.steps if fit.options.steps else elapsed / fit.options.minutes
        if done >= 1 or (time.monotonic() - last) / 60 >= checkpoint_minutes:
            scores = validate(fit.network, fit.average, validation, bank)
            history.append(
                {
                    "size": fit.options.size,
                    "step": fit.step,
                    "slices": fit.step * fit.options.batch,
                    "minutes": round(elapsed, 1),
                    "loss": round(fit.loss, 4),
                    "scans": len(fit.data.seeds),
                    "auroc": {name: round(value, 4) for name, value in scores.items()},
                }
            )
            print(json.dumps(history[-1]), flush=True)
            save_file({name: value.contiguous() for name, value in fit.average.items()}, out / "checkpoint.safetensors")
            (out / "progress.json").write_text(json.dumps(history, indent=1), encoding="utf-8")
            if done >= 1:
                return
            fit.reload()
            last = time.monotonic()
        fit.network.train()
        fit.advance(done)
        if fit.step % 50 == 0:
            print(f"step {fit.step} {elapsed:.1f} min loss {fit.loss:.4f}", flush=True)
