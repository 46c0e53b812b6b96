"""The plane between the two halves of the head."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage, optimize

from HemoCAMLib.ct.geometry import SliceGeometry
from HemoCAMLib.mask.brain_mask import BrainMask

Vector = NDArray[np.float64]

#: The patient's left in LPS coordinates (DICOM PS3.3 C.7.6.2).
LEFT = np.array([1.0, 0.0, 0.0])

#: Turns of the head within the slices that the search starts from, in degrees.
START_TURNS_DEG = np.arange(-30, 31, 5)

#: A stretch of outline that is further from its mirror image than this counts as this: a bulge, a leak.
FARTHEST_MM = 8.0

#: Below this height of tissue a roll cannot be told.
SMALLEST_HEIGHT_MM = 40.0


@dataclass(frozen=True, eq=False)
class MidlinePlane:
    """The mid-sagittal plane in mm, patient coordinates LPS.

    Attributes:
        normal: [3] unit vector that points to the patient's left.
        offset_mm: the plane is where ``normal · position`` equals this.
    """

    normal: Vector
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

    @classmethod
    def from_brain(cls, brain: BrainMask, geometry: SliceGeometry) -> MidlinePlane | None:
        """The plane of symmetry of the intracranial space, which a lesion inside does not shift.

        It is the plane across which the space's outline lies closest to its own mirror image: over the turn of the
        head within the slices, its roll across them, and the position.

        Returns:
            None where there is no brain mask or the slices do not run across the body.
        """
        if brain.is_empty or abs(float(geometry.row_direction @ LEFT)) < np.cos(np.radians(60)):
            return None
        outline = _Outline.of(brain, geometry)
        height_mm = float(np.ptp(outline.points_mm[:, 2]))
        roll_scale = 1.0 if height_mm >= SMALLEST_HEIGHT_MM else 0.0

        def distance_mm(pose: Vector) -> float:
            return outline.distance_from_mirror_mm(pose[0], pose[1] * roll_scale, pose[2])

        starts = [np.array([turn, 0.0, outline.middle_mm(turn)]) for turn in START_TURNS_DEG.tolist()]
        start = min(starts, key=distance_mm)
        simplex = start + np.array([[0, 0, 0], [4, 0, 0], [0, 4, 0], [0, 0, 3]])
        found = optimize.minimize(
            distance_mm,
            start,
            method="Nelder-Mead",
            options={"initial_simplex": simplex, "xatol": 0.05, "fatol": 1e-3, "maxfev": 200},
        )
        turn, roll, offset_mm = found.x[0], found.x[1] * roll_scale, float(found.x[2])
        normal = _across(turn, roll) @ outline.frame
        return cls(normal, offset_mm) if normal[0] >= 0 else cls(-normal, -offset_mm)

    def as_dict(self) -> dict[str, object]:
        """Plain values for ``result.json``: the same plane to the last bit."""
        return {"normal_lps": [float(value) for value in self.normal], "offset_mm": float(self.offset_mm)}

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> MidlinePlane:
        """The inverse of :meth:`as_dict`."""
        return cls(np.array(fields["normal_lps"], float), float(fields["offset_mm"]))

    def left_mm(self, geometry: SliceGeometry, index: int) -> tuple[float, float, float]:
        """How far left of the plane a slice's pixels lie, in mm: (first pixel, step per row, step per column)."""
        row_mm, column_mm = geometry.pixel_spacing_mm
        first = float(self.normal @ geometry.positions_mm[index]) - self.offset_mm
        per_row = float(self.normal @ geometry.column_direction) * row_mm
        per_column = float(self.normal @ geometry.row_direction) * column_mm
        return first, per_row, per_column


