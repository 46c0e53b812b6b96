"""Activation maps, ours and the other libraries': milliseconds per slice and peak memory. ``make bench``.

``python bench_cam.py [--quick] [--device cuda] [--network NAME]``. Every side is a process of its own
(:mod:`bench_contender`), asked in turns. Slow peers get fewer slices, classes or channels, and their time is scaled
up; the note beside the figure says how. Writes ``results/cam.json`` (``cam-cuda.json``).
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from bench_contender import Contender, Measured, Task, serve, timed_ms
from bench_networks import LAYERS, QUICK_SIZE, SIZE, Subject, make_subject
from bench_peers import GRAD_CAM_NAMES, PEERS, PeerTask, grad_cam_of_some_channels, grad_cam_plain
from bench_report import Figure, console, report
from bench_roofline import roofline_figures

from HemoCAMLib.cam import Explainer

BATCH = 4
SLICES = 32

#: Rounds of each task; the first warms up. Ours sees all slices once in the others, a batch in each.
ROUNDS = SLICES // BATCH + 1
PEER_ROUNDS = 3

#: Channels that grad-cam's AblationCAM and Score-CAM are given.
SOME_CHANNELS = 32

GRADIENT_METHODS = ("hires-cam", "layer-cam", "xgrad-cam", "grad-cam++", "elementwise-grad-cam", "eigen-grad-cam")
PERTURBING = ("ablation-cam", "score-cam", "full-grad")
APPROXIMATE = ("ablation-cam-fast", "score-cam-fast")

BIG = ("EfficientNetV2-S", "DenseNet121")


@dataclass(frozen=True)
class Entry:
    """One task of one side.

    Attributes:
        side: ``ours``, ``ours bf16``, ``grad-cam`` or a name of :data:`~bench_peers.PEERS`.
        layer: ``[-1]`` or ``[-3]``; empty for the forward pass alone.
        method: name in the registry, with ``gated`` after it where only classes above their gate are explained.
        rounds: how often it is asked.
    """

    side: str
    layer: str
    method: str
    rounds: int

    @property
    def task(self) -> str:
        return f"{self.layer}/{self.method}"

    @property
    def note(self) -> str:
        if self.side == "grad-cam" and self.method in ("ablation-cam", "score-cam"):
            return f"1 slice, 1 class, {SOME_CHANNELS} channels; scaled"
        if self.side == "grad-cam" and (self.layer, self.method) not in (("[-1]", "grad-cam"), ("[-3]", "grad-cam")):
            return "1 slice, 1 class; scaled"
        if self.side == "monai":
            return "1 slice, 2 classes; scaled"
        return "1 slice, all classes" if self.side == "grad-cam" else ""


def plan(network: str, quick: bool) -> list[Entry]:
    """What is measured on a network, in the order of the table."""
    ours, peer = (2, 2) if quick else (ROUNDS, PEER_ROUNDS)
    entries = [Entry("ours", "", "forward", ours), Entry("ours bf16", "", "forward", ours)]
    for layer in ("[-1]", "[-3]"):
        for side in ("ours", "ours bf16"):
            entries.append(Entry(side, layer, "grad-cam", ours))
            if layer == "[-3]":
                entries.append(Entry(side, layer, "grad-cam gated", ours))
        entries += [Entry("grad-cam", layer, "grad-cam", peer), Entry("grad-cam-batched", layer, "grad-cam", 1)]
        entries += [Entry(side, layer, "grad-cam", peer) for side in ("captum", "monai", "torch-cam")]
    if network != "EfficientNetV2-S":
        return entries
    for method in (*GRADIENT_METHODS, "eigen-cam", "kpca-cam"):
        entries += [Entry("ours", "[-3]", method, 3), Entry("grad-cam", "[-3]", method, 2)]
    entries += [Entry("ours", "[-1]", "ablation-cam", 3), Entry("grad-cam", "[-1]", "ablation-cam", 1)]
    for method in PERTURBING:
        entries += [Entry(side, "[-3]", method, 1) for side in ("ours", "ours bf16", "grad-cam")]
    return entries + [Entry(side, "[-3]", method, 2) for method in APPROXIMATE for side in ("ours", "ours bf16")]


def our_tasks(subject: Subject, layers: Mapping[str, str], half: torch.dtype | None, device: str) -> dict[str, Task]:
    """Forward pass and every method of the registry at every layer; a round is one batch, the next one each time."""
    network, stacks = subject.fast_network(), subject.fast_stacks()
    explainers = {layer: Explainer(network, [name], half=half) for layer, name in layers.items()}
    position = {"next": 0}

    def batch(size: int = BATCH) -> slice:
        start = position["next"] % len(stacks)
        position["next"] = start + size
        return slice(start, start + size)

    def forward() -> float:
        rows = batch()
        with torch.inference_mode(), torch.autocast(device, half or torch.bfloat16, enabled=half is not None):
            return timed_ms(lambda: network(stacks[rows]), device) / len(stacks[rows])

    def explain(layer: str, method: str) -> float:
        rows = batch(1 if method in PERTURBING and layer == "[-3]" else BATCH)
        name, gated = method.removesuffix(" gated"), method.endswith(" gated")
        gates = subject.gates[rows] if gated else None

        def maps() -> None:
            explanation = explainers[layer].run(stacks[rows])
            explanation.maps(name, gates=gates)
            explanation.logits.cpu()

        return timed_ms(maps, device) / len(stacks[rows])

    tasks: dict[str, Task] = {"/forward": forward}
    for layer in layers:
        for method in (*GRAD_CAM_NAMES, "grad-cam gated", *APPROXIMATE):
            tasks[f"{layer}/{method}"] = partial(explain, layer, method)
    return tasks


def peer_tasks(subject: Subject, layers: Mapping[str, str], side: str, device: str) -> Mapping[str, Task]:
    """A library's tasks; they are made when asked for, because hooks of one would slow another down."""
    network = subject.network.requires_grad_(True)
    count = subject.gates.shape[1]

    def make(task: str) -> Task:
        layer, method = task.split("/")
        plain = method == "grad-cam"
        slices = BATCH if side in ("grad-cam-batched", "captum", "torch-cam") else 1
        classes = range(2 if side == "monai" else count if plain else 1)
        peer = PeerTask(network, layers[layer], subject.stacks[:slices], classes, count, device)
        if side != "grad-cam":
            return PEERS[side](peer)
        if method in ("ablation-cam", "score-cam"):
            return grad_cam_of_some_channels(peer, method, SOME_CHANNELS)
        return grad_cam_plain(peer, method)

    return _Lazily(make)


