"""A head from the atlas: the average anatomy warped by chance, its blurred borders made sharp again."""

from __future__ import annotations

import numpy as np

from hemocam_training.phantoms.atlas import HeadAtlas
from hemocam_training.phantoms.brain import CSF_HU, BrainLook, cerebellum_share, deep_grey, white_matter_disease
from hemocam_training.phantoms.grid import Field, occupancy, smoothstep
from hemocam_training.phantoms.head import Anatomy, PickedVoxels, draw_orbits


def draw_warped_outside(head: Anatomy, skin_mm: Field, average_hu: Field, rng: np.random.Generator) -> None:
    """Scalp, face, skull and air cells into ``head.hu``; the inside of the skull is left as CSF.

    Args:
        head: with ``depth_mm`` set.
        skin_mm: depth below the skin.
        average_hu: of the average head at every voxel.
        rng: source of chance.
    """
    deep = head.depth_mm > 4
    head.hu[deep] = CSF_HU
    near = (head.depth_mm > -24) | ((head.z < 0) & (skin_mm > -2))
    part = PickedVoxels(head, near & ~deep)
    _draw_shell(part, part.pick(skin_mm), part.pick(average_hu), rng)
    part.put_back()
    draw_orbits(head, rng.normal(-61, 1.5), rng.normal(-42, 1.5))
    _draw_frontal_sinus(head, rng)


def _draw_shell(head: PickedVoxels, skin_mm: Field, average_hu: Field, rng: np.random.Generator) -> None:
    grid, shape = head.grid, head.shape
    fine, coarse = grid.noise(rng, 9), grid.noise(rng, 22)
    thickness = shape.skull_mm * (1 + 0.16 * grid.noise(rng, 55)) + 0.02 * np.maximum(head.y, 0)
    # The vault's scalp has its own thickness; further down the average face lies outside the skull.
    below = smoothstep(head.z, -8, -30)
    swelling = _scalp_swelling(head, rng)
    scalp = (
        head.vault_mm
        + thickness
        + shape.scalp_mm * (1 + 0.3 * smoothstep(head.z, 10, -20) * (head.y < 40))
        + 7 * swelling
    )
    skin = scalp + below * (np.maximum(skin_mm, scalp) - scalp)
    off_bone = -head.vault_mm - thickness
    temple = np.hypot((head.y + 18) / 34, (head.z + 4) / 30)
    neck = smoothstep(head.z, -36, -58) * (head.y > 10)
    muscle_mm = 9 * np.clip(1 - temple, 0, 1) * smoothstep(np.abs(head.x), 30, 50) + 40 * neck
    muscle = smoothstep(off_bone, muscle_mm + 0.7, muscle_mm - 0.7) * (muscle_mm > 0.5)
    # A bruise of the scalp: dense as blood, and outside.
    muscle_mm = np.maximum(muscle_mm, 14 * swelling)
    face = below * smoothstep(coarse + 0.2 * fine, -0.6, 0.0) * (1 - neck)
    muscle = np.maximum(muscle * smoothstep(coarse + 0.4 * fine, -1.9, -1.5), face)
    tissue = -78 + 128 * muscle * smoothstep(skin, 3.0, 5.0) + 128 * smoothstep(skin, 2.6, 1.4)
    head.hu += occupancy(-skin) * (tissue - head.hu)
    marrow = 1 - 0.55 * smoothstep(np.abs(2 * (-head.vault_mm / thickness) - 1), 0.75, 0.3)
    marrow *= 1 + 0.12 * fine
    vault = occupancy(-head.vault_mm - thickness) * smoothstep(head.z, -34, -20)
    vault *= np.maximum(smoothstep(head.y, -58, -40), smoothstep(head.z, -16, -8))
    base = smoothstep(average_hu + 30 * fine, 150, 230) * smoothstep(skin, 1.5, 4) * smoothstep(head.z, 0, -10)
    # The blurred average of the thin plates under the brain is too faint; there bone follows the inner table.
    plate = occupancy(-head.vault_mm - 3.5) * below
    air = smoothstep(average_hu + 40 * fine, -130, -330) * smoothstep(skin, 4, 9) * below
    cells = smoothstep(np.abs(fine), 0.6, 0.3) * smoothstep(average_hu, 150, 300) * below * rng.uniform(0, 1)
    cells *= smoothstep(np.hypot((np.abs(head.x) - 48) / 16, (head.y - 24) / 18), 1.1, 0.8)
    bone = np.maximum(np.maximum(vault, plate), base)
    head.hu += bone * (shape.skull_hu * marrow - head.hu)
    head.hu += np.maximum(air, cells) * occupancy(head.vault_mm + 1.5) * (-950 - head.hu)
    head.hu += occupancy(-head.depth_mm) * (CSF_HU - head.hu)


def _scalp_swelling(head: PickedVoxels, rng: np.random.Generator) -> Field | np.float32:
    """0..1 how far the scalp is swollen by a blow; none in most heads."""
    if rng.random() > 0.25:
        return np.float32(0)
    azimuth, height = rng.uniform(0, 2 * np.pi), rng.uniform(0, 45)
    flat = np.sqrt(1 - (height / 80) ** 2)
    x, y = 70 * flat * np.cos(azimuth), 88 * flat * np.sin(azimuth)
    squared = (head.x - np.float32(x)) ** 2 + (head.y - np.float32(y)) ** 2 + (head.z - np.float32(height)) ** 2
    return np.exp(-squared / np.float32(rng.uniform(14, 28) ** 2)) * np.float32(rng.uniform(0.4, 1.3))


