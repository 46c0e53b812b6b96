from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from dataset_writers import BLOOD, patient_head, write_nifti
from hemocam_training.bundle_export.card import model_card
from hemocam_training.cli import main
from hemocam_training.datasets import ScanIndex, dataset_named, prepare
from hemocam_training.errors import LeakFound
from hemocam_training.evaluation.baseline import baseline_labels
from hemocam_training.evaluation.collect import Collected, collect
from hemocam_training.evaluation.figures_of import classification_rows, mask_rows, negative_rows
from hemocam_training.evaluation.mask_counts import Way, confusion
from hemocam_training.held_out import refuse_seen
from hemocam_training.mapped_scans import MapStore
from hemocam_training.metrics import auroc
from hemocam_training.scan_sources import IndexSource, PhantomSource
from mapped_heads import PLAIN, VOXEL_ML, DrawnStore, head, labels

from HemoCAMLib.model import ModelBundle
from HemoCAMLib.run.folder import RunFolder
from HemoCAMLib.run.job import AnalyzeJob
from HemoCAMLib.run.networks import NetworkCache
from HemoCAMLib.run.pipeline import run_analysis
from HemoCAMLib.subtypes import CLASS_NAMES

A, B = (slice(4, 8), slice(4, 8)), (slice(4, 8), slice(6, 10))
WAYS = (Way("gated", PLAIN), Way("true labels", PLAIN, true_gates=True), Way("HU", None))


@pytest.fixture(scope="module")
def found() -> Collected:
    """An IPH outlined half beside it, an IPH that is not called, an EDH called in a healthy head."""
    one, beside = labels(4, IPH=(1, A)), labels(4, IPH=(1, B))
    missed = head("b", one, one, np.full((4, 6), -3.0))
    scans = [
        head("a", one, beside),
        missed,
        head("c", labels(4), labels(4, EDH=(2, A))),
        head("d", labels(4), labels(4)),
    ]
    store = DrawnStore(scans)
    return collect(store, store, WAYS)  # type: ignore[arg-type]


