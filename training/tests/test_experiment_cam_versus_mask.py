from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from hemocam_training.datasets import dataset_named, prepare
from hemocam_training.errors import ConfigRefused
from hemocam_training.experiments.cam_versus_mask import Settings
from hemocam_training.experiments.cam_versus_mask.classify import classification_measures, config_of
from hemocam_training.experiments.cam_versus_mask.localise import at_best_rule, best_rules, rule_mask, score_map
from hemocam_training.experiments.cam_versus_mask.size_aware import (
    adjusted_iou,
    chance_iou,
    over_image,
    reachable_iou,
    resolution_bound,
    size_aware,
)
from hemocam_training.experiments.cam_versus_mask.synthetic_set import draw_slice, write_synthetic_set
from hemocam_training.experiments.cam_versus_mask.tables import regression, size_labels, size_strata
from hemocam_training.experiments.catalogue import DataSource, experiment_named, run_experiment
from hemocam_training.learning.config_file import read_settings
from hemocam_training.splits import supplied_folds
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from skimage.filters import threshold_otsu

from HemoCAMLib.errors import UsageError
from HemoCAMLib.mask.threshold_rule import ThresholdRule


def disc(radius: float, size: int = 96, centre: tuple[float, float] = (40.0, 50.0)) -> np.ndarray:  # type: ignore[type-arg]
    y, x = np.mgrid[:size, :size]
    return np.hypot(y - centre[0], x - centre[1]) < radius


@settings(max_examples=60, deadline=None)
@given(
    hnp.arrays(np.float32, (6, 7), elements=st.integers(-3, 4).map(float)),
    hnp.arrays(np.bool_, (6, 7)),
)
def test_the_reachable_iou_is_the_best_of_all_thresholds(scores: np.ndarray, truth: np.ndarray) -> None:  # type: ignore[type-arg]
    truth[0, 0] = True
    best = 0.0
    if np.ptp(scores) > 0:
        for threshold in [*np.unique(scores), -9.0]:
            mask = scores > threshold
            best = max(best, (mask & truth).sum() / (mask | truth).sum())
    assert reachable_iou(scores, truth) == pytest.approx(best)


def test_a_map_of_full_resolution_is_bounded_by_one_and_a_coarse_one_by_the_size_of_its_cells() -> None:
    assert resolution_bound(disc(10), (96, 96)) == pytest.approx(1.0)
    bounds = [resolution_bound(disc(radius), (7, 7)) for radius in (2, 5, 12, 30)]
    assert bounds == sorted(bounds)
    assert bounds[0] < 0.4 < 0.85 < bounds[-1]


def test_the_bound_is_never_below_what_the_map_itself_reaches() -> None:
    rng = np.random.default_rng(0)
    for radius in (3, 9, 25):
        truth = disc(radius)
        found = size_aware(rng.normal(0, 1, (7, 7)).astype(np.float32), truth)
        assert 0 <= found.reachable <= found.bound <= 1
    spot = np.zeros((7, 7), np.float32)
    spot[3, 3] = 1
    # Around the middle of a cell even a coarse map can be cut small; between cells it cannot.
    assert size_aware(spot, disc(4, centre=(47.5, 47.5))).reachable > 0.8
    assert size_aware(spot, disc(4)).reachable < 0.2


def test_chance_is_what_masks_laid_down_anywhere_reach() -> None:
    rng = np.random.default_rng(1)
    lesion, mask = rng.random((2, 400_000)) < np.array([[0.1], [0.3]])
    measured = (lesion & mask).sum() / (lesion | mask).sum()
    assert chance_iou(0.1, 0.3) == pytest.approx(measured, abs=0.003)
    assert chance_iou(0.0, 0.0) == 0
    assert adjusted_iou(0.2, 0.2, 0.6) == 0
    assert adjusted_iou(0.6, 0.2, 0.6) == 1
    assert np.isnan(adjusted_iou(0.5, 0.5, 0.5))


