"""Phantoms against published figures of real scans; every tolerance is stated beside its figure."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
from hemocam_training.phantoms import Phantom, make_phantom
from hemocam_training.phantoms.brain import random_look
from hemocam_training.phantoms.plan import choose_subtypes, phantom_generator, plan_clots
from numpy.typing import NDArray
from scipy import ndimage

from HemoCAMLib.mask import find_brain
from HemoCAMLib.subtypes import SUBTYPES

SIZE, FULL_SIZE = 128, 512

#: Median, 5th and 95th percentile of hemorrhage (HU), and how far phantoms may lie from the median and from the
#: other two; subdurals are of every age, and thirty scans hold few of each.
PUBLISHED_HU = {
    "IPH": ((56, 34, 72), 8, 14),
    "IVH": ((51, 26, 71), 10, 16),
    "SAH": ((48, 33, 65), 9, 14),
    "SDH": ((31, 7, 82), 20, 20),
    "EDH": ((55, 26, 74), 9, 20),
}

#: Median labelled area of a bleeding slice, pixels at 512 × 512, within the factor given: the published slices were
#: chosen for their bleeding, those of a phantom are all it has.
PUBLISHED_AREAS_PX = {"IPH": (3317, 4), "IVH": (1302, 4), "SAH": (660, 3), "SDH": (3481, 4), "EDH": (629, 3)}

#: Volume of all bleeding in a scan, mL: median, quartiles, largest, and the factor that phantoms may be off: the
#: published areas are of larger bleeds than the published volumes, and phantoms stand between.
PUBLISHED_VOLUMES_ML, VOLUME_FACTOR = (15.0, 4.5, 42.7, 260.0), 2.5


def _volumes_ml(phantoms: Iterable[Phantom]) -> NDArray[np.float64]:
    volumes = np.array([sum(phantom.volume_ml.values()) for phantom in phantoms])
    return volumes[volumes > 0]


@pytest.mark.slow
def test_density_area_and_volume_of_bleeding_are_distributed_as_published(shared_data: Path) -> None:
    templates = shared_data / "ct_head_templates"
    phantoms = [make_phantom(seed, SIZE, SIZE, noise=False, templates=templates) for seed in range(6000, 6060)]
    for subtype in SUBTYPES:
        (median, low, high), near, far = PUBLISHED_HU[subtype.name]
        values = np.concatenate([p.noise_free[p.labels == subtype.label] for p in phantoms])
        assert abs(np.median(values) - median) < near, subtype.name
        assert abs(np.percentile(values, 5) - low) < far, subtype.name
        assert abs(np.percentile(values, 95) - high) < far, subtype.name
        counts = np.concatenate([(p.labels == subtype.label).sum(axis=(1, 2)) for p in phantoms])
        area, factor = PUBLISHED_AREAS_PX[subtype.name]
        found = np.median(counts[counts > 0]) * (FULL_SIZE / SIZE) ** 2
        assert area / factor < found < area * factor, subtype.name
    volumes = _volumes_ml(phantoms)
    middle, lower, upper, largest = PUBLISHED_VOLUMES_ML
    for published, share in ((middle, 50), (lower, 25), (upper, 75)):
        assert published / VOLUME_FACTOR < np.percentile(volumes, share) < published * VOLUME_FACTOR, share
    assert volumes.max() < 1.2 * largest


def test_planned_densities_lie_around_the_published_medians() -> None:
    # Beam hardening adds to what is planned, partial volume takes from it; subdurals are judged where they are drawn.
    for name, ((median, _, _), _, _) in PUBLISHED_HU.items():
        if name != "SDH":
            planned = [c.hu for seed in range(300) for c in plan_clots(np.random.default_rng(seed), (name,))]
            assert abs(np.median(planned) - median) < 8, name


def test_planned_hematomas_have_the_published_spread_of_volumes() -> None:
    volumes = []
    for seed in range(400):
        clots = plan_clots(np.random.default_rng(seed), ("IPH",))
        volumes.append(sum(4 / 3 * np.pi * np.prod(clot.size_mm) / 1000 for clot in clots))
    assert 7.5 < np.median(volumes) < 30
    assert np.percentile(volumes, 10) < 4.5
    assert 42.7 < np.percentile(volumes, 95) < 260


def test_subdurals_as_dense_as_brain_are_rare() -> None:
    clots = [c for seed in range(2000) for c in _planned(seed) if c.subtype == "SDH"]
    hidden = [clot for clot in clots if clot.kind == "subacute"]
    assert 0 < len(hidden) < 0.06 * len(clots)
    assert not [clot for clot in clots if clot.kind not in ("subacute", "falx") and clot.size_mm[2] < 3.5]


def _planned(seed: int) -> list:  # type: ignore[type-arg]
    rng = phantom_generator(seed)
    return plan_clots(rng, choose_subtypes(rng))


def test_grey_matter_is_denser_than_white_by_the_published_gap() -> None:
    gaps = [random_look(np.random.default_rng(seed)).grey_gap_hu for seed in range(300)]
    # Published 5.5 as read off slices; partial volume takes a fifth of what is drawn.
    assert 4.5 < 0.8 * np.median(gaps) < 6.5


def test_noise_in_the_brain_has_the_published_strength() -> None:
    for seed in (31, 32):
        phantom = make_phantom(seed, SIZE * 2, SIZE * 2, ())
        brain = _deep_brain(phantom)
        difference = (phantom.hu.astype(np.float32) - phantom.noise_free)[brain]
        assert 2.0 <= phantom.noise_sd_hu <= 4.4
        # Averaging 2 × 2 pixels of correlated noise leaves 0.6 to 0.9 of it.
        assert 0.55 * phantom.noise_sd_hu < difference.std() < 0.95 * phantom.noise_sd_hu


def test_brain_from_templates_has_the_published_percentiles_and_brightens_towards_bone(shared_data: Path) -> None:
    # Real slices: 10th, 50th and 90th percentile 20-25, 29-32, 37-40 HU; 7 to 15 HU more beside the vault.
    templates = shared_data / "ct_head_templates"
    middles, rises = [], []
    for seed in (40, 41, 42, 44):
        phantom = make_phantom(seed, SIZE, SIZE, (), templates=templates)
        brain = np.stack([find_brain(phantom.hu, phantom.geometry).slice(k, phantom.hu[k]) for k in _middle(phantom)])
        hu = phantom.noise_free[_middle(phantom)]
        depth = np.stack([ndimage.distance_transform_edt(s) for s in brain]) * phantom.geometry.pixel_spacing_mm[0]
        middles.append(np.percentile(hu[depth > 3], (10, 50, 90)))
        rises.append(np.median(hu[(depth > 3) & (depth < 8)]) - np.median(hu[depth > 30]))
    low, middle, high = np.median(middles, axis=0)
    assert 15 < low < 28
    assert 27 < middle < 35
    assert 33 < high < 44
    assert 2 < np.median(rises) < 16


def _middle(phantom: Phantom) -> list[int]:
    count = len(phantom.hu)
    return [int(0.5 * count), int(0.6 * count), int(0.7 * count)]


def _deep_brain(phantom: Phantom) -> NDArray[np.bool_]:
    soft = (phantom.noise_free > 15) & (phantom.noise_free < 45)
    return np.stack([ndimage.binary_erosion(plane, iterations=4) for plane in soft])
