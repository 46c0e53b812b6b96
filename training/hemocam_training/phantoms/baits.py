"""Harmless things that look like blood, and old damage: dura, sinuses, vessels, calcification, infarcts."""

from __future__ import annotations

import numpy as np

from hemocam_training.phantoms.brain import BrainLook, tent_height
from hemocam_training.phantoms.grid import occupancy, smoothstep
from hemocam_training.phantoms.head import Anatomy, PickedVoxels


def draw_baits(head: Anatomy, look: BrainLook, rng: np.random.Generator) -> None:
    """Dura and vessels of every head, and by chance calcification and old infarcts."""
    if rng.random() < 0.3:
        _draw_infarct(head, rng)
    contrast_agent = rng.random() < 0.06
    _draw_dura(head, rng, rng.uniform(80, 140) if contrast_agent else rng.uniform(42, 62))
    _draw_vessels(head, rng, rng.uniform(90, 230) if contrast_agent else rng.uniform(38, 56))
    _draw_calcification(head, look, rng)
    if rng.random() < 0.03:
        _draw_drain(head, rng)
    if rng.random() < 0.03:
        _draw_air(head, rng)


def _draw_drain(head: Anatomy, rng: np.random.Generator) -> None:
    """A catheter from the frontal convexity to the ventricle, denser than blood."""
    sign = rng.choice([-1.0, 1.0])
    start = np.array([sign * rng.uniform(22, 32), rng.uniform(-45, -25), 62.0])
    end = np.array([sign * rng.uniform(3, 9), rng.uniform(-22, -8), rng.uniform(4, 12)])
    middle, axis = (start + end) / 2, end - start
    box = head.grid.box((float(middle[0]), float(middle[1]), float(middle[2])), 42)
    relative = [field[box] - np.float32(s) for field, s in zip((head.x, head.y, head.z), start, strict=True)]
    along = np.clip(sum(r * np.float32(d) for r, d in zip(relative, axis, strict=True)) / np.float32(axis @ axis), 0, 1)
    offset = np.sqrt(sum((r - along * np.float32(d)) ** 2 for r, d in zip(relative, axis, strict=True)))
    head.paint(box, occupancy(offset - 1.3) * occupancy(-head.depth_mm[box]), rng.uniform(110, 500))


def _draw_air(head: Anatomy, rng: np.random.Generator) -> None:
    """Air under the frontal vault after an operation or an injury."""
    center = (rng.normal(0, 18), -72.0, rng.uniform(5, 35))
    box, distance = head.blob(center, (rng.uniform(6, 22), 14, rng.uniform(6, 20)))
    depth = head.depth_mm[box]
    head.paint(box, occupancy(distance) * occupancy(depth - rng.uniform(1.5, 7)) * occupancy(-depth), -950)


def _draw_dura(head: Anatomy, rng: np.random.Generator, venous: float) -> None:
    """Falx, tentorium, and the venous sinuses along them."""
    _draw_sheets(PickedVoxels(head, head.depth_mm > -1), rng, venous)
    box, distance = head.blob((0, 48, 0), (2, 20, 3))
    head.paint(box, occupancy(distance), venous)


def _draw_sheets(head: PickedVoxels, rng: np.random.Generator, venous: float) -> None:
    inside = occupancy(-head.depth_mm)
    wave = head.grid.noise(rng, 30)
    dense = rng.uniform(42, 62) if rng.random() < 0.75 else rng.uniform(62, 90)
    thick = rng.uniform(0.35, 0.9)
    outer = np.hypot((head.y - 2) / 47, (head.z - 2) / 31)
    reach = smoothstep(outer, 1.0, 1.12) * np.where(head.z > -4, 1, smoothstep(-head.y, 45, 55))
    off = np.abs(head.x + 0.5 * wave)
    falx = occupancy(off - thick) * reach * inside
    head.hu += falx * (dense - head.hu)
    # Superior sagittal sinus: a triangle whose base lies on the inner table.
    sinus_mm = rng.uniform(5, 9)
    triangle = occupancy(off - 0.55 * (sinus_mm - head.depth_mm), 1.5) * inside
    triangle *= (head.vault_mm < sinus_mm) * smoothstep(head.z + 0.4 * head.y, 0, 12)
    head.hu += triangle * (venous - head.hu)
    if rng.random() < 0.25:
        patch = falx * (head.grid.noise(rng, 12) > 1.6)
        head.hu += patch * (rng.uniform(90, 400) - head.hu)
    sheet = np.abs(head.z - tent_height(head))
    free_edge = np.hypot(head.x / 17, (head.y - 8) / 17)
    visible = rng.uniform(0.3, 1) * np.clip(0.7 + 0.5 * wave, 0, 1)
    tentorium = visible * occupancy(sheet - 0.8 * thick) * smoothstep(free_edge, 1.0, 1.1) * (head.y > 2) * inside
    head.hu += tentorium * (min(dense, 58) - head.hu)
    lateral = np.hypot((head.z - tent_height(head)) / 5, np.maximum(head.depth_mm - 2, 0) / 3.5)
    own = 1 + 0.35 * np.sign(head.x) * np.float32(rng.choice([-1, 1]))
    transverse = smoothstep(lateral / own, 1.1, 0.8) * (head.y > 42) * inside * (head.z < 0)
    head.hu += transverse * (venous - head.hu)
    head.put_back()


