"""The plane between the two halves of the head."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from HemoCAMLib.ct.geometry import SliceGeometry
from HemoCAMLib.mask.brain_mask import BrainMask

Vector = NDArray[np.float64]

#: The patient's left in LPS coordinates (DICOM PS3.3 C.7.6.2).
LEFT = np.array([1.0, 0.0, 0.0])

#: Heads are turned less than this in a scanner, in degrees within the slice.
LARGEST_TURN_DEG = 30

#: Slabs narrower than this share of the widest one have a lopsided outline: skull base, vertex.
WIDE_SLAB_SHARE = 0.5


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

        The turn of the head within the slices is the one for which the space is most like its mirror image; along
        that axis each slab's middle is the median of the middles of its lines, and a plane is fitted to these.

        Returns:
            None where there is no brain mask or the slices do not run across the body.
        """
        if brain.is_empty or abs(float(geometry.row_direction @ LEFT)) < np.cos(np.radians(60)):
            return None
        spacing_mm = np.asarray(geometry.pixel_spacing_mm) * brain.factor
        turn = _turn_rad(brain, spacing_mm, geometry)
        sideways = np.cos(turn) * geometry.row_direction - np.sin(turn) * geometry.column_direction
        sideways = sideways if sideways[0] >= 0 else -sideways
        middles = _slab_middles(brain, geometry, sideways)
        heights_mm, middles_mm, weights = middles.T
        slope = _robust_slope(heights_mm, middles_mm, weights)
        offset_mm = float(_weighted_median(middles_mm - slope * heights_mm, weights))
        normal = sideways - slope * geometry.normal
        length = float(np.linalg.norm(normal))
        return cls(normal / length, offset_mm / length)

    def left_mm(self, geometry: SliceGeometry, index: int) -> tuple[float, float, float]:
        """How far left of the plane a slice's pixels lie, in mm: (first pixel, step per row, step per column)."""
        row_mm, column_mm = geometry.pixel_spacing_mm
        first = float(self.normal @ geometry.positions_mm[index]) - self.offset_mm
        per_row = float(self.normal @ geometry.column_direction) * row_mm
        per_column = float(self.normal @ geometry.row_direction) * column_mm
        return first, per_row, per_column


def _turn_rad(brain: BrainMask, spacing_mm: Vector, geometry: SliceGeometry) -> float:
    """Angle in the slice plane by which the axis of symmetry departs from the columns."""
    slab_mm = np.bincount(brain.slab_of_slice, weights=geometry.extents_mm)
    thickness_mm = np.tensordot(slab_mm, brain.space.astype(np.float64), axes=1)
    rows, columns = np.nonzero(thickness_mm)
    weights = thickness_mm[rows, columns]
    points = np.stack([rows, columns], axis=1) * spacing_mm
    points = points - np.average(points, axis=0, weights=weights)
    reach = int(np.ceil(np.linalg.norm(points, axis=1).max() / spacing_mm.min())) + 1

    def likeness(angle: float) -> float:
        across = points @ np.array([-np.sin(angle), np.cos(angle)]) / spacing_mm.min()
        along = points @ np.array([np.cos(angle), np.sin(angle)]) / spacing_mm.min()
        cells = (np.round(along).astype(int) + reach, np.round(across).astype(int) + reach)
        picture = np.zeros((2 * reach + 1, 2 * reach + 1))
        np.add.at(picture, cells, weights)
        picture = ndimage.uniform_filter(picture, 3)
        return float((picture * picture[:, ::-1]).sum() / (picture**2).sum())

    coarse = np.radians(np.arange(-LARGEST_TURN_DEG, LARGEST_TURN_DEG + 1, 3))
    best = max(coarse, key=likeness)
    fine = best + np.radians(np.arange(-2.5, 2.6, 0.5))
    return float(max(fine, key=likeness))


def _slab_middles(brain: BrainMask, geometry: SliceGeometry, sideways: Vector) -> NDArray[np.float64]:
    """[slabs, 3] height along the normal, middle along the sideways direction (mm), and weight of each wide slab."""
    areas = np.count_nonzero(brain.space, axis=(1, 2))
    row_mm, column_mm = (spacing * brain.factor for spacing in geometry.pixel_spacing_mm)
    forwards = np.cross(geometry.normal, sideways)
    found = []
    for slab in np.flatnonzero(areas >= WIDE_SLAB_SHARE * areas.max()):
        origin = geometry.positions_mm[brain.slab_of_slice == slab].mean(axis=0)
        # A low-resolution pixel's centre is the centre of its block.
        shift = (brain.factor - 1) / 2
        origin = origin + shift * geometry.pixel_spacing_mm[0] * geometry.column_direction
        origin = origin + shift * geometry.pixel_spacing_mm[1] * geometry.row_direction
        rows, columns = np.nonzero(brain.space[slab])
        steps = (
            rows[:, None] * row_mm * geometry.column_direction + columns[:, None] * column_mm * geometry.row_direction
        )
        line = np.round(steps @ forwards / max(row_mm, column_mm)).astype(int)
        line -= line.min()
        across = steps @ sideways
        least, most = np.full(line.max() + 1, np.inf), np.full(line.max() + 1, -np.inf)
        np.minimum.at(least, line, across)
        np.maximum.at(most, line, across)
        middles = ((least + most) / 2)[np.isfinite(least)]
        found.append((float(origin @ geometry.normal), float(origin @ sideways + np.median(middles)), areas[slab]))
    return np.array(found, np.float64)


def _robust_slope(heights: Vector, values: Vector, weights: Vector) -> float:
    """Weighted median of the slopes between all pairs (Theil-Sen); 0 for fewer than three."""
    one, other = np.triu_indices(len(heights), 1)
    if len(heights) < 3:
        return 0.0
    run = heights[other] - heights[one]
    # Near pairs have wild slopes, and say little: pairs count by their distance.
    pair_weights = np.abs(run) * weights[one] * weights[other]
    return float(_weighted_median((values[other] - values[one]) / run, pair_weights))


def _weighted_median(values: Vector, weights: Vector) -> float:
    order = np.argsort(values)
    reached = np.cumsum(weights[order])
    return float(values[order][np.searchsorted(reached, reached[-1] / 2)])
