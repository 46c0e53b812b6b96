"""NIfTI, NRRD and arrays to HeadCT."""

from __future__ import annotations

import gzip
from itertools import permutations, product
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import SimpleITK
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from synthetic_head import head_hu

from HemoCAMLib.ct import AIR_HU, HeadCT, SliceFile, head_ct_from_array, read_head_ct
from HemoCAMLib.errors import InputRefused

HEAD = head_hu(9)
EXPECTED = np.maximum(HEAD, AIR_HU)
#: Canonical [slice, row, column] indices to RAS: columns run to the left, rows to the back.
CANONICAL = np.array([[-3.4, 0, 0, 100.3], [0, -3.4, 0, 107.1], [0, 0, 5.0, -20], [0, 0, 0, 1]])


def codes(scan: HeadCT) -> set[str]:
    return {warning.code for warning in scan.warnings}


def refusal(path: Path, **options: Any) -> InputRefused:
    with pytest.raises(InputRefused) as caught:
        read_head_ct(path, **options)
    return caught.value


def stored_array(order: tuple[int, ...], flips: tuple[int, ...]) -> tuple[NDArray[np.int16], NDArray[np.float64]]:
    """The head as an array [i, j, k] with its axes permuted and flipped, and the affine that says so."""
    array = HEAD.transpose(2, 1, 0)
    affine = CANONICAL.copy()
    affine[:, :3] = affine[:, list(order)]
    array = array.transpose(order)
    for axis in flips:
        affine[:3, 3] += affine[:3, axis] * (array.shape[axis] - 1)
        affine[:3, axis] *= -1
        array = np.flip(array, axis)
    return array, affine


ALL_STORAGES = [(order, flips) for order in permutations(range(3)) for flips in [(), (0,), (1, 2), (0, 1, 2)]]


@pytest.mark.parametrize(("order", "flips"), ALL_STORAGES)
@pytest.mark.parametrize("on_disk", [False, True])
def test_every_storage_order_gives_the_same_scan_and_goes_back(
    tmp_path: Path, order: tuple[int, ...], flips: tuple[int, ...], on_disk: bool
) -> None:
    array, affine = stored_array(order, flips)
    path = tmp_path / "scan.nii.gz"
    nibabel.save(nibabel.Nifti1Image(array, affine), path)
    scan = read_head_ct(path, store=tmp_path / "store.raw" if on_disk else None)
    np.testing.assert_array_equal(scan.hu, EXPECTED)
    np.testing.assert_allclose(scan.geometry.extents_mm, 5.0, rtol=1e-6)
    np.testing.assert_allclose(scan.geometry.positions_mm[0], [-100.3, -107.1, -20], atol=1e-4)
    np.testing.assert_allclose(scan.geometry.normal, [0, 0, 1], atol=1e-6)
    reader = SimpleITK.ReadImage(str(path))
    np.testing.assert_array_equal(scan.grid.to_stored(scan.hu), np.maximum(SimpleITK.GetArrayFromImage(reader), AIR_HU))
    np.testing.assert_allclose(scan.grid.origin_lps_mm, reader.GetOrigin(), atol=1e-4)
    directions = np.array(reader.GetDirection()).reshape(3, 3) * np.array(reader.GetSpacing())
    np.testing.assert_allclose(scan.grid.directions_lps_mm, directions, atol=1e-5)
    assert isinstance(scan.slices, SliceFile) == on_disk
    assert not list(tmp_path.glob("*.stored"))


def tilt_affine(degrees: float, sheared: bool) -> NDArray[np.float64]:
    """A tilted scan with its table step along z (sheared, true), or along the normal (a pure rotation)."""
    angle = np.radians(degrees)
    affine = CANONICAL.copy()
    affine[:3, 1] = [0, -3.4 * np.cos(angle), -3.4 * np.sin(angle)]
    if not sheared:
        affine[:3, 2] = [0, -5 * np.sin(angle), 5 * np.cos(angle)]
    return affine


