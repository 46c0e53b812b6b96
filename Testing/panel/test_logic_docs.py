"""The snippets of docs/scripting.md, executed in their order, with a window and without."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "scripting.md"


def python_with_torch() -> str:
    for place in (ROOT / ".venv/bin/python", ROOT / ".venv/Scripts/python.exe"):
        if place.is_file() and subprocess.run([place, "-c", "import torch"], capture_output=True).returncode == 0:
            return str(place)
    pytest.skip("no .venv with torch beside this environment (make test makes one)")


def test_the_snippets_of_the_scripting_page_work_without_a_window(capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("PySide6", reason="PySide6-Essentials is not installed")
    pytest.importorskip("slicer", reason="slicer-core is not installed")
    from panel_host import PanelHost

    snippets = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert len(snippets) >= 9
    names: dict[str, object] = {}
    with PanelHost(python=python_with_torch(), main_window=False) as host:
        host.load_module(ROOT / "HemoCAM" / "HemoCAM.py")
        for number, snippet in enumerate(snippets):
            exec(compile(snippet, f"snippet {number}", "exec"), names)
        assert names["result"].found[:3] == ["IPH", "IVH", "SAH"]  # type: ignore[attr-defined]
        assert names["handle"].state == "cancelled"  # type: ignore[attr-defined]
        from HemoCAMLib.panel.worker_host import end_application_worker

        end_application_worker()
    printed = capsys.readouterr().out
    assert "CT_" in printed
    assert "'total'" in printed
