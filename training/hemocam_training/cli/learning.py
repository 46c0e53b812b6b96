"""What the command ``fit`` does."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import typer
from rich.table import Table

from hemocam_training.learning.config_file import read_config
from hemocam_training.learning.machines import needs_torchrun, processes
from HemoCAMLib.cli.streams import messages, output, write_json


def run_fit(
    config: Path, out: Path, settings: Sequence[str], *, resume: bool, until_step: int | None, as_json: bool
) -> None:
    """Train, and show what came out."""
    wanted = read_config(config, settings)
    if needs_torchrun(wanted.trainer):
        raise typer.Exit(_through_torchrun(wanted.trainer.devices or 1))
    from hemocam_training.learning.fit import fit

    first = processes(wanted.trainer).rank == 0
    result = fit(wanted, out, resume=resume, until_step=until_step, show=first and messages().is_terminal)
    if not first:
        return
    if as_json:
        write_json(
            {
                "folder": str(out),
                "checkpoint": str(result.checkpoint),
                "best": str(result.best),
                "history": result.history,
            }
        )
        return
    table = Table("stage", "size", "step", "minutes", "loss", "AUROC", "F1")
    for row in result.history:
        numbers = (row["loss"], row["mean_auroc"], row["mean_f1"])
        table.add_row(
            *(str(row[name]) for name in ("stage", "size", "step", "minutes")),
            *("–" if number is None else f"{number:.3f}" for number in numbers),
        )
    output().print(table)
    output().print(f"The weights are in {result.checkpoint}, those of the best check in {result.best}.")


def _through_torchrun(devices: int) -> int:
    """The same command in several processes of this machine."""
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={devices}"]
    return subprocess.run([*launcher, "-m", "hemocam_training.cli", *sys.argv[1:]], check=False).returncode
