"""Settings of a training: what is read, what is refused, and how it is said."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hemocam_training.errors import ConfigRefused
from hemocam_training.learning.config import AugmentationConfig, FitConfig, NetworkConfig, StageConfig
from hemocam_training.learning.config_file import SHIPPED, checked_config, config_values, read_config, write_config
from hemocam_training.learning.machines import needs_torchrun, processes
from hemocam_training.learning.networks import PAPER_NETWORKS, registry_name
from hemocam_training.learning.schedules import StageClock, learning_rate_factor

STAGE = {"input_size": 64, "batch": 4, "steps": 10}
SMALL: dict[str, Any] = {"network": {"architecture": "alexnet"}, "stages": [STAGE]}


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"trainer": {"acumulate": 2}}, "no key trainer.acumulate. Did you mean accumulate?"),
        ({"optimizer": {}}, "no key optimizer. Did you mean optimiser?"),
        ({"stages": [{**STAGE, "batchs": 1}]}, "no key stages.0.batchs. Did you mean batch?"),
        ({"stages": [{**STAGE, "batch": "4"}]}, "stages.0.batch"),
        ({"stages": [{**STAGE, "batch": True}]}, "stages.0.batch"),
        ({"stages": [{**STAGE, "epochs": 1}]}, "exactly one of minutes, steps and epochs"),
        ({"stages": []}, "stages"),
        ({"trainer": {"early_stop": {}}}, "lacks trainer.early_stop.checks"),
        ({"trainer": {"averaging": 1.0}}, "trainer.averaging"),
        ({"loss": {"positive_weight": "even"}}, "loss.positive_weight"),
        ({"loss": {"alpha": [1, 2]}}, "loss.alpha"),
        ({"loss": {"kind": "lse"}}, "lse is for the architecture lse-unet"),
        ({"augmentation": {"scale": [2, 1]}}, "scale is a lowest and a highest value"),
        ({"network": {}}, "lacks network.architecture"),
    ],
)
def test_what_cannot_be_meant_is_refused_by_name(change: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigRefused) as refusal:
        checked_config({**SMALL, **change})
    assert says in str(refusal.value)
    assert refusal.value.exit_code == 2


@pytest.mark.parametrize(
    "text",
    [
        "network: {architecture: alexnet}\nnetwork: {architecture: vgg16}\n",
        "network: !!python/object/apply:os.system [ls]\n",
        "network: [\n",
        "- 1\n",
        "",
    ],
)
def test_a_file_that_is_not_plain_settings_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigRefused):
        read_config(path)


def test_a_written_file_is_read_as_what_was_written(tmp_path: Path) -> None:
    config = FitConfig(
        network=NetworkConfig(architecture="lse-unet", arguments={"encoder": "resnet10t"}),
        stages=(StageConfig(input_size=64, batch=2, epochs=1), StageConfig(input_size=128, batch=2, minutes=0.5)),
        augmentation=AugmentationConfig(scale=(0.9, 1.1)),
    )
    write_config(tmp_path / "config.yaml", config)
    assert read_config(tmp_path / "config.yaml") == config
    assert checked_config(config_values(config)) == config


def test_settings_on_the_command_line_replace_those_of_the_file() -> None:
    settings = [
        "stages.1.steps=7",
        "stages.1.minutes=null",
        "stages.1.check_minutes=null",
        "optimiser.weight_decay=1e-4",
        "loss.beta=[0, 0, 0]",
    ]
    config = read_config(Path("shipped"), [*settings, "trainer.early_stop.checks=3"])
    assert (config.stages[1].steps, config.stages[1].minutes) == (7, None)
    assert config.optimiser.weight_decay == 1e-4
    assert config.loss.beta == (0, 0, 0)
    assert config.trainer.early_stop is not None
    for wrong in ("stages.9.steps=1", "stages.x.steps=1", "=1", "loss", "network.architecture.x=1"):
        with pytest.raises(ConfigRefused):
            read_config(Path("shipped"), [wrong])


@pytest.mark.parametrize("path", sorted(SHIPPED.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_configuration_that_comes_along_names_a_network_that_exists(path: Path) -> None:
    registry_name(read_config(path).network)


def test_an_unknown_network_is_answered_with_the_nearest() -> None:
    with pytest.raises(ConfigRefused, match="efficientnetv2-s"):
        registry_name(NetworkConfig(architecture="efficientnet-v2-s"))
    assert {"efficientnetv2-l", "resnet-rs200", "rdnet-t", "vgg19", "alexnet"} <= set(PAPER_NETWORKS)


def test_the_learning_rate_follows_its_shape_and_the_clock_knows_epochs() -> None:
    schedule = read_config(Path("shipped")).schedule
    assert learning_rate_factor(schedule, 0.025) == pytest.approx(0.05 + 0.95 / 2)
    assert learning_rate_factor(schedule, 0.05 + 0.95 / 2) == pytest.approx(0.01 + 0.99 / 2)
    clock = StageClock(StageConfig(input_size=64, batch=10, epochs=3), 47)
    assert (clock.steps_per_epoch, clock.steps) == (4, 12)
    assert [step for step in range(1, 13) if clock.check_due(step)] == [4, 8, 12]
    assert not clock.finished(11)
    assert clock.finished(12)


def test_processes_are_those_that_torchrun_or_slurm_started() -> None:
    trainer = checked_config({**SMALL, "trainer": {"devices": 2}}).trainer
    torchrun = {"TORCHELASTIC_RUN_ID": "1", "WORLD_SIZE": "4", "LOCAL_WORLD_SIZE": "2", "RANK": "3"}
    slurm = {"SLURM_JOB_NAME": "fit", "SLURM_NTASKS": "4", "SLURM_NNODES": "2", "SLURM_PROCID": "1"}
    assert (processes(trainer, torchrun).count, processes(trainer, torchrun).rank) == (4, 3)
    assert (processes(trainer, slurm).nodes, processes(trainer, slurm).rank) == (2, 1)
    assert processes(checked_config(SMALL).trainer, {**slurm, "SLURM_JOB_NAME": "bash"}).count == 1
    assert needs_torchrun(trainer, {})
    assert not needs_torchrun(trainer, torchrun)
    with pytest.raises(ConfigRefused, match="asks for 2 devices, but 1 was started"):
        processes(trainer, {})
