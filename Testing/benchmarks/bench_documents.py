"""Speed of what leaves HemoCAM: DICOM objects, report, PDF and follow-up of a 512×512×40 scan with five subtypes.

Each figure is the median of calls that read the scan from disk, check it to the voxel and write their files. The first
call in a new process also imports its libraries, and is given apart.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1] / "fixtures"))

import numpy as np
from bench_report import Figure, console, report
from bench_scans import write_scan
from finished_run import finished_run, five_lesions

from HemoCAMLib.ct.geometry import SliceGeometry
from HemoCAMLib.export import export_dicom
from HemoCAMLib.export.headers import read_headers
from HemoCAMLib.export.origin import Origin
from HemoCAMLib.export.segmentation import build_segmentation, find_segments
from HemoCAMLib.export.source import open_source
from HemoCAMLib.export.structured_report import build_report
from HemoCAMLib.followup import RunScan, align, follow_up, write_followup
from HemoCAMLib.model import find_model
from HemoCAMLib.report import ReportOptions, write_report
from HemoCAMLib.run.result import Result
from HemoCAMLib.run.source import scan_of_run

SLICES, STEP_MM, REPEATS = 40, 4.0, 5


def main() -> None:
    """Measures and reports."""
    out = console()
    with tempfile.TemporaryDirectory(prefix="hemocam-bench-") as scratch:
        folder = Path(scratch)
        out.print("Writing the scan and its run …")
        scan = write_scan(folder / "scan", SLICES, STEP_MM)
        result = finished_run(folder / "run", scan, find_model("").path, five_lesions((SLICES, 512, 512)))
        figures = [*dicom_figures(result, scan, folder), *page_figures(result, scan, folder)]
    report(f"Documents of {SLICES} slices of 512×512, five subtypes", "documents", figures, out)


def dicom_figures(result: Result, scan: Path, folder: Path) -> list[Figure]:
    out = folder / "dicom"
    command = ["export-dicom", result.folder, "--source", scan, "--out", out, "--overwrite"]
    source, origin = open_source(result, scan), Origin.of(result)
    segments = find_segments(source)
    segmentation = build_segmentation(source, segments, origin)
    return [
        Figure("dicom_cold_s", "DICOM SEG and SR, hemocam export-dicom in a new process", cold(command), "s", "≤3"),
        seconds("dicom_s", "DICOM SEG and SR", lambda: export_dicom(result.folder, scan, out, overwrite=True), "≤3"),
        seconds(
            "maps_s", "the same with five maps", lambda: export_dicom(result.folder, scan, out, True, overwrite=True)
        ),
        seconds("read_s", "reading the series and checking its voxels", lambda: scan_of_run(result, scan)),
        seconds("headers_s", "reading and completing the headers", lambda: read_headers(source.ct)),
        seconds("seg_s", "building the segmentation", lambda: build_segmentation(source, segments, origin)),
        seconds("sr_s", "building the report", lambda: build_report(result, source, segments, segmentation, origin)),
    ]


def page_figures(result: Result, scan: Path, folder: Path) -> list[Figure]:
    out = folder / "pages"
    command = ["report", result.folder, "--out", out]
    ct = scan_of_run(result, scan)
    geometry = ct.geometry
    shifted = SliceGeometry(
        geometry.positions_mm + np.array([4.0, -3.0, 5.0]),
        geometry.row_direction,
        geometry.column_direction,
        geometry.pixel_spacing_mm,
        geometry.slice_thickness_mm,
    )
    # Another identity: a scan is no follow-up of itself.
    later = replace(ct, geometry=shifted, source=replace(ct.source, series_instance_uid="1.2", planes=()))
    with_pdf = ReportOptions(pdf=True)
    runs = RunScan(result, ct), RunScan(result, later)
    return [
        Figure("report_cold_s", "report page, hemocam report in a new process", cold(command), "s", "≤5"),
        seconds("report_s", "report page", lambda: write_report(result, out, ct=scan_of_run(result, scan)), "≤5"),
        seconds("pdf_s", "page and PDF", lambda: write_report(result, out, ct=ct, options=with_pdf), "≤5"),
        seconds("align_s", "alignment of two scans", lambda: align(ct, later)),
        seconds("followup_s", "follow-up, page included", lambda: write_followup(follow_up(*runs), out)),
    ]


def seconds(name: str, title: str, work: Callable[[], object], goal: str = "") -> Figure:
    """Median seconds of a call, after one that is not counted."""
    taken = []
    for _ in range(REPEATS + 1):
        started_s = time.perf_counter()
        work()
        taken.append(time.perf_counter() - started_s)
    return Figure(name, title, statistics.median(taken[1:]), "s", goal)


def cold(arguments: list[object]) -> float:
    """Median seconds of a command in a process of its own, start of the interpreter included."""
    taken = []
    for _ in range(3):
        started_s = time.perf_counter()
        subprocess.run([sys.executable, "-m", "HemoCAMLib", *map(str, arguments)], check=True, capture_output=True)
        taken.append(time.perf_counter() - started_s)
    return statistics.median(taken)


if __name__ == "__main__":
    main()