def _draw_frontal_sinus(head: Anatomy, rng: np.random.Generator) -> None:
    if rng.random() > 0.75:
        return
    box, distance = head.blob((rng.normal(0, 5), -76, -8), (rng.uniform(10, 28), 9, rng.uniform(10, 20)))
    deep = -head.vault_mm[box]
    wall = np.abs(np.sin(head.x[box] / rng.uniform(3, 7))) > 0.25
    share = occupancy(distance) * occupancy(1.8 - deep) * occupancy(deep - head.shape.skull_mm + 0.8) * wall
    head.paint(box, share, -930)


def draw_warped_brain(
    head: Anatomy, look: BrainLook, atlas: HeadAtlas, rng: np.random.Generator, bloody: Field | None
) -> None:
    """Fill the inside of the skull from the atlas; blood in a sulcus holds it open.

    Args:
        head: the head; ``hu``, ``ventricle`` and ``cisterns`` are set.
        look: of this brain.
        atlas: the average.
        rng: source of chance.
        bloody: 0..1 how bloody the subarachnoid space is.
    """
    part = PickedVoxels(head, head.depth_mm > -1)
    deep = part.pick(deep_grey(head))
    cisterns, ventricle = _draw_tissue(part, look, atlas, rng, deep, None if bloody is None else part.pick(bloody))
    part.put_back()
    head.cisterns, head.ventricle = part.spread(cisterns), part.spread(ventricle)


def _bent(head: PickedVoxels, rng: np.random.Generator) -> list[Field]:
    """Coordinates displaced by a few mm at the scale of lobes and of gyri, so that no two cortices are alike."""
    large, small = np.float32(rng.uniform(1.2, 2.6)), np.float32(rng.uniform(0.8, 1.6))
    return [
        axis + large * head.grid.noise(rng, 45) + small * head.grid.noise(rng, 20) for axis in (head.x, head.y, head.z)
    ]


def _draw_tissue(
    head: PickedVoxels,
    look: BrainLook,
    atlas: HeadAtlas,
    rng: np.random.Generator,
    deep: Field,
    bloody: Field | None,
) -> tuple[Field, Field]:
    """Shares of cisterns and of ventricles; ``hu`` is set."""
    grey, white, csf, ventricle_mm = atlas.brain(*_bent(head, rng))
    grid, depth = head.grid, head.depth_mm
    fine, folds, regional = grid.noise(rng, 8), grid.noise(rng, 13, band_pass=True), grid.noise(rng, 40)
    cerebellum = cerebellum_share(head)
    open_ = np.clip(0.25 + 0.75 * look.atrophy + 0.16 * regional - 0.9 * look.swelling, 0, 1.2)
    if bloody is not None:
        open_ = np.maximum(open_, 0.55 * bloody)
    # Folds that the average has lost: sheets at right angles to the surface, only where cortex lies.
    sheets = smoothstep(np.abs(folds), 0.30, 0.06) * smoothstep(depth, rng.uniform(13, 20), 3) * (1 - cerebellum)
    level = csf + 0.10 * fine + rng.uniform(0.35, 0.75) * sheets
    threshold = 0.9 - 0.62 * open_
    sulci = smoothstep(level - threshold, -0.10, 0.16)
    gap = 0.1 + (2.0 * look.atrophy**3 + 0.5) * np.clip(open_, 0.1, 1.2)
    # Near the skull the average is CSF wherever any of its brains was smaller: there the gap decides.
    near = smoothstep(depth, 5.5, 2.0) * smoothstep(head.z, -24, -10)
    sulci = sulci * (1 - near * (1 - open_) * (1 - sheets))
    cisterns = np.maximum(sulci, occupancy(depth - gap) * smoothstep(head.z, -30, -10))
    whiteness = smoothstep(white - grey - 0.35 * csf + 0.14 * fine - 0.25 * sheets, -0.22, 0.42)
    ribbon = np.maximum(1 - whiteness, deep)
    ribbon = np.where(cerebellum > 0.5, 0.35 + 0.5 * ribbon, ribbon)
    tissue = look.white_hu + look.grey_gap_hu * ribbon
    tissue -= 1.5 * smoothstep(depth, 12, 28) * smoothstep(head.z, 8, 16)
    tissue += 1.0 * regional + 0.7 * fine
    white_matter_disease(head, tissue, look, rng)
    share = occupancy(-depth) * (1 - cisterns)
    head.hu += share * (tissue - head.hu)
    ventricle = _ventricle_share(head, look, ventricle_mm, fine)
    head.hu += ventricle * (CSF_HU - head.hu)
    return cisterns, ventricle


def _ventricle_share(head: PickedVoxels, look: BrainLook, inside_mm: Field, fine: Field) -> Field:
    scales = np.where(head.x < 0, np.float32(look.ventricle_scale[0]), np.float32(look.ventricle_scale[1]))
    grow = (scales - 1.15) * 3.4 - 2.2 * look.swelling
    grow = np.where(head.z < -18, 0.4 * grow, grow)
    return occupancy(-inside_mm - grow - 0.25 * fine, 1.4) * occupancy(3 - head.depth_mm)


def warp_atlas(head: Anatomy, atlas: HeadAtlas, fixed: tuple[Field, Field, Field]) -> tuple[Field, Field]:
    """Sets the depth fields of a head from the atlas; gives depth below the skin (mm) and the average's HU."""
    inner, skin, average = atlas.skull(*fixed)
    head.depth_mm = head.vault_mm = inner
    return skin, average
