"""Correlated CT noise."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage


def ct_noise(
    rng: np.random.Generator, slices: int, rows: int, columns: int, sd_hu: float, correlation_px: float
) -> NDArray[np.float32]:
    """[slice, row, column] noise of one scan, HU.

    Drawn at 512 x 512 and averaged down, so that a smaller rendering has the noise of the large one after area
    resampling.

    Args:
        rng: source of chance.
        slices, rows, columns: shape; rows and columns divide 512.
        sd_hu: standard deviation at 512 x 512.
        correlation_px: Gaussian width of the kernel at 512 x 512, pixels; 0.7 is usual for a soft kernel.
    """
    noise = np.empty((slices, rows, columns), np.float32)
    factor = 512 // rows, 512 // columns
    # The sum of squares of a sampled Gaussian: what filtering leaves of the variance.
    kernel = ndimage.gaussian_filter(np.pad(np.ones((1, 1), np.float32), 8), correlation_px, truncate=3.0)
    scale = np.float32(sd_hu / np.sqrt((kernel**2).sum()))
    for index in range(slices):
        white = rng.standard_normal((512, 512), dtype=np.float32)
        full = ndimage.gaussian_filter(white, correlation_px, truncate=3.0, mode="wrap") * scale
        noise[index] = full.reshape(rows, factor[0], columns, factor[1]).mean(axis=(1, 3))
    return noise
