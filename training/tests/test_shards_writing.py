from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from dataset_writers import (
    BLOOD,
    patient_head,
    rsna_rows,
    write_lines,
    write_nifti,
    write_rsna_series,
    write_tumour,
)
from hemocam_training.cli import main
from hemocam_training.datasets import dataset_named, prepare
from hemocam_training.errors import DataRefused
from hemocam_training.scan_sources import IndexSource, PhantomSource
from hemocam_training.shards import Preprocessing, SliceShards, write_shards
from hemocam_training.shards.shard_files import read_record
from hemocam_training.shards.writing import MANIFEST, verify_shards
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from HemoCAMLib.errors import UsageError

SLICES = 9


@pytest.fixture(scope="module")
def bhsd(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two scans stored in reverse with a mask in slice 4, one without a mask."""
    root = tmp_path_factory.mktemp("bhsd")
    mask = np.zeros((SLICES, 64, 60), np.uint8)
    mask[(4, *BLOOD)] = 2
    for number in (1, 2, 3):
        head = patient_head(number, bleeding=(4,))
        write_nifti(root / f"label_192/images/ID_p{number}_ID_s{number}.nii.gz", head, tilt_deg=20, flip=(0, 2))
        if number < 3:
            place = root / f"label_192/ground truths/ID_p{number}_ID_s{number}.nii.gz"
            write_nifti(place, mask, tilt_deg=20, flip=(0, 2), dtype=np.uint8)
    prepare(dataset_named("bhsd"), root).write(root / "index.parquet")
    return root


def source_of(root: Path, name: str = "bhsd") -> IndexSource:
    return IndexSource(prepare(dataset_named(name), root), root)


def test_shards_of_nifti_scans_are_canonical_with_masks_labels_and_true_spacing(bhsd: Path, tmp_path: Path) -> None:
    write_shards(source_of(bhsd), tmp_path, size=32, scans_per_shard=2)
    shards = SliceShards(tmp_path)
    assert (len(shards), shards.scan_count) == (3 * SLICES, 3)
    expected = Preprocessing(32).stored(patient_head(1, bleeding=(4,))[6])
    found = (shards.stacks_hu(np.array([6]))[0, 1].numpy() + 60) * 255 / 170
    np.testing.assert_allclose(found, expected, atol=1e-3)
    assert shards.spacing_mm[0].tolist() == pytest.approx([3.4 * 2, 3.4 * 60 / 32])
    assert shards.extents_mm[0] == pytest.approx(5 * np.cos(np.radians(20)), rel=1e-4)
    masks = shards.masks(np.arange(3 * SLICES))
    assert np.flatnonzero(masks.any(axis=(1, 2))).tolist() == [4, 4 + SLICES]
    assert np.unique(masks).tolist() == [0, 1]
    assert shards.mask_kinds[[0, 20]].tolist() == ["subtypes", ""]


def test_what_is_unknown_stays_unknown(bhsd: Path, tmp_path: Path) -> None:
    write_shards(source_of(bhsd), tmp_path, size=32)
    shards = SliceShards(tmp_path)
    assert shards.target[4].tolist() == [1, 1, 0, 0, 0, 0]
    assert shards.known[: 2 * SLICES].all()
    assert not shards.known[2 * SLICES :].any()
    assert not shards.target[2 * SLICES :].any()
    assert np.isnan(shards.areas_mm2[2 * SLICES :]).all()


def test_labels_of_lesions_too_small_to_be_called_do_not_count(bhsd: Path, tmp_path: Path) -> None:
    write_shards(source_of(bhsd), tmp_path, size=32)
    area = 36 * 3.4**2
    assert SliceShards(tmp_path).areas_mm2[4, :2].tolist() == pytest.approx([area, area], rel=1e-4)
    strict = SliceShards(tmp_path, minimal_area_mm2=area + 1)
    assert strict.target[4].tolist() == [0] * 6
    assert strict.known[4].tolist() == [0, 0, 1, 1, 1, 1]


def test_dicom_series_are_cached_in_the_order_of_their_positions(tmp_path: Path) -> None:
    head = patient_head(1)
    names = write_rsna_series(tmp_path / "stage_2_train", head, patient="ID_a", study="ID_b", series="ID_c")
    rows = [row for number, name in enumerate(names) for row in rsna_rows(name, *(["epidural"] if number == 2 else []))]
    write_lines(tmp_path / "stage_2_train.csv", ["ID,Label", *rows])
    write_shards(source_of(tmp_path, "rsna-2019"), tmp_path / "cache", size=64)
    shards = SliceShards(tmp_path / "cache")
    assert shards.target[2].tolist() == [1, 0, 0, 0, 0, 1]
    assert shards.patients[0] == "rsna-2019/ID_a"
    assert not shards.has_masks
    with pytest.raises(DataRefused, match="no masks"):
        shards.masks(np.array([0]))
    expected = Preprocessing(64).stored(head[2])
    np.testing.assert_allclose((shards.stacks_hu(np.array([2]))[0, 1].numpy() + 60) * 1.5, expected, atol=1e-3)


def test_arrays_without_geometry_have_no_spacing(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    for number in range(3):
        np.save(tmp_path / "images" / f"P1_{number}.npy", patient_head(1)[number].astype(np.float32))
    lines = [f"P1,{number},{int(number == 1)}" for number in range(3)]
    write_lines(tmp_path / "labels.csv", ["patient_name,slice_number,hemorrhage_binary", *lines])
    write_shards(source_of(tmp_path, "hemorica"), tmp_path / "cache", size=32)
    shards = SliceShards(tmp_path / "cache")
    assert np.isnan(shards.spacing_mm).all()
    assert shards.target[:, 0].tolist() == [0, 1, 0]
    assert shards.known[1].tolist() == [1, 0, 0, 0, 0, 0]


def test_tumours_keep_their_kind_and_fold_and_fill_the_window(tmp_path: Path) -> None:
    image = np.arange(64 * 64, dtype=np.int16).reshape(64, 64)
    mask = np.zeros((64, 64), np.uint8)
    mask[8:24, 8:24] = 1
    write_tumour(tmp_path / "1.mat", image, mask, label=2, patient="17")
    write_shards(source_of(tmp_path, "brain-tumours"), tmp_path / "cache", size=32)
    shards = SliceShards(tmp_path / "cache")
    assert (shards.categories[0], shards.mask_kinds[0], shards.folds[0]) == ("glioma", "tumour", 0)
    hu = shards.stacks_hu(np.array([0]))
    assert float(hu.min()) == pytest.approx(-40, abs=1.5)
    assert 89 < float(hu.max()) < 92
    np.testing.assert_array_equal(shards.masks(np.array([0]))[0], mask[::2, ::2])
    assert not shards.known.any()


def test_phantoms_are_cached_by_seed_free_of_noise(tmp_path: Path) -> None:
    source = PhantomSource(1_000_000, 1, noise=False, size=64)
    write_shards(source, tmp_path, size=64)
    shards, scan = SliceShards(tmp_path), source.load(0)
    assert set(shards.seeds.tolist()) == {1_000_000}
    np.testing.assert_array_equal(shards.masks(np.arange(len(shards))), scan.mask)
    target, known = scan.target_and_known
    np.testing.assert_array_equal(shards.target, target)
    np.testing.assert_array_equal(shards.known, known)


def test_processes_write_the_same_bytes_as_one(bhsd: Path, tmp_path: Path) -> None:
    one = write_shards(source_of(bhsd), tmp_path / "one", size=32, scans_per_shard=1)
    two = write_shards(source_of(bhsd), tmp_path / "two", size=32, scans_per_shard=1, workers=2)
    assert one == two
    assert (tmp_path / "one" / MANIFEST).read_bytes() == (tmp_path / "two" / MANIFEST).read_bytes()


def test_the_manifest_names_source_preprocessing_size_and_checksums(bhsd: Path, tmp_path: Path) -> None:
    source = source_of(bhsd)
    write_shards(source, tmp_path, size=32)
    told = json.loads((tmp_path / MANIFEST).read_text(encoding="utf-8"))
    assert told["source"]["index_checksum"] == source.index.checksum
    assert told["preprocessing"]["size"] == 32
    assert (told["slices"], told["scans_used"], told["mask_kinds"]) == (27, 3, ["subtypes"])
    assert {len(checksum) for shard in told["shards"] for checksum in shard["files"].values()} == {64}


def test_a_killed_writer_is_continued_and_what_it_finished_is_kept(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    lines = ["patient_name,slice_number,hemorrhage_binary"]
    for patient in range(60):
        np.save(tmp_path / "images" / f"P{patient}_0.npy", patient_head(patient, slices=1, rows=256, columns=256)[0])
        lines.append(f"P{patient},0,0")
    write_lines(tmp_path / "labels.csv", lines)
    index = prepare(dataset_named("hemorica"), tmp_path)
    index.write(tmp_path / "index.parquet")
    out = tmp_path / "cache"
    code = (
        "from pathlib import Path; from hemocam_training.datasets import ScanIndex\n"
        "from hemocam_training.scan_sources import IndexSource; from hemocam_training.shards import write_shards\n"
        f"root = Path({str(tmp_path)!r})\n"
        "source = IndexSource(ScanIndex.read(root / 'index.parquet'), root)\n"
        "write_shards(source, root / 'cache', size=256, scans_per_shard=1)"
    )
    process = subprocess.Popen([sys.executable, "-c", code])
    while not (out / "shard-00001.json").exists() and process.poll() is None:
        time.sleep(0.001)
    process.kill()
    process.wait()
    finished = [number for number in range(60) if read_record(out, f"shard-{number:05d}")]
    assert 2 <= len(finished) < 60
    assert not (out / MANIFEST).exists()
    with pytest.raises(DataRefused, match="not finished"):
        SliceShards(out)
    assert len(SliceShards(out, incomplete=True)) == len(finished)
    before = {path: path.stat().st_mtime_ns for path in out.glob("shard-00000.*")}
    write_shards(IndexSource(index, tmp_path), out, size=256, scans_per_shard=1)
    assert len(SliceShards(out)) == 60
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert verify_shards(out) == 60


def test_a_folder_of_another_cache_is_refused(bhsd: Path, tmp_path: Path) -> None:
    write_shards(source_of(bhsd), tmp_path, size=32)
    with pytest.raises(UsageError, match="preprocessing differ"):
        write_shards(source_of(bhsd), tmp_path, size=64)


def test_a_scan_that_changed_since_it_was_prepared_is_told_and_left_out(tmp_path: Path) -> None:
    for number in (1, 2):
        write_nifti(tmp_path / f"label_192/images/ID_p{number}_ID_s{number}.nii.gz", patient_head(number))
    source = source_of(tmp_path)
    write_nifti(tmp_path / "label_192/images/ID_p1_ID_s1.nii.gz", patient_head(9))
    (record,) = write_shards(source, tmp_path / "cache", size=32)
    assert (record.scans, record.slices) == ((1,), SLICES)
    assert "was changed since it was prepared" in record.findings[0].sentence


def test_damaged_pixels_are_found_by_their_checksum(bhsd: Path, tmp_path: Path) -> None:
    write_shards(source_of(bhsd), tmp_path, size=32)
    place = tmp_path / "shard-00000.slices.npy"
    content = bytearray(place.read_bytes())
    content[-1] ^= 1
    place.write_bytes(content)
    with pytest.raises(DataRefused, match=r"shard-00000\.slices\.npy is damaged"):
        verify_shards(tmp_path)


@given(arrays(np.uint8, (48, 36), elements=st.sampled_from([0, 0, 1, 4])))
def test_a_small_mask_holds_the_labels_that_fill_half_of_its_pixels(mask: np.ndarray) -> None:
    small = Preprocessing(12).stored_mask(mask)
    blocks = mask.reshape(12, 4, 12, 3).swapaxes(1, 2).reshape(12, 12, 12)
    filled = np.count_nonzero(blocks, axis=2)
    np.testing.assert_array_equal(small > 0, filled >= 6)
    counts = np.stack([np.count_nonzero(blocks == label, axis=2) for label in (1, 4)])
    clear = (small > 0) & (counts[0] != counts[1])
    np.testing.assert_array_equal(small[clear], np.where(counts[0] > counts[1], 1, 4)[clear])


def test_cached_values_keep_hu_within_half_a_step() -> None:
    hu = np.random.default_rng(0).integers(-50, 100, (64, 64)).astype(np.int16)
    back = Preprocessing(64).stored(hu) * Preprocessing(64).hu_per_step - 60
    assert np.abs(back - hu).max() <= 1 / 3 + 1e-4


def test_the_command_caches_a_part_of_a_split_and_says_what_it_wrote(
    bhsd: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    index, split, out = bhsd / "index.parquet", tmp_path / "split.json", tmp_path / "cache"
    shares = ["--part", "train=0.67", "--part", "test=0.33"]
    assert main(["split", str(index), "--out", str(split), *shares]) == 0
    capsys.readouterr()
    part = ["--index", str(index), "--split", str(split), "--part", "train"]
    assert main(["cache", "--out", str(out), *part, "--size", "32", "--workers", "1", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["scans"], told["slices"]) == (2, 18)
    assert main(["cache", "--out", str(out), "--verify"]) == 0
    assert main(["cache", "--out", str(out)]) == 2
    assert main(["cache", "--out", str(out), "--phantoms", "many"]) == 2
