from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hemocam_training.bundle_export.card import model_card
from hemocam_training.bundle_export.checkpoint import read_checkpoint
from hemocam_training.bundle_export.description import SHIPPED, read_description
from hemocam_training.bundle_export.export import counted, describe_again, export_bundle, with_evaluation, with_tuning
from hemocam_training.bundle_export.self_check import check_bundle
from hemocam_training.bundle_export.training_range import training_range
from hemocam_training.bundle_tuning import Tuning
from hemocam_training.cli import main
from hemocam_training.errors import ConfigRefused, DataRefused
from hemocam_training.learning.config import FitConfig, NetworkConfig, StageConfig
from hemocam_training.learning.config_file import write_config
from hemocam_training.learning.fit import CLASSES, SETTINGS
from small_models import ARGUMENTS, write_description, write_run

from HemoCAMLib.model import ModelBundle
from HemoCAMLib.model.calibration import Calibration
from HemoCAMLib.quality import ScanStatistics
from HemoCAMLib.subtypes import CLASS_NAMES, SUBTYPE_NAMES


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_run(tmp_path_factory.mktemp("training") / "run")


@pytest.fixture(scope="module")
def describe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_description(tmp_path_factory.mktemp("description") / "describe.yaml")


@pytest.fixture(scope="module")
def exported(run: Path, describe: Path, tmp_path_factory: pytest.TempPathFactory) -> ModelBundle:
    description = read_description(describe)
    out = tmp_path_factory.mktemp("out") / "bundle"
    bundle, _ = export_bundle(out, read_checkpoint([run], description), description,
                              training_range={"noise_hu": (1.0, 2.0)})  # fmt: skip
    return bundle


def tuning(bundle: ModelBundle) -> Tuning:
    return Tuning(
        weights_sha256=bundle.metadata.weights_sha256,
        class_thresholds=dict.fromkeys(CLASS_NAMES, 0.31),
        mask_thresholds={"absolute": dict.fromkeys(SUBTYPE_NAMES, 0.62)},
        mask_scale="absolute",
        minimum_volume_ml=0.2,
        refinement={"name": "hysteresis"},
        calibration=Calibration(dict.fromkeys(CLASS_NAMES, 0.8), dict.fromkeys(CLASS_NAMES, -0.1)),
        source={"kind": "phantoms", "dataset": "phantoms", "first_seed": 2_010_000, "scans": 3, "used": 3},
        leak_check="Other seeds.",
    )


def test_a_bundle_read_back_gives_the_numbers_of_its_checkpoint(
    exported: ModelBundle, run: Path, describe: Path
) -> None:
    found = exported.metadata.metrics["self_check"]
    assert found["passed"] is True
    assert found["logits"] < 1e-4
    assert 0 < found["probabilities"] < 0.02
    checkpoint = read_checkpoint([run], read_description(describe))
    exported.verify()
    stored = exported.read_weights()
    assert set(stored) == set(checkpoint.weights)
    assert max(np.abs(stored[name] - value).max() for name, value in checkpoint.weights.items()) < 1e-2


def test_weights_that_differ_from_the_checkpoint_are_noticed(exported: ModelBundle, run: Path, describe: Path) -> None:
    checkpoint = read_checkpoint([run], read_description(describe))
    name = next(name for name in checkpoint.weights if name.startswith("score.0") and name.endswith("weight"))
    changed = {**checkpoint.weights, name: checkpoint.weights[name] * 1.5}
    with pytest.raises(DataRefused) as caught:
        check_bundle(exported, replace(checkpoint, weights=changed))
    assert caught.value.code == "TRAIN_EXPORT_DIFFERS"


def test_the_description_goes_into_the_bundle_with_what_the_training_counted(exported: ModelBundle) -> None:
    metadata = exported.metadata
    assert (metadata.name, metadata.input_size, metadata.map_layer) == ("small", (64, 64), "merge.0")
    assert metadata.training_data[0]["scans"] == 12
    assert metadata.metrics["training"]["stages"][0]["step"] == 7
    assert metadata.training_range == {"noise_hu": (1.0, 2.0)}


def test_the_count_of_a_training_is_no_count_of_each_of_its_sets() -> None:
    sets = [{"first_seed": 1, "scans": 280}, {"first_seed": 2, "scans": 260}, {"dataset": "other", "scans": 3}]
    assert [one["scans"] for one in counted(sets, 540)] == [280, 260, 3]
    assert [one["scans"] for one in counted(sets[1:], 540)] == [540, 3]
    assert [one["scans"] for one in counted(sets[1:], None)] == [260, 3]


def test_nothing_is_left_of_the_draft(exported: ModelBundle) -> None:
    assert [path.name for path in exported.path.parent.iterdir()] == ["bundle"]