def test_the_adjusted_iou_of_the_same_kind_of_map_depends_less_on_size_than_iou() -> None:
    """Maps that point at the lesion from the middle of a cell, cut at the 95th percentile."""
    rule = [("percentile:95", ThresholdRule.from_value("percentile:95"))]
    rows = []
    for radius in (3, 5, 8, 12, 16, 22):
        truth = disc(radius)
        y, x = np.mgrid[:7, :7]
        spot = np.exp(-((y - 40 / 96 * 7 + 0.5) ** 2 + (x - 50 / 96 * 7 + 0.5) ** 2) / (2 * (0.8 + radius / 20) ** 2))
        rows += score_map(spot.astype(np.float32), truth, rule)
    frame = pd.DataFrame(rows)
    size = np.log2(frame["lesion_share"].to_numpy())
    patients = [str(k) for k in range(len(frame))]
    slopes = {m: regression(size, frame[m].to_numpy(), patients, 50)[0].value for m in ("iou", "adjusted")}
    assert abs(slopes["adjusted"]) < abs(slopes["iou"])
    # The highest point is the middle of a cell, which a lesion smaller than that may miss.
    assert frame["peak_inside"].tolist()[2:] == [True] * 4
    assert (frame["relative"] <= 1).all()


def test_rules_look_at_the_map_interpolated_to_the_image() -> None:
    activation_map = np.random.default_rng(2).normal(0, 1, (6, 6)).astype(np.float32)
    scores = over_image(activation_map, (90, 60))
    assert rule_mask(scores, ThresholdRule.from_value("percentile:75")).mean() == pytest.approx(0.25, abs=0.001)
    assert rule_mask(scores, ThresholdRule.from_value("median")).mean() == pytest.approx(0.5, abs=0.001)
    expected = scores > threshold_otsu(scores.astype(np.float64))
    assert np.array_equal(rule_mask(scores, ThresholdRule.from_value("otsu")), expected)
    assert not rule_mask(np.ones((9, 9), np.float32), ThresholdRule.from_value("mean")).any()


def test_a_folds_rule_is_chosen_without_it() -> None:
    rows = [
        {"fold": fold, "rule": rule, "iou": iou, "patient": "p"}
        for fold, of_rules in {1: {"a": 0.9, "b": 0.1}, 2: {"a": 0.0, "b": 0.3}, 3: {"a": 0.1, "b": 0.2}}.items()
        for rule, iou in of_rules.items()
    ]
    cases = pd.DataFrame(rows)
    assert best_rules(cases) == {1: "b", 2: "a", 3: "a"}
    assert at_best_rule(cases)["iou"].tolist() == [0.1, 0.0, 0.1]


def test_strata_go_by_size_and_leave_out_what_is_empty() -> None:
    frame = pd.DataFrame({"lesion_share": [0.001, 0.03, 0.2]})
    found = size_strata(frame, (0.5, 1, 2, 4))
    assert [label for label, _ in found] == ["up to 0.5 %", "2 to 4 %", "above 4 %"]
    assert len(size_labels((0.5, 1, 2, 4))) == 5


def test_measures_of_classification_are_means_over_classes() -> None:
    measured = classification_measures(np.array([0, 0, 1, 2]), np.array([0, 1, 1, 1]), 3)
    assert measured["accuracy"] == 0.5
    assert measured["precision"] == pytest.approx((1 + 1 / 3 + 0) / 3)
    assert measured["recall"] == pytest.approx((0.5 + 1 + 0) / 3)


def test_drawn_slices_are_read_as_the_dataset_with_its_folds(tmp_path: Path) -> None:
    folder = write_synthetic_set(tmp_path, patients=15, slices_per_patient=2, size=64)
    index = prepare(dataset_named("brain-tumours"), folder, 1)
    assert len(index) == 30
    assert set(index.strings("category")) == {"meningioma", "glioma", "pituitary"}
    folds = supplied_folds(index)
    assert len(folds.parts) == 5
    assert sum(len(patients) for patients in folds.parts.values()) == 15
    again = write_synthetic_set(tmp_path / "again", patients=15, slices_per_patient=2, size=64)
    assert prepare(dataset_named("brain-tumours"), again, 1).strings("fingerprint") == index.strings("fingerprint")


def test_kinds_differ_in_size_as_they_do_in_the_set() -> None:
    rng = np.random.default_rng(3)
    shares = {
        kind: np.median([draw_slice(kind, rng.uniform(-1, 1, 3), 96, rng)[1].mean() for _ in range(15)])
        for kind in (1, 2, 3)
    }
    assert shares[3] < shares[1] < shares[2]
    assert shares[3] > 0.002
    assert shares[2] < 0.12


