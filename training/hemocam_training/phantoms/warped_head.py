"""A head from the atlas: the average anatomy warped by chance, its blurred borders made sharp again."""

from __future__ import annotations

import numpy as np

from hemocam_training.phantoms.atlas import HeadAtlas
from hemocam_training.phantoms.brain import CSF_HU, BrainLook, cerebellum_share, deep_grey, white_matter_disease
from hemocam_training.phantoms.grid import Field, HeadGrid, occupancy, smoothstep
from hemocam_training.phantoms.head import Anatomy


def bend(grid: HeadGrid, rng: np.random.Generator, coordinates: tuple[Field, Field, Field]) -> list[Field]:
    """Coordinates displaced by a few mm at the scale of lobes and of gyri, so that no two cortices are alike."""
    large, small = rng.uniform(1.2, 2.6), rng.uniform(0.8, 1.6)
    return [
        axis + np.float32(large) * grid.noise(rng, 45) + np.float32(small) * grid.noise(rng, 20) for axis in coordinates
    ]


def draw_warped_outside(head: Anatomy, skin_mm: Field, average_hu: Field, rng: np.random.Generator) -> None:
    """Scalp, face, skull and air cells into ``head.hu``; the inside of the skull is left as CSF.

    Args:
        head: with ``depth_mm`` set.
        skin_mm: depth below the skin.
        average_hu: of the average head at every voxel.
        rng: source of chance.
    """
    grid, shape = head.grid, head.shape
    fine, coarse = grid.noise(rng, 9), grid.noise(rng, 22)
    thickness = shape.skull_mm * (1 + 0.16 * grid.noise(rng, 55)) + 0.02 * np.maximum(head.y, 0)
    # The vault's scalp has its own thickness; further down the average face lies outside the skull.
    below = smoothstep(head.z, -8, -30)
    scalp = head.vault_mm + thickness + shape.scalp_mm * (1 + 0.3 * smoothstep(head.z, 10, -20) * (head.y < 40))
    skin = scalp + below * (np.maximum(skin_mm, scalp) - scalp)
    off_bone = -head.vault_mm - thickness
    temple = np.hypot((head.y + 18) / 34, (head.z + 4) / 30)
    neck = smoothstep(head.z, -36, -58) * (head.y > 10)
    muscle_mm = 9 * np.clip(1 - temple, 0, 1) * smoothstep(np.abs(head.x), 30, 50) + 40 * neck
    muscle = smoothstep(off_bone, muscle_mm + 0.7, muscle_mm - 0.7) * (muscle_mm > 0.5)
    face = below * smoothstep(coarse + 0.35 * fine, -0.5, -0.1) * (1 - neck)
    muscle = np.maximum(muscle * smoothstep(coarse + 0.4 * fine, -1.9, -1.5), face)
    tissue = -78 + 128 * muscle * smoothstep(skin, 3.0, 5.0) + 128 * smoothstep(skin, 2.6, 1.4)
    head.hu += occupancy(-skin) * (tissue - head.hu)
    marrow = 1 - 0.55 * smoothstep(np.abs(2 * (-head.vault_mm / thickness) - 1), 0.75, 0.3)
    marrow *= 1 + 0.12 * fine
    vault = occupancy(-head.vault_mm - thickness) * smoothstep(head.z, -34, -20)
    vault *= np.maximum(smoothstep(head.y, -58, -40), smoothstep(head.z, -16, -8))
    base = smoothstep(average_hu + 70 * fine, 150, 240) * smoothstep(skin, 1.5, 4) * smoothstep(head.z, 0, -10)
    # The blurred average of the thin plates under the brain is too faint; there bone follows the inner table.
    plate = occupancy(-head.vault_mm - 3.5) * below
    air = smoothstep(average_hu + 90 * fine, -130, -330) * smoothstep(skin, 4, 9) * below
    cells = smoothstep(np.abs(fine), 0.6, 0.3) * smoothstep(average_hu, 150, 300) * below * rng.uniform(0, 1)
    cells *= smoothstep(np.hypot((np.abs(head.x) - 48) / 16, (head.y - 24) / 18), 1.1, 0.8)
    bone = np.maximum(np.maximum(vault, plate), base)
    head.hu += bone * (shape.skull_hu * marrow - head.hu)
    head.hu += np.maximum(air, cells) * occupancy(head.vault_mm + 1.5) * (-950 - head.hu)
    _draw_frontal_sinus(head, rng)
    head.hu += occupancy(-head.depth_mm) * (CSF_HU - head.hu)


def _draw_frontal_sinus(head: Anatomy, rng: np.random.Generator) -> None:
    if rng.random() > 0.75:
        return
    box, distance = head.blob((rng.normal(0, 5), -76, -8), (rng.uniform(10, 28), 9, rng.uniform(10, 20)))
    deep = -head.vault_mm[box]
    wall = np.abs(np.sin(head.x[box] / rng.uniform(3, 7))) > 0.25
    share = occupancy(distance) * occupancy(1.8 - deep) * occupancy(deep - head.shape.skull_mm + 0.8) * wall
    head.paint(box, share, -930)


def draw_warped_brain(
    head: Anatomy,
    look: BrainLook,
    tissue_maps: tuple[Field, Field, Field, Field],
    rng: np.random.Generator,
    bloody: Field | None,
) -> None:
    """Fill the inside of the skull from the atlas; blood in a sulcus holds it open.

    Args:
        head: the head; ``hu``, ``ventricle`` and ``cisterns`` are set.
        look: of this brain.
        tissue_maps: grey, white, outer CSF (0..1) and depth inside the ventricles (mm), see :class:`HeadAtlas`.
        rng: source of chance.
        bloody: 0..1 how bloody the subarachnoid space is.
    """
    grey, white, csf, ventricle_mm = tissue_maps
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
    head.cisterns = np.maximum(sulci, occupancy(depth - gap) * smoothstep(head.z, -30, -10))
    whiteness = smoothstep(white - grey - 0.35 * csf + 0.14 * fine - 0.25 * sheets, -0.22, 0.42)
    ribbon = np.maximum(1 - whiteness, deep_grey(head))
    ribbon = np.where(cerebellum > 0.5, 0.35 + 0.5 * ribbon, ribbon)
    tissue = look.white_hu + look.grey_gap_hu * ribbon
    tissue -= 1.5 * smoothstep(depth, 12, 28) * smoothstep(head.z, 8, 16)
    tissue += 1.0 * regional + 0.7 * fine
    white_matter_disease(head, tissue, look, rng)
    share = occupancy(-depth) * (1 - head.cisterns)
    head.hu += share * (tissue - head.hu)
    _draw_ventricles(head, look, ventricle_mm, fine)


def _draw_ventricles(head: Anatomy, look: BrainLook, inside_mm: Field, fine: Field) -> None:
    scales = np.where(head.x < 0, np.float32(look.ventricle_scale[0]), np.float32(look.ventricle_scale[1]))
    grow = (scales - 1.15) * 3.4 - 2.2 * look.swelling
    grow = np.where(head.z < -18, 0.4 * grow, grow)
    share = occupancy(-inside_mm - grow - 0.25 * fine, 1.4) * occupancy(3 - head.depth_mm)
    head.hu += share * (CSF_HU - head.hu)
    head.ventricle = share


def warp_atlas(head: Anatomy, atlas: HeadAtlas, fixed: tuple[Field, Field, Field]) -> tuple[Field, Field]:
    """Sets the depth fields of a head from the atlas; gives depth below the skin (mm) and the average's HU."""
    inner, skin, average = atlas.skull(*fixed)
    head.depth_mm = head.vault_mm = inner
    return skin, average
