"""What self-tests have in common: an empty scene, a folder of their own, the event loop, nothing left behind."""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
import sys
import tempfile
import time
import unittest
from collections.abc import Callable
from pathlib import Path
from typing import Any

import slicer

from HemoCAMLib.panel.worker_host import application_worker, end_application_worker
from HemoCAMLib.run.process import worker_environment

#: What the worker imports.
_WORKER_IMPORTS = "import HemoCAMLib.run.networks"


@functools.cache
def why_no_torch() -> str:
    """Why no network can run in this application; empty where one can. Asked of the worker's own interpreter."""
    asked = subprocess.run(
        [sys.executable, "-c", _WORKER_IMPORTS], env=worker_environment(), capture_output=True, text=True, check=False
    )
    lines = asked.stderr.strip().splitlines()
    return "" if asked.returncode == 0 else f"this application cannot run a network: {lines[-1] if lines else '?'}"


class ApplicationCase(unittest.TestCase):
    """An empty scene and a folder for runs; afterwards no worker, and no timer that touches a node."""

    folder: Path

    def setUp(self) -> None:
        slicer.mrmlScene.Clear()
        self.folder = Path(tempfile.mkdtemp(prefix="hemocam-Lékař-"))

    def tearDown(self) -> None:
        end_application_worker()
        slicer.mrmlScene.Clear()
        shutil.rmtree(self.folder, ignore_errors=True)

    def logic(self) -> Any:
        """A ``HemoCAMLogic``, from the module as the application loaded it."""
        return sys.modules["HemoCAM"].HemoCAMLogic()

    def turn_until(self, done: Callable[[], bool], limit_s: float) -> bool:
        """Turns the event loop until something is so; False when the time is over."""
        end_s = time.monotonic() + limit_s
        while not done():
            if time.monotonic() > end_s:
                return False
            slicer.app.processEvents()
            time.sleep(0.005)
        return True

    def turn_for(self, seconds: float) -> None:
        """Turns the event loop for some time."""
        self.turn_until(lambda: False, seconds)

    def assert_gone(self, pids: tuple[int, ...]) -> None:
        """No process of these is left; the system may need a moment."""
        self.assertTrue(self.turn_until(lambda: not any(map(is_running, pids)), 10), f"still running: {pids}")
        self.assertEqual(application_worker().pids, ())


def is_running(pid: int) -> bool:
    """Whether a process is there and not just waiting to be forgotten."""
    if os.name == "nt":
        listed = subprocess.run(["tasklist", "/FI", f"PID eq {pid}"], capture_output=True, text=True, check=False)
        return str(pid) in listed.stdout
    asked = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True, check=False)
    return bool(asked.stdout.strip()) and not asked.stdout.strip().startswith("Z")
