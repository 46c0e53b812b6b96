"""From the head grid to CT slices: tilted planes of finite thickness."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

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
