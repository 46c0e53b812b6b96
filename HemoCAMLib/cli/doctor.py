"""``hemocam doctor``: what is installed and missing, which devices there are, what would be slow."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import asdict
from typing import Any

from rich.table import Table
from rich.text import Text

from HemoCAMLib import __version__
from HemoCAMLib.cli.machine import Machine, examine_machine
from HemoCAMLib.cli.packages import Package, installed_packages
from HemoCAMLib.cli.streams import output, write_json
from HemoCAMLib.errors import HemoCAMError, ModelRefused, WorkerFailed
from HemoCAMLib.model import shipped_models
from HemoCAMLib.run.process import worker_environment

#: An import of torch from a slow disk takes tens of seconds, the first one on Windows a minute.
PROBE_TIMEOUT_S = 180

#: What an analysis needs at most (see Testing/benchmarks), with room for a 400-slice scan's files.
MEMORY_NEEDED_MB = 1500
DISK_NEEDED_MB = 1000


def examine(*, as_json: bool) -> int:
    """Prints the findings and gives the exit code: 0 where an analysis can run, else that of its failure."""
    machine, packages = examine_machine(), installed_packages()
    models, probe = _models(), _probe()
    advice = [*_package_advice(packages), *_speed_advice(machine, probe)]
    broken = [model for model in models if not model["intact"]]
    runs = "error" not in probe and all(package.fits or package.purpose for package in packages)
    if as_json:
        write_json(
            {
                "version": __version__,
                "python": sys.version.split()[0],
                "machine": asdict(machine),
                "packages": [package.as_dict() for package in packages],
                "torch": probe,
                "models": models,
                "advice": advice,
                "ready": runs and not broken and bool(models),
            }
        )
    else:
        _print(machine, packages, probe, models, advice)
    if not runs:
        return WorkerFailed.exit_code
    return ModelRefused.exit_code if broken or not models else 0


def _probe() -> dict[str, Any]:
    """What :mod:`HemoCAMLib.cli.device_probe` finds; ``error`` says why it found nothing."""
    command = [sys.executable, "-m", "HemoCAMLib.cli.device_probe"]
    try:
        answer = subprocess.run(
            command, capture_output=True, env=worker_environment(), timeout=PROBE_TIMEOUT_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return {"error": str(error)}
    try:
        found = json.loads(answer.stdout)
    except ValueError:
        lines = answer.stderr.decode(errors="replace").strip().splitlines()
        return {"error": lines[-1] if lines else f"exit code {answer.returncode}"}
    return found if isinstance(found, dict) else {"error": "no answer"}


def _models() -> list[dict[str, Any]]:
    found = []
    try:
        for bundle in shipped_models():
            entry: dict[str, Any] = {"name": bundle.metadata.name, "version": bundle.metadata.version, "intact": True}
            try:
                bundle.verify()
            except HemoCAMError as error:
                entry.update(intact=False, problem=str(error))
            found.append(entry)
    except HemoCAMError as error:
        found.append({"name": "shipped models", "version": "", "intact": False, "problem": str(error)})
    return found


def _package_advice(packages: list[Package]) -> list[str]:
    wanting = [package for package in packages if not package.fits]
    advice = []
    if any(package.side == "host" for package in wanting):
        advice.append("pip install --upgrade hemocam")
    if any(package.side == "worker" for package in wanting):
        advice.append(
            "pip install --upgrade 'hemocam[worker]' (in Slicer, install the PyTorch extension first); "
            "analyses cannot run without it."
        )
    return advice


def _speed_advice(machine: Machine, probe: dict[str, Any]) -> list[str]:
    advice = []
    if machine.cpu_quota is not None and machine.cpu_quota < machine.cores:
        advice.append(
            f"This container may use {machine.cpu_quota:g} of {machine.cores} cores: "
            f"--threads {max(1, int(machine.cpu_quota))} avoids waiting."
        )
    if machine.memory_free_mb is not None and machine.memory_free_mb < MEMORY_NEEDED_MB:
        advice.append(f"Only {machine.memory_free_mb} MB of memory are free; an analysis may need {MEMORY_NEEDED_MB}.")
    if machine.disk_free_mb is not None and machine.disk_free_mb < DISK_NEEDED_MB:
        advice.append(f"Only {machine.disk_free_mb} MB are free on this disk; a long scan may need {DISK_NEEDED_MB}.")
    if "error" in probe:
        return advice
    if not any(device["name"] != "cpu" for device in probe["devices"]):
        advice.append("No graphics processor that torch can use was found: the CPU does the work.")
        if probe.get("cuda_build") is None and sys.platform in ("linux", "win32"):
            advice.append("The installed torch is a CPU build; with an NVIDIA card, install its CUDA build.")
    cpu = probe.get("milliseconds_per_slice", {}).get("cpu", {})
    if cpu and cpu["bfloat16"] > cpu["float32"]:
        advice.append("On this CPU --precision bfloat16 is slower than float32.")
    elif cpu and cpu["bfloat16"] < 0.75 * cpu["float32"]:
        advice.append("On this CPU --precision bfloat16 is faster than float32, at slightly different figures.")
    return advice


def _print(
    machine: Machine,
    packages: list[Package],
    probe: dict[str, Any],
    models: list[dict[str, Any]],
    advice: list[str],
) -> None:
    console = output()
    table = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    table.add_row("HemoCAM", Text(f"{__version__}, Python {sys.version.split()[0]}, {machine.system}"))
    table.add_row("Processor", Text(_processor_line(machine, probe)))
    table.add_row("Memory", _of(machine.memory_free_mb, machine.memory_total_mb))
    table.add_row("Disk", _of(machine.disk_free_mb, None))
    for package in packages:
        table.add_row(package.name, _package_line(package))
    if "error" in probe:
        table.add_row("torch side", Text(f"cannot be imported: {probe['error']}", style="red"))
    for device in probe.get("devices", []):
        table.add_row(f"Device {device['name']}", Text(_device_line(device, probe)))
    for model in models:
        state = Text("intact", style="green") if model["intact"] else Text(model["problem"], style="red")
        table.add_row(f"Model {model['name']}", Text(model["version"] + " ").append_text(state))
    console.print(table)
    for line in advice:
        console.print(Text.assemble(("• ", "yellow"), line))
    if not advice:
        console.print(Text("Nothing is missing."))


def _processor_line(machine: Machine, probe: dict[str, Any]) -> str:
    parts = [machine.processor, f"{machine.cores} cores"]
    if machine.cpu_features is not None:
        parts.append(" ".join(machine.cpu_features) or "no vector instructions that torch could use")
    if "cpu_capability" in probe:
        parts.append(f"torch uses {probe['cpu_capability']}")
    return ", ".join(parts)


def _device_line(device: dict[str, Any], probe: dict[str, Any]) -> str:
    speed = probe.get("milliseconds_per_slice", {}).get(device["name"], {})
    times = ", ".join(f"{name} {value:g} ms" for name, value in speed.items())
    memory = f", {device['memory_mb']} MB" if "memory_mb" in device else ""
    return f"{device['title']}{memory}" + (f"; one slice through the shipped model: {times}" if times else "")


def _package_line(package: Package) -> Text:
    if package.version is None and package.purpose:
        return Text(f"not installed; only for {package.purpose}: pip install 'hemocam[{package.side}]'")
    if package.version is None:
        return Text(f"missing, {package.minimum} or newer is needed", style="red")
    if not package.fits:
        return Text(f"{package.version} is too old, {package.minimum} or newer is needed", style="red")
    return Text(package.version)


def _of(free_mb: int | None, total_mb: int | None) -> Text:
    free = "unknown" if free_mb is None else f"{free_mb / 1024:.1f} GB free"
    return Text(free if total_mb is None else f"{free} of {total_mb / 1024:.1f} GB")
