"""From any storage order to axial slices, feet to head, rows front to back, columns right to left."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import permutations

import numpy as np
from numpy.typing import NDArray

from HemoCAMLib.ct.geometry import SliceGeometry, Vector
from HemoCAMLib.ct.head_ct import InputGrid
from HemoCAMLib.errors import InputRefused

#: Rows and columns may miss a right angle by this cosine: the area error is then below 0.02 %.
_SKEW_TOLERANCE = 0.02


@dataclass(frozen=True, eq=False)
class StoredGrid:
    """A stack of planes as the input holds it; patient coordinates LPS (DICOM PS3.3 C.7.6.2.1.1), mm.

    Stored axes are numbered as numpy shows the array: 0 is k (plane), 1 is j, 2 is i.

    Attributes:
        shape: (planes, j, i).
        positions_mm: [plane, 3] centre of the voxel (k, 0, 0).
        step_k_mm: [3] from one plane to the next, on average.
        step_j_mm: [3] from one voxel to the next along j.
        step_i_mm: [3] the same along i.
    """

    shape: tuple[int, int, int]
    positions_mm: Vector
    step_k_mm: Vector
    step_j_mm: Vector
    step_i_mm: Vector

    @property
    def steps_mm(self) -> Vector:
        """[stored axis k, j, i; 3]"""
        return np.stack([self.step_k_mm, self.step_j_mm, self.step_i_mm])


def grid_from_affine(shape: tuple[int, int, int], ijk_to_lps: Vector) -> StoredGrid:
    """The grid of a volume with one affine, which may shear (a tilted scan stored at its true positions).

    Args:
        shape: (k, j, i).
        ijk_to_lps: [4, 4] voxel index (i, j, k) to LPS in mm.
    """
    steps = ijk_to_lps[:3, :3].T
    positions = ijk_to_lps[:3, 3] + np.arange(shape[0])[:, None] * steps[2]
    return StoredGrid(shape, positions, steps[2], steps[1], steps[0])


@dataclass(frozen=True, eq=False)
class Reorientation:
    """How a stored array becomes canonical: ``canonical = np.transpose(np.flip(stored, flips), order)``.

    Attributes:
        order: stored axis that becomes slice, row and column.
        flips: stored axes that run the other way.
    """

    order: tuple[int, int, int]
    flips: tuple[int, ...]

    @property
    def axes(self) -> tuple[int, int, int]:
        """The transpose that goes back, for :class:`~HemoCAMLib.ct.head_ct.InputGrid`."""
        back = np.argsort(self.order)
        return int(back[0]), int(back[1]), int(back[2])

    @property
    def keeps_planes(self) -> bool:
        """Whether one stored plane is one canonical slice."""
        return self.order[0] == 0

    def shape(self, stored: tuple[int, int, int]) -> tuple[int, int, int]:
        """Canonical shape of an array of that stored shape."""
        return stored[self.order[0]], stored[self.order[1]], stored[self.order[2]]

    def slice_index(self, plane: int, planes: int) -> int:
        """Canonical index of a stored plane, where planes are slices."""
        return planes - 1 - plane if 0 in self.flips else plane

    def slice_of(self, plane: NDArray[np.int16]) -> NDArray[np.int16]:
        """Canonical [row, column] view of a stored [j, i] plane, where planes are slices."""
        turned: NDArray[np.int16] = np.flip(plane, tuple(axis - 1 for axis in self.flips if axis != 0))
        return turned if self.order[1] == 1 else turned.T


def reorientation_of(grid: StoredGrid) -> Reorientation:
    """The permutation and flips that bring the grid's axes closest to slice = up, row = back, column = left."""
    steps = grid.steps_mm
    directions = steps / np.linalg.norm(steps, axis=1, keepdims=True)
    # Canonical axes in LPS: slices go up (+z), rows go to the back (+y), columns to the patient's left (+x).
    toward = directions[:, [2, 1, 0]]
    order = max(permutations(range(3)), key=lambda trial: sum(abs(toward[trial[axis], axis]) for axis in range(3)))
    flips = tuple(sorted(order[axis] for axis in range(3) if toward[order[axis], axis] < 0))
    return Reorientation((order[0], order[1], order[2]), flips)


def canonical_geometry(
    grid: StoredGrid, turn: Reorientation, slice_thickness_mm: float | None
) -> tuple[SliceGeometry, InputGrid]:
    """True positions of the canonical slices, and the way back to the stored grid.

    Raises:
        InputRefused: ``CT_ORIENTATION`` where rows and columns are not at right angles.
    """
    steps = grid.steps_mm
    shape = grid.shape
    to_corner = sum(((shape[axis] - 1) * steps[axis] for axis in turn.flips if axis != 0), np.zeros(3))
    slice_step, row_step, column_step = (steps[axis] * (-1.0 if axis in turn.flips else 1.0) for axis in turn.order)
    if turn.keeps_planes:
        positions = (grid.positions_mm[::-1] if 0 in turn.flips else grid.positions_mm) + to_corner
    else:
        start = grid.positions_mm[-1 if 0 in turn.flips else 0] + to_corner
        positions = start + np.arange(turn.shape(shape)[0])[:, None] * slice_step
    row_spacing, column_spacing = float(np.linalg.norm(row_step)), float(np.linalg.norm(column_step))
    if abs(float(row_step @ column_step)) > _SKEW_TOLERANCE * row_spacing * column_spacing:
        raise InputRefused(
            "CT_ORIENTATION",
            "The image rows and columns of this scan are not at right angles, so areas cannot be measured.",
            "Export the original axial series again.",
        )
    geometry = SliceGeometry(
        positions_mm=np.ascontiguousarray(positions, dtype=np.float64),
        row_direction=column_step / column_spacing,
        column_direction=row_step / row_spacing,
        pixel_spacing_mm=(row_spacing, column_spacing),
        slice_thickness_mm=slice_thickness_mm,
    )
    stored_directions = np.stack([grid.step_i_mm, grid.step_j_mm, grid.step_k_mm], axis=1)
    return geometry, InputGrid(turn.axes, turn.flips, grid.positions_mm[0].copy(), stored_directions)
