"""The half of the model room that runs inside Slicer needs no torch."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

HOST_SIDE = [
    "HemoCAMLib.model",
    "HemoCAMLib.model.architecture",
    "HemoCAMLib.model.bundle",
    "HemoCAMLib.model.bundle_source",
    "HemoCAMLib.model.fields",
    "HemoCAMLib.model.metadata",
    "HemoCAMLib.model.safetensors_file",
    "HemoCAMLib.model.shipped",
    "HemoCAMLib.model.stacks",
    "HemoCAMLib.model.strict_json",
]

SCRIPT = """
import importlib, sys

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {"torch", "torchvision", "timm", "safetensors"}:
            raise ImportError(f"{name} is blocked")

sys.meta_path.insert(0, Blocked())
for name in sys.argv[2:]:
    importlib.import_module(name)
from HemoCAMLib.model import ModelBundle
bundle = ModelBundle.open(sys.argv[1])
bundle.verify()
print(len(bundle.read_weights()))
"""


def test_a_bundle_is_read_and_verified_without_torch(tiny_bundle: Path) -> None:
    run = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(tiny_bundle), *HOST_SIDE], capture_output=True, text=True, timeout=60
    )
    assert run.returncode == 0, run.stderr
    assert int(run.stdout) > 10
