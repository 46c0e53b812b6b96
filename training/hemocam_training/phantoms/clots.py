"""The five hemorrhage subtypes, drawn into a finished head with partial-volumed edges."""

from __future__ import annotations

import numpy as np

from hemocam_training.phantoms.grid import Field, occupancy, smoothstep
from hemocam_training.phantoms.head import Anatomy
from hemocam_training.phantoms.hematoma import draw_hematoma
from hemocam_training.phantoms.plan import Clot
from HemoCAMLib.subtypes import subtype_named

#: Label value to the 0..1 share of every voxel that this subtype fills.
Shares = dict[int, Field]


def draw_clots(
    head: Anatomy,
    clots: list[Clot],
    bloody: Field | None,
    fixed: tuple[Field, Field, Field],
    rough: Field,
    rng: np.random.Generator,
) -> Shares:
    """Draw every planned clot; the last drawn takes the voxel.

    Args:
        head: the head; its ``hu`` is changed.
        clots: the plan.
        bloody: how bloody the subarachnoid space is, from :func:`plan.blood_in_csf`.
        fixed: (x, y, z) anatomical coordinates before the brain was pushed, in which the skull is at rest.
        rough: smooth unit-variance field that lobulates outlines.
        rng: source of chance.
    """
    shares: Shares = {}
    grain = head.grid.noise(rng, 8)
    order = {"SAH": 0, "IVH": 1, "IPH": 2, "SDH": 3, "EDH": 4}
    for clot in sorted(clots, key=lambda item: order[item.subtype]):
        if clot.subtype == "IPH":
            share = np.zeros_like(head.hu)
            box, own = draw_hematoma(head, clot, rough, grain, rng)
            share[box] = own
        elif clot.subtype == "IVH":
            share = _ivh(head, clot, rough, rng)
        elif clot.subtype == "SAH":
            if bloody is None or 3 in shares:
                continue
            share = np.clip(head.cisterns * 1.25, 0, 1) * bloody * occupancy(-head.depth_mm + 0.5)
            share *= 1 - head.ventricle
        elif clot.kind == "falx":
            share = _falcine(head, clot, fixed, rough)
        else:
            share = _extra_axial(head, clot, fixed, rough)
        _add(head, shares, clot, share, _clot_hu(head, clot, grain, rough, fixed))
    return shares


def _add(head: Anatomy, shares: Shares, clot: Clot, share: Field, hu: Field) -> None:
    head.hu += share * (hu - head.hu)
    for other in shares.values():
        other *= 1 - share
    label = subtype_named(clot.subtype).label
    shares[label] = np.maximum(shares[label], share) if label in shares else share


def _clot_hu(head: Anatomy, clot: Clot, grain: Field, rough: Field, fixed: tuple[Field, Field, Field]) -> Field:
    """Hounsfield units within a clot: its own centre, clotting texture, layering in old or mixed ones."""
    hu = np.float32(clot.hu) + 3.0 * grain + 2.0 * rough
    if clot.kind == "mixed":
        # Fresh clot in old fluid, settled towards the back: two densities beside brain's, little as dense as brain.
        _, y, _ = fixed
        settled = smoothstep(0.8 * rough + 0.05 * (y - 80 * clot.center_mm[1]), -0.1, 0.5)
        hu += 34 * settled - 20
    elif clot.kind == "chronic":
        hu += 4 * np.tanh(1.2 * rough)
    if clot.kind == "swirl":
        hu -= 22 * smoothstep(rough, 0.5, 1.3)
    if clot.subtype == "IPH" and clot.level_mm is not None:
        # Cells settle under plasma where blood has not clotted.
        hu += 26 * smoothstep(fixed[1] - clot.center_mm[1], clot.level_mm - 1, clot.level_mm + 1) - 20
    return np.clip(hu, 5, 92)


def _ivh(head: Anatomy, clot: Clot, rough: Field, rng: np.random.Generator) -> Field:
    side, level, _ = clot.center_mm
    if clot.kind == "dependent":
        # Blood sinks in a patient who lies on his back: a level in the atria and occipital horns.
        where = smoothstep(head.y + 1.5 * rough, level - 1, level + 1)
        if rng.random() < 0.4:
            where = np.maximum(where, (head.z < -22) * smoothstep(rough, -1.0, -0.5))
        if rng.random() < 0.3:
            where = where * (head.x * side > 0)
    elif clot.kind == "cast":
        where = smoothstep(rough, -1.6, -1.1)
    elif clot.kind == "one-sided":
        where = smoothstep(head.x * side, 0, 2) * smoothstep(rough, -1.4, -0.9)
    else:
        where = smoothstep(rough, 0.0, 0.5)
    return head.ventricle * where


def _falcine(head: Anatomy, clot: Clot, fixed: tuple[Field, Field, Field], rough: Field) -> Field:
    x, y, z = fixed
    side = np.sign(clot.center_mm[0])
    along = smoothstep(np.hypot((y - 40 * clot.center_mm[1]) / clot.size_mm[0], (z - 25) / clot.size_mm[1]), 1.0, 0.7)
    above = smoothstep(np.hypot((y - 2) / 46, (z - 2) / 30), 1.0, 1.1) * (z > -6)
    thick = clot.size_mm[2] * along * (1 + 0.3 * rough)
    off = x * side - 0.8
    return occupancy(np.maximum(off - thick, -off)) * above * occupancy(0.5 - head.depth_mm) * (along > 0.02)


def _extra_axial(head: Anatomy, clot: Clot, fixed: tuple[Field, Field, Field], rough: Field) -> Field:
    """A crescent (SDH) or a lens (EDH) on the inner table."""
    x, y, z = (axis / np.float32(scale) for axis, scale in zip(fixed, (0.78, 1.0, 0.87), strict=True))
    ux, uy, uz = clot.center_mm
    toward = x * ux + y * uy + z * uz
    flat = float(np.hypot(ux, uy))
    along = (-uy * x + ux * y) / flat
    up = -uz * (ux * x + uy * y) / flat + flat * z
    across = np.hypot(along / np.float32(clot.size_mm[0]), up / np.float32(clot.size_mm[1]))
    if clot.subtype == "EDH":
        profile = 1 - across**2
        thickness = clot.size_mm[2] * (profile + clot.roughness * rough * (profile > 0))
    else:
        profile = 1 - across**3
        thickness = clot.size_mm[2] * profile * (1 + clot.roughness * rough)
    share = occupancy(head.vault_mm - thickness, 1.2) * occupancy(0.3 - head.depth_mm)
    share *= (toward > 0) * (profile > 0)
    if clot.subtype == "SDH":
        # The falx and the tentorium hold a convexity subdural on its own side and above.
        share *= smoothstep(fixed[0] * np.sign(ux), 1.0, 2.0)
    return share