class _Lazily(dict[str, Task]):
    """Keeps the last task only."""

    def __init__(self, make: Callable[[str], Task]) -> None:
        super().__init__()
        self._make = make

    def __missing__(self, name: str) -> Task:
        self.clear()
        self[name] = self._make(name)
        return self[name]


def build(specification: Mapping[str, Any]) -> Mapping[str, Task]:
    """What a child process serves."""
    side, device = specification["side"], specification["device"]
    layers = LAYERS[specification["network"]]
    size = QUICK_SIZE if specification["quick"] else SIZE
    count = SLICES if side.startswith("ours") and not specification["quick"] else BATCH
    subject = make_subject(specification["network"], count, size=size, device=device)
    if side.startswith("ours"):
        return our_tasks(subject, layers, torch.bfloat16 if side.endswith("bf16") else None, device)
    return peer_tasks(subject, layers, side, device)


def measure(network: str, entries: list[Entry], quick: bool, device: str) -> dict[Entry, Measured]:
    """All tasks of a network, in turns: a round of each, then the next round of those that have more."""
    sides = {
        side: Contender(__file__, {"side": side, "network": network, "quick": quick, "device": device})
        for side in dict.fromkeys(entry.side for entry in entries)
    }
    # One task after the other, its sides in turns: what is compared is measured within seconds.
    for task in dict.fromkeys(entry.task for entry in entries):
        sharing = [entry for entry in entries if entry.task == task]
        for number in range(max(entry.rounds for entry in sharing)):
            for entry in sharing:
                if number < entry.rounds:
                    sides[entry.side].round(task)
    measured = {entry: sides[entry.side].measured[entry.task] for entry in entries}
    for contender in sides.values():
        contender.close()
    return measured


