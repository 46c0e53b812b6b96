"""The Slicer extension's package: nothing of the library is left out of it, and nothing is named that is not there."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest
from extension_trees import ExtensionTrees, make_trees

ROOT = Path(__file__).resolve().parents[2]
TOP = (ROOT / "CMakeLists.txt").read_text(encoding="utf-8")
FOLDERS = re.findall(r"add_subdirectory\((\S+)\)", TOP)


def tracked(folder: str) -> set[str]:
    """Files of a folder that belong to the project, relative to it."""
    found = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", folder],
        cwd=ROOT,
        capture_output=True,
        check=False,
    )
    if found.returncode != 0:
        pytest.skip("not a git checkout")
    names = (name for name in found.stdout.decode().split("\0") if name and (ROOT / name).is_file())
    return {Path(name).relative_to(folder).as_posix() for name in names}


@pytest.fixture(scope="module")
def trees(tmp_path_factory: pytest.TempPathFactory) -> ExtensionTrees:
    return make_trees(tmp_path_factory.mktemp("extension"))


def files(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("way", ["built", "installed"])
def test_the_package_has_every_file_of_the_module_and_the_library_and_no_other(way: str, trees: ExtensionTrees) -> None:
    packaged = files(getattr(trees, way))
    module = tracked("HemoCAM") - {"CMakeLists.txt", "ruff.toml"}
    library = {f"HemoCAMLib/{name}" for name in tracked("HemoCAMLib") - {"CMakeLists.txt"}}
    resources = {f"HemoCAMLib/Resources/{name}" for name in tracked("Resources")}
    assert packaged == module | library | resources


def test_the_build_registers_the_self_tests(trees: ExtensionTrees) -> None:
    assert trees.tests == [path.stem for path in sorted((ROOT / "Testing" / "selftest").glob("*.py"))]


def test_the_extension_names_only_folders_that_exist() -> None:
    assert set(FOLDERS) == {"HemoCAM", "HemoCAMLib", "Testing/selftest"}
    for folder in FOLDERS:
        assert (ROOT / folder / "CMakeLists.txt").is_file()


def test_the_extension_says_what_the_index_asks_for() -> None:
    for name in ("HOMEPAGE", "CONTRIBUTORS", "DESCRIPTION", "ICONURL", "SCREENSHOTURLS", "DEPENDS"):
        assert re.search(rf'set\(EXTENSION_{name}\s+"[^"]+"', TOP), name
    steps = ["project(HemoCAM)", "EXTENSION_HOMEPAGE", "find_package(Slicer REQUIRED)", "Slicer_USE_FILE"]
    steps += ["add_subdirectory(", "Slicer_EXTENSION_GENERATE_CONFIG", "Slicer_EXTENSION_CPACK"]
    positions = [TOP.index(step) for step in steps]
    assert positions == sorted(positions)


def test_pictures_that_the_extension_names_are_in_the_repository() -> None:
    urls = re.findall(r'EXTENSION_(?:ICONURL|SCREENSHOTURLS)\s+"([^"]+)"', TOP)
    for url in " ".join(urls).split():
        picture = ROOT / url.split("/main/")[1]
        assert picture.suffix == ".png"
        assert picture.read_bytes().startswith(b"\x89PNG")


def test_the_entry_of_the_index_agrees_with_the_extension() -> None:
    entry = json.loads((ROOT / "HemoCAM.json").read_text(encoding="utf-8"))
    # The properties that Slicer's schema 1.0.1 of catalog entries allows and this one uses.
    assert set(entry) == {
        "$schema",
        "build_dependencies",
        "build_subdirectory",
        "category",
        "scm_revision",
        "scm_url",
        "tier",
    }
    assert re.search(r"schema-v1\.0\.\d+\.json", entry["$schema"])
    assert entry["build_dependencies"] == re.findall(r'EXTENSION_DEPENDS "([^"]+)"', TOP)
    assert all(isinstance(name, str) for name in entry["build_dependencies"])
    assert entry["tier"] in range(1, 6)
    assert entry["scm_url"].removesuffix(".git") == re.findall(r'EXTENSION_HOMEPAGE "([^"]+)"', TOP)[0]


def test_the_licence_lies_at_the_root_and_the_build_files_name_it() -> None:
    assert "Apache License" in (ROOT / "LICENSE").read_text(encoding="utf-8")
    for path in [ROOT / "CMakeLists.txt", *(ROOT / name / "CMakeLists.txt" for name in FOLDERS)]:
        assert path.read_text(encoding="utf-8").startswith("# SPDX-License-Identifier: Apache-2.0")
