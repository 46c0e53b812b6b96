from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from dataset_writers import patient_head
from hemocam_training.datasets.fingerprint import (
    LENGTH,
    SAME_HU,
    fingerprint_distance,
    matching_slices,
    slice_fingerprint,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from HemoCAMLib.ct import read_head_ct

Image = NDArray[np.int16]


@pytest.fixture(scope="module")
def image() -> Image:
    return patient_head(1, bleeding=(4,))[4]


def assert_same(one: Image, other: Image, spacing_mm: tuple[float, float] = (1.0, 1.0)) -> None:
    assert fingerprint_distance(slice_fingerprint(one), slice_fingerprint(other, spacing_mm)) <= SAME_HU


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
    assert apart > SAME_HU


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


@given(seed=st.integers(0, 2**31))
@settings(deadline=None, max_examples=20)
def test_the_search_finds_what_comparing_each_with_each_finds(seed: int) -> None:
    rng = np.random.default_rng(seed)
    base = rng.integers(0, 256, (3, 12, 12))
    known = [(base[number % 3] + rng.integers(-2, 3, (12, 12))).clip(0, 255).astype(np.uint8) for number in range(9)]
    asked = [np.rot90((one + rng.integers(-2, 3, (12, 12))).clip(0, 255), 3).astype(np.uint8) for one in base]
    prints, others = [one.tobytes() for one in known], [one.tobytes() for one in asked]
    expected = {
        (number, place)
        for number, one in enumerate(prints)
        for place, other in enumerate(others)
        if fingerprint_distance(one, other) <= 3.5
    }
    assert {(one, other) for one, other, _ in matching_slices(prints, others, 3.5)} == expected
    assert expected


def test_a_slice_without_tissue_has_no_fingerprint(image: Image) -> None:
    assert slice_fingerprint(np.full((64, 64), -1000)) == b""
    assert slice_fingerprint(np.zeros((64, 64)), modality="MR") == b""
    assert len(slice_fingerprint(image)) == LENGTH
    assert not list(matching_slices([b""], [b""]))


def test_intensities_of_mr_are_compared_on_their_own_scale(image: Image) -> None:
    bright = np.clip(image, -100, 100) + 100
    one, other = slice_fingerprint(bright * 3, modality="MR"), slice_fingerprint(bright.T * 3, modality="MR")
    assert fingerprint_distance(one, other) <= SAME_HU


def test_a_real_series_is_found_again_after_conversion_and_no_other_scan_is_taken_for_it(
    shared_data: Path, tmp_path: Path
) -> None:
    ge = read_head_ct(shared_data / "ge_tilt_headct_dicom")
    volume = nib.Nifti1Image(ge.hu[::-1, :, ::-1].transpose(2, 1, 0), np.diag([-0.4883, -0.4883, -5.6, 1]))
    nib.save(volume, tmp_path / "converted.nii.gz")
    converted = read_head_ct(tmp_path / "converted.nii.gz")
    known = [slice_fingerprint(image) for image in ge.hu]
    asked = [slice_fingerprint(image) for image in converted.hu]
    found = {(one, other) for one, other, _ in matching_slices(known, asked)}
    assert {(index, index) for index in range(28) if known[index]} <= found
    assert sum(map(bool, known)) >= 27
    others = [read_head_ct(path).hu[0] for path in (shared_data / "pydicom_headct").glob("*.dcm")]
    philips = [folder for folder in (shared_data / "philips_phantom_tilt").iterdir() if folder.is_dir()]
    others += [image for folder in philips for image in read_head_ct(folder).hu]
    others += [np.load(path) for path in (shared_data / "nc_sharealike" / "cq500_slices").glob("*.npy")]
    assert others
    assert not list(matching_slices(known, [slice_fingerprint(image) for image in others]))
