"""Bilinear interpolation from a network's map to the image, only where it is needed."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

FloatMap = NDArray[np.float32]

#: Half-open pixel ranges (first row, last row + 1, first column, last column + 1).
Box = tuple[int, int, int, int]

#: Multiplications up to which OpenBLAS takes one thread. Its threads gain nothing on products of this kind, and while
#: the cores are busy they wait for each other many times longer than the product takes.
SINGLE_THREADED_PRODUCT = 250_000


@lru_cache(maxsize=32)
def interpolation_matrix(source: int, target: int) -> FloatMap:
    """[target, source] float32 matrix of linear interpolation along one axis.

    Pixel centres lie at half pixels and the source covers the whole target, as in
    ``torch.nn.functional.interpolate(align_corners=False)``; outside the outermost centres the edge value holds.

    >>> interpolation_matrix(2, 4)
    array([[1.  , 0.  ],
           [0.75, 0.25],
           [0.25, 0.75],
           [0.  , 1.  ]], dtype=float32)
    """
    low, high, weight = _neighbours(source, target)
    matrix = np.zeros((target, source), np.float32)
    rows = np.arange(target)
    np.add.at(matrix, (rows, low), 1 - weight)
    np.add.at(matrix, (rows, high), weight)
    matrix.setflags(write=False)
    return matrix


def upsample_box(source_map: FloatMap, shape: tuple[int, int], box: Box) -> FloatMap:
    """Part of a map interpolated to an image.

    Args:
        source_map: [h, w] finite values.
        shape: (rows, columns) of the whole image that the map covers.
        box: pixels of the image that are wanted.

    Returns:
        [box rows, box columns] float32.
    """
    top, bottom, left, right = box
    low, high, weight = _neighbours(source_map.shape[0], shape[0])
    # Columns first: that product is small. Along rows a gather and a blend of whole rows beat a second product.
    first, last = int(low[top]), int(high[bottom - 1]) + 1
    across = interpolation_matrix(source_map.shape[1], shape[1])[left:right].T
    wide = np.empty((last - first, right - left), np.float32)
    block = max(1, SINGLE_THREADED_PRODUCT // across.size)
    for row in range(first, last, block):
        np.matmul(source_map[row : min(row + block, last)], across, out=wide[row - first : row - first + block])
    above: FloatMap = wide[low[top:bottom] - first]
    below = wide[high[top:bottom] - first]
    below -= above
    below *= weight[top:bottom, None]
    above += below
    return above


def box_where_above(source_map: FloatMap, threshold: float, shape: tuple[int, int]) -> Box | None:
    """Smallest box of image pixels outside of which the interpolated map cannot exceed a threshold; None if nowhere."""
    above = source_map > threshold
    rows, columns = np.flatnonzero(above.any(axis=1)), np.flatnonzero(above.any(axis=0))
    if rows.size == 0:
        return None
    top, bottom = _reach(rows, source_map.shape[0], shape[0])
    left, right = _reach(columns, source_map.shape[1], shape[1])
    return top, bottom, left, right


def bounding_box(mask: NDArray[np.bool_]) -> Box | None:
    """Smallest box of pixels that holds a [rows, columns] mask; None where it is empty."""
    rows = np.flatnonzero(mask.any(axis=1))
    if rows.size == 0:
        return None
    columns = np.flatnonzero(mask.any(axis=0))
    return int(rows[0]), int(rows[-1]) + 1, int(columns[0]), int(columns[-1]) + 1


def common_box(one: Box, other: Box) -> Box | None:
    """What two boxes share; None where they do not meet."""
    top, bottom = max(one[0], other[0]), min(one[1], other[1])
    left, right = max(one[2], other[2]), min(one[3], other[3])
    return (top, bottom, left, right) if top < bottom and left < right else None


def _reach(cells: NDArray[np.intp], source: int, target: int) -> tuple[int, int]:
    """Range of target pixels whose interpolation uses any of these source cells."""
    low, high, _ = _neighbours(source, target)
    first = int(np.searchsorted(high, cells[0]))
    last = int(np.searchsorted(low, cells[-1], side="right"))
    return first, last


@lru_cache(maxsize=32)
def _neighbours(source: int, target: int) -> tuple[NDArray[np.intp], NDArray[np.intp], FloatMap]:
    """Indices of the two source cells for every target pixel, and the weight of the second."""
    centres = np.clip((np.arange(target) + 0.5) * (source / target) - 0.5, 0, source - 1)
    low = centres.astype(np.intp)
    high = np.minimum(low + 1, source - 1)
    return low, high, (centres - low).astype(np.float32)