def quick_settings(**changes: Any) -> dict[str, Any]:
    path = experiment_named("cam-versus-mask").configuration(quick=True)
    return yaml.safe_load(path.read_text(encoding="utf-8")) | changes


def test_the_experiment_goes_from_drawn_slices_to_its_page(tmp_path: Path) -> None:
    network = {
        "title": "tiny ResNet",
        "architecture": "timm-classifier",
        "settings": ["network.arguments={encoder: test_resnet}", "stages.0.steps=2", "stages.0.input_size=64"],
    }
    config = tmp_path / "config.yaml"
    config.write_text(yaml.safe_dump(quick_settings(networks=[network], draws=30)), encoding="utf-8")
    told: list[str] = []
    page = run_experiment("cam-versus-mask", tmp_path / "out", config=config, quick=True, progress=told.append)
    text = page.read_text(encoding="utf-8")
    assert "Not a result." in text
    assert "drawn, not scanned" in text
    assert read_settings(tmp_path / "out" / "settings.yaml", Settings) == read_settings(config, Settings)
    read = {path.stem: pd.read_csv(path) for path in (tmp_path / "out" / "tables").glob("*.csv")}
    assert read["rules"]["rule"].tolist() == quick_settings()["rules"]
    assert read["classification"]["accuracy_mean"].between(0, 1).all()
    assert read["confusion"].drop(columns="true").to_numpy().sum() == 50
    assert read["classes"].set_index("tumour").loc["all", "slices"] == 50
    assert set(read["size"].columns) >= {"iou", "reachable", "bound", "adjusted"}
    assert (read["size"]["reachable"] <= read["size"]["bound"] + 1e-9).all()
    cases = pd.read_parquet(tmp_path / "out" / "work" / "cases.parquet")
    assert cases.groupby("patient")["fold"].nunique().max() == 1
    one_threshold = cases[~cases["rule"].str.startswith("adaptive")]
    assert (one_threshold["iou"] <= one_threshold["reachable"] + 1e-6).all()
    weights = (tmp_path / "out" / "work" / "fits" / "tiny-resnet" / "fold-1" / "checkpoint.safetensors").stat()
    run_experiment("cam-versus-mask", tmp_path / "out", config=config, quick=True)
    again = (tmp_path / "out" / "work" / "fits" / "tiny-resnet" / "fold-1" / "checkpoint.safetensors").stat()
    assert weights.st_mtime_ns == again.st_mtime_ns


@pytest.mark.slow
def test_the_quick_configuration_is_quick_and_small(tmp_path: Path) -> None:
    page = run_experiment("cam-versus-mask", tmp_path, quick=True)
    written = [path for path in tmp_path.rglob("*") if path.is_file() and "work" not in path.parts]
    assert page in written
    assert sum(path.stat().st_size for path in written) < 1_000_000


def test_the_full_configuration_is_the_studys() -> None:
    path = experiment_named("cam-versus-mask").configuration(quick=False)
    read = read_settings(path, Settings)
    assert [network.title for network in read.networks] == ["AlexNet", "VGG-16", "VGG-19"]
    assert read.folds == 5
    assert read.rules[:5] == ("mean", "median", "percentile:75", "percentile:90", "percentile:95")
    for choice in read.networks:
        assert config_of(read, choice).loss.kind == "one-of-many"


def test_other_data_is_refused(tmp_path: Path) -> None:
    folder = write_synthetic_set(tmp_path / "set", patients=15, slices_per_patient=1, size=64)
    source = DataSource(prepare(dataset_named("brain-tumours"), folder, 1), folder)
    with pytest.raises(UsageError, match="one dataset"):
        run_experiment("cam-versus-mask", tmp_path / "out", quick=True, sources=[source, source])
    (tmp_path / "bad.yaml").write_text(yaml.safe_dump(quick_settings(map_network="VGG-11")), encoding="utf-8")
    with pytest.raises(ConfigRefused, match="map_network"):
        run_experiment("cam-versus-mask", tmp_path / "out", config=tmp_path / "bad.yaml")
