from __future__ import annotations

import numpy as np
import pytest
from dataset_writers import patient_head
from hemocam_training.datasets.fingerprint import (
    LENGTH,
    NEAR_SHARES,
    SAME_HU,
    fingerprint_distance,
    matching_slices,
    slice_fingerprint,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

Image = NDArray[np.int16]


@pytest.fixture(scope="module")
def image() -> Image:
    return patient_head(1, bleeding=(4,))[4]


def assert_same(one: Image, other: Image, spacing_mm: tuple[float, float] = (1.0, 1.0)) -> None:
    near, difference = fingerprint_distance(slice_fingerprint(one), slice_fingerprint(other, spacing_mm))
    assert near <= NEAR_SHARES
    assert difference <= SAME_HU


@given(turns=st.integers(0, 3), mirrored=st.booleans(), noise=st.integers(0, 1), seed=st.integers(0, 99))
@settings(deadline=None, max_examples=30)
def test_turns_flips_and_rounding_leave_a_slice_recognisable(turns: int, mirrored: bool, noise: int, seed: int) -> None:
    image = patient_head(1, bleeding=(4,))[4]
    rounding = np.random.default_rng(seed).integers(-noise, noise + 1, image.shape)
    turned = np.rot90(image + rounding, turns)
    assert_same(image, turned[:, ::-1] if mirrored else turned)


def test_another_padding_and_a_wider_field_change_nothing(image: Image) -> None:
    padded = np.pad(image, ((10, 3), (5, 20)), constant_values=-3024)
    assert slice_fingerprint(padded) == slice_fingerprint(np.pad(image, ((10, 3), (5, 20)), constant_values=-1024))
    assert_same(image, padded)


def test_a_finer_pixel_size_changes_little(image: Image) -> None:
    assert_same(image, np.kron(image, np.ones((2, 2), np.int16)))


def test_pixels_that_are_not_square_are_taken_for_what_they_are(image: Image) -> None:
    assert_same(image, np.repeat(image, 2, axis=0), (0.5, 1.0))
    apart = fingerprint_distance(slice_fingerprint(image), slice_fingerprint(np.repeat(image, 2, axis=0)))
    assert apart[1] > SAME_HU


def test_patients_are_told_apart() -> None:
    heads = [patient_head(seed) for seed in range(12)]
    prints = [slice_fingerprint(image) for head in heads for image in head]
    matches = {(one, other) for one, other, _ in matching_slices(prints, prints)}
    assert {(index, index) for index in range(len(prints))} <= matches
    assert all(one // 9 == other // 9 for one, other in matches)


def test_matches_are_found_among_turned_slices_of_many() -> None:
    heads = [patient_head(seed) for seed in range(12)]
    known = [slice_fingerprint(image) for head in heads for image in head]
    asked = [slice_fingerprint(np.rot90(image)) for image in heads[7]]
    found = {(one, other) for one, other, _ in matching_slices(known, [b"", *asked])}
    assert {(7 * 9 + index, index + 1) for index in range(9)} <= found
    assert all(one // 9 == 7 and other > 0 for one, other in found)


def test_a_slice_without_tissue_has_no_fingerprint(image: Image) -> None:
    assert slice_fingerprint(np.full((64, 64), -1000)) == b""
    assert slice_fingerprint(np.zeros((64, 64)), modality="MR") == b""
    assert len(slice_fingerprint(image)) == LENGTH
    assert not list(matching_slices([b""], [b""]))


def test_intensities_of_mr_are_compared_on_their_own_scale(image: Image) -> None:
    bright = np.clip(image, -100, 100) + 100
    one, other = slice_fingerprint(bright * 3, modality="MR"), slice_fingerprint(bright.T * 3, modality="MR")
    assert fingerprint_distance(one, other)[1] <= SAME_HU
