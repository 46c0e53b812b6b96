"""How many processes there are, on how many machines: from torchrun, from SLURM, or from the settings."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass

from hemocam_training.errors import ConfigRefused
from hemocam_training.learning.config import TrainerConfig


@dataclass(frozen=True)
class Processes:
    """The processes of a training.

    Attributes:
        devices: on each machine.
        nodes: machines.
        rank: this one among all.
        started_by: ``torchrun``, ``slurm``, or empty where this process is alone.
    """

    devices: int
    nodes: int
    rank: int = 0
    started_by: str = ""

    @property
    def count(self) -> int:
        """All of them."""
        return self.devices * self.nodes


def processes(trainer: TrainerConfig, environment: Mapping[str, str] = os.environ) -> Processes:
    """The processes that were started.

    Raises:
        ConfigRefused: ``TRAIN_CONFIG_DEVICES``: the settings ask for others.

    >>> started = {"TORCHELASTIC_RUN_ID": "1", "WORLD_SIZE": "8", "LOCAL_WORLD_SIZE": "4", "RANK": "5"}
    >>> processes(TrainerConfig(), started)
    Processes(devices=4, nodes=2, rank=5, started_by='torchrun')
    """
    found = _started(environment)
    for name, wanted, there in (("devices", trainer.devices, found.devices), ("nodes", trainer.nodes, found.nodes)):
        if wanted is not None and wanted != there:
            raise ConfigRefused(
                "TRAIN_CONFIG_DEVICES",
                f"The configuration asks for {wanted} {name}, but {there} {'was' if there == 1 else 'were'} started.",
                f"Start the training with torchrun or srun, or leave trainer.{name} out.",
            )
    return found


def needs_torchrun(trainer: TrainerConfig, environment: Mapping[str, str] = os.environ) -> bool:
    """Whether the settings ask for several processes on this one machine, and nobody has started them."""
    return (trainer.devices or 1) > 1 and (trainer.nodes or 1) == 1 and not _started(environment).started_by


def _started(environment: Mapping[str, str]) -> Processes:
    if "TORCHELASTIC_RUN_ID" in environment:
        world, local = int(environment["WORLD_SIZE"]), int(environment["LOCAL_WORLD_SIZE"])
        return Processes(local, world // local, int(environment["RANK"]), "torchrun")
    # A shell inside an allocation has SLURM's variables too, but is no task of it.
    if environment.get("SLURM_JOB_NAME") not in (None, "bash", "interactive"):
        count, nodes = int(environment.get("SLURM_NTASKS", "1")), int(environment.get("SLURM_NNODES", "1"))
        if count > 1 and "SLURM_PROCID" in environment:
            return Processes(max(1, count // nodes), nodes, int(environment["SLURM_PROCID"]), "slurm")
    return Processes(1, 1)
