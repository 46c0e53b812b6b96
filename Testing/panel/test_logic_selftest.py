"""The module's self-tests in the panel host: with the interpreter that has torch, and with one that has none."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

SCRIPT = """
import sys
from pathlib import Path
root = Path(sys.argv[1])
sys.path.append(str(root / "Testing" / "host"))
from panel_host import PanelHost

with PanelHost(python=sys.argv[2], main_window=sys.argv[3] == "window") as host:
    host.load_module(root / "HemoCAM" / "HemoCAM.py")
    import slicer.testing
    slicer.testing.runUnitTest([str(root / "HemoCAM")], "HemoCAM")
    status = host.application.exit_status
sys.exit(status)
"""


def self_tests(python: str, window: str, folder: Path) -> subprocess.CompletedProcess[str]:
    pytest.importorskip("PySide6", reason="PySide6-Essentials is not installed")
    pytest.importorskip("slicer", reason="slicer-core is not installed")
    return subprocess.run(
        [sys.executable, "-c", SCRIPT, str(ROOT), python, window],
        capture_output=True,
        text=True,
        cwd=folder,
        check=False,
        timeout=900,
    )


def test_without_torch_those_that_need_it_are_skipped_with_the_reason_and_the_rest_pass(tmp_path: Path) -> None:
    done = self_tests(sys.executable, "no window", tmp_path)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    summary = done.stderr[done.stderr.rindex("Ran ") :]
    assert "OK (skipped=5)" in summary, summary


@pytest.mark.slow
def test_with_torch_all_pass(tmp_path: Path) -> None:
    python = next(
        (place for place in (ROOT / ".venv/bin/python", ROOT / ".venv/Scripts/python.exe") if place.is_file()), None
    )
    if python is None or subprocess.run([python, "-c", "import torch"], capture_output=True).returncode != 0:
        pytest.skip("no .venv with torch beside this environment (make test makes one)")
    done = self_tests(str(python), "window", tmp_path)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert "OK (skipped=1)" in done.stderr
