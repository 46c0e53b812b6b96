"""Bone and what lies outside it: skull vault and base, air cells, orbits, face, scalp."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hemocam_training.phantoms.grid import Field, HeadGrid, occupancy, smoothstep


@dataclass(frozen=True)
class HeadShape:
    """Sizes of one head, in mm and HU."""

    half_width_mm: float
    half_length_mm: float
    height_mm: float
    skull_mm: float
    scalp_mm: float
    skull_hu: float
    egg: float
    base_shift_mm: float


@dataclass(eq=False)
class Anatomy:
    """A head on the grid while it is being drawn.

    Attributes:
        hu: [z, y, x] Hounsfield units.
        x, y, z: [z, y, x] anatomical coordinates of every voxel, mm: rotated, scaled and warped grid coordinates.
        depth_mm: distance below the inner table, positive inside the skull.
        vault_mm: the same without the skull base.
        ventricle: 0..1 share of ventricle.
        cisterns: 0..1 share of sulci, fissures and cisterns.
    """

    grid: HeadGrid
    shape: HeadShape
    hu: Field
    x: Field
    y: Field
    z: Field
    depth_mm: Field
    vault_mm: Field
    ventricle: Field
    cisterns: Field

    def paint(self, box: tuple[slice, slice, slice], share: Field, hu: float | Field) -> None:
        """Mix ``hu`` into the box by ``share`` (0..1)."""
        part = self.hu[box]
        part += share * (hu - part)

    def blob(
        self, center_mm: tuple[float, float, float], radii_mm: tuple[float, float, float], margin_mm: float = 12.0
    ) -> tuple[tuple[slice, slice, slice], Field]:
        """Index box and signed distance (mm, negative inside) of an ellipsoid in anatomical coordinates."""
        return self.blob_in(self.grid.box(center_mm, max(radii_mm) * 1.1 + margin_mm), center_mm, radii_mm)

    def blob_in(
        self,
        box: tuple[slice, slice, slice],
        center_mm: tuple[float, float, float],
        radii_mm: tuple[float, float, float],
    ) -> tuple[tuple[slice, slice, slice], Field]:
        """The same in a box at hand."""
        (cx, cy, cz), (rx, ry, rz) = center_mm, radii_mm
        scaled = np.sqrt(
            ((self.x[box] - cx) / rx) ** 2 + ((self.y[box] - cy) / ry) ** 2 + ((self.z[box] - cz) / rz) ** 2
        )
        return box, (scaled - 1) * np.float32(min(radii_mm))


@dataclass(frozen=True, eq=False)
class PickedGrid:
    """The part of a grid that some voxels make up: its noise is drawn for the whole and picked."""

    whole: HeadGrid
    index: NDArray[np.intp]

    def noise(self, rng: np.random.Generator, wavelength_mm: float, *, band_pass: bool = False) -> Field:
        """[voxel] as :meth:`HeadGrid.noise`."""
        picked: Field = self.whole.noise(rng, wavelength_mm, band_pass=band_pass).ravel()[self.index]
        return picked


class PickedVoxels:
    """Some voxels of a head as flat arrays, where most of a head's formulas cost a quarter.

    Attributes of the same names as :class:`Anatomy`, [voxel] each; :meth:`put_back` writes ``hu`` into the head.

    Args:
        head: the whole.
        mask: [z, y, x] which voxels.
    """

    def __init__(self, head: Anatomy, mask: NDArray[np.bool_]) -> None:
        self.index = np.flatnonzero(mask)
        self.grid, self.shape = PickedGrid(head.grid, self.index), head.shape
        self._head = head
        self.hu, self.x, self.y, self.z = (self.pick(field) for field in (head.hu, head.x, head.y, head.z))
        self.depth_mm, self.vault_mm = self.pick(head.depth_mm), self.pick(head.vault_mm)

    def pick(self, field: Field) -> Field:
        """[voxel] of a [z, y, x] field."""
        picked: Field = field.ravel()[self.index]
        return picked

    def spread(self, values: Field) -> Field:
        """[z, y, x] with these values, zero elsewhere."""
        field = np.zeros(self._head.hu.shape, np.float32)
        field.ravel()[self.index] = values
        return field

    def put_back(self) -> None:
        self._head.hu.ravel()[self.index] = self.hu


def random_shape(rng: np.random.Generator) -> HeadShape:
    """An adult head of random size."""
    size = rng.normal(1.0, 0.035)
    return HeadShape(
        half_width_mm=size * rng.normal(66, 3),
        half_length_mm=size * rng.normal(84, 3.5),
        height_mm=size * rng.normal(73, 3.5),
        skull_mm=float(np.clip(rng.normal(6.5, 1.5), 3.5, 11)),
        scalp_mm=float(np.clip(rng.normal(5.5, 2.0), 2.5, 12)),
        skull_hu=rng.uniform(840, 1250),
        egg=rng.uniform(-0.02, 0.12),
        base_shift_mm=rng.normal(0, 3),
    )


def vault_depth(shape: HeadShape, x: Field, y: Field, z: Field, grow_mm: float = 0.0, low_mm: float = 76.0) -> Field:
    """First-order distance inside an egg-shaped ellipsoid, positive inside, mm."""
    width = (shape.half_width_mm + grow_mm) * (1 + shape.egg * y / 84)
    length = shape.half_length_mm + grow_mm
    height = np.where(z > 0, np.float32(shape.height_mm + grow_mm), np.float32(low_mm + grow_mm))
    # An exponent of 2.3 across makes the temples flatter than an ellipse, as real vaults are.
    u, v, w = np.abs(x / width), y / length, z / height
    power = np.float32(2.3)
    u_power = u**power
    radius = np.sqrt(u_power + v * v + w * w) + np.float32(1e-3)
    across = 1.15 * u_power / np.maximum(u, 0.02) / width
    slope = np.sqrt(across**2 + (v / length) ** 2 + (w / height) ** 2) / radius
    return (1 - radius) / slope * np.minimum(1, radius * 1.5 + 0.2)


def floor_height(x: Field, y: Field, shift_mm: float) -> Field:
    """[y, x] height of the skull base's inner surface, mm: three fossae, sella, clivus, foramen magnum."""
    side = np.abs(x)
    anterior = -20 + 5 * np.exp(-(((side - 26) / 14) ** 2)) - 6 * np.exp(-((side / 6) ** 2)) + 0.1 * (y + 45)
    middle = -26 - 17 * smoothstep(side, 12, 24)
    clivus = -27 - 0.95 * (y + 6)
    posterior = np.where(side < 14, np.maximum(clivus, -62), -57 - 4 * np.exp(-(((side - 25) / 20) ** 2)))
    sphenoid, petrous = -16 - 0.34 * side, np.where(side < 12, -6, 0 + 0.52 * side)
    height = anterior + (middle - anterior) * smoothstep(y - sphenoid, -4, 4)
    height = height + (posterior - height) * smoothstep(y - petrous, -4, 5)
    height += (side > 8) * 16 * np.exp(-(((y - petrous) / 7) ** 2)) * smoothstep(side, 8, 16)
    height += 4 * np.exp(-(((y - sphenoid) / 4) ** 2)) * smoothstep(side, 10, 20)
    height -= 50 * smoothstep(np.hypot(x / 15, (y - 30) / 17), 1.1, 0.85)
    return (height + shift_mm).astype(np.float32)


