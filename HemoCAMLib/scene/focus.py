"""Where to look first: the middle of the largest bleed, for slice views and the 3-D view."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from HemoCAMLib.mask.components import LesionForest, SliceRegions, slice_regions
from HemoCAMLib.scene.bridge import Node, transform_to_world
from HemoCAMLib.scene.placement import Placement
from HemoCAMLib.scene.steps import Steps, finish
from HemoCAMLib.scene.volume_grid import RAS_TO_LPS

#: Slices of one step.
_BATCH = 8


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
    return finish(largest_bleed_steps(labels, volume_node, placement))


def largest_bleed_steps(
    labels: NDArray[np.uint8], volume_node: Node, placement: Placement
) -> Steps[tuple[float, float, float] | None]:
    """The same in small steps."""
    forest, held = LesionForest(), []
    for index, plane in enumerate(labels):
        if plane.any():
            regions = slice_regions((plane > 0).astype(np.uint8))
            held.append((index, forest.add(index, regions), regions))
        if index % _BATCH == _BATCH - 1:
            yield
    if not held:
        return None
    lesions = forest.lesions()
    sizes = np.bincount(lesions, weights=np.concatenate([regions.pixel_counts for _, _, regions in held]))
    largest = int(sizes.argmax())

    def own(first: int, regions: SliceRegions) -> NDArray[np.bool_]:
        chosen: NDArray[np.bool_] = lesions[first : first + regions.count] == largest
        return chosen

    index, first, regions = max(held, key=lambda entry: int(entry[2].pixel_counts[own(*entry[1:])].sum()))
    flat = regions.pixels(own(first, regions)[regions.region_of_run - 1])
    pixels = np.column_stack(np.divmod(flat, labels.shape[2]))
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
