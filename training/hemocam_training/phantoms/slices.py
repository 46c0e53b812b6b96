"""From the head grid to CT slices: tilted planes of finite thickness, and the scanner's marks on them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage, sparse

from hemocam_training.phantoms.grid import Field, HeadGrid
from HemoCAMLib.ct.geometry import SliceGeometry

FULL_SIZE = 512
#: Samples through the thickness of a slice.
THROUGH_PLANE = 5


@dataclass(frozen=True, eq=False)
class ScanPlanes:
    """Where the slices cut the head.

    Attributes:
        geometry: what a scanner would report, LPS, at the rendered matrix size.
        plane_tilt_rad: tilt of the planes in the head's own frame; the rest of the gantry tilt is the head's pitch.
        offsets_mm: [slice] distance of each plane along its normal.
        shear_mm: [slice] shift of each plane's centre along its column direction.
        center_mm: (x, y) of the field of view's centre.
        thickness_mm: slice thickness.
        spacing_mm: in-plane spacing at 512 columns.
    """

    geometry: SliceGeometry
    plane_tilt_rad: float
    offsets_mm: NDArray[np.float64]
    shear_mm: NDArray[np.float64]
    center_mm: tuple[float, float]
    thickness_mm: float
    spacing_mm: float


def random_planes(rng: np.random.Generator, rows: int, top_mm: float) -> ScanPlanes:
    """A head protocol: tilt 0-29 degrees, 2.5-5 mm slices, 24-40 of them, at times two different steps."""
    tilt = np.radians(float(np.clip(rng.normal(16, 8), 0, 29)) if rng.random() < 0.65 else 0.0) * rng.choice([-1, 1])
    plane_tilt = np.radians(rng.normal(-3, 6))
    thickness = float(rng.choice([5.0, 5.0, 5.0, 4.0, 3.0, 2.5]))
    step = thickness * (rng.uniform(1.0, 1.1) if rng.random() < 0.2 else 1.0)
    low = rng.uniform(-72, -40)
    count = int(np.clip(np.ceil((top_mm + rng.uniform(0, 10) - low) / step), 24, 40))
    steps = np.full(count - 1, step)
    if rng.random() < 0.15:
        steps[: count // 3] *= 0.7
    offsets = low + np.concatenate([[0.0], np.cumsum(steps)])
    if thickness < 4:
        offsets += rng.uniform(0, max(0.0, top_mm - offsets[-1]))
    spacing = rng.uniform(0.43, 0.49)
    center = (rng.normal(0, 3), rng.normal(0, 4))
    # The table moves along the body axis while the planes are tilted: centres shear along the column direction.
    shear = np.tan(tilt) * (offsets - offsets.mean())
    cosine, sine = np.cos(tilt), np.sin(tilt)
    column, normal = np.array([0, cosine, sine]), np.array([0, -sine, cosine])
    pixel = spacing * FULL_SIZE / rows
    half = (rows - 1) / 2 * pixel
    positions = (
        np.array([center[0] - half, 0.0, 0.0])
        + (center[1] - half + shear)[:, None] * column
        + offsets[:, None] * normal
    )
    geometry = SliceGeometry(positions, np.array([1.0, 0, 0]), column, (pixel, pixel), thickness)
    # In the head's frame the centres stay near the head: the patient is positioned so.
    return ScanPlanes(geometry, plane_tilt, offsets, shear * rng.uniform(0, 0.15), center, thickness, spacing)


class SliceSampler:
    """Linear operator from grid volumes to slices; every sample is trilinear, averaged over thickness and pixel."""

    def __init__(self, grid: HeadGrid, planes: ScanPlanes, rows: int, columns: int) -> None:
        self._grid, self._shape = grid, (planes.offsets_mm.size, rows, columns)
        self._rows_zy = _row_operator(grid, planes, rows)
        x = planes.center_mm[0] + planes.spacing_mm * (np.arange(FULL_SIZE) - (FULL_SIZE - 1) / 2)
        fine = _linear_weights(grid.x_mm, x)
        self._columns = fine.reshape(grid.x_mm.size, columns, FULL_SIZE // columns).mean(axis=2)

    def __call__(self, volume: Field, outside: float) -> Field:
        """[slice, row, column] of a [z, y, x] volume."""
        flat = (volume - np.float32(outside)).reshape(-1, volume.shape[2])
        used = np.flatnonzero(flat[:, :].any(axis=0)) if outside == 0 else np.arange(flat.shape[1])
        if used.size == 0:
            return np.zeros(self._shape, np.float32)
        low, high = used[0], used[-1] + 1
        sampled = self._rows_zy @ np.ascontiguousarray(flat[:, low:high])
        return (sampled @ self._columns[low:high]).reshape(self._shape) + np.float32(outside)


def _linear_weights(axis_mm: Field, points_mm: NDArray[np.float64]) -> Field:
    """[axis, point] dense linear interpolation weights; zero outside."""
    step = float(axis_mm[1] - axis_mm[0])
    return np.clip(1 - np.abs(points_mm[None] - axis_mm[:, None]) / step, 0, None).astype(np.float32)


def _row_operator(grid: HeadGrid, planes: ScanPlanes, rows: int) -> sparse.csr_matrix:
    """Sparse [slice * row, z * y] weights of every image row."""
    per_pixel = FULL_SIZE // rows
    v = planes.spacing_mm * (np.arange(FULL_SIZE) - (FULL_SIZE - 1) / 2) + planes.center_mm[1]
    w = (np.arange(THROUGH_PLANE) + 0.5) / THROUGH_PLANE - 0.5
    along = (v[None, :] + planes.shear_mm[:, None])[:, :, None]
    normal = (planes.offsets_mm[:, None] + planes.thickness_mm * w[None, :])[:, None, :]
    cosine, sine = np.cos(planes.plane_tilt_rad), np.sin(planes.plane_tilt_rad)
    y = (along * cosine - normal * sine - grid.y_mm[0]) / (grid.y_mm[1] - grid.y_mm[0])
    z = (along * sine + normal * cosine - grid.z_mm[0]) / (grid.z_mm[1] - grid.z_mm[0])
    nz, ny = grid.z_mm.size, grid.y_mm.size
    y0, z0 = np.floor(y).astype(np.int32), np.floor(z).astype(np.int32)
    inside = (y0 >= 0) & (y0 < ny - 1) & (z0 >= 0) & (z0 < nz - 1)
    row = np.broadcast_to(
        (np.arange(y.shape[0])[:, None] * rows + np.arange(FULL_SIZE)[None, :] // per_pixel)[:, :, None], y.shape
    )[inside]
    fy, fz = (y - y0)[inside].astype(np.float32), (z - z0)[inside].astype(np.float32)
    base = (z0 * ny + y0)[inside]
    scale = np.float32(1 / (per_pixel * THROUGH_PLANE))
    data = np.concatenate([(1 - fy) * (1 - fz), fy * (1 - fz), (1 - fy) * fz, fy * fz]) * scale
    columns = np.concatenate([base, base + 1, base + ny, base + ny + 1])
    operator = sparse.csr_matrix((data, (np.tile(row, 4), columns)), shape=(y.shape[0] * rows, nz * ny))
    operator.sum_duplicates()
    return operator


def scanner_marks(hu: Field, planes: ScanPlanes, rng: np.random.Generator) -> Field:
    """Kernel, beam hardening, streaks, motion and table on noise-free slices [slice, row, column]."""
    pixel = planes.geometry.pixel_spacing_mm[0]
    bone = np.clip((hu - 200) / 800, 0, 1.2)
    _beam_hardening(hu, bone, pixel, rng)
    blur = rng.uniform(0.2, 0.7) / pixel
    hu = ndimage.gaussian_filter(hu, (0, blur, blur), truncate=2.5)
    if rng.random() < 0.25:
        sharp = ndimage.gaussian_filter(hu, (0, 1.2 / pixel, 1.2 / pixel), truncate=2.5)
        hu += np.float32(rng.uniform(0.1, 0.5)) * (np.clip(hu, -150, 150) - np.clip(sharp, -150, 150))
    if rng.random() < 0.06:
        _motion(hu, pixel, rng)
    _draw_table(hu, planes, rng)
    return hu


def _beam_hardening(hu: Field, bone: Field, pixel: float, rng: np.random.Generator) -> None:
    """Cupping under the vault, and dark and bright bands between the petrous bones."""
    soft = np.clip((hu + 200) / 150, 0, 1) * (hu < 250)
    near = ndimage.gaussian_filter(bone, (0, 6 / pixel, 6 / pixel), truncate=2.0)
    hu += np.float32(rng.uniform(0, 18)) * near * soft
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
