"""The plane between the two halves of the head."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from HemoCAMLib.ct.geometry import SliceGeometry

#: The patient's left in LPS coordinates (DICOM PS3.3 C.7.6.2).
LEFT = np.array([1.0, 0.0, 0.0])


@dataclass(frozen=True, eq=False)
class MidlinePlane:
    """The mid-sagittal plane in mm, patient coordinates LPS.

    Attributes:
        normal: [3] unit vector that points to the patient's left.
        offset_mm: the plane is where ``normal · position`` equals this.
    """

    normal: NDArray[np.float64]
    offset_mm: float

    @classmethod
    def of_image(cls, geometry: SliceGeometry, shape: tuple[int, int]) -> MidlinePlane:
        """The sagittal plane through the middle of the images: what is left where no brain was found.

        Args:
            geometry: of the scan.
            shape: (rows, columns) of an image.
        """
        row_mm, column_mm = geometry.pixel_spacing_mm
        middle = geometry.positions_mm.mean(axis=0)
        middle = middle + geometry.column_direction * row_mm * (shape[0] - 1) / 2
        middle = middle + geometry.row_direction * column_mm * (shape[1] - 1) / 2
        return cls(LEFT, float(LEFT @ middle))

    def left_mm(self, geometry: SliceGeometry, index: int) -> tuple[float, float, float]:
        """How far left of the plane a slice's pixels lie, in mm: (first pixel, step per row, step per column)."""
        row_mm, column_mm = geometry.pixel_spacing_mm
        first = float(self.normal @ geometry.positions_mm[index]) - self.offset_mm
        per_row = float(self.normal @ geometry.column_direction) * row_mm
        per_column = float(self.normal @ geometry.row_direction) * column_mm
        return first, per_row, per_column
