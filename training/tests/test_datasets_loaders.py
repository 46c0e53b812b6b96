from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest
from dataset_writers import (
    BLOOD,
    affine_of,
    patient_head,
    rsna_rows,
    write_lines,
    write_nifti,
    write_reads,
    write_rsna_series,
    write_tumour,
)
from dicom_writer import tilted, write_series
from hemocam_training.datasets import DATASETS, NEGATIVE, UNKNOWN, Scan, dataset_named, prepare
from hemocam_training.datasets.bhsd import CODES
from hemocam_training.datasets.labels import labels_of
from hemocam_training.errors import DataRefused

from HemoCAMLib.errors import HemoCAMError, UsageError
from HemoCAMLib.subtypes import subtype_named

IPH_ONLY = labels_of({"any": True, "IPH": True, "IVH": False, "SAH": False, "SDH": False, "EDH": False})


def loaded(name: str, root: Path, **options: str) -> list[Scan]:
    """Every scan that a dataset finds and can read."""
    dataset = dataset_named(name, options)
    return [dataset.load(record, root) for record in dataset.find(root).records]


def sentences(name: str, root: Path, **options: str) -> str:
    found = dataset_named(name, options).find(root)
    return "\n".join(f"{finding.file}: {finding.sentence}" for finding in found.findings)


# RSNA 2019


