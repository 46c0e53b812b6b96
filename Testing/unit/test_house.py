"""Rules of the house that no single room can check."""

from __future__ import annotations

import ast
import json
import re
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

import HemoCAMLib
from HemoCAMLib.cli.packages import MINIMUM_VERSIONS, OPTIONAL

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).resolve().parents[2]
LIBRARY = ROOT / "HemoCAMLib"

#: A room imports only from itself and from rooms before it.
ROOMS = (
    "errors",
    "subtypes",
    "resources",
    "ct",
    "model",
    "cam",
    "mask",
    "measure",
    "quality",
    "run",
    "export",
    "report",
    "followup",
    "scene",
    "sample",
    "panel",
    "cli",
)

#: Modules that may import torch; everything else is host side.
WORKER_SIDE = re.compile(
    r"HemoCAMLib\.(cam(\..*)?"
    r"|model\.(encoders|folding|heads|lse_unet|openvino_trunk|pooled_classifier|registry|segmentation_unet|state|timm_classifier|torchvision_guard)"
    r"|run\.(worker|describe|pipeline|scan_run|slice_maps|networks|compute)"
    r"|cli\.device_probe)"
)

HOST_PACKAGES = {"numpy", "scipy", "SimpleITK", "pydicom", "skimage"}
#: Packages that one room may use, imported inside functions only.
ROOM_PACKAGES = {
    "measure": {"matplotlib"},
    "export": {"highdicom"},
    "report": {"jinja2", "weasyprint", "PIL"},
    "scene": {"slicer", "vtk"},
    "panel": {"qt", "ctk", "slicer", "vtk", "DICOMLib", "PyTorchUtils", "SampleData"},
}
COMMAND_LINE_PACKAGES = HOST_PACKAGES | {"typer", "rich"}
TORCH_SIDE = ("torch", "torchvision", "timm", "safetensors", "pytorch_grad_cam")
SLICER_SIDE = ("qt", "ctk", "slicer", "vtk", "mrml")


