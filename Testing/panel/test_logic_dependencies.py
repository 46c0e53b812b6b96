"""What is missing and how it is installed: with consent, with the PyTorch extension, never in place of Slicer's own."""

from __future__ import annotations

import os
import re
import sys
import types
from pathlib import Path
from subprocess import CalledProcessError
from typing import Any

import pytest

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).resolve().parents[2]


class Application:
    """Slicer's packaging and the PyTorch extension as a test wants them; notes what was asked of pip."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, installed: set[str], extension: bool) -> None:
        import slicer
        import slicer.packaging

        from HemoCAMLib.panel import dependencies

        self.installed, self.asked, self.constraints = installed, [], ""
        self.answer: Exception | None = None
        monkeypatch.setattr(dependencies, "_is_testing", lambda: False)
        monkeypatch.setattr(slicer.packaging, "pip_check", lambda name: re.split("[>=]", name)[0] in self.installed)
        monkeypatch.setattr(slicer.packaging, "pip_ensure", self.pip_ensure)
        if extension:
            module = types.ModuleType("PyTorchUtils")
            module.PyTorchUtilsLogic = lambda: self  # type: ignore[attr-defined]
            monkeypatch.setitem(sys.modules, "PyTorchUtils", module)
            monkeypatch.setattr(slicer.modules, "pytorchutils", object(), raising=False)

    def pip_ensure(self, requirements: list[str], constraints: Any = None, requester: str = "") -> None:
        self.asked += requirements
        self.constraints = Path(constraints).read_text(encoding="utf-8")
        if self.answer is not None:
            raise self.answer
        self.installed |= {re.split("[>=]", name)[0] for name in requirements}

    def installTorch(  # noqa: N802
        self, askConfirmation: bool, torchVersionRequirement: str, torchvisionVersionRequirement: str
    ) -> Any:
        assert askConfirmation
        self.asked += [f"torch{torchVersionRequirement}", f"torchvision{torchvisionVersionRequirement}"]
        self.constraints = os.environ["PIP_CONSTRAINT"]
        if self.answer is not None:
            raise self.answer
        self.installed |= {"torch", "torchvision"}
        return object()


ALL = {"torch", "torchvision", "timm", "safetensors", "scikit-image"}


def test_the_bounds_are_those_of_the_project(host: Any) -> None:
    from HemoCAMLib.panel.dependencies import PACKAGES, TORCH

    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    lines = [*project["dependencies"], *project["optional-dependencies"]["worker"]]
    bounds = dict(line.split(">=") for line in lines)
    for name, bound in {**TORCH, **PACKAGES}.items():
        assert bounds[name] == bound
    assert set(project["optional-dependencies"]["worker"]) <= {f"{n}>={b}" for n, b in {**TORCH, **PACKAGES}.items()}


def test_nothing_is_asked_where_nothing_is_missing(host: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from HemoCAMLib.panel.dependencies import ensure_dependencies, find_missing

    application = Application(monkeypatch, set(ALL), extension=False)
    assert not find_missing()
    assert find_missing().sentence == ""
    ensure_dependencies()
    assert application.asked == []


def test_without_the_extension_the_next_step_is_named(host: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from HemoCAMLib.errors import UsageError
    from HemoCAMLib.panel.dependencies import ensure_dependencies, find_missing

    application = Application(monkeypatch, set(), extension=False)
    assert "Extensions Manager" in find_missing().sentence
    with pytest.raises(UsageError) as caught:
        ensure_dependencies()
    assert caught.value.code == "USAGE_NO_TORCH_EXTENSION"
    assert "PyTorch" in caught.value.advice
    assert application.asked == []


def test_torch_comes_from_the_extension_and_the_rest_from_pip(host: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from HemoCAMLib.panel.dependencies import KEPT, ensure_dependencies

    application = Application(monkeypatch, set(), extension=True)
    before = os.environ.get("PIP_CONSTRAINT")
    ensure_dependencies()
    assert application.asked[:2] == ["torch>=2.4", "torchvision>=0.19"]
    assert {re.split("[>=]", name)[0] for name in application.asked} == ALL
    assert not set(KEPT) & {re.split("[>=]", name)[0] for name in application.asked}
    import numpy

    assert f"numpy=={numpy.__version__}\n" in application.constraints
    assert os.environ.get("PIP_CONSTRAINT") == before


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (CalledProcessError(1, "pip"), "WORKER_INSTALL"),
        (RuntimeError("User declined package installation"), "CANCELLED"),
    ],
)
def test_a_refusal_and_a_computer_without_network_are_told_apart(
    host: Any, monkeypatch: pytest.MonkeyPatch, answer: Exception, code: str
) -> None:
    from HemoCAMLib.errors import HemoCAMError
    from HemoCAMLib.panel.dependencies import ensure_dependencies

    application = Application(monkeypatch, {"torch", "torchvision"}, extension=True)
    application.answer = answer
    with pytest.raises(HemoCAMError) as caught:
        ensure_dependencies()
    assert caught.value.code == code
    assert caught.value.advice


def test_in_testing_mode_nothing_is_installed(host: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from HemoCAMLib.panel import dependencies

    application = Application(monkeypatch, set(), extension=True)
    monkeypatch.setattr(dependencies, "_is_testing", lambda: True)
    dependencies.ensure_dependencies()
    assert application.asked == []


def test_the_phantom_is_registered_without_an_address(host: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from HemoCAMLib.panel.sample_data import load_phantom, register_sample_data

    assert register_sample_data() is False
    registered: list[dict[str, Any]] = []
    module = types.ModuleType("SampleData")
    module.SampleDataLogic = types.SimpleNamespace(  # type: ignore[attr-defined]
        registerCustomSampleDataSource=lambda **source: registered.append(source)
    )
    monkeypatch.setitem(sys.modules, "SampleData", module)
    assert register_sample_data("icon.png") is True
    (source,) = registered
    assert source["customDownloader"] is load_phantom
    assert source["uris"] == source["fileNames"] == source["nodeNames"] == []
