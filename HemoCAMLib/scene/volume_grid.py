"""How the voxels of a volume node lie: in the node's memory, in its own space, and as the analysis sees them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from HemoCAMLib.ct import InputGrid, SliceGeometry
from HemoCAMLib.ct.orientation import Reorientation, canonical_geometry, grid_from_affine, reorientation_of
from HemoCAMLib.scene.bridge import Matrix, Node, volume_matrix

#: Patient coordinates of MRML (RAS) to those of DICOM and of :mod:`HemoCAMLib.ct` (LPS), and back.
RAS_TO_LPS: Matrix = np.diag([-1.0, -1.0, 1.0, 1.0])


@dataclass(frozen=True, eq=False)
class VolumeGrid:
    """The grid of a volume node and its slices as the analysis orders them: feet to head, front to back, right to left.

    Attributes:
        shape: (k, j, i) of the node's array.
        first_ijk: index that the node's image gives its first voxel.
        local: [4, 4] the node's own index (i, j, k) to mm RAS, without parent transform.
        frame: [4, 4] the same index to mm RAS in the space that the analysis works in; differs from ``local`` where a
            parent transform was taken into the analysis. It alone decides on the order of slices.
    """

    shape: tuple[int, int, int]
    first_ijk: tuple[int, int, int]
    local: Matrix
    frame: Matrix

    @classmethod
    def of_node(cls, volume_node: Node, frame: Matrix | None = None) -> VolumeGrid:
        """The grid of a volume node.

        Args:
            volume_node: scalar or label map volume with an image.
            frame: see above; None takes the node's own.
        """
        image = volume_node.GetImageData()
        columns, rows, slices = image.GetDimensions()
        i, _, j, _, k, _ = image.GetExtent()
        local = volume_matrix(volume_node)
        return cls((slices, rows, columns), (i, j, k), local, local if frame is None else np.asarray(frame, float))

    @property
    def canonical_shape(self) -> tuple[int, int, int]:
        """(slices, rows, columns)."""
        return self._turn.shape(self.shape)

    @cached_property
    def geometry(self) -> SliceGeometry:
        """The slices in the space of the analysis, LPS."""
        return self._geometry(self.frame)

    @cached_property
    def local_geometry(self) -> SliceGeometry:
        """The same slices in the node's own space, LPS."""
        return self._geometry(self.local)

    @property
    def array_to_frame(self) -> Matrix:
        """[4, 4] index into the node's array, from 0, to mm RAS in the space of the analysis: its ``ijk_to_ras``."""
        return self.frame @ self._from_array

    @property
    def array_to_local(self) -> Matrix:
        """[4, 4] index into the node's array, from 0, to mm RAS in the node's own space."""
        return self.local @ self._from_array

    def to_canonical(self, stored: NDArray[Any]) -> NDArray[Any]:
        """[k, j, i] as the node has it to [slice, row, column]; a view, and written through to where it came from."""
        return self._input_grid.to_canonical(stored)

    def to_stored(self, canonical: NDArray[Any]) -> NDArray[Any]:
        """[slice, row, column] to [k, j, i]; a view, and the inverse of :meth:`to_canonical`."""
        return self._input_grid.to_stored(canonical)

    def coarse_to_local(self, map_shape: tuple[int, int]) -> Matrix:
        """[4, 4] index into coarser maps in stored order, to mm RAS in the node's own space.

        A map covers the whole image whatever its size, so its outermost pixels begin where the image's begin and the
        centre of its first pixel lies half a map pixel from that edge.

        Args:
            map_shape: (rows, columns) of a map.
        """
        empty = np.broadcast_to(np.uint8(0), (self.canonical_shape[0], *map_shape))
        coarse = self.to_stored(empty).shape
        scale = np.array([fine / rough for fine, rough in zip(self.shape[::-1], coarse[::-1], strict=True)])
        step = np.diag([*scale, 1.0])
        step[:3, 3] = (scale - 1) / 2
        return self.array_to_local @ step

    @property
    def _from_array(self) -> Matrix:
        shift = np.eye(4)
        shift[:3, 3] = self.first_ijk
        return shift

    @cached_property
    def _turn(self) -> Reorientation:
        return reorientation_of(grid_from_affine(self.shape, RAS_TO_LPS @ self.array_to_frame))

    @cached_property
    def _input_grid(self) -> InputGrid:
        return canonical_geometry(self._stored(self.frame), self._turn, None)[1]

    def _stored(self, matrix: Matrix) -> Any:
        return grid_from_affine(self.shape, RAS_TO_LPS @ matrix @ self._from_array)

    def _geometry(self, matrix: Matrix) -> SliceGeometry:
        stored = self._stored(matrix)
        return canonical_geometry(stored, self._turn, float(np.linalg.norm(stored.step_k_mm)))[0]
