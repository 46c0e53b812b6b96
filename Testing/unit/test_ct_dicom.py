"""DICOM series to HeadCT: geometry, order, doubled and missing slices."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest
from dicom_writer import edit, slice_dataset, tilted, write_enhanced, write_series
from pydicom import Dataset, dcmwrite
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, MediaStorageDirectoryStorage
from synthetic_head import head_hu

from HemoCAMLib.ct import AIR_HU, HeadCT, SliceFile, read_head_ct
from HemoCAMLib.errors import Cancelled, InputRefused, UsageError

HEAD = head_hu()
EXPECTED = np.maximum(HEAD, AIR_HU)


def codes(scan: HeadCT) -> set[str]:
    return {warning.code for warning in scan.warnings}


def refusal(path: Path, **options: object) -> InputRefused:
    with pytest.raises(InputRefused) as caught:
        read_head_ct(path, **options)
    assert caught.value.message.endswith(".")
    assert "Secret" not in str(caught.value.as_dict())
    return caught.value


def same_scan(one: HeadCT, other: HeadCT) -> None:
    np.testing.assert_array_equal(one.hu, other.hu)
    np.testing.assert_array_equal(one.geometry.positions_mm, other.geometry.positions_mm)
    np.testing.assert_array_equal(one.geometry.extents_mm, other.geometry.extents_mm)
    assert one.source.sop_instance_uids == other.source.sop_instance_uids


def test_a_plain_series_gives_its_hu_positions_and_identity(tmp_path: Path) -> None:
    write_series(tmp_path, HEAD)
    scan = read_head_ct(tmp_path)
    np.testing.assert_array_equal(scan.hu, EXPECTED)
    assert scan.hu.dtype == np.int16
    np.testing.assert_allclose(scan.geometry.offsets_mm, 20 + 5.0 * np.arange(8))
    np.testing.assert_allclose(scan.geometry.extents_mm, 5.0)
    assert scan.geometry.pixel_spacing_mm == (3.4, 3.4)
    assert scan.source.kind == "dicom"
    assert scan.source.series_instance_uid == "1.2.3.4"
    assert len(set(scan.source.sop_instance_uids)) == 8
    assert scan.warnings == ()
    assert scan.grid.is_canonical


def test_file_names_and_order_do_not_matter(tmp_path: Path) -> None:
    paths = write_series(tmp_path / "a", HEAD)
    shuffled = list(range(8))
    random.Random(1).shuffle(shuffled)
    (tmp_path / "b" / "deep" / "er").mkdir(parents=True)
    for number, index in enumerate(shuffled):
        target = tmp_path / "b" / ("deep" if number % 2 else "deep/er") / f"IM{number}"
        target.write_bytes(paths[index].read_bytes())
    same_scan(read_head_ct(tmp_path / "a"), read_head_ct(tmp_path / "b"))


def test_a_series_scanned_from_head_to_feet_comes_out_feet_to_head(tmp_path: Path) -> None:
    corner = (-100.3, -107.1)
    write_series(tmp_path, HEAD[::-1], positions_mm=[(*corner, 55.0 - 5 * i) for i in range(8)])
    scan = read_head_ct(tmp_path)
    np.testing.assert_array_equal(scan.hu, EXPECTED)
    assert (np.diff(scan.geometry.offsets_mm) > 0).all()


@pytest.mark.parametrize("degrees", [-25.0, -5.0, 12.0, 29.0])
def test_a_tilted_series_keeps_its_true_extents(tmp_path: Path, degrees: float) -> None:
    write_series(tmp_path, HEAD, orientation=tilted(degrees))
    scan = read_head_ct(tmp_path)
    np.testing.assert_allclose(scan.geometry.extents_mm, 5.0 * np.cos(np.radians(degrees)), rtol=1e-6)
    assert scan.geometry.tilt_deg == pytest.approx(degrees, abs=1e-4)
    assert "CT_TILTED" in codes(scan)


def test_a_tilt_that_only_the_tag_knows_is_told(tmp_path: Path) -> None:
    write_series(tmp_path, HEAD, GantryDetectorTilt=20.0)
    scan = read_head_ct(tmp_path)
    assert "CT_TILT_CONTRADICTION" in codes(scan)
    assert "6.4 %" in next(w.message for w in scan.warnings if w.code == "CT_TILT_CONTRADICTION")


def test_blocks_of_different_steps_are_uneven_not_missing(tmp_path: Path) -> None:
    z = np.cumsum([0, 4, 4, 4, 1.08, 7, 7, 7])
    write_series(tmp_path, HEAD, positions_mm=[(-100.3, -107.1, float(value)) for value in z], thickness_mm=None)
    scan = read_head_ct(tmp_path)
    assert "CT_UNEVEN_STEPS" in codes(scan)
    extents = scan.geometry.extents_mm
    assert extents.sum() == pytest.approx(z[-1] + 2.0 + 3.5)
    np.testing.assert_allclose(extents[[0, 3, 4, 7]], [4, (4 + 1.08) / 2, (1.08 + 7) / 2, 7])


@pytest.mark.parametrize("missing", [[3], [2, 3], [2, 5]])
def test_missing_slices_are_refused_unless_allowed(tmp_path: Path, missing: list[int]) -> None:
    head = head_hu(12)
    paths = write_series(tmp_path, head)
    for index in missing:
        paths[index].unlink()
    assert refusal(tmp_path).code == "CT_MISSING_SLICES"
    scan = read_head_ct(tmp_path, allow_gaps=True)
    assert "CT_MISSING_SLICES" in codes(scan)
    assert scan.geometry.extents_mm.sum() == pytest.approx(60.0)


def test_a_slice_stored_twice_is_used_once(tmp_path: Path) -> None:
    paths = write_series(tmp_path, HEAD)
    (tmp_path / "copy.dcm").write_bytes(paths[2].read_bytes())
    edit(tmp_path / "copy.dcm", SOPInstanceUID="1.2.3.999")
    (tmp_path / "same").write_bytes(paths[5].read_bytes())
    scan = read_head_ct(tmp_path)
    np.testing.assert_array_equal(scan.hu, EXPECTED)
    assert "2 slices were stored twice" in next(w.message for w in scan.warnings if w.code == "CT_DUPLICATES")


def test_two_kernels_in_one_series_are_refused(tmp_path: Path) -> None:
    write_series(tmp_path / "soft", HEAD, ConvolutionKernel="H31s")
    write_series(tmp_path / "bone", HEAD + 5, ConvolutionKernel="H60s")
    assert refusal(tmp_path).code == "CT_MIXED_SERIES"


def test_slices_with_and_without_contrast_in_one_series_are_refused(tmp_path: Path) -> None:
    paths = write_series(tmp_path, HEAD)
    for path in paths[4:]:
        edit(path, ContrastBolusAgent="Iomeprol")
    assert refusal(tmp_path).code == "CT_MIXED_SERIES"


def test_slices_of_different_pixel_size_are_refused(tmp_path: Path) -> None:
    paths = write_series(tmp_path, HEAD)
    edit(paths[3], PixelSpacing=[3.0, 3.0])
    assert refusal(tmp_path).code == "CT_MIXED_SERIES"


def test_missing_instance_number_and_thickness_do_not_matter(tmp_path: Path) -> None:
    write_series(tmp_path, HEAD, number=None, thickness_mm=None)
    scan = read_head_ct(tmp_path)
    np.testing.assert_array_equal(scan.hu, EXPECTED)
    assert scan.warnings == ()


def test_a_single_file_is_read_alone(tmp_path: Path) -> None:
    paths = write_series(tmp_path, HEAD)
    scan = read_head_ct(paths[4])
    assert scan.shape == (1, 64, 60)
    np.testing.assert_array_equal(scan.hu[0], EXPECTED[4])
    assert scan.geometry.extents_mm == pytest.approx([5.0])


def test_a_single_slice_without_thickness_says_what_is_assumed(tmp_path: Path) -> None:
    path = write_series(tmp_path, HEAD[4:5], thickness_mm=None)[0]
    scan = read_head_ct(path)
    assert codes(scan) == {"CT_ASSUMED_THICKNESS"}
    assert scan.geometry.extents_mm == pytest.approx([5.0])


def test_other_files_in_the_folder_are_left_aside_with_a_warning(tmp_path: Path) -> None:
    write_series(tmp_path, HEAD)
    (tmp_path / "notes.txt").write_text("nothing")
    (tmp_path / "report.pdf").write_bytes(b"%PDF-1.4")
    (tmp_path / ".hidden").write_bytes(b"x")
    (tmp_path / "DICOMDIR.xml").write_text("")
    scan = read_head_ct(tmp_path)
    assert "3 files" in next(w.message for w in scan.warnings if w.code == "CT_FILES_IGNORED")


def test_a_file_without_preamble_is_read(tmp_path: Path) -> None:
    for path in write_series(tmp_path, HEAD):
        path.write_bytes(path.read_bytes()[132:])
    np.testing.assert_array_equal(read_head_ct(tmp_path).hu, EXPECTED)


@pytest.mark.parametrize("syntax", ["1.2.840.10008.1.2", "1.2.840.10008.1.2.2", "1.2.840.10008.1.2.1.99"])
def test_every_uncompressed_transfer_syntax_is_read(tmp_path: Path, syntax: str) -> None:
    tmp_path.mkdir(exist_ok=True)
    for index, image in enumerate(HEAD):
        data = slice_dataset(image, (-100.3, -107.1, 5.0 * index))
        data.file_meta.TransferSyntaxUID = syntax
        if syntax == "1.2.840.10008.1.2.2":
            data.PixelData = np.frombuffer(data.PixelData, "<u2").astype(">u2").tobytes()
            data["PixelData"].VR = "OW"
        plain = Dataset(data)
        plain.file_meta = data.file_meta
        dcmwrite(tmp_path / f"{index}.dcm", plain, enforce_file_format=True)
    np.testing.assert_array_equal(read_head_ct(tmp_path).hu, EXPECTED)


def test_an_enhanced_multi_frame_file_is_read(tmp_path: Path) -> None:
    path = write_enhanced(tmp_path / "enhanced.dcm", HEAD, order=[3, 1, 0, 2, 7, 6, 5, 4])
    scan = read_head_ct(path)
    np.testing.assert_array_equal(scan.hu, EXPECTED)
    np.testing.assert_allclose(scan.geometry.extents_mm, 5.0)
    same_scan(scan, read_head_ct(tmp_path))


def test_a_multi_frame_file_without_positions_is_refused(tmp_path: Path) -> None:
    path = write_enhanced(tmp_path / "enhanced.dcm", HEAD)
    edit(path, PerFrameFunctionalGroupsSequence=None)
    assert refusal(path).code == "CT_UNREADABLE"


def test_coronal_storage_is_turned_to_axial_and_back(tmp_path: Path) -> None:
    head = head_hu(40, 64, 60)
    coronal = head.transpose(1, 0, 2)[:, ::-1]
    positions = [(-100.3, -107.1 + 3.4 * index, 20 + 39 * 3.0) for index in range(64)]
    write_series(
        tmp_path,
        coronal,
        positions_mm=positions,
        orientation=(1, 0, 0, 0, 0, -1),
        spacing_mm=(3.0, 3.4),
        thickness_mm=3.4,
    )
    scan = read_head_ct(tmp_path)
    np.testing.assert_array_equal(scan.hu, np.maximum(head, AIR_HU))
    np.testing.assert_allclose(scan.geometry.positions_mm[0], [-100.3, -107.1, 20])
    np.testing.assert_allclose(scan.geometry.extents_mm, 3.0)
    assert "CT_REFORMATTED" in codes(scan)
    # The normal of (right to left) x (head to feet) points to the front, so stored planes run back to front.
    np.testing.assert_array_equal(
        scan.grid.to_stored(scan.hu), np.maximum(coronal[::-1] if _runs_back(scan) else coronal, AIR_HU)
    )
    stored = read_head_ct(tmp_path, store=tmp_path.parent / "coronal.raw")
    np.testing.assert_array_equal(stored.hu, scan.hu)
    assert not list(tmp_path.parent.glob("*.stored"))


def _runs_back(scan: HeadCT) -> bool:
    return bool(scan.grid.directions_lps_mm[1, 2] < 0)


def test_with_a_store_slices_lie_on_disk_and_are_the_same(tmp_path: Path) -> None:
    write_series(tmp_path / "in", HEAD, orientation=tilted(10))
    store = tmp_path / "run" / "slices.raw"
    progress: list[tuple[int, int]] = []
    scan = read_head_ct(tmp_path / "in", store=store, on_progress=lambda done, total: progress.append((done, total)))
    assert isinstance(scan.slices, SliceFile)
    np.testing.assert_array_equal(np.fromfile(store, "<i2").reshape(EXPECTED.shape), EXPECTED)
    same_scan(scan, read_head_ct(tmp_path / "in"))
    assert progress[0] == (0, 8)
    assert progress[-1] == (8, 8)


def test_cancelling_from_progress_ends_the_reading_and_leaves_no_store(tmp_path: Path) -> None:
    write_series(tmp_path / "in", HEAD)

    def stop(done: int, total: int) -> None:
        raise Cancelled("CANCELLED", "Stopped.")

    with pytest.raises(Cancelled):
        read_head_ct(tmp_path / "in", store=tmp_path / "x.raw", on_progress=stop)
    assert not (tmp_path / "x.raw").exists()


def test_a_store_that_cannot_be_written_is_a_usage_error(tmp_path: Path) -> None:
    write_series(tmp_path / "in", HEAD)
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError) as caught:
        read_head_ct(tmp_path / "in", store=tmp_path / "file" / "x.raw")
    assert caught.value.code == "USAGE_CANNOT_WRITE"


def test_a_damaged_file_beside_the_slices_is_refused_unless_allowed(tmp_path: Path) -> None:
    paths = write_series(tmp_path, HEAD)
    paths[-1].write_bytes(paths[-1].read_bytes()[:300])
    assert refusal(tmp_path).code == "CT_UNREADABLE"
    assert "CT_UNREADABLE_FILES" in codes(read_head_ct(tmp_path, allow_gaps=True))


def test_a_truncated_slice_is_refused(tmp_path: Path) -> None:
    paths = write_series(tmp_path, HEAD)
    paths[3].write_bytes(paths[3].read_bytes()[:-1000])
    assert refusal(tmp_path).code == "CT_TRUNCATED"


def test_slices_without_positions_are_refused(tmp_path: Path) -> None:
    write_series(tmp_path, HEAD, ImagePositionPatient=None)
    assert refusal(tmp_path).code == "CT_NO_POSITIONS"


@pytest.mark.parametrize("spacing", [(0.001, 0.001), (40.0, 40.0), (3.4, 0.0)])
def test_absurd_pixel_sizes_are_refused(tmp_path: Path, spacing: tuple[float, float]) -> None:
    write_series(tmp_path, HEAD, spacing_mm=spacing)
    assert refusal(tmp_path).code == "CT_SPACING"


def test_nothing_in_a_scan_names_the_patient(tmp_path: Path) -> None:
    write_series(tmp_path, HEAD)
    scan = read_head_ct(tmp_path)
    assert "Secret" not in repr(scan.source) + repr(scan.warnings)
    assert "SECRET" not in repr(scan.source) + repr(scan.warnings)


def test_prone_patients_come_out_supine(tmp_path: Path) -> None:
    turned = HEAD[:, ::-1, ::-1]
    positions = [(100.3, 107.1, 20 + 5.0 * index) for index in range(8)]
    write_series(tmp_path, turned, positions_mm=positions, orientation=(-1, 0, 0, 0, -1, 0))
    scan = read_head_ct(tmp_path)
    np.testing.assert_array_equal(scan.hu, EXPECTED)
    np.testing.assert_allclose(scan.geometry.positions_mm[0], [-100.3, -107.1, 20])
    np.testing.assert_array_equal(scan.grid.to_stored(scan.hu), np.maximum(turned, AIR_HU))


def test_long_and_non_ascii_paths_work(tmp_path: Path) -> None:
    folder = tmp_path
    for _ in range(4):
        folder = folder / ("Schädel-КТ-頭部 " + "x" * 50)
    write_series(folder, HEAD)
    np.testing.assert_array_equal(read_head_ct(folder).hu, EXPECTED)
    np.testing.assert_array_equal(read_head_ct(folder, store=folder / "頭.raw").hu, EXPECTED)


def test_two_scans_whose_slices_lie_between_each_other_are_refused(tmp_path: Path) -> None:
    for name, start in (("a", 20.0), ("b", 20.7)):
        write_series(tmp_path / name, HEAD, positions_mm=[(-100.3, -107.1, start + 5 * index) for index in range(8)])
    assert refusal(tmp_path).code == "CT_MIXED_SERIES"


def test_kernels_that_alternate_are_refused_and_a_change_of_kernel_is_not(tmp_path: Path) -> None:
    paths = write_series(tmp_path, HEAD, ConvolutionKernel="H31s")
    for path in paths[4:]:
        edit(path, ConvolutionKernel="H40s")
    assert read_head_ct(tmp_path).shape[0] == 8
    for path in paths[1::2]:
        edit(path, ConvolutionKernel="H60s")
    assert refusal(tmp_path).code == "CT_MIXED_SERIES"


def test_a_contrast_agent_called_none_is_none(tmp_path: Path) -> None:
    paths = write_series(tmp_path, HEAD)
    edit(paths[0], ContrastBolusAgent="NONE")
    assert read_head_ct(tmp_path).warnings == ()


def test_a_dicomdir_stands_for_its_folder(tmp_path: Path) -> None:
    write_series(tmp_path / "IMAGES", HEAD)
    (tmp_path / "DICOMDIR").write_bytes(b"\0" * 128 + b"DICM")
    with pytest.raises(InputRefused):
        read_head_ct(tmp_path / "IMAGES" / "DICOMDIR")
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = MediaStorageDirectoryStorage, "1.2.3"
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    FileDataset("", Dataset(), preamble=b"\0" * 128, file_meta=meta).save_as(
        tmp_path / "DICOMDIR", enforce_file_format=True
    )
    scan = read_head_ct(tmp_path / "DICOMDIR")
    np.testing.assert_array_equal(scan.hu, EXPECTED)
    assert scan.warnings == ()