@pytest.fixture(scope="module")
def rsna(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two patients, three studies: an ordinary one, a tilted one, one with the rescale defect; a corrupt file."""
    root = tmp_path_factory.mktemp("rsna")
    images = root / "stage_2_train"
    plain = write_rsna_series(images, patient_head(1, bleeding=(4, 5)), patient="ID_aa", study="ID_s1", series="ID_t1")
    leaning = write_rsna_series(
        images, patient_head(2), patient="ID_aa", study="ID_s2", series="ID_t2", orientation=tilted(18.0)
    )
    wrapped = write_rsna_series(images, patient_head(3), patient="ID_bb", study="ID_s3", series="ID_t3", wrapped=True)
    lines = ["ID,Label"]
    for name in [*plain, *leaning, *wrapped]:
        lines += rsna_rows(name, *(["intraparenchymal"] if name in plain[4:6] else []))
    lines += rsna_rows(plain[0])  # an image that is in the table twice
    lines += rsna_rows("ID_notthere")
    write_lines(root / "stage_2_train.csv", lines)
    corrupt = images / f"{leaning[0]}.dcm"
    corrupt.write_bytes(corrupt.read_bytes()[:-1000])
    return root


def test_rsna_slices_are_sorted_by_position_and_have_the_labels_of_the_table(rsna: Path) -> None:
    plain = loaded("rsna-2019", rsna)[0]
    np.testing.assert_array_equal(plain.hu, patient_head(1, bleeding=(4, 5)))
    assert [one.labels for one in plain.slices] == [NEGATIVE] * 4 + [IPH_ONLY] * 2 + [NEGATIVE] * 3
    assert {one.labels_from for one in plain.slices} == {"reader"}
    assert plain.record.labels == IPH_ONLY
    assert (plain.record.patient, plain.record.study, plain.record.series) == ("ID_aa", "ID_s1", "ID_t1")


def test_rsna_doubled_rows_and_missing_images_are_told(rsna: Path) -> None:
    told = sentences("rsna-2019", rsna)
    assert "1 images are in the table twice with the same labels" in told
    assert "1 images that stage_2_train.csv names are not in stage_2_train; the first is ID_notthere" in told


def test_rsna_a_file_with_too_few_pixels_is_left_out_and_the_rest_of_its_series_stays(rsna: Path) -> None:
    leaning = loaded("rsna-2019", rsna)[1]
    np.testing.assert_array_equal(leaning.hu, patient_head(2)[1:])
    assert [finding.code for finding in leaning.findings] == ["DATA_DAMAGED"]
    assert "cut short" in leaning.findings[0].sentence


def test_rsna_tilt_and_extents_come_from_positions_and_orientation(rsna: Path) -> None:
    leaning = loaded("rsna-2019", rsna)[1]
    assert leaning.geometry is not None
    assert abs(leaning.geometry.tilt_deg) == pytest.approx(18.0, abs=0.01)
    np.testing.assert_allclose(leaning.geometry.extents_mm, 5.0, atol=1e-3)


def test_rsna_rescale_defect_is_undone_as_published(rsna: Path) -> None:
    wrapped = loaded("rsna-2019", rsna)[2]
    stored = patient_head(3).astype(np.int64) % 4096
    x = stored + 1000
    x[x >= 4096] -= 4096
    np.testing.assert_array_equal(wrapped.hu, x - 1000)
    assert "CT_RESCALE_REPAIRED" in {warning.code for warning in wrapped.warnings}


def test_rsna_files_that_name_someone_are_left_out(tmp_path: Path) -> None:
    write_rsna_series(tmp_path / "stage_2_train", patient_head(1), patient="Doe^Jane", study="ID_s", series="ID_t")
    write_lines(tmp_path / "stage_2_train.csv", ["ID,Label"])
    found = dataset_named("rsna-2019").find(tmp_path)
    assert not found.records
    assert "not pseudonyms" in found.findings[-1].sentence
    assert "Doe" not in str(found)


def test_rsna_images_labelled_twice_and_differently_are_unknown_where_they_differ(tmp_path: Path) -> None:
    names = write_rsna_series(tmp_path / "stage_2_train", patient_head(1), patient="ID_a", study="ID_s", series="ID_t")
    rows = [row for name in names for row in rsna_rows(name)]
    write_lines(tmp_path / "stage_2_train.csv", ["ID,Label", *rows, *rsna_rows(names[2], "subdural")])
    record = dataset_named("rsna-2019").find(tmp_path).records[0]
    assert record.slice_labels[names[2]] == (None, False, False, False, None, False)
    assert "labelled twice and differently" in sentences("rsna-2019", tmp_path)


# BHSD


@pytest.fixture(scope="module")
def bhsd(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tilted scan stored as a pure rotation, a second study of its patient, scans without masks, a stray name."""
    root = tmp_path_factory.mktemp("bhsd")
    images, masks = root / "label_192" / "images", root / "label_192" / "ground truths"
    mask = np.zeros((9, 64, 60), np.uint16)
    for index, code in enumerate((1, 2, 3, 4, 5), 2):
        mask[index][BLOOD] = code
    head = patient_head(1, bleeding=range(2, 7))
    options = {"tilt_deg": 20.0, "sform": False}
    write_nifti(images / "ID_aa_ID_s1.nii.gz", head.astype(np.int32) + 1024, dtype=np.uint16, **options)
    write_nifti(masks / "ID_aa_ID_s1.nii.gz", mask, dtype=np.uint16, **options)
    write_nifti(images / "ID_aa_ID_s2.nii.gz", patient_head(2), flip=(0, 1, 2))
    write_nifti(masks / "ID_aa_ID_s2.nii.gz", mask, flip=(0, 1, 2), dtype=np.uint16)
    write_nifti(images / "ID_cc_ID_s3.nii.gz", patient_head(3))
    write_nifti(images / "someone.nii.gz", patient_head(4))
    write_nifti(root / "unlabel_2000" / "anybleed" / "ID_dd_ID_s4.nii.gz", patient_head(5))
    write_nifti(root / "unlabel_2000" / "nobleed" / "ID_ee_ID_s5.nii.gz", patient_head(6))
    return root


def test_bhsd_codes_become_our_labels(bhsd: Path) -> None:
    scan = loaded("bhsd", bhsd)[0]
    assert scan.mask is not None
    assert scan.mask_kind == "subtypes"
    expected = ["EDH", "IPH", "IVH", "SAH", "SDH"]
    inside = scan.mask[(slice(2, 7), *BLOOD)]
    assert [np.unique(one).tolist() for one in inside] == [[subtype_named(name).label] for name in expected]
    assert list(CODES) == [1, 2, 3, 4, 5]
    for index, name in enumerate(expected, 2):
        assert scan.slices[index].labels == labels_of({"any": True, **{one: one == name for one in expected}})
    assert scan.slices[0].labels == NEGATIVE
    assert {one.labels_from for one in scan.slices} == {"mask"}


def test_bhsd_step_of_a_tilted_scan_is_the_tables(bhsd: Path) -> None:
    scan = loaded("bhsd", bhsd)[0]
    assert scan.geometry is not None
    np.testing.assert_allclose(scan.geometry.extents_mm, 5.0 * np.cos(np.radians(20)), rtol=1e-4)
    as_stored = loaded("bhsd", bhsd, tilted_step_is_table_step="false")[0]
    assert as_stored.geometry is not None
    np.testing.assert_allclose(as_stored.geometry.extents_mm, 5.0, rtol=1e-4)


def test_bhsd_unsigned_numbers_and_a_slope_that_is_no_number_become_hu(bhsd: Path) -> None:
    np.testing.assert_array_equal(loaded("bhsd", bhsd)[0].hu, patient_head(1, bleeding=range(2, 7)))


def test_bhsd_mask_and_slice_numbers_follow_the_scan_through_flips(bhsd: Path) -> None:
    scan = loaded("bhsd", bhsd)[1]
    np.testing.assert_array_equal(scan.hu, patient_head(2))
    assert scan.mask is not None
    assert (scan.mask[(2, *BLOOD)] == subtype_named("EDH").label).all()
    assert scan.mask.astype(bool).sum() == 5 * 36
    assert [one.identity for one in scan.slices] == [str(number) for number in range(9, 0, -1)]


def test_bhsd_studies_of_one_patient_belong_together_and_names_are_those_of_rsna(bhsd: Path) -> None:
    records = dataset_named("bhsd").find(bhsd).records
    assert [(one.patient, one.study) for one in records][:2] == [("ID_aa", "ID_s1"), ("ID_aa", "ID_s2")]
    assert {one.identities for one in records} == {DATASETS["rsna-2019"].identities}


def test_bhsd_scans_without_masks_have_what_their_folder_says(bhsd: Path) -> None:
    without, bleeding, clear = loaded("bhsd", bhsd)[2:]
    assert without.mask is None
    assert {one.labels for one in without.slices} == {UNKNOWN}
    assert bleeding.record.labels == labels_of({"any": True})
    assert {one.labels for one in bleeding.slices} == {UNKNOWN}
    assert {one.labels for one in clear.slices} == {NEGATIVE}
    told = sentences("bhsd", bhsd)
    assert "2 scans have no mask; their slices are unlabelled. The first is ID_cc_ID_s3" in told
    assert "label_192/images/someone.nii.gz: The name does not tell patient and study" in told


@pytest.mark.parametrize(("damage", "words"), [("size", "where the scan is"), ("value", "stands for nothing")])
def test_a_mask_that_cannot_be_used_is_told_and_the_scan_stays(tmp_path: Path, damage: str, words: str) -> None:
    mask = np.zeros((9, 64, 60 if damage == "value" else 61), np.uint8)
    mask[3, 3, 3] = 6
    write_nifti(tmp_path / "label_192/images/ID_a_ID_b.nii.gz", patient_head(1))
    write_nifti(tmp_path / "label_192/ground truths/ID_a_ID_b.nii.gz", mask, dtype=np.uint8)
    scan = loaded("bhsd", tmp_path)[0]
    assert scan.mask is None
    assert [finding.code for finding in scan.findings] == ["DATA_MASK"]
    assert words in scan.findings[0].sentence


# PhysioNet CT-ICH


@pytest.fixture(scope="module")
def physionet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A flipped scan with blood in stored slices 3 and 4, another one without a mask; the table has a mark first."""
    root = tmp_path_factory.mktemp("physionet")
    mask = np.zeros((9, 64, 60), np.uint8)
    mask[(slice(5, 7), *BLOOD)] = 255
    write_nifti(root / "ct_scans/049.nii", patient_head(1, bleeding=(5, 6)), flip=(2,))
    write_nifti(root / "masks/049.nii", mask, flip=(2,), dtype=np.uint8)
    write_nifti(root / "ct_scans/050.nii", patient_head(2))
    kinds = "Intraventricular,Intraparenchymal,Subarachnoid,Epidural,Subdural"
    lines = [f"PatientNumber,SliceNumber,{kinds},No_Hemorrhage,Fracture_Yes_No"]
    lines += [f"49,{number},0,{int(number in (3, 4))},0,0,0,{int(number not in (3, 4))},0" for number in range(1, 10)]
    lines += ["50,1,0,0,1,0,0,1,0", "50,12,0,0,0,0,0,1,0", "51,1,0,0,0,0,0,1,0"]
    write_lines(root / "hemorrhage_diagnosis_raw_ct.csv", lines, encoding="utf-8-sig")
    return root


def test_physionet_slice_numbers_count_stored_slices_from_one(physionet: Path) -> None:
    scan = loaded("physionet-ct-ich", physionet)[0]
    np.testing.assert_array_equal(scan.hu, patient_head(1, bleeding=(5, 6)))
    assert [one.identity for one in scan.slices if one.labels == IPH_ONLY] == ["4", "3"]
    assert [index for index, one in enumerate(scan.slices) if one.labels[0]] == [5, 6]
    assert scan.slices[5].labels_from == "reader"


def test_physionet_masks_are_hemorrhage_above_zero(physionet: Path) -> None:
    scan = loaded("physionet-ct-ich", physionet)[0]
    assert scan.mask is not None
    assert scan.mask_kind == "any"
    assert np.unique(scan.mask).tolist() == [0, 1]
    assert np.flatnonzero(scan.mask.any(axis=(1, 2))).tolist() == [5, 6]
    assert not scan.findings


def test_physionet_contradictions_and_what_is_missing_are_told(physionet: Path) -> None:
    told = sentences("physionet-ct-ich", physionet)
    assert "1 scans have no mask; the first is 050" in told
    assert "have no scan; the first is 051" in told
    assert "1 slices have a subtype and No_Hemorrhage" in told
    scan = loaded("physionet-ct-ich", physionet)[1]
    assert scan.slices[0].labels == labels_of({"SAH": True, "IPH": False, "IVH": False, "SDH": False, "EDH": False})
    assert scan.slices[1].labels == UNKNOWN
    assert "1 labelled slices are not in the scan, which has 9" in scan.findings[0].sentence


# CQ500


@pytest.fixture(scope="module")
def cq500(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study with a thin, a 5 mm, a bone and an enhanced series; a study with an enhanced one only."""
    root = tmp_path_factory.mktemp("cq500")
    study = root / "CQ500CT7 CQ500CT7" / "Unknown Study"
    head = patient_head(1).astype(np.int16)
    head[:, :6, :6] = -3024  # stored -2000 with intercept -1024
    options = {"study_uid": "1.2.840.7", "signed": True}
    thin = patient_head(2, slices=20)
    write_series(study / "CT PLAIN THIN", thin, step_mm=1.25, thickness_mm=1.25, series_uid="1.2.840.7.1", **options)
    write_series(study / "CT PRE CONTRAST 5MM STD", head, series_uid="1.2.840.7.2", **options)
    write_series(study / "CT BONE", patient_head(3), series_uid="1.2.840.7.3", ConvolutionKernel="BONEPLUS", **options)
    write_series(study / "CT POST CONTRAST", patient_head(4), series_uid="1.2.840.7.4", **options)
    lost = root / "qct02" / "CQ500CT12 CQ500CT12" / "Unknown Study"
    write_series(lost / "CT 4cc sec 150cc D3D on", patient_head(5), series_uid="1.2.840.8.1")
    reads = {
        "CQ500-CT-7": {"ICH": "110", "IPH": "011", "SAH": "100"},
        "CQ500-CT-12": {},
        "CQ500-CT-99": {"ICH": "111"},
    }
    write_reads(root / "reads.csv", reads)
    return root


def test_cq500_takes_the_unenhanced_series_closest_to_five_millimetres(cq500: Path) -> None:
    (scan,) = loaded("cq500", cq500)
    assert scan.record.series == "1.2.840.7.2"
    assert scan.record.study == "1.2.840.7"
    assert scan.record.patient == "CQ500-CT-7"
    (thin,) = loaded("cq500", cq500, thickness_mm="1")
    assert thin.record.series == "1.2.840.7.1"
    assert thin.hu.shape[0] == 20


def test_cq500_reference_is_the_majority_and_says_of_slices_only_what_is_absent(cq500: Path) -> None:
    (scan,) = loaded("cq500", cq500)
    assert scan.record.labels == IPH_ONLY
    assert {one.labels for one in scan.slices} == {(None, None, False, False, False, False)}
    assert {one.labels_from for one in scan.slices} == {"scan"}


def test_nothing_typed_about_a_patient_reaches_the_index(cq500: Path) -> None:
    index = prepare(dataset_named("cq500"), cq500)
    assert len(index) == 9
    assert "Secret" not in str(index.table.to_pylist()) + str(index.findings)
    assert "SECRET" not in str(index.table.to_pylist()) + str(index.findings)


def test_cq500_padding_is_air(cq500: Path) -> None:
    (scan,) = loaded("cq500", cq500)
    assert (scan.hu[:, :6, :6] == -1024).all()
    np.testing.assert_array_equal(scan.hu[:, 6:], patient_head(1)[:, 6:])


def test_cq500_studies_without_a_usable_series_and_missing_ones_are_told(cq500: Path) -> None:
    told = sentences("cq500", cq500)
    assert "qct02/CQ500CT12 CQ500CT12: The study was left out" in told
    assert "1 studies of reads.csv are not there; the first is CQ500-CT-99" in told


# Hemorica


@pytest.fixture
def hemorica(tmp_path: Path) -> Path:
    lines = ["patient_name,slice_number,hemorrhage_binary,IPH,SDH,EPH"]
    for number in range(1, 5):
        np.save(_made(tmp_path / "images" / f"P07_{number}.npy"), patient_head(1)[number].astype(np.float32))
        np.save(_made(tmp_path / "masks" / f"P07_{number}.npy"), np.eye(64, 60, dtype=np.uint8) * (number == 2))
        lines.append(f"P07,{number},{int(number == 2)},0,0,{int(number == 2)}")
    lines.append("P07,9,0,0,0,0")
    np.save(_made(tmp_path / "images" / "Jane Doe_1.npy"), patient_head(2)[3])
    lines.append("Jane Doe,1,1,1,0,0")
    write_lines(tmp_path / "labels.csv", lines)
    return tmp_path


def _made(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def test_hemorica_reads_arrays_and_the_table_beside_them(hemorica: Path) -> None:
    scan = loaded("hemorica", hemorica)[1]
    np.testing.assert_array_equal(scan.hu, patient_head(1)[1:5])
    assert [one.labels[0] for one in scan.slices] == [False, True, False, False]
    assert scan.slices[1].labels == (True, False, None, None, False, True)
    assert scan.mask is not None
    assert scan.mask_kind == "any"
    assert scan.mask.sum() == 60
    assert scan.geometry is None
    assert "1 slices of the table are not there; the first is P07_9" in sentences("hemorica", hemorica)


def test_hemorica_a_name_becomes_a_pseudonym(hemorica: Path) -> None:
    record = loaded("hemorica", hemorica)[0].record
    assert record.patient == record.study == record.series
    assert record.patient.startswith("P")
    assert "Jane" not in record.patient + record.study + record.series


def test_hemorica_damaged_arrays_are_left_out(hemorica: Path) -> None:
    (hemorica / "images" / "P07_1.npy").write_bytes(b"no array")
    np.save(hemorica / "images" / "P07_3.npy", np.zeros((5, 5)))
    np.save(hemorica / "images" / "P07_4.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    scan = loaded("hemorica", hemorica)[1]
    assert [one.identity for one in scan.slices] == ["2"]
    assert [finding.code for finding in scan.findings] == ["DATA_DAMAGED"] * 3


def test_hemorica_columns_places_and_codes_are_options(hemorica: Path) -> None:
    lines = (hemorica / "labels.csv").read_text().replace("hemorrhage_binary", "bleeds").replace("EPH", "epi")
    write_lines(hemorica / "labels.csv", [lines.strip()])
    (hemorica / "masks").rename(hemorica / "segmentations")
    (scan,) = loaded(
        "hemorica",
        hemorica,
        any="bleeds",
        edh="epi",
        mask="segmentations/{patient}_{slice}.npy",
        mask_codes="EDH=1,SDH=2",
    )[1:]
    assert scan.mask_kind == "subtypes"
    assert np.unique(scan.mask).tolist() == [0, subtype_named("EDH").label]
    assert scan.slices[1].labels[5] is True


# INSTANCE 2022


def test_instance_masks_are_of_any_hemorrhage_and_evaluation_scans_have_none(tmp_path: Path) -> None:
    mask = np.zeros((9, 64, 60), np.uint8)
    mask[(4, *BLOOD)] = 1
    write_nifti(tmp_path / "train_2/data/001.nii.gz", patient_head(1, bleeding=(4,)))
    write_nifti(tmp_path / "train_2/label/001.nii.gz", mask, dtype=np.uint8)
    write_nifti(tmp_path / "evaluation/001.nii.gz", patient_head(2))
    train, evaluation = loaded("instance-2022", tmp_path)
    assert [one.labels for one in train.slices] == [NEGATIVE] * 4 + [labels_of({"any": True})] + [NEGATIVE] * 4
    assert train.record.patient != evaluation.record.patient
    assert evaluation.mask is None
    assert {one.labels for one in evaluation.slices} == {UNKNOWN}


# Brain tumours


@pytest.fixture
def tumours(tmp_path: Path) -> Path:
    image = np.arange(30 * 20, dtype=np.int16).reshape(30, 20)
    mask = np.zeros((30, 20), np.uint8)
    mask[4:9, 2:5] = 1
    for number, (patient, label) in enumerate([("100360", 1), ("MR0402A", 2), ("100360", 3)], 1):
        write_tumour(tmp_path / "part1" / f"{number}.mat", image, mask, label=label, patient=patient)
    (tmp_path / "part1" / "4.mat").write_bytes(b"MATLAB 5.0 MAT-file, not HDF5")
    with h5py.File(tmp_path / "cvind.mat", "w") as file:
        file["cvind"] = np.array([[1.0, 2.0, 1.0, 3.0, 5.0]])
    return tmp_path


def test_tumour_matrices_are_turned_back_and_text_is_read(tumours: Path) -> None:
    scans = loaded("brain-tumours", tumours)
    assert [one.record.patient for one in scans] == ["100360", "MR0402A", "100360"]
    assert [one.record.category for one in scans] == ["meningioma", "glioma", "pituitary"]
    assert [one.record.fold for one in scans] == [1, 2, 1]
    np.testing.assert_array_equal(scans[0].hu[0], np.arange(30 * 20).reshape(30, 20))
    assert scans[0].mask is not None
    assert scans[0].mask[0, 4:9, 2:5].all()
    assert scans[0].mask.sum() == 15
    assert (scans[0].modality, scans[0].mask_kind, scans[0].geometry) == ("MR", "tumour", None)


def test_tumour_files_of_another_format_are_left_out_and_missing_ones_counted(tumours: Path) -> None:
    told = sentences("brain-tumours", tumours)
    assert "part1/4.mat: The file is not a MATLAB v7.3 file. It was left out." in told
    assert "1 files that cvind.mat counts are not there" in told


# A folder of one's own


def test_a_folder_with_a_table_gives_scans_slices_and_masks(tmp_path: Path) -> None:
    mask = np.zeros((9, 64, 60), np.uint8)
    mask[(4, *BLOOD)] = subtype_named("SAH").label
    write_nifti(tmp_path / "a.nii.gz", patient_head(1))
    write_nifti(tmp_path / "b.nii.gz", patient_head(2))
    write_nifti(tmp_path / "masks/b.nii.gz", mask, dtype=np.uint8)
    write_nifti(tmp_path / "stray.nii.gz", patient_head(3))
    lines = ["file,patient,study,slice,any,IPH,mask", "a.nii.gz,Doe,1.2.3.4.5,3,1,1,", "a.nii.gz,Doe,1.2.3.4.5,4,0,,"]
    lines += ["b.nii.gz,Doe,,,,,masks/b.nii.gz", "gone.nii.gz,X,,,,,", "../a.nii.gz,X,,,,,"]
    write_lines(tmp_path / "labels.csv", lines)
    one, other = loaded("nifti-folder", tmp_path)
    assert one.record.patient == other.record.patient
    assert "Doe" not in repr(one.record) + repr(other.record)
    assert (one.record.study, other.record.study[:1]) == ("1.2.3.4.5", "P")
    assert [slice_.labels[:2] for slice_ in one.slices[2:4]] == [(True, True), (False, False)]
    assert other.slices[4].labels[3] is True
    told = sentences("nifti-folder", tmp_path)
    assert "1 files of the table are not there; the first is gone.nii.gz" in told
    assert "1 NIfTI files are not in the table" in told
    assert "1 names in the table are no NIfTI files in the folder" in told


# Phantoms


def test_phantoms_are_a_dataset_with_exact_masks(tmp_path: Path) -> None:
    (scan,) = loaded("phantoms", tmp_path, count="1", size="64", first_seed="7")
    assert scan.mask is not None
    assert scan.geometry is not None
    assert len(scan.slices) == len(scan.hu) == len(scan.mask)
    for index, one in enumerate(scan.slices):
        assert one.labels[0] == bool(scan.mask[index].any())
    assert scan.record.labels[0] == bool(scan.mask.any())


# All


@pytest.mark.parametrize("name", [name for name in DATASETS if name != "phantoms"])
def test_an_empty_folder_is_refused_with_the_layout_that_is_expected(tmp_path: Path, name: str) -> None:
    with pytest.raises(DataRefused) as refused:
        dataset_named(name).find(tmp_path)
    assert refused.value.code in ("DATA_LAYOUT", "DATA_TABLE")
    assert refused.value.message.endswith(".")


def test_unknown_datasets_and_options_are_refused() -> None:
    for name, options in (("rsna", {}), ("bhsd", {"step": "1"}), ("phantoms", {"count": "many"})):
        with pytest.raises(UsageError) as refused:
            dataset_named(name, options)
        assert isinstance(refused.value, HemoCAMError)


def test_a_pure_rotation_is_what_the_bhsd_fixture_stores() -> None:
    affine = affine_of(tilt_deg=20)
    directions = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    np.testing.assert_allclose(directions.T @ directions, np.eye(3), atol=1e-12)
