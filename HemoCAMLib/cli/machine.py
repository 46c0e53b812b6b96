"""What this computer offers: processor, memory, disk. Standard library only."""

from __future__ import annotations

import ctypes
import os
import platform
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

#: Instruction sets that decide how fast a network runs on a CPU, as Linux names them.
FEATURES_OF_INTEREST = ("avx2", "avx512f", "avx512_bf16", "amx_bf16", "asimd", "bf16", "sve")


@dataclass(frozen=True)
class Machine:
    """The computer as an analysis finds it; None where the system does not tell.

    Attributes:
        system: operating system and its release.
        processor: its name.
        cores: CPU cores that this process may use.
        cpu_quota: cores' worth of time that a container grants, None without a limit.
        cpu_features: those of :data:`FEATURES_OF_INTEREST` that are there, None where unknown.
        memory_total_mb: physical memory, or the container's limit where that is lower.
        memory_free_mb: what can be had without swapping.
        disk_free_mb: room on the disk of the current folder.
    """

    system: str
    processor: str
    cores: int
    cpu_quota: float | None
    cpu_features: tuple[str, ...] | None
    memory_total_mb: int | None
    memory_free_mb: int | None
    disk_free_mb: int | None


def examine_machine() -> Machine:
    """The computer this runs on."""
    name, features = _processor()
    total_mb, free_mb = _memory()
    return Machine(
        system=platform.platform(terse=True),
        processor=name,
        cores=len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1,
        cpu_quota=_cpu_quota(),
        cpu_features=features,
        memory_total_mb=total_mb,
        memory_free_mb=free_mb,
        disk_free_mb=_disk_free_mb(),
    )


def _read(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _processor() -> tuple[str, tuple[str, ...] | None]:
    if sys.platform == "linux":
        fields: dict[str, str] = {}
        for line in _read("/proc/cpuinfo").splitlines():
            key, _, value = line.partition(":")
            fields.setdefault(key.strip(), value.strip())
        flags = set(fields.get("flags", fields.get("Features", "")).split())
        features = tuple(name for name in FEATURES_OF_INTEREST if name in flags) if flags else None
        return fields.get("model name", platform.machine()), features
    if sys.platform == "darwin":
        command = ["sysctl", "-n", "machdep.cpu.brand_string"]
        answer = subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
        return answer or platform.machine(), None
    return platform.processor() or platform.machine(), None


def _cpu_quota() -> float | None:
    """Linux control groups, version 2 and 1."""
    quota, _, period = _read("/sys/fs/cgroup/cpu.max").strip().partition(" ")
    if not period:
        quota = _read("/sys/fs/cgroup/cpu/cpu.cfs_quota_us").strip()
        period = _read("/sys/fs/cgroup/cpu/cpu.cfs_period_us").strip()
    if quota.isdigit() and period.isdigit() and int(period):
        return int(quota) / int(period)
    return None


def _memory() -> tuple[int | None, int | None]:
    """(total, free) in MB."""
    if sys.platform == "win32":
        return _windows_memory()
    fields = {line.split(":")[0]: line.split()[1] for line in _read("/proc/meminfo").splitlines() if ":" in line}
    if "MemTotal" in fields and "MemAvailable" in fields:
        total, free = int(fields["MemTotal"]) // 1024, int(fields["MemAvailable"]) // 1024
        limit = _read("/sys/fs/cgroup/memory.max").strip()
        used = _read("/sys/fs/cgroup/memory.current").strip()
        if limit.isdigit() and used.isdigit():
            total = min(total, int(limit) >> 20)
            free = min(free, (int(limit) - int(used)) >> 20)
        return total, free
    try:
        return (os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")) >> 20, None
    except (OSError, ValueError):
        return None, None


def _windows_memory() -> tuple[int | None, int | None]:
    class Status(ctypes.Structure):  # MEMORYSTATUSEX of the Windows API
        _fields_ = [
            ("length", ctypes.c_ulong),
            ("load", ctypes.c_ulong),
            *((name, ctypes.c_ulonglong) for name in ("total", "free", "a", "b", "c", "d", "e")),
        ]

    status = Status()
    status.length = ctypes.sizeof(Status)
    kernel = ctypes.windll.kernel32  # type: ignore[attr-defined]
    if not kernel.GlobalMemoryStatusEx(ctypes.byref(status)):
        return None, None
    return status.total >> 20, status.free >> 20


def _disk_free_mb() -> int | None:
    try:
        return shutil.disk_usage(Path.cwd()).free >> 20
    except OSError:
        return None
