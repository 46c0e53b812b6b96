"""Refinement of a slice: what every method must keep to, and what each gains on known shapes."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from HemoCAMLib.mask.refine import Outcome, RefinementSettings, refine_slice
from HemoCAMLib.mask.refine.settings import REFINEMENT_NAMES

SPACING_MM = (0.5, 0.5)
SHAPE = (120, 140)
BY_IMAGE = [name for name in REFINEMENT_NAMES if name != "map-only"]


def disc(row: float, column: float, radius_mm: float) -> np.ndarray:
    rows, columns = np.mgrid[: SHAPE[0], : SHAPE[1]] * 0.5
    return np.hypot(rows - row * 0.5, columns - column * 0.5) <= radius_mm


@pytest.fixture
def brain() -> np.ndarray:
    return disc(60, 70, 28)


def noisy(blood: np.ndarray, blood_hu: float, brain_hu: float = 30.0, sd_hu: float = 3.0) -> np.ndarray:
    noise = np.random.default_rng(3).normal(0, sd_hu, SHAPE)
    return np.rint(np.where(blood, blood_hu, brain_hu) + noise).astype(np.int16)


def dice(one: np.ndarray, other: np.ndarray) -> float:
    return 2 * (one & other).sum() / (one.sum() + other.sum())


@pytest.mark.parametrize("name", BY_IMAGE)
def test_a_coarse_region_takes_the_shape_of_the_blood(name: str, brain: np.ndarray) -> None:
    blood = disc(60, 70, 10)
    labels = disc(64, 74, 9).astype(np.uint8)
    refined = refine_slice(labels, noisy(blood, 60), brain, SPACING_MM, RefinementSettings(name))
    assert dice(labels > 0, blood) < 0.82
    assert dice(refined.labels == 1, blood) > 0.95
    assert refined.outcomes == (Outcome.REFINED, *[Outcome.NONE] * 4)


@pytest.mark.parametrize("name", BY_IMAGE)
def test_growth_ends_at_the_reach(name: str, brain: np.ndarray) -> None:
    labels = disc(60, 50, 3).astype(np.uint8)
    blood = np.abs(np.mgrid[: SHAPE[0], : SHAPE[1]][0] - 60) < 10
    refined = refine_slice(labels, noisy(blood, 65), brain, SPACING_MM, RefinementSettings(name, reach_mm=6))
    columns = np.flatnonzero(refined.labels.any(axis=0))
    assert columns[0] >= 50 - 18 - 1
    assert columns[-1] <= 50 + 18 + 1
    assert (refined.labels > 0).sum() > (labels > 0).sum()


@pytest.mark.parametrize("name", ["hysteresis", "random-walker"])
def test_a_region_without_blood_is_cleared_or_kept_as_asked_and_either_is_recorded(
    name: str, brain: np.ndarray
) -> None:
    blood, false = disc(60, 90, 6), disc(60, 40, 6)
    labels = (blood | false).astype(np.uint8)
    hu = noisy(blood, 60)
    cleared = refine_slice(labels, hu, brain, SPACING_MM, RefinementSettings(name, where_empty="clear"))
    kept = refine_slice(labels, hu, brain, SPACING_MM, RefinementSettings(name, where_empty="keep"))
    assert not cleared.labels[false].any()
    assert cleared.outcomes[0] == Outcome.REFINED | Outcome.CLEARED
    assert kept.labels[false].all()
    assert kept.outcomes[0] == Outcome.REFINED | Outcome.KEPT
    assert np.array_equal(cleared.labels[~false], kept.labels[~false])
    only_sdh = RefinementSettings(name, where_empty=("clear", "clear", "clear", "keep", "clear"))
    assert np.array_equal(refine_slice(labels, hu, brain, SPACING_MM, only_sdh).labels, cleared.labels)
    as_sdh = refine_slice(labels * np.uint8(4), hu, brain, SPACING_MM, only_sdh)
    assert np.array_equal(as_sdh.labels > 0, kept.labels > 0)


def test_isodense_blood_keeps_the_maps_outline_under_a_mixture_and_says_so(brain: np.ndarray) -> None:
    blood = disc(60, 70, 10)
    labels = (disc(64, 74, 9) * 4).astype(np.uint8)
    refined = refine_slice(labels, noisy(blood, 33), brain, SPACING_MM, RefinementSettings("hu-mixture"))
    np.testing.assert_array_equal(refined.labels, labels)
    assert refined.outcomes[3] == Outcome.NOT_SEPARATED


def test_a_mixture_finds_anemic_blood_that_fixed_limits_miss(brain: np.ndarray) -> None:
    blood = disc(60, 70, 10)
    labels = disc(64, 74, 9).astype(np.uint8)
    hu = noisy(blood, 42, brain_hu=26, sd_hu=2)
    fixed = refine_slice(labels, hu, brain, SPACING_MM, RefinementSettings("hysteresis", lowest_hu=46, seed_hu=46))
    mixture = refine_slice(labels, hu, brain, SPACING_MM, RefinementSettings("hu-mixture"))
    assert dice(fixed.labels > 0, blood) < 0.1
    assert dice(mixture.labels > 0, blood) > 0.95


def test_a_slice_that_reads_high_raises_the_limits(brain: np.ndarray) -> None:
    blood = disc(60, 70, 8)
    hu = noisy(blood, 75, brain_hu=46)
    labels = disc(62, 72, 8).astype(np.uint8)
    following = refine_slice(labels, hu, brain, SPACING_MM, RefinementSettings(above_brain_hu=12))
    fixed = refine_slice(labels, hu, brain, SPACING_MM, RefinementSettings(above_brain_hu=0))
    assert dice(following.labels > 0, blood) > 0.95
    assert (fixed.labels > 0).sum() > 2 * blood.sum()


def test_pixels_along_the_skull_go_for_the_subtypes_that_do_not_lie_there() -> None:
    brain = disc(60, 70, 28)
    labels = np.where(disc(60, 20, 6) & brain, 1, 0).astype(np.uint8)
    labels[np.where(disc(60, 120, 6) & brain, True, False)] = 4
    hu = noisy(labels > 0, 60)
    settings_ = RefinementSettings("map-only", skull_mm=(2.0, 0, 0, 0, 0))
    refined = refine_slice(labels, hu, brain, SPACING_MM, settings_).labels
    from_edge_mm = 28 - np.hypot(*(np.mgrid[: SHAPE[0], : SHAPE[1]] * 0.5 - np.array([30, 35])[:, None, None]))
    assert refined[(labels == 1) & (from_edge_mm > 2.6)].all()
    assert not refined[(labels == 1) & (from_edge_mm < 1.4)].any()
    np.testing.assert_array_equal(refined == 4, labels == 4)


def test_a_pixel_that_two_subtypes_claim_goes_to_the_nearer_region(brain: np.ndarray) -> None:
    blood = np.zeros(SHAPE, bool)
    blood[55:66, 40:101] = True
    labels = np.zeros(SHAPE, np.uint8)
    labels[55:66, 40:56] = 1
    labels[55:66, 85:101] = 3
    refined = refine_slice(labels, noisy(blood, 65), brain, SPACING_MM, RefinementSettings(reach_mm=20)).labels
    assert (refined[60, 42:70] == 1).all()
    assert (refined[60, 71:99] == 3).all()


def test_bone_does_not_leak_into_the_brain() -> None:
    brain = disc(60, 70, 28)
    hu = noisy(np.zeros(SHAPE, bool), 0)
    hu[~brain] = 1000
    labels = (brain & disc(60, 18, 8)).astype(np.uint8)
    refined = refine_slice(labels, hu, brain, SPACING_MM, RefinementSettings(where_empty="clear"))
    assert not refined.labels.any()
    assert refined.outcomes[0] == Outcome.CLEARED


@settings(max_examples=60, deadline=None)
@given(
    name=st.sampled_from(REFINEMENT_NAMES),
    seed=st.integers(0, 2**32 - 1),
    reach_mm=st.sampled_from([0.0, 1.0, 30.0]),
    keep=st.sampled_from(["keep", "clear"]),
    skull_mm=st.sampled_from([0.0, 1.5]),
    smoothing_mm=st.sampled_from([0.0, 0.7]),
)
def test_only_labels_of_the_map_inside_the_brain_and_the_same_each_time(
    name: str, seed: int, reach_mm: float, keep: str, skull_mm: float, smoothing_mm: float
) -> None:
    rng = np.random.default_rng(seed)
    shape = tuple(rng.integers(1, 40, 2))
    coarse = rng.integers(-1100, 3000, shape) if seed % 3 == 0 else rng.normal(rng.uniform(20, 60), 15, shape)
    hu, brain = coarse.astype(np.int16), rng.random(shape) < rng.uniform(0, 1.2)
    labels = (rng.integers(0, 6, shape) * (rng.random(shape) < rng.random())).astype(np.uint8)
    before = hu.copy(), brain.copy(), labels.copy()
    chosen = RefinementSettings(
        name, reach_mm=reach_mm, where_empty=keep, skull_mm=(skull_mm,) * 5, smoothing_mm=smoothing_mm
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        once = refine_slice(labels, hu, brain, (0.5, 0.7), chosen)
        again = refine_slice(labels, hu, brain, (0.5, 0.7), chosen)
    assert once.labels.dtype == np.uint8
    assert once.labels.shape == shape
    assert set(np.unique(once.labels)) <= set(np.unique(labels)) | {0}
    assert not once.labels[~brain].any()
    np.testing.assert_array_equal(once.labels, again.labels)
    assert once.outcomes == again.outcomes
    for array, held in zip((hu, brain, labels), before, strict=True):
        np.testing.assert_array_equal(array, held)
    for subtype, outcome in enumerate(once.outcomes, start=1):
        called = bool((labels * brain == subtype).any())
        assert bool(outcome) == called
        if called and not (once.labels == subtype).any() and keep == "keep":
            # Only a nearer subtype may take every pixel of one that is kept.
            assert (once.labels > 0).any()


def test_a_slice_without_labels_stays_empty(brain: np.ndarray) -> None:
    refined = refine_slice(np.zeros(SHAPE, np.uint8), noisy(brain, 60), brain, SPACING_MM, RefinementSettings())
    assert not refined.labels.any()
    assert refined.outcomes == (Outcome.NONE,) * 5
