"""Chance changes of slice stacks, done on HU before windowing."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from hemocam_training.phantoms import ct_noise

WINDOW_CENTER_HU, WINDOW_WIDTH_HU = 25.0, 130.0


class NoiseBank:
    """Ready-made CT noise of unit variance at 512 x 512, averaged to the training size.

    Args:
        size: rows and columns of the slices.
        count: how many fields; each is used shifted and mirrored by chance.
        seed: of the noise.
    """

    def __init__(self, size: int, count: int = 60, seed: int = 0) -> None:
        rng = np.random.default_rng([seed, 5])
        fields = [ct_noise(rng, 1, size, size, 1.0, float(k))[0] for k in rng.uniform(0.45, 1.2, count)]
        self._fields = torch.from_numpy(np.stack(fields))

    def draw(self, count: int, generator: torch.Generator) -> Tensor:
        """[count, size, size] of random fields."""
        size = self._fields.shape[-1]
        picks = torch.randint(len(self._fields), (count,), generator=generator)
        rolls = torch.randint(size, (count, 2), generator=generator)
        return torch.stack(
            [torch.roll(self._fields[p], (int(r[0]), int(r[1])), (0, 1)) for p, r in zip(picks, rolls, strict=True)]
        )


def augment(stacks_hu: Tensor, same: Tensor, bank: NoiseBank, generator: torch.Generator) -> Tensor:
    """Windowed network input from noise-free HU, changed by chance.

    Left and right are swapped in half of the stacks: the subtypes are the same on both sides.

    Args:
        stacks_hu: [N, 3, H, W] noise-free HU.
        same: [N] bool, the three slices are one slice repeated, so their noise is the same too.
        bank: noise.
        generator: source of chance.

    Returns:
        [N, 3, H, W] 0..1.
    """
    count, depth, rows, columns = stacks_hu.shape

    def uniform(low: float, high: float) -> Tensor:
        return torch.rand(count, generator=generator) * (high - low) + low

    wide = torch.rand(count, generator=generator) < 0.15
    angle = torch.where(wide, uniform(-0.5, 0.5), uniform(-0.2, 0.2))
    scale, stretch = uniform(0.85, 1.3), uniform(0.95, 1.05)
    mirror = torch.where(torch.rand(count, generator=generator) < 0.5, -1.0, 1.0)
    cosine, sine = torch.cos(angle) * scale, torch.sin(angle) * scale
    theta = torch.stack(
        [
            torch.stack([cosine * mirror * stretch, -sine, uniform(-0.12, 0.12)], 1),
            torch.stack([sine * mirror * stretch, cosine, uniform(-0.12, 0.12)], 1),
        ],
        1,
    )
    grid = functional.affine_grid(theta, [count, depth, rows, columns], align_corners=False)
    moved = functional.grid_sample(stacks_hu + 1000.0, grid, mode="bilinear", align_corners=False) - 1000.0
    if torch.rand((), generator=generator) < 0.35:
        moved = _blurred(moved, float(torch.rand((), generator=generator) * 0.7 + 0.3))
    elif torch.rand((), generator=generator) < 0.2:
        moved = moved + 0.6 * (moved - _blurred(moved, 0.8))
    noise = bank.draw(count * depth, generator).view(count, depth, rows, columns)
    noise = torch.where(same[:, None, None, None], noise[:, :1], noise)
    sd, gain, offset = uniform(1.5, 5.0), 1 + 0.04 * uniform(-1.5, 1.5), uniform(-6, 8)
    # Beam hardening and cupping leave slow brightness changes that are not blood.
    slow = torch.randn(count, 1, 4, 4, generator=generator) * uniform(0, 4)[:, None, None, None]
    moved = moved + functional.interpolate(slow, (rows, columns), mode="bicubic", align_corners=False)
    moved = moved + uniform(0, 20)[:, None, None, None] * _near_bone(moved)
    hu = moved * gain[:, None, None, None] + offset[:, None, None, None] + sd[:, None, None, None] * noise
    return windowed(hu)


def windowed(hu: Tensor) -> Tensor:
    """HU to 0..1 by the brain window."""
    return ((hu - (WINDOW_CENTER_HU - WINDOW_WIDTH_HU / 2)) / WINDOW_WIDTH_HU).clamp(0, 1)


def _near_bone(hu: Tensor) -> Tensor:
    """0..1: high in soft tissue that touches bone, falling over about a centimetre, as cupping does."""
    rows, columns = hu.shape[-2:]
    bone = functional.avg_pool2d(((hu - 80) / 30).clamp(0, 1), 4)
    for _ in range(3):
        bone = functional.avg_pool2d(functional.pad(bone, (1, 1, 1, 1), mode="replicate"), 3, stride=1)
    near = functional.interpolate(bone, (rows, columns), mode="bilinear", align_corners=False)
    return near * ((hu > -20) & (hu < 90))


def _blurred(images: Tensor, sigma_px: float) -> Tensor:
    reach = max(1, math.ceil(2.5 * sigma_px))
    taps = torch.exp(-0.5 * (torch.arange(-reach, reach + 1) / sigma_px) ** 2)
    taps = (taps / taps.sum()).view(1, 1, -1)
    count, depth, rows, columns = images.shape
    flat = functional.pad(images.reshape(count * depth, 1, rows, columns), (reach,) * 4, mode="replicate")
    flat = functional.conv2d(functional.conv2d(flat, taps.unsqueeze(-1)), taps.unsqueeze(-2))
    return flat.view(count, depth, rows, columns)
