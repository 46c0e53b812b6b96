"""The module loads in three ways: installed, from a build tree, from a plain checkout; its self-tests pass in each."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from extension_trees import ROOT, ExtensionTrees, make_trees

pytest.importorskip("PySide6", reason="PySide6-Essentials is not installed")
pytest.importorskip("slicer", reason="slicer-core is not installed")

SCRIPT = """
import json, sys, unittest
from pathlib import Path
sys.path.append(sys.argv[2])
from panel_host import PanelHost

with PanelHost() as host:
    host.load_module(Path(sys.argv[1]) / "HemoCAM.py")
    panel = host.select_module("HemoCAM")
    import HemoCAMLib
    from HemoCAMLib.model import shipped_models
    from HemoCAMLib.panel.selftest.test_module import ModuleTest
    names = (
        "test_the_module_is_loaded_with_its_panel_help_and_icon",
        "test_the_phantom_is_offered_as_sample_data_and_made_without_network",
        "test_a_worker_starts_listens_and_leaves_nothing_behind",
    )
    result = unittest.TextTestRunner().run(unittest.TestSuite(map(ModuleTest, names)))
    models = [str(bundle.path) for bundle in shipped_models()]
    print(json.dumps([result.wasSuccessful(), HemoCAMLib.__file__, models, panel is not None]))
"""


@pytest.fixture(scope="module")
def trees(tmp_path_factory: pytest.TempPathFactory) -> ExtensionTrees:
    return make_trees(tmp_path_factory.mktemp("extension"))


def loaded(modules: Path, elsewhere: Path) -> Any:
    """What the module says of itself in an application of its own, started from another folder."""
    answer = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(modules), str(ROOT / "Testing" / "host")],
        capture_output=True,
        text=True,
        cwd=elsewhere,
        check=False,
        timeout=300,
    )
    assert answer.returncode == 0, answer.stdout[-3000:] + answer.stderr[-3000:]
    return json.loads(answer.stdout.splitlines()[-1])


@pytest.mark.parametrize("way", ["installed", pytest.param("built", marks=pytest.mark.slow)])
def test_the_module_loads_from_what_cmake_made(way: str, trees: ExtensionTrees, tmp_path: Path) -> None:
    modules: Path = getattr(trees, way)
    passed, library, models, has_panel = loaded(modules, tmp_path)
    assert passed
    assert has_panel
    assert Path(library).is_relative_to(modules)
    assert models
    assert all(Path(path).is_relative_to(modules) for path in models)


def test_the_module_loads_from_a_checkout(tmp_path: Path) -> None:
    passed, library, models, has_panel = loaded(ROOT / "HemoCAM", tmp_path)
    assert passed
    assert has_panel
    assert Path(library).parents[1] == ROOT
    assert all(Path(path).is_relative_to(ROOT / "Resources") for path in models)
