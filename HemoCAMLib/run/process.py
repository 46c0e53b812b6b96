"""Starts the worker process and, where it must be, ends it with everything it started."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from HemoCAMLib.errors import WorkerFailed


def worker_command(python: str | None = None) -> list[str]:
    """The command line of the worker; ``python`` defaults to the interpreter that runs now."""
    return [python or sys.executable, "-m", "HemoCAMLib.run.worker"]


def worker_environment() -> dict[str, str]:
    """The worker's environment: UTF-8 whatever the console says, and this HemoCAMLib first on the path.

    The path matters in Slicer and in a source checkout, where HemoCAMLib is not installed for the worker.
    """
    environment = dict(os.environ)
    root = str(Path(__file__).resolve().parents[2])
    paths = [root, *filter(None, environment.get("PYTHONPATH", "").split(os.pathsep))]
    environment.update(
        PYTHONUTF8="1",
        PYTHONUNBUFFERED="1",
        # A stray numpy.py in the folder that the user happens to be in must not be imported (Python 3.11 and newer).
        PYTHONSAFEPATH="1",
        # Waiting threads that spin make a forward pass five times slower as soon as anything else wants a core.
        OMP_WAIT_POLICY="PASSIVE",
        # numpy's products are small here and run beside the network, whose threads are enough.
        OPENBLAS_NUM_THREADS="1",
        # glibc gives every large block back to the system when it is freed and takes it anew, page by page, for the
        # next layer: a third of DenseNet121's time. Kept, it is used again. Other systems pass these over.
        MALLOC_MMAP_MAX_="0",
        MALLOC_TRIM_THRESHOLD_=str(2**40),
        PYTHONPATH=os.pathsep.join(dict.fromkeys(paths)),
    )
    return environment


def process_group() -> dict[str, Any]:
    """Arguments of a process's start that put it at the head of its own group, as :func:`kill_tree` needs it."""
    if os.name == "nt":
        return {"creationflags": 0x00000200}  # CREATE_NEW_PROCESS_GROUP
    return {"start_new_session": True}


def start_worker(python: str | None = None) -> subprocess.Popen[bytes]:
    """Starts the worker at the head of its own process group.

    Raises:
        WorkerFailed: the interpreter cannot be started (``WORKER_START``).
    """
    try:
        return subprocess.Popen(
            worker_command(python),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=worker_environment(),
            bufsize=0,
            **process_group(),
        )
    except OSError as error:
        raise WorkerFailed(
            "WORKER_START", "The analysis process could not be started.", "Run “hemocam doctor”.", str(error)
        ) from error


def kill_tree(pid: int) -> None:
    """Kills a worker and all that it started; silent where it is already gone.

    Slicer's Python is a launcher whose child does the work, so killing the one process is not enough.
    """
    if os.name == "nt":
        subprocess.run(["taskkill", "/F", "/T", "/PID", str(pid)], capture_output=True, check=False)
        return
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)
