"""From stored numbers to HU: rescale, sign, padding, compression."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
import SimpleITK
from dicom_writer import slice_dataset, write_series
from numpy.typing import NDArray
from pydicom.encaps import get_frame
from synthetic_head import head_hu

from HemoCAMLib.ct import AIR_HU, dicom_compressed, read_head_ct
from HemoCAMLib.ct.stored_values import Reading, choose_reading
from HemoCAMLib.errors import InputRefused

HEAD = head_hu(5)
EXPECTED = np.maximum(HEAD, AIR_HU)
JPEG_2000 = "1.2.840.10008.1.2.4.90"
RLE = "1.2.840.10008.1.2.5"


def with_corners(value: int) -> NDArray[np.int16]:
    """The head with its corners padded, as a scanner pads outside its round field of view."""
    padded = HEAD.copy()
    rows, columns = np.indices(HEAD.shape[1:])
    outside = np.hypot(rows - 31.5, columns - 29.5) > 33
    padded[:, outside] = value
    return padded


def expect_air_outside(folder: Path) -> None:
    scan = read_head_ct(folder)
    rows, columns = np.indices(HEAD.shape[1:])
    outside = np.hypot(rows - 31.5, columns - 29.5) > 33
    assert (scan.hu[:, outside] == AIR_HU).all()
    np.testing.assert_array_equal(scan.hu[:, ~outside], EXPECTED[:, ~outside])


@pytest.mark.parametrize("padding", [-1500, -2000, -2048, -3024])
@pytest.mark.parametrize("tagged", [True, False])
def test_padding_becomes_air_with_and_without_its_tag(tmp_path: Path, padding: int, tagged: bool) -> None:
    tag = {"PixelPaddingValue": padding} if tagged else {}
    write_series(tmp_path, with_corners(padding), signed=True, intercept=0.0, **tag)
    expect_air_outside(tmp_path)


def test_a_padding_tag_in_unsigned_stored_numbers_is_understood(tmp_path: Path) -> None:
    write_series(tmp_path, with_corners(-2000), signed=False, intercept=-1024.0, PixelPaddingValue=0x10000 - 976)
    expect_air_outside(tmp_path)


def test_a_range_of_padding_is_understood(tmp_path: Path) -> None:
    write_series(
        tmp_path, with_corners(3071), signed=True, intercept=0.0, PixelPaddingValue=3070, PixelPaddingRangeLimit=3071
    )
    expect_air_outside(tmp_path)


def test_a_padding_value_inside_the_range_of_tissue_punches_no_holes_into_the_brain(tmp_path: Path) -> None:
    padded = with_corners(30)
    assert (HEAD == 30).sum() > 100
    write_series(tmp_path, padded, signed=True, intercept=0.0, PixelPaddingValue=30)
    expect_air_outside(tmp_path)


@pytest.mark.parametrize(("slope", "intercept"), [(1.0, -1024.0), (1.0, 0.0), (2.0, -1000.0), (0.5, -8192.0)])
def test_every_rescale_gives_the_same_hu(tmp_path: Path, slope: float, intercept: float) -> None:
    head = (HEAD // 2 * 2).astype(np.int16)
    write_series(tmp_path, head, slope=slope, intercept=intercept, signed=intercept == 0.0)
    np.testing.assert_array_equal(read_head_ct(tmp_path).hu, head)


@pytest.mark.parametrize("bits", [12, 13, 16])
def test_12_13_and_16_bits_are_read(tmp_path: Path, bits: int) -> None:
    write_series(tmp_path, HEAD, bits_stored=bits, intercept=-1024.0)
    np.testing.assert_array_equal(read_head_ct(tmp_path).hu, EXPECTED)


def test_signed_12_bit_numbers_whose_sign_was_not_extended_are_read(tmp_path: Path) -> None:
    def narrow(image: NDArray[np.int16]) -> bytes:
        return (image.astype(np.int32) & 0xFFF).astype("<u2").tobytes()

    for index, image in enumerate(HEAD):
        data = slice_dataset(image, (0, 0, 5.0 * index), signed=True, intercept=0.0, bits_stored=12)
        data.PixelData = narrow(image)
        data.save_as(tmp_path / f"{index}.dcm", enforce_file_format=True)
    np.testing.assert_array_equal(read_head_ct(tmp_path).hu, EXPECTED)


def write_raw(folder: Path, stored: NDArray[Any], **options: Any) -> None:
    for index, numbers in enumerate(stored):
        data = slice_dataset(HEAD[index], (0, 0, 5.0 * index), **options)
        data.PixelData = (numbers.astype(np.int64) & 0xFFFF).astype("<u2").tobytes()
        data.save_as(folder / f"{index}.dcm", enforce_file_format=True)


def test_the_defect_of_rsna_2019_is_repaired_by_its_formula(tmp_path: Path) -> None:
    """x = px + 1000; x[x >= 4096] -= 4096; intercept = -1000, where PixelRepresentation 0 and intercept > -100."""
    stored = np.where(HEAD < 0, HEAD.astype(np.int32) + 4096, HEAD)
    write_raw(tmp_path, stored, intercept=0.0, bits_stored=12)
    formula = stored + 1000
    formula[formula >= 4096] -= 4096
    scan = read_head_ct(tmp_path)
    np.testing.assert_array_equal(scan.hu, np.maximum(formula - 1000, AIR_HU))
    np.testing.assert_array_equal(scan.hu, EXPECTED)
    assert "CT_RESCALE_REPAIRED" in {warning.code for warning in scan.warnings}


@pytest.mark.parametrize("intercept", [0.0, None])
def test_16_bit_numbers_tagged_as_unsigned_are_repaired(tmp_path: Path, intercept: float | None) -> None:
    write_raw(tmp_path, HEAD, intercept=intercept, signed=False)
    scan = read_head_ct(tmp_path)
    np.testing.assert_array_equal(scan.hu, EXPECTED)
    assert "CT_RESCALE_REPAIRED" in {warning.code for warning in scan.warnings}


def test_a_missing_rescale_is_repaired_and_told(tmp_path: Path) -> None:
    write_raw(tmp_path, HEAD.astype(np.int32) + 1024, slope=None, intercept=None)
    scan = read_head_ct(tmp_path)
    np.testing.assert_array_equal(scan.hu, EXPECTED)
    assert "CT_RESCALE_REPAIRED" in {warning.code for warning in scan.warnings}


def test_signed_hu_without_rescale_are_taken_as_they_are(tmp_path: Path) -> None:
    write_raw(tmp_path, HEAD, slope=None, intercept=None, signed=True)
    scan = read_head_ct(tmp_path)
    np.testing.assert_array_equal(scan.hu, EXPECTED)
    assert scan.warnings == ()


def test_numbers_that_fit_no_reading_are_left_alone() -> None:
    noise = np.random.default_rng(0).integers(0, 3000, (3, 32, 32)).astype(np.int32)
    assert choose_reading(list(noise)) is Reading.AS_TAGGED


@pytest.mark.parametrize("syntax", [RLE, JPEG_2000])
@pytest.mark.parametrize("signed", [True, False])
def test_compressed_pixel_data_are_read(tmp_path: Path, syntax: str, signed: bool) -> None:
    write_series(tmp_path, HEAD, compress=syntax, signed=signed, intercept=0.0 if signed else -1024.0)
    np.testing.assert_array_equal(read_head_ct(tmp_path).hu, EXPECTED)


@pytest.mark.parametrize("syntax", [RLE, JPEG_2000])
@pytest.mark.parametrize("signed", [True, False])
def test_without_pydicom_plugins_gdcm_reads_the_same(
    tmp_path: Path, syntax: str, signed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Slicer's Python has no pylibjpeg; SimpleITK is always there."""
    monkeypatch.setattr(dicom_compressed, "_decodable", lambda syntax: False)
    slope = 1.0 if signed else 2.0
    head = (HEAD // 2 * 2).astype(np.int16)
    write_series(tmp_path, head, compress=syntax, signed=signed, slope=slope, intercept=0.0 if signed else -1024.0)
    np.testing.assert_array_equal(read_head_ct(tmp_path).hu, head)


def _write_with_gdcm(folder: Path, compressor: str) -> None:
    """JPEG lossless and JPEG-LS, which pydicom cannot write here."""
    for index, image in enumerate(HEAD):
        picture = SimpleITK.GetImageFromArray(image[None])
        picture.SetSpacing((3.4, 3.4, 5.0))
        picture.SetOrigin((0.0, 0.0, 5.0 * index))
        for tag, value in {
            "0008|0060": "CT", "0008|0008": "ORIGINAL\\PRIMARY\\AXIAL", "0020|000e": "1.2.3.4", "0020|000d": "1.2.3",
            "0020|0032": f"0\\0\\{5.0 * index}", "0020|0037": "1\\0\\0\\0\\1\\0", "0018|0050": "5",
            "0008|0016": "1.2.840.10008.5.1.4.1.1.2", "0028|1052": "0", "0028|1053": "1",
        }.items():  # fmt: skip
            picture.SetMetaData(tag, value)
        writer = SimpleITK.ImageFileWriter()
        writer.SetImageIO("GDCMImageIO")
        writer.KeepOriginalImageUIDOn()
        writer.SetUseCompression(True)
        writer.SetCompressor(compressor)
        writer.SetFileName(str(folder / f"{index}.dcm"))
        writer.Execute(picture)


@pytest.mark.parametrize("compressor", ["JPEG", "JPEGLS", "JPEG2000"])
@pytest.mark.parametrize("plugins", [True, False])
def test_files_that_gdcm_compressed_are_read(
    tmp_path: Path, compressor: str, plugins: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not plugins:
        monkeypatch.setattr(dicom_compressed, "_decodable", lambda syntax: False)
    _write_with_gdcm(tmp_path, compressor)
    np.testing.assert_array_equal(read_head_ct(tmp_path).hu, EXPECTED)


@pytest.mark.parametrize("plugins", [True, False])
@pytest.mark.parametrize("syntax", [RLE, JPEG_2000])
@pytest.mark.parametrize("kept", [0.5, 0.9])
def test_a_cut_compressed_slice_is_refused(
    tmp_path: Path, plugins: bool, syntax: str, kept: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not plugins:
        monkeypatch.setattr(dicom_compressed, "_decodable", lambda syntax: False)
    paths = write_series(tmp_path, HEAD, compress=syntax)
    data = paths[2].read_bytes()
    paths[2].write_bytes(data[: int(len(data) * kept)])
    with pytest.raises(InputRefused) as caught:
        read_head_ct(tmp_path)
    assert caught.value.code in {"CT_TRUNCATED", "CT_UNREADABLE"}


def test_a_codestream_that_lies_about_its_size_never_reaches_a_decoder(tmp_path: Path) -> None:
    paths = write_series(tmp_path, HEAD, compress=JPEG_2000)
    data = bytearray(paths[1].read_bytes())
    size = data.index(b"\xff\x4f\xff\x51") + 8
    data[size : size + 8] = b"\x7f\xff\xff\xff\x7f\xff\xff\xff"
    paths[1].write_bytes(data)
    with pytest.raises(InputRefused) as caught:
        read_head_ct(tmp_path)
    assert caught.value.code == "CT_UNREADABLE"
    assert "another size" in caught.value.detail


@pytest.mark.parametrize("compressor", ["JPEG", "JPEGLS", "JPEG2000"])
def test_every_codestream_says_its_size(tmp_path: Path, compressor: str) -> None:
    _write_with_gdcm(tmp_path, compressor)
    data = pydicom.dcmread(tmp_path / "0.dcm")
    assert data.file_meta.TransferSyntaxUID.is_compressed
    frame = get_frame(data.PixelData, 0, number_of_frames=1)
    assert dicom_compressed.codestream_size(frame) == HEAD.shape[1:]
    assert dicom_compressed.codestream_size(b"\xff\xd8") is None
