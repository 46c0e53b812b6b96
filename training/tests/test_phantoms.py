from __future__ import annotations

import numpy as np
import pytest
from hemocam_training.phantoms import Phantom, ct_noise, make_phantom
from hemocam_training.phantoms.plan import plan_clots

from HemoCAMLib.subtypes import SUBTYPE_NAMES, subtype_named

SIZE = 128

#: Published medians (HU) and how far phantoms may lie from them; facts of real scans.
PUBLISHED_HU = {"IPH": (56, 9), "IVH": (51, 11), "SAH": (48, 10), "EDH": (55, 10)}


@pytest.fixture(scope="module")
def bleeding() -> dict[str, list[Phantom]]:
    """Three phantoms of each subtype alone."""
    return {
        name: [make_phantom(seed, SIZE, SIZE, (name,), noise=False) for seed in range(60, 63)] for name in SUBTYPE_NAMES
    }


def test_the_same_seed_gives_the_same_scan_and_another_gives_another() -> None:
    first, again, other = (make_phantom(seed, 64, 64) for seed in (5, 5, 6))
    assert np.array_equal(first.hu, again.hu)
    assert np.array_equal(first.labels, again.labels)
    assert first.hu.shape != other.hu.shape or not np.array_equal(first.hu, other.hu)


def test_only_what_was_asked_for_bleeds(bleeding: dict[str, list[Phantom]]) -> None:
    for name, phantoms in bleeding.items():
        label = subtype_named(name).label
        assert {int(v) for p in phantoms for v in np.unique(p.labels)} == {0, label}
    assert make_phantom(7, 64, 64, ()).labels.max() == 0


def test_slice_labels_and_volumes_follow_from_the_masks(bleeding: dict[str, list[Phantom]]) -> None:
    for name, phantoms in bleeding.items():
        for phantom in phantoms:
            label = subtype_named(name).label
            shown = (phantom.labels == label).any(axis=(1, 2))
            assert np.array_equal(phantom.slice_labels[:, label], shown)
            assert np.array_equal(phantom.slice_labels[:, 0], shown)
            row_mm, column_mm = phantom.geometry.pixel_spacing_mm
            counts = (phantom.labels == label).sum(axis=(1, 2))
            expected = float((counts * phantom.geometry.extents_mm).sum()) * row_mm * column_mm / 1000
            assert phantom.volume_ml[name] == pytest.approx(expected, rel=1e-12)


def test_blood_has_the_published_hounsfield_units(bleeding: dict[str, list[Phantom]]) -> None:
    for name, (median, tolerance) in PUBLISHED_HU.items():
        # A lesion each, whatever its size: three large ones would decide the pixels of all.
        more = [make_phantom(seed, SIZE, SIZE, (name,), noise=False) for seed in range(63, 67)]
        medians = [np.median(p.noise_free[p.labels > 0]) for p in (*bleeding[name], *more)]
        assert abs(np.median(medians) - median) < tolerance, (name, medians)


def test_subdural_blood_is_of_every_age_like_the_published() -> None:
    # Published: median 31, 5th to 95th percentile 7 to 82; three rendered phantoms would be three ages only.
    planned = [clot.hu for seed in range(400) for clot in plan_clots(np.random.default_rng(seed), ("SDH",))]
    assert abs(np.median(planned) - 31) < 10
    assert np.percentile(planned, 5) < 22
    assert np.percentile(planned, 95) > 58


def test_rendered_subdural_blood_is_neither_water_nor_bone(bleeding: dict[str, list[Phantom]]) -> None:
    for phantom in bleeding["SDH"]:
        values = phantom.noise_free[phantom.labels > 0]
        assert 10 < np.median(values) < 75


def test_brain_and_bone_have_the_published_hounsfield_units() -> None:
    medians = []
    for seed in (70, 71, 72, 73):
        phantom = make_phantom(seed, SIZE, SIZE, ())
        middle = phantom.hu[int(phantom.geometry.slice_count * 0.6)].astype(float)
        centre = middle[SIZE // 3 : 2 * SIZE // 3, SIZE // 3 : 2 * SIZE // 3]
        brain = centre[(centre > 15) & (centre < 60)]
        medians.append(np.median(brain))
        assert 600 < np.percentile(middle[middle > 300], 90) < 1600
    assert 25 < np.median(medians) < 34


def test_edges_are_partial_volumed(bleeding: dict[str, list[Phantom]]) -> None:
    phantom = max(bleeding["EDH"], key=lambda p: p.volume_ml["EDH"])
    core = np.percentile(phantom.noise_free[phantom.labels > 0], 60)
    rim = phantom.noise_free[phantom.labels > 0] < core - 8
    assert rim.mean() > 0.03


def test_a_small_rendering_is_the_large_one_averaged() -> None:
    large, small = make_phantom(9, 512, 512, ("IPH",), noise=False), make_phantom(9, 256, 256, ("IPH",), noise=False)
    averaged = large.noise_free.astype(np.float32).reshape(-1, 256, 2, 256, 2).mean(axis=(2, 4))
    soft = (averaged > 0) & (averaged < 80) & (small.noise_free > 0) & (small.noise_free < 80)
    difference = np.abs(averaged - small.noise_free)[soft]
    assert np.median(difference) < 1.0
    assert small.volume_ml["IPH"] == pytest.approx(large.volume_ml["IPH"], rel=0.03)


def test_noise_has_the_strength_asked_for_and_averages_down() -> None:
    full = ct_noise(np.random.default_rng(1), 1, 512, 512, 3.0, 0.7)[0]
    half = ct_noise(np.random.default_rng(1), 1, 256, 256, 3.0, 0.7)[0]
    assert full.std() == pytest.approx(3.0, rel=0.03)
    assert np.allclose(half, full.reshape(256, 2, 256, 2).mean(axis=(1, 3)), atol=1e-5)


def test_geometries_vary_and_tilt_stays_within_the_gantry() -> None:
    phantoms = [make_phantom(seed, 32, 32, (), noise=False) for seed in range(80, 86)]
    tilts = [abs(p.geometry.tilt_deg) for p in phantoms]
    assert max(tilts) <= 29.01
    assert any(t > 5 for t in tilts)
    for phantom in phantoms:
        assert 24 <= phantom.geometry.slice_count <= 40
        assert 2.0 <= phantom.geometry.extents_mm.min() <= phantom.geometry.extents_mm.max() <= 5.6
        assert np.all(np.diff(phantom.geometry.offsets_mm) > 0)
