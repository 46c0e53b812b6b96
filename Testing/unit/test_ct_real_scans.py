"""Real scans: a tilted GE series with uneven steps, a tilted phantom, one JPEG 2000 slice."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pydicom
import pytest
import SimpleITK

from HemoCAMLib.ct import AIR_HU, HeadCT, dicom_compressed, head_ct_from_array, read_head_ct
from HemoCAMLib.errors import InputRefused


@pytest.fixture(scope="module")
def ge(shared_data: Path) -> HeadCT:
    return read_head_ct(shared_data / "ge_tilt_headct_dicom")


def test_the_ge_series_has_its_true_tilt_steps_and_extents(ge: HeadCT) -> None:
    assert ge.shape == (28, 512, 512)
    assert ge.geometry.tilt_deg == pytest.approx(18.5, abs=0.01)
    steps = np.diff(ge.geometry.offsets_mm)
    np.testing.assert_allclose(steps[:13], 4.0, atol=0.005)
    assert steps[13] == pytest.approx(1.08, abs=0.005)
    np.testing.assert_allclose(steps[14:], 7.0, atol=0.005)
    assert ge.geometry.uniform_step_mm == pytest.approx(5.627, abs=0.001)
    codes = {warning.code for warning in ge.warnings}
    assert {"CT_UNEVEN_STEPS", "CT_TILTED"} <= codes
    assert "CT_MISSING_SLICES" not in codes


def test_the_uniform_reading_is_the_one_of_simpleitk(ge: HeadCT, shared_data: Path) -> None:
    names = SimpleITK.ImageSeriesReader.GetGDCMSeriesFileNames(str(shared_data / "ge_tilt_headct_dicom"))
    image = SimpleITK.ReadImage(names)
    assert image.GetSpacing()[2] == pytest.approx(ge.geometry.uniform_step_mm, abs=0.001)
    values = np.maximum(SimpleITK.GetArrayFromImage(image), AIR_HU)
    np.testing.assert_array_equal(ge.hu, values)


def test_soft_tissue_of_the_ge_series_is_not_inflated(ge: HeadCT) -> None:
    counts = np.array([np.count_nonzero((image >= 0) & (image <= 80)) for image in ge.slices])
    area = ge.geometry.pixel_area_mm2
    true_ml = float((counts * ge.geometry.extents_mm).sum()) * area / 1000
    uniform_ml = float(counts.sum()) * ge.geometry.uniform_step_mm * area / 1000
    assert uniform_ml / true_ml == pytest.approx(1.0776, abs=0.001)


def test_padding_of_the_ge_series_is_air(ge: HeadCT) -> None:
    assert ge.hu.min() == AIR_HU
    assert (ge.hu[:, 0, 0] == AIR_HU).all()


def test_removing_one_ge_slice_is_noticed(shared_data: Path, tmp_path: Path) -> None:
    folder = tmp_path / "ge"
    shutil.copytree(shared_data / "ge_tilt_headct_dicom", folder)
    (folder / "20.dcm").unlink()
    with pytest.raises(InputRefused) as caught:
        read_head_ct(folder)
    assert caught.value.code == "CT_MISSING_SLICES"
    assert read_head_ct(folder, allow_gaps=True).shape[0] == 27


def test_any_ge_slice_of_the_skull_can_be_read_alone(shared_data: Path) -> None:
    for number in (1, 5, 10, 14, 20, 24):
        scan = read_head_ct(shared_data / "ge_tilt_headct_dicom" / f"{number:02d}.dcm")
        assert scan.shape[0] == 1
        assert scan.geometry.extents_mm == pytest.approx([4.0 if number < 15 else 7.0])


@pytest.mark.parametrize(("folder", "tag", "ours"), [("tiltminus18p5", -18.5, 18.5), ("tiltplus16p5", 16.5, -16.5)])
def test_the_philips_phantom_is_read_and_its_tag_has_the_opposite_sign(
    shared_data: Path, folder: str, tag: float, ours: float
) -> None:
    path = shared_data / "philips_phantom_tilt" / folder
    assert float(pydicom.dcmread(path / "I200.dcm").GantryDetectorTilt) == tag
    scan = read_head_ct(path)
    assert scan.geometry.tilt_deg == pytest.approx(ours, abs=0.01)
    np.testing.assert_allclose(np.diff(scan.geometry.offsets_mm), 2.5 * np.cos(np.radians(tag)), atol=0.005)


@pytest.mark.parametrize("plugins", [True, False])
def test_the_jpeg_2000_slice_with_the_wrong_sign_is_read(
    shared_data: Path, plugins: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not plugins:
        monkeypatch.setattr(dicom_compressed, "_decodable", lambda syntax: False)
    path = shared_data / "pydicom_headct" / "J2K_pixelrep_mismatch.dcm"
    scan = read_head_ct(path)
    assert scan.geometry.tilt_deg == pytest.approx(22.0, abs=0.01)
    brain = scan.hu[0, 300:340, 236:276]
    assert 20 < np.median(brain) < 50
    np.testing.assert_array_equal(scan.hu[0], np.maximum(pydicom.dcmread(path).pixel_array, AIR_HU))


def test_the_average_head_in_cormack_units_is_not_hu(shared_data: Path) -> None:
    for name in ("scct.nii.gz", "scct_stripped.nii.gz", "scgrey.nii.gz"):
        with pytest.raises(InputRefused) as caught:
            read_head_ct(shared_data / "ct_head_templates" / name)
        assert caught.value.code == "CT_NOT_HU"


def test_real_hemorrhage_slices_are_heads(shared_data: Path) -> None:
    files = sorted((shared_data / "nc_sharealike" / "cq500_slices").glob("*.npy"))
    assert files
    for file in files:
        scan = head_ct_from_array(np.load(file), np.diag([-0.45, -0.45, 5.0, 1.0]))
        assert scan.hu.min() == AIR_HU
