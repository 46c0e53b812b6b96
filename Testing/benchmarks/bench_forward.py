"""The trunk's forward pass on this machine: what the engine reaches of the best that could be had. ``make bench``.

``python bench_forward.py [--quick] [--compile] [--network NAME]``. A runtime that beats torch by more than 1.3 in
the same precision earns a back end of its own: OpenVINO does, as ``--backend openvino``, which has its own rows. Every
variant must agree with the plain pass before it is timed. Writes ``results/forward.json``.
"""

from __future__ import annotations

import argparse
import copy
import io
import json
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from bench_contender import Contender, Measured, Task, core_count, serve, timed_ms
from bench_networks import LAYERS, QUICK_SIZE, SIZE, Subject, make_subject
from bench_report import Figure, console, report
from torch import Tensor

from HemoCAMLib.model.openvino_trunk import OpenVinoTrunk, TrunkModule, import_openvino

BATCH = 4
ROUNDS = 7

#: Largest difference from the plain pass, relative to its largest activation.
TOLERANCE = {"float32": 1e-4, "bfloat16": 0.2, "float16": 0.05}

#: By precision: the rows that are this project's, by the name that their share of the best has among the results.
OURS = {
    "float32": {
        "share": ("engine", "the engine"),
        "share_openvino": ("engine, OpenVINO back end", "the engine with OpenVINO"),
    },
    "bfloat16": {
        "share": ("engine, autocast", "the engine"),
        "share_openvino": ("engine, OpenVINO back end, bf16", "the engine with OpenVINO"),
    },
}

#: How glibc behaves where nobody tells it otherwise; the worker tells it to keep what it has.
SYSTEM_ALLOCATOR = {"MALLOC_MMAP_MAX_": None, "MALLOC_TRIM_THRESHOLD_": None}


@dataclass(frozen=True)
class Variant:
    """One way to run the trunk.

    Attributes:
        name: for the table.
        precision: number format of its convolutions.
        process: the child process that it shares with variants that need the same environment.
        rounds: how often it is timed.
    """

    name: str
    precision: str
    process: str
    rounds: int = ROUNDS


VARIANTS = (
    Variant("torch, plain", "float32", "system allocator"),
    Variant("torch, channels-last", "float32", "system allocator"),
    Variant("torch, channels-last, folded", "float32", "system allocator"),
    Variant("engine", "float32", "worker"),
    Variant("engine, TorchScript with oneDNN fusion", "float32", "worker"),
    Variant("torch.compile", "float32", "compile"),
    Variant("ONNX Runtime", "float32", "onnxruntime"),
    Variant("OpenVINO", "float32", "openvino"),
    Variant("engine, OpenVINO back end", "float32", "openvino"),
    Variant("engine, autocast", "bfloat16", "worker"),
    Variant("engine, weights converted", "bfloat16", "worker"),
    Variant("OpenVINO bf16", "bfloat16", "openvino"),
    Variant("engine, OpenVINO back end, bf16", "bfloat16", "openvino"),
    Variant("engine, fp16 weights", "float16", "worker", rounds=1),
)


def build(specification: Mapping[str, Any]) -> Mapping[str, Task]:
    """The variants of one process, each checked against the plain pass."""
    warnings.simplefilter("ignore")
    size = QUICK_SIZE if specification["quick"] else SIZE
    subject = make_subject(specification["network"], BATCH, size=size)
    with torch.inference_mode():
        expected = TrunkModule(subject.network).eval()(subject.stacks)
    return {
        variant.name: partial(_timed, _MAKERS[variant.name], variant, subject, expected, {})
        for variant in VARIANTS
        if variant.process == specification["process"]
    }


def _timed(
    make: Callable[[Subject], Callable[[], Tensor]],
    variant: Variant,
    subject: Subject,
    expected: Tensor,
    kept: dict[str, Callable[[], Tensor]],
) -> float:
    with torch.inference_mode():
        if not kept:
            kept["run"] = make(subject)
            if variant.rounds > 1:
                _check(kept["run"](), expected, variant)
        return timed_ms(kept["run"]) / (len(subject.stacks) if variant.rounds > 1 else 1)


def _check(found: Tensor, expected: Tensor, variant: Variant) -> None:
    difference = float((found.float() - expected).abs().max() / expected.abs().max())
    if not difference <= TOLERANCE[variant.precision]:
        raise ValueError(f"differs from the plain pass by {difference:.2g}")


def _plain(subject: Subject) -> Callable[[], Tensor]:
    return partial(TrunkModule(subject.network).eval(), subject.stacks)


def _channels_last(subject: Subject) -> Callable[[], Tensor]:
    network = copy.deepcopy(subject.network).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return partial(TrunkModule(network).eval(), subject.fast_stacks())


def _engine(subject: Subject) -> Callable[[], Tensor]:
    return partial(_fast(subject), subject.fast_stacks())


def _scripted(subject: Subject) -> Callable[[], Tensor]:
    torch.jit.enable_onednn_fusion(True)
    stacks = subject.fast_stacks()
    script = torch.jit.freeze(torch.jit.trace(_fast(subject), stacks))
    for _ in range(2):  # the fuser profiles two runs before it fuses
        script(stacks)
    return partial(script, stacks)


def _compiled(subject: Subject) -> Callable[[], Tensor]:
    return partial(torch.compile(_fast(subject)), subject.fast_stacks())


