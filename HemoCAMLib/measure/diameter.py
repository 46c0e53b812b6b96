"""Diameters of a flat region: the largest, and the one perpendicular to it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial import ConvexHull, QhullError

Points = NDArray[np.float64]


def outline_points_mm(region: NDArray[np.bool_], pixel_spacing_mm: tuple[float, float]) -> Points:
    """[points, 2] (row, column) positions in mm that mark the outline of a region.

    Every pixel of the border stands for the middles of its four edges, so that a row of n pixels is n pixels long:
    centres alone would be one pixel short, corners too long by the diagonal's excess.

    Args:
        region: [rows, columns], at least one pixel set.
        pixel_spacing_mm: (distance between rows, distance between columns).
    """
    border = np.argwhere(region & ~ndimage.binary_erosion(region))
    halves = np.array([[-0.5, 0.0], [0.5, 0.0], [0.0, -0.5], [0.0, 0.5]])
    points: Points = (border[None] + halves[:, None]).reshape(-1, 2) * np.asarray(pixel_spacing_mm)
    return points


def largest_diameter_mm(points: Points) -> tuple[float, Points]:
    """The greatest distance between two points of the plane (Feret), and its direction.

    Args:
        points: [points, 2] in mm.

    Returns:
        Distance in mm and [2] unit vector; zeros where all points coincide.

    >>> float(largest_diameter_mm(np.array([[0.0, 0.0], [0.0, 8.0], [1.0, 4.0]]))[0])
    8.0
    """
    corners = _hull_corners(points)
    steps = corners[:, None] - corners[None]
    squares = np.einsum("ijk,ijk->ij", steps, steps)
    one, other = np.unravel_index(int(squares.argmax()), squares.shape)
    largest = float(np.sqrt(squares[one, other]))
    if largest == 0:
        return 0.0, np.zeros(2)
    return largest, steps[one, other] / largest


def thickness_mm(points: Points, direction: Points, pixel_mm: float) -> float:
    """The longest line perpendicular to a direction from one side of an outline to the other.

    On a crescent this is how thick it is, as a subdural hematoma is measured, not how far it bows.

    Args:
        points: [points, 2] of :func:`outline_points_mm`.
        direction: [2] unit vector.
        pixel_mm: width within which points count as lying on one line: the larger pixel spacing.
    """
    line = np.floor((points @ direction) / pixel_mm).astype(np.intp)
    line -= line.min()
    across = points @ np.array([-direction[1], direction[0]])
    least, most = np.full(line.max() + 1, np.inf), np.full(line.max() + 1, -np.inf)
    np.minimum.at(least, line, across)
    np.maximum.at(most, line, across)
    return float((most - least).max())


def _hull_corners(points: Points) -> Points:
    """Those points that are corners of their convex hull; all of them where they have no area."""
    try:
        corners: Points = points[ConvexHull(points).vertices]
    except (QhullError, ValueError):
        return points
    return corners
