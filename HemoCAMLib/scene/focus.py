"""Where to look first: the middle of the largest bleed, for slice views and the 3-D view."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from HemoCAMLib.scene.bridge import Node, transform_to_world
from HemoCAMLib.scene.placement import Placement
from HemoCAMLib.scene.volume_grid import RAS_TO_LPS


def largest_bleed_ras(
    labels: NDArray[np.uint8], volume_node: Node, placement: Placement
) -> tuple[float, float, float] | None:
    """A voxel of the largest connected bleed, in mm RAS in the world; None where there is none.

    It is the voxel closest to the bleed's middle within the slice that shows most of it, so that it lies in the bleed
    even where that is bent around something.

    Args:
        labels: [slice, row, column] of the run; any value but 0 counts.
        volume_node: the CT.
        placement: where the run's slices are in it.
    """
    regions, count = ndimage.label(labels > 0, np.ones((3, 3, 3), bool))
    if count == 0:
        return None
    sizes = np.bincount(regions.ravel())
    sizes[0] = 0
    region = regions == int(sizes.argmax())
    index = int(region.sum(axis=(1, 2)).argmax())
    pixels = np.argwhere(region[index])
    row, column = pixels[((pixels - pixels.mean(axis=0)) ** 2).sum(axis=1).argmin()]
    return place_of(index, float(row), float(column), volume_node, placement)


def place_of(
    index: int, row: float, column: float, volume_node: Node, placement: Placement
) -> tuple[float, float, float]:
    """Where a pixel of a run's slice lies in the world, mm RAS: what a click on the probability strip jumps to."""
    geometry, place = placement.grid.local_geometry, int(placement.places[index])
    row_mm, column_mm = geometry.pixel_spacing_mm
    point = geometry.positions_mm[place] + row * row_mm * geometry.column_direction
    point = point + column * column_mm * geometry.row_direction
    world = transform_to_world(volume_node.GetParentTransformNode(), (RAS_TO_LPS[:3, :3] @ point)[None])[0]
    return float(world[0]), float(world[1]), float(world[2])
