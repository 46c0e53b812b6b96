"""Speed and memory of the engine: ``make bench``.

Prints a table beside the figures of last time and writes Testing/benchmarks/results/engine.json. Times are
medians; ratios are taken within one run, so they hold on a busy machine too.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench_memory import HOST_SCRIPT, host_peak_mb, peak_mb
from bench_plain_way import compare_with_plain_way
from bench_report import Figure, console, report
from bench_scans import write_scan

import HemoCAMLib as hc

SHORT, LONG = 40, 400
SHORT_STEP_MM, LONG_STEP_MM = 4.0, 0.5

#: Slices that grad-cam is given; it takes seconds for each.
PLAIN_SLICES = 4


def main() -> None:
    """Measures everything and reports it."""
    out = console()
    with tempfile.TemporaryDirectory(prefix="hemocam-bench-") as scratch:
        folder = Path(scratch)
        out.print("Writing the scans …")
        short = write_scan(folder / "short", SHORT, SHORT_STEP_MM)
        long = write_scan(folder / "long", LONG, LONG_STEP_MM)
        out.print("Cold starts …")
        figures = cold_figures(short, folder)
        out.print("Warm runs, memory, growth …")
        figures += warm_figures(short, long, folder)
        out.print("The host's memory …")
        host_mb = host_peak_mb(HOST_SCRIPT, str(short), str(folder / "host"))
        figures.append(Figure("host_peak_mb", "Host: peak memory beyond the bare interpreter", host_mb, "MB", "≤300"))
        out.print("The plain way: grad-cam, slice by slice, class by class …")
        figures += plain_figures(short, next(f.value for f in figures if f.name == "warm_ms_per_slice"))
    report("Engine", "engine", figures, out)


def timed_run(worker: hc.PlainWorker, scan: Path, out: Path) -> tuple[float, float, hc.Result]:
    """(seconds to the first slices, seconds in all, result) of one analysis, from the call to its return."""
    first_s: list[float] = []
    started_s = time.perf_counter()

    def on_event(event: dict[str, Any]) -> None:
        if event["event"] == "slices" and not first_s:
            first_s.append(time.perf_counter() - started_s)

    result = hc.analyze(scan, out, worker=worker, on_event=on_event, overwrite=True)
    return first_s[0], time.perf_counter() - started_s, result


def cold_figures(scan: Path, folder: Path) -> list[Figure]:
    """From the call, with no process yet, to the first slices and to the end."""
    runs = []
    for _ in range(3):
        with hc.PlainWorker() as worker:
            runs.append(timed_run(worker, scan, folder / "cold"))
    return [
        Figure("cold_first_slices_s", "Cold: from the call to the first slices", median(runs, 0), "s"),
        Figure("cold_total_s", f"Cold: {SHORT} slices in all", median(runs, 1), "s"),
    ]


def warm_figures(short: Path, long: Path, folder: Path) -> list[Figure]:
    """Times in a warm worker, and what 400 slices cost more than 40; each length has a process of its own."""
    with hc.PlainWorker() as worker:
        timed_run(worker, short, folder / "warm")
        runs = [timed_run(worker, short, folder / "warm") for _ in range(5)]
        short_mb = peak_mb(worker.pid or 0)
    with hc.PlainWorker() as worker:
        timed_run(worker, long, folder / "long-run")
        _, long_s, _ = timed_run(worker, long, folder / "long-run")
        long_mb = peak_mb(worker.pid or 0)
    total_s = median(runs, 1)
    share = statistics.median(100 * run[2].fields["timing_s"]["network"] / run[1] for run in runs)
    stages = {name: median_of(runs, lambda run, n=name: run[2].fields["timing_s"][n]) for name in stage_names(runs)}
    return [
        Figure("warm_total_s", f"Warm: {SHORT} slices, reading and writing included", total_s, "s"),
        Figure("warm_ms_per_slice", "Warm: per slice", 1000 * total_s / SHORT, "ms"),
        Figure("network_share", "Warm: share of the network's forward pass", share, "%", "≥85"),
        Figure("warm_first_slices_s", "Warm: from the call to the first slices", median(runs, 0), "s"),
        *(Figure(f"stage_{name}_ms", f"  stage {name}", 1000 * seconds, "ms") for name, seconds in stages.items()),
        Figure("worker_peak_mb", f"Worker: peak memory, {SHORT} slices", short_mb, "MB", "≤1500"),
        Figure("worker_peak_long_mb", f"Worker: peak memory, {LONG} slices", long_mb, "MB", "≤1500"),
        Figure("worker_growth_mb", f"Worker: growth from {SHORT} to {LONG} slices", long_mb - short_mb, "MB", "≤50"),
        Figure("long_total_s", f"Warm: {LONG} slices", long_s, "s"),
        Figure("long_time_ratio", f"Time of {LONG} slices over that of {SHORT}", long_s / total_s, "×", "≤11"),
    ]


def plain_figures(scan: Path, ours_ms: float) -> list[Figure]:
    """grad-cam on the same network in the same run."""
    plain = compare_with_plain_way(scan, PLAIN_SLICES)
    return [
        Figure("plain_ms_per_slice", "grad-cam, all classes: per slice", plain.plain_ms, "ms"),
        Figure("maps_ms_per_slice", "HemoCAM, forward pass and all maps: per slice", plain.ours_ms, "ms"),
        Figure("maps_ratio", "grad-cam over HemoCAM, maps only", plain.plain_ms / plain.ours_ms, "×", "≥10"),
        Figure("whole_ratio", "grad-cam's maps over HemoCAM's whole analysis", plain.plain_ms / ours_ms, "×"),
        Figure("maps_difference", "Largest difference of the normalised maps", plain.largest_difference, "", "≤1e-4"),
    ]


def stage_names(runs: list[tuple[float, float, hc.Result]]) -> list[str]:
    return [name for name in runs[0][2].fields["timing_s"] if name != "total"]


def median(runs: list[tuple[float, float, hc.Result]], column: int) -> float:
    return statistics.median(run[column] for run in runs)


def median_of(runs: list[Any], value: Callable[[Any], float]) -> float:
    return statistics.median(value(run) for run in runs)


if __name__ == "__main__":
    main()
