from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from hemocam_training.errors import ConfigRefused
from hemocam_training.experiments.cam_benchmark.classifiers import VariantResult, precision_recall
from hemocam_training.experiments.cam_benchmark.experiment import Settings
from hemocam_training.experiments.cam_benchmark.masks import map_mask
from hemocam_training.experiments.catalogue import experiment_named, run_experiment
from hemocam_training.experiments.reporting import mean_sd
from hemocam_training.learning.config_file import changed_config, checked_settings, read_settings
from sklearn.metrics import precision_recall_curve


def quick_settings(**changes: Any) -> dict[str, Any]:
    path = experiment_named("cam-benchmark").configuration(quick=True)
    return yaml.safe_load(path.read_text(encoding="utf-8")) | changes


def test_precision_and_recall_are_those_of_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    probability, bleeding = rng.random(60), rng.random(60) < 0.4
    precision, recall, thresholds = precision_recall_curve(bleeding, probability)
    for number, threshold in enumerate(thresholds):
        found = precision_recall(probability, bleeding, float(threshold))
        assert found == pytest.approx((precision[number], recall[number]))
    assert np.isnan(precision_recall(probability, bleeding, 1.5)[0])


def test_the_curve_runs_from_the_lower_to_the_higher_threshold_and_scores_have_intervals(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    bleeding = np.tile([True, False, False], 20)
    probability = np.clip(0.3 * bleeding + rng.normal(0.4, 0.15, 60), 0, 1)
    settings = checked_settings(quick_settings(), Settings)
    result = VariantResult(settings.variants[0], settings.fit, tmp_path, [0.5], mean_sd([0.5]),
                           [str(k // 6) for k in range(60)], probability, bleeding)  # fmt: skip
    thresholds, _, recall = result.curve((0.3, 0.7))
    assert (thresholds[0], thresholds[-1]) == (0.3, 0.7)
    assert (np.diff(recall) <= 0).all()
    scores = result.scores(100)
    assert scores["f1"].low <= scores["f1"].value <= scores["f1"].high
    precision, found = scores["precision"].value, scores["recall"].value
    assert scores["f1"].value == pytest.approx(2 * precision * found / (precision + found))


def test_a_given_threshold_is_the_fixed_rule_at_that_number() -> None:
    activation_map = np.random.default_rng(2).random((6, 6)).astype(np.float32)
    brain = np.ones((48, 48), bool)
    given = map_mask(activation_map, brain, "fixed:120", 120)
    assert np.array_equal(given, map_mask(activation_map, brain, "fixed", 120))
    assert 0 < given.sum() < given.size


def test_the_full_configuration_varies_what_the_paper_varies() -> None:
    settings = read_settings(experiment_named("cam-benchmark").configuration(quick=False), Settings)
    configs = {variant.title: changed_config(settings.fit, variant.settings) for variant in settings.variants}
    assert {config.network.architecture for config in configs.values()} == {
        f"efficientnetv2-{size}" for size in ("s", "m", "l")
    }
    assert {config.input_size for config in configs.values()} == {224, 384, 512}
    assert {config.augmentation is None for config in configs.values()} == {True, False}
    assert len({str(config.loss.positive_weight) for config in configs.values()}) == 3
    assert settings.maps.layers == ("[-1]", "[-2]", "[-3]")
    assert len(settings.maps.methods) >= 10
    assert settings.curve_thresholds == (0.3, 0.7)


def test_an_unknown_method_is_refused() -> None:
    with pytest.raises(ConfigRefused, match="no map method no-cam"):
        checked_settings(quick_settings(maps={"methods": ["no-cam"]}), Settings)


def test_the_experiment_goes_from_phantoms_to_its_page(tmp_path: Path) -> None:
    values = quick_settings(phantoms={"train": 3, "tune": 2, "test": 2, "matrix": 64}, draws=20, slices_per_scan=1)
    values["fit"]["stages"] = [{"input_size": 64, "batch": 8, "epochs": 1}]
    values["variants"] = [{"title": "tiny ResNet", "factor": "architecture"}]
    values["map_variant"] = "best"
    values["maps"] |= {"methods": ["cam", "hires-cam"], "slow": [], "figure_methods": ["hires-cam"]}
    config = tmp_path / "config.yaml"
    config.write_text(yaml.safe_dump(values), encoding="utf-8")
    page = run_experiment("cam-benchmark", tmp_path / "out", config=config, quick=True)
    text = page.read_text(encoding="utf-8")
    assert "Not a result." in text
    assert "The heads are synthetic" in text
    assert read_settings(tmp_path / "out" / "settings.yaml", Settings) == read_settings(config, Settings)
    read = {path.stem: pd.read_csv(path) for path in (tmp_path / "out" / "tables").glob("*.csv")}
    assert read["classifiers"]["variant"].tolist() == ["tiny ResNet"]
    scores = read["scores"]
    # Before average pooling CAM and HiResCAM are one map.
    last = scores[(scores["layer"] == "[-1]") & (scores["threshold_rule"] == "fixed") & (scores["slices_of"] == "all")]
    assert last["dice"].nunique() == 1
    assert set(scores["layer"]) == {"[-1]", "[-2]", "[-3]"}
    assert set(scores["threshold_rule"]) >= {"fixed", "fixed:50", "otsu@brain"}
    assert scores["class"].unique().tolist() == ["any"]
    assert "scores.csv" in text
    assert ">hires-cam</span></td>" in text


@pytest.mark.slow
def test_the_quick_configuration_is_quick_and_small(tmp_path: Path) -> None:
    page = run_experiment("cam-benchmark", tmp_path, quick=True)
    written = [path for path in tmp_path.rglob("*") if path.is_file() and "work" not in path.parts]
    assert page in written
    assert sum(path.stat().st_size for path in written) < 1_000_000
