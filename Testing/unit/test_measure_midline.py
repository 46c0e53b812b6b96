"""The midline found from the shape of the intracranial space."""

from __future__ import annotations

import numpy as np
import pytest

from HemoCAMLib.ct.geometry import SliceGeometry
from HemoCAMLib.mask import BrainMask
from HemoCAMLib.measure import Measurer, MidlinePlane

FACTOR, SPACING_MM, SIZE = 4, 0.5, 120


def skull_space(
    *, turn_deg: float = 0, roll_deg: float = 0, shift_mm: float = 0, tilt_deg: float = 0, mirrored: bool = False
) -> tuple[BrainMask, SliceGeometry, MidlinePlane]:
    """An egg-shaped space, turned in the slice and rolled across the slices, with its true midline."""
    tilt = np.radians(tilt_deg)
    row_direction = np.array([-1.0 if mirrored else 1.0, 0, 0])
    column_direction = np.array([0, np.cos(tilt), np.sin(tilt)])
    edge_mm = (SIZE * FACTOR - 1) / 2 * SPACING_MM
    # Slices are ordered along their normal, which a mirrored row direction turns round.
    positions = np.outer(np.arange(-60, 61, 5.0) * row_direction[0], [0, 0, 1.0]) - edge_mm * (
        row_direction + column_direction
    )
    geometry = SliceGeometry(positions, row_direction, column_direction, (SPACING_MM, SPACING_MM))
    row, column = np.mgrid[:SIZE, :SIZE] * FACTOR + (FACTOR - 1) / 2
    points = positions[:, None, None] + SPACING_MM * (
        row[..., None] * column_direction + column[..., None] * row_direction
    )
    turn, roll = np.radians(turn_deg), np.radians(roll_deg)
    left = np.array([np.cos(turn) * np.cos(roll), -np.sin(turn), np.sin(roll)])
    left = left / np.linalg.norm(left)
    back = np.cross([0, 0, 1.0], left)
    back = back / np.linalg.norm(back)
    up = np.cross(left, back)
    centred = points - np.array([shift_mm, 0, 0])
    x, y, z = centred @ left, centred @ back, centred @ up
    # Narrower in front than behind, steep at the temples, flat below, as heads are.
    space = ((x / (66 + 0.12 * y)) ** 2 + (y / 84) ** 2) ** 1.5 + np.abs(z / 70) ** 3 < 1
    space &= z > -45
    truth = MidlinePlane(left, float(left @ np.array([shift_mm, 0, 0])))
    brain = BrainMask(space, np.arange(len(positions)), FACTOR, (SPACING_MM, SPACING_MM))
    return brain, geometry, truth


@pytest.mark.parametrize(
    "pose",
    [
        {},
        {"turn_deg": 14.0},
        {"turn_deg": -25.0, "shift_mm": 12.0},
        {"roll_deg": 5.0},
        {"tilt_deg": 20.0, "turn_deg": 8.0},
        {"turn_deg": 10.0, "mirrored": True},
    ],
    ids=["straight", "turned", "turned and shifted", "rolled", "tilted", "stored mirrored"],
)
def test_the_plane_is_found_to_two_millimetres_within_the_head(pose: dict[str, float]) -> None:
    brain, geometry, truth = skull_space(**pose)  # type: ignore[arg-type]
    found = MidlinePlane.from_brain(brain, geometry)
    assert found is not None
    assert found.normal[0] > 0
    front, back = np.array([0.0, -70, 0]), np.array([0.0, 70, 0])
    for point in (front, back, np.array([0.0, 0, 40]), np.zeros(3)):
        on_plane = point + truth.normal * (truth.offset_mm - truth.normal @ point)
        assert found.normal @ on_plane - found.offset_mm == pytest.approx(0, abs=2.0)


def test_a_lesion_on_one_side_of_a_turned_head_is_called_one_sided() -> None:
    brain, geometry, truth = skull_space(turn_deg=25.0)
    rows = columns = SIZE * FACTOR
    row, column = np.mgrid[:rows, :columns] * SPACING_MM
    points = geometry.positions_mm[12] + row[..., None] * geometry.column_direction
    points = points + column[..., None] * geometry.row_direction
    left_mm = points @ truth.normal - truth.offset_mm
    labels = np.zeros((rows, columns), np.uint8)
    labels[(left_mm > 4) & (left_mm < 14) & (np.abs(points[..., 1]) < 75)] = 4
    sides = []
    for midline in (MidlinePlane.from_brain(brain, geometry), None):
        measurer = Measurer(geometry, midline)
        measurer.add(12, labels)
        sides.append(measurer.finish().side["SDH"])
    assert sides == ["left", "both"]


def test_no_plane_is_claimed_for_sagittal_slices() -> None:
    brain, geometry, _ = skull_space()
    sagittal = SliceGeometry(
        geometry.positions_mm, np.array([0, 1.0, 0]), np.array([0, 0, 1.0]), geometry.pixel_spacing_mm
    )
    assert MidlinePlane.from_brain(brain, sagittal) is None
