"""A small copy of a scan, built slice by slice: enough to find the skull and what lies inside."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

Image = TypeVar("Image", NDArray[np.int16], NDArray[np.float32])

#: Pixel size aimed at. The inner table is then at most one pixel away from what full resolution shows.
PIXEL_MM = 2.0

#: Thinner slices are averaged until they are at least this thick together, which bounds memory and noise.
SLICE_MM = 2.5

#: Values above this say nothing new; it keeps sums small.
HIGHEST_HU = 3000


@dataclass(frozen=True, eq=False)
class LowResolutionScan:
    """The small copy.

    Attributes:
        mean_hu: [slab, rows, columns] float32 mean over a block.
        densest_hu: [slab, rows, columns] float32 largest value in a block, after averaging pairs of pixels
            where the block is large enough, so that noise is not taken for bone.
        slab_of_slice: [slice] which slab a slice of the scan went into.
        factor: pixels of the scan along a block's edge.
        pixel_mm: (row, column) spacing of the copy.
    """

    mean_hu: NDArray[np.float32]
    densest_hu: NDArray[np.float32]
    slab_of_slice: NDArray[np.intp]
    factor: int
    pixel_mm: tuple[float, float]


class LowResolutionBuilder:
    """Takes slices one at a time; holds the copy and one slab's sum.

    Args:
        pixel_spacing_mm: (distance between rows, distance between columns) of the scan.
        extents_mm: [slice] thickness of tissue each slice stands for.
    """

    def __init__(self, pixel_spacing_mm: tuple[float, float], extents_mm: NDArray[np.float64]) -> None:
        self._spacing_mm = pixel_spacing_mm
        self._extents_mm = extents_mm
        self._factor = max(1, round(PIXEL_MM / max(pixel_spacing_mm)))
        self._pair = 2 if self._factor >= 4 and self._factor % 2 == 0 else 1
        self._means: list[NDArray[np.float32]] = []
        self._densest: list[NDArray[np.float32]] = []
        self._slab_of_slice: list[int] = []
        self._sum: NDArray[np.float32] | None = None
        self._weight_mm = 0.0

    def add(self, index: int, hu: NDArray[np.int16]) -> None:
        """Takes slice ``index``, which must be the next one, [rows, columns] in HU."""
        if index != len(self._slab_of_slice) or index >= len(self._extents_mm):
            raise ValueError(f"slice {index} came out of order")
        extent_mm = float(self._extents_mm[index])
        fine = _block_sums(np.clip(hu, -1024, HIGHEST_HU), self._pair)
        fine *= extent_mm / self._pair**2
        self._sum = fine if self._sum is None else np.add(self._sum, fine, out=self._sum)
        self._weight_mm += extent_mm
        self._slab_of_slice.append(len(self._means))
        # Half a micrometre: sums of extents such as 0.625 must not miss the limit by rounding.
        if self._weight_mm >= SLICE_MM - 5e-4:
            self._close_slab()

    def finish(self) -> LowResolutionScan:
        """The copy of everything taken in, at least one slice."""
        if self._sum is not None:
            self._close_slab()
        return LowResolutionScan(
            mean_hu=np.stack(self._means),
            densest_hu=np.stack(self._densest),
            slab_of_slice=np.array(self._slab_of_slice, np.intp),
            factor=self._factor,
            pixel_mm=(self._spacing_mm[0] * self._factor, self._spacing_mm[1] * self._factor),
        )

    def _close_slab(self) -> None:
        assert self._sum is not None
        fine = self._sum / np.float32(self._weight_mm)
        block = self._factor // self._pair
        self._means.append(_block_sums(fine, block) / np.float32(block**2))
        self._densest.append(_block_largest(fine, block))
        self._sum, self._weight_mm = None, 0.0


def _whole_blocks(image: Image, block: int) -> Image:
    """The image with its last row and column repeated until blocks fit."""
    missing = (-image.shape[0] % block, -image.shape[1] % block)
    return np.pad(image, ((0, missing[0]), (0, missing[1])), mode="edge") if any(missing) else image


def _block_sums(image: Image, block: int) -> NDArray[np.float32]:
    """Sum over square blocks, strided: several times faster than a reshape and a reduction."""
    image = _whole_blocks(image, block)
    rows: NDArray[np.float32] = image[0::block].astype(np.float32)
    for step in range(1, block):
        rows += image[step::block]
    sums: NDArray[np.float32] = rows[:, 0::block].copy()
    for step in range(1, block):
        sums += rows[:, step::block]
    return sums


def _block_largest(image: NDArray[np.float32], block: int) -> NDArray[np.float32]:
    image = _whole_blocks(image, block)
    rows = image[0::block].copy()
    for step in range(1, block):
        np.maximum(rows, image[step::block], out=rows)
    largest: NDArray[np.float32] = rows[:, 0::block].copy()
    for step in range(1, block):
        np.maximum(largest, rows[:, step::block], out=largest)
    return largest