@cache
def modules() -> dict[str, ast.Module]:
    """Every module of HemoCAMLib by dotted name."""
    found = {}
    for path in sorted(LIBRARY.rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        if parts[-1] != "__main__":
            found[name] = ast.parse(path.read_text(encoding="utf-8"))
    return found


def imported_by(tree: ast.Module) -> set[str]:
    """Dotted names of what a module imports, wherever in it."""
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative import"
            names.add(node.module or "")
    return names


def room_of(name: str) -> str:
    return name.split(".")[1] if "." in name else ""


@pytest.mark.parametrize("name", modules())
def test_a_room_imports_only_from_rooms_before_it(name: str) -> None:
    room = room_of(name)
    if not room:
        return
    assert room in ROOMS, f"{room} has no place in the order of rooms"
    own = {other for other in imported_by(modules()[name]) if other.startswith("HemoCAMLib.")}
    later = {other for other in own if ROOMS.index(room_of(other)) > ROOMS.index(room)}
    assert not later


@pytest.mark.parametrize("name", [name for name in modules() if not WORKER_SIDE.fullmatch(name)])
def test_host_side_modules_name_only_host_side_packages(name: str) -> None:
    allowed = (
        COMMAND_LINE_PACKAGES if room_of(name) == "cli" else HOST_PACKAGES | ROOM_PACKAGES.get(room_of(name), set())
    )
    outside = {other.split(".")[0] for other in imported_by(modules()[name])} - set(sys.stdlib_module_names)
    assert outside - {"HemoCAMLib"} <= allowed


@pytest.mark.parametrize("name", modules())
def test_nothing_unpickles_evaluates_or_looks_to_training(name: str) -> None:
    tree = modules()[name]
    assert not {other.split(".")[0] for other in imported_by(tree)} & {"pickle", "dill", "joblib", "hemocam_training"}
    calls = [ast.unparse(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)]
    assert not set(calls) & {"eval", "exec", "torch.load", "os.system"}


def failures_of_imports(names: list[str], blocked: tuple[str, ...]) -> dict[str, str]:
    """What goes wrong when modules are imported, each in turn, in a process where packages are blocked."""
    script = (
        "import importlib, json, os, sys\n"
        "names, blocked = json.loads(sys.argv[1])\n"
        "class Block:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name.split('.')[0] in blocked:\n"
        "            raise ImportError(f'{name} is blocked')\n"
        "sys.meta_path.insert(0, Block())\n"
        "failed = {}\n"
        "for name in names:\n"
        "    try:\n"
        "        importlib.import_module(name)\n"
        "    except BaseException as error:\n"
        "        failed[name] = repr(error)\n"
        "print(json.dumps(failed), flush=True)\n"
        "os._exit(0)\n"
    )
    answer = subprocess.run(
        [sys.executable, "-c", script, json.dumps([names, blocked])],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=True,
        timeout=300,
    )
    failed: dict[str, str] = json.loads(answer.stdout.splitlines()[-1])
    return failed


def test_host_side_modules_import_without_torch() -> None:
    # The panel exists inside the application only; Testing/panel imports it there.
    names = [name for name in modules() if not WORKER_SIDE.fullmatch(name) and room_of(name) != "panel"]
    assert failures_of_imports(names, TORCH_SIDE + SLICER_SIDE) == {}


def test_worker_side_modules_import_without_slicer() -> None:
    names = [name for name in modules() if WORKER_SIDE.fullmatch(name)]
    assert "HemoCAMLib.cli.device_probe" in names
    assert failures_of_imports(names, SLICER_SIDE) == {}


@cache
def project() -> dict[str, object]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def requirements(lines: list[str]) -> dict[str, tuple[str, str]]:
    """By name: the comparison and the version."""
    found = {}
    for line in lines:
        match = re.fullmatch(r"([A-Za-z0-9_.-]+)(\[.*\])?(==|>=)?([^;,\s]*)(;.*)?", line.strip())
        assert match, line
        found[match[1]] = (match[3], match[4])
    return found


def test_the_doctor_knows_the_lower_bounds_of_the_project() -> None:
    host = requirements(project()["dependencies"])
    extras = {name: requirements(project()["optional-dependencies"][name]) for name in ("worker", *OPTIONAL)}
    for side, wanted in {"host": host, **extras}.items():
        assert {name: bound for name, (_, bound) in wanted.items()} == MINIMUM_VERSIONS[side]


def test_every_dependency_has_a_lower_bound_in_the_project_and_a_pin_among_the_constraints() -> None:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = requirements([line for line in lines if line and not line.startswith("#")])
    assert {sign for sign, _ in pins.values()} == {"=="}
    groups = project()["optional-dependencies"]
    wanted = requirements([*project()["dependencies"], *groups["worker"], *groups["dev"], *groups["bench"]])
    assert {sign for sign, _ in wanted.values()} == {">="}
    assert set(wanted) <= set(pins)


def test_one_version_is_told_everywhere() -> None:
    version = HemoCAMLib.__version__
    assert project()["version"] == version
    assert re.search(rf"^version: {re.escape(version)}$", (ROOT / "CITATION.cff").read_text(), re.MULTILINE)
    assert f"## [{version}]" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


@pytest.mark.slow
def test_a_wheel_holds_the_resources_and_finds_them(tmp_path: Path) -> None:
    source, target = tmp_path / "source", tmp_path / "site"
    source.mkdir()
    # Built from a copy: setuptools leaves a build folder beside the sources.
    for name in ("pyproject.toml", "setup.py", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    for name in ("HemoCAMLib", "Resources"):
        shutil.copytree(ROOT / name, source / name)
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(target), str(source)]
    subprocess.run(install, check=True, timeout=300)
    script = (
        "import json, HemoCAMLib\n"
        "from HemoCAMLib.model import shipped_models\n"
        "from HemoCAMLib.resources import resource_folder\n"
        "models = [bundle.verify() or str(bundle.path) for bundle in shipped_models()]\n"
        "print(json.dumps([HemoCAMLib.__file__, str(resource_folder('sample')), models]))"
    )
    answer = subprocess.run(
        [sys.executable, "-I", "-c", f"import sys; sys.path.insert(0, {str(target)!r})\n{script}"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        check=True,
        timeout=120,
    )
    module, sample, models = json.loads(answer.stdout)
    assert models
    assert all(path.startswith(str(target)) for path in (module, sample, *models))