def _draw_vessels(head: Anatomy, rng: np.random.Generator, hu: float) -> None:
    """Carotids, middle cerebral and basilar arteries, seen a little denser than brain, or bright after contrast."""
    calcified = rng.random() < 0.35
    for sign in (-1, 1):
        for k in range(6):
            t = k / 5
            center = (sign * (8 + 24 * t), -14 - 5 * np.sin(3 * t) + rng.normal(0, 1), -26 + 10 * t)
            box, distance = head.blob(center, (3.2, 1.5, 1.6))
            head.paint(box, occupancy(distance), hu)
        if calcified:
            box, distance = head.blob((sign * 10.0, -10.0, -30.0), (2, 3, 2.5))
            head.paint(box, occupancy(distance + 0.3), rng.uniform(120, 500))
    box, distance = head.blob((rng.normal(0, 1.5), -2.0, -32.0), (1.9, 1.9, 10))
    head.paint(box, occupancy(distance), hu)


def _draw_calcification(head: Anatomy, look: BrainLook, rng: np.random.Generator) -> None:
    """Choroid plexus, pineal, sometimes basal ganglia."""
    age = 0.3 + 0.7 * look.atrophy
    for sign, scale in zip((-1, 1), look.ventricle_scale, strict=True):
        center = (sign * (21 + 4 * scale) + rng.normal(0, 1), rng.normal(33, 3), rng.normal(8, 2))
        radii = tuple(rng.uniform(1.5, 4, 3) * (0.7 + 0.5 * age) * np.array([0.8, 1.4, 1.5]))
        box, distance = head.blob(center, radii)
        head.paint(box, occupancy(distance - 1.5), rng.uniform(34, 46))
        if rng.random() < 0.25 + 0.65 * age:
            head.paint(box, occupancy(distance + rng.uniform(0, 1)), rng.uniform(70, 450))
    box, distance = head.blob((rng.normal(0, 0.8), 25.0, -3.0), tuple(rng.uniform(1.6, 4.2, 3)))
    head.paint(box, occupancy(distance), rng.uniform(70, 350) if rng.random() < 0.65 else rng.uniform(34, 50))
    if rng.random() < 0.12:
        hu = rng.uniform(55, 150)
        for sign in (-1, 1):
            box, distance = head.blob((sign * 20.0, -3.0, 0.0), (2.5, 4, 3))
            head.paint(box, occupancy(distance) * rng.uniform(0.4, 1), hu)


def _draw_infarct(head: Anatomy, rng: np.random.Generator) -> None:
    """An old infarct: a wedge of near-CSF density, or a lacune."""
    sign = rng.choice([-1.0, 1.0])
    hu = rng.uniform(9, 22)
    if rng.random() < 0.4:
        center = (sign * rng.uniform(10, 28), rng.uniform(-15, 15), rng.uniform(-5, 22))
        radii = tuple(rng.uniform(2.5, 7, 3))
    else:
        territory = rng.integers(3)
        center = ((sign * 48, 5.0, 12.0), (sign * 22, 58.0, 2.0), (sign * 16, -50.0, 25.0))[territory]
        radii = tuple(rng.uniform(0.6, 1.2) * np.array(((22, 26, 22), (17, 22, 18), (12, 20, 20))[territory]))
    box, distance = head.blob(center, radii, 16)
    rough = head.grid.noise(rng, 16)[box]
    tissue = (1 - head.ventricle[box]) * occupancy(3 - head.depth_mm[box])
    share = smoothstep(distance + 3 * rough, 2, -2) * tissue * rng.uniform(0.7, 1)
    head.paint(box, share, np.minimum(hu, head.hu[box]))
