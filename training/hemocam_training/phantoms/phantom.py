"""One synthetic head CT from one seed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hemocam_training.phantoms.atlas import HeadAtlas, load_atlas
from hemocam_training.phantoms.baits import draw_baits
from hemocam_training.phantoms.brain import draw_brain, random_look
from hemocam_training.phantoms.clots import Shares, draw_clots
from hemocam_training.phantoms.grid import Field, HeadGrid, head_grid, smoothstep
from hemocam_training.phantoms.head import Anatomy, draw_outside, floor_height, random_shape, vault_depth
from hemocam_training.phantoms.noise import ct_noise
from hemocam_training.phantoms.plan import (
    Clot,
    blood_in_csf,
    choose_subtypes,
    phantom_generator,
    plan_clots,
    push_brain,
)
from hemocam_training.phantoms.scanner import scanner_marks
from hemocam_training.phantoms.slices import ScanPlanes, SliceSampler, random_planes
from hemocam_training.phantoms.warped_head import draw_warped_brain, draw_warped_outside, warp_atlas
from HemoCAMLib.ct.geometry import SliceGeometry
from HemoCAMLib.subtypes import ANY, SUBTYPES

#: A pixel is labelled where blood fills at least this share of it.
LABEL_SHARE = 0.5

#: Above it bone has a part in a pixel, and no reader would outline it as blood.
BONE_EDGE_HU = 110.0

#: Share of the heads that come from the templates, where there are any.
WARPED_SHARE = 0.8


@dataclass(frozen=True, eq=False)
class Phantom:
    """A synthetic head CT with its truth.

    Attributes:
        hu: [slice, row, column] int16, with noise and padding.
        noise_free: the same before noise.
        labels: [slice, row, column] uint8, 0 none, else the subtype's label.
        geometry: true positions and spacing.
        noise_sd_hu: standard deviation of the noise at 512 x 512.
        noise_correlation_px: its Gaussian kernel width at 512 x 512.
        seed: what it was made from.
    """

    hu: NDArray[np.int16]
    noise_free: NDArray[np.int16]
    labels: NDArray[np.uint8]
    geometry: SliceGeometry
    noise_sd_hu: float
    noise_correlation_px: float
    seed: int

    @property
    def areas_mm2(self) -> NDArray[np.float64]:
        """[slice, subtype] labelled area."""
        counts = np.stack([(self.labels == subtype.label).sum(axis=(1, 2)) for subtype in SUBTYPES], axis=1)
        return counts * self.geometry.pixel_area_mm2

    @property
    def slice_labels(self) -> NDArray[np.bool_]:
        """[slice, class] which classes each slice shows, in the order any, IPH, IVH, SAH, SDH, EDH."""
        present = self.areas_mm2 > 0
        return np.concatenate([present.any(axis=1, keepdims=True), present], axis=1)

    @property
    def volume_ml(self) -> dict[str, float]:
        """Truth in mL by subtype, slice extents included."""
        volumes = (self.areas_mm2 * self.geometry.extents_mm[:, None]).sum(axis=0) / 1000
        return {subtype.name: float(volume) for subtype, volume in zip(SUBTYPES, volumes, strict=True)}


def make_phantom(
    seed: int,
    rows: int = 512,
    columns: int = 512,
    subtypes: tuple[str, ...] | None = None,
    *,
    noise: bool = True,
    templates: Path | None = None,
) -> Phantom:
    """A synthetic head CT.

    Args:
        seed: the same seed gives the same head, whatever else ran before.
        rows, columns: matrix size; divisors of 512. A smaller one equals the larger one after area resampling.
        subtypes: what bleeds; chosen by chance where None, nothing where empty.
        noise: whether ``hu`` gets noise (drawing it takes a third of the time).
        templates: folder of head templates (see :func:`phantoms.atlas.load_atlas`), from which most heads are then
            warped; without it every head is drawn from formulas.

    >>> phantom = make_phantom(3, rows=64, columns=64, subtypes=("IPH",))
    >>> phantom.hu.shape[1:], np.unique(phantom.labels).tolist()
    ((64, 64), [0, 1])
    """
    rng = phantom_generator(seed)
    chosen = choose_subtypes(rng) if subtypes is None else subtypes
    grid = head_grid()
    clots = plan_clots(rng, chosen)
    atlas = load_atlas(templates) if templates is not None and rng.random() < WARPED_SHARE else None
    head, shares = draw_head(grid, clots, rng, atlas)
    planes, sampler, clean = scan_head(grid, head, rng, rows, columns)
    labels = labelled(sampler, shares, clean.shape)
    labels[clean > BONE_EDGE_HU] = 0
    noise_sd, correlation = float(rng.uniform(2.0, 4.4)), float(rng.uniform(0.55, 1.0))
    noisy = clean
    if noise:
        noisy = clean + ct_noise(rng, clean.shape[0], rows, columns, noise_sd, correlation)
    return Phantom(_stored(noisy, seed), _stored(clean, seed), labels, planes.geometry, noise_sd, correlation, seed)


def scan_head(
    grid: HeadGrid, head: Anatomy, rng: np.random.Generator, rows: int, columns: int
) -> tuple[ScanPlanes, SliceSampler, Field]:
    """Planes by chance, what samples them, and the slices [slice, row, column] in HU, free of noise."""
    planes = random_planes(rng, rows, head.shape.height_mm)
    sampler = SliceSampler(grid, planes, rows, columns)
    clean = scanner_marks(sampler(head.hu, -1000.0), planes, rng)
    return planes, sampler, clean * np.float32(rng.normal(1, 0.02)) + np.float32(rng.normal(0, 1.0))


def draw_head(
    grid: HeadGrid, clots: list[Clot], rng: np.random.Generator, atlas: HeadAtlas | None
) -> tuple[Anatomy, Shares]:
    """A head on the grid with its planned bleeding, and the share of every voxel that each subtype fills.

    Args:
        grid: where to draw.
        clots: the plan; none for a head without blood.
        rng: source of chance.
        atlas: what to warp the head from; None draws it from formulas.
    """
    shape = random_shape(rng)
    x, y, z = fixed = _coordinates(grid, rng)
    # Brain structures are laid out for a head of usual size and scaled to this one.
    scaled = (x * np.float32(66 / shape.half_width_mm), y * np.float32(84 / shape.half_length_mm), z)
    zeros = np.zeros_like(x)
    head = Anatomy(grid, shape, np.full_like(x, -1000), x, y, z, zeros, zeros, zeros, zeros)
    if atlas is None:
        level = int(np.searchsorted(grid.z_mm, -35))
        floor = floor_height(x[level], y[level], shape.base_shift_mm)
        floor = floor + 2.2 * grid.noise(rng, 25)[level]
        head.vault_mm = vault_depth(shape, x, y, z)
        head.depth_mm = np.minimum(head.vault_mm, (z - floor) * np.float32(0.8))
        draw_outside(head, rng, floor)
    else:
        # The average forehead is narrower and more pointed than most.
        wide = 1 + np.float32(shape.egg - 0.16) * scaled[1] / 84
        blunt = np.float32(rng.uniform(2, 9)) * np.clip(np.abs(scaled[0]) / 45, 0, 1) ** 2
        blunt *= smoothstep(scaled[1], -25, -65) * smoothstep(z, -10, 15)
        scaled = (scaled[0] / wide, scaled[1] + blunt, z * np.float32(73 / shape.height_mm))
        head.x, head.y, head.z = scaled
        skin, average = warp_atlas(head, atlas, scaled)
        draw_warped_outside(head, skin, average, rng)
    head.x, head.y, head.z = push_brain(grid, clots, scaled, head.depth_mm)
    total = sum(float(np.prod(clot.size_mm)) for clot in clots if clot.subtype in ("IPH", "SDH", "EDH"))
    look = random_look(
        rng,
        hydrocephalus=any(clot.subtype in ("IVH", "SAH") for clot in clots) and rng.random() < 0.4,
        swelling=min(0.8, total / 60000) * rng.uniform(0.3, 1),
    )
    rough = grid.noise(rng, 26)
    bloody = blood_in_csf(grid, clots, (head.x, head.y, head.z), rough)
    if atlas is None:
        draw_brain(head, look, rng, bloody)
    else:
        draw_warped_brain(head, look, atlas, rng, bloody)
    draw_baits(head, look, rng)
    return head, draw_clots(head, clots, bloody, fixed, rough, rng)


def _coordinates(grid: HeadGrid, rng: np.random.Generator) -> tuple[Field, Field, Field]:
    """Anatomical coordinates of every voxel: the head lies a little askew, and no head is symmetric."""
    yaw, roll = np.radians(rng.normal(0, 5)), np.radians(rng.normal(0, 3))
    cy, sy, cr, sr = np.cos(yaw), np.sin(yaw), np.cos(roll), np.sin(roll)
    turn = np.array([[cy * cr, -sy, cy * sr], [sy * cr, cy, sy * sr], [-sr, 0, cr]], np.float32)
    shift = np.array([rng.normal(0, 3), rng.normal(2, 3), rng.normal(0, 3)], np.float32)
    x = grid.x_mm[None, None, :] - shift[0]
    y = grid.y_mm[None, :, None] - shift[1]
    z = grid.z_mm[:, None, None] - shift[2]
    warp = rng.uniform(0.8, 2.2)
    return tuple(  # type: ignore[return-value]
        (turn[k, 0] * x + turn[k, 1] * y + turn[k, 2] * z) + np.float32(warp) * grid.noise(rng, 70) for k in range(3)
    )


def labelled(sampler: SliceSampler, shares: Shares, shape: tuple[int, ...]) -> NDArray[np.uint8]:
    """Labels [slice, row, column] of that shape: the subtype that fills most of a pixel, if blood fills half of it."""
    labels = np.zeros(shape, np.uint8)
    best, total = np.zeros(shape, np.float32), np.zeros(shape, np.float32)
    for label, share in shares.items():
        filled = sampler(share, 0.0)
        total += filled
        labels[filled > best] = label
        np.maximum(best, filled, out=best)
    labels[total < LABEL_SHARE] = 0
    return labels


def _stored(hu: Field, seed: int) -> NDArray[np.int16]:
    """As a scanner stores it: 12 bits, and outside the round field of view a padding value in some scans."""
    stored = np.clip(np.rint(hu), -1024, 3071).astype(np.int16)
    padding = (None, -1500, -2000, -3024)[seed % 4]
    if padding is not None:
        rows, columns = hu.shape[1:]
        radius = np.hypot(
            (np.arange(rows)[:, None] + 0.5) / rows - 0.5, (np.arange(columns)[None, :] + 0.5) / columns - 0.5
        )
        stored[:, radius > 0.5] = padding
    return stored


#: Class order of :attr:`Phantom.slice_labels`.
SLICE_LABEL_NAMES = (ANY, *(subtype.name for subtype in SUBTYPES))
