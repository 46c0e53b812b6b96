"""Blood in the brain, in the ventricles and in the subarachnoid space.

Published medians and 5th to 95th percentiles (HU) that the densities follow: IPH 56 (34-72), IVH 51 (26-71),
SAH 48 (33-65), EDH 55 (26-74), SDH 31 (7-82); partial volume takes its share of the centres used here.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from hemocam_training.painting.canvas import Canvas, clot_hu, filled, smoothstep

_SMALLEST_VENTRICLE_MM2, _SMALLEST_CISTERN_MM2 = 40.0, 60.0


class Clot(NamedTuple):
    """A painted lesion.

    Attributes:
        share: [3, H, W] 0..1 of every pixel that it fills.
        hu: [3, H, W] its density.
        evident: a reader would call it from this slice; False for a thin, nearly isodense one.
    """

    share: Tensor
    hu: Tensor
    evident: bool = True


def intraparenchymal(canvas: Canvas) -> Clot | None:
    """An ellipsoid with a rough outline anywhere in the brain, at times several, oedema around, tissue pushed away."""
    depth = canvas.depth_mm
    weight = (depth[1] > 3).float() * (1 - canvas.ventricle[1]) * (1 + 1.5 * (depth[1] > 22).float())
    center = canvas.place(weight)
    if center is None:
        return None
    small = canvas.happens(0.18)
    radius = canvas.uniform(1.3, 4.5) if small else canvas.lognormal(10.5, 0.6, 1.8, 38.0)
    centers = [center]
    if small and canvas.happens(0.5):
        more = canvas.pick([1, 1, 1, 1]) + 1
        centers += [(center[0] + canvas.normal(0, 14), center[1] + canvas.normal(0, 14)) for _ in range(more)]
    distance = _rough_ellipsoids(canvas, centers, radius)
    if radius > 8 and len(centers) == 1 and canvas.happens(0.7):
        _push_away(canvas, center, radius)
    if canvas.happens(0.75):
        _oedema(canvas, distance, radius)
    soft = canvas.uniform(1.0, 4.5 if radius > 4 else 2.5)
    share = filled(distance, soft) * filled(1.0 - depth, 1.5)
    if canvas.happens(0.4):
        share = share * (1 - canvas.ventricle)
    hu = clot_hu(canvas, max(38.0, canvas.normal(57, 8)), canvas.uniform(1, 6))
    if canvas.happens(0.25):
        hu = hu - canvas.uniform(5, 20) * smoothstep(canvas.rough(14), 0.3, 1.2)
    if canvas.happens(0.12):
        # A contusion: blood between tissue.
        share = share * canvas.uniform(0.5, 0.9)
    return Clot(share, hu.clamp(28, 92))


def _rough_ellipsoids(canvas: Canvas, centers: list[tuple[float, float]], radius: float) -> Tensor:
    """[3, H, W] distance in mm from the surface of the nearest ellipsoid, negative inside."""
    jagged = radius * (canvas.uniform(0, 0.15) if canvas.happens(0.5) else canvas.uniform(0.1, 0.5))
    outline = canvas.rough(max(7.0, min(30.0, 1.3 * radius)), own=0.3) + 0.5 * canvas.rough(5, own=0.3)
    distance: Tensor | None = None
    for y, x in centers:
        angle, stretch = canvas.uniform(0, math.pi), math.exp(canvas.normal(0, 0.28))
        down, right = canvas.y_mm - y, canvas.x_mm - x
        along = math.cos(angle) * right + math.sin(angle) * down
        across = math.cos(angle) * down - math.sin(angle) * right
        own = radius * canvas.uniform(0.7, 1.2) if len(centers) > 1 else radius
        above = canvas.z_mm + canvas.uniform(-0.75, 0.75) * own
        each = torch.sqrt((along / stretch) ** 2 + (across * stretch) ** 2 + above**2) - own
        distance = each if distance is None else torch.minimum(distance, each)
    assert distance is not None
    return distance + jagged * outline


def _push_away(canvas: Canvas, center: tuple[float, float], radius: float) -> None:
    down, right = canvas.y_mm - center[0], canvas.x_mm - center[1]
    pull = canvas.uniform(0.1, 0.5) * torch.exp(-(down**2 + right**2) / (1.7 * radius) ** 2)
    pull = pull * smoothstep(canvas.depth_mm, 0, 12)
    canvas.warp(canvas.y_mm - down * pull, canvas.x_mm - right * pull)


def _oedema(canvas: Canvas, distance: Tensor, radius: float) -> None:
    width = canvas.uniform(0, 1) ** 1.5 * 0.7 * radius + 1
    tissue = (1 - canvas.csf) * (1 - canvas.ventricle) * filled(2 - canvas.depth_mm, 2)
    share = smoothstep(distance + 0.25 * width * canvas.rough(16), width, 0.4 * width - 0.5)
    canvas.mix(share * tissue * canvas.uniform(0.4, 1), canvas.hu.clamp(max=canvas.uniform(16, 24)))


def intraventricular(canvas: Canvas) -> Clot | None:
    """A level in the dependent part, a cast, one side, or patches; None without ventricle in the slice."""
    inside = canvas.ventricle[1] > 0.5
    if float(canvas.ventricle[1].sum()) * canvas.pixel_mm**2 < _SMALLEST_VENTRICLE_MM2 or not bool(inside.any()):
        return None
    (front, back), (right, left) = (_extent_mm(inside.any(dim), canvas.pixel_mm) for dim in (1, 0))
    middle, side, rough = (right + left) / 2, canvas.sign(), canvas.rough(20)
    kind = ("dependent", "cast", "one-sided", "patchy")[canvas.pick([0.5, 0.2, 0.15, 0.15])]
    if kind == "dependent":
        # Blood sinks in a patient who lies on the back.
        level = front + canvas.uniform(0.3, 0.93) * (back - front)
        slope = canvas.normal(0, 0.08)
        where = smoothstep(canvas.y_mm + slope * (canvas.x_mm - middle) + 1.5 * rough, level - 1, level + 1)
        if canvas.happens(0.3):
            where = where * ((canvas.x_mm - middle) * side > 0)
    elif kind == "cast":
        where = smoothstep(rough, -1.6, -1.1)
    elif kind == "one-sided":
        where = smoothstep((canvas.x_mm - middle) * side, 0, 2) * smoothstep(rough, -1.4, -0.9)
    else:
        where = smoothstep(rough, canvas.uniform(-0.3, 0.5), canvas.uniform(0.5, 0.9))
    center = canvas.normal(64, 7) if kind in ("cast", "one-sided") else canvas.normal(52, 8)
    return Clot((canvas.ventricle * 1.15).clamp(0, 1) * where, clot_hu(canvas, max(34.0, center), 3).clamp(25, 90))


def _extent_mm(present: Tensor, pixel_mm: float) -> tuple[float, float]:
    found = present.nonzero().flatten()
    return float(found[0]) * pixel_mm, float(found[-1]) * pixel_mm


def subarachnoid(canvas: Canvas) -> Clot | None:
    """Blood in sulci, fissures and cisterns around a point, at times on both sides; None without them in the slice."""
    deep = 1 - torch.exp(-((canvas.depth_mm.clamp(min=0) / 1.8) ** 2))
    space = canvas.csf * deep * (1 - canvas.ventricle)
    if float((space[1] > 0.4).sum()) * canvas.pixel_mm**2 < _SMALLEST_CISTERN_MM2:
        return None
    center = canvas.place((space[1] > 0.3).float() * space[1])
    if center is None:
        return None
    reach = canvas.uniform(12, 60)
    where = _around(canvas, center, reach, canvas.normal(0, 0.3) * reach)
    if canvas.happens(0.3):
        head = (canvas.depth_mm[1] > 0).float()
        middle = float((canvas.x_mm * head).sum() / head.sum().clamp(min=1))
        where = torch.maximum(where, _around(canvas, (center[0], 2 * middle - center[1]), reach, 0.0))
    share = (space * canvas.uniform(0.9, 1.7)).clamp(0, 1) * where
    return Clot(share, clot_hu(canvas, max(38.0, canvas.normal(56, 8)), 3).clamp(28, 88))


def _around(canvas: Canvas, center: tuple[float, float], reach: float, above: float) -> Tensor:
    squared = (canvas.y_mm - center[0]) ** 2 + (canvas.x_mm - center[1]) ** 2 + (1.2 * (canvas.z_mm + above)) ** 2
    return smoothstep(torch.sqrt(squared) / reach + 0.35 * canvas.rough(26), 1.05, 0.75)
