"""Label maps of segments, and how they lie on a volume's grid."""

from __future__ import annotations

from typing import Any

import numpy as np

from HemoCAMLib.scene.bridge import Matrix, VtkObject, blank_oriented_image, image_array_matrix, voxels_of
from HemoCAMLib.scene.segments import BINARY_LABELMAP
from HemoCAMLib.scene.volume_grid import VolumeGrid

#: A box in an array [k, j, i].
Box = tuple[slice, slice, slice]

#: Voxels of two grids are the same where they lie closer than this share of one, at the far end of the volume too.
_SAME_VOXEL = 0.05


def blank_label_map(grid: VolumeGrid) -> VtkObject:
    """A label map on a volume's grid without any label."""
    return blank_oriented_image(grid.shape, grid.local, grid.first_ijk)


def covers(image: VtkObject, grid: VolumeGrid) -> bool:
    """Whether an image has just the voxels of a volume's array."""
    first, sizes = grid.first_ijk, grid.shape[::-1]
    extent = tuple(bound for axis in range(3) for bound in (first[axis], first[axis] + sizes[axis] - 1))
    return tuple(image.GetExtent()) == extent


def copy_label(segment: VtkObject, whole: VtkObject, label: int, grid: VolumeGrid) -> None:
    """Writes the voxels of one segment into a label map over the whole volume, where they lie on its grid.

    Args:
        segment: with a binary label map of any extent.
        whole: label map of the volume.
        label: its value there.
        grid: of the volume.
    """
    image, value = segment.GetRepresentation(BINARY_LABELMAP), segment.GetLabelValue()
    if image is None or image.IsEmpty():
        return
    voxels = voxels_of(image)
    boxes = box_on_grid(image_array_matrix(image), voxels.shape, grid)
    if boxes is not None:
        source, target = boxes
        np.copyto(voxels_of(whole)[target], np.uint8(label), where=voxels[source] == value)


def box_on_grid(to_local: Matrix, shape: tuple[int, ...], grid: VolumeGrid) -> tuple[Box, Box] | None:
    """Where an array and a volume's array have voxels in common.

    Args:
        to_local: [4, 4] index into the array, from 0, to mm RAS in the volume's own space.
        shape: (k, j, i) of the array.
        grid: of the volume.

    Returns:
        the box in the array and the box in the volume's array, both empty where the two lie apart; None where they
        are not on one grid.
    """
    index = np.linalg.inv(grid.array_to_local) @ to_local
    offset = np.rint(index[:3, 3]).astype(int)
    turned = np.abs(index[:3, :3] - np.eye(3)) @ np.array(shape[::-1])
    if turned.max() > _SAME_VOXEL or np.abs(index[:3, 3] - offset).max() > _SAME_VOXEL:
        return None
    sides: list[Any] = []
    for start, count, whole in zip(offset[::-1].tolist(), shape, grid.shape, strict=True):
        low = max(start, 0)
        high = max(low, min(start + count, whole))
        sides.append((slice(low - start, high - start), slice(low, high)))
    source, target = zip(*sides, strict=True)
    return (source[0], source[1], source[2]), (target[0], target[1], target[2])
