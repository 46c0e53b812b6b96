"""The sample scan: always the same, a legal tilted CT series, and a truth that fits it."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk

from HemoCAMLib.cli import main
from HemoCAMLib.ct import SliceGeometry, read_head_ct
from HemoCAMLib.errors import UsageError
from HemoCAMLib.resources import resource_folder
from HemoCAMLib.sample import Sample, write_sample
from HemoCAMLib.sample.dicom_series import write_ct_series
from HemoCAMLib.sample.recipe import SampleRecipe
from HemoCAMLib.subtypes import SUBTYPES


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Sample:
    return write_sample(tmp_path_factory.mktemp("sample"))


@pytest.fixture(scope="module")
def recipe() -> SampleRecipe:
    return SampleRecipe.load(resource_folder("sample"))


def fingerprint(folder: Path) -> str:
    digest = hashlib.sha256()
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        digest.update(str(path.relative_to(folder)).encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()


def test_the_same_bytes_are_written_twice(sample: Sample, tmp_path: Path) -> None:
    again = write_sample(tmp_path / "日本語 ä")
    assert fingerprint(sample.scan.parent) == fingerprint(again.scan.parent)


def test_the_series_has_its_true_geometry(sample: Sample, recipe: SampleRecipe) -> None:
    ct = read_head_ct(sample.scan)
    assert ct.source.kind == "dicom"
    assert 10 < abs(ct.geometry.tilt_deg) < 25
    np.testing.assert_allclose(ct.geometry.positions_mm, recipe.geometry.positions_mm, atol=1e-6)
    np.testing.assert_allclose(ct.geometry.extents_mm, recipe.geometry.extents_mm, atol=1e-6)
    assert ct.geometry.pixel_spacing_mm == pytest.approx(recipe.geometry.pixel_spacing_mm)
    step_mm = np.linalg.norm(np.diff(ct.geometry.positions_mm, axis=0), axis=1)
    along_normal_mm = np.diff(ct.geometry.offsets_mm)
    np.testing.assert_allclose(along_normal_mm, step_mm * np.cos(np.radians(ct.geometry.tilt_deg)), rtol=1e-4)


def test_the_voxels_are_the_phantom_and_its_noise(sample: Sample, recipe: SampleRecipe) -> None:
    hu = read_head_ct(sample.scan).hu
    noise = (hu - recipe.hu)[recipe.hu > -500]
    assert noise.mean() == pytest.approx(0, abs=0.02)
    # Rounding to whole HU adds 1/12 to the variance.
    assert noise.std() == pytest.approx((recipe.noise_sd_hu**2 + 1 / 12) ** 0.5, rel=0.02)
    np.testing.assert_array_equal(hu[recipe.hu <= -500], recipe.hu[recipe.hu <= -500])
    # A Gaussian kernel correlates neighbours by exp(-1 / (4 sigma^2)).
    field = (hu - recipe.hu)[14, 200:300, 200:300].astype(float)
    neighbours = np.corrcoef(field[:, :-1].ravel(), field[:, 1:].ravel())[0, 1]
    assert neighbours == pytest.approx(np.exp(-1 / (4 * recipe.noise_correlation_px**2)), abs=0.05)


def test_the_truth_lies_on_the_grid_of_the_scan(sample: Sample, recipe: SampleRecipe) -> None:
    truth, grid = sitk.ReadImage(str(sample.truth)), read_head_ct(sample.scan).grid
    labels = sitk.GetArrayFromImage(truth)
    np.testing.assert_array_equal(labels, recipe.labels)
    np.testing.assert_allclose(truth.GetOrigin(), grid.origin_lps_mm, atol=1e-6)
    directions = np.array(truth.GetDirection()).reshape(3, 3) * truth.GetSpacing()
    np.testing.assert_allclose(directions[:, :2], grid.directions_lps_mm[:, :2], atol=1e-6)


def test_the_true_volumes_follow_from_the_labels(sample: Sample, recipe: SampleRecipe) -> None:
    voxel_ml = recipe.geometry.pixel_area_mm2 * recipe.geometry.extents_mm / 1000
    for subtype in SUBTYPES:
        counts = (recipe.labels == subtype.label).sum(axis=(1, 2))
        assert sample.truth_ml[subtype.name] == pytest.approx(float(counts @ voxel_ml), abs=0.002)
    stored = json.loads((sample.scan.parent / "truth.json").read_text(encoding="utf-8"))
    assert stored["volume_ml"] == sample.truth_ml
    assert stored["synthetic"] is True


def test_every_file_is_a_complete_ct_image_that_says_it_is_synthetic(sample: Sample) -> None:
    files = [pydicom.dcmread(path) for path in sorted(sample.scan.iterdir())]
    assert len({file.SOPInstanceUID for file in files}) == len(files)
    assert len({file.SeriesInstanceUID for file in files}) == 1
    for file in files:
        assert file.file_meta.MediaStorageSOPInstanceUID == file.SOPInstanceUID
        assert pydicom.uid.UID(file.SOPInstanceUID).is_valid
        assert file.SyntheticData == "YES"
        assert "ynthetic" in file.SeriesDescription
        # Type 1 and 2 attributes of CT Image Storage, PS3.3 A.3: present, though some may be empty.
        for keyword in (
            *("PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyDate", "StudyTime", "StudyID"),
            *("AccessionNumber", "ReferringPhysicianName", "Modality", "SeriesNumber", "PatientPosition"),
            *("FrameOfReferenceUID", "PositionReferenceIndicator", "Manufacturer", "InstanceNumber", "ImageType"),
            *("AcquisitionNumber", "KVP", "SliceThickness", "RescaleIntercept", "RescaleSlope", "PixelData"),
        ):
            assert keyword in file, keyword


def test_simpleitk_reads_the_series_with_the_same_voxels(sample: Sample) -> None:
    names = sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(sample.scan))
    array = sitk.GetArrayFromImage(sitk.ReadImage(names))
    np.testing.assert_array_equal(array, read_head_ct(sample.scan).hu)


def test_padding_is_written_as_the_standard_says(tmp_path: Path) -> None:
    geometry = SliceGeometry(np.zeros((1, 3)), np.eye(3)[0], np.eye(3)[1], (0.5, 0.5), 5.0)
    hu = np.array([[[-2000, 40], [0, 1000]]], np.int16)
    (path,) = write_ct_series(tmp_path, hu, geometry, name="padded", padding_hu=-2000)
    file = pydicom.dcmread(path)
    assert file.PixelPaddingValue == file.pixel_array[0, 0] == -976
    assert file.pixel_array[0, 1] + file.RescaleIntercept == 40


def test_a_folder_with_another_scan_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "scan").mkdir()
    (tmp_path / "scan" / "other.dcm").write_bytes(b"")
    with pytest.raises(UsageError) as refusal:
        write_sample(tmp_path)
    assert refusal.value.code == "USAGE_OUT_IN_USE"
    blocked = tmp_path / "file"
    blocked.write_bytes(b"")
    assert main(["sample", "--out", str(blocked)]) == 2


def test_the_command_says_where_the_sample_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sample", "--out", str(tmp_path), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert Path(told["scan"]).is_dir()
    assert told["truth_ml"]["IPH"] > 0
