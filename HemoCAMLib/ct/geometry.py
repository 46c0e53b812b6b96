"""Where every slice of a scan truly lies, and how much tissue each one stands for."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Vector = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class SliceGeometry:
    """Positions and orientation of a stack of parallel slices, in mm, patient coordinates LPS (DICOM PS3.3 C.7.6.2).

    Attributes:
        positions_mm: [slice, 3] centre of the first pixel of every slice, ordered along the normal.
        row_direction: [3] unit vector along which the column index grows.
        column_direction: [3] unit vector along which the row index grows.
        pixel_spacing_mm: (distance between rows, distance between columns).
        slice_thickness_mm: nominal thickness, used only for a scan of a single slice; None if unknown.
    """

    positions_mm: Vector
    row_direction: Vector
    column_direction: Vector
    pixel_spacing_mm: tuple[float, float]
    slice_thickness_mm: float | None = None

    @property
    def slice_count(self) -> int:
        return int(self.positions_mm.shape[0])

    @property
    def normal(self) -> Vector:
        """[3] unit normal: row direction × column direction."""
        normal: Vector = np.cross(self.row_direction, self.column_direction)
        unit: Vector = normal / np.linalg.norm(normal)
        return unit

    @property
    def offsets_mm(self) -> Vector:
        """[slice] position of every slice along the normal; increasing."""
        offsets: Vector = self.positions_mm @ self.normal
        return offsets

    @property
    def extents_mm(self) -> Vector:
        """[slice] thickness of tissue that a slice stands for, along the normal.

        Half-way to each neighbour; the outer half of the first and the last slice mirrors the inner one.
        This is the design's volume rule: with gantry tilt it is the table step times the cosine of the tilt.
        """
        if self.slice_count == 1:
            return np.array([self.slice_thickness_mm or ASSUMED_THICKNESS_MM])
        half_steps = np.diff(self.offsets_mm) / 2
        extents: Vector = np.concatenate([half_steps[:1], half_steps]) + np.concatenate([half_steps, half_steps[-1:]])
        return extents

    @property
    def uniform_step_mm(self) -> float:
        """The single step a reader that ignores tilt and uneven steps would use: mean distance between positions."""
        if self.slice_count == 1:
            return float(self.extents_mm[0])
        steps = np.linalg.norm(np.diff(self.positions_mm, axis=0), axis=1)
        return float(steps.mean())

    @property
    def tilt_deg(self) -> float:
        """Signed angle of the slice normal away from the body axis, in the sagittal plane; 0 for axial slices.

        Positive where the front of a slice lies nearer to the top of the head than its back, as in a scan along the
        orbitomeatal line. The sign comes from the orientation alone: vendors disagree on that of GantryDetectorTilt
        (0018,1120), a GE scan with +18.5 and a Philips scan with -18.5 have the same orientation.
        """
        normal = self.normal * (1.0 if self.normal[2] >= 0 else -1.0)
        return float(np.degrees(np.arctan2(normal[1], normal[2])))

    @property
    def pixel_area_mm2(self) -> float:
        return self.pixel_spacing_mm[0] * self.pixel_spacing_mm[1]


#: Extent of a lone slice that carries no thickness: the usual head CT; readers warn when it is used.
ASSUMED_THICKNESS_MM = 5.0
