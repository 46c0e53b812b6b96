"""A training step with and without each accelerator option, and what preparing its batch costs. ``make bench``.

``python bench_training.py [--quick] [--config NAME] [--compile] [--device cuda]``. The step is that of
``hemocam-train fit``: pass, losses, gradients, clipping, optimiser, average of weights. The options are measured in
turns within one run; each row's gain is against the plain step (float32, contiguous, all cores, unfused) of the same
run. Writes ``results/training.json``.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from bench_report import Figure, console, report
from hemocam_training.learning.averaging import ExponentialAverage
from hemocam_training.learning.batches import Batches, Share
from hemocam_training.learning.config import FitConfig
from hemocam_training.learning.config_file import read_config
from hemocam_training.learning.learner import optimiser
from hemocam_training.learning.networks import new_network
from hemocam_training.learning.objectives import Objective
from numpy.typing import NDArray
from torch import Tensor, nn

ROUNDS = 7


@dataclass(frozen=True)
class Option:
    """One way to take the step.

    Attributes:
        name: for the table.
        threads: of torch; 0 for all cores.
        half: run the network in bfloat16.
        channels_last: memory layout.
        fused: torch's fused optimiser.
        accumulate: parts of the batch.
        compile: ``torch.compile``.
    """

    name: str
    threads: int = 0
    half: bool = False
    channels_last: bool = False
    fused: bool = False
    accumulate: int = 1
    compile: bool = False


PLAIN = Option("plain: float32, all cores")
OPTIONS = (
    PLAIN,
    Option("one thread", threads=1),
    Option("channels-last", channels_last=True),
    Option("bfloat16", half=True),
    Option("fused optimiser", fused=True),
    Option("two accumulated parts", accumulate=2),
    Option("bfloat16, channels-last, as the model that ships is trained", half=True, channels_last=True),
    Option("bfloat16, channels-last, fused", half=True, channels_last=True, fused=True),
    Option("bfloat16, channels-last, one thread", threads=1, half=True, channels_last=True),
)
COMPILED = Option("bfloat16, channels-last, compiled", half=True, channels_last=True, compile=True)


class RandomSlices:
    """Slices of random HU, half of them positive."""

    def __init__(self, count: int, size: int) -> None:
        rng = np.random.default_rng(0)
        self._hu = torch.from_numpy(rng.uniform(-60, 110, (count, size, size)).astype(np.float32))
        self.target = rng.integers(0, 2, (count, 6)).astype(np.float32)
        self.known = np.ones((count, 6), np.float32)

    def __len__(self) -> int:
        return len(self._hu)

    def stacks_hu(self, indices: NDArray[np.int64], repeated: NDArray[np.bool_]) -> Tensor:
        return self._hu[torch.from_numpy(indices)][:, None].repeat(1, 3, 1, 1)

    def balanced_indices(self, rng: np.random.Generator, count: int) -> NDArray[np.int64]:
        return rng.integers(len(self), size=count)


class Step:
    """A network with its optimiser and average, and one step of its training."""

    def __init__(self, config: FitConfig, option: Option, batch: dict[str, Any], device: str) -> None:
        self._option, self._config, self._device = option, config, device
        network: Any = new_network(config.network, batch["target"].shape[1], 0).to(device)
        if option.channels_last:
            network = network.to(memory_format=torch.channels_last)
        self._network: nn.Module = network.train()
        self._objective = Objective(config.loss, "all", None)
        outputs = self._objective.outputs_of(network)
        self._outputs = torch.compile(outputs) if option.compile else outputs
        settings = replace(config.optimiser, fused=option.fused)
        self._optimiser = optimiser(settings, network, config.optimiser.learning_rate)
        average = ExponentialAverage(config.trainer.averaging or 0.998)
        self._average = torch.optim.swa_utils.AveragedModel(network, use_buffers=True, **average._kwargs)
        self._parts = [self._part(batch, number) for number in range(option.accumulate)]

    def _part(self, batch: dict[str, Any], number: int) -> dict[str, Any]:
        chosen = slice(number, None, self._option.accumulate)
        x = batch["x"][chosen].to(self._device)
        return {
            "x": x.contiguous(memory_format=torch.channels_last) if self._option.channels_last else x,
            "target": batch["target"][chosen].to(self._device),
            "known": batch["known"][chosen].to(self._device),
            "known_count": (batch["known_count"] / self._option.accumulate).to(self._device),
        }

    def __call__(self) -> float:
        """Milliseconds of one step."""
        torch.set_num_threads(self._option.threads or ALL_THREADS)
        start = time.perf_counter()
        for part in self._parts:
            with torch.autocast(self._device, torch.bfloat16, enabled=self._option.half):
                outputs = self._outputs(part["x"])
            torch.autograd.backward(self._objective(outputs, part) / len(self._parts))
        nn.utils.clip_grad_norm_(self._network.parameters(), self._config.optimiser.clip_norm or 5.0)
        self._optimiser.step()
        self._optimiser.zero_grad(set_to_none=True)
        self._average.update_parameters(self._network)
        if self._device == "cuda":
            torch.cuda.synchronize()
        return 1000 * (time.perf_counter() - start)


ALL_THREADS = torch.get_num_threads()


def measure(actions: dict[str, Callable[[], float]], rounds: int) -> dict[str, list[float]]:
    """Milliseconds of every action, taken in turns; the first round warms up and does not count."""
    found: dict[str, list[float]] = {name: [] for name in actions}
    for number in range(rounds + 1):
        for name, action in actions.items():
            taken = action()
            if number:
                found[name].append(taken)
    return found


def figures_of(found: dict[str, list[float]], batch: int) -> list[Figure]:
    """Step times, gains over the plain step, and the share of a step that preparing its batch takes."""
    medians = {name: statistics.median(values) for name, values in found.items()}
    figures = []
    for name, ms in medians.items():
        figures.append(Figure(f"{name}/ms", name, ms, "ms a step", "", f"{1000 * batch / ms:.1f} slices a second"))
        if name not in (PLAIN.name, PREPARING):
            figures.append(Figure(f"{name}/gain", f"{name}: gain", medians[PLAIN.name] / ms, "×"))
    fastest = min(ms for name, ms in medians.items() if name != PREPARING)
    title = "batches prepared by one process per fastest step"
    figures.append(Figure("preparing/steps", title, fastest / medians[PREPARING], "×"))
    return figures


PREPARING = "preparing the batch: augmentation of slices in memory"


def main() -> None:
    """Measures and reports."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="small input, two rounds, no results file")
    parser.add_argument("--config", default="shipped", help="configuration whose last stage is measured")
    parser.add_argument("--compile", action="store_true", help="torch.compile too: minutes, and needs a C++ compiler")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    options = parser.parse_args()
    config = read_config(Path(options.config))
    stage = config.stages[-1]
    size, batch = (64, 4) if options.quick else (stage.input_size, stage.batch)
    batches = Batches(
        RandomSlices(64, size), config.data, config.augmentation, size=size, batch=batch, seed=(0, 0), share=Share()
    )

    def prepare() -> float:
        torch.set_num_threads(1)
        start = time.perf_counter()
        batches[int(time.perf_counter_ns() % 1000)]
        return 1000 * (time.perf_counter() - start)

    wanted = [*OPTIONS, *([COMPILED] if options.compile else [])]
    actions: dict[str, Callable[[], float]] = {
        option.name: Step(config, option, batches[0], options.device) for option in wanted
    }
    found = measure({**actions, PREPARING: prepare}, 2 if options.quick else ROUNDS)
    title = f"Training step: {options.config}, {batch} slices of {size} × {size}, {options.device}"
    device = torch.cuda.get_device_name() if options.device == "cuda" else ""
    keep = not options.quick and options.config == "shipped" and options.device == "cpu"
    report(title, "training", figures_of(found, batch), console(), keep=keep, device=device)


if __name__ == "__main__":
    main()
