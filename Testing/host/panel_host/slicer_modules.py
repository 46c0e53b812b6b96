"""Small modules of the application: slicer.i18n, slicer.packaging, slicer.testing."""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import importlib.metadata
import string
import types
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import slicer


class OnImport(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """A module that its package does not know before it is imported."""

    def __init__(self, name: str, make: Callable[[], types.ModuleType]) -> None:
        self._name, self._make = name, make

    def find_spec(self, name: str, path: Any, target: Any = None) -> importlib.machinery.ModuleSpec | None:
        return importlib.machinery.ModuleSpec(name, self) if name == self._name else None

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> types.ModuleType:
        return self._make()

    def exec_module(self, module: types.ModuleType) -> None:
        """It is complete."""


def placeholders(text: str) -> set[str]:
    """Names in braces, which a translation must keep."""
    return {name for _, name, _, _ in string.Formatter().parse(text) if name is not None}


def i18n() -> types.ModuleType:
    """`slicer.i18n`: no language is installed, so a text is its own translation."""
    module = types.ModuleType("slicer.i18n")

    def tr(text: str) -> str:
        placeholders(text)
        return text

    def translate(context: str, text: str) -> str:
        return text

    def getContext(sourceFile: str) -> str:
        return Path(sourceFile).stem

    module.__dict__.update(tr=tr, translate=translate, getContext=getContext)
    return module


def packaging() -> types.ModuleType:
    """`slicer.packaging`: checks what is installed; installs nothing."""
    from packaging.requirements import Requirement

    module = types.ModuleType("slicer.packaging")
    ensured: list[list[str]] = []

    def parsed(requirements: Any) -> list[Requirement]:
        if isinstance(requirements, str):
            requirements = requirements.split()
        items = requirements if isinstance(requirements, Sequence) else [requirements]
        return [item if isinstance(item, Requirement) else Requirement(item) for item in items]

    def load_requirements(path: Any) -> list[Requirement]:
        lines = (line.split(" #")[0].strip() for line in Path(path).read_text(encoding="utf-8").splitlines())
        return [Requirement(line) for line in lines if line and not line.startswith(("#", "-"))]

    def pip_check(req: Any) -> bool:
        for requirement in parsed(req):
            if requirement.marker is not None and not requirement.marker.evaluate():
                continue
            try:
                version = importlib.metadata.version(requirement.name)
            except importlib.metadata.PackageNotFoundError:
                return False
            if not requirement.specifier.contains(version, prereleases=True):
                return False
        return True

    def pip_ensure(
        requirements: Any,
        constraints: Any = None,
        skip_packages: Any = None,
        prompt_install: bool = True,
        prompt_restart: bool = True,
        requester: str | None = None,
        skip_in_testing: bool = True,
        show_progress: bool = True,
    ) -> None:
        if slicer.app.testingEnabled() and skip_in_testing:
            return
        ensured.append([str(requirement) for requirement in parsed(requirements)])
        if pip_check(requirements):
            return
        if prompt_install and not slicer.util.confirmOkCancelDisplay(f"{requester}: install {requirements}?"):
            raise RuntimeError("Installation of Python packages was declined")
        raise NotImplementedError("the host installs no packages")

    module.__dict__.update(
        ensured=ensured,
        load_requirements=load_requirements,
        pip_check=pip_check,
        pip_ensure=pip_ensure,
        isPipInstallInProgress=lambda: False,
    )
    return module


def testing() -> types.ModuleType:
    """`slicer.testing`."""
    import unittest

    module = types.ModuleType("slicer.testing")

    def exitSuccess() -> None:
        slicer.util.exit(0)

    def exitFailure(message: str = "") -> None:
        if message:
            print(message)
        slicer.util.exit(1)

    def runUnitTest(path: Any, testname: str) -> None:
        import sys

        folders = [path] if isinstance(path, str) else list(path)
        sys.path[:0] = folders
        try:
            suite = unittest.TestLoader().loadTestsFromModule(__import__(testname))
        finally:
            del sys.path[: len(folders)]
        exitSuccess() if unittest.TextTestRunner().run(suite).wasSuccessful() else exitFailure()

    module.__dict__.update(exitSuccess=exitSuccess, exitFailure=exitFailure, runUnitTest=runUnitTest)
    return module
