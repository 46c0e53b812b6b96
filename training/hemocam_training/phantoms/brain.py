"""What lies inside the skull of a phantom: brain, ventricles, cisterns, dura, vessels, and harmless look-alikes."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from hemocam_training.phantoms.grid import Field, occupancy, smoothstep
from hemocam_training.phantoms.head import Anatomy, PickedVoxels

CSF_HU = 8.0


@dataclass(frozen=True)
class BrainLook:
    """What differs from one brain to the next.

    Attributes:
        white_hu, grey_gap_hu: white matter and how much denser grey matter is.
        atrophy: 0 young and tight, 1 marked; widens sulci, cisterns and ventricles.
        ventricle_scale: width of the ventricles on top of atrophy, (right, left).
        swelling: 0..1, how far sulci are pressed shut.
    """

    white_hu: float
    grey_gap_hu: float
    atrophy: float
    ventricle_scale: tuple[float, float]
    swelling: float


def random_look(rng: np.random.Generator, *, hydrocephalus: bool = False, swelling: float = 0.0) -> BrainLook:
    """A brain of random age."""
    atrophy = float(rng.beta(1.5, 1.8))
    base = rng.uniform(0.75, 1.15) + 0.55 * atrophy + (rng.uniform(0.2, 0.8) if hydrocephalus else 0.0)
    return BrainLook(
        white_hu=rng.normal(27.4, 1.6),
        grey_gap_hu=float(np.clip(rng.normal(6.8, 1.2), 3.5, 10)),
        atrophy=atrophy,
        ventricle_scale=(base * rng.normal(1, 0.1), base * rng.normal(1, 0.1)),
        swelling=swelling,
    )


def draw_brain(head: Anatomy, look: BrainLook, rng: np.random.Generator, bloody: Field | None) -> None:
    """Fill the inside of the skull with tissue and CSF spaces; blood in a sulcus holds it open."""
    grid = head.grid
    sulci = grid.noise(rng, rng.uniform(18, 25), band_pass=True)
    openness = np.clip(grid.noise(rng, 35) * 0.45 + 0.5 + 0.85 * look.atrophy - 1.2 * look.swelling, 0, 1.7)
    reach = rng.uniform(15, 23)
    # Noise units per mm: the field's slope, so that widths are in mm.
    slope = np.float32(0.30)
    cerebellum = cerebellum_share(head)
    width = openness * rng.uniform(0.9, 1.5) * smoothstep(head.depth_mm, reach, 4) * (1 - 0.7 * cerebellum)
    if bloody is not None:
        width += 0.6 * bloody * smoothstep(head.depth_mm, reach, 4) * (1 - 0.7 * cerebellum)
    to_sulcus = np.abs(sulci) / slope
    gap = 0.5 + 1.7 * openness * openness * (0.2 + look.atrophy)
    head.cisterns = np.maximum(occupancy(to_sulcus - width), occupancy(head.depth_mm - gap))
    ribbon = np.maximum(
        smoothstep(to_sulcus, 3.6, 1.8) * smoothstep(head.depth_mm, reach + 2, reach - 6),
        smoothstep(head.depth_mm, gap + 4.0, gap + 2.2),
    )
    # Folds too fine for the grid leave the outer brain a mixture of grey and white.
    ribbon = np.maximum(ribbon, 0.45 * smoothstep(head.depth_mm, reach + 5, reach - 7))
    ribbon = np.maximum(ribbon, cerebellum * (0.55 + 0.3 * np.sin(head.depth_mm * 1.4) * (to_sulcus < 6)))
    tissue = look.white_hu + look.grey_gap_hu * np.maximum(ribbon, deep_grey(head))
    tissue -= 2.0 * smoothstep(head.depth_mm, 12, 25) * smoothstep(head.z, 8, 16)
    tissue += 1.1 * grid.noise(rng, 40) + 0.8 * grid.noise(rng, 9)
    white_matter_disease(head, tissue, look, rng)
    _draw_cisterns(head, look, rng)
    inside = occupancy(-head.depth_mm)
    share = inside * (1 - head.cisterns)
    head.hu += share * (tissue - head.hu)
    _draw_ventricles(head, look)


def cerebellum_share(head: Anatomy | PickedVoxels) -> Field:
    """0..1: below the tentorium and behind the brainstem."""
    return smoothstep(tent_height(head) - head.z, -1, 2) * smoothstep(head.y, 16, 22)


def tent_height(head: Anatomy | PickedVoxels) -> Field:
    """Height of the tentorium over each point: highest in the midline at the straight sinus."""
    x, y = np.abs(head.x), head.y
    return np.float32(-24) + np.float32(20) * np.exp(-x / 26) * smoothstep(y, 90, 30) - 0.10 * (y - 40)


def deep_grey(head: Anatomy) -> Field:
    grey = np.zeros_like(head.hu)
    for sign in (-1, 1):
        for center, radii in (
            ((sign * 11.0, 9.0, 1.0), (8.5, 14, 10)),
            ((sign * 25.0, -5.0, -1.0), (7, 17, 11)),
            ((sign * 13.5, -24.0, 3.0), (6, 9, 10)),
        ):
            box, distance = head.blob(center, radii)
            grey[box] = np.maximum(grey[box], 0.6 * smoothstep(distance, 1.6, -1.6))
        # Insular cortex with the extreme capsule medial to it.
        box, distance = head.blob((sign * 37.0, -2.0, 2.0), (3, 20, 16))
        grey[box] = np.maximum(grey[box], 0.8 * smoothstep(distance, 1.0, -1.0))
    return grey


def _draw_cisterns(head: Anatomy, look: BrainLook, rng: np.random.Generator) -> None:
    """Sylvian fissures, interhemispheric fissure and the basal cisterns, as shares of CSF."""
    wide = (0.45 + 1.1 * look.atrophy) * (1 - 0.75 * look.swelling)
    free = head.cisterns
    curve = head.grid.noise(rng, 18)[...]
    for sign in (-1, 1):
        own = wide * rng.uniform(0.7, 1.3)
        box = head.grid.box((sign * 42.0, -4.0, 0.0), 40)
        x, y, z, bend = sign * head.x[box], head.y[box], head.z[box], curve[box]
        insula = np.abs(x - 41.5 + 0.006 * (y + 2) ** 2 - 1.6 * bend) - 1.5 * own
        extent = np.hypot((y + 1) / 21, (z - 2) / 14)
        fissure = np.where(extent < 1, insula, insula + 8 * (extent - 1))
        opening = np.maximum(np.abs(y + 17 - 0.35 * (x - 42) - 2 * bend) - 1.7 * own, np.abs(z + 4) - 9)
        opening = np.maximum(opening, 26 - x)
        tail = np.maximum(np.abs(y - 14 - 0.7 * (x - 42) - 2 * bend) - 1.0 * own, np.abs(z - 9) - 5)
        tail = np.maximum(tail, 40 - x)
        free[box] = np.maximum(free[box], occupancy(np.minimum(fissure, np.minimum(opening, tail)), 1.3))
    gap = (0.35 + 1.5 * wide * smoothstep(np.abs(head.y + 10), 10, 70)) * (1 + 0.5 * curve)
    midline = occupancy(np.abs(head.x + 1.2 * curve) - np.maximum(gap, 0)) * _above_callosum(head, 3)
    np.maximum(free, midline, out=free)
    own = 0.7 + 0.6 * wide
    for center, radii in (
        ((0.0, -12.0, -27.0), (13 * own, 11 * own, 8)),
        ((9.0, -15.0, -25.0), (11 * own, 3.2 * own, 5)),
        ((-9.0, -15.0, -25.0), (11 * own, 3.2 * own, 5)),
        ((0.0, 25.0, -12.0), (9 * own, 6 * own, 7)),
        ((0.0, 66.0, -58.0), (14 * own, 10 * own, 10)),
        ((0.0, 4.0, -40.0), (14 * own, 4.5 * own, 16)),
        ((15.0, 15.0, -48.0), (9 * own, 5 * own, 6)),
        ((-15.0, 15.0, -48.0), (9 * own, 5 * own, 6)),
    ):
        box, distance = head.blob(center, radii)
        free[box] = np.maximum(free[box], occupancy(distance, 2))
    # The ring around midbrain and pons, and the cord in the canal.
    box = head.grid.box((0.0, 14.0, -35.0), 50)
    x, y, z = head.x[box], head.y[box], head.z[box]
    stem_y = 9 - 0.22 * (z + 22)
    radius = np.hypot(x / 1.15, y - stem_y)
    brainstem = 14.5 - 0.09 * np.abs(z + 38) - 4.5 * smoothstep(z, -50, -62)
    ring = occupancy(np.abs(radius - brainstem - 1.2 * own) - 1.4 * own, 1.5) * smoothstep(z, -6, -12)
    ring *= np.maximum(smoothstep(z, -32, -27), smoothstep(y - stem_y, 4, -4))
    canal = smoothstep(z, -56, -60) * occupancy(brainstem - radius)
    part = np.maximum(free[box], np.maximum(ring, canal))
    stem = occupancy(radius - brainstem, 2) * smoothstep(z, -6, -12)
    free[box] = part * (1 - stem)


def _above_callosum(head: Anatomy, margin_mm: float) -> Field:
    """0..1: outside the ellipse that the corpus callosum and what lies under it fill in the midline."""
    radius = np.hypot((head.y - 2) / (40 + margin_mm), (head.z - 2) / (24 + margin_mm))
    low = smoothstep(head.z, -32, -22) * smoothstep(np.abs(head.y), 20, 40) + (head.z > -2)
    return smoothstep(radius, 0.97, 1.05) * np.clip(low, 0, 1)


def _draw_ventricles(head: Anatomy, look: BrainLook) -> None:
    share = np.zeros_like(head.hu)
    for sign, scale in zip((-1.0, 1.0), look.ventricle_scale, strict=True):
        scale *= 1 - 0.4 * look.swelling
        chain = (
            # (x, y, z), radius across and up, for points along the ventricle from front to back.
            (13.5, -37, 4, 3.0, 6.0),
            (8.5, -27, 9, 4.2, 6.5),
            (5.5, -12, 14, 3.2, 4.6),
            (8.0, 6, 19, 4.2, 4.4),
            (14.0, 20, 16, 5.6, 5.0),
            (22.0, 30, 9, 6.2, 8.0),
            (24.0, 43, 6, 4.2, 5.5),
            (20.0, 56, 4, 2.2, 3.2),
        )
        horn = ((24, 28, 3, 4.5, 5), (31, 20, -12, 2.6, 3), (31, 6, -22, 1.8, 2.0), (27, -6, -26, 1.6, 2.0))
        for points in (chain, horn):
            for a, b in pairwise(points):
                _capsule(head, share, a, b, sign, scale)
    third = sum(look.ventricle_scale) / 2
    for center, radii in (
        ((0.0, 4.0, -6.0), (1.6 + 2.2 * (third - 0.6), 14, 10)),
        ((0.0, 24.0, -20.0), (1.3, 1.3, 12)),
        ((0.0, 33.0, -38.0), (4.5 + 3.0 * third, 3.0 + 2.2 * third, 10)),
    ):
        box, distance = head.blob(center, (max(radii[0], 1.0), radii[1], radii[2]))
        share[box] = np.maximum(share[box], occupancy(distance, 1.2))
    share *= occupancy(3 - head.depth_mm)
    head.hu += share * (CSF_HU - head.hu)
    head.ventricle = share


def _capsule(
    head: Anatomy, share: Field, start: tuple[float, ...], end: tuple[float, ...], sign: float, scale: float
) -> None:
    """One tapering piece of a ventricle: its width and height may differ."""
    a, b = np.array(start[:3], np.float32), np.array(end[:3], np.float32)
    middle, span = (a + b) / 2, float(np.linalg.norm(b - a))
    box = head.grid.box((float(sign * middle[0]), float(middle[1]), float(middle[2])), span / 2 + 16 + 6 * scale)
    x, y, z = sign * head.x[box] - a[0], head.y[box] - a[1], head.z[box] - a[2]
    axis = b - a
    t = np.clip((x * axis[0] + y * axis[1] + z * axis[2]) / np.float32(span**2), 0, 1)
    across = (start[3] + t * (end[3] - start[3])) * scale
    upward = (start[4] + t * (end[4] - start[4])) * scale**0.6
    # Wide ventricles grow away from the midline, so the septum stays thin.
    x = x - t * axis[0] - (across - across / scale)
    distance = np.hypot(np.hypot(x, y - t * axis[1]) / across, (z - t * axis[2]) / upward) - 1
    share[box] = np.maximum(share[box], occupancy(distance * np.minimum(across, upward), 1.2))


def white_matter_disease(
    head: Anatomy | PickedVoxels, tissue: Field, look: BrainLook, rng: np.random.Generator
) -> None:
    """Low density beside the ventricles in older brains."""
    if rng.random() > look.atrophy:
        return
    radius = np.hypot((np.abs(head.x) - 17) / 14, np.hypot((head.y - 2) / 44, (head.z - 18) / 14))
    patch = smoothstep(radius + 0.25 * head.grid.noise(rng, 14), 1.0, 0.5)
    tissue -= rng.uniform(2, 8) * look.atrophy * patch
