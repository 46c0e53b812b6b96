"""Peak resident memory of processes, from /proc on Linux and from psutil elsewhere."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import psutil

#: What a host program does: import the library, analyse, look at the result.
HOST_SCRIPT = """
import sys
import HemoCAMLib as hc
result = hc.analyze(sys.argv[1], sys.argv[2], overwrite=True)
result.volume_ml
"""


def peak_mb(pid: int) -> float:
    """Highest resident memory that a living process ever had, in MB."""
    return _status_mb(pid, "VmHWM", "peak_wset")


def resident_mb(pid: int) -> float:
    """Resident memory of a living process now, in MB."""
    return _status_mb(pid, "VmRSS", "rss")


def _status_mb(pid: int, field: str, elsewhere: str) -> float:
    status = Path(f"/proc/{pid}/status")
    if status.exists():
        lines = dict(line.split(":", 1) for line in status.read_text().splitlines() if ":" in line)
        return int(lines[field].split()[0]) / 1024
    info = psutil.Process(pid).memory_info()
    return float(getattr(info, elsewhere, info.rss)) / 2**20


def host_peak_mb(script: str, *arguments: str) -> float:
    """Peak memory of a fresh interpreter that runs a script, beyond a bare one's, in MB."""
    return _peak_of(script, *arguments) - _peak_of("")


def _peak_of(script: str, *arguments: str) -> float:
    # The interpreter measures itself at its end; what measuring imports comes after the script's own peak.
    tail = (
        "\nimport os\n"
        "from pathlib import Path\n"
        "status = Path('/proc/self/status')\n"
        "if status.exists():\n"
        "    print(int(status.read_text().split('VmHWM:')[1].split()[0]) / 1024)\n"
        "else:\n"
        "    import resource\n"
        "    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20)\n"
    )
    answer = subprocess.run(
        [sys.executable, "-c", script + tail, *arguments], capture_output=True, text=True, check=True
    )
    return float(answer.stdout.splitlines()[-1])
