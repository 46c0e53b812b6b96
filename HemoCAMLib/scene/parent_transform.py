"""What a volume's parent transform does to its slices: nothing, moves them, shears them, or bends them."""

from __future__ import annotations

import numpy as np

from HemoCAMLib.ct import SliceGeometry
from HemoCAMLib.ct.geometry import Vector
from HemoCAMLib.errors import InputRefused
from HemoCAMLib.scene.bridge import Matrix, Node, linear_between, transform_to_world
from HemoCAMLib.scene.volume_grid import VolumeGrid

#: Places along each side of a slice, and slices at most, where a transform that is no matrix is looked at.
_PLACES, _SLICES = 5, 64

#: Positions may miss a matrix by this share of the distance between slices, and always by this much.
_SHARE_OF_STEP, _ALWAYS_MM = 0.02, 0.01


def frame_of(volume_node: Node) -> Matrix:
    """[4, 4] index (i, j, k) to mm RAS in the world, with the parent transform taken in.

    A transform that Slicer's DICOM reader added to a tilted series with even steps is a shear in effect, whatever its
    kind, and is taken in exactly.

    Raises:
        InputRefused: ``CT_BENT``, no matrix says where the voxels lie.
    """
    grid = VolumeGrid.of_node(volume_node)
    parent = volume_node.GetParentTransformNode()
    linear = linear_between(parent, None)
    if linear is not None:
        return linear @ grid.local
    frame = _fitted(grid, parent)
    if frame is None:
        raise InputRefused(
            "CT_BENT",
            "The volume is under a transform that moves its slices unevenly, so one matrix cannot say where they lie.",
            "Analyse the DICOM files of the scan, or harden the transform on the volume first.",
        )
    return frame


def true_geometry(volume_node: Node) -> SliceGeometry:
    """The slices of a volume in the world, LPS, each where the parent transform puts it.

    Where the transform moves slices unevenly, positions are still those of every slice's first pixel; directions and
    spacing are those of the node.
    """
    parent = volume_node.GetParentTransformNode()
    grid = VolumeGrid.of_node(volume_node)
    linear = linear_between(parent, None)
    if linear is not None:
        return VolumeGrid.of_node(volume_node, linear @ grid.local).geometry
    geometry = grid.local_geometry
    positions = transform_to_world(parent, geometry.positions_mm * [-1, -1, 1]) * [-1, -1, 1]
    return SliceGeometry(
        positions,
        geometry.row_direction,
        geometry.column_direction,
        geometry.pixel_spacing_mm,
        geometry.slice_thickness_mm,
    )


def _fitted(grid: VolumeGrid, parent: Node) -> Matrix | None:
    """The matrix that does the same to every voxel as the transform; None where there is none."""
    ijk = _places(grid)
    moved = transform_to_world(parent, (ijk @ grid.local.T)[:, :3])
    if not np.isfinite(moved).all():
        return None
    # A lone slice says nothing about its normal: that direction is kept as it was.
    if grid.shape[0] == 1:
        above = ijk + np.array([0, 0, 1, 0])
        ijk, moved = np.concatenate([ijk, above]), np.concatenate([moved, moved + grid.local[:3, 2]])
    solution, *_ = np.linalg.lstsq(ijk, moved, rcond=None)
    apart_mm = np.linalg.norm(ijk @ solution - moved, axis=1).max()
    step_mm = float(np.median(np.abs(np.diff(grid.local_geometry.offsets_mm)))) if grid.shape[0] > 1 else 0.0
    if apart_mm > max(_ALWAYS_MM, _SHARE_OF_STEP * step_mm):
        return None
    return np.vstack([solution.T, [0.0, 0.0, 0.0, 1.0]])


def _places(grid: VolumeGrid) -> Vector:
    """[n, 4] indices (i, j, k, 1) spread over the volume, its outermost voxels among them."""
    sides = [
        np.unique(np.linspace(0, count - 1, min(count, most)).round()) + first
        for count, most, first in zip(grid.shape[::-1], (_PLACES, _PLACES, _SLICES), grid.first_ijk, strict=True)
    ]
    i, j, k = (axis.ravel() for axis in np.meshgrid(*sides, indexing="ij"))
    return np.stack([i, j, k, np.ones_like(i)], axis=1)
