"""The segmentation object gives back, voxel for voxel, what the run found, on the original images."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom
import pytest
from dicom_writer import slice_dataset, tilted, write_enhanced, write_series
from finished_run import finished_run, five_lesions
from numpy.typing import NDArray
from synthetic_head import head_hu

from HemoCAMLib.ct import read_head_ct
from HemoCAMLib.errors import HemoCAMError
from HemoCAMLib.export import export_dicom
from HemoCAMLib.export.source import volumes_ml
from HemoCAMLib.run.result import Result
from HemoCAMLib.subtypes import SUBTYPES, subtype_named

highdicom = pytest.importorskip("highdicom")

HU = head_hu(slices=9)


def uneven_tilted_positions(count: int, degrees: float) -> list[tuple[float, float, float]]:
    """Table steps of 4 then 7 mm under a tilted gantry: positions move along the table, not along the normal."""
    steps = [4.0] * (count // 2) + [7.0] * (count - count // 2)
    return [(-100.0, -110.0, 20.0 + float(z)) for z in np.cumsum([0.0, *steps[1:]])]


def write_plain(folder: Path) -> Path:
    write_series(folder, HU, step_mm=5.0, PatientSex="F", StudyID="1")
    return folder


def write_tilted(folder: Path) -> Path:
    thickness = [4.0] * (len(HU) // 2) + [7.0] * (len(HU) - len(HU) // 2)
    positions = uneven_tilted_positions(len(HU), 18.5)
    folder.mkdir(parents=True)
    for index, (image, position) in enumerate(zip(HU, positions, strict=True)):
        data = slice_dataset(
            image, position, orientation=tilted(18.5), thickness_mm=thickness[index], GantryDetectorTilt=18.5
        )
        data.save_as(folder / f"{index}.dcm", enforce_file_format=True)
    return folder


def write_reversed(folder: Path) -> Path:
    """From head to feet, rows from back to front, file names in no order."""
    turned = np.ascontiguousarray(HU[::-1, ::-1])
    corner_y = (HU.shape[1] - 1) / 2 * 3.4
    positions = [(-100.3, corner_y, 100.0 - 5.0 * index) for index in range(len(HU))]
    names = [f"{(index * 5) % len(HU)}.dcm" for index in range(len(HU))]
    write_series(folder, turned, positions_mm=positions, orientation=(1, 0, 0, 0, -1, 0), names=names)
    return folder


def write_coronal(folder: Path) -> Path:
    """The same head as coronal images: every slice of the run runs across all of them."""
    coronal = np.ascontiguousarray(HU.transpose(1, 0, 2)[:, ::-1])
    positions = [(-100.3, -107.1 + 3.4 * index, 60.0) for index in range(len(coronal))]
    write_series(folder, coronal, positions_mm=positions, orientation=(1, 0, 0, 0, 0, -1), spacing_mm=(5.0, 3.4))
    return folder


def write_with_copies(folder: Path) -> Path:
    write_series(folder, HU, step_mm=5.0)
    for index in (2, 6):
        copy = pydicom.dcmread(folder / f"{index:04d}.dcm")
        copy.SOPInstanceUID = copy.file_meta.MediaStorageSOPInstanceUID = f"1.2.3.99.{index}"
        copy.save_as(folder / f"copy{index}.dcm")
    return folder


def write_with_hole(folder: Path) -> Path:
    write_series(folder, HU, step_mm=5.0)
    (folder / "0003.dcm").unlink()
    return folder


def write_multi_frame(folder: Path) -> Path:
    write_enhanced(folder / "enhanced.dcm", HU, order=[3, 0, 8, 5, 1, 7, 2, 6, 4])
    pydicom_edit(folder / "enhanced.dcm", FrameOfReferenceUID="1.2.3.77")
    return folder


def write_multi_frame_with_copies(folder: Path) -> Path:
    write_enhanced(folder / "enhanced.dcm", HU, order=[0, 1, 2, 2, 3, 4, 5, 6, 7, 8])
    pydicom_edit(folder / "enhanced.dcm", NumberOfFrames=10)
    return folder


def write_multi_frame_beside_another_view(folder: Path) -> Path:
    """Ten frames of which the first is coronal; orientation and thickness are said frame by frame."""
    path = write_enhanced(folder / "enhanced.dcm", HU, order=[0, *range(9)])
    data = pydicom.dcmread(path)
    shared = data.SharedFunctionalGroupsSequence[0]
    for index, groups in enumerate(data.PerFrameFunctionalGroupsSequence):
        orientation, measures = pydicom.Dataset(), pydicom.Dataset()
        orientation.ImageOrientationPatient = [1, 0, 0, 0, 0, -1] if index == 0 else [1, 0, 0, 0, 1, 0]
        measures.PixelSpacing, measures.SliceThickness = [3.4, 3.4], 4.0 if index < 5 else 5.0
        groups.PlaneOrientationSequence, groups.PixelMeasuresSequence = [orientation], [measures]
    del shared.PlaneOrientationSequence
    del shared.PixelMeasuresSequence
    data.NumberOfFrames = 10
    data.save_as(path)
    return folder


def write_one_frame(folder: Path) -> Path:
    write_enhanced(folder / "enhanced.dcm", HU[5:6])
    return folder


def pydicom_edit(path: Path, **tags: object) -> None:
    data = pydicom.dcmread(path)
    for keyword, value in tags.items():
        setattr(data, keyword, value)
    data.save_as(path)


SCANS: dict[str, Callable[[Path], Path]] = {
    "plain": write_plain,
    "tilted with uneven steps": write_tilted,
    "reversed": write_reversed,
    "coronal": write_coronal,
    "copies": write_with_copies,
    "hole": write_with_hole,
    "multi-frame": write_multi_frame,
    "multi-frame with copies": write_multi_frame_with_copies,
    "multi-frame beside another view": write_multi_frame_beside_another_view,
    "one frame": write_one_frame,
}


def labels_from_file(path: Path, scan: Path) -> NDArray[np.uint8]:
    """The label map [plane, row, column] of a segmentation, put together from nothing but frame references.

    Plane n belongs to plane n of the scan as the engine reads it.
    """
    data = pydicom.dcmread(path)
    subtype_of = {
        int(item.SegmentNumber): next(s for s in SUBTYPES if s.title == item.SegmentLabel)
        for item in data.SegmentSequence
    }
    planes = read_head_ct(scan, allow_gaps=True).source.planes
    place = {(plane.sop_instance_uid, plane.frame + 1): index for index, plane in enumerate(planes)}
    labels = np.zeros((len(planes), data.Rows, data.Columns), np.uint8)
    frames = data.pixel_array.reshape(-1, data.Rows, data.Columns)
    shared = data.SharedFunctionalGroupsSequence[0]
    for pixels, groups in zip(frames, data.PerFrameFunctionalGroupsSequence, strict=True):
        image = groups.DerivationImageSequence[0].SourceImageSequence[0]
        number = image.get("ReferencedFrameNumber", 1)
        identity = groups.get("SegmentIdentificationSequence") or shared.SegmentIdentificationSequence
        subtype = subtype_of[int(identity[0].ReferencedSegmentNumber)]
        plane = labels[place[(str(image.ReferencedSOPInstanceUID), int(number))]]
        assert pixels.any(), "an empty frame"
        assert not plane[pixels > 0].any(), "segments overlap"
        plane[pixels > 0] = subtype.label
    return labels


@pytest.mark.parametrize("kind", SCANS)
def test_every_voxel_comes_back_on_its_own_image(kind: str, tiny_bundle: Path, tmp_path: Path) -> None:
    scan = SCANS[kind](tmp_path / "scan")
    ct = read_head_ct(scan, allow_gaps=True)
    labels = five_lesions(HU.shape)[4:5] if kind == "one frame" else five_lesions(ct.shape)
    if kind == "one frame":
        labels[0, 10:20, 10:22] = 2
    result = finished_run(tmp_path / "run", scan, tiny_bundle, labels, allow_gaps=True)
    files = export_dicom(result.folder, scan, tmp_path / "out")
    assert files.segmentation is not None
    stored = labels_from_file(files.segmentation, scan)
    assert np.array_equal(stored, result.labels)
    assert np.array_equal(ct.grid.to_canonical(stored), labels)
    measured = volumes_ml(ct.grid.to_canonical(stored), ct)
    assert measured == pytest.approx({name: result.volume_ml[name] for name in measured}, abs=1e-4)


@pytest.mark.parametrize("kind", ["plain", "tilted with uneven steps", "reversed", "multi-frame"])
def test_positions_and_orientation_are_those_of_the_images(kind: str, tiny_bundle: Path, tmp_path: Path) -> None:
    scan = SCANS[kind](tmp_path / "scan")
    ct = read_head_ct(scan)
    result = finished_run(tmp_path / "run", scan, tiny_bundle, five_lesions(ct.shape))
    data = pydicom.dcmread(export_dicom(result.folder, scan, tmp_path / "out").segmentation)
    shared = data.SharedFunctionalGroupsSequence[0]
    orientation = shared.PlaneOrientationSequence[0].ImageOrientationPatient
    steps = ct.grid.directions_lps_mm / np.linalg.norm(ct.grid.directions_lps_mm, axis=0)
    assert np.allclose(orientation, [*steps[:, 0], *steps[:, 1]], atol=1e-6)
    for groups in data.PerFrameFunctionalGroupsSequence:
        image = groups.DerivationImageSequence[0].SourceImageSequence[0]
        source = next(f for f in sorted(scan.iterdir()) if uid_of(f) == image.ReferencedSOPInstanceUID)
        header = pydicom.dcmread(source, stop_before_pixels=True)
        if kind == "multi-frame":
            header = header.PerFrameFunctionalGroupsSequence[image.ReferencedFrameNumber - 1].PlanePositionSequence[0]
        assert list(groups.PlanePositionSequence[0].ImagePositionPatient) == list(header.ImagePositionPatient)


def uid_of(path: Path) -> str:
    return str(pydicom.dcmread(path, stop_before_pixels=True).SOPInstanceUID)


def test_slices_of_several_thicknesses_tell_their_own(tiny_bundle: Path, tmp_path: Path) -> None:
    scan = write_tilted(tmp_path / "scan")
    thickness = {uid_of(path): float(pydicom.dcmread(path).SliceThickness) for path in scan.iterdir()}
    result = finished_run(tmp_path / "run", scan, tiny_bundle, five_lesions(HU.shape))
    data = pydicom.dcmread(export_dicom(result.folder, scan, tmp_path / "out").segmentation)
    assert "PixelMeasuresSequence" not in data.SharedFunctionalGroupsSequence[0]
    found = set()
    for groups in data.PerFrameFunctionalGroupsSequence:
        image = groups.DerivationImageSequence[0].SourceImageSequence[0]
        measures = groups.PixelMeasuresSequence[0]
        assert float(measures.SliceThickness) == thickness[str(image.ReferencedSOPInstanceUID)]
        assert [float(value) for value in measures.PixelSpacing] == [3.4, 3.4]
        found.add(float(measures.SliceThickness))
    assert found == {4.0, 7.0}


@pytest.fixture(scope="module")
def plain_run(tiny_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Result, Path]:
    scan = write_plain(tmp_path_factory.mktemp("plain") / "scan")
    return finished_run(scan.parent / "run", scan, tiny_bundle, five_lesions(HU.shape)), scan


@pytest.fixture(scope="module")
def plain_segmentation(plain_run: tuple[Result, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    result, scan = plain_run
    files = export_dicom(result.folder, scan, tmp_path_factory.mktemp("out"))
    assert files.segmentation is not None
    return files.segmentation


def test_highdicom_reads_the_labels_back(plain_run: tuple[Result, Path], plain_segmentation: Path) -> None:
    result, scan = plain_run
    segmentation = highdicom.seg.segread(plain_segmentation)
    uids = read_head_ct(scan).source.sop_instance_uids
    # Segments are numbered in the order of the subtypes, and all five are here: numbers are labels.
    labels = segmentation.get_pixels_by_source_instance(
        list(uids), combine_segments=True, assert_missing_frames_are_empty=True
    )
    assert np.array_equal(labels, result.labels)


def test_segments_say_what_they_are_and_which_algorithm_made_them(
    plain_run: tuple[Result, Path], plain_segmentation: Path
) -> None:
    result, _ = plain_run
    data = pydicom.dcmread(plain_segmentation)
    assert [item.SegmentLabel for item in data.SegmentSequence] == [subtype.title for subtype in SUBTYPES]
    for item, subtype in zip(data.SegmentSequence, SUBTYPES, strict=True):
        assert code_of(item.SegmentedPropertyCategoryCodeSequence) == ("49755003", "SCT")
        assert code_of(item.SegmentedPropertyTypeCodeSequence) == ("50960005", "SCT")
        region = item.get("AnatomicRegionSequence")
        assert (code_of(region)[0] if region else None) == (subtype.region[0] if subtype.region else None)
        assert item.SegmentAlgorithmType == "AUTOMATIC"
        algorithm = item.SegmentationAlgorithmIdentificationSequence[0]
        assert (algorithm.AlgorithmName, algorithm.AlgorithmVersion) == ("tiny", "0.0.1")
        assert result.fields["model"]["checksum"] in algorithm.AlgorithmParameters
        assert code_of(algorithm.AlgorithmFamilyCodeSequence) == ("123110", "DCM")


def code_of(sequence: list[pydicom.Dataset]) -> tuple[str, str]:
    return str(sequence[0].CodeValue), str(sequence[0].CodingSchemeDesignator)


def test_display_colours_are_those_of_the_subtypes(plain_segmentation: Path) -> None:
    color = pytest.importorskip("skimage.color")
    for item, subtype in zip(pydicom.dcmread(plain_segmentation).SegmentSequence, SUBTYPES, strict=True):
        scaled = np.array(item.RecommendedDisplayCIELabValue, float) / 65535
        # PS3.3 C.10.7.1.1: L* from 0 to 100, a* and b* from -128 to 127.
        lab = scaled * [100, 255, 255] - [0, 128, 128]
        assert np.allclose(color.lab2rgb(lab) * 255, subtype.color_rgb, atol=1)


def test_only_what_was_found_becomes_a_segment(tiny_bundle: Path, tmp_path: Path) -> None:
    scan = write_plain(tmp_path / "scan")
    labels = np.zeros(HU.shape, np.uint8)
    labels[3, 20:30, 20:28] = subtype_named("SDH").label
    result = finished_run(tmp_path / "run", scan, tiny_bundle, labels)
    files = export_dicom(result.folder, scan, tmp_path / "out")
    data = pydicom.dcmread(files.segmentation)
    assert [item.SegmentLabel for item in data.SegmentSequence] == ["Subdural hematoma"]
    assert (data.NumberOfFrames, data.SegmentSequence[0].SegmentNumber) == (1, 1)
    assert np.array_equal(labels_from_file(files.segmentation, scan), result.labels)


def test_without_hemorrhage_there_is_a_report_and_no_segmentation(tiny_bundle: Path, tmp_path: Path) -> None:
    scan = write_plain(tmp_path / "scan")
    result = finished_run(tmp_path / "run", scan, tiny_bundle, np.zeros(HU.shape, np.uint8))
    files = export_dicom(result.folder, scan, tmp_path / "out")
    assert files.segmentation is None
    assert files.report.is_file()
    assert [notice.code for notice in files.notices if notice.code.startswith("EXPORT")] == ["EXPORT_NO_SEGMENT"]
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"sr.dcm"}


def test_the_real_tilted_series_comes_back_voxel_for_voxel(
    shared_data: Path, tiny_bundle: Path, tmp_path: Path
) -> None:
    scan = shared_data / "ge_tilt_headct_dicom"
    ct = read_head_ct(scan)
    labels = five_lesions(ct.shape)
    result = finished_run(tmp_path / "run", scan, tiny_bundle, labels)
    files = export_dicom(result.folder, scan, tmp_path / "out")
    stored = labels_from_file(files.segmentation, scan)
    assert np.array_equal(ct.grid.to_canonical(stored), labels)
    assert volumes_ml(ct.grid.to_canonical(stored), ct) == pytest.approx(
        {subtype.name: result.volume_ml[subtype.name] for subtype in SUBTYPES}, abs=1e-4
    )


def test_an_unusable_run_is_named_as_such(tiny_bundle: Path, tmp_path: Path) -> None:
    with pytest.raises(HemoCAMError) as caught:
        export_dicom(tmp_path / "nothing", tmp_path, tmp_path / "out")
    assert caught.value.code == "WORKER_INCOMPLETE"
