"""Gates, thresholds, pixel counts and Dice of the weakly supervised experiment, on maps that are known."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from hemocam_training.errors import ConfigRefused
from hemocam_training.experiments.catalogue import experiment_named, run_experiment
from hemocam_training.experiments.weak_quantification import Settings
from hemocam_training.experiments.weak_quantification.heat_maps import grain
from hemocam_training.experiments.weak_quantification.masks import (
    STRUCTURES,
    Gates,
    class_thresholds,
    labels_of,
    mask_thresholds,
    pixel_counts,
)
from hemocam_training.experiments.weak_quantification.predictions import Predictions
from hemocam_training.experiments.weak_quantification.scores import (
    auroc_by_class,
    dice_by_structure,
    dice_of_scans,
    drawn_dice,
)
from hemocam_training.learning.config_file import changed_config, checked_settings, config_values, read_settings
from sklearn.metrics import f1_score, roc_auc_score

from HemoCAMLib.subtypes import CLASS_NAMES, SUBTYPE_NAMES

SIZE = 16


class KnownSlices:
    """Slices whose truth is drawn, with the members of shards that the experiment reads."""

    def __init__(self, masks: np.ndarray, patients: list[str]) -> None:
        self._masks = masks
        self.size = masks.shape[1]
        self.patients = np.array(patients)
        self.scans = np.unique(self.patients, return_inverse=True)[1]
        present = np.stack([(masks == label).any(axis=(1, 2)) for label in range(1, 6)], axis=1)
        self.target = np.concatenate([present.any(axis=1, keepdims=True), present], axis=1).astype(np.float32)
        self.known = np.ones_like(self.target)
        self.areas_mm2 = self.target * 100

    def __len__(self) -> int:
        return len(self._masks)

    def masks(self, indices: np.ndarray) -> np.ndarray:
        return self._masks[indices]


@pytest.fixture
def drawn() -> tuple[Any, Predictions]:
    """Four slices of two patients; maps that are highest in the lesion, probabilities that are sure but for one."""
    masks = np.zeros((4, SIZE, SIZE), np.uint8)
    masks[0, 4:8, 4:8] = 1
    masks[1, 8:12, 2:6] = 4
    masks[3, 2:6, 8:14] = 1
    maps = np.stack([np.stack([(mask == label) * 1.0 + 0.3 for label in range(1, 6)]) for mask in masks])
    slices: Any = KnownSlices(masks, ["a", "a", "b", "b"])
    probabilities = np.where(slices.target > 0, 0.9, 0.1).astype(np.float32)
    probabilities[2, 1] = 0.95
    return slices, Predictions(probabilities, maps.astype(np.float16))


def test_true_labels_as_gates_keep_a_false_alarm_out(drawn: tuple[Any, Predictions]) -> None:
    slices, found = drawn
    thresholds = dict.fromkeys(SUBTYPE_NAMES, 150.0)
    sure = dict.fromkeys(CLASS_NAMES, 0.5)
    of_truth = pixel_counts(found, slices, Gates(True, sure), thresholds)
    by_classifier = pixel_counts(found, slices, Gates(False, sure), thresholds)
    # The map of slice 2 is even, so the false alarm there fills the image.
    assert of_truth[2, STRUCTURES.index("IPH")].tolist() == [0, 0, 0]
    assert by_classifier[2, STRUCTURES.index("IPH")].tolist() == [0, SIZE * SIZE, 0]
    dice = dice_by_structure(of_truth, slices.patients.tolist(), draws=100)
    assert dice["IPH"].value > 0.9
    assert dice["Normal"].value > 0.99
    assert np.isnan(dice["EDH"].value)


def test_pooled_dice_is_the_f1_of_scikit_learn(drawn: tuple[Any, Predictions]) -> None:
    slices, found = drawn
    gates, thresholds = Gates(True, dict.fromkeys(CLASS_NAMES, 0.5)), dict.fromkeys(SUBTYPE_NAMES, 75.0)
    counts = pixel_counts(found, slices, gates, thresholds)
    labels = np.stack([labels_of(found, slices, gates, thresholds, position) for position in range(4)])
    truth = slices.masks(np.arange(4))
    for label, name in enumerate(("Normal", *SUBTYPE_NAMES)):
        if (truth == label).any():
            pooled = drawn_dice(counts, np.ones((1, 4)))[0, STRUCTURES.index(name)]
            assert pooled == pytest.approx(f1_score((truth == label).ravel(), (labels == label).ravel()))
    by_scan = dice_of_scans(counts, slices, draws=100)
    expected = [f1_score((truth[of] == 1).ravel(), (labels[of] == 1).ravel()) for of in (slice(0, 2), slice(2, 4))]
    assert by_scan["IPH"].value == pytest.approx(np.mean(expected))


def test_thresholds_are_found_where_lesion_and_rest_part(drawn: tuple[Any, Predictions]) -> None:
    slices, found = drawn
    chosen = class_thresholds(found.probabilities, slices)
    assert 0.1 < chosen["SDH"] < 0.9
    # The one false alarm lies above the true positives.
    assert chosen["IPH"] < 0.9
    assert chosen["EDH"] == 0.5
    # Outside the lesion the maps have 0.3 / 1.3 of their largest value, 59 of 255.
    assert mask_thresholds(found, slices, grid=(25, 50, 75, 100))["IPH"] in (75, 100)


def test_auroc_is_that_of_scikit_learn(drawn: tuple[Any, Predictions]) -> None:
    rng = np.random.default_rng(1)
    masks = np.zeros((40, SIZE, SIZE), np.uint8)
    for position in range(40):
        masks[position, :3, :3] = position % 6
    slices: Any = KnownSlices(masks, [f"p{position // 4}" for position in range(40)])
    probabilities = np.clip(rng.random((40, 6)) + 0.4 * slices.target, 0, 2).astype(np.float32)
    found = auroc_by_class(probabilities, slices, draws=100)
    expected = [roc_auc_score(slices.target[:, c], probabilities[:, c]) for c in range(6)]
    assert [found[name].value for name in CLASS_NAMES] == pytest.approx(expected)
    assert found["mean"].value == pytest.approx(np.mean(expected[1:]))
    assert found["SAH"].low <= found["SAH"].value <= found["SAH"].high


def test_independent_noise_has_three_quarters_of_its_variance_within_blocks() -> None:
    noise = np.random.default_rng(0).standard_normal((256, 256))
    assert grain(noise) == pytest.approx(0.75, abs=0.01)
    rows, columns = np.indices((64, 64))
    assert grain(np.exp(-((rows - 30) ** 2 + (columns - 30) ** 2) / 200)) < 0.02
    assert np.isnan(grain(np.ones((4, 4))))


def test_the_experiment_compares_networks_by_every_table(tmp_path: Path) -> None:
    settings = quick_settings()
    network = "network={architecture: lse-unet, arguments: {encoder: test_resnet, decoder_channels: [4, 4, 4, 4]}}"
    for model in settings["models"][1:]:
        model["settings"][0] = network
    settings["models"][2]["encoder_of"] = settings["models"][0]["title"]
    settings["fit"]["stages"] = [{"input_size": 64, "batch": 4, "steps": 1}]
    settings |= {"phantoms": {"train": 1, "tune": 1, "test": 3, "matrix": 64}, "draws": 100}
    config = tmp_path / "config.yaml"
    config.write_text(yaml.safe_dump(settings), encoding="utf-8")
    page = run_experiment("weak-quantification", tmp_path / "out", config=config, quick=True)
    assert "Not a result" in page.read_text(encoding="utf-8")
    tables = tmp_path / "out" / "tables"
    sets = pd.read_csv(tables / "dice_thresholds.csv")
    assert sets["mask thresholds"].tolist() == 3 * ["tuned", "75/125/125/75/25", "all 125", "all 75", "all 25"]
    assert ((sets["Normal"] > 0) & (sets["Normal"] <= 1)).all()
    gates = pd.read_csv(tables / "dice_classifier_gates.csv").set_index("model")
    ablation = pd.read_csv(tables / "ablation.csv").set_index("model")
    lse = "LSE-UNet"
    assert np.isnan(gates.loc[lse, "mean"]) or ablation.loc[lse, "dice_gates"] == pytest.approx(gates.loc[lse, "mean"])
    difference = ablation.loc[lse, "grain"] - ablation.loc["LSE-UNet without consistency", "grain"]
    assert ablation.loc["difference, paired", "grain"] == pytest.approx(difference, abs=1e-5)


@pytest.mark.slow
def test_the_quick_configuration_is_small(tmp_path: Path) -> None:
    page = run_experiment("weak-quantification", tmp_path, quick=True)
    files = [*page.parent.glob("*.*"), *page.parent.glob("tables/*"), *page.parent.glob("figures/*")]
    assert sum(file.stat().st_size for file in files) < 1e6


def test_the_full_configuration_names_the_papers_networks() -> None:
    path = experiment_named("weak-quantification").configuration(quick=False)
    settings = read_settings(path, Settings)
    configs = [changed_config(settings.fit, model.settings) for model in settings.models]
    assert [config.loss.kind for config in configs] == 5 * ["classification"] + 2 * ["lse"]
    assert configs[-2].loss.beta == (0.5, 0.25, 0.125)
    assert configs[-1].loss.beta == (0, 0, 0)
    assert configs[-1].loss.alpha == (2, 0.5, 0.25, 0.125)
    assert settings.models[-1].encoder_of == "RDNet-T"


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"ablation": ["LSE-UNet"]}, "ablation names two of the models"),
        ({"models": 2 * [{"title": "one"}]}, "share a title"),
        ({"models": [{"title": "one", "encoder_of": "two"}], "ablation": []}, "names no model before one"),
    ],
)
def test_settings_that_contradict_themselves_are_refused(change: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigRefused, match=told):
        checked_settings({**quick_settings(), **change}, Settings)


def quick_settings() -> dict[str, Any]:
    path = experiment_named("weak-quantification").configuration(quick=True)
    return config_values(read_settings(path, Settings))
