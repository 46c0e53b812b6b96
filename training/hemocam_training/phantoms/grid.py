"""The voxel grid on which a phantom head is drawn, and smooth random fields on it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Field = NDArray[np.float32]

#: Grid steps (z, y, x): as fine in-plane as a soft head kernel resolves, coarser through the slice.
STEP_MM = (2.0, 1.0, 1.0)


@dataclass(frozen=True, eq=False)
class HeadGrid:
    """Regular grid around the head, x to the patient's left, y to the back, z to the vertex, in mm.

    The origin lies in the midline near the thalami.
    """

    z_mm: Field
    y_mm: Field
    x_mm: Field

    @property
    def shape(self) -> tuple[int, int, int]:
        """(z, y, x)."""
        return self.z_mm.size, self.y_mm.size, self.x_mm.size

    @property
    def voxel_ml(self) -> float:
        return float(np.prod(STEP_MM)) / 1000.0

    def box(self, center_mm: tuple[float, float, float], half_mm: float) -> tuple[slice, slice, slice]:
        """Index box (z, y, x) of a cube around a point given as (x, y, z)."""
        x, y, z = center_mm
        return tuple(  # type: ignore[return-value]
            slice(int(np.searchsorted(axis, c - half_mm)), int(np.searchsorted(axis, c + half_mm)) + 1)
            for axis, c in ((self.z_mm, z), (self.y_mm, y), (self.x_mm, x))
        )

    def noise(self, rng: np.random.Generator, wavelength_mm: float, *, band_pass: bool = False) -> Field:
        """[z, y, x] smooth random field of unit variance with features of about ``wavelength_mm``.

        Cubic B-splines with random coefficients: three matrix products. With ``band_pass`` the slow part is
        taken out, so that the zero level set is a labyrinth of evenly spaced sheets, as the sulci are.
        """
        lattice = wavelength_mm / 3.0
        bases = [_bspline_basis(axis, lattice) for axis in (self.z_mm, self.y_mm, self.x_mm)]
        coefficients = rng.standard_normal([basis.shape[1] for basis in bases], dtype=np.float32)
        if band_pass:
            coefficients = ndimage.gaussian_filter(coefficients, 0.6) - ndimage.gaussian_filter(coefficients, 1.5)
        else:
            coefficients = ndimage.gaussian_filter(coefficients, 0.5)
        along_z, along_y, along_x = bases
        planes = np.matmul(along_y, coefficients @ along_x.T)
        field = (along_z @ planes.reshape(planes.shape[0], -1)).reshape(self.shape)
        return field / np.float32(field[::4, ::4, ::4].std())


def head_grid() -> HeadGrid:
    """The grid that every phantom uses."""
    z, y, x = STEP_MM
    return HeadGrid(
        np.arange(-90, 92, z, dtype=np.float32),
        np.arange(-112, 112, y, dtype=np.float32),
        np.arange(-92, 92, x, dtype=np.float32),
    )


def _bspline_basis(axis_mm: Field, lattice_mm: float) -> Field:
    """[point, coefficient] cubic B-spline weights."""
    position = (axis_mm - axis_mm[0]) / lattice_mm
    cell = np.floor(position).astype(int)
    t = (position - cell).astype(np.float32)
    weights = np.stack(
        [(1 - t) ** 3, 3 * t**3 - 6 * t**2 + 4, -3 * t**3 + 3 * t**2 + 3 * t + 1, t**3], axis=1
    ) / np.float32(6)
    basis = np.zeros((axis_mm.size, cell[-1] + 4), np.float32)
    for k in range(4):
        basis[np.arange(axis_mm.size), cell + k] = weights[:, k]
    return basis


def occupancy(signed_distance_mm: Field, edge_mm: float = 1.0) -> Field:
    """0..1 share of a voxel inside a shape (negative distance is inside), linear over ``edge_mm``."""
    share = np.multiply(signed_distance_mm, np.float32(-1 / edge_mm), dtype=np.float32)
    share += np.float32(0.5)
    return np.clip(share, 0, 1, out=share)


def smoothstep(value: Field, low: float, high: float) -> Field:
    """0 below ``low``, 1 above ``high``, cubic between; ``low`` may exceed ``high`` for a falling step."""
    t = np.subtract(value, np.float32(low), dtype=np.float32)
    t *= np.float32(1 / (high - low))
    np.clip(t, 0, 1, out=t)
    # t² (3 − 2t) with one more array.
    rest = t * np.float32(-2)
    rest += np.float32(3)
    rest *= t
    rest *= t
    return rest
