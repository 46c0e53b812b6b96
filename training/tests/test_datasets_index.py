from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from dataset_writers import BLOOD, patient_head, rsna_rows, write_lines, write_nifti, write_rsna_series
from hemocam_training.datasets import ScanIndex, dataset_named, prepare
from hemocam_training.datasets.index import SCHEMA
from hemocam_training.errors import DataRefused

from HemoCAMLib.subtypes import CLASS_NAMES


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three scans in BHSD's layout: one with a mask, one that is cut short, one with its mask cut short."""
    root = tmp_path_factory.mktemp("bhsd")
    images, masks = root / "label_192/images", root / "label_192/ground truths"
    mask = np.zeros((9, 64, 60), np.uint8)
    mask[(4, *BLOOD)] = 2
    for number in (1, 2, 3):
        write_nifti(images / f"ID_p{number}_ID_s{number}.nii.gz", patient_head(number), tilt_deg=20)
        write_nifti(masks / f"ID_p{number}_ID_s{number}.nii.gz", mask, tilt_deg=20)
    for path in (images / "ID_p2_ID_s2.nii.gz", masks / "ID_p3_ID_s3.nii.gz"):
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    return root


@pytest.fixture(scope="module")
def index(root: Path) -> ScanIndex:
    return prepare(dataset_named("bhsd"), root)


def test_one_damaged_file_does_not_stop_the_rest(index: ScanIndex) -> None:
    assert sorted(set(index.strings("study"))) == ["ID_s1", "ID_s3"]
    told = {finding.file: finding.sentence for finding in index.findings}
    assert "cut short" in told["label_192/images/ID_p2_ID_s2.nii.gz"]
    assert told["label_192/ground truths/ID_p3_ID_s3.nii.gz"].startswith("The mask cannot be read")


def test_rows_hold_labels_checksums_geometry_and_fingerprints(index: ScanIndex, root: Path) -> None:
    rows = [row for row in index.table.to_pylist() if row["study"] == "ID_s1"]
    assert [row["slice_index"] for row in rows] == list(range(9))
    assert [row["IPH"] for row in rows] == [number == 4 for number in range(9)]
    assert rows[0]["scan_any"] is True
    content = (root / rows[0]["file"]).read_bytes()
    assert rows[0]["sha256"] == hashlib.sha256(content).hexdigest()
    assert rows[0]["mask_sha256"] == hashlib.sha256((root / rows[0]["mask_file"]).read_bytes()).hexdigest()
    assert rows[0]["extent_mm"] == pytest.approx(5 * np.cos(np.radians(20)), rel=1e-4)
    assert "CT_OBLIQUE_STEP" in rows[0]["warnings"]
    assert all(row["fingerprint"] for row in rows)


def test_labels_that_are_not_known_are_missing_values(index: ScanIndex) -> None:
    frame = index.frame
    without_mask = frame[frame["study"] == "ID_s3"]
    assert without_mask[list(CLASS_NAMES)].isna().all(axis=None)
    assert (without_mask["mask_file"] == "").all()


def test_an_index_comes_back_from_its_file_and_opens_its_dataset(index: ScanIndex, root: Path, tmp_path: Path) -> None:
    index.write(tmp_path / "out" / "index.parquet")
    back = ScanIndex.read(tmp_path / "out" / "index.parquet")
    assert back.table.equals(index.table)
    assert back.findings == index.findings
    assert back.checksum == index.checksum
    record = next(back.records())
    scan = back.open_dataset().load(record, root)
    np.testing.assert_array_equal(scan.hu, patient_head(1))
    assert scan.mask is not None
    assert scan.mask.any()


def test_records_from_an_index_load_the_same_scans_as_those_from_the_folder(tmp_path: Path) -> None:
    names = write_rsna_series(tmp_path / "stage_2_train", patient_head(1), patient="ID_a", study="ID_b", series="ID_c")
    rows = [row for number, name in enumerate(names) for row in rsna_rows(name, *(["epidural"] if number == 2 else []))]
    write_lines(tmp_path / "stage_2_train.csv", ["ID,Label", *rows])
    dataset = dataset_named("rsna-2019")
    (found,) = dataset.find(tmp_path).records
    (recorded,) = prepare(dataset, tmp_path).records()
    assert set(recorded.files) == set(found.files)
    one, other = dataset.load(found, tmp_path), dataset.load(recorded, tmp_path)
    assert one.slices == other.slices
    np.testing.assert_array_equal(one.hu, other.hu)


def test_the_same_folder_gives_the_same_checksum_however_many_processes(root: Path, index: ScanIndex) -> None:
    assert prepare(dataset_named("bhsd"), root, processes=2).checksum == index.checksum


def test_progress_is_told_from_none_to_all(root: Path) -> None:
    steps: list[tuple[int, int]] = []
    prepare(dataset_named("bhsd"), root, on_progress=lambda done, total: steps.append((done, total)))
    assert steps == [(done, 3) for done in range(4)]


def test_a_changed_index_is_refused(index: ScanIndex, tmp_path: Path) -> None:
    path = tmp_path / "index.parquet"
    index.write(path)
    table = pq.read_table(path)
    place = table.schema.get_field_index("IPH")
    changed = table.set_column(place, "IPH", pa.array([True] * len(table), pa.bool_()))
    pq.write_table(changed, path)
    with pytest.raises(DataRefused, match="was changed"):
        ScanIndex.read(path)


@pytest.mark.parametrize("content", [b"", b"PAR1 no parquet PAR1", b"file,label\n"])
def test_what_is_no_index_is_refused_in_a_sentence(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x.parquet"
    path.write_bytes(content)
    with pytest.raises(DataRefused, match="not an index of a prepared dataset"):
        ScanIndex.read(path)
    pq.write_table(pa.table({"patient": ["a"]}), path)
    with pytest.raises(DataRefused, match="not an index of a prepared dataset"):
        ScanIndex.read(path)


def test_a_dataset_of_which_nothing_can_be_used_is_refused(tmp_path: Path) -> None:
    path = write_nifti(tmp_path / "label_192/images/ID_a_ID_b.nii.gz", patient_head(1))
    path.write_bytes(b"x" * 500)
    with pytest.raises(DataRefused) as refused:
        prepare(dataset_named("bhsd"), tmp_path)
    assert refused.value.code == "DATA_EMPTY"


def test_an_index_has_no_column_for_a_name() -> None:
    assert not [name for name in SCHEMA.names if "name" in name.lower() or "birth" in name.lower()]
