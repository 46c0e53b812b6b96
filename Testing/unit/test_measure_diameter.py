"""Diameters of flat regions against brute force and closed forms."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from HemoCAMLib.measure.diameter import convex_hull_mm, diameters_mm, outline_points_mm

regions = hnp.arrays(bool, hnp.array_shapes(min_dims=2, max_dims=2, max_side=9)).filter(lambda region: region.any())
spacings = st.tuples(st.floats(0.3, 2.0), st.floats(0.3, 2.0))


def edge_middles_mm(region: np.ndarray, spacing_mm: tuple[float, float]) -> np.ndarray:
    rows, columns = np.nonzero(region)
    steps = [(-0.5, 0), (0.5, 0), (0, -0.5), (0, 0.5)]
    return np.concatenate([np.stack([rows + dr, columns + dc], axis=1) for dr, dc in steps]) * spacing_mm


@settings(max_examples=150, deadline=None)
@given(regions, spacings)
def test_the_largest_diameter_equals_brute_force_over_all_pixels(
    region: np.ndarray, spacing_mm: tuple[float, float]
) -> None:
    points = edge_middles_mm(region, spacing_mm)
    brute = np.linalg.norm(points[:, None] - points[None], axis=2).max()
    assert diameters_mm(outline_points_mm(region, spacing_mm))[0] == pytest.approx(brute, rel=1e-9)


@settings(max_examples=100, deadline=None)
@given(regions, spacings)
def test_the_perpendicular_diameter_is_that_of_all_pixels_too(
    region: np.ndarray, spacing_mm: tuple[float, float]
) -> None:
    hull = outline_points_mm(region, spacing_mm)
    points = edge_middles_mm(region, spacing_mm)
    largest, across = diameters_mm(hull)
    # Several pairs may be equally far apart; the extent across must be that of one of these directions.
    steps = points[:, None] - points[None]
    lengths = np.linalg.norm(steps, axis=2)
    extents = []
    for direction in steps[lengths >= largest - 1e-9] / largest:
        positions = points @ np.array([-direction[1], direction[0]])
        extents.append(positions.max() - positions.min())
    assert np.abs(np.array(extents) - across).min() < 1e-9


def test_a_row_of_pixels_is_as_long_as_its_pixels() -> None:
    assert diameters_mm(outline_points_mm(np.ones((1, 10), bool), (2.0, 0.5))) == pytest.approx((5.0, 2.0))
    assert diameters_mm(outline_points_mm(np.ones((10, 1), bool), (2.0, 0.5))) == pytest.approx((20.0, 0.5))


@pytest.mark.parametrize("spacing_mm", [(0.5, 0.5), (0.4, 0.9)])
@pytest.mark.parametrize("turn_deg", [0, 30, 77])
def test_an_ellipse_has_its_own_axes(spacing_mm: tuple[float, float], turn_deg: float) -> None:
    row, column = np.mgrid[:300, :200]
    y, x = (row - 150) * spacing_mm[0], (column - 100) * spacing_mm[1]
    turn = np.radians(turn_deg)
    along, across = x * np.cos(turn) + y * np.sin(turn), y * np.cos(turn) - x * np.sin(turn)
    region = (along / 30) ** 2 + (across / 17) ** 2 <= 1
    assert diameters_mm(outline_points_mm(region, spacing_mm)) == pytest.approx((60, 34), rel=0.03)


def test_points_on_a_line_are_their_own_hull() -> None:
    line = np.array([[0.0, 0.0], [1.0, 1.0], [2.0, 2.0]])
    assert diameters_mm(convex_hull_mm(line)) == pytest.approx((np.sqrt(8), 0))


def test_a_single_point_has_no_extent() -> None:
    assert diameters_mm(np.zeros((1, 2))) == (0.0, 0.0)
