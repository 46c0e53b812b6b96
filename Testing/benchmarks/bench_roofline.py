"""How close a forward pass comes to what the machine can do at all.

The bound is the sum over convolutions and linear layers of the larger of two times: multiplications over the
measured peak of the matrix product, and bytes read and written over the measured memory bandwidth. Everything
between them (normalisations, activations) counts as free, so no real pass reaches it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from bench_contender import core_count, timed_ms
from bench_networks import Subject
from bench_report import Figure
from torch import Tensor, nn


@dataclass(frozen=True)
class Peak:
    """What a device was measured to do.

    Attributes:
        flops: floating point operations per second of a large float32 matrix product, a multiply-add counted as two.
        bytes_per_s: of a copy of a large array, reads and writes counted.
    """

    flops: float
    bytes_per_s: float


@dataclass(frozen=True)
class LayerCost:
    """One convolution or linear layer in one pass."""

    flops: float
    bytes_moved: float


def measured_peak(device: str, *, side: int = 2048, megabytes: int = 256, dtype: torch.dtype = torch.float32) -> Peak:
    """The device's matrix product and copy, each the best of seven."""
    matrix = torch.rand(side, side, device=device).to(dtype)
    product = torch.empty_like(matrix)
    product_ms = _best_ms(lambda: torch.mm(matrix, matrix, out=product), device)
    source = torch.rand(megabytes * 2**18, device=device)
    target = torch.empty_like(source)
    copy_ms = _best_ms(lambda: target.copy_(source), device)
    return Peak(2e3 * side**3 / product_ms, 2e3 * source.nbytes / copy_ms)


def _best_ms(action, device: str) -> float:  # type: ignore[no-untyped-def]
    action()
    return min(timed_ms(action, device) for _ in range(7))


@torch.no_grad()
def layer_costs(network: nn.Module, stacks: Tensor) -> list[LayerCost]:
    """Costs of every convolution and linear layer of one pass, in float32."""
    costs: list[LayerCost] = []

    def note(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        weight = module.weight
        assert isinstance(weight, Tensor)
        per_value = weight[0].numel()
        moved = inputs[0].nbytes + output.nbytes + weight.nbytes
        costs.append(LayerCost(2.0 * per_value * output.numel(), float(moved)))

    handles = [
        module.register_forward_hook(note) for module in network.modules() if isinstance(module, nn.Conv2d | nn.Linear)
    ]
    try:
        network(stacks)
    finally:
        for handle in handles:
            handle.remove()
    return costs


def bound_ms(costs: list[LayerCost], peak: Peak) -> float:
    """Least time of a pass in milliseconds.

    >>> bound_ms([LayerCost(4e9, 1e6), LayerCost(1e6, 2e9)], Peak(1e12, 1e12))
    6.0
    """
    return 1000 * sum(max(cost.flops / peak.flops, cost.bytes_moved / peak.bytes_per_s) for cost in costs)


def roofline_figures(name: str, subject: Subject, forward_ms: Mapping[str, float | None], device: str) -> list[Figure]:
    """The bound of a network on a device and the share of it that the forward pass reached, in both number formats.

    Args:
        name: of the network.
        subject: its slices may be few; they are run once, on the CPU.
        forward_ms: per slice, by number format.
        device: whose peak is measured.
    """
    torch.set_num_threads(core_count())
    # Convolutions take TF32 on CUDA by default, so the product that they are held against must, too.
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32
    costs = layer_costs(subject.network, subject.stacks)
    figures = []
    for precision, dtype in (("float32", torch.float32), ("bfloat16", torch.bfloat16)):
        peak = measured_peak(device, dtype=dtype)
        scaled = [replace(cost, bytes_moved=cost.bytes_moved * dtype.itemsize / 4) for cost in costs]
        bound = bound_ms(scaled, peak) / len(subject.stacks)
        measured_ms = forward_ms.get(precision)
        share = None if measured_ms is None else 100 * bound / measured_ms
        key, title = f"{name}/roofline/{precision}", f"{name} {precision}"
        figures += [
            Figure(f"{key}/peak_gflops", f"{title}: measured matrix product", peak.flops / 1e9, "GFLOP/s"),
            Figure(f"{key}/bandwidth_gb_s", f"{title}: measured memory bandwidth", peak.bytes_per_s / 1e9, "GB/s"),
            Figure(f"{key}/bound_ms", f"{title}: least time of the layers", bound, "ms/slice"),
            Figure(f"{key}/share", f"{title}: share of that speed which the forward pass reaches", share, "%"),
        ]
    return figures
