"""Diameters of flat regions against brute force and closed forms."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from HemoCAMLib.measure.diameter import largest_diameter_mm, outline_points_mm, thickness_mm

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
    largest, direction = largest_diameter_mm(outline_points_mm(region, spacing_mm))
    assert largest == pytest.approx(brute, rel=1e-9)
    assert np.linalg.norm(direction) == pytest.approx(1)


@settings(max_examples=100, deadline=None)
@given(regions, spacings, st.floats(0, np.pi))
def test_thickness_lies_between_the_smallest_pixel_and_the_extent(
    region: np.ndarray, spacing_mm: tuple[float, float], angle: float
) -> None:
    direction = np.array([np.cos(angle), np.sin(angle)])
    across = edge_middles_mm(region, spacing_mm) @ np.array([-direction[1], direction[0]])
    thickness = thickness_mm(outline_points_mm(region, spacing_mm), direction, max(spacing_mm))
    assert 0 <= thickness <= np.ptp(across) + 1e-9


def axes_mm(region: np.ndarray, spacing_mm: tuple[float, float]) -> tuple[float, float]:
    outline = outline_points_mm(region, spacing_mm)
    largest, direction = largest_diameter_mm(outline)
    return largest, thickness_mm(outline, direction, max(spacing_mm))


def test_a_row_of_pixels_is_as_long_as_its_pixels() -> None:
    assert axes_mm(np.ones((1, 10), bool), (2.0, 0.5)) == pytest.approx((5.0, 2.0))
    assert axes_mm(np.ones((10, 1), bool), (2.0, 0.5)) == pytest.approx((20.0, 0.5))


@pytest.mark.parametrize("spacing_mm", [(0.5, 0.5), (0.4, 0.9)])
@pytest.mark.parametrize("turn_deg", [0, 30, 77])
def test_an_ellipse_has_its_own_axes(spacing_mm: tuple[float, float], turn_deg: float) -> None:
    row, column = np.mgrid[:300, :200]
    y, x = (row - 150) * spacing_mm[0], (column - 100) * spacing_mm[1]
    turn = np.radians(turn_deg)
    along, across = x * np.cos(turn) + y * np.sin(turn), y * np.cos(turn) - x * np.sin(turn)
    region = (along / 30) ** 2 + (across / 17) ** 2 <= 1
    assert axes_mm(region, spacing_mm) == pytest.approx((60, 34), rel=0.03)


def test_a_crescent_is_as_thick_as_it_is_and_not_as_deep_as_it_bows() -> None:
    row, column = np.mgrid[:400, :400] * 0.5
    inner_table = np.hypot(row - 100, column - 100) < 80
    brain = np.hypot(row - 100, column - 90) < 80
    largest, thickness = axes_mm(inner_table & ~brain & (column > 130), (0.5, 0.5))
    # Where the outline runs steeply, a line one pixel wide sees a pixel or two more.
    assert thickness == pytest.approx(10, abs=1.5)
    assert largest == pytest.approx(2 * np.sqrt(80**2 - 30**2), abs=2)


def test_a_single_point_has_no_extent() -> None:
    largest, direction = largest_diameter_mm(np.zeros((1, 2)))
    assert largest == 0
    assert not direction.any()