@given(degrees=st.floats(-29, 29), step=st.floats(0.5, 10))
@settings(max_examples=40, deadline=None)
def test_a_sheared_affine_is_a_true_tilt(degrees: float, step: float) -> None:
    affine = tilt_affine(degrees, sheared=True)
    affine[:3, 2] = [0, 0, step]
    scan = head_ct_from_array(HEAD, affine)
    np.testing.assert_allclose(scan.geometry.extents_mm, step * np.cos(np.radians(degrees)), rtol=1e-6)
    voxels = abs(np.linalg.det(affine[:3, :3])) * HEAD.size
    assert scan.geometry.pixel_area_mm2 * HEAD[0].size * scan.geometry.extents_mm.sum() == pytest.approx(voxels)


@pytest.mark.parametrize("writer", ["nifti", "nifti2", "nrrd"])
def test_a_sheared_file_keeps_its_true_extents_although_simpleitk_cannot_hold_it(tmp_path: Path, writer: str) -> None:
    affine = tilt_affine(20, sheared=True)
    if writer == "nrrd":
        path = write_nrrd(tmp_path / "a.nrrd", HEAD, affine)
    else:
        path = tmp_path / "a.nii"
        kind = nibabel.Nifti2Image if writer == "nifti2" else nibabel.Nifti1Image
        image = kind(HEAD.transpose(2, 1, 0), affine)
        image.set_sform(affine, 1)
        nibabel.save(image, path)
    scan = read_head_ct(path)
    np.testing.assert_allclose(scan.geometry.extents_mm, 5 * np.cos(np.radians(20)), rtol=1e-5)
    assert scan.geometry.tilt_deg == pytest.approx(20, abs=1e-3)
    assert codes(scan) == {"CT_TILTED"}


def test_a_tilted_volume_without_shear_is_ambiguous_and_says_by_how_much(tmp_path: Path) -> None:
    path = tmp_path / "bhsd.nii.gz"
    nibabel.save(nibabel.Nifti1Image(HEAD.transpose(2, 1, 0), tilt_affine(19, sheared=False)), path)
    scan = read_head_ct(path)
    np.testing.assert_allclose(scan.geometry.extents_mm, 5.0, rtol=1e-5)
    message = next(w.message for w in scan.warnings if w.code == "CT_OBLIQUE_STEP")
    assert "5.8 % too large" in message
    corrected = read_head_ct(path, tilted_step_is_table_step=True)
    np.testing.assert_allclose(corrected.geometry.extents_mm, 5 * np.cos(np.radians(19)), rtol=1e-5)


def test_a_qform_only_file_with_a_slope_that_is_no_number_is_read(tmp_path: Path) -> None:
    image = nibabel.Nifti1Image(HEAD.transpose(2, 1, 0), CANONICAL)
    image.set_sform(None, 0)
    image.set_qform(CANONICAL, 1)
    path = tmp_path / "a.nii"
    nibabel.save(image, path)
    raw = bytearray(path.read_bytes())
    raw[112:120] = np.array([np.nan, np.nan], "<f4").tobytes()
    path.write_bytes(raw)
    scan = read_head_ct(path)
    np.testing.assert_array_equal(scan.hu, EXPECTED)
    np.testing.assert_allclose(scan.geometry.positions_mm[0], [-100.3, -107.1, -20], atol=1e-4)


@given(quaternion=st.tuples(*[st.floats(-1, 1)] * 4).filter(lambda q: np.linalg.norm(q) > 0.1), mirrored=st.booleans())
@settings(max_examples=40, deadline=None)
def test_the_qform_is_read_as_nibabel_reads_it(quaternion: tuple[float, ...], mirrored: bool) -> None:
    from HemoCAMLib.ct.nifti_header import _Fields

    header = nibabel.Nifti1Header()
    header.set_data_shape((4, 5, 6))
    header["pixdim"][:4] = [-1 if mirrored else 1, 0.5, 0.6, 5.0]
    header["quatern_b"], header["quatern_c"], header["quatern_d"] = np.array(quaternion[1:]) / np.linalg.norm(
        quaternion
    )
    if quaternion[0] < 0:
        for name in ("quatern_b", "quatern_c", "quatern_d"):
            header[name] = -header[name]
    header["qoffset_x"] = 7
    header["qform_code"] = 1
    header["magic"] = b"n+1"
    affine, _ = _Fields(header.binaryblock + b"\0" * 200).affine()
    np.testing.assert_allclose(affine, header.get_qform(), atol=1e-3)


