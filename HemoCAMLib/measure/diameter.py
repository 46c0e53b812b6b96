"""Diameters of a flat region: the largest, and the one perpendicular to it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import ConvexHull, QhullError

Points = NDArray[np.float64]


def outline_points_mm(region: NDArray[np.bool_], pixel_spacing_mm: tuple[float, float]) -> Points:
    """[points, 2] corners of the convex hull of a region, as (row, column) positions in mm.

    Every pixel stands for the middles of its four edges, so that a row of n pixels is n pixels long: centres alone
    would be one pixel short, corners too long by the diagonal's excess.

    Args:
        region: [rows, columns], at least one pixel set.
        pixel_spacing_mm: (distance between rows, distance between columns).
    """
    candidates = []
    for along, across in ((region, 1), (region.T, 0)):
        lines = np.flatnonzero(along.any(axis=1))
        first = along[lines].argmax(axis=1)
        last = along.shape[1] - 1 - along[lines, ::-1].argmax(axis=1)
        ends = np.concatenate([np.stack([lines, first - 0.5], axis=1), np.stack([lines, last + 0.5], axis=1)])
        candidates.append(ends if across else ends[:, ::-1])
    return convex_hull_mm(np.concatenate(candidates) * np.asarray(pixel_spacing_mm))


def convex_hull_mm(points: Points) -> Points:
    """Those of [points, 2] that are corners of their convex hull; all of them where they have no area."""
    try:
        corners: Points = points[ConvexHull(points).vertices]
    except (QhullError, ValueError):
        return points
    return corners


def diameters_mm(points: Points) -> tuple[float, float]:
    """(largest, perpendicular) diameter of a set of points in the plane, in mm.

    The largest is the greatest distance between two points (Feret), the other the extent of the set across that line.

    >>> diameters_mm(np.array([[0.0, 0.0], [0.0, 8.0], [1.0, 4.0], [-2.0, 4.0]]))
    (8.0, 3.0)
    """
    steps = points[:, None] - points[None]
    squares = np.einsum("ijk,ijk->ij", steps, steps)
    one, other = np.unravel_index(int(squares.argmax()), squares.shape)
    largest = float(np.sqrt(squares[one, other]))
    if largest == 0:
        return 0.0, 0.0
    direction = steps[one, other] / largest
    across = points @ np.array([-direction[1], direction[0]])
    return largest, float(across.max() - across.min())