def draw_outside(head: Anatomy, rng: np.random.Generator, floor_mm: Field) -> None:
    """Scalp, face, skull and air cells into ``head.hu``; the inside of the skull is left as CSF."""
    shape, grid = head.shape, head.grid
    thickness = shape.skull_mm * (1 + 0.18 * grid.noise(rng, 60)) + 0.02 * np.maximum(head.y, 0)
    skin = vault_depth(shape, head.x, head.y, head.z, shape.skull_mm + shape.scalp_mm, low_mm=150.0)
    texture = grid.noise(rng, 16)
    # Soft tissue: skin, fat, and muscle at the temples, the neck and the face.
    muscle = smoothstep(head.z, 12, -8) * smoothstep(np.abs(head.x), 45, 55) + smoothstep(head.z, -25, -45)
    tissue = -72 + 125 * np.clip(muscle * smoothstep(texture, -0.9, -0.2), 0, 1) * smoothstep(skin, 3.5, 5)
    tissue += smoothstep(skin, 3.2, 1.8) * 125
    head.hu += occupancy(-skin) * (tissue - head.hu)
    _draw_base(head, rng, texture, floor_mm)
    bone = shape.skull_hu * (0.75 + 0.35 * np.abs(2 * (-head.vault_mm / thickness) - 1))
    share = occupancy(-head.vault_mm - thickness) * smoothstep(head.z - floor_mm, -14, -8)
    share *= smoothstep(head.y, -60, -45) + smoothstep(head.z, -22, -14) > 0.5
    head.hu += share * (bone - head.hu)
    draw_orbits(head, 14 - head.shape.half_length_mm, -33.0 + head.shape.base_shift_mm)
    inside = occupancy(-head.depth_mm)
    head.hu += inside * (8 - head.hu)


