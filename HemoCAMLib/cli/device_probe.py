"""What torch finds on this computer, as JSON: ``python -m HemoCAMLib.cli.device_probe``. Worker side.

A process of its own, so that the command line never imports torch and a crash in a driver ends only this.
"""

from __future__ import annotations

import json
import os
import statistics
import time
from typing import Any

IMPORT_STARTED_S = time.perf_counter()

import torch  # noqa: E402

from HemoCAMLib.errors import HemoCAMError  # noqa: E402
from HemoCAMLib.model import find_model  # noqa: E402
from HemoCAMLib.model.registry import Network, load_network  # noqa: E402
from HemoCAMLib.model.torchvision_guard import SCHEMAS_DEFINED_HERE  # noqa: E402

IMPORT_S = time.perf_counter() - IMPORT_STARTED_S

#: Timed passes after one that is not counted.
REPEATS = 5


def probe() -> dict[str, Any]:
    """Devices, the seconds that importing took, and the milliseconds of one slice through the shipped model."""
    found: dict[str, Any] = {
        "torch": torch.__version__,
        "cuda_build": torch.version.cuda,
        "import_s": round(IMPORT_S, 2),
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "threads": torch.get_num_threads(),
        "torchvision_operators": not SCHEMAS_DEFINED_HERE,
        "devices": _devices(),
    }
    try:
        found["milliseconds_per_slice"] = _speed([device["name"] for device in found["devices"]])
    except HemoCAMError as error:
        found["model_error"] = error.as_dict()
    return found


def _devices() -> list[dict[str, Any]]:
    devices: list[dict[str, Any]] = [{"name": "cpu", "title": "CPU"}]
    if torch.cuda.is_available():
        title, memory = torch.cuda.get_device_name(0), torch.cuda.get_device_properties(0).total_memory
        devices.insert(0, {"name": "cuda", "title": title, "memory_mb": memory >> 20})
    if torch.backends.mps.is_available():
        devices.insert(0, {"name": "mps", "title": "Apple graphics"})
    return devices


def _speed(devices: list[str]) -> dict[str, dict[str, float]]:
    """By device, then by precision."""
    bundle = find_model()
    stack = torch.rand(1, bundle.metadata.neighbours, *bundle.metadata.input_size)
    speed: dict[str, dict[str, float]] = {}
    for device in devices:
        network = load_network(bundle, device)
        speed[device] = {
            name: round(_milliseconds(network, stack.to(device), dtype), 1)
            for name, dtype in (("float32", torch.float32), ("bfloat16", torch.bfloat16))
        }
    return speed


def _milliseconds(network: Network, stack: torch.Tensor, dtype: torch.dtype) -> float:
    times_s = []
    for _ in range(1 + REPEATS):
        started_s = time.perf_counter()
        with (
            torch.inference_mode(),
            torch.autocast(stack.device.type, dtype=torch.bfloat16, enabled=dtype == torch.bfloat16),
        ):
            activations = network.trunk(stack)
        # Copying the answer back waits for the device.
        network.head(activations.float()).cpu()
        times_s.append(time.perf_counter() - started_s)
    return statistics.median(times_s[1:]) * 1000


def main() -> None:
    """Prints the findings on the real standard output; what libraries print goes to standard error."""
    with os.fdopen(os.dup(1), "w") as stream:
        os.dup2(2, 1)
        json.dump(probe(), stream)


if __name__ == "__main__":
    main()