@dataclass(frozen=True, eq=False)
class _Outline:
    """The outline of the space in every slab.

    Attributes:
        frame: [3, 3] rows: row direction, column direction, normal of the slices.
        origins_mm: [slab, 3] centre of the first low-resolution pixel, in that frame.
        spacing_mm: (row, column) of the low-resolution pixels.
        points_mm: [points, 3] the outline, in that frame.
        distances_mm: [slab, rows, columns] distance to the outline within the slab.
    """

    frame: Vector
    origins_mm: Vector
    spacing_mm: tuple[float, float]
    points_mm: Vector
    distances_mm: NDArray[np.float32]

    @classmethod
    def of(cls, brain: BrainMask, geometry: SliceGeometry) -> _Outline:
        frame = np.stack([geometry.row_direction, geometry.column_direction, geometry.normal])
        row_mm, column_mm = (spacing * brain.factor for spacing in geometry.pixel_spacing_mm)
        rows, columns = np.flatnonzero(brain.space.any(axis=(0, 2))), np.flatnonzero(brain.space.any(axis=(0, 1)))
        top, left = int(rows[0]), int(columns[0])
        space = brain.space[:, top : rows[-1] + 1, left : columns[-1] + 1]
        positions_mm = geometry.positions_mm @ frame.T
        slices_in_slab = np.bincount(brain.slab_of_slice)
        sums = [np.bincount(brain.slab_of_slice, weights=axis_mm) for axis_mm in positions_mm.T]
        # A low-resolution pixel's centre is the centre of its block.
        in_block = (brain.factor - 1) / 2 * np.array(geometry.pixel_spacing_mm)
        corner = np.array([left * column_mm + in_block[1], top * row_mm + in_block[0], 0.0])
        origins_mm = np.stack(sums, axis=1) / slices_in_slab[:, None] + corner
        slabs = np.flatnonzero(space.any(axis=(1, 2)))
        distances_mm = np.full(space.shape, FARTHEST_MM, np.float32)
        points = []
        for slab in slabs:
            edge = space[slab] & ~ndimage.binary_erosion(space[slab])
            distances_mm[slab] = ndimage.distance_transform_edt(~edge, sampling=(row_mm, column_mm))
            row, column = np.nonzero(edge)
            steps = np.stack([column * column_mm, row * row_mm, np.zeros(row.size)], axis=1)
            points.append(origins_mm[slab] + steps)
        return cls(
            frame,
            origins_mm[slabs],
            (row_mm, column_mm),
            np.concatenate(points),
            np.minimum(distances_mm[slabs], np.float32(FARTHEST_MM)),
        )

    def middle_mm(self, turn_deg: float) -> float:
        """Mean position of the outline across a head that is turned so far."""
        return float((self.points_mm @ _across(turn_deg, 0.0)).mean())

    def distance_from_mirror_mm(self, turn_deg: float, roll_deg: float, offset_mm: float) -> float:
        """Mean distance in mm of the outline's mirror image from the outline."""
        across = _across(turn_deg, roll_deg)
        mirrored = self.points_mm - 2 * (self.points_mm @ across - offset_mm)[:, None] * across
        heights_mm = self.origins_mm[:, 2]
        slab = np.searchsorted((heights_mm[1:] + heights_mm[:-1]) / 2, mirrored[:, 2])
        steps = mirrored[:, :2] - self.origins_mm[slab, :2]
        row = np.round(steps[:, 1] / self.spacing_mm[0]).astype(np.intp)
        column = np.round(steps[:, 0] / self.spacing_mm[1]).astype(np.intp)
        _, rows, columns = self.distances_mm.shape
        within = (row >= 0) & (row < rows) & (column >= 0) & (column < columns)
        near_mm = self.distances_mm[slab[within], row[within], column[within]]
        return float((near_mm.sum(dtype=np.float64) + FARTHEST_MM * np.count_nonzero(~within)) / within.size)


def _across(turn_deg: float, roll_deg: float) -> Vector:
    """[3] unit vector from one side of the head to the other, in the frame of its slices."""
    turn, roll = np.radians(turn_deg), np.radians(roll_deg)
    return np.array([np.cos(turn) * np.cos(roll), -np.sin(turn) * np.cos(roll), np.sin(roll)])
