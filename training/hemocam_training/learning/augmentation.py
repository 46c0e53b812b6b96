"""Chance changes of slice stacks, done on HU before windowing.

What is drawn and what is done with it are apart: a batch's draws are a few numbers that every process can make for
itself, the changes are made where the stacks are, on the CPU or on an accelerator.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from hemocam_training.learning.config import AugmentationConfig
from hemocam_training.phantoms import ct_noise

WINDOW_CENTER_HU, WINDOW_WIDTH_HU = 25.0, 130.0
_SHARPENED_PX = 0.8
_AIR_HU = -1000.0


class NoiseBank:
    """Ready-made CT noise of unit variance at 512 x 512, averaged to the training size.

    Args:
        size: rows and columns of the slices.
        count: how many fields; each is used shifted by chance.
        seed: of the noise.
    """

    def __init__(self, size: int, count: int = 60, seed: int = 0) -> None:
        rng = np.random.default_rng([seed, 5])
        fields = [ct_noise(rng, 1, size, size, 1.0, float(k))[0] for k in rng.uniform(0.45, 1.2, count)]
        self._fields = torch.from_numpy(np.stack(fields))

    def take(self, picks: Tensor, rolls: Tensor) -> Tensor:
        """Fields by chance numbers in 0..1: which [...], and how far each is shifted [..., 2].

        Returns:
            [..., size, size].
        """
        if picks.device != self._fields.device:
            self._fields = self._fields.to(picks.device)
        count, size = self._fields.shape[0], self._fields.shape[-1]
        which = (picks.flatten() * count).long().clamp(max=count - 1).tolist()
        moves = (rolls.reshape(-1, 2) * size).long().tolist()
        taken = [
            torch.roll(self._fields[p], (down, right), (0, 1)) for p, (down, right) in zip(which, moves, strict=True)
        ]
        return torch.stack(taken).view(*picks.shape, size, size)


class Draws(NamedTuple):
    """What chance decided for each of N stacks.

    Attributes:
        theta: [N, 2, 3] where a pixel comes from, in halves of the image.
        sharpening: [N] what is added of the difference to the blurred image: -1 is the blurred image.
        sigma_px: [N] of that blur.
        noise: [N, 3] and [N, 3, 2] which noise, and its shift.
        noise_sd_hu, gain, offset_hu, near_bone_hu: [N].
        slow_hu: [N, 1, 4, 4] slow brightness.
    """

    theta: Tensor
    sharpening: Tensor
    sigma_px: Tensor
    noise: Tensor
    rolls: Tensor
    noise_sd_hu: Tensor
    gain: Tensor
    offset_hu: Tensor
    near_bone_hu: Tensor
    slow_hu: Tensor

    def part(self, which: NDArray[np.int64]) -> Draws:
        """Those of some of the stacks."""
        chosen = torch.from_numpy(which)
        return Draws(*(values[chosen] for values in self))


def draw(settings: AugmentationConfig, count: int, rng: np.random.Generator) -> Draws:
    """Chance for ``count`` stacks."""

    def uniform(pair: tuple[float, float]) -> NDArray[np.float64]:
        return rng.uniform(pair[0], pair[1], count)

    wide = rng.random(count) < settings.wide_share
    largest = np.deg2rad(np.where(wide, settings.wide_rotation_deg, settings.rotation_deg))
    angle, scale, stretch = largest * uniform((-1, 1)), uniform(settings.scale), uniform(settings.stretch)
    columns = np.where(rng.random(count) < settings.mirror_share, -1.0, 1.0) * stretch
    cosine, sine = np.cos(angle) * scale, np.sin(angle) * scale
    shift = settings.shift * rng.uniform(-1, 1, (2, count))
    theta = np.stack(
        [np.stack([cosine * columns, -sine, shift[0]], 1), np.stack([sine * columns, cosine, shift[1]], 1)], 1
    )
    blurred = rng.random(count) < settings.blur_share
    sharpened = ~blurred & (rng.random(count) < settings.sharpen_share)
    slow = rng.standard_normal((count, 1, 4, 4)) * uniform(settings.slow_sd_hu)[:, None, None, None]
    values = (
        theta,
        np.where(blurred, -1.0, np.where(sharpened, settings.sharpen_amount, 0.0)),
        np.where(blurred, uniform(settings.blur_sigma_px), _SHARPENED_PX),
        rng.random((count, 3)),
        rng.random((count, 3, 2)),
        uniform(settings.noise_sd_hu),
        uniform(settings.gain),
        uniform(settings.offset_hu),
        uniform(settings.near_bone_hu),
        slow,
    )
    return Draws(*(torch.from_numpy(np.asarray(each, dtype=np.float32)) for each in values))


def augment(
    stacks_hu: Tensor, same: Tensor, draws: Draws, bank: NoiseBank, masks: Tensor | None = None
) -> tuple[Tensor, Tensor | None]:
    """Windowed network input from HU, changed as drawn.

    Args:
        stacks_hu: [N, 3, H, W] HU.
        same: [N] bool, the three slices are one slice repeated, so their noise is the same too.
        draws: N of them.
        bank: noise.
        masks: [N, H, W] labels, moved along by nearest neighbour.

    Returns:
        [N, 3, H, W] 0..1, and the masks.
    """
    rows, columns = stacks_hu.shape[-2:]
    grid = functional.affine_grid(draws.theta, list(stacks_hu.shape), align_corners=False)
    moved = functional.grid_sample(stacks_hu - _AIR_HU, grid, mode="bilinear", align_corners=False) + _AIR_HU
    if masks is not None:
        masks = functional.grid_sample(masks[:, None].float(), grid, mode="nearest", align_corners=False)[:, 0]
        masks = masks.to(torch.uint8)
    hu = _sharpened(moved, draws.sharpening, draws.sigma_px)
    if bool((draws.slow_hu != 0).any()):
        hu = hu + functional.interpolate(draws.slow_hu, (rows, columns), mode="bicubic", align_corners=False)
    if bool((draws.near_bone_hu != 0).any()):
        hu = hu + _each(draws.near_bone_hu) * _near_bone(hu)
    hu = hu * _each(draws.gain) + _each(draws.offset_hu)
    if bool((draws.noise_sd_hu != 0).any()):
        noise = bank.take(draws.noise, draws.rolls)
        hu = hu + _each(draws.noise_sd_hu) * torch.where(_each(same), noise[:, :1], noise)
    return windowed(hu), masks


def windowed(hu: Tensor) -> Tensor:
    """HU to 0..1 by the brain window."""
    return ((hu - (WINDOW_CENTER_HU - WINDOW_WIDTH_HU / 2)) / WINDOW_WIDTH_HU).clamp(0, 1)


def _each(values: Tensor) -> Tensor:
    return values[:, None, None, None]


def _near_bone(hu: Tensor) -> Tensor:
    """0..1: high in soft tissue that touches bone, falling over about a centimetre, as cupping does."""
    rows, columns = hu.shape[-2:]
    bone = functional.avg_pool2d(((hu - 80) / 30).clamp(0, 1), 4)
    for _ in range(3):
        bone = functional.avg_pool2d(functional.pad(bone, (1, 1, 1, 1), mode="replicate"), 3, stride=1)
    near = functional.interpolate(bone, (rows, columns), mode="bilinear", align_corners=False)
    return near * ((hu > -20) & (hu < 90))


def _sharpened(images: Tensor, amount: Tensor, sigma_px: Tensor) -> Tensor:
    """Images [N, D, H, W] plus an amount [N] of their difference to their blur."""
    changed = (amount != 0).nonzero().flatten()
    if not len(changed):
        return images
    chosen = images[changed]
    found = images.clone()
    found[changed] = chosen + _each(amount[changed]) * (chosen - _blurred(chosen, sigma_px[changed]))
    return found


def _blurred(images: Tensor, sigma_px: Tensor) -> Tensor:
    """Gaussian blur of images [N, D, H, W], one width [N] each."""
    reach = max(1, math.ceil(2.5 * float(sigma_px.max())))
    offsets = torch.arange(-reach, reach + 1, device=images.device)
    taps = torch.exp(-0.5 * (offsets / sigma_px[:, None]) ** 2)
    taps = (taps / taps.sum(dim=1, keepdim=True)).repeat_interleave(images.shape[1], dim=0)
    count, depth, rows, columns = images.shape
    flat = functional.pad(images.reshape(1, count * depth, rows, columns), (reach,) * 4, mode="replicate")
    for shape in ((-1, 1, 2 * reach + 1, 1), (-1, 1, 1, 2 * reach + 1)):
        flat = functional.conv2d(flat, taps.view(shape), groups=count * depth)
    return flat.view(count, depth, rows, columns)
