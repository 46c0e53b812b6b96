"""What is not blood: calcifications, old infarcts, and rims that are bright because bone is near.

In real scans the brain is brightest beside the skull: the CSF there is seldom seen in 5 mm slices, and beam hardening
and the bone's own blur add to it. Measured on a negative series: 54 HU at 1.5 mm from the bone, 42 at 3 mm, 36 at
6 mm, 26 in the depth. A network that never saw this takes every convexity for a hematoma.

Where the section is small, at the base and near the vertex, more bone than brain lies in the beam, and all of the brain
is brighter: in the same series, median in the depth, 46 HU at 22 cm², 42 at 48, 35 at 93, 28 at 180.
"""

from __future__ import annotations

import math

import torch

from hemocam_training.painting.canvas import Canvas, filled, smoothed, smoothstep

_BONE_HU = 105.0
#: The skull's inside is this small where the vault is cut at a slant and its partial volume reaches far in.
_NEAR_VERTEX_MM2 = 8000.0
#: Sections of this size and larger are as bright as the brain is.
_LARGE_SECTION_MM2 = 13000.0


def close_rim(canvas: Canvas) -> None:
    """Brain up to the bone in most heads: partial volume hides the CSF there."""
    if not canvas.happens(0.85):
        return
    depth = canvas.depth_mm.clamp(min=0)
    width, amount = canvas.uniform(1.5, 6), canvas.uniform(0, 1) ** 0.5
    share = amount * torch.exp(-((depth / width) ** 2)) * (canvas.csf > 0.05) * (canvas.hu < _BONE_HU)
    canvas.mix(share * smoothstep(canvas.depth_mm, -1, 0.5), canvas.hu.clamp(min=canvas.uniform(26, 40)))


def draw_look_alikes(canvas: Canvas) -> None:
    """Calcifications, an old infarct, a cortex denser than most, each by chance."""
    if canvas.happens(0.25):
        for _ in range(canvas.pick([0.5, 0.3, 0.2]) + 1):
            _calcification(canvas)
    if canvas.happens(0.2):
        _old_infarct(canvas)
    if canvas.happens(0.3):
        cortex = smoothstep(canvas.depth_mm, 12, 2) * (canvas.depth_mm > 0) * (1 - canvas.csf)
        canvas.hu = canvas.hu + canvas.uniform(0, 6) * cortex


def brighten_rim(canvas: Canvas) -> None:
    """Beam hardening and blur of the bone, over blood and brain alike."""
    depth = canvas.depth_mm.clamp(min=0)
    soft = (canvas.depth_mm > -1.5) * smoothstep(canvas.hu, _BONE_HU + 3, 90) * (canvas.hu > -40)
    added = torch.zeros_like(canvas.hu)
    if canvas.happens(0.85):
        added = added + canvas.uniform(0, 34) * torch.exp(-depth / canvas.uniform(0.7, 2.6))
    if canvas.happens(0.7):
        added = added + canvas.uniform(0, 11) * torch.exp(-depth / canvas.uniform(4, 14))
    if canvas.happens(0.12):
        patches = smoothstep(canvas.rough(60), -0.2, 1)
        added = added + canvas.uniform(10, 40) * torch.exp(-depth / canvas.uniform(2.5, 6)) * patches
    section_mm2 = (canvas.depth_mm > 0).sum(dim=(1, 2), keepdim=True) * canvas.pixel_mm**2
    if float(section_mm2[1]) < _NEAR_VERTEX_MM2 and canvas.happens(0.5):
        added = added + canvas.uniform(4, 26) * torch.exp(-depth / canvas.uniform(3, 9))
    if canvas.happens(0.7):
        small = (1 - section_mm2 / _LARGE_SECTION_MM2).clamp(min=0)
        added = added + canvas.uniform(0, 26) * small * (1 + 0.25 * canvas.rough(60))
    canvas.hu = canvas.hu + added * soft


def _calcification(canvas: Canvas) -> None:
    plexus = (smoothed(canvas.ventricle[1:2], 9)[0] > 0.05).float()
    weight = plexus if canvas.happens(0.6) and float(plexus.sum()) > 10 else (canvas.depth_mm[1] > 8).float()
    center = canvas.place(weight)
    if center is None:
        return
    right = (canvas.x_mm - center[1]) * math.exp(canvas.normal(0, 0.3))
    above = 0.6 * canvas.z_mm + canvas.normal(0, 1)
    distance = torch.sqrt((canvas.y_mm - center[0]) ** 2 + right**2 + above**2) - canvas.uniform(0.6, 2.6)
    canvas.mix(filled(distance + 0.3 * canvas.rough(4), 1.2), torch.tensor(canvas.uniform(75, 400)))


def _old_infarct(canvas: Canvas) -> None:
    center = canvas.place((canvas.depth_mm[1] > 1).float() * (1 - canvas.ventricle[1]))
    if center is None:
        return
    right = (canvas.x_mm - center[1]) * math.exp(canvas.normal(0, 0.3))
    radius = canvas.lognormal(12, 0.7, 2, 60)
    distance = torch.sqrt((canvas.y_mm - center[0]) ** 2 + right**2 + canvas.z_mm**2) - radius
    tissue = filled(1.5 - canvas.depth_mm, 2) * (1 - canvas.ventricle)
    share = smoothstep(distance + 3 * canvas.rough(16), 2, -2) * tissue * canvas.uniform(0.5, 1)
    canvas.mix(share, canvas.hu.clamp(max=canvas.uniform(8, 24)))
