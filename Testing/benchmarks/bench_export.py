"""Speed of the DICOM export: a 512×512×40 scan with all five subtypes, segmentation and report, then maps.

Prints the figures and writes Testing/benchmarks/results/export.json. Times are medians; each run reads the source
series from disk, checks it to the voxel, builds the objects and writes them. The first call in a process also
imports highdicom, and is given apart.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from rich.console import Console
from rich.table import Table

sys.path.append(str(Path(__file__).resolve().parents[1] / "fixtures"))

from bench_scans import write_scan
from finished_run import finished_run, five_lesions

from HemoCAMLib.cli.machine import examine_machine
from HemoCAMLib.export import export_dicom
from HemoCAMLib.export.headers import read_headers
from HemoCAMLib.export.origin import Origin
from HemoCAMLib.export.segmentation import build_segmentation, find_segments
from HemoCAMLib.export.source import open_source
from HemoCAMLib.export.structured_report import build_report
from HemoCAMLib.model import find_model
from HemoCAMLib.run.source import scan_of_run

RESULTS = Path(__file__).parent / "results" / "export.json"
SLICES, STEP_MM, REPEATS = 40, 4.0, 5

COLD = """
import sys, time
started_s = time.perf_counter()
from HemoCAMLib.export import export_dicom
export_dicom(*sys.argv[1:4], overwrite=True)
print(time.perf_counter() - started_s)
"""


def main() -> None:
    """Measures the export and reports it."""
    console = Console(width=None if sys.stdout.isatty() else 120)
    with tempfile.TemporaryDirectory(prefix="hemocam-bench-") as scratch:
        folder = Path(scratch)
        console.print("Writing the scan and its run …")
        scan = write_scan(folder / "scan", SLICES, STEP_MM)
        result = finished_run(folder / "run", scan, find_model("").path, five_lesions((SLICES, 512, 512)))
        arguments = [str(result.folder), str(scan), str(folder / "out")]
        cold_s = [float(output([sys.executable, "-c", COLD, *arguments])) for _ in range(3)]
        figures = {
            "cold_s": ("Segmentation and report, a new process with its imports", statistics.median(cold_s), "≤3"),
            "warm_s": ("Segmentation and report", timed(lambda: export_dicom(*arguments, overwrite=True)), "≤3"),
            "maps_s": ("The same with five maps", timed(lambda: export_dicom(*arguments, True, overwrite=True)), ""),
        }
        source, origin = open_source(result, scan), Origin.of(result)
        segments = find_segments(source)
        segmentation = build_segmentation(source, segments, origin)
        figures |= {
            "read_s": ("  reading the series and checking its voxels", timed(lambda: scan_of_run(result, scan)), ""),
            "headers_s": ("  reading and completing the headers", timed(lambda: read_headers(source.ct)), ""),
            "segmentation_s": (
                "  building the segmentation",
                timed(lambda: build_segmentation(source, segments, origin)),
                "",
            ),
            "report_s": (
                "  building the report",
                timed(lambda: build_report(result, source, segments, segmentation, origin)),
                "",
            ),
        }
    report(figures, console)


def timed(work: object) -> float:
    """Median seconds of a call, after one that is not counted."""
    seconds = []
    for _ in range(REPEATS + 1):
        started_s = time.perf_counter()
        work()  # type: ignore[operator]
        seconds.append(time.perf_counter() - started_s)
    return statistics.median(seconds[1:])


def output(command: list[str]) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def report(figures: dict[str, tuple[str, float, str]], console: Console) -> None:
    """The table, beside the figures of last time, and the file."""
    try:
        former = {one["name"]: one["value"] for one in json.loads(RESULTS.read_text(encoding="utf-8"))["figures"]}
    except (OSError, ValueError):
        former = {}
    table = Table(title=f"DICOM export of {SLICES} slices of 512×512, five subtypes")
    for title in ("Figure", "Now, s", "Last time, s", "Goal"):
        table.add_column(title, justify="left" if title == "Figure" else "right")
    for name, (title, seconds, goal) in figures.items():
        mark = "" if not goal else " [green]met[/]" if seconds <= float(goal[1:]) else " [red]missed[/]"
        table.add_row(title, f"{seconds:.3f}", f"{former[name]:.3f}" if name in former else "", goal + mark)
    console.print(table)
    machine = examine_machine()
    content = {
        "processor": machine.processor,
        "cores": machine.cores,
        "load_average": [round(load, 2) for load in os.getloadavg()] if hasattr(os, "getloadavg") else None,
        "figures": [
            {"name": name, "title": title, "value": value, "unit": "s", "goal": goal}
            for name, (title, value, goal) in figures.items()
        ],
    }
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    console.print(f"Written to {RESULTS}")


if __name__ == "__main__":
    main()
