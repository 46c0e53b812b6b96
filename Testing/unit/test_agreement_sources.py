"""Truth from every source: what its labels mean, where its voxels lie, what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import highdicom
import nibabel
import numpy as np
import pytest
import SimpleITK as sitk
from dicom_writer import slice_dataset, tilted
from highdicom.seg import SegmentDescription
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code

from HemoCAMLib.ct import read_head_ct
from HemoCAMLib.ct.orientation import canonical_geometry, grid_from_affine, reorientation_of
from HemoCAMLib.errors import InputRefused, UsageError, error_from_dict
from HemoCAMLib.measure.agreement import (
    OVERLAP_ONLY,
    STRUCTURES,
    Segmentation,
    compare,
    compare_segmentations,
    read_segmentation,
)
from HemoCAMLib.measure.agreement.mapping import (
    KNOWN_MAPPINGS,
    SourceSegment,
    guess_target,
    read_mapping,
    resolve,
    told_subtypes,
)
from HemoCAMLib.measure.agreement.structures import BIT, UNSPECIFIED
from HemoCAMLib.run.label_file import write_labels_nrrd
from HemoCAMLib.run.result import RESULT_SCHEMA
from HemoCAMLib.subtypes import SUBTYPE_NAMES

RNG = np.random.default_rng(11)


@pytest.mark.parametrize(
    ("name", "target"),
    [
        ("EDH", "EDH"), ("extradural haematoma", "EDH"), ("Epidural_Hematoma left", "EDH"), ("EPH", "EDH"),
        ("Intraparenchymal hemorrhage", "IPH"), ("IPH_1", "IPH"), ("intracerebral-bleed", "IPH"),
        ("Intraventricular", "IVH"), ("blood: ivh", "IVH"), ("Subarachnoid Haemorrhage", "SAH"),
        ("acute SDH", "SDH"), ("sub dural", "SDH"), ("ICH", "any"), ("Bleeding", "any"), ("Hemorrhage", "any"),
        ("background", "none"), ("Segment_1", None), ("perihematomal edema", None), ("SDH and SAH", None),
        ("ventricles", None), ("no hemorrhage", None), ("", None),
    ],
)  # fmt: skip
def test_the_name_of_a_segment_says_what_it_is(name: str, target: str | None) -> None:
    assert guess_target(name) == target


def test_the_code_of_a_region_speaks_where_the_name_does_not_and_must_not_contradict_it() -> None:
    assert guess_target("Segment 2", "54214006") == "SDH"
    assert guess_target("Hemorrhage", "35764002") == "IVH"
    assert guess_target("SAH", "54214006") is None


def test_data_sets_are_known_by_name() -> None:
    values = {"bhsd": ["EDH", "IPH", "IVH", "SAH", "SDH"], "hemocam": list(SUBTYPE_NAMES)}
    for name, targets in values.items():
        assert [read_mapping(name)[str(value)] for value in range(1, 6)] == targets
    for name in ("physionet", "instance", "totalsegmentator"):
        segments = [SourceSegment("1", 1)]
        assert list(resolve(segments, read_mapping(name), named=False).values()) == ["any"]
        assert told_subtypes({"any"}, KNOWN_MAPPINGS[name]) == ()
    assert resolve([SourceSegment("255", 255)], read_mapping("PhysioNet"), named=False)


def test_a_map_file_names_labels_or_segments(tmp_path: Path) -> None:
    path = tmp_path / "map.json"
    path.write_text('{"3": "sah", "Left Subdural": "SDH", "tumour": "none"}', encoding="utf-8")
    segments = [SourceSegment("x", 3), SourceSegment("left_subdural", 4), SourceSegment("Tumour", 9)]
    assert list(resolve(segments, read_mapping(path), named=True).values()) == ["SAH", "SDH", "none"]
    for text in ('{"1": "bleed"}', "[1]", "{", '{"1": 1}'):
        path.write_text(text, encoding="utf-8")
        with pytest.raises(UsageError) as refusal:
            read_mapping(path)
        assert refusal.value.code == "USAGE_MAP"
    with pytest.raises(UsageError):
        read_mapping("bhsdd")


def test_unknown_labels_are_listed() -> None:
    with pytest.raises(InputRefused) as refusal:
        resolve([SourceSegment("Tumour", 1), SourceSegment("SDH", 2), SourceSegment("Clip", 3)], None, named=True)
    assert refusal.value.code == "TRUTH_LABELS"
    assert "“Tumour”, “Clip”" in refusal.value.message
    assert type(error_from_dict(refusal.value.as_dict())) is InputRefused


def affine_ras(turn: np.ndarray) -> np.ndarray:
    """4x4 of a stored grid with the given signed axes and 0.8 x 0.9 x 5 mm voxels."""
    affine = np.eye(4)
    affine[:3, :3] = turn @ np.diag([0.8, 0.9, 5.0])
    affine[:3, 3] = [-10, 20, 30]
    return affine


def write_nifti(path: Path, labels_kji: np.ndarray, affine: np.ndarray) -> Path:
    nibabel.save(nibabel.Nifti1Image(np.ascontiguousarray(labels_kji.T), affine), path)
    return path


def blocks(shape: tuple[int, int, int] = (6, 20, 24)) -> np.ndarray:
    """All five labels in blocks."""
    labels = np.zeros(shape, np.uint8)
    for label in range(1, 6):
        labels[label - 1 : label + 1, 3 * label : 3 * label + 3, 2 * label : 2 * label + 5] = label
    return labels


@pytest.mark.parametrize("turn", [np.diag([-1, -1, 1]), np.diag([1, 1, 1]), np.diag([-1, 1, -1])])
def test_a_nifti_in_any_order_gives_the_same_segmentation(turn: np.ndarray, tmp_path: Path) -> None:
    reference = write_nifti(tmp_path / "a.nii.gz", blocks(), affine_ras(np.diag([-1, -1, 1])))
    # The same physical label map, stored with other axes.
    flips = tuple(axis for axis, sign in zip((2, 1, 0), np.diag(turn) * np.array([-1, -1, 1]), strict=True) if sign < 0)
    affine = affine_ras(turn)
    first = affine_ras(np.diag([-1, -1, 1]))
    corner = np.array([23 if 2 in flips else 0, 19 if 1 in flips else 0, 5 if 0 in flips else 0, 1])
    affine[:3, 3] = (first @ corner)[:3]
    other = write_nifti(tmp_path / "b.nii.gz", np.flip(blocks(), flips), affine)
    agreement = compare(other, reference, "hemocam")
    assert agreement.grid == "same"
    assert all(agreement[name].dice == 1 for name in STRUCTURES)


def test_bhsd_is_known_by_its_file_names_and_other_plain_labels_are_not_guessed(tmp_path: Path) -> None:
    path = write_nifti(tmp_path / "ID_0a1b_ID_99ff.nii.gz", blocks(), affine_ras(np.diag([-1, -1, 1])))
    truth = read_segmentation(path)
    assert truth.mapping == KNOWN_MAPPINGS["bhsd"]
    assert "bhsd" in truth.notes[0]
    plain = path.rename(tmp_path / "labels.nii.gz")
    with pytest.raises(InputRefused) as refusal:
        read_segmentation(plain)
    assert refusal.value.code == "TRUTH_LABELS_AMBIGUOUS"
    assert read_segmentation(plain, "bhsd").volume_ml == truth.volume_ml
    swapped = compare(plain, plain, "bhsd")
    assert swapped["any"].dice == 1
    assert swapped["EDH"].dice == 0


@pytest.mark.parametrize("value", [1, 255])
def test_one_value_alone_is_hemorrhage_of_any_kind(value: int, tmp_path: Path) -> None:
    labels = (blocks() > 0).astype(np.uint8) * value
    truth = read_segmentation(write_nifti(tmp_path / "m.nii", labels, affine_ras(np.eye(3))))
    assert truth.subtypes == ()
    assert set(np.unique(truth.members)) == {0, UNSPECIFIED}
    assert f"one label value, {value}" in truth.notes[-1]


def test_an_empty_truth_tells_that_there_is_none_of_any_subtype(tmp_path: Path) -> None:
    truth = read_segmentation(write_nifti(tmp_path / "m.nii", blocks() * 0, affine_ras(np.eye(3))))
    assert truth.subtypes == SUBTYPE_NAMES


def test_values_without_meaning_and_images_are_refused(tmp_path: Path) -> None:
    path = write_nifti(tmp_path / "a.nii", blocks() + np.uint8(40) * (blocks() == 2), affine_ras(np.eye(3)))
    with pytest.raises(InputRefused) as refusal:
        read_segmentation(path)
    assert "“42”" in refusal.value.message
    ct = write_nifti(tmp_path / "ct.nii", RNG.normal(0, 50, (4, 10, 10)).astype(np.float32), affine_ras(np.eye(3)))
    with pytest.raises(InputRefused) as refusal:
        read_segmentation(ct)
    assert refusal.value.code == "TRUTH_UNREADABLE"


def slicer_header(segments: dict[int, tuple[str, int, int]]) -> dict[str, str]:
    """The metadata that Slicer writes for segments: number to (name, label value, layer)."""
    header = {"Segmentation_ContainedRepresentationNames": "Binary labelmap|"}
    for number, (name, value, layer) in segments.items():
        header |= {
            f"Segment{number}_ID": f"Segment_{number}",
            f"Segment{number}_Name": name,
            f"Segment{number}_LabelValue": str(value),
            f"Segment{number}_Layer": str(layer),
        }
    return header


def write_slicer(path: Path, array: np.ndarray, header: dict[str, str]) -> Path:
    image = sitk.GetImageFromArray(array, isVector=array.ndim == 4)
    image.SetSpacing((0.8, 0.9, 5.0))
    for key, value in header.items():
        image.SetMetaData(key, value)
    sitk.WriteImage(image, str(path), useCompression=True)
    return path


def test_a_slicer_segmentation_goes_by_names_values_and_layers(tmp_path: Path) -> None:
    layers = np.zeros((4, 10, 12, 2), np.uint8)
    layers[1, 2:5, 2:5, 0] = 7
    layers[2, 2:5, 2:5, 0] = 3
    layers[1, 4:8, 4:8, 1] = 1
    header = slicer_header({0: ("Subdural hematoma", 7, 0), 1: ("IPH", 3, 0), 2: ("SAH", 1, 1)})
    truth = read_segmentation(write_slicer(tmp_path / "t.seg.nrrd", layers, header))
    assert truth.kind == "seg.nrrd"
    assert truth.mapping == {"Subdural hematoma": "SDH", "IPH": "IPH", "SAH": "SAH"}
    expected = (layers[..., 0] == 7) * BIT["SDH"] | (layers[..., 0] == 3) * BIT["IPH"]
    np.testing.assert_array_equal(truth.members, expected | (layers[..., 1] == 1) * BIT["SAH"])
    assert truth.subtypes == SUBTYPE_NAMES
    voxel_ml = 0.8 * 0.9 * 5 / 1000
    assert truth.volume_ml["any"] == pytest.approx((9 + 9 + 16 - 1) * voxel_ml)


def test_a_slicer_region_code_says_what_a_nameless_segment_is(tmp_path: Path) -> None:
    header = slicer_header({0: ("Segment_1", 1, 0)})
    header["Segment0_Tags"] = (
        "TerminologyEntry:Segmentation category and type - 3D Slicer General Anatomy list"
        "~SCT^49755003^Morphologically Altered Structure~SCT^50960005^Hemorrhage~^^"
        "~Anatomic codes - DICOM master list~SCT^35764002^Brain ventricle~^^|"
    )
    labels = (blocks() > 0).astype(np.uint8)
    assert read_segmentation(write_slicer(tmp_path / "t.seg.nrrd", labels, header)).mapping == {"Segment_1": "IVH"}


def test_a_slicer_segmentation_without_a_voxel_is_empty_wherever_it_lies(tmp_path: Path) -> None:
    truth = write_slicer(tmp_path / "t.seg.nrrd", np.zeros((1, 1, 1), np.uint8), slicer_header({0: ("SDH", 1, 0)}))
    prediction = write_nifti(tmp_path / "p.nii", blocks(), affine_ras(np.eye(3)))
    agreement = compare(prediction, truth)
    assert agreement["SDH"].overlap.empty == "truth"
    assert "empty segmentation" in agreement.notes[0]


def tilted_series() -> list[highdicom.spatial.Dataset]:  # type: ignore[name-defined]
    """Eight slices with a tilted gantry and uneven steps."""
    heights = np.concatenate([[0], np.cumsum([4.22] * 3 + [1.14] + [7.38] * 3)])
    return [
        slice_dataset(
            np.zeros((20, 24), np.int16),
            (0, 0, float(height)),
            orientation=tilted(18.5),
            spacing_mm=(0.9, 0.8),
            PatientBirthDate="",
            PatientSex="",
            AccessionNumber="",
            StudyID="1",
            StudyDate="",
            StudyTime="",
            ReferringPhysicianName="",
            SeriesNumber=1,
            FrameOfReferenceUID="1.2.3.9",
            PositionReferenceIndicator="",
        )
        for height in heights
    ]


def write_seg(path: Path, series: list, masks: dict[str, np.ndarray], kind: str, omit: bool = True) -> Path:  # type: ignore[type-arg]
    regions = {"SDH": Code("54214006", "SCT", "Subdural space")}
    descriptions = [
        SegmentDescription(
            segment_number=number,
            segment_label=label,
            segmented_property_category=codes.SCT.MorphologicallyAbnormalStructure,
            segmented_property_type=Code("50960005", "SCT", "Hemorrhage"),
            algorithm_type="MANUAL",
            anatomic_regions=[regions[label]] if label in regions else None,
        )
        for number, label in enumerate(masks, start=1)
    ]
    array = np.stack(list(masks.values()), axis=-1)
    array = array.astype(np.float32) * 0.8 if kind == "FRACTIONAL" else array.astype(np.uint8)
    segmentation = highdicom.seg.Segmentation(
        series, array, kind, descriptions, "1.2.3.77", 2, "1.2.3.78", 1, "Maker", "Model", "1", "Serial",
        omit_empty_frames=omit,
    )  # fmt: skip
    segmentation.save_as(path)
    return path


@pytest.mark.parametrize("kind", ["BINARY", "FRACTIONAL", "LABELMAP"])
def test_a_dicom_seg_of_a_tilted_series_lies_where_the_slices_lie(kind: str, tmp_path: Path) -> None:
    series = tilted_series()
    masks = {"SDH": np.zeros((8, 20, 24), bool), "Extradural hematoma": np.zeros((8, 20, 24), bool)}
    masks["SDH"][2:7, 3:9, 4:11] = True
    masks["Extradural hematoma"][5:7, 12:15, 4:11] = True
    truth = read_segmentation(write_seg(tmp_path / "seg.dcm", series, masks, kind, omit=False))
    assert truth.kind == "dicom-seg"
    assert truth.mapping == {"SDH": "SDH", "Extradural hematoma": "EDH"}
    positions = np.array([dataset.ImagePositionPatient for dataset in series], float)
    np.testing.assert_allclose(truth.geometry.positions_mm, positions, atol=1e-3)
    expected = masks["SDH"] * BIT["SDH"] + masks["Extradural hematoma"] * BIT["EDH"]
    np.testing.assert_array_equal(truth.members, expected)


def test_a_dicom_seg_without_its_empty_slices_is_put_back_among_them(tmp_path: Path) -> None:
    series = tilted_series()
    sdh = np.zeros((8, 20, 24), bool)
    sdh[[1, 2, 6], 3:9, 4:11] = True
    whole = write_seg(tmp_path / "whole.dcm", series, {"SDH": sdh}, "BINARY", omit=False)
    part = write_seg(tmp_path / "part.dcm", series, {"SDH": sdh}, "BINARY", omit=True)
    assert len(read_segmentation(part).members) == 3
    agreement = compare(whole, part)
    assert agreement.grid == "same"
    assert agreement["SDH"].dice == 1
    assert not any("covers" in note for note in agreement.notes)
    # On another grid the gaps between its slices stay gaps.
    shifted = tilted_series()
    for dataset in shifted:
        dataset.ImagePositionPatient = [0.2, 0.1, float(dataset.ImagePositionPatient[2])]
    elsewhere = write_seg(tmp_path / "else.dcm", shifted, {"SDH": sdh}, "BINARY", omit=False)
    agreement = compare(elsewhere, part)
    assert agreement.grid == "resampled"
    assert agreement["SDH"].dice == 1
    # The first two are 4 mm apart along the normal; towards a gap a slice reaches half its nominal 5 mm.
    extents_mm = np.array([2.0 + 2.0, 2.0 + 2.5, 2.5 + 2.5])
    expected_ml = extents_mm.sum() * 6 * 7 * 0.9 * 0.8 / 1000
    assert agreement["SDH"].volume.truth_own_grid_ml == pytest.approx(expected_ml, rel=1e-3)


def test_overlapping_dicom_segments_keep_both(tmp_path: Path) -> None:
    masks = {"SDH": np.zeros((8, 20, 24), bool), "SAH": np.zeros((8, 20, 24), bool)}
    masks["SDH"][2, 3:9, 4:11] = masks["SAH"][2, 5:12, 4:11] = True
    volume = read_segmentation(write_seg(tmp_path / "s.dcm", tilted_series(), masks, "BINARY", omit=False)).volume_ml
    assert volume["any"] < volume["SDH"] + volume["SAH"]
    assert volume["SDH"] == pytest.approx(volume["SAH"] * 6 / 7)


@pytest.fixture
def run_folder(tmp_path: Path) -> Path:
    """A finished run of a tilted scan with uneven steps, as far as agreement reads it."""
    folder = tmp_path / "run"
    folder.mkdir()
    labels = blocks((8, 20, 24))
    series = tilted_series()
    positions = np.array([dataset.ImagePositionPatient for dataset in series], float)
    orientation = np.array(series[0].ImageOrientationPatient, float)
    affine = np.eye(4)
    affine[:3, :3] = np.stack(
        [orientation[:3] * 0.8, orientation[3:] * 0.9, (positions[-1] - positions[0]) / 7], axis=1
    )
    grid = grid_from_affine((8, 20, 24), affine)
    _, stored = canonical_geometry(grid, reorientation_of(grid), None)
    write_labels_nrrd(folder / "labels.nrrd", lambda index: labels[index], (8, 20, 24), stored)
    slices = [
        {
            "index": index,
            "extent_mm": 5.0,
            "origin_lps_mm": position.tolist(),
            "probability": dict.fromkeys(STRUCTURES, 0.1 * index),
        }
        for index, position in enumerate(positions)
    ]
    fields = {
        "schema": RESULT_SCHEMA,
        "input": {"spacing": {"row_mm": 0.9, "column_mm": 0.8}},
        "model": {"classes": ["any", *SUBTYPE_NAMES]},
        "slices": slices,
    }
    (folder / "result.json").write_text(json.dumps(fields), encoding="utf-8")
    return folder


def test_a_run_is_measured_at_its_true_positions(run_folder: Path, tmp_path: Path) -> None:
    run = read_segmentation(run_folder, role="prediction")
    np.testing.assert_allclose(run.geometry.positions_mm[:, 2], np.cumsum([0] + [4.22] * 3 + [1.14] + [7.38] * 3))
    series = tilted_series()
    iph = blocks((8, 20, 24)) == 1
    seg = write_seg(tmp_path / "iph.dcm", series, {"IPH": iph}, "BINARY", omit=False)
    agreement = compare(run_folder, seg)
    assert agreement.grid == "same"
    assert agreement["IPH"].dice == 1
    assert agreement["IPH"].volume.truth_own_grid_ml == pytest.approx(agreement["IPH"].volume.prediction_ml, rel=1e-3)
    assert agreement["IPH"].detection.auroc == 0
    own_labels = compare(run_folder, run_folder / "labels.nrrd")
    assert own_labels.grid == "same"
    assert all(own_labels[name].dice == 1 for name in SUBTYPE_NAMES)


def test_a_run_that_is_not_finished_or_damaged_is_refused(run_folder: Path) -> None:
    whole = (run_folder / "result.json").read_text(encoding="utf-8")
    for text in ("{}", "[]", "{", whole.replace(f'"schema": {RESULT_SCHEMA}', '"schema": 99')):
        (run_folder / "result.json").write_text(text, encoding="utf-8")
        with pytest.raises(InputRefused):
            read_segmentation(run_folder, role="prediction")
    (run_folder / "result.json").unlink()
    (run_folder / "job.json").write_text("{}", encoding="utf-8")
    with pytest.raises(InputRefused) as refusal:
        read_segmentation(run_folder, role="prediction")
    assert refusal.value.code == "PREDICTION_INCOMPLETE"


def test_damaged_and_foreign_files_are_refused_in_one_sentence(tmp_path: Path) -> None:
    seg = write_seg(tmp_path / "s.dcm", tilted_series(), {"SDH": np.ones((8, 20, 24), bool)}, "BINARY")
    data = seg.read_bytes()
    cases = {
        "cut.dcm": data[: len(data) // 2],
        "ct.dcm": b"\0" * 200,
        "text.txt": b"hello",
        "cut.nii": b"\x5c\x01\0\0" * 40,
        "cut.seg.nrrd": b"NRRD0004\ntype: uchar\ndimension: 3\nsizes: 4 4 4\n\n",
        "empty.nrrd": b"",
    }
    for name, content in cases.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(InputRefused) as refusal:
            read_segmentation(tmp_path / name)
        assert refusal.value.code in ("TRUTH_UNREADABLE", "TRUTH_NOT_SEGMENTATION"), name
    with pytest.raises(InputRefused) as refusal:
        read_segmentation(tmp_path)
    assert refusal.value.code == "TRUTH_NOT_SEGMENTATION"
    with pytest.raises(InputRefused) as refusal:
        read_segmentation(tmp_path / "nowhere")
    assert refusal.value.code == "TRUTH_NOT_FOUND"


def test_a_mask_drawn_on_itks_reading_of_a_real_tilted_series_fits_voxel_for_voxel(
    shared_data: Path, tmp_path: Path
) -> None:
    ct = read_head_ct(shared_data / "ge_tilt_headct_dicom")
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(shared_data / "ge_tilt_headct_dicom")))
    mask = tmp_path / "mask.nii.gz"
    sitk.WriteImage(sitk.BinaryThreshold(reader.Execute(), 60, 90), str(mask))
    true = (ct.hu >= 60) & (ct.hu <= 90)
    prediction = Segmentation(np.where(true, np.uint8(UNSPECIFIED), np.uint8(0)), ct.geometry, ())
    agreement = compare_segmentations(prediction, read_segmentation(mask), OVERLAP_ONLY)
    assert agreement.grid == "same"
    assert agreement["any"].dice == 1
    # Steps of 4 and 7 mm along the normal, of which ITK makes 5.6 mm throughout.
    volume = agreement["any"].volume
    slice_ml = ct.geometry.extents_mm * ct.geometry.pixel_area_mm2 / 1000
    assert volume.truth_ml == pytest.approx(float(slice_ml @ true.sum(axis=(1, 2))))
    assert abs(volume.truth_own_grid_ml / volume.truth_ml - 1) > 0.03
