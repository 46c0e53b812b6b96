"""Whether the panel leaves the application's event loop alone, how fast sliders are, and whether memory grows.

Runs in the environment with Slicer's classes, under the panel host: real widgets, timers, processes and MRML, no views
that draw, so Slicer's own rendering is not in the figures. Run it on a machine that does nothing else.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import platform
import time
from pathlib import Path
from typing import Any

import numpy as np
from slicer_bench import ROOT, HandlerTimes, add_scan, panel_host, resident_mib

RESULTS = ROOT / "Testing" / "benchmarks" / "results"

#: No handler of ours holds the main thread for longer; a slider's masks follow within this.
HANDLER_LIMIT_MS, SLIDER_LIMIT_MS = 50.0, 100.0

SLIDER_MOVES = 20


def run_times(host: Any, widget: Any, times: HandlerTimes, slices: int, limit_s: float) -> dict[str, Any]:
    """One analysis by the panel's button, streaming on; the event loop's gaps and the longest handlers."""
    import slicer
    from panel_host.event_loop import Heartbeat

    slicer.mrmlScene.Clear(0)
    host.run_for(0.5)
    node = add_scan(slices)
    with Heartbeat() as idle:
        host.run_for(2.0)
    times.clear()
    with Heartbeat() as chosen:
        widget.ui.inputSelector.setCurrentNode(node)
        host.run_until(lambda: bool(widget.ui.applyButton.enabled), 60)
    run = widget.panel.run
    started = time.perf_counter()
    with Heartbeat() as beat:
        widget.ui.applyButton.click()
        over = host.run_until(lambda: run.handle is not None and run.handle.finished, limit_s)
        host.run_for(0.5)
    if not over or run.handle.state != "done":
        raise SystemExit(f"{slices} slices: {run.handle.state}, {run.handle.error}")
    return {
        "seconds": round(time.perf_counter() - started, 1),
        "slices": slices,
        "beats": len(beat.gaps_ms),
        "worst_gap_ms": round(beat.worst_gap_ms, 1),
        "gap_99_percent_ms": round(beat.gap_ms(99), 1),
        "gap_99_9_percent_ms": round(beat.gap_ms(99.9), 1),
        "worst_gap_choosing_ms": round(chosen.worst_gap_ms, 1),
        "worst_gap_idle_ms": round(idle.worst_gap_ms, 1),
        "worst_handlers_ms": times.worst_ms(),
        "worst_handlers_cpu_ms": times.worst_cpu_ms(),
        "found": run.handle.result.found,
    }


def slider_times(host: Any, widget: Any) -> dict[str, Any]:
    """From a slider's move to segments, and to numbers, of the result that is shown; 40 slices."""
    result = widget.panel.run.handle.result
    name = max(result.found, key=lambda subtype: result.volume_ml[subtype])
    slider = getattr(widget.ui, f"mask{name}Slider")
    start, segmentation = float(slider.value), result.segmentation
    to_segments, to_numbers, seen = [], [], [0.0]
    source = segmentation.GetSegmentation()
    tag = source.AddObserver("ModifiedEvent", lambda *_: seen.append(time.perf_counter()))
    representation = source.AddObserver(
        source.SourceRepresentationModified, lambda *_: seen.append(time.perf_counter())
    )
    values = np.random.default_rng(0).uniform(0.2, 0.9, SLIDER_MOVES)
    for value in [0.99 - start, *values.round(2).tolist()]:
        written = result.volume_table.GetMTime()
        moved = time.perf_counter()
        slider.value = value
        host.run_until(lambda written=written: result.volume_table.GetMTime() > written, 10)
        to_numbers.append(1000 * (time.perf_counter() - moved))
        after = [when for when in seen if when > moved]
        if after:
            to_segments.append(1000 * (after[-1] - moved))
        host.run_for(0.2)
    source.RemoveObserver(tag)
    source.RemoveObserver(representation)
    # The first move reads the run's maps.
    first, rest = to_numbers[0], to_numbers[1:]
    return {
        "subtype": name,
        "moves": len(rest),
        "first_to_numbers_ms": round(first, 1),
        "median_to_numbers_ms": round(float(np.median(rest)), 1),
        "worst_to_numbers_ms": round(max(rest), 1),
        "median_to_segments_ms": round(float(np.median(to_segments[1:])), 1) if len(to_segments) > 1 else None,
        "worst_to_segments_ms": round(max(to_segments[1:]), 1) if len(to_segments) > 1 else None,
    }


