"""Ends a process with everything it started, where it could not be put at the head of a group of its own."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path


def kill_with_children(*pids: int) -> None:
    """Kills processes and all their descendants at once; silent where they are already gone.

    Qt starts a process in the group of the application, and PythonSlicer is a launcher whose child does the work, so
    neither the group nor the one process can be killed.

    Args:
        pids: process identifiers; those below 1 are passed over.
    """
    roots = [pid for pid in pids if pid > 0]
    if os.name == "nt":
        for pid in roots:
            subprocess.run(["taskkill", "/F", "/T", "/PID", str(pid)], capture_output=True, check=False)
        return
    for pid in with_descendants(roots):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, signal.SIGKILL)


def with_descendants(roots: list[int]) -> list[int]:
    """Process identifiers of POSIX processes, each before its children."""
    children: dict[int, list[int]] = {}
    for pid, parent in _running():
        children.setdefault(parent, []).append(pid)
    found = list(dict.fromkeys(roots))
    for pid in found:
        found += [child for child in children.get(pid, []) if child not in found]
    return found


def _running() -> Iterator[tuple[int, int]]:
    """(process, parent) of what runs on this computer."""
    proc = Path("/proc")
    if not (proc / "self" / "stat").is_file():
        listed = subprocess.run(["ps", "-A", "-o", "pid=,ppid="], capture_output=True, text=True, check=False)
        for line in listed.stdout.splitlines():
            pid, parent = line.split()
            yield int(pid), int(parent)
        return
    for entry in proc.iterdir():
        if entry.name.isdecimal():
            # The process may have ended since the folder was listed. Its name, in brackets, may hold anything.
            with contextlib.suppress(OSError, IndexError, ValueError):
                stat = (entry / "stat").read_text(encoding="utf-8", errors="replace")
                yield int(entry.name), int(stat.rpartition(")")[2].split()[1])
