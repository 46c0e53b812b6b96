"""What a scanner does to slices: beam hardening, blur with its tails, kernel, motion, table."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from hemocam_training.phantoms.grid import Field
from hemocam_training.phantoms.slices import FULL_SIZE, ScanPlanes

#: Slow fields are computed on pixels of about this size.
SLOW_PIXEL_MM = 2.0


def scanner_marks(hu: Field, planes: ScanPlanes, rng: np.random.Generator) -> Field:
    """Kernel, beam hardening, streaks, motion and table on noise-free slices [slice, row, column]."""
    pixel = planes.geometry.pixel_spacing_mm[0]
    bone = np.clip((hu - 200) / 800, 0, 1.2)
    _beam_hardening(hu, bone, pixel, rng)
    # The point spread has tails: 1 % of bone's thousand HU reaches a few millimetres into the brain.
    hu += np.float32(rng.uniform(0.004, 0.022)) * (slow_blur(np.clip(hu, -500, 1300), 2.6, pixel) - hu)
    blur = rng.uniform(0.2, 0.7) / pixel
    hu = ndimage.gaussian_filter(hu, (0, blur, blur), truncate=2.5)
    if rng.random() < 0.25:
        sharp = ndimage.gaussian_filter(hu, (0, 1.2 / pixel, 1.2 / pixel), truncate=2.5)
        hu += np.float32(rng.uniform(0.1, 0.5)) * (np.clip(hu, -150, 150) - np.clip(sharp, -150, 150))
    if rng.random() < 0.03:
        _draw_metal(hu, pixel, rng)
    if rng.random() < 0.06:
        _motion(hu, pixel, rng)
    _draw_table(hu, planes, rng)
    return hu


def _beam_hardening(hu: Field, bone: Field, pixel: float, rng: np.random.Generator) -> None:
    """Cupping under the vault, and dark and bright bands between the petrous bones."""
    soft = np.clip((hu + 200) / 150, 0, 1) * (hu < 250)
    # Brain brightens towards the vault over 2 cm, and all of it where the vault closes above: residual hardening
    # and scatter. Real scans of four scanners gain 7 to 15 HU from the centre to the cortex.
    near = np.float32(rng.uniform(0, 12)) * slow_blur(bone, 5, pixel)
    near += np.float32(rng.uniform(15, 75)) * slow_blur(bone, 18, pixel)
    hu += near * soft
    load = bone.sum(axis=2) * pixel
    excess = np.clip(load - 45, 0, None)
    level = ndimage.gaussian_filter1d(excess, 2.5 / pixel, axis=1)
    ripple = level - ndimage.gaussian_filter1d(level, 7 / pixel, axis=1)
    strength = rng.uniform(0.1, 0.5)
    columns = hu.shape[2]
    x = (np.arange(columns) - columns / 2) * pixel
    middle = np.exp(-((x / rng.uniform(25, 45)) ** 2)).astype(np.float32)
    # Drawn for 512 rows at any size, so that a small rendering shows the same streaks.
    fine = ndimage.gaussian_filter1d(rng.standard_normal((len(hu), FULL_SIZE)), 2.7, axis=1)
    fine = fine.reshape(*load.shape, -1).mean(axis=2).astype(np.float32) * np.clip(level, 0, 60) * np.float32(0.18)
    band = -strength * np.clip(level, 0, 60) * 0.5 + strength * 2.0 * ripple + strength * 2.0 * fine
    hu += band[:, :, None] * middle * soft


def _motion(hu: Field, pixel: float, rng: np.random.Generator) -> None:
    for index in rng.choice(hu.shape[0], size=max(1, hu.shape[0] // 6), replace=False):
        shift = rng.normal(0, 2.0 / pixel, 2)
        moved = ndimage.shift(hu[index], shift, order=1, mode="nearest")
        hu[index] = (1 - 0.4) * hu[index] + 0.4 * moved


def _draw_metal(hu: Field, pixel: float, rng: np.random.Generator) -> None:
    """A clip, a coil or a tooth: saturated pixels, bright and dark rays over the whole slice."""
    count, rows, columns = hu.shape
    row, column = rows / 2 + rng.normal(0, 25) / pixel, columns / 2 + rng.normal(0, 25) / pixel
    y, x = (np.arange(rows)[:, None] - row) * pixel, (np.arange(columns)[None, :] - column) * pixel
    radius, angle = np.hypot(y, x), np.arctan2(y, x)
    rays = sum(rng.normal(0, 1) * np.cos(2 * k * angle + rng.uniform(0, 6.3)) for k in range(2, 24, 2))
    size = rng.uniform(1.5, 4)
    streaks = (rng.uniform(15, 60) * rays * np.exp(-radius / rng.uniform(25, 60))).astype(np.float32)
    first = int(rng.integers(0, count))
    for index in range(first, min(count, first + int(rng.integers(1, 4)))):
        hu[index] += streaks * np.clip(radius / (2 * size) - 1, 0, 1) * (hu[index] > -300)
        hu[index] = np.where(radius < size, 3000, hu[index])


def _draw_table(hu: Field, planes: ScanPlanes, rng: np.random.Generator) -> None:
    """Head rest: a thin arc behind and beside the head."""
    if rng.random() < 0.15:
        return
    size = hu.shape[1]
    axis = (np.arange(size) - size / 2) * planes.geometry.pixel_spacing_mm[0]
    radius, low = rng.uniform(85, 120), rng.uniform(102, 112)
    ring = np.abs(np.hypot(axis[None, :], (axis[:, None] - low + radius)) - radius)
    arc = np.clip(1.5 - ring, 0, 1) * (axis[:, None] > rng.uniform(-30, 60))
    value = rng.uniform(-300, 400)
    hu += (arc * (value - hu)) * (hu < -600)


def slow_blur(values: Field, sigma_mm: float, pixel_mm: float) -> Field:
    """Slices [slice, row, column] blurred by a wide Gaussian, computed on pixels of about 2 mm."""
    # Commands on data sets know the phantoms too, and need no torch.
    import torch
    from torch.nn import functional

    rows, columns = values.shape[1:]
    factor = max(1, 1 << int(np.log2(max(1.0, SLOW_PIXEL_MM / pixel_mm) * 1.5)))
    small = values.reshape(-1, rows // factor, factor, columns // factor, factor).mean(axis=(2, 4))
    sigma = sigma_mm / (pixel_mm * factor)
    small = ndimage.gaussian_filter(small, (0, sigma, sigma), truncate=2.5, mode="nearest")
    wide = functional.interpolate(
        torch.from_numpy(small)[:, None], (rows, columns), mode="bilinear", align_corners=False
    )
    return np.asarray(wide[:, 0].numpy(), np.float32)