def memory_of_runs(host: Any, widget: Any, runs: int) -> list[float]:
    """MiB of this process before and after each run of the same scan, its result removed each time."""
    import slicer

    slicer.mrmlScene.Clear(0)
    node = add_scan(40)
    widget.ui.inputSelector.setCurrentNode(node)
    host.run_until(lambda: bool(widget.ui.applyButton.enabled), 60)
    found = [round(resident_mib(), 1)]
    for _ in range(runs):
        widget.ui.applyButton.click()
        run = widget.panel.run
        if not host.run_until(lambda run=run: run.handle is not None and run.handle.finished, 600):
            raise SystemExit("a run did not end")
        run.handle.result.remove()
        host.run_for(0.3)
        gc.collect()
        found.append(round(resident_mib(), 1))
    return found


def watch_all(times: HandlerTimes) -> None:
    """Methods that handlers call, so that the worst handler says what in it took long."""
    from HemoCAMLib.panel.analysis import Analysis
    from HemoCAMLib.scene import SceneResult

    times.watch(Analysis, "_step", "_put", "_on_model", "_call")
    times.watch(SceneResult, "start", "put_slices", "update", "show_numbers")


def table_of(found: dict[str, Any]) -> str:
    """The figures as a page."""
    lines = [
        "# The panel and the application's event loop",
        "",
        f"Host: {found['machine']}. {found['note']}",
        "",
        "| run, streaming on | time | 99 % of gaps up to | 99.9 % | longest gap | longest handler of ours |",
        "|---|---|---|---|---|---|",
    ]
    for run in found["runs"]:
        name, worst_ms = next(iter(run["worst_handlers_ms"].items()))
        lines.append(
            f"| {run['slices']} slices | {run['seconds']} s | {run['gap_99_percent_ms']} ms "
            f"| {run['gap_99_9_percent_ms']} ms | {run['worst_gap_ms']} ms | {worst_ms} ms, `{name}` |"
        )
    slider = found["slider"]
    memory = found["memory_mib"]
    lines += [
        "",
        f"Threshold slider, 40 slices, {slider['moves']} moves: segments after {slider['median_to_segments_ms']} ms "
        f"(worst {slider['worst_to_segments_ms']} ms), numbers after {slider['median_to_numbers_ms']} ms (worst "
        f"{slider['worst_to_numbers_ms']} ms); 20 ms of that gather movements. The first move, which reads the maps: "
        f"{slider['first_to_numbers_ms']} ms.",
        "",
        f"Memory of the process before and after each of {len(memory) - 1} runs, results removed: "
        + ", ".join(f"{value:.0f}" for value in memory)
        + " MiB.",
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder for slicer_panel.json and slicer_panel.md")
    parser.add_argument("--slices", type=int, nargs="*", default=[40, 300])
    parser.add_argument("--runs", type=int, default=10, help="for memory")
    parser.add_argument("--note", default="", help="what the machine did meanwhile")
    chosen = parser.parse_args()
    times = HandlerTimes()
    with panel_host() as (host, widget):
        watch_all(times)
        widget.ui.deviceSelector.setCurrentText("cpu")
        # The worker starts and loads the model once for all runs.
        run_times(host, widget, times, 10, 600)
        runs = [run_times(host, widget, times, slices, 1800) for slices in sorted(chosen.slices, reverse=True)][::-1]
        slider = slider_times(host, widget) if 40 in chosen.slices else None
        memory = memory_of_runs(host, widget, chosen.runs)
        times.stop()
    found = {
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
        "note": chosen.note,
        "limits_ms": {"handler": HANDLER_LIMIT_MS, "slider": SLIDER_LIMIT_MS},
        "runs": runs,
        "slider": slider,
        "memory_mib": memory,
    }
    chosen.out.mkdir(parents=True, exist_ok=True)
    (chosen.out / "slicer_panel.json").write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    if slider is not None:
        (chosen.out / "slicer_panel.md").write_text(table_of(found), encoding="utf-8")
        print(table_of(found))
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
