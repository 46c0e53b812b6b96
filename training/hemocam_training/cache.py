"""Phantoms rendered once to disk, so that training never waits for them."""

from __future__ import annotations

import argparse
import os
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hemocam_training.phantoms import make_phantom

#: Seeds of the three sets; no set ever reaches the next one's first seed.
TRAINING_SEED, VALIDATION_SEED, TEST_SEED = 1_000_000, 2_000_000, 3_000_000
SIZE = 256

#: HU are cut to this range before they are averaged to the small size, as inference windows before it resizes;
#: wider than the window, so that noise and offsets can be added later. Stored as uint8 in steps of 2/3 HU.
LOW_HU, HIGH_HU = -60.0, 110.0
STEPS_PER_HU = 255 / (HIGH_HU - LOW_HU)


def small_slices(hu: NDArray[np.int16]) -> NDArray[np.uint8]:
    """[slice, 512, 512] HU to [slice, 256, 256] cached values."""
    cut = np.clip(hu.astype(np.float32), LOW_HU, HIGH_HU)
    factor = hu.shape[1] // SIZE
    mean = cut.reshape(cut.shape[0], SIZE, factor, SIZE, factor).mean(axis=(2, 4))
    return np.rint((mean - LOW_HU) * STEPS_PER_HU).astype(np.uint8)


def cached_hu(values: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Cached values back to HU."""
    return values * np.float32(1 / STEPS_PER_HU) + np.float32(LOW_HU)


def render_to(folder: Path, seed: int, templates: Path | None = None) -> Path:
    """Write one noise-free phantom at 256 x 256 and its labelled areas; skip one that is there.

    Files: ``<seed>.npy`` uint8 [slice, row, column] (see :func:`cached_hu`) and ``<seed>.areas.npy`` float32
    [slice, subtype] mm2.
    """
    target = folder / f"{seed}.npy"
    if target.exists():
        return target
    phantom = make_phantom(seed, noise=False, templates=templates)
    np.save(folder / f"{seed}.areas.npy", phantom.areas_mm2.astype(np.float32))
    partial = folder / f"{seed}.partial"
    with partial.open("wb") as file:
        np.save(file, small_slices(phantom.noise_free))
    partial.rename(target)
    return target


def fill_cache(folder: Path, first_seed: int, count: int, processes: int, templates: Path | None = None) -> None:
    """Render ``count`` phantoms from ``first_seed`` on."""
    folder.mkdir(parents=True, exist_ok=True)
    with ProcessPoolExecutor(processes) as pool:
        for _ in pool.map(render_to, [folder] * count, range(first_seed, first_seed + count), [templates] * count):
            pass


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--first-seed", type=int, default=TRAINING_SEED)
    parser.add_argument("--count", type=int, default=400)
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--templates", type=Path, help="folder of head templates to warp heads from")
    options = parser.parse_args()
    fill_cache(options.folder, options.first_seed, options.count, options.processes, options.templates)
