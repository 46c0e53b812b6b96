"""Brings a segmentation onto the slices of another, nearest neighbour, for tilted and uneven slices too.

SimpleITK resamples between grids with one step and axes at right angles; on those this gives the same voxels. Slices
at their true positions (gantry tilt shears the stack, steps vary) are no such grid, hence this.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from HemoCAMLib.ct.geometry import SliceGeometry
from HemoCAMLib.measure.agreement.segmentation import Segmentation
from HemoCAMLib.measure.agreement.structures import Members

#: Voxel centres closer than this share of a pixel are the same.
SAME_PIXEL = 0.02
#: Slices closer than this are the same.
SAME_SLICE_MM = 0.05
#: A uniform step of a header within this share of the true mean step is a reading of the same slices.
_SAME_STEP = 0.15


@dataclass(frozen=True, eq=False)
class Resampled:
    """A segmentation on another grid.

    Attributes:
        members: [slice, row, column] on the new grid.
        covered: share of the new grid's voxels that lie on the old one, 0..1.
    """

    members: Members
    covered: float


def same_grid(
    first: SliceGeometry, second: SliceGeometry, first_shape: tuple[int, ...], second_shape: tuple[int, ...]
) -> bool:
    """Whether two stacks have the same voxels at the same places."""
    if first_shape != second_shape or not same_in_plane(first, second, first_shape):
        return False
    apart_mm = np.abs(first.positions_mm - second.positions_mm)
    return bool(apart_mm.max() < max(SAME_SLICE_MM, SAME_PIXEL * min(first.pixel_spacing_mm)))


def same_in_plane(first: SliceGeometry, second: SliceGeometry, shape: tuple[int, ...]) -> bool:
    """Whether the slices of two stacks have the same axes and pixels, wherever they lie."""
    reach = max(shape[1:])
    axes = max(
        float(np.abs(first.row_direction - second.row_direction).max()),
        float(np.abs(first.column_direction - second.column_direction).max()),
    )
    spacing = np.abs(np.subtract(first.pixel_spacing_mm, second.pixel_spacing_mm)) / np.array(first.pixel_spacing_mm)
    # What counts is how far the last pixel of a row ends up from where it should be: half a pixel at most.
    return bool(axes * reach < 0.5 and float(spacing.max()) * reach < 0.5)


def one_step_reading(
    true: SliceGeometry, header: SliceGeometry, true_shape: tuple[int, ...], header_shape: tuple[int, ...]
) -> bool:
    """Whether a header with one uniform step describes the very slices of a stack whose steps are tilted or uneven.

    Readers that know one step per volume (ITK, and so most tools that masks are drawn in) keep the voxels and the
    place of an outermost slice, and put the others on a straight line at the mean step.
    """
    if true_shape != header_shape or not same_in_plane(true, header, true_shape):
        return False
    limit_mm = min(true.pixel_spacing_mm) / 2
    ends = [np.linalg.norm(true.positions_mm[end] - header.positions_mm[end]) for end in (0, -1)]
    if min(ends) > limit_mm or true.slice_count < 2:
        return False
    step_mm = header.uniform_step_mm
    own_mm = (float(np.mean(np.diff(true.offsets_mm))), true.uniform_step_mm)
    return min(own_mm) * (1 - _SAME_STEP) < step_mm < max(own_mm) * (1 + _SAME_STEP)


def place_slices(source: Segmentation, geometry: SliceGeometry, shape: tuple[int, ...]) -> Members | None:
    """The source's slices among those of a stack, where each is one of them; None where one is not.

    A DICOM SEG leaves its empty slices out: the rest has other extents, but the same voxels.
    """
    if shape[1:] != source.members.shape[1:] or not same_in_plane(geometry, source.geometry, shape):
        return None
    apart_mm = np.linalg.norm(source.geometry.positions_mm[:, None] - geometry.positions_mm[None], axis=2)
    places = apart_mm.argmin(axis=1)
    if apart_mm.min(axis=1).max() >= max(SAME_SLICE_MM, SAME_PIXEL * min(geometry.pixel_spacing_mm)):
        return None
    members = np.zeros(shape, np.uint8)
    members[places] = source.members
    return members


def resample_nearest(source: Segmentation, geometry: SliceGeometry, shape: tuple[int, int, int]) -> Resampled:
    """The members of the source voxel in which each voxel centre of a grid lies; 0 outside the source.

    A source voxel reaches half a pixel to each side within its slice, and half its slice's extent along the normal.

    Args:
        source: what to resample.
        geometry: of the new grid.
        shape: (slices, rows, columns) of the new grid.
    """
    members = np.zeros(shape, np.uint8)
    covered = 0
    for index in range(shape[0]):
        members[index], inside = _resample_slice(source, geometry, index, shape[1:])
        covered += inside
    return Resampled(members, covered / max(1, members.size))


def _resample_slice(
    source: Segmentation, geometry: SliceGeometry, index: int, shape: tuple[int, int]
) -> tuple[Members, int]:
    old = source.geometry
    row_mm, column_mm = geometry.pixel_spacing_mm
    origin = geometry.positions_mm[index]
    row_step, column_step = row_mm * geometry.column_direction, column_mm * geometry.row_direction
    rows = np.arange(shape[0])[:, None]
    columns = np.arange(shape[1])[None, :]

    def along(axis: NDArray[np.float64]) -> NDArray[np.float64]:
        result: NDArray[np.float64] = origin @ axis + rows * (row_step @ axis) + columns * (column_step @ axis)
        return result

    offsets = old.offsets_mm
    height = along(old.normal)
    if old.slice_count > 1:
        plane = np.searchsorted((offsets[1:] + offsets[:-1]) / 2, height, side="right")
    else:
        plane = np.zeros(height.shape, np.intp)
    inside = np.abs(height - offsets[plane]) <= source.slice_extents_mm[plane] / 2 * (1 + 1e-9)
    if not inside.any():
        return np.zeros(shape, np.uint8), 0
    old_row_mm, old_column_mm = old.pixel_spacing_mm
    first_row = (old.positions_mm @ old.column_direction)[plane]
    first_column = (old.positions_mm @ old.row_direction)[plane]
    row = np.floor((along(old.column_direction) - first_row) / old_row_mm + 0.5).astype(np.int64)
    column = np.floor((along(old.row_direction) - first_column) / old_column_mm + 0.5).astype(np.int64)
    height_count, width = source.members.shape[1:]
    inside &= (row >= 0) & (row < height_count) & (column >= 0) & (column < width)
    result = np.zeros(shape, np.uint8)
    result[inside] = source.members[plane[inside], row[inside], column[inside]]
    return result, int(np.count_nonzero(inside))
