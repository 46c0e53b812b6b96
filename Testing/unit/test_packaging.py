"""The Slicer extension's package: nothing of the library is left out of it, and nothing is named that is not there."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TOP = (ROOT / "CMakeLists.txt").read_text(encoding="utf-8")

# A project with what Slicer's build system would give: the macro writes down what it is told to package.
PROJECT = """
cmake_minimum_required(VERSION 3.20)
project(Package LANGUAGES NONE)
set(Slicer_QTSCRIPTEDMODULES_LIB_DIR lib/qt-scripted-modules)
set(Slicer_INSTALL_QTSCRIPTEDMODULES_LIB_DIR lib/qt-scripted-modules)
function(slicerMacroBuildScriptedModule)
  cmake_parse_arguments(MY "WITH_SUBDIR" "NAME" "SCRIPTS;RESOURCES" ${{ARGN}})
  file(WRITE ${{CMAKE_BINARY_DIR}}/${{MY_NAME}}.txt "${{MY_SCRIPTS}};${{MY_RESOURCES}}")
  file(WRITE ${{CMAKE_BINARY_DIR}}/subdirectory.txt "${{MY_WITH_SUBDIR}}")
endfunction()
add_subdirectory("{library}" library)
"""


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
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The build folder after CMake has read the library's list."""
    cmake = shutil.which("cmake")
    if cmake is None:
        pytest.skip("cmake is not installed")
    folder = tmp_path_factory.mktemp("package")
    (folder / "CMakeLists.txt").write_text(PROJECT.format(library=(ROOT / "HemoCAMLib").as_posix()), encoding="utf-8")
    subprocess.run([cmake, "-S", folder, "-B", folder / "build"], check=True, capture_output=True)
    return folder / "build"


def test_the_package_has_every_file_of_the_library_and_no_other(built: Path) -> None:
    packaged = set((built / "HemoCAMLib.txt").read_text(encoding="utf-8").split(";"))
    assert packaged == tracked("HemoCAMLib") - {"CMakeLists.txt"}
    assert (built / "subdirectory.txt").read_text(encoding="utf-8") == "TRUE"


def test_the_package_has_every_resource_where_the_library_looks_first(built: Path) -> None:
    folder = built / "lib" / "qt-scripted-modules" / "HemoCAMLib" / "Resources"
    packaged = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert packaged == tracked("Resources")
    installed = (built / "library" / "cmake_install.cmake").read_text(encoding="utf-8")
    assert "lib/qt-scripted-modules/HemoCAMLib/Resources" in installed


def test_the_extension_names_only_folders_that_exist() -> None:
    folders = re.findall(r"add_subdirectory\((\S+)\)", TOP)
    assert "HemoCAMLib" in folders
    for folder in folders:
        assert (ROOT / folder / "CMakeLists.txt").is_file()
    assert ("HemoCAM" in folders) == (ROOT / "HemoCAM").is_dir()


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
    assert entry["scm_url"].removesuffix(".git") == re.findall(r'EXTENSION_HOMEPAGE "([^"]+)"', TOP)[0]


def test_the_licence_lies_at_the_root_and_the_build_files_name_it() -> None:
    assert "Apache License" in (ROOT / "LICENSE").read_text(encoding="utf-8")
    for path in (ROOT / "CMakeLists.txt", ROOT / "HemoCAMLib" / "CMakeLists.txt"):
        assert path.read_text(encoding="utf-8").startswith("# SPDX-License-Identifier: Apache-2.0")
