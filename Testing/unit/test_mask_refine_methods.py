"""The single methods against closed forms and other libraries."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage
from skimage.filters import apply_hysteresis_threshold

from HemoCAMLib.ct.geometry import SliceGeometry
from HemoCAMLib.mask import ComponentAccumulator
from HemoCAMLib.mask.refine.candidate import Candidate, brain_median_hu, smoothed_hu
from HemoCAMLib.mask.refine.hu_mixture import fit_mixture
from HemoCAMLib.mask.refine.hysteresis import grow
from HemoCAMLib.mask.refine.random_walker import walk
from HemoCAMLib.mask.refine.skull_distance import depth_mm

SPACING_MM = (1.0, 1.0)


def whole_candidate(smooth_hu: np.ndarray, region: np.ndarray | None = None) -> Candidate:
    region = np.ones(smooth_hu.shape, bool) if region is None else region
    distance_mm = ndimage.distance_transform_edt(~region).astype(np.float32)
    return Candidate(region, distance_mm, np.ones(region.shape, bool), smooth_hu.astype(np.float32), SPACING_MM)


@pytest.mark.parametrize("seed", range(5))
def test_hysteresis_equals_scikit_images_where_the_whole_zone_may_seed(seed: int) -> None:
    hu = ndimage.gaussian_filter(np.random.default_rng(seed).normal(45, 40, (60, 70)), 2)
    np.testing.assert_array_equal(grow(whole_candidate(hu), 52, 45, 1000), apply_hysteresis_threshold_8(hu, 45, 52))


def apply_hysteresis_threshold_8(hu: np.ndarray, low: float, high: float) -> np.ndarray:
    """scikit-image's hysteresis joins by faces; corners are joined by asking it at each connected part."""
    by_faces = apply_hysteresis_threshold(hu, low, high)
    parts, _ = ndimage.label(hu > low, structure=np.ones((3, 3)))
    return np.isin(parts, np.unique(parts[by_faces])) & (hu > low)


def test_nothing_grows_without_a_seed_in_the_maps_region() -> None:
    hu = np.full((30, 30), 30.0)
    hu[5:10, 5:10] = 70
    region = np.zeros((30, 30), bool)
    region[20:25, 20:25] = True
    assert not grow(whole_candidate(hu, region), 50, 42, 100).any()


@pytest.mark.parametrize(("blood_hu", "share"), [(45.0, 0.3), (60.0, 0.1), (60.0, 0.6)])
def test_a_mixture_recovers_what_it_was_drawn_from(blood_hu: float, share: float) -> None:
    rng = np.random.default_rng(1)
    blood = round(20000 * share)
    hu = np.concatenate([rng.normal(28, 3, 20000 - blood), rng.normal(blood_hu, 3, blood)])
    fitted = fit_mixture(hu, 24, 50)
    assert fitted.brain_hu == pytest.approx(28, abs=0.3)
    assert fitted.blood_hu == pytest.approx(blood_hu, abs=0.3)
    assert fitted.sd_hu == pytest.approx(3, abs=0.15)
    assert fitted.blood_share == pytest.approx(share, abs=0.01)
    assert fitted.separates(8, 2)


def test_a_single_peak_does_not_separate() -> None:
    fitted = fit_mixture(np.random.default_rng(2).normal(32, 4, 20000), 28, 38)
    assert not fitted.separates(8, 2)


def test_a_walker_between_two_seeds_on_a_flat_image_stops_half_way() -> None:
    hu = np.full((1, 41), 44.0)
    hu[0, 0], hu[0, -1] = 60, 20
    region = np.zeros((1, 41), bool)
    region[0, 0] = True
    candidate = whole_candidate(hu, region)
    # On a line of equal links the chance to reach the left end first falls linearly.
    walked = walk(candidate, 50, 30, 100, 1000)
    np.testing.assert_array_equal(np.flatnonzero(walked[0]), np.arange(np.count_nonzero(walked)))
    assert abs(np.count_nonzero(walked) - 20) <= 2