def test_a_tuning_goes_into_metadata_data_and_card(exported: ModelBundle, tmp_path: Path) -> None:
    metadata = with_tuning(tuning(exported).applied(exported.metadata), tuning(exported))
    assert metadata.class_thresholds["SAH"] == 0.31
    assert metadata.calibration is not None
    entry = metadata.training_data[-1]
    assert (entry["use"], entry["first_seed"], entry["scans"], entry["licence"]) == (
        "tuning",
        2_010_000,
        3,
        "Apache-2.0",
    )
    again = with_tuning(metadata, tuning(exported))
    assert len(again.training_data) == 2
    card = model_card(metadata)
    assert "| SAH | 0.31 | 0.62 | 0.800 | -0.100 |" in card
    assert "Chosen on 3 scans for tuning. Other seeds." in card
    assert "refined on HU by hysteresis; lesions below 0.2 mL" in card
    descent = {"negative_scans": 2, "end": {"goal": 0.5, "false_ml": 0.25}}
    limited = replace(tuning(exported), figures={"masks": {"descent": descent}})
    told = model_card(with_tuning(limited.applied(exported.metadata), limited))
    assert "was in view as well (2 of them, 0.25 mL on average), so they are no independent test" in told


def test_the_card_shows_an_evaluation_and_replaces_one_of_the_same_title(exported: ModelBundle) -> None:
    row = {"class": "any", "auroc": {"value": 0.9, "low": 0.8, "high": 0.95}, "dice_pooled": None, "scans": 4}
    evaluation = {"title": "How it does", "data": "4 scans.", "leak_check": "", "rows": [row], "note": "Synthetic."}
    once = with_evaluation(exported.metadata, evaluation)
    twice = with_evaluation(once, evaluation)
    assert twice == once
    card = model_card(once)
    assert "| any | 0.900 (0.800 to 0.950) | 4 | – |" in card
    assert card.count("## How it does") == 1


def test_the_card_lies_in_the_bundle_and_follows_its_description(exported: ModelBundle) -> None:
    card = exported.read_card()
    assert card == model_card(exported.metadata)
    assert "These settings were not tuned." in card
    assert "It is good for nothing." in card
    assert "## Looked at, not measured\n\n- Two slices looked right.\n" in card
    again = describe_again(exported, replace(exported.metadata, description="Other words."))
    assert "Other words." in again.read_card()
    assert again.metadata.weights_sha256 == exported.metadata.weights_sha256
    describe_again(again, exported.metadata)


def test_weights_alone_need_a_network_in_the_description(run: Path, tmp_path: Path) -> None:
    bare = read_description(write_description(tmp_path / "d.yaml", network=None))
    with pytest.raises(ConfigRefused) as caught:
        read_checkpoint([run / "checkpoint.safetensors"], bare)
    assert caught.value.code == "TRAIN_EXPORT_NETWORK"


def test_a_bundle_can_be_exported_anew(exported: ModelBundle, describe: Path) -> None:
    checkpoint = read_checkpoint([exported.path], read_description(describe))
    assert checkpoint.classes == CLASS_NAMES
    assert check_bundle(exported, checkpoint).probabilities < 1e-5


@pytest.mark.parametrize(
    ("change", "words"),
    [({"nmae": "x"}, "nmae"), ({"training_data": []}, "training_data"), ({"version": 1}, "version")],
)
def test_a_description_with_an_error_is_refused_by_the_field(tmp_path: Path, change: dict, words: str) -> None:
    with pytest.raises(ConfigRefused, match=words):
        read_description(write_description(tmp_path / "d.yaml", **change))


def test_the_shipped_description_is_read_by_name() -> None:
    assert {path.stem for path in SHIPPED.glob("*.yaml")} == {"hemocam-phantom"}
    assert read_description(Path("hemocam-phantom")).network is not None


def test_the_training_range_spans_what_was_measured() -> None:
    scans = [ScanStatistics(0.4, 5.0, 0.0, noise_hu=3.0), ScanStatistics(0.5, 2.5, -18.5)]
    assert training_range(scans) == {
        "pixel_spacing_mm": (0.4, 0.5),
        "slice_extent_mm": (2.5, 5.0),
        "tilt_deg": (-18.5, 0.0),
        "noise_hu": (3.0, 3.0),
    }


def test_the_command_exports_tunes_and_exports_again(
    run: Path, describe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, settings = tmp_path / "bundle", tmp_path / "tuning.json"
    common = ["export", str(run), "--describe", str(describe), "--out", str(out), "--range-scans", "0"]
    assert main(common) == 0
    assert "not tuned yet" in capsys.readouterr().out
    tuning(ModelBundle.open(out)).write(settings)
    assert main([*common, "--tuning", str(settings)]) == 2
    capsys.readouterr()
    assert main([*common, "--tuning", str(settings), "--overwrite", "--version", "0.2.0", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["self_check"]["passed"] is True
    assert told["hemocam"]["minimum_volume_ml"] == 0.2
    assert ModelBundle.open(out).metadata.version == "0.2.0"


def test_the_folder_of_a_training_tells_its_network_and_size(run: Path, tmp_path: Path) -> None:
    bare = read_description(write_description(tmp_path / "d.yaml", network=None))
    folder = tmp_path / "fitted"
    shutil.copytree(run, folder)
    stage = StageConfig(input_size=96, batch=4, steps=7)
    write_config(folder / SETTINGS, FitConfig(NetworkConfig("lse-unet", ARGUMENTS), (stage,)))
    (folder / CLASSES).write_text(json.dumps(list(CLASS_NAMES)), encoding="utf-8")
    found = read_checkpoint([folder], bare)
    assert (found.architecture, found.arguments, found.input_size, found.scans) == ("lse-unet", ARGUMENTS, 96, 12)
    bundle, checked = export_bundle(tmp_path / "bundle", found, bare)
    assert checked.passed
    assert bundle.metadata.input_size == (96, 96)
