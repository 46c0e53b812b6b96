"""Values of a scan at any points in the patient, from true slice positions: tilt and uneven steps included."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from HemoCAMLib.ct.geometry import SliceGeometry

Points = NDArray[np.float64]


class TrueSampler:
    """Interpolates a scan, or its label map, at points given in LPS.

    Slices are parallel but may be shifted within their plane (gantry tilt) and unevenly spaced, so a point is first
    placed between two slices by its distance along the normal; its row and column then follow from the origin
    interpolated between those two.

    Args:
        volume: [slice, rows, columns] values, possibly reduced in the plane.
        geometry: of the full scan.
        reduction: pixels of the scan along the edge of one pixel of ``volume``.
    """

    def __init__(self, volume: NDArray[np.generic], geometry: SliceGeometry, reduction: int = 1) -> None:
        self._volume, self._geometry, self._reduction = volume, geometry, reduction

    def indices(self, points_lps_mm: Points) -> Points:
        """[3, ...] continuous (slice, row, column) in ``volume`` of points [..., 3]; outside where they lie outside."""
        geometry = self._geometry
        along = points_lps_mm @ geometry.normal
        slices = _extrapolated(along, geometry.offsets_mm)
        whole = np.arange(geometry.slice_count)
        origins = np.stack([np.interp(slices, whole, geometry.positions_mm[:, axis]) for axis in range(3)], axis=-1)
        inside = points_lps_mm - origins
        rows = inside @ geometry.column_direction / geometry.pixel_spacing_mm[0]
        columns = inside @ geometry.row_direction / geometry.pixel_spacing_mm[1]
        # The centre of the first reduced pixel lies between those it was made from.
        half = (self._reduction - 1) / 2
        return np.stack([slices, (rows - half) / self._reduction, (columns - half) / self._reduction])

    def linear(self, points_lps_mm: Points, outside: float) -> NDArray[np.float32]:
        """Linearly interpolated values, float32 [...]."""
        values: NDArray[np.float32] = ndimage.map_coordinates(
            self._volume, self.indices(points_lps_mm), output=np.float32, order=1, mode="constant", cval=outside
        )
        return values

    def nearest(self, points_lps_mm: Points) -> NDArray[np.generic]:
        """Values of the nearest voxel, 0 outside."""
        values: NDArray[np.generic] = ndimage.map_coordinates(
            self._volume, self.indices(points_lps_mm), order=0, mode="constant", cval=0
        )
        return values


def _extrapolated(along_mm: NDArray[np.float64], offsets_mm: NDArray[np.float64]) -> NDArray[np.float64]:
    """Continuous slice index of distances along the normal; beyond the ends the first and last step go on."""
    if offsets_mm.size == 1:
        return np.where(np.abs(along_mm - offsets_mm[0]) < 1e-3, 0.0, -10.0)
    index = np.interp(along_mm, offsets_mm, np.arange(offsets_mm.size))
    below, above = along_mm < offsets_mm[0], along_mm > offsets_mm[-1]
    index[below] = (along_mm[below] - offsets_mm[0]) / (offsets_mm[1] - offsets_mm[0])
    index[above] = offsets_mm.size - 1 + (along_mm[above] - offsets_mm[-1]) / (offsets_mm[-1] - offsets_mm[-2])
    return index


def slice_points(geometry: SliceGeometry, index: int, rows: int, columns: int, step: int = 1) -> Points:
    """[rows / step, columns / step, 3] centres in LPS of every ``step``-th pixel of a slice."""
    down = np.arange(0, rows, step) * geometry.pixel_spacing_mm[0]
    across = np.arange(0, columns, step) * geometry.pixel_spacing_mm[1]
    points: Points = (
        geometry.positions_mm[index]
        + down[:, None, None] * geometry.column_direction
        + across[None, :, None] * geometry.row_direction
    )
    return points
