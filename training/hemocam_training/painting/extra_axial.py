"""Blood between brain and skull: a crescent (SDH) or a lens (EDH) on the inner table, the brain pushed inwards."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from hemocam_training.painting.canvas import Canvas, clot_hu, filled, smoothed, smoothstep
from hemocam_training.painting.clots import Clot

_SMALLEST_SECTION_MM2 = 2500.0
#: Brain that lies no deeper than this is not pulled inwards: the bone beside it would come along.
_FIXED_MM = 2.0


class _Side(NamedTuple):
    """Where on the inner table.

    Attributes:
        arc_mm: [H, W] way along the table from the middle of the lesion.
        middle: (y, x) of the section's centre.
        side: -1 or 1, in x.
    """

    arc_mm: Tensor
    middle: tuple[float, float]
    side: int


def epidural(canvas: Canvas) -> Clot | None:
    """A lens of acute blood, at times with a darker swirl; None where the slice shows too little of the skull."""
    where = _side(canvas)
    if where is None:
        return None
    thickness = canvas.lognormal(10, 0.5, 3.0, 28.0)
    along = min(46.0, max(9.0, thickness * canvas.uniform(1.2, 2.2) + 6))
    profile = 1 - _across(canvas, where, along, along * canvas.uniform(0.7, 1.0)) ** 2
    shape = (thickness * (profile + 0.06 * canvas.rough(26) * (profile > 0))).clamp(min=0)
    share = _on_the_table(canvas, shape, torch.ones_like(canvas.x_mm)) * (profile > 0)
    hu = clot_hu(canvas, max(40.0, canvas.normal(57, 7)), canvas.uniform(1, 5))
    if canvas.happens(0.3):
        hu = hu - 22 * smoothstep(canvas.rough(16), 0.5, 1.3)
    return Clot(share, hu.clamp(20, 92))


def subdural(canvas: Canvas) -> Clot | None:
    """A crescent of any age on one side; None where the slice shows too little of the skull."""
    where = _side(canvas)
    if where is None:
        return None
    thickness = canvas.lognormal(7, 0.55, 2.2, 24.0)
    rough = canvas.rough(26)
    profile = 1 - _across(canvas, where, canvas.uniform(25, 90), canvas.uniform(22, 60)) ** 3
    shape = (thickness * profile * (1 + 0.25 * rough)).clamp(min=0)
    # The falx holds it on its side.
    own_side = smoothstep((canvas.x_mm - where.middle[1]) * where.side, -1.0, 2.0)
    share = _on_the_table(canvas, shape, own_side) * (profile > 0)
    kind = ("acute", "mixed", "subacute", "chronic")[canvas.pick([0.40, 0.25, 0.13, 0.22])]
    center = {
        "acute": max(42.0, canvas.normal(59, 7)),
        "mixed": canvas.normal(42, 8),
        "subacute": canvas.normal(36, 4),
        "chronic": canvas.uniform(12, 28),
    }[kind]
    hu = clot_hu(canvas, center, canvas.uniform(1, 4))
    below = canvas.y_mm - where.middle[0]
    if kind == "mixed" and canvas.happens(0.5):
        hu = hu + canvas.uniform(6, 18) * torch.tanh((below - canvas.normal(0, 20)) / 6)
    elif kind == "mixed":
        hu = hu + 15 * torch.tanh(1.5 * canvas.rough(18))
    elif kind == "chronic":
        hu = hu + 6 * torch.tanh(1.2 * rough + 0.03 * below)
    differs = abs(center - 32) > 7 and (kind in ("acute", "mixed") or thickness > 5)
    return Clot(share, hu.clamp(5, 90), evident=differs or thickness > 10)


def _side(canvas: Canvas) -> _Side | None:
    inside = (canvas.depth_mm[1] > 0).float()
    total = float(inside.sum())
    if total * canvas.pixel_mm**2 < _SMALLEST_SECTION_MM2:
        return None
    y, x = (float((place * inside).sum()) / total for place in (canvas.y_mm, canvas.x_mm))
    side = canvas.sign()
    # From straight sideways, so that the middle of the forehead and of the back of the head are rare.
    turn = canvas.uniform(-1.25, 1.25)
    toward = turn if side > 0 else math.pi - turn
    angle = torch.remainder(torch.atan2(canvas.y_mm - y, canvas.x_mm - x) - toward + math.pi, 2 * math.pi) - math.pi
    return _Side(angle * math.sqrt(total * canvas.pixel_mm**2 / math.pi), (y, x), side)


def _across(canvas: Canvas, where: _Side, along_mm: float, up_mm: float) -> Tensor:
    """[3, H, W] 0 in the middle of the lesion, 1 at its rim."""
    above = canvas.z_mm + canvas.uniform(-0.7, 0.7) * up_mm
    return torch.sqrt((where.arc_mm / along_mm) ** 2 + (above / up_mm) ** 2)


def _on_the_table(canvas: Canvas, thickness_mm: Tensor, allowed: Tensor) -> Tensor:
    """Share of a layer of that thickness [3, H, W]; the brain below makes room."""
    smooth = smoothed(canvas.depth_mm, 9)
    down, right = torch.zeros_like(smooth), torch.zeros_like(smooth)
    down[:, 1:-1] = smooth[:, 2:] - smooth[:, :-2]
    right[..., 1:-1] = smooth[..., 2:] - smooth[..., :-2]
    steep = torch.sqrt(down**2 + right**2) + 1e-3
    fades_mm = canvas.uniform(22, 55)
    room = (1 - (canvas.depth_mm - thickness_mm) / (fades_mm - thickness_mm).clamp(min=4)).clamp(0, 1)
    moved = smoothed(thickness_mm * allowed * room * (canvas.depth_mm > 0), 5)
    moved = torch.minimum(moved, (canvas.depth_mm - _FIXED_MM).clamp(min=0))
    canvas.warp(canvas.y_mm - down / steep * moved, canvas.x_mm - right / steep * moved)
    inner = filled(canvas.depth_mm - thickness_mm, canvas.uniform(0.8, 2.0))
    return inner * filled(0.2 - canvas.depth_mm, 1.0) * allowed