def figures_of(network: str, measured: Mapping[Entry, Measured]) -> list[Figure]:
    """Times, peaks and the goals of a network."""
    figures: list[Figure] = []
    for entry, result in measured.items():
        key = f"{network}/{entry.task}/{entry.side}".replace("//", "/")
        title = f"{network} {entry.layer} {entry.method}: {entry.side}".replace("  ", " ")
        figures.append(Figure(f"{key}/ms", title, result.ms, "ms/slice", note=result.failure or entry.note))
        if result.ms is not None and entry.side != "ours bf16":
            note = f"{result.beyond_mb:.0f} beyond the loaded network"
            goal = "≤1500" if entry.side == "ours" and network in BIG and "grad-cam" in entry.method else ""
            figures.append(Figure(f"{key}/peak_mb", "  peak memory", result.peak_mb, "MB", goal, note))
    by_key = {(entry.layer, entry.method, entry.side): result.ms for entry, result in measured.items()}
    return figures + [
        Figure(f"{network}/{name}", f"{network} {title}", value, "×", goal if network in BIG else "")
        for name, title, value, goal in ratios(by_key)
        if value is not None
    ]


def ratios(ms: Mapping[tuple[str, str, str], float | None]) -> list[tuple[str, str, float | None, str]]:
    """(key, title, ratio, goal) of each comparison that the goals name."""

    def over(above: tuple[str, str, str], below: tuple[str, str, str]) -> float | None:
        one, other = ms.get(above), ms.get(below)
        return one / other if one and other else None

    rows = []
    for side in ("ours", "ours bf16"):
        half = side != "ours"
        forward = ("", "forward", side)
        for layer, method, goal in (
            ("[-1]", "grad-cam", 1.05),
            ("[-3]", "grad-cam", 2.5),
            ("[-3]", "grad-cam gated", 1.6),
        ):
            title = f"{layer} {method}: {side} over its forward pass"
            rows.append(
                (f"{layer}/{method}/{side}/forward_ratio", title, over((layer, method, side), forward), f"≤{goal}")
            )
        for layer, peer, single, double in (
            ("[-1]", "grad-cam", 20, 40),
            ("[-3]", "grad-cam", 8, 12),
            ("[-1]", "torch-cam", 1.5, 3),
            ("[-3]", "torch-cam", 0, 0),
        ):
            value = over((layer, "grad-cam", peer), (layer, "grad-cam", side))
            goal = f"≥{double if half else single}" if single else ""
            rows.append((f"{layer}/{peer}/{side}/ratio", f"{layer} grad-cam: {peer} over {side}", value, goal))
        for method, single, double in (("ablation-cam", 20, 45), ("score-cam", 5, 12), ("full-grad", 50, 0)):
            value = over(("[-3]", method, "grad-cam"), ("[-3]", method, side))
            goal = f"≥{double if half else single}" if (double if half else single) else ""
            rows.append((f"[-3]/{method}/{side}/ratio", f"[-3] {method}: grad-cam over {side}", value, goal))
        value = over(("[-3]", "score-cam", "grad-cam"), ("[-3]", "score-cam-fast", side))
        title = f"[-3] score-cam: grad-cam's exact over {side}'s approximate"
        rows.append((f"[-3]/score-cam-fast/{side}/ratio", title, value, "≥100" if not half else ""))
    for method in (*GRADIENT_METHODS, "eigen-cam", "kpca-cam"):
        value = over(("[-3]", method, "grad-cam"), ("[-3]", method, "ours"))
        rows.append((f"[-3]/{method}/ours/ratio", f"[-3] {method}: grad-cam over ours", value, ""))
    value = over(("[-1]", "ablation-cam", "grad-cam"), ("[-1]", "ablation-cam", "ours"))
    return [*rows, ("[-1]/ablation-cam/ours/ratio", "[-1] ablation-cam: grad-cam over ours (closed form)", value, "")]


def main() -> None:
    """Measures and reports."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="tiny input, few rounds, no results file")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--network", choices=tuple(LAYERS), action="append")
    parser.add_argument("--contender", type=json.loads, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.contender:
        serve(options.contender, build)
        return
    out = console()
    figures: list[Figure] = []
    for network in options.network or LAYERS:
        out.print(f"{network} …")
        measured = measure(network, plan(network, options.quick), options.quick, options.device)
        figures += figures_of(network, measured)
        sides = {"ours": "float32", "ours bf16": "bfloat16"}
        forward = {sides[entry.side]: result.ms for entry, result in measured.items() if entry.method == "forward"}
        size = QUICK_SIZE if options.quick else SIZE
        figures += roofline_figures(network, make_subject(network, 1, size=size), forward, options.device)
    name = "cam" if options.device == "cpu" else "cam-cuda"
    device = torch.cuda.get_device_name() if options.device == "cuda" else ""
    report("Activation maps", name, figures, out, keep=not (options.quick or options.network), device=device)


if __name__ == "__main__":
    main()
