"""The plain way to activation maps: grad-cam's GradCAM called slice by slice, class by class.

``python bench_plain_way.py SCAN SLICES`` prints the comparison as JSON. It runs in a process of its own, in the
worker's environment, so that both ways have the same threads and the same settings of the maths libraries.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch

from HemoCAMLib.cam import LayerPass, maps
from HemoCAMLib.ct import read_head_ct
from HemoCAMLib.model import find_model
from HemoCAMLib.model.registry import load_network
from HemoCAMLib.model.stacks import SliceStacker
from HemoCAMLib.run.process import worker_environment

# isort: split
from pytorch_grad_cam import GradCAM
from pytorch_grad_cam.utils.image import scale_cam_image
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget


@dataclass(frozen=True)
class PlainComparison:
    """Both ways on the same slices through the same network.

    Attributes:
        plain_ms: grad-cam, median per slice, all classes.
        ours_ms: forward pass and the maps of all classes at once, median per slice.
        largest_difference: between the maps, both scaled by grad-cam's own function to 0..1 at the input's size.
    """

    plain_ms: float
    ours_ms: float
    largest_difference: float


def compare_with_plain_way(scan: Path, slice_count: int) -> PlainComparison:
    """Times and compares both on slices spread over the scan; each way has one slice to warm up."""
    command = [sys.executable, __file__, str(scan), str(slice_count)]
    answer = subprocess.run(command, stdout=subprocess.PIPE, env=worker_environment(), check=True)
    return PlainComparison(**json.loads(answer.stdout.splitlines()[-1]))


def compare_here(scan: Path, slice_count: int) -> PlainComparison:
    """The comparison itself, in this process."""
    torch.set_num_threads(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)
    bundle = find_model()
    network = load_network(bundle)
    ct = read_head_ct(scan)
    stacker = SliceStacker(ct.slices, bundle.metadata.stack_settings)
    indices = np.linspace(0, ct.shape[0] - 1, slice_count + 2).astype(int)[1:-1]
    stacks = [
        torch.from_numpy(stacker.stacks([int(index)])).contiguous(memory_format=torch.channels_last)
        for index in indices
    ]
    size = bundle.metadata.input_size[::-1]

    def ours(stack: torch.Tensor) -> np.ndarray:
        with torch.inference_mode():
            activations = network.trunk(stack)
            network.head(activations)
            at_pooling = LayerPass.from_head(network.head.local_logits(activations), network.head.after_linear())
            return maps("grad-cam", at_pooling)[0].numpy()

    fast, ours_ms = _timed(ours, stacks)
    # grad-cam differentiates, so it needs a network whose parameters ask for gradients, as any user's do.
    network.requires_grad_(True)
    plain_way = GradCAM(model=network, target_layers=[network.score[0]])

    def plain(stack: torch.Tensor) -> np.ndarray:
        return np.concatenate(
            [plain_way(stack, [ClassifierOutputTarget(c)]) for c in range(len(bundle.metadata.subtypes))]
        )

    slow, plain_ms = _timed(plain, stacks)
    # grad-cam scales each layer's map and then their mean, which for one layer is the same thing twice.
    scaled = [scale_cam_image(scale_cam_image(np.maximum(each, 0), size)) for each in fast]
    return PlainComparison(plain_ms, ours_ms, float(np.abs(np.stack(scaled) - np.stack(slow)).max()))


def _timed(way, stacks: list[torch.Tensor]) -> tuple[list[np.ndarray], float]:  # type: ignore[no-untyped-def]
    way(stacks[0])
    results, times_s = [], []
    for stack in stacks:
        started_s = time.perf_counter()
        results.append(way(stack))
        times_s.append(time.perf_counter() - started_s)
    return results, 1000 * statistics.median(times_s)


if __name__ == "__main__":
    print(json.dumps(asdict(compare_here(Path(sys.argv[1]), int(sys.argv[2])))))
