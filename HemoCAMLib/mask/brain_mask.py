"""Where hemorrhage can be: the space inside the skull, at full resolution, one slice at a time."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from HemoCAMLib.ct.geometry import SliceGeometry
from HemoCAMLib.mask.intracranial import SOFT_TISSUE_HU, Mask, intracranial_space, touching
from HemoCAMLib.mask.low_resolution import HIGHEST_HU, LowResolutionBuilder

#: Above it bone has a part in a pixel and its neighbours; dense blood stays below.
BONE_EDGE_HU = 110.0

#: Pixels smaller than this are judged by the mean of 3×3, which makes bone's blurred edge bone and calms noise;
#: larger ones by themselves.
SMOOTHED_BELOW_MM = 0.8

#: Cracks in the skull base narrower than twice this are not brain.
CRACK_RADIUS_MM = 1.0

#: Along the inner table, where subdural and epidural blood lies, a pixel still counts while bone fills less than
#: about a fifth of it; the smoothed edge would take half a millimetre off a lesion there.
INNER_TABLE_HU, INNER_TABLE_MM = 200.0, 1.0


class BrainMask:
    """The intracranial space: brain, ventricles, cisterns and the subdural and epidural space up to the inner table.

    Bone, its partial-volume edge, air, orbits, sinuses and everything outside the skull are not part of it, nor is
    calcification. What is kept of the scan is a copy at about 2 mm; :meth:`slice` refines it with the slice itself.

    Made by :class:`BrainMaskBuilder` or :func:`find_brain`.

    Attributes:
        space: [slab, rows, columns] the space at low resolution.
        slab_of_slice: [slice] the slab each slice lies in.
        factor: pixels of the scan along the edge of one low-resolution pixel.
        pixel_spacing_mm: of the scan, (distance between rows, distance between columns).
    """

    def __init__(
        self, space: Mask, slab_of_slice: NDArray[np.intp], factor: int, pixel_spacing_mm: tuple[float, float]
    ) -> None:
        self.space = space
        self.slab_of_slice = slab_of_slice
        self.factor = factor
        self.pixel_spacing_mm = pixel_spacing_mm

    @property
    def is_empty(self) -> bool:
        """Whether no soft tissue enclosed by bone was found at all."""
        return not bool(self.space.any())

    def slice(self, index: int, hu: NDArray[np.int16]) -> Mask:
        """The mask of one slice.

        Args:
            index: of the slice in the scan.
            hu: [rows, columns] that slice in HU.

        Returns:
            [rows, columns] bool.
        """
        brain = np.zeros(hu.shape, bool)
        core = self.space[self.slab_of_slice[index]]
        rows, columns = np.flatnonzero(core.any(axis=1)), np.flatnonzero(core.any(axis=0))
        if rows.size == 0:
            return brain
        # The skull's edge runs through the ring of low-resolution pixels around the core.
        top, bottom = max(rows[0] - 1, 0), rows[-1] + 2
        left, right = max(columns[0] - 1, 0), columns[-1] + 2
        core = core[top:bottom, left:right]
        window = np.s_[top * self.factor : bottom * self.factor, left * self.factor : right * self.factor]
        fine_core = _magnified(core, self.factor, brain[window].shape)
        reach = _magnified(_with_ring(core), self.factor, brain[window].shape)
        spacing_mm = max(self.pixel_spacing_mm)
        tissue = reach & _soft_tissue(hu[window], smooth=spacing_mm < SMOOTHED_BELOW_MM)
        tissue = touching(_opened(tissue, round(CRACK_RADIUS_MM / spacing_mm)), fine_core)
        rim = reach & ~fine_core & (hu[window] > SOFT_TISSUE_HU[0]) & (hu[window] < INNER_TABLE_HU)
        for _ in range(round(INNER_TABLE_MM / spacing_mm)):
            tissue |= _spread(tissue, np.logical_or) & rim
        brain[window] = tissue
        return brain


class BrainMaskBuilder:
    """Takes a scan slice by slice and then finds the space inside the skull.

    Args:
        geometry: of the scan.
    """

    def __init__(self, geometry: SliceGeometry) -> None:
        self._spacing_mm = geometry.pixel_spacing_mm
        self._low = LowResolutionBuilder(geometry.pixel_spacing_mm, geometry.extents_mm)

    def add(self, index: int, hu: NDArray[np.int16]) -> None:
        """Takes slice ``index``, which must be the next one, [rows, columns] in HU."""
        self._low.add(index, hu)

    def finish(self) -> BrainMask:
        """The mask, after the last slice."""
        scan = self._low.finish()
        return BrainMask(intracranial_space(scan), scan.slab_of_slice, scan.factor, self._spacing_mm)


def find_brain(slices: Iterable[NDArray[np.int16]], geometry: SliceGeometry) -> BrainMask:
    """The brain mask of a scan.

    Args:
        slices: int16 arrays [rows, columns] in HU, in the geometry's order; read once.
        geometry: of the scan.
    """
    builder = BrainMaskBuilder(geometry)
    for index, hu in enumerate(slices):
        builder.add(index, hu)
    return builder.finish()


def _magnified(mask: Mask, factor: int, shape: tuple[int, ...]) -> Mask:
    return np.repeat(np.repeat(mask, factor, axis=0), factor, axis=1)[: shape[0], : shape[1]]


def _with_ring(mask: Mask) -> Mask:
    ring: Mask = ndimage.binary_dilation(mask, structure=np.ones((3, 3), bool))
    return ring


def _soft_tissue(hu: NDArray[np.int16], *, smooth: bool) -> Mask:
    """Pixels that are soft tissue, by themselves or by the mean of their 3×3 neighbourhood."""
    if not smooth:
        return (hu > SOFT_TISSUE_HU[0]) & (hu < BONE_EDGE_HU)
    # 9 × 3000 fits in 16 bits, and 16-bit sums are the fastest.
    padded = np.pad(np.clip(hu, -1024, HIGHEST_HU), 1, mode="edge")
    sums = padded[:-2] + padded[1:-1]
    sums += padded[2:]
    sums = sums[:, :-2] + sums[:, 1:-1] + sums[:, 2:]
    soft: Mask = (sums > 9 * SOFT_TISSUE_HU[0]) & (sums < 9 * BONE_EDGE_HU)
    return soft


def _opened(mask: Mask, radius: int) -> Mask:
    """The mask opened with a diamond of that many pixels."""
    for keep in (np.logical_and, np.logical_or):
        for _ in range(radius):
            mask = _spread(mask, keep)
    return mask


def _spread(mask: Mask, keep: np.ufunc) -> Mask:
    """Every pixel joined with its four neighbours by and (erosion) or or (dilation); the border goes on outside.

    Several times faster than scipy's morphology on masks of this size.
    """
    joined: Mask = mask.copy()
    for here, neighbour in (
        (joined[1:], mask[:-1]),
        (joined[:-1], mask[1:]),
        (joined[:, 1:], mask[:, :-1]),
        (joined[:, :-1], mask[:, 1:]),
    ):
        keep(here, neighbour, out=here)
    return joined
