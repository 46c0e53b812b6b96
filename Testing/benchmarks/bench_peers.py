"""The other libraries' ways to maps, each as its own documentation shows it."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from bench_contender import timed_ms
from torch import Tensor, nn

from HemoCAMLib.model import torchvision_guard  # noqa: F401  (grad-cam and torch-cam import torchvision)

# isort: split
import pytorch_grad_cam
from pytorch_grad_cam.ablation_layer import AblationLayer
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

#: grad-cam's names of the methods that the registry knows by ours.
GRAD_CAM_NAMES = {
    "grad-cam": "GradCAM",
    "hires-cam": "HiResCAM",
    "grad-cam++": "GradCAMPlusPlus",
    "xgrad-cam": "XGradCAM",
    "layer-cam": "LayerCAM",
    "elementwise-grad-cam": "GradCAMElementWise",
    "eigen-cam": "EigenCAM",
    "eigen-grad-cam": "EigenGradCAM",
    "kpca-cam": "KPCA_CAM",
    "ablation-cam": "AblationCAM",
    "score-cam": "ScoreCAM",
    "full-grad": "FullGrad",
}


@dataclass
class PeerTask:
    """One library, one layer; a call measures one round and gives milliseconds per slice for all classes.

    Attributes:
        network: parameters take gradients, as any user's do.
        layer: module name.
        stacks: the slices of one round.
        classes: those that are explained.
        class_count: of the network; the time is scaled from ``classes`` to all of them.
        device: ``cpu`` or ``cuda``.
    """

    network: nn.Module
    layer: str
    stacks: Tensor
    classes: Sequence[int]
    class_count: int
    device: str

    @property
    def module(self) -> nn.Module:
        return self.network.get_submodule(self.layer)

    def scaled(self, total_ms: float) -> float:
        return total_ms / len(self.stacks) * self.class_count / len(self.classes)


def grad_cam_plain(task: PeerTask, method: str = "grad-cam") -> Callable[[], float]:
    """Slice by slice, class by class."""
    explain = getattr(pytorch_grad_cam, GRAD_CAM_NAMES[method])(model=task.network, target_layers=[task.module])

    def round_() -> None:
        for stack in task.stacks:
            for index in task.classes:
                explain(stack[None], [ClassifierOutputTarget(index)])

    return lambda: task.scaled(timed_ms(round_, task.device))


def grad_cam_batched(task: PeerTask) -> Callable[[], float]:
    """All slices of a batch at once, class by class."""
    explain = pytorch_grad_cam.GradCAM(model=task.network, target_layers=[task.module])

    def round_() -> None:
        for index in task.classes:
            explain(task.stacks, [ClassifierOutputTarget(index)] * len(task.stacks))

    return lambda: task.scaled(timed_ms(round_, task.device))


def grad_cam_of_some_channels(task: PeerTask, method: str, channel_count: int) -> Callable[[], float]:
    """AblationCAM or Score-CAM on the first channels of the layer, scaled to all of them.

    Only the time of the weights grows with the channels; it alone is scaled.
    """
    kind: Any = getattr(pytorch_grad_cam, GRAD_CAM_NAMES[method])
    weights_s: list[float] = []
    channels: list[int] = []

    class OfSomeChannels(kind):  # type: ignore[misc]
        def get_cam_weights(self, inputs: Any, layer: Any, targets: Any, activations: Any, grads: Any) -> Any:
            channels.append(activations.shape[1])
            part = activations if method == "ablation-cam" else activations[:, :channel_count]
            started_s = time.perf_counter()
            weights = super().get_cam_weights(inputs, layer, targets, part, grads)
            weights_s.append(time.perf_counter() - started_s)
            return np.pad(weights, ((0, 0), (0, channels[-1] - weights.shape[1])))

    class FirstChannels(AblationLayer):  # type: ignore[misc]
        def activations_to_be_ablated(self, activations: Any, ratio_channels_to_ablate: float = 1.0) -> Any:
            self.indices = np.arange(channel_count)
            return self.indices

    options = {"ablation_layer": FirstChannels()} if method == "ablation-cam" else {}
    explain = OfSomeChannels(model=task.network, target_layers=[task.module], **options)

    def round_() -> None:
        for stack in task.stacks:
            for index in task.classes:
                explain(stack[None], [ClassifierOutputTarget(index)])

    def measure() -> float:
        weights_s.clear()
        total_ms = timed_ms(round_, task.device)
        rest_ms = total_ms - 1000 * sum(weights_s)
        return task.scaled(rest_ms + 1000 * sum(weights_s) * channels[-1] / channel_count)

    return measure


def captum_layer_grad_cam(task: PeerTask) -> Callable[[], float]:
    """captum's LayerGradCam, a batch at once, class by class."""
    from captum.attr import LayerGradCam

    explain = LayerGradCam(task.network, task.module)

    def round_() -> None:
        for index in task.classes:
            explain.attribute(task.stacks, target=index)

    return lambda: task.scaled(timed_ms(round_, task.device))


def monai_grad_cam(task: PeerTask) -> Callable[[], float]:
    """MONAI's GradCAM, which takes one class at a time, a slice at a time as its examples do."""
    from monai.visualize import GradCAM

    explain = GradCAM(nn_module=task.network, target_layers=task.layer)

    def round_() -> None:
        for stack in task.stacks:
            for index in task.classes:
                explain(stack[None], class_idx=index)

    return lambda: task.scaled(timed_ms(round_, task.device))


def torch_cam(task: PeerTask) -> Callable[[], float]:
    """torch-cam's GradCAM: one forward pass for a batch, its graph kept for all classes."""
    from torchcam.methods import GradCAM

    explain = GradCAM(task.network, target_layer=task.layer)

    def round_() -> None:
        scores = task.network(task.stacks)
        for index in task.classes:
            explain(index, scores, retain_graph=index != task.classes[-1])

    return lambda: task.scaled(timed_ms(round_, task.device))


PEERS = {
    "grad-cam-batched": grad_cam_batched,
    "captum": captum_layer_grad_cam,
    "monai": monai_grad_cam,
    "torch-cam": torch_cam,
}
