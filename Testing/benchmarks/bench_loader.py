"""Is training ever waiting for its slices? Throughput of cached slices beside what a training step needs.

``python bench_loader.py [--quick] [--scans N]``. Phantoms are cached once (``hemocam-train cache``), then read in
balanced batches as ``hemocam-train fit`` reads them, and a few heads are drawn to be painted on. Reading, painting and
the step are measured in turns within one run.
Writes ``results/loader.json``.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from bench_report import Figure, console, report
from bench_training import ALL_THREADS, OPTIONS, Step, measure
from hemocam_training.learning.batches import Batches, Share
from hemocam_training.learning.config_file import read_config
from hemocam_training.painting.anatomies import write_anatomies
from hemocam_training.painting.source import PaintedSlices
from hemocam_training.scan_sources import PhantomSource
from hemocam_training.seeds import TRAINING_SEED
from hemocam_training.shards import SliceShards, write_shards

ROUNDS, BATCHES_A_ROUND = 7, 8
#: The fastest way to take the step without compiling: the most that a loader may be asked for.
FASTEST = next(option for option in OPTIONS if option.half and option.channels_last and option.fused)


def timed(action: Callable[[], object]) -> float:
    """Milliseconds, on one thread of torch."""
    torch.set_num_threads(1)
    start = time.perf_counter()
    action()
    elapsed_ms = 1000 * (time.perf_counter() - start)
    torch.set_num_threads(ALL_THREADS)
    return elapsed_ms


def forget(folder: Path) -> None:
    """Takes the files of a folder out of the system's memory, where it lets a program do that."""
    os.sync()
    for path in folder.iterdir():
        with path.open("rb") as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def main() -> None:
    """Measures and reports."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="small slices, two rounds, no results file")
    parser.add_argument("--scans", type=int, default=8, help="phantoms to cache")
    options = parser.parse_args()
    out = console()
    config = read_config(Path("shipped"))
    stage = config.stages[-1]
    size, batch = (64, 4) if options.quick else (stage.input_size, stage.batch)
    with tempfile.TemporaryDirectory(prefix="hemocam-bench-") as scratch:
        folder, cold_folder = Path(scratch) / "cache", Path(scratch) / "cold"
        source = PhantomSource(TRAINING_SEED, 1 if options.quick else options.scans, noise=False, size=max(size, 256))
        start = time.perf_counter()
        write_shards(source, folder, size=size)
        cached_s = time.perf_counter() - start
        shards = SliceShards(folder)
        shutil.copytree(folder, cold_folder)
        batches = Batches(shards, config.data, config.augmentation, size=size, batch=batch, seed=(0, 0), share=Share())
        rng = np.random.default_rng(0)

        def read(source: SliceShards) -> None:
            for _ in range(BATCHES_A_ROUND):
                source.stacks_hu(source.balanced_indices(rng, batch), rng.random(batch) < config.data.repeated_share)

        def read_cold() -> float:
            forget(cold_folder)
            anew = SliceShards(cold_folder)
            return timed(lambda: read(anew))

        def prepare() -> None:
            batches[int(rng.integers(1_000_000))]

        heads = Path(scratch) / "heads"
        write_anatomies(heads, TRAINING_SEED, 1 if options.quick else 3, size=size)
        slices = PaintedSlices([heads], size)
        painted = Batches(slices, config.data, config.augmentation, size=size, batch=batch, seed=(0, 0), share=Share())

        def paint() -> None:
            painted[int(rng.integers(1_000_000))]

        step = Step(config, FASTEST, batches[0], "cpu")
        actions: dict[str, Callable[[], float]] = {
            "read": lambda: timed(lambda: read(shards)),
            "cold": read_cold,
            "prepare": lambda: timed(prepare),
            "paint": lambda: timed(paint),
            "step": step,
        }
        found = measure(actions, 2 if options.quick else ROUNDS)
    per_second = {
        "read": 1000 * batch * BATCHES_A_ROUND / statistics.median(found["read"]),
        "cold": 1000 * batch * BATCHES_A_ROUND / statistics.median(found["cold"]),
        "prepare": 1000 * batch / statistics.median(found["prepare"]),
        "paint": 1000 * batch / statistics.median(found["paint"]),
        "step": 1000 * batch / statistics.median(found["step"]),
    }
    unit = "slices/s"
    figures = [
        Figure("caching", "caching phantoms, one process", len(shards) / cached_s, unit, "", "drawing them included"),
        Figure("read", "stacks read from the cache, one process", per_second["read"], unit),
        Figure("cold", "the same, files not in memory yet", per_second["cold"], unit),
        Figure("step", f"training step: {FASTEST.name}", per_second["step"], unit, "", f"{ALL_THREADS} threads"),
        Figure("read/step", "reading over what the step needs", per_second["read"] / per_second["step"], "×", "≥3"),
        Figure(
            "cold/step", "reading what is not in memory over that", per_second["cold"] / per_second["step"], "×", "≥3"
        ),
        Figure("prepare", "read and changed by chance, one process", per_second["prepare"], unit),
        Figure("prepare/step", "the same over what the step needs", per_second["prepare"] / per_second["step"], "×"),
        Figure("paint", "painted and changed by chance, one process", per_second["paint"], unit),
        Figure("paint/step", "the same over what the step needs", per_second["paint"] / per_second["step"], "×"),
    ]
    title = f"Loading for training: batches of {batch} slices, {size} × {size}"
    report(title, "loader", figures, out, keep=not options.quick)


if __name__ == "__main__":
    main()