def _draw_base(head: Anatomy, rng: np.random.Generator, texture: Field, floor_mm: Field) -> None:
    """Bone below the floor of the skull with marrow and air cells, nasal cavity and sinuses."""
    top = int(np.searchsorted(head.grid.z_mm, 14))
    low = slice(0, top)
    x, y, z = head.x[low], head.y[low], head.z[low]
    side, below = np.abs(x), (floor_mm - head.z)[low]
    fine = texture[low]
    within = smoothstep(head.vault_mm[low], -head.shape.skull_mm - 2, -head.shape.skull_mm)
    bone_mm = 5 + 10 * np.exp(-(((side - 40) / 20) ** 2 + ((y - 22) / 16) ** 2)) + 6 * (side < 14) * (y > -10)
    base = occupancy(-below) * occupancy(below - bone_mm, 2) * within
    hu = head.hu[low]
    hu += base * (head.shape.skull_hu * (0.55 + 0.45 * np.clip(np.abs(fine), 0, 1)) - hu)
    walls = (np.abs(fine) < 0.13) & (z < -30) & (y < 10) & (side < 50)
    hu += walls * occupancy(-below + 3) * (700 - hu) * within
    cells = smoothstep(np.abs(fine), 0.15, 0.3) * occupancy(-(below - 1.5))
    mastoid = smoothstep(np.hypot((side - 52) / 11, np.hypot((y - 30) / 12, (z + 42) / 14)), 1.1, 0.9)
    nose = smoothstep(np.hypot(x / 16, np.hypot((y + 52) / 30, (z + 50) / 24)), 1.1, 0.9)
    sphenoid = smoothstep(np.hypot(x / 14, np.hypot((y + 14) / 11, (z + 42) / 10)), 1.1, 0.95)
    maxilla = smoothstep(np.hypot((side - 28) / 14, np.hypot((y + 58) / 15, (z + 68) / 16)), 1.1, 0.95)
    air = cells * np.maximum(mastoid * rng.uniform(0, 1), nose)
    air = np.maximum(air, np.maximum(sphenoid, maxilla) * occupancy(-(below - 2)) * (rng.random() < 0.85))
    hu += air * (-950 - hu)
    if rng.random() < 0.7:
        width, deep = rng.uniform(12, 26), rng.uniform(4, 9)
        front = -head.shape.half_length_mm - 4
        box, distance = head.blob((0, front, -4), (width, deep, rng.uniform(10, 22)))
        share = occupancy(distance) * occupancy(head.vault_mm[box] + 2)
        head.paint(box, share, -900)


def draw_orbits(head: Anatomy, center_y_mm: float, center_z_mm: float) -> None:
    """Orbital fat, eyes with their lenses, optic nerves and muscles; nothing of it inside the skull."""
    for sign in (-1, 1):
        center = (sign * 31.0, center_y_mm, center_z_mm)
        box, distance = head.blob((center[0] * 0.92, center[1] + 8, center[2]), (17, 26, 16))
        outside = occupancy(head.vault_mm[box] + 2.5)
        head.paint(box, occupancy(distance - 2.5) * occupancy(1 - distance) * outside, 700)
        head.paint(box, occupancy(distance) * outside, -70)
        for middle, radii, hu in (
            ((center[0] * 0.9, center[1] + 16, center[2]), (2.2, 18, 2.2), 35.0),
            ((center[0] * 1.25, center[1] + 14, center[2]), (2.5, 16, 6), 50.0),
            ((center[0] * 0.6, center[1] + 12, center[2]), (2.0, 15, 5), 50.0),
            (center, (12, 12, 12), 45.0),
            (center, (10.5, 10.5, 10.5), 12.0),
            ((center[0], center[1] - 9, center[2]), (4.5, 2, 4.5), 85.0),
        ):
            box, distance = head.blob(middle, radii)
            head.paint(box, occupancy(distance) * occupancy(head.vault_mm[box] + 2), hu)
