"""What bleeds in a phantom and where: drawn from chance before the head is drawn, since large clots push the brain."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from hemocam_training.phantoms.grid import Field, HeadGrid, smoothstep

#: Combinations of subtypes and their weights; bleeds of one head seldom come alone.
MIXTURES: tuple[tuple[float, tuple[str, ...]], ...] = (
    (0.24, ()),
    (0.10, ("IPH",)),
    (0.11, ("IPH", "IVH")),
    (0.03, ("IPH", "SAH")),
    (0.05, ("IVH",)),
    (0.08, ("SAH",)),
    (0.05, ("SAH", "IVH")),
    (0.10, ("SDH",)),
    (0.05, ("SDH", "SAH")),
    (0.04, ("SDH", "IPH", "SAH")),
    (0.13, ("EDH",)),
    (0.03, ("EDH", "SAH")),
    (0.02, ("EDH", "SDH")),
    (0.01, ("IPH", "IVH", "SAH", "SDH")),
)

#: The kind of SDH that is as dense as brain.
HIDDEN_SUBDURAL = "subacute"


@dataclass(frozen=True)
class Clot:
    """One bleed before it is drawn.

    Attributes:
        subtype: abbreviation.
        kind: variant within the subtype, such as ``dependent`` or ``cast`` for IVH.
        center_mm: (x, y, z) in anatomical coordinates; for SDH and EDH a unit direction from the origin.
        size_mm: radii (IPH), reach (SAH, in the first), or (along, up, thickness) of SDH and EDH.
        hu: centre of its Hounsfield units.
        roughness: how far its outline is lobulated, mm.
        level_mm: height of a fluid level towards the back, from its centre; None where blood has clotted.
    """

    subtype: str
    kind: str
    center_mm: tuple[float, float, float]
    size_mm: tuple[float, float, float]
    hu: float
    roughness: float
    level_mm: float | None = None


def choose_subtypes(rng: np.random.Generator) -> tuple[str, ...]:
    """Subtypes of one head; about a quarter have none."""
    weights = np.array([weight for weight, _ in MIXTURES])
    return MIXTURES[int(rng.choice(len(MIXTURES), p=weights / weights.sum()))][1]


def plan_clots(rng: np.random.Generator, subtypes: tuple[str, ...]) -> list[Clot]:
    """Every bleed of one head."""
    makers = {"IPH": _plan_iph, "IVH": _plan_ivh, "SAH": _plan_sah, "SDH": _plan_sdh, "EDH": _plan_edh}
    clots: list[Clot] = []
    for subtype in subtypes:
        repeats = 1
        if subtype == "IPH" and rng.random() < 0.25:
            repeats = int(rng.integers(2, 4))
        if subtype in ("SAH", "SDH") and rng.random() < 0.25:
            repeats = 2
        clots += [makers[subtype](rng, repeats) for _ in range(repeats)]
    # Plain floats keep the fields in single precision.
    return [
        replace(clot, center_mm=tuple(map(float, clot.center_mm)), size_mm=tuple(map(float, clot.size_mm)))
        for clot in clots
    ]


def has_hidden_subdural(seed: int) -> bool:
    """Whether the phantom of that seed, with subtypes by chance, holds a subdural that few readers would see.

    Such are collections as dense as brain.
    """
    rng = phantom_generator(seed)
    clots = plan_clots(rng, choose_subtypes(rng))
    return any(clot.kind == HIDDEN_SUBDURAL for clot in clots)


def phantom_generator(seed: int) -> np.random.Generator:
    """The source of chance of one phantom."""
    return np.random.default_rng([seed, 20261121])


def _plan_iph(rng: np.random.Generator, repeats: int) -> Clot:
    side = rng.choice([-1.0, 1.0])
    sites = ["putamen", "thalamus", "lobe", "cerebellum", "pons", "contusion"]
    site = rng.choice(sites, p=[0.25, 0.19, 0.29, 0.09, 0.05, 0.13])
    median_ml, largest_ml = {
        "putamen": (16, 90),
        "thalamus": (6, 30),
        "lobe": (13, 110),
        "cerebellum": (9, 35),
        "pons": (3, 9),
        "contusion": (12, 60),
    }[str(site)]
    volume_ml = float(np.clip(rng.lognormal(np.log(median_ml / repeats**1.5), 1.15), 0.06, largest_ml))
    if site == "putamen":
        center = (side * rng.normal(26, 3), rng.normal(-4, 6), rng.normal(1, 5))
    elif site == "thalamus":
        center = (side * rng.normal(12, 2), rng.normal(9, 3), rng.normal(2, 4))
    elif site == "cerebellum":
        center = (side * rng.uniform(4, 32), rng.uniform(40, 62), rng.uniform(-50, -30))
    elif site == "contusion":
        # Where the brain strikes the rough floor: frontal and temporal poles, the temporal convexity.
        center = (
            (side * rng.uniform(8, 30), rng.uniform(-70, -52), rng.uniform(-16, 12)),
            (side * rng.uniform(34, 52), rng.uniform(-30, 12), rng.uniform(-30, -8)),
            (side * rng.uniform(46, 56), rng.uniform(-25, 40), rng.uniform(-15, 25)),
        )[int(rng.integers(3))]
    elif site == "pons":
        center = (rng.normal(0, 3), rng.normal(11, 2), rng.normal(-36, 4))
    else:
        direction = rng.normal(0, 1, 3) * (1, 1.1, 0.8) + (0, 0, 0.25)
        direction /= np.linalg.norm(direction)
        far = rng.uniform(0.45, 0.85) * np.array([62, 80, 66 if direction[2] > 0 else 34])
        center = tuple(direction * far)
        center = (center[0] + 6 * np.sign(center[0]), center[1], center[2])
    radius = 10 * (3 * volume_ml / (4 * np.pi)) ** (1 / 3)
    stretch = np.exp(rng.normal(0, 0.22, 3)) * ((0.85, 1.2, 1.0) if site == "putamen" else (1, 1, 1))
    stretch /= np.prod(stretch) ** (1 / 3)
    rough = radius * rng.choice([rng.uniform(0, 0.12), rng.uniform(0.12, 0.45)])
    level = float(rng.uniform(-0.3, 0.4) * radius) if radius > 12 and rng.random() < 0.06 else None
    return Clot("IPH", str(site), center, tuple(radius * stretch), rng.normal(57, 6.5), float(rough), level)


def _plan_ivh(rng: np.random.Generator, repeats: int) -> Clot:
    kind = str(rng.choice(["dependent", "cast", "one-sided", "patchy"], p=[0.44, 0.26, 0.17, 0.13]))
    hu = rng.normal(61, 6) if kind in ("cast", "one-sided") else rng.normal(49, 6)
    level = rng.uniform(12, 42)
    return Clot("IVH", kind, (rng.choice([-1.0, 1.0]), level, 0.0), (0.0, 0.0, 0.0), hu, rng.uniform(0, 1))


def _plan_sah(rng: np.random.Generator, repeats: int) -> Clot:
    kind = str(rng.choice(["cisternal", "convexity", "sylvian"], p=[0.4, 0.4, 0.2]))
    hu = rng.normal(54, 6)
    if kind == "cisternal":
        return Clot("SAH", kind, (rng.normal(0, 6), rng.normal(-10, 8), -24.0), (rng.uniform(26, 62),) * 3, hu, 0.35)
    if kind == "sylvian":
        center = (rng.choice([-1, 1]) * 40.0, rng.normal(-6, 8), rng.normal(0, 5))
        return Clot("SAH", kind, center, (rng.uniform(20, 40),) * 3, hu, 0.35)
    direction = rng.normal(0, 1, 3) * (1, 1, 0.7) + (0, 0, 0.6)
    center = tuple(direction / np.linalg.norm(direction) * (60, 74, 64))
    return Clot("SAH", kind, center, (rng.uniform(14, 42),) * 3, hu, 0.35)


def _side_direction(rng: np.random.Generator, low: float, high: float) -> tuple[float, float, float]:
    azimuth, elevation = rng.uniform(-1.05, 1.05), rng.uniform(low, high)
    side = rng.choice([-1.0, 1.0])
    flat = np.cos(elevation)
    return side * flat * np.cos(azimuth), flat * np.sin(azimuth), np.sin(elevation)


def _plan_sdh(rng: np.random.Generator, repeats: int) -> Clot:
    kind = str(rng.choice(["acute", "mixed", HIDDEN_SUBDURAL, "chronic", "falx"], p=[0.21, 0.30, 0.03, 0.38, 0.08]))
    hu = {
        "acute": rng.normal(54, 6),
        "mixed": rng.normal(37, 4),
        HIDDEN_SUBDURAL: rng.normal(36, 4),
        "chronic": rng.uniform(6, 21),
        "falx": rng.normal(56, 5),
    }[kind]
    thickness = float(np.clip(rng.lognormal(np.log(6.5), 0.5), 3.5, 22))
    if kind == "chronic":
        thickness = min(1.25 * thickness, 24.0)
    if kind == "falx":
        thickness = rng.uniform(2, 6)
    elif (16 < hu < 46 or kind == "mixed") and kind != HIDDEN_SUBDURAL:
        # A thin film as dense as the brain beside it has no border that anyone could see.
        thickness = max(thickness, 6.0 + 2.0 * float(rng.random()))
    size = (rng.uniform(38, 90), rng.uniform(28, 62), thickness)
    return Clot("SDH", kind, _side_direction(rng, 0.05, 0.75), size, hu, 0.25)


def _plan_edh(rng: np.random.Generator, repeats: int) -> Clot:
    thickness = float(np.clip(rng.lognormal(np.log(9), 0.5), 3.5, 28))
    along = float(np.clip(thickness * rng.uniform(1.2, 2.2) + 6, 11, 46))
    kind = str(rng.choice(["plain", "swirl"], p=[0.7, 0.3]))
    return Clot(
        "EDH",
        kind,
        _side_direction(rng, -0.35, 0.6),
        (along, along * rng.uniform(0.7, 1.0), thickness),
        rng.normal(52, 6),
        0.06,
    )


def push_brain(
    grid: HeadGrid, clots: list[Clot], coordinates: tuple[Field, Field, Field], depth_mm: Field
) -> tuple[Field, Field, Field]:
    """Anatomical coordinates of the brain after clots have pushed it: away from an IPH, to the far side of SDH/EDH."""
    x, y, z = coordinates
    for clot in clots:
        if clot.subtype == "IPH":
            radius = float(np.cbrt(np.prod(clot.size_mm)))
            if radius < 9:
                continue
            cx, cy, cz = clot.center_mm
            dx, dy, dz = x - cx, y - cy, z - cz
            squared = dx * dx + dy * dy + dz * dz
            pull = np.float32(0.45) * np.exp(-squared / np.float32((1.7 * radius) ** 2))
            pull *= smoothstep(depth_mm, 0, 12)
            x, y, z = x - dx * pull, y - dy * pull, z - dz * pull
        elif clot.subtype in ("SDH", "EDH") and clot.kind != "falx":
            ux, uy, uz = clot.center_mm
            shift = min(clot.size_mm[2] * (0.55 if clot.subtype == "SDH" else 0.45), 12.0)
            near = np.exp(-(((x - 50 * ux) / 75) ** 2 + ((y - 60 * uy) / 65) ** 2 + ((z - 50 * uz) / 55) ** 2))
            near *= np.float32(shift) * smoothstep(depth_mm, 0, 15)
            x, y = x + near * np.float32(ux), y + near * np.float32(0.6 * uy)
    return x, y, z


def blood_in_csf(
    grid: HeadGrid, clots: list[Clot], coordinates: tuple[Field, Field, Field], rough: Field
) -> NDArray[np.float32] | None:
    """0..1 how bloody the subarachnoid space is at each point; None where no SAH was planned."""
    field: Field | None = None
    x, y, z = coordinates
    for clot in clots:
        if clot.subtype != "SAH":
            continue
        cx, cy, cz = clot.center_mm
        stretch = 1.35 if clot.kind == "cisternal" else 1.0
        distance = np.sqrt((x - cx) ** 2 + (y - cy) ** 2 + ((z - cz) * stretch) ** 2) / np.float32(clot.size_mm[0])
        own = smoothstep(distance + clot.roughness * rough, 1.05, 0.75)
        field = own if field is None else np.maximum(field, own)
    return field