def test_without_any_orientation_the_user_is_told(tmp_path: Path) -> None:
    image = nibabel.Nifti1Image(HEAD.transpose(2, 1, 0), None)
    image.header.set_zooms((3.4, 3.4, 5.0))
    nibabel.save(image, tmp_path / "a.nii")
    raw = bytearray((tmp_path / "a.nii").read_bytes())
    raw[252:256] = b"\0" * 4
    (tmp_path / "a.nii").write_bytes(raw)
    assert "CT_NO_ORIENTATION" in codes(read_head_ct(tmp_path / "a.nii"))


@pytest.mark.parametrize("kind", ["i2", "i4", "f4", "f8", "i8"])
@pytest.mark.parametrize("order", ["<", ">"])
def test_every_number_type_and_byte_order_is_read(tmp_path: Path, kind: str, order: str) -> None:
    header = nibabel.Nifti1Header(endianness=order)
    header.set_data_dtype(np.dtype(order + kind))
    array = HEAD.transpose(2, 1, 0).astype(order + kind)
    nibabel.save(nibabel.Nifti1Image(array, CANONICAL, header), tmp_path / "a.nii.gz")
    np.testing.assert_array_equal(read_head_ct(tmp_path / "a.nii.gz").hu, EXPECTED)


def test_float_hu_are_rounded() -> None:
    scan = head_ct_from_array(HEAD + 0.4, CANONICAL)
    np.testing.assert_array_equal(scan.hu, EXPECTED)


@pytest.mark.parametrize("shift", ["wrapped", "shifted"])
def test_unsigned_volumes_are_repaired(tmp_path: Path, shift: str) -> None:
    array = HEAD.view(np.uint16) if shift == "wrapped" else (HEAD + 1024).astype(np.uint16)
    nibabel.save(nibabel.Nifti1Image(array.transpose(2, 1, 0), CANONICAL), tmp_path / "a.nii")
    scan = read_head_ct(tmp_path / "a.nii", store=tmp_path / "s.raw")
    np.testing.assert_array_equal(scan.hu, EXPECTED)
    assert "CT_RESCALE_REPAIRED" in codes(scan)


def test_a_stored_scaling_is_applied(tmp_path: Path) -> None:
    header = nibabel.Nifti1Header()
    header.set_data_dtype(np.uint16)
    image = nibabel.Nifti1Image((HEAD + 1024).astype(np.uint16).transpose(2, 1, 0), CANONICAL, header)
    path = tmp_path / "a.nii"
    nibabel.save(image, path)
    raw = bytearray(path.read_bytes())
    raw[112:120] = np.array([1, -1024], "<f4").tobytes()
    raw[352:] = (HEAD + 1024).astype("<u2").tobytes()
    path.write_bytes(raw)
    scan = read_head_ct(path)
    np.testing.assert_array_equal(scan.hu, EXPECTED)
    assert scan.warnings == ()


def test_a_few_broken_voxels_are_air_and_many_are_refused() -> None:
    floats = HEAD.astype(np.float32)
    floats[2, 5:8, 5] = [np.nan, np.inf, -np.inf]
    scan = head_ct_from_array(floats, CANONICAL)
    assert (scan.hu[2, 5:8, 5] == AIR_HU).all()
    assert "CT_BROKEN_VOXELS" in codes(scan)
    floats[3] = np.nan
    with pytest.raises(InputRefused) as caught:
        head_ct_from_array(floats, CANONICAL)
    assert caught.value.code == "CT_BROKEN_VOXELS"