def _autocast(subject: Subject) -> Callable[[], Tensor]:
    trunk, stacks = _fast(subject), subject.fast_stacks()

    def run() -> Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            activations: Tensor = trunk(stacks)
        return activations

    return run


def _converted(dtype: torch.dtype, count: int, subject: Subject) -> Callable[[], Tensor]:
    return partial(_fast(subject).to(dtype), subject.fast_stacks()[:count].to(dtype))


def _onnx(subject: Subject) -> bytes:
    stream = io.BytesIO()
    trunk = _fast(subject).to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    torch.onnx.export(trunk, (subject.stacks,), stream, dynamo=False, opset_version=17, input_names=["stacks"])
    return stream.getvalue()


def _onnxruntime(subject: Subject) -> Callable[[], Tensor]:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = core_count()
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    session = onnxruntime.InferenceSession(_onnx(subject), options, providers=["CPUExecutionProvider"])
    values = subject.stacks.numpy()
    return lambda: torch.from_numpy(session.run(None, {"stacks": values})[0])


def _openvino(precision: str, subject: Subject) -> Callable[[], Tensor]:
    core = import_openvino().Core()
    hints = {
        "INFERENCE_PRECISION_HINT": precision,
        "INFERENCE_NUM_THREADS": core_count(),
        "PERFORMANCE_HINT": "LATENCY",
    }
    compiled = core.compile_model(core.read_model(_onnx(subject)), "CPU", hints)
    values = subject.stacks.numpy()
    return lambda: torch.from_numpy(compiled(values)[0])


def _back_end(precision: str, subject: Subject) -> Callable[[], Tensor]:
    size = (subject.stacks.shape[2], subject.stacks.shape[3])
    network, threads = _fast(subject).network, core_count()
    trunk = OpenVinoTrunk(network, size, batch_size=BATCH, precision=precision, threads=threads)
    return partial(trunk, subject.stacks)


def _fast(subject: Subject) -> TrunkModule:
    return TrunkModule(copy.deepcopy(subject.fast_network())).eval()


_MAKERS: dict[str, Callable[[Subject], Callable[[], Tensor]]] = {
    "torch, plain": _plain,
    "torch, channels-last": _channels_last,
    "torch, channels-last, folded": _engine,
    "engine": _engine,
    "engine, TorchScript with oneDNN fusion": _scripted,
    "torch.compile": _compiled,
    "ONNX Runtime": _onnxruntime,
    "OpenVINO": partial(_openvino, "f32"),
    "engine, OpenVINO back end": partial(_back_end, "float32"),
    "engine, autocast": _autocast,
    "engine, weights converted": partial(_converted, torch.bfloat16, BATCH),
    "OpenVINO bf16": partial(_openvino, "bf16"),
    "engine, OpenVINO back end, bf16": partial(_back_end, "bfloat16"),
    "engine, fp16 weights": partial(_converted, torch.float16, 1),
}


def measure(network: str, quick: bool, compiling: bool) -> dict[Variant, Measured]:
    """All variants of a network in turns."""
    variants = [variant for variant in VARIANTS if compiling or variant.process != "compile"]
    sides = {
        process: Contender(
            __file__,
            {"network": network, "process": process, "quick": quick},
            SYSTEM_ALLOCATOR if process == "system allocator" else None,
        )
        for process in dict.fromkeys(variant.process for variant in variants)
    }
    for number in range(2 if quick else ROUNDS):
        for variant in variants:
            if number < variant.rounds:
                sides[variant.process].round(variant.name)
    for contender in sides.values():
        contender.close()
    return {variant: sides[variant.process].measured[variant.name] for variant in variants}


def figures_of(network: str, measured: Mapping[Variant, Measured]) -> list[Figure]:
    """Times, the shares of the best, and the runtimes' gain over torch, each within one precision."""
    figures = [
        Figure(
            f"{network}/{v.precision}/{v.name}",
            f"{network} {v.precision}: {v.name}",
            result.ms,
            "ms/slice",
            "",
            result.failure,
        )
        for v, result in measured.items()
    ]
    for precision, ours in OURS.items():
        ms = {v.name: result.ms for v, result in measured.items() if v.precision == precision and result.ms}
        for key, (name, title) in ours.items():
            if name in ms:
                best = min(ms, key=lambda name: ms[name])
                share = 100 * ms[best] / ms[name]
                title = f"{network} {precision}: {title}'s share of the best"
                figures.append(Figure(f"{network}/{precision}/{key}", title, share, "%", "≥80", f"best: {best}"))
        if not any(not _is_runtime(name) for name in ms):
            continue
        torchs = min(value for name, value in ms.items() if not _is_runtime(name))
        runtimes = {name: value for name, value in ms.items() if _is_runtime(name)}
        if runtimes:
            fastest = min(runtimes, key=lambda name: runtimes[name])
            title = f"{network} {precision}: torch over the fastest runtime"
            note = f"{fastest}; above 1.3 it earns a back end"
            figures.append(Figure(f"{network}/{precision}/runtime", title, torchs / runtimes[fastest], "×", "", note))
    return figures


def _is_runtime(name: str) -> bool:
    return "ONNX Runtime" in name or "OpenVINO" in name


def main() -> None:
    """Measures and reports."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="small input, two rounds, no results file")
    parser.add_argument("--compile", action="store_true", help="torch.compile too: minutes, and needs a C++ compiler")
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
        figures += figures_of(network, measure(network, options.quick, options.compile))
    report("Forward pass of the trunk", "forward", figures, out, keep=not (options.quick or options.network))


if __name__ == "__main__":
    main()