def by_class(rows: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    return {row["class"]: row for row in rows}


def test_dice_and_iou_follow_from_the_pixels(found: Collected) -> None:
    iph = by_class(mask_rows(found, "gated", 200))["IPH"]
    # 8 of 16 pixels in both, another 16 are true and not called.
    assert iph["dice_pooled"].value == pytest.approx(2 * 8 / (16 + 32))
    assert iph["iou_pooled"].value == pytest.approx(8 / (16 + 32 - 8))
    assert iph["dice_mean_slice"].value == pytest.approx((0.5 + 0) / 2)
    assert iph["iou_mean_slice"].value == pytest.approx((8 / 24 + 0) / 2)
    assert (iph["scans"], iph["slices"]) == (2, 2)


def test_true_labels_judge_masks_apart_from_the_classification(found: Collected) -> None:
    iph = by_class(mask_rows(found, "true labels", 200))["IPH"]
    assert iph["dice_pooled"].value == pytest.approx(2 * (8 + 16) / (32 + 32))
    edh = by_class(mask_rows(found, "true labels", 200))["EDH"]
    assert np.isnan(edh["dice_pooled"].value)


def test_volumes_are_in_ml_and_false_ones_are_counted_where_nothing_is(found: Collected) -> None:
    iph = by_class(mask_rows(found, "gated", 200))["IPH"]
    assert iph["true_ml_median"] == pytest.approx(16 * VOXEL_ML)
    assert iph["volume_error_ml"].value == pytest.approx(np.median([0, 16]) * VOXEL_ML)
    assert iph["bias_ml"].value == pytest.approx(-8 * VOXEL_ML)
    negatives = {row["masks"]: row for row in negative_rows(found, 200)}
    assert negatives["gated"]["negative_scans"] == 2
    assert negatives["gated"]["false_ml_mean"].value == pytest.approx(8 * VOXEL_ML)
    assert negatives["gated"]["false_ml_largest"] == pytest.approx(16 * VOXEL_ML)
    assert negatives["gated"]["clean_scans"].value == 0.5
    # Beside the truth lie 8 pixels in the first scan, 16 in the third.
    assert negatives["gated"]["false_ml_all_scans"].value == pytest.approx(24 / 4 * VOXEL_ML)
    assert negatives["true labels"]["false_ml_mean"].value == 0


def test_intervals_come_from_drawing_patients(found: Collected) -> None:
    dice = by_class(mask_rows(found, "gated", 400))["IPH"]["dice_mean_slice"]
    assert (dice.low, dice.high) == (0.0, 0.5)


def test_classification_counts_slices_with_known_labels_only(found: Collected) -> None:
    rows = by_class(classification_rows(found, dict.fromkeys(CLASS_NAMES, 0.5), 200))
    assert (rows["IPH"]["positive_slices"], rows["IPH"]["slices"]) == (2, 16)
    assert rows["IPH"]["sensitivity"].value == 0.5
    assert rows["IPH"]["specificity"].value == 1.0
    assert rows["EDH"]["specificity"].value == pytest.approx(15 / 16)
    assert rows["IPH"]["auroc"].value == pytest.approx(auroc(found.probabilities[:, 1], found.target[:, 1] > 0))
    assert np.isnan(rows["SAH"]["auroc"].value)
    unknown = replace(found, known=np.zeros_like(found.known))
    assert classification_rows(unknown, dict.fromkeys(CLASS_NAMES, 0.5), 200) == []


def test_a_mask_of_any_hemorrhage_judges_no_subtype_and_labels_alone_judge_what_is_absent() -> None:
    one = labels(4, IPH=(1, A))
    any_mask = replace(head("a", one, one), truth=(one > 0).astype(np.uint8), mask_kind="any")
    labelled = replace(head("b", labels(4), labels(4, EDH=(2, A))), truth=None, mask_kind="")
    unlabelled = replace(labelled, patient="c", known=np.zeros((4, 6), np.float32))
    store = DrawnStore([any_mask, labelled, unlabelled])
    found = collect(store, store, WAYS)  # type: ignore[arg-type]
    assert found.judged.tolist() == [[True, False, True, True, True, True], [True] * 6, [False] * 6]
    rows = by_class(mask_rows(found, "gated", 200))
    assert rows["any"]["scans"] == 1
    assert rows["any"]["dice_pooled"].value == pytest.approx(2 * 16 / (32 + 16))
    assert rows["IPH"]["scans"] == 0
    # Called in one of the two scans that are known to be without it.
    assert rows["EDH"]["false_ml"].value == pytest.approx(16 / 2 * VOXEL_ML)


def test_without_geometry_no_volume_is_given() -> None:
    one = labels(4, IPH=(1, A))
    store = DrawnStore([head("a", one, one, has_geometry=False), head("b", one, one, has_geometry=False)])
    found = collect(store, store, WAYS)  # type: ignore[arg-type]
    row = by_class(mask_rows(found, "gated", 200))["IPH"]
    assert row["dice_pooled"].value == 1.0
    assert np.isnan(row["volume_error_ml"].value)


def test_the_baseline_knows_no_subtypes(found: Collected) -> None:
    rows = mask_rows(found, "HU", 200)
    assert [row["class"] for row in rows] == ["any"]


def test_the_baseline_marks_dense_pixels_away_from_the_edge_of_the_brain() -> None:
    hu = np.full((1, 64, 64), 30, np.int16)
    hu[0, 28:36, 28:36] = 70
    hu[0, :8, :] = 70
    brain = np.zeros((1, 64, 64), bool)
    brain[0, 4:60, 4:60] = True
    (mask,) = baseline_labels(hu, brain, 1.0)
    assert mask[30:34, 30:34].all()
    assert not mask[:20].any()


def test_confusion_counts_pairs() -> None:
    called, truth = np.array([[0, 1, 2], [2, 2, 0]], np.uint8), np.array([[0, 1, 1], [2, 0, 5]], np.uint8)
    table = confusion(called, truth)
    assert (table[1, 1], table[2, 1], table[2, 2], table[2, 0], table[0, 5]) == (1, 1, 1, 1, 1)
    assert table.sum() == 6


# Scans of a dataset, through a network


@pytest.fixture(scope="module")
def bhsd(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("bhsd")
    mask = np.zeros((6, 64, 60), np.uint8)
    mask[(3, *BLOOD)] = 2
    for number in range(4):
        image = patient_head(number, slices=6, bleeding=(3,))
        write_nifti(root / f"label_192/images/ID_p{number}_ID_s{number}.nii.gz", image)
        write_nifti(root / f"label_192/ground truths/ID_p{number}_ID_s{number}.nii.gz", mask, dtype=np.uint8)
    index = prepare(dataset_named("bhsd"), root)
    index.write(root / "index.parquet")
    patients = np.array(index.patient_keys)
    index.where(patients == patients[0]).write(root / "first.parquet")
    index.where(patients != patients[0]).write(root / "others.parquet")
    return root


def test_maps_are_made_once_and_filed_under_the_weights_and_the_source(
    small_bundle: Path, bhsd: Path, tmp_path: Path
) -> None:
    source = IndexSource(ScanIndex.read(bhsd / "index.parquet"), bhsd)
    first = MapStore(ModelBundle.open(small_bundle), tmp_path).scan(source, 1)
    (path,) = tmp_path.rglob("*.npz")
    written = path.stat().st_mtime_ns
    again = MapStore(ModelBundle.open(small_bundle), tmp_path).scan(source, 1)
    assert path.stat().st_mtime_ns == written
    np.testing.assert_array_equal(again.local_logits, first.local_logits)
    np.testing.assert_array_equal(again.brain, first.brain)
    assert first.local_logits.shape[:2] == (5, 6)
    assert first.target[3].tolist() == [1, 1, 0, 0, 0, 0]
    others = IndexSource(ScanIndex.read(bhsd / "others.parquet"), bhsd)
    MapStore(ModelBundle.open(small_bundle), tmp_path).scan(others, 0)
    assert len({one.parent for one in tmp_path.rglob("*.npz")}) == 2


def test_probabilities_and_maps_are_those_of_an_analysis(small_bundle: Path, bhsd: Path, tmp_path: Path) -> None:
    source = IndexSource(ScanIndex.read(bhsd / "index.parquet"), bhsd)
    mapped = MapStore(ModelBundle.open(small_bundle)).scan(source, 0)
    (scan,) = [path for path in (bhsd / "label_192/images").iterdir() if mapped.series in path.name]
    folder = RunFolder(tmp_path / "run")
    folder.prepare(AnalyzeJob(input=str(scan), model=str(small_bundle), threads=1))
    run_analysis(folder, folder.read_job(), NetworkCache(), lambda event: None)
    kept = np.load(folder.probabilities_path)
    np.testing.assert_allclose(mapped.probabilities(None), kept.T, atol=1e-6)
    stored = np.load(folder.activation_path).astype(np.float32)
    np.testing.assert_allclose(mapped.local_logits.astype(np.float32), stored[1:], atol=1e-3)


def test_the_command_writes_tables_page_and_card(
    small_bundle: Path, bhsd: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    variants = tmp_path / "variants.json"
    variants.write_text('{"grown": "hysteresis", "strict": {"class_thresholds": {"SAH": 0.9}}}', encoding="utf-8")
    out = tmp_path / "report"
    command = ["evaluate", str(small_bundle), "--out", str(out), "--index", str(bhsd / "index.parquet")]
    assert main([*command, "--variants", str(variants), "--draws", "100", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["leak_check"] == "The model learned from synthetic scans only."
    assert list(told["masks"]) == ["classifier gates", "true labels", "grown", "strict", "HU > 46 alone"]
    assert told["data"]["index_checksum"]
    scans, slices = pd.read_csv(out / "scans.csv"), pd.read_csv(out / "slices.csv")
    assert (len(slices), slices["IPH"].sum()) == (24, 4)
    assert set(scans["scan"]) == {1, 2, 3, 4}
    for text in ((out / "index.html").read_text(encoding="utf-8"), (out / "scans.csv").read_text(encoding="utf-8")):
        assert not re.search(r"ID_[ps]\d", text)
    assert (out / "tables" / "classification.md").is_file()
    assert main(command) == 2
    assert "Dice, pooled" in model_card(_with_card(small_bundle, told))


def _with_card(bundle: Path, told: dict[str, Any]) -> Any:
    from hemocam_training.bundle_export.export import with_evaluation

    return with_evaluation(ModelBundle.open(bundle).metadata, told["card"])


def test_scans_that_were_trained_on_are_refused(
    small_bundle: Path, bhsd: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["evaluate", str(small_bundle), "--out", str(tmp_path / "r"), "--index", str(bhsd / "others.parquet")]
    assert main([*command, "--training", str(bhsd / "index.parquet")]) == 6
    assert "evaluation scans were trained on" in capsys.readouterr().err
    assert main(["evaluate", str(small_bundle), "--out", str(tmp_path / "r"), "--phantoms", "1000003:2"]) == 6
    assert main(["evaluate", str(small_bundle), "--out", str(tmp_path / "r"), "--phantoms", "2010000:2"]) == 6
    assert not (tmp_path / "r").exists()


def test_what_the_model_learned_from_has_to_be_known(bhsd: Path) -> None:
    source = IndexSource(ScanIndex.read(bhsd / "others.parquet"), bhsd)
    first, whole = ScanIndex.read(bhsd / "first.parquet"), ScanIndex.read(bhsd / "index.parquet")
    real = [{"name": "BHSD", "licence": "x", "dataset": "bhsd"}]
    assert refuse_seen(real, source, [first], "test").startswith("None of 3 evaluation scans")
    with pytest.raises(LeakFound, match="3 of 3 evaluation scans"):
        refuse_seen(real, source, [whole], "test")
    with pytest.raises(LeakFound, match="cannot be told: it learned from BHSD"):
        refuse_seen(real, source, [], "test")
    with pytest.raises(LeakFound, match="the index of RSNA is missing"):
        refuse_seen([*real, {"name": "RSNA", "licence": "x", "dataset": "rsna-2019"}], source, [first], "test")
    with pytest.raises(LeakFound, match="does not say"):
        refuse_seen([], source, [], "test")
    assert refuse_seen(real, source, [], "test", unchecked=True).startswith("Not checked")
    seen = [{"name": "phantoms", "licence": "x", "first_seed": 3_000_001, "scans": 1}]
    with pytest.raises(LeakFound, match="1 of the phantoms"):
        refuse_seen(seen, PhantomSource(3_000_000, 4), [], "test")