def test_smoothing_inside_a_mask_sees_nothing_outside() -> None:
    rng = np.random.default_rng(4)
    hu = rng.integers(0, 80, (40, 50)).astype(np.int16)
    brain = np.zeros((40, 50), bool)
    brain[8:30, 10:44] = True
    bright = np.where(brain, hu, 2000).astype(np.int16)
    np.testing.assert_array_equal(smoothed_hu(hu, brain, (0.5, 0.5), 0.7), smoothed_hu(bright, brain, (0.5, 0.5), 0.7))
    everywhere = smoothed_hu(hu, np.ones_like(brain), (0.5, 0.5), 0.7)
    expected = ndimage.gaussian_filter(hu.astype(np.float64), 1.4, truncate=3.0)
    np.testing.assert_allclose(everywhere[10:-10, 10:-10], expected[10:-10, 10:-10], atol=1e-3)


def test_a_constant_stays_constant_under_smoothing_up_to_the_masks_edge() -> None:
    brain = np.random.default_rng(5).random((30, 30)) < 0.6
    np.testing.assert_allclose(
        smoothed_hu(np.full((30, 30), 40, np.int16), brain, (0.4, 0.6), 1.0)[brain], 40, rtol=1e-5
    )


def test_the_median_of_an_empty_brain_is_zero_and_of_a_large_one_close_to_all_pixels() -> None:
    hu = np.random.default_rng(6).normal(31, 6, (200, 200)).astype(np.int16)
    assert brain_median_hu(hu, np.zeros(hu.shape, bool)) == 0
    assert brain_median_hu(hu, np.ones(hu.shape, bool)) == pytest.approx(np.median(hu), abs=1)


def test_depth_is_measured_to_the_outer_edge_only() -> None:
    brain = np.zeros((21, 31), bool)
    brain[3:18, 5:26] = True
    brain[10, 15] = False
    depth = depth_mm(brain, (2.0, 1.0))
    assert depth[10, 15] == pytest.approx(11)
    assert depth[3, 15] == pytest.approx(2)
    assert depth[0, 0] == 0


def stack(offsets_mm: list[float]) -> SliceGeometry:
    positions = np.array(offsets_mm)[:, None] * np.array([0, 0, 1.0])
    return SliceGeometry(positions, np.eye(3)[0], np.eye(3)[1], (0.5, 0.5))


def kept_slices(offsets_mm: list[float], filled: dict[int, int], smallest_height: float) -> list[int]:
    """Which of the slices keep a square with the given edge in pixels."""
    accumulator = ComponentAccumulator(stack(offsets_mm), 0.0, smallest_height)
    volume = np.zeros((len(offsets_mm), 100, 100), np.uint8)
    for index, edge in filled.items():
        volume[index, :edge, :edge] = 2
    for index, labels in enumerate(volume):
        accumulator.add(index, labels)
    accumulator.finish()
    return [i for i, labels in enumerate(volume) if accumulator.filter(i, labels).any()]


def test_a_wide_lesion_on_one_thin_slice_is_flat_and_the_same_on_a_thick_one_is_not() -> None:
    # A square of 40 mm has the area of a circle of 45.1 mm; 30 % of that are 13.5 mm.
    thin, thick = [0.0, 5, 10, 15, 20], [0.0, 14, 28, 42, 56]
    assert kept_slices(thin, {2: 80}, 0.3) == []
    assert kept_slices(thick, {2: 80}, 0.3) == [2]
    assert kept_slices(thin, {2: 80}, 0.0) == [2]


def test_support_in_neighbouring_slices_counts_with_their_true_extents() -> None:
    assert kept_slices([0.0, 5, 10, 15, 20], {1: 80, 2: 10, 3: 4}, 0.3) == [1, 2, 3]
    assert kept_slices([0.0, 5, 10, 15, 20, 25], {1: 80, 3: 80}, 0.3) == []
    assert kept_slices([0.0, 2, 4, 6, 8, 10], {1: 80, 2: 10, 3: 4}, 0.3) == []


@pytest.mark.parametrize("offsets_mm", [[0.0], [0.0, 5.0]])
def test_a_scan_of_one_or_two_slices_keeps_its_lesions(offsets_mm: list[float]) -> None:
    assert kept_slices(offsets_mm, {0: 90}, 1.0) == [0]
