"""The world of a child process of Slicer: its environment, and the launcher PythonSlicer.

A child inherits the variables that Slicer set for itself, which break any other Python. PythonSlicer is a launcher:
it starts the real interpreter as a child of its own, and killing it leaves that one running. Under it `import qt` and
`import ctk` give empty modules.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path


class ChildWorld:
    """While active: the poisoned environment, PythonSlicer first on PATH, `sys.executable` naming it."""

    def __init__(self, folder: Path, python: str) -> None:
        self.startup = dict(os.environ)
        self._executable = sys.executable
        binaries, empty = folder / "bin", folder / "empty"
        for made in (binaries, empty):
            made.mkdir(parents=True)
        for name in ("qt", "ctk"):
            (empty / f"{name}.py").write_text("", encoding="utf-8")
        self.python_slicer = binaries / ("PythonSlicer.bat" if os.name == "nt" else "PythonSlicer")
        self.python_slicer.write_text(
            f'@set PYTHONHOME=\r\n@set PYTHONPATH={empty};%PYTHONPATH%\r\n@"{python}" %*\r\n'
            if os.name == "nt"
            else f'#!/bin/sh\nunset PYTHONHOME\nPYTHONPATH="{empty}:$PYTHONPATH" "{python}" "$@"\n',
            encoding="utf-8",
        )
        self.python_slicer.chmod(0o755)
        self._slicer = {
            "PYTHONHOME": str(folder / "Slicer" / "lib" / "Python"),
            "PYTHONPATH": str(folder / "Slicer" / "lib"),
            "PATH": f"{binaries}{os.pathsep}{os.environ.get('PATH', '')}",
        }

    def __enter__(self) -> ChildWorld:
        os.environ.update(self._slicer)
        sys.executable = str(self.python_slicer)
        return self

    def __exit__(self, *_: object) -> None:
        sys.executable = self._executable
        for name in self._slicer:
            if name in self.startup:
                os.environ[name] = self.startup[name]
            else:
                os.environ.pop(name, None)
