"""Which slice of a volume node each slice of a run is: usually the same, not where the reader dropped a copy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from HemoCAMLib.errors import InputRefused
from HemoCAMLib.scene.bridge import Node
from HemoCAMLib.scene.parent_transform import true_geometry
from HemoCAMLib.scene.volume_grid import VolumeGrid

#: A slice of the run lies this close to its slice of the node.
_SAME_MM = 0.5


@dataclass(frozen=True, eq=False)
class Placement:
    """The slices of a run in a volume node.

    Attributes:
        grid: of the node.
        places: [slice of the run] its slice in the node, in canonical order.
    """

    grid: VolumeGrid
    places: NDArray[np.intp]

    @property
    def run_shape(self) -> tuple[int, int, int]:
        """(slices, rows, columns) of the run."""
        return len(self.places), *self.grid.canonical_shape[1:]

    def run_slices(self, canonical: NDArray[Any]) -> NDArray[Any]:
        """The run's slices among [slice, row, column] of the node; a view where they are all of them."""
        every = np.array_equal(self.places, np.arange(len(canonical)))
        return canonical if every else canonical[self.places]


def place_run(
    volume_node: Node,
    grid: VolumeGrid,
    run_shape: tuple[int, int, int],
    positions_lps_mm: NDArray[np.float64] | None = None,
) -> Placement:
    """Finds the slices of a run in a volume node.

    Args:
        volume_node: the volume that was analysed, or that shows the scan that was.
        grid: of the node, in the order of the analysis.
        run_shape: (slices, rows, columns) that were analysed.
        positions_lps_mm: [slice, 3] of the run's slices; needed only where the node has another number of them.

    Raises:
        InputRefused: ``CT_OTHER_SERIES``, the run is of another scan than the node shows.
    """
    slices, *size = grid.canonical_shape
    if tuple(size) != tuple(run_shape[1:]):
        raise _other_scan(
            f"The volume has slices of {size[0]} x {size[1]} pixels, but {run_shape[1]} x {run_shape[2]} were analysed."
        )
    if slices == run_shape[0]:
        return Placement(grid, np.arange(slices))
    if positions_lps_mm is None:
        raise _other_scan(f"The volume has {slices} slices, but {run_shape[0]} were analysed.")
    for there_mm in (true_geometry(volume_node).positions_mm, grid.local_geometry.positions_mm):
        apart_mm = np.linalg.norm(np.asarray(positions_lps_mm)[:, None] - there_mm[None], axis=2)
        places = apart_mm.argmin(axis=1)
        if apart_mm.min(axis=1).max() < _SAME_MM and len(set(places.tolist())) == len(places):
            return Placement(grid, places)
    raise _other_scan("The slices that were analysed lie elsewhere than those of the volume.")


def _other_scan(message: str) -> InputRefused:
    return InputRefused("CT_OTHER_SERIES", message, "Choose the volume that this run was made from.")