def test_two_and_four_dimensional_files(tmp_path: Path) -> None:
    plane = tmp_path / "plane.nii"
    nibabel.save(nibabel.Nifti1Image(HEAD[4].T, CANONICAL), plane)
    scan = read_head_ct(plane)
    np.testing.assert_array_equal(scan.hu, EXPECTED[4:5])
    assert "CT_ASSUMED_THICKNESS" in codes(scan)
    one = tmp_path / "one.nii"
    nibabel.save(nibabel.Nifti1Image(HEAD.transpose(2, 1, 0)[..., None], CANONICAL), one)
    np.testing.assert_array_equal(read_head_ct(one).hu, EXPECTED)
    two = tmp_path / "two.nii"
    nibabel.save(nibabel.Nifti1Image(np.stack([HEAD.transpose(2, 1, 0)] * 2, -1), CANONICAL), two)
    assert refusal(two).code == "CT_NOT_ONE_VOLUME"
    assert head_ct_from_array(HEAD[4], CANONICAL).shape == (1, 64, 60)


@pytest.mark.parametrize("kept", [10, 200, 1000, 0.5, 0.99])
@pytest.mark.parametrize("suffix", [".nii", ".nii.gz", ".nrrd"])
def test_a_cut_file_is_refused(tmp_path: Path, kept: float, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    if suffix == ".nrrd":
        write_nrrd(path, HEAD, CANONICAL)
    else:
        nibabel.save(nibabel.Nifti1Image(HEAD.transpose(2, 1, 0), CANONICAL), path)
    data = path.read_bytes()
    path.write_bytes(data[: int(kept * len(data)) if kept < 1 else int(kept)])
    assert refusal(path).code in {"CT_TRUNCATED", "CT_UNREADABLE"}


def test_a_header_that_claims_a_huge_volume_is_refused_before_memory_is_taken(tmp_path: Path) -> None:
    path = tmp_path / "a.nii"
    nibabel.save(nibabel.Nifti1Image(HEAD.transpose(2, 1, 0), CANONICAL), path)
    raw = bytearray(path.read_bytes())
    raw[42:48] = np.array([30000, 30000, 30000], "<i2").tobytes()
    path.write_bytes(raw)
    assert refusal(path).code == "CT_SIZE"
    raw[42:48] = np.array([2000, 2000, 100], "<i2").tobytes()
    path.write_bytes(gzip.compress(bytes(raw)))
    assert refusal(path).code == "CT_TRUNCATED"


def write_nrrd(path: Path, head: NDArray[Any], ijk_to_ras: NDArray[np.float64], **options: Any) -> Path:
    """A NRRD with these space directions, sheared ones too, written by hand."""
    space = options.get("space", "left-posterior-superior")
    encoding = options.get("encoding", "gzip")
    signs = {"left-posterior-superior": [-1, -1, 1], "right-anterior-superior": [1, 1, 1], "LAS": [-1, 1, 1]}[space]
    affine = np.array(signs)[:, None] * ijk_to_ras[:3]
    vectors = " ".join("(" + ",".join(f"{value:.10g}" for value in affine[:, axis]) + ")" for axis in range(3))
    origin = "(" + ",".join(f"{value:.10g}" for value in affine[:, 3]) + ")"
    lines = [
        "NRRD0004", "# made for a test", "type: short", "dimension: 3", f"space: {space}",
        "sizes: " + " ".join(str(size) for size in head.shape[::-1]), f"space directions: {vectors}",
        "kinds: domain domain domain", "endian: little", f"encoding: {encoding}", f"space origin: {origin}",
    ]  # fmt: skip
    data = head.astype("<i2").tobytes()
    data = gzip.compress(data) if encoding == "gzip" else data
    if "data_file" in options:
        lines.append(f"data file: {options['data_file']}")
        path.with_name(Path(options["data_file"]).name).write_bytes(data)
        path.write_text("\n".join(lines) + "\n")
    else:
        path.write_bytes("\n".join(lines).encode() + b"\n\n" + data)
    return path


@pytest.mark.parametrize(
    ("space", "encoding"), list(product(["left-posterior-superior", "right-anterior-superior", "LAS"], ["raw", "gzip"]))
)
def test_nrrd_spaces_and_encodings(tmp_path: Path, space: str, encoding: str) -> None:
    scan = read_head_ct(write_nrrd(tmp_path / "a.nrrd", HEAD, CANONICAL, space=space, encoding=encoding))
    np.testing.assert_array_equal(scan.hu, EXPECTED)
    np.testing.assert_allclose(scan.geometry.positions_mm[0], [-100.3, -107.1, -20], atol=1e-6)


def test_a_nrrd_that_simpleitk_wrote_is_read(tmp_path: Path) -> None:
    image = SimpleITK.GetImageFromArray(HEAD)
    image.SetSpacing((3.4, 3.4, 5.0))
    image.SetOrigin((-100.3, -107.1, -20))
    SimpleITK.WriteImage(image, str(tmp_path / "a.nrrd"), True)
    scan = read_head_ct(tmp_path)
    np.testing.assert_array_equal(scan.hu, EXPECTED)
    assert scan.source.kind == "nrrd"


def test_a_detached_nrrd_may_only_name_a_file_beside_it(tmp_path: Path) -> None:
    path = write_nrrd(tmp_path / "a.nhdr", HEAD, CANONICAL, data_file="a.raw.gz")
    np.testing.assert_array_equal(read_head_ct(path).hu, EXPECTED)
    path.write_text(path.read_text().replace("a.raw.gz", "../a.raw.gz"))
    assert refusal(path).code == "CT_UNREADABLE"
    path.write_text(path.read_text().replace("../a.raw.gz", "/etc/passwd"))
    assert refusal(path).code == "CT_UNREADABLE"


def test_a_nifti_in_two_parts_is_read(tmp_path: Path) -> None:
    nibabel.save(nibabel.Nifti1Pair(HEAD.transpose(2, 1, 0), CANONICAL), tmp_path / "a.hdr")
    np.testing.assert_array_equal(read_head_ct(tmp_path / "a.hdr").hu, EXPECTED)


def test_a_folder_with_one_volume_is_read_and_with_several_refused(tmp_path: Path) -> None:
    nibabel.save(nibabel.Nifti1Image(HEAD.transpose(2, 1, 0), CANONICAL), tmp_path / "a.nii.gz")
    np.testing.assert_array_equal(read_head_ct(tmp_path).hu, EXPECTED)
    (tmp_path / "b.nii.gz").write_bytes((tmp_path / "a.nii.gz").read_bytes())
    assert refusal(tmp_path).code == "CT_SEVERAL_VOLUMES"


def test_skewed_rows_and_columns_are_refused() -> None:
    affine = CANONICAL.copy()
    affine[0, 1] = 1.0
    with pytest.raises(InputRefused) as caught:
        head_ct_from_array(HEAD, affine)
    assert caught.value.code == "CT_ORIENTATION"


@pytest.mark.parametrize("affine", [np.zeros((4, 4)), np.full((4, 4), np.nan), np.eye(3), CANONICAL * 1e4])
def test_matrices_that_are_no_geometry_are_refused(affine: NDArray[np.float64]) -> None:
    with pytest.raises(InputRefused):
        head_ct_from_array(HEAD, affine)


def test_a_file_with_more_planes_than_its_header_says_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.nii.gz"
    nibabel.save(nibabel.Nifti1Image(HEAD.transpose(2, 1, 0), CANONICAL), path)
    raw = bytearray(gzip.decompress(path.read_bytes()))
    raw[46:48] = np.array([3], "<i2").tobytes()
    path.write_bytes(gzip.compress(bytes(raw)))
    assert refusal(path).code == "CT_UNREADABLE"


def test_an_array_can_be_stored_on_disk_too(tmp_path: Path) -> None:
    scan = head_ct_from_array(HEAD[::-1], _upside_down(), store=tmp_path / "a.raw")
    assert isinstance(scan.slices, SliceFile)
    np.testing.assert_array_equal(scan.hu, EXPECTED)


def _upside_down() -> NDArray[np.float64]:
    affine = CANONICAL.copy()
    affine[:3, 3] += affine[:3, 2] * (len(HEAD) - 1)
    affine[:3, 2] *= -1
    return affine
