"""Which series of a folder is read, and what is refused."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pydicom.data
import pytest
from dicom_writer import edit, tilted, write_series
from synthetic_head import chest_hu, head_hu

from HemoCAMLib.ct import head_ct_from_array, read_head_ct
from HemoCAMLib.ct.dicom_series import kernel_kind
from HemoCAMLib.errors import InputRefused

HEAD = head_hu(10)
AFFINE = np.diag([-3.4, -3.4, 5.0, 1.0])


def code_of(path: object, **options: object) -> str:
    with pytest.raises(InputRefused) as caught:
        read_head_ct(path, **options)
    return caught.value.code


def test_the_unenhanced_axial_soft_tissue_series_is_chosen_and_the_reason_given(tmp_path: Path) -> None:
    write_series(tmp_path / "bone", HEAD, series_uid="1.1", ConvolutionKernel="H60s", thickness_mm=1.0)
    write_series(tmp_path / "soft", HEAD, series_uid="1.2", ConvolutionKernel=["H31s", "3"])
    write_series(tmp_path / "contrast", HEAD, series_uid="1.3", ConvolutionKernel="H31s", ContrastBolusAgent="X")
    scout = HEAD[:1]
    write_series(tmp_path / "scout", scout, series_uid="1.4", ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"])
    write_series(tmp_path / "few", HEAD[4:6], series_uid="1.5", ConvolutionKernel="H31s", thickness_mm=0.5)
    write_series(tmp_path / "mr", HEAD, series_uid="1.6", Modality="MR")
    scan = read_head_ct(tmp_path)
    assert scan.source.series_instance_uid == "1.2"
    assert scan.source.choice.startswith("Chosen out of 4 CT series: axial, soft-tissue kernel, 5 mm, 10 slices")
    for left in ("bone kernel, 1 mm", "with contrast agent", "0.5 mm, 2 slices"):
        assert left in scan.source.choice


def test_of_two_alike_the_thinner_series_is_chosen(tmp_path: Path) -> None:
    write_series(tmp_path / "a", HEAD, series_uid="1.1", thickness_mm=5.0, ConvolutionKernel="STANDARD")
    write_series(tmp_path / "b", head_hu(20), series_uid="1.2", thickness_mm=2.5, step_mm=2.5, ConvolutionKernel="SOFT")
    assert read_head_ct(tmp_path).source.series_instance_uid == "1.2"


def test_a_series_can_be_asked_for(tmp_path: Path) -> None:
    write_series(tmp_path / "a", HEAD, series_uid="1.1")
    write_series(tmp_path / "b", HEAD, series_uid="1.2", ConvolutionKernel="BONE")
    scan = read_head_ct(tmp_path, series_uid="1.2")
    assert scan.source.series_instance_uid == "1.2"
    assert "CT_BONE_KERNEL" in {warning.code for warning in scan.warnings}
    assert code_of(tmp_path, series_uid="9.9") == "CT_SERIES_NOT_FOUND"


def test_the_head_is_chosen_before_the_chest(tmp_path: Path) -> None:
    write_series(tmp_path / "a", chest_hu(30), series_uid="1.1", BodyPartExamined="CHEST", thickness_mm=1.0)
    write_series(tmp_path / "b", HEAD, series_uid="1.2", BodyPartExamined="HEAD")
    assert read_head_ct(tmp_path).source.series_instance_uid == "1.2"


def test_several_examinations_in_a_folder_are_told(tmp_path: Path) -> None:
    write_series(tmp_path / "a", HEAD, study_uid="1.9", series_uid="1.1")
    write_series(tmp_path / "b", HEAD, study_uid="1.8", series_uid="1.2")
    assert "CT_SEVERAL_STUDIES" in {warning.code for warning in read_head_ct(tmp_path).warnings}


@pytest.mark.parametrize(
    ("kernel", "kind"),
    [("H31s", "soft"), ("J40s", "soft"), ("Hr68h", "bone"), ("STANDARD", "soft"), ("BONEPLUS", "bone"),
     ("STD+", "soft"), ("UB", "soft"), ("YC", "bone"), ("FC26", "soft"), ("FC68", "soft"), ("FC81", "bone"),
     ("", "unknown"), ("11 Lv2", "unknown"), ("Hr40f\\3", "soft")],
)  # fmt: skip
def test_kernels_of_all_vendors_are_sorted(kernel: str, kind: str) -> None:
    assert kernel_kind(kernel) == kind


def test_paths_that_hold_no_scan(tmp_path: Path) -> None:
    assert code_of(tmp_path / "absent") == "CT_NOT_FOUND"
    assert code_of("") == "CT_NOT_FOUND"
    assert code_of("a\0b") == "CT_NOT_FOUND"
    assert code_of("x" * 5000) == "CT_NOT_FOUND"
    assert code_of(tmp_path) == "CT_EMPTY_FOLDER"
    (tmp_path / "a.txt").write_text("hello")
    assert code_of(tmp_path) == "CT_NO_IMAGE"
    assert code_of(tmp_path / "a.txt") == "CT_UNKNOWN_FORMAT"
    (tmp_path / "a.npy").write_bytes(b"\x93NUMPY")
    assert code_of(tmp_path / "a.npy") == "CT_UNKNOWN_FORMAT"
    (tmp_path / "a.dcm").write_bytes(b"")
    assert code_of(tmp_path / "a.dcm") == "CT_UNREADABLE"
    (tmp_path / "a.nii").write_bytes(b"")
    assert code_of(tmp_path / "a.nii") == "CT_TRUNCATED"


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes on this system")
def test_a_pipe_does_not_hang(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.dcm")
    assert code_of(tmp_path / "pipe.dcm") == "CT_UNREADABLE"
    assert code_of(tmp_path) == "CT_EMPTY_FOLDER"


def test_what_is_not_ct_is_refused(tmp_path: Path) -> None:
    assert code_of(pydicom.data.get_testdata_file("MR_small.dcm")) == "CT_NOT_CT"
    write_series(tmp_path / "scout", HEAD[:1], ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"])
    assert code_of(tmp_path / "scout") == "CT_NO_IMAGE"


def test_a_body_ct_is_not_a_head(tmp_path: Path) -> None:
    assert code_of(pydicom.data.get_testdata_file("CT_small.dcm")) == "CT_NOT_HEAD"
    write_series(tmp_path, chest_hu())
    assert code_of(tmp_path) == "CT_NOT_HEAD"
    assert code_of(next(tmp_path.iterdir())) == "CT_NOT_HEAD"


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(("low", "high"), [(-1024, 3000), (-1024, 1024), (-200, 200), (0, 4000), (-1024, 300)])
def test_noise_is_not_a_head(low: int, high: int, seed: int) -> None:
    noise = np.random.default_rng(seed).integers(low, high, HEAD.shape).astype(np.int16)
    with pytest.raises(InputRefused) as caught:
        head_ct_from_array(noise, AFFINE)
    assert caught.value.code in {"CT_NOT_HEAD", "CT_NOT_HU"}


@pytest.mark.parametrize(("value", "code"), [(-1024, "CT_NOT_HEAD"), (0, "CT_NOT_HU"), (1000, "CT_NOT_HU")])
def test_a_uniform_volume_is_not_a_head(value: int, code: str) -> None:
    with pytest.raises(InputRefused) as caught:
        head_ct_from_array(np.full(HEAD.shape, value, np.int16), AFFINE)
    assert caught.value.code == code


def test_windowed_and_normalised_scans_are_not_hu() -> None:
    for changed in (np.clip(HEAD, 0, 80), np.clip(HEAD, 0, 80) * 3, np.clip(HEAD / 80.0, 0, 1)):
        with pytest.raises(InputRefused) as caught:
            head_ct_from_array(changed, AFFINE)
        assert caught.value.code == "CT_NOT_HU"


@pytest.mark.parametrize("index", range(10))
def test_every_slice_of_a_head_alone_is_a_head(index: int) -> None:
    assert head_ct_from_array(HEAD[index], AFFINE).shape == (1, 64, 60)


def test_a_head_after_craniectomy_is_a_head() -> None:
    head = HEAD.copy()
    head[3:, 8:30, :24][head[3:, 8:30, :24] == 900] = 40
    assert head_ct_from_array(head, AFFINE).shape == HEAD.shape


def test_two_orientations_in_one_series_are_told_apart(tmp_path: Path) -> None:
    write_series(tmp_path / "a", HEAD)
    write_series(tmp_path / "b", HEAD[:3], orientation=tilted(20))
    scan = read_head_ct(tmp_path)
    assert scan.shape[0] == 10
    assert "Chosen out of 2" in scan.source.choice


def test_a_slice_of_the_series_that_lost_its_orientation_is_not_left_out_silently(tmp_path: Path) -> None:
    paths = write_series(tmp_path, HEAD)
    edit(paths[-1], ImageOrientationPatient=None)
    assert code_of(tmp_path) == "CT_UNREADABLE"
    assert "CT_UNREADABLE_FILES" in {warning.code for warning in read_head_ct(tmp_path, allow_gaps=True).warnings}


def test_a_slice_of_the_series_that_claims_another_kind_is_told(tmp_path: Path) -> None:
    paths = write_series(tmp_path, HEAD)
    edit(paths[-1], Modality="MR")
    assert {warning.code for warning in read_head_ct(tmp_path).warnings} == {"CT_IMAGES_LEFT_OUT"}


def test_colour_images_are_not_read(tmp_path: Path) -> None:
    path = write_series(tmp_path, HEAD[:1])[0]
    edit(path, PhotometricInterpretation="RGB", SamplesPerPixel=3)
    assert code_of(path) == "CT_NO_IMAGE"
