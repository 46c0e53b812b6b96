"""Bleeding into brain tissue: lobulated hematomas, contusions, and the oedema around both."""

from __future__ import annotations

import numpy as np

from hemocam_training.phantoms.grid import Field, occupancy, smoothstep
from hemocam_training.phantoms.head import Anatomy
from hemocam_training.phantoms.plan import Clot

Box = tuple[slice, slice, slice]


def draw_hematoma(head: Anatomy, clot: Clot, rough: Field, grain: Field, rng: np.random.Generator) -> tuple[Box, Field]:
    """Draw the oedema into ``head.hu`` and give the clot's share of every voxel of a box; its blood is not drawn yet.

    Args:
        head: the head.
        clot: an IPH; ``contusion`` is a cluster of small bleeds, every other kind one body with lobes.
        rough: slow random field of unit variance.
        grain: fine random field of unit variance.
        rng: source of chance.
    """
    margin = 18 + 0.9 * max(clot.size_mm)
    box, distance = head.blob(clot.center_mm, clot.size_mm, margin)
    within = occupancy(1.5 - head.depth_mm[box])
    if clot.kind == "contusion":
        envelope = distance + 0.3 * min(clot.size_mm) * rough[box]
        _draw_oedema(head, box, envelope - 2, rng.uniform(2, 6), rng)
        # Petechiae: the peaks of a fine field, larger and closer in the middle.
        peaks = grain[box] - rng.uniform(0.3, 1.0) - 1.6 * smoothstep(envelope, -0.7 * min(clot.size_mm), 0)
        share = smoothstep(peaks, -0.22, 0.28) * within * occupancy(envelope - 1)
        return box, share * (1 - 0.7 * head.cisterns[box])
    lobes = int(rng.integers(0, 4)) if min(clot.size_mm) > 5 else 0
    # The lobes belong to the volume that was planned.
    distance = distance + 0.04 * lobes * min(clot.size_mm)
    for _ in range(lobes):
        direction = rng.normal(0, 1, 3)
        direction *= rng.uniform(0.6, 1.05) / np.linalg.norm(direction)
        x, y, z = (float(c + s * d) for c, s, d in zip(clot.center_mm, clot.size_mm, direction, strict=True))
        rx, ry, rz = (float(s * rng.uniform(0.3, 0.65)) for s in clot.size_mm)
        _, lobe = head.blob_in(box, (x, y, z), (rx, ry, rz))
        distance = _joined(distance, lobe, 0.15 * min(clot.size_mm))
    distance = distance + clot.roughness * (rough[box] + 0.35 * grain[box])
    if rng.random() < 0.8:
        _draw_oedema(head, box, distance, rng.uniform(0.1, 0.75) * min(clot.size_mm) + 1.5, rng, rough)
    return box, occupancy(distance, rng.uniform(1.0, 4.0)) * within


def _joined(first: Field, second: Field, smooth_mm: float) -> Field:
    """Union of two distances with a rounded seam (polynomial smooth minimum)."""
    closeness = np.clip(smooth_mm - np.abs(first - second), 0, None) / np.float32(max(smooth_mm, 1e-3))
    return np.minimum(first, second) - closeness * closeness * np.float32(smooth_mm / 4)


def _draw_oedema(
    head: Anatomy, box: Box, distance: Field, width_mm: float, rng: np.random.Generator, rough: Field | None = None
) -> None:
    """Low density around a clot, farther along white matter than into cortex."""
    outline = distance if rough is None else distance + 0.35 * np.float32(width_mm) * rough[box]
    tissue = (1 - head.cisterns[box]) * (1 - head.ventricle[box]) * occupancy(2 - head.depth_mm[box])
    tissue *= 1 - 0.6 * smoothstep(head.depth_mm[box], 5, 2)
    share = smoothstep(outline, width_mm, 0.35 * width_mm - 0.5) * tissue * rng.uniform(0.45, 1)
    head.paint(box, share, np.minimum(head.hu[box], rng.uniform(16, 22)))
