"""Trainings from beginning to end on slices that are learned in seconds."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from blob_slices import BlobSlices
from hemocam_training.errors import ConfigRefused
from hemocam_training.learning import fit as fitting
from hemocam_training.learning.config_file import SHIPPED, checked_config, config_values, read_config
from hemocam_training.learning.fit import FitResult, fit, fitted_classes, load_fitted
from hemocam_training.learning.objectives import Objective
from safetensors.torch import load_file
from torch import nn

from HemoCAMLib.errors import Cancelled, UsageError, WorkerFailed

SIZE = 64
LSE: dict[str, Any] = {
    "network": {
        "architecture": "lse-unet",
        "arguments": {"encoder": "convnext_atto", "decoder_channels": [8, 8, 8, 8]},
    },
    "loss": {"kind": "lse", "positive_weight": 2.0},
    "stages": [{"input_size": SIZE, "batch": 8, "steps": 4, "check_steps": 2}],
    "optimiser": {"name": "sgd", "learning_rate": 0.05, "clip_norm": 5.0},
    "augmentation": {},
    "trainer": {"log": "none", "deterministic": True, "accelerator": "cpu", "threads": 1},
}
CLASSIFIER: dict[str, Any] = {
    **LSE,
    "network": {"architecture": "timm-classifier", "arguments": {"encoder": "test_resnet"}},
    "loss": {"kind": "classification"},
}


def trained(values: dict[str, Any], out: Path, **options: Any) -> FitResult:
    train, validation = BlobSlices(40, SIZE), BlobSlices(20, SIZE, seed=5)
    return fit(checked_config(values), out, train=train, validation=validation, **options)


def changed(values: dict[str, Any], part: str, **settings: Any) -> dict[str, Any]:
    return {**values, part: {**values.get(part, {}), **settings}}


def test_an_interrupted_training_goes_on_bit_for_bit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    original = fitting.new_network

    def with_dropout(*arguments: Any) -> nn.Module:
        network: Any = original(*arguments)
        network.body.layer1.append(nn.Dropout(0.3))
        return network

    monkeypatch.setattr(fitting, "new_network", with_dropout)
    values = changed(CLASSIFIER, "optimiser", name="adamw", learning_rate=1e-2)
    straight = trained(values, tmp_path / "straight")
    cut = trained(values, tmp_path / "cut", until_step=2)
    assert [row["step"] for row in cut.history] == [2]
    assert (tmp_path / "cut" / "state.ckpt").exists()
    resumed = trained(values, tmp_path / "cut", resume=True)
    expected, found = load_file(straight.checkpoint), load_file(resumed.checkpoint)
    assert all(torch.equal(expected[name], found[name]) for name in expected)
    same = ("step", "loss", "learning_rate", "auroc", "f1", "validation_loss")
    assert [[row[name] for name in same] for row in resumed.history] == [
        [row[name] for name in same] for row in straight.history
    ]
    assert not (tmp_path / "cut" / "state.ckpt").exists()
    # Averaged weights are kept, not the last ones; without averaging the same training ends elsewhere.
    plain = load_file(trained(changed(values, "trainer", averaging=None), tmp_path / "plain").checkpoint)
    assert not torch.equal(plain["body.fc.weight"], expected["body.fc.weight"])


def test_control_c_ends_in_one_sentence_and_the_training_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    straight = load_file(trained(CLASSIFIER, tmp_path / "straight").checkpoint)
    original, calls = Objective.__call__, []

    def interrupted(self: Objective, outputs: Any, batch: dict[str, Any]) -> torch.Tensor:
        calls.append(batch["position"])
        if len(calls) == 4:
            raise KeyboardInterrupt
        return original(self, outputs, batch)

    monkeypatch.setattr(Objective, "__call__", interrupted)
    with pytest.raises(Cancelled, match="Resume it"):
        trained(CLASSIFIER, tmp_path / "run")
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    resumed = load_file(trained(CLASSIFIER, tmp_path / "run", resume=True).checkpoint)
    # The third step was taken, but not checked, so it is taken again.
    assert calls == [0, 1, 2, 3, 2, 3]
    assert all(torch.equal(straight[name], resumed[name]) for name in straight)


def test_the_state_of_a_training_holds_plain_tensors_and_values_only(tmp_path: Path) -> None:
    trained(CLASSIFIER, tmp_path / "run", until_step=2)
    state = torch.load(tmp_path / "run" / "state.ckpt", weights_only=True)
    assert {"state_dict", "current_model_state", "optimizer_states"} <= set(state)


def test_parts_of_a_batch_add_up_to_the_batch(tmp_path: Path) -> None:
    whole = load_file(trained(LSE, tmp_path / "whole").checkpoint)
    parts = load_file(trained(changed(LSE, "trainer", accumulate=4), tmp_path / "parts").checkpoint)
    start = load_file(trained(changed(LSE, "optimiser", learning_rate=1e-12), tmp_path / "start").checkpoint)
    assert max(float((whole[name] - parts[name]).abs().max()) for name in whole) < 2e-6
    assert max(float((whole[name] - start[name]).abs().max()) for name in whole) > 1e-3
    with pytest.raises(ConfigRefused, match="cannot be shared"):
        trained(changed(LSE, "trainer", accumulate=3), tmp_path / "odd")


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_a_fused_optimiser_clips_gradients_as_another_does(tmp_path: Path, precision: str) -> None:
    values = changed(CLASSIFIER, "trainer", precision=precision, averaging=None)
    found = {}
    for name, fused, norm in (("plain", False, 1e-3), ("fused", True, 1e-3), ("free", True, None)):
        own = changed(values, "optimiser", name="sgd", learning_rate=0.05, clip_norm=norm, fused=fused)
        found[name] = load_file(trained(own, tmp_path / name).checkpoint)
    assert all(torch.allclose(found["plain"][name], found["fused"][name], atol=1e-6) for name in found["plain"])
    assert any((found["free"][name] - found["fused"][name]).abs().max() > 1e-3 for name in found["plain"])


def test_two_processes_learn_what_one_learns(tmp_path: Path) -> None:
    two_stages = {**LSE, "stages": [{**LSE["stages"][0], "steps": 2, "part": "encoder"}, LSE["stages"][0]]}
    one = trained(two_stages, tmp_path / "one")
    (tmp_path / "config.json").write_text(json.dumps(two_stages), encoding="utf-8")
    script = (
        "import json, sys; from pathlib import Path\n"
        "sys.path.insert(0, sys.argv[1])\n"
        "from blob_slices import BlobSlices\n"
        "from hemocam_training.learning.config_file import checked_config\n"
        "from hemocam_training.learning.fit import fit\n"
        "config = checked_config(json.loads(Path(sys.argv[2]).read_text(encoding='utf-8')))\n"
        "fit(config, Path(sys.argv[3]), train=BlobSlices(40, 64), validation=BlobSlices(20, 64, seed=5))\n"
    )
    (tmp_path / "script.py").write_text(script, encoding="utf-8")
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    arguments = [Path(__file__).parent / "fixtures", tmp_path / "config.json", tmp_path / "two"]
    command = [*launcher, tmp_path / "script.py", *arguments]
    answer = subprocess.run([str(word) for word in command], capture_output=True, text=True, timeout=300)
    assert answer.returncode == 0, answer.stderr[-2000:]
    expected, found = load_file(one.checkpoint), load_file(tmp_path / "two" / "checkpoint.safetensors")
    assert max(float((expected[name] - found[name]).abs().max()) for name in expected) < 2e-6
    history = json.loads((tmp_path / "two" / "progress.json").read_text(encoding="utf-8"))
    assert history[-1]["auroc"] == pytest.approx(one.history[-1]["auroc"], abs=1e-3)
    assert [row["stage"] for row in history] == [row["stage"] for row in one.history]


def test_blobs_are_learned_and_the_network_is_given_back(tmp_path: Path) -> None:
    values = changed(CLASSIFIER, "optimiser", name="adamw", learning_rate=3e-3, clip_norm=None)
    values = changed(values, "trainer", averaging=0.9, keep_every_check=True, log="tensorboard", monitor="f1")
    values = {**values, "stages": [{"input_size": SIZE, "batch": 16, "steps": 60, "check_steps": 20}]}
    values["augmentation"] = {"mirror_share": 0, "rotation_deg": 5, "wide_share": 0, "scale": [0.95, 1.05]}
    result = trained(values, tmp_path / "run")
    assert result.history[-1]["auroc"]["any"] > 0.95
    assert result.history[-1]["loss"] < result.history[0]["loss"]
    best = result.best_epochs(2)
    assert best[0]["mean_f1"] >= best[1]["mean_f1"]
    assert len(list((tmp_path / "run" / "checks").iterdir())) == 3
    assert list((tmp_path / "run" / "logs").rglob("events.*"))
    assert fitted_classes(tmp_path / "run")[0] == "any"
    network, config = load_fitted(tmp_path / "run")
    assert config == checked_config(values)
    validation = BlobSlices(20, SIZE, seed=5)
    x = ((validation.stacks_hu(np.arange(20), np.zeros(20, bool)) + 40) / 130).clamp(0, 1)
    called = network(x).sigmoid()[:, 0] >= 0.5
    expected = 2 * float((called.numpy() & (validation.target[:, 0] > 0)).sum())
    f1 = expected / (float(called.sum()) + float(validation.target[:, 0].sum()))
    assert result.history[-1]["f1"]["any"] == pytest.approx(f1, abs=1e-4)


def test_kinds_that_exclude_each_other_and_masks_are_learned_too(tmp_path: Path) -> None:
    kinds = changed(changed(CLASSIFIER, "loss", kind="one-of-many"), "network", architecture="alexnet", arguments={})
    result = fit(
        checked_config(kinds),
        tmp_path / "kinds",
        train=BlobSlices(24, SIZE, exclusive=3),
        validation=BlobSlices(12, SIZE, seed=1, exclusive=3),
    )
    assert set(result.history[-1]["f1"]) == {"kind 0", "kind 1", "kind 2"}
    segmentation = changed(changed(CLASSIFIER, "loss", kind="segmentation"), "trainer", averaging=None)
    segmentation["network"] = {"architecture": "monai-unet", "arguments": {"channels": [8, 16, 32]}, "classes": 6}
    segmentation["optimiser"] = {"name": "adamw", "learning_rate": 1e-2}
    segmentation["stages"] = [{"input_size": SIZE, "batch": 16, "steps": 40, "check_steps": 20}]
    segmentation["augmentation"] = None
    masks = trained(segmentation, tmp_path / "masks")
    assert masks.history[-1]["validation_loss"] < 0.9 * masks.history[0]["validation_loss"]


def test_a_stage_ends_by_its_clock_and_by_scores_that_no_longer_rise(tmp_path: Path) -> None:
    minutes = {**CLASSIFIER, "stages": [{"input_size": SIZE, "batch": 8, "minutes": 0.03, "check_minutes": 0.01}]}
    result = trained(minutes, tmp_path / "minutes")
    assert result.history[-1]["minutes"] == pytest.approx(0.03, abs=0.03)
    assert (tmp_path / "minutes" / "stage-1.safetensors").exists()
    still = changed(CLASSIFIER, "trainer", early_stop={"checks": 1}, monitor="auroc", averaging=None)
    still = changed(still, "optimiser", learning_rate=1e-12)
    still = {**still, "stages": [{"input_size": SIZE, "batch": 8, "steps": 40, "check_steps": 1}]}
    stopped = trained(still, tmp_path / "still")
    assert len(stopped.history) < 10
    assert (tmp_path / "still" / "stage-1.safetensors").exists()


def test_a_loss_that_is_no_number_ends_in_one_sentence(tmp_path: Path) -> None:
    values = changed(CLASSIFIER, "optimiser", learning_rate=1e30, clip_norm=None)
    with pytest.raises(WorkerFailed) as failure:
        trained(values, tmp_path / "run")
    assert failure.value.code == "TRAIN_DIVERGED"


def test_a_folder_in_use_and_other_settings_are_refused(tmp_path: Path) -> None:
    trained(CLASSIFIER, tmp_path / "run", until_step=2)
    with pytest.raises(UsageError, match="holds a training already"):
        trained(CLASSIFIER, tmp_path / "run")
    with pytest.raises(ConfigRefused, match=r"begun with optimiser.learning_rate 0.05, not 0.1"):
        trained(changed(CLASSIFIER, "optimiser", learning_rate=0.1), tmp_path / "run", resume=True)


def test_weights_of_another_network_on_the_same_encoder_are_taken(tmp_path: Path) -> None:
    values = changed(LSE, "network", arguments={"encoder": "test_convnext", "decoder_channels": [8, 8, 8, 8]})
    first = trained(changed(values, "trainer", averaging=None), tmp_path / "first", until_step=2)
    start = {
        "architecture": "timm-classifier",
        "arguments": {"encoder": "test_convnext"},
        "start": str(tmp_path / "first"),
    }
    frozen = changed({**CLASSIFIER, "network": start}, "optimiser", learning_rate=1e-12)
    second = load_file(trained(frozen, tmp_path / "second", until_step=2).checkpoint)
    for name, value in load_file(first.checkpoint).items():
        if name.startswith("encoder.body.stages"):
            taken = second[name.removeprefix("encoder.").replace("stages_", "stages.")]
            assert torch.allclose(taken, value, atol=1e-6)
    with pytest.raises(ConfigRefused, match="another network"):
        trained(changed(frozen, "network", arguments={"encoder": "test_resnet"}), tmp_path / "third")


def test_published_weights_that_cannot_be_fetched_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(*_: object, **__: object) -> None:
        raise OSError("no route to host")

    monkeypatch.setattr("timm.models._builder.load_pretrained", unreachable)
    values = changed(CLASSIFIER, "network", arguments={"encoder": "resnet18"}, pretrained=True)
    with pytest.raises(ConfigRefused, match="Published weights for resnet18 could not be fetched") as refusal:
        trained(values, tmp_path / "run")
    assert "network.pretrained to false" in refusal.value.advice


@pytest.mark.slow
@pytest.mark.parametrize("path", sorted(SHIPPED.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_configuration_that_comes_along_trains(tmp_path: Path, path: Path) -> None:
    reduced(path, tmp_path / "run")


def test_the_configuration_of_the_model_that_ships_trains(tmp_path: Path) -> None:
    reduced(SHIPPED / "shipped.yaml", tmp_path / "run")


def reduced(path: Path, out: Path) -> None:
    """One step of every stage, small and on the CPU."""
    values = config_values(read_config(path))
    values["network"]["pretrained"] = False
    values["data"] |= {"workers": 0, "reload": False}
    values["trainer"] |= {"accelerator": "cpu", "precision": "bf16-mixed", "log": "none"}
    for stage in values["stages"]:
        stage |= {"input_size": SIZE, "batch": 2, "steps": 1}
        stage |= dict.fromkeys(("minutes", "epochs", "check_minutes", "check_steps", "check_epochs"))
    kinds = 3 if values["data"]["labels"] == "categories" else 0
    result = fit(
        checked_config(values),
        out,
        train=BlobSlices(8, SIZE, exclusive=kinds),
        validation=BlobSlices(4, SIZE, exclusive=kinds),
    )
    assert [row["step"] for row in result.history] == [1] * len(values["stages"])
    assert np.isfinite(result.history[-1]["loss"])
