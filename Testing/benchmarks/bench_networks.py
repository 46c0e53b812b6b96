"""Networks and slices that maps are measured on: two well-known classifiers with random weights, and the shipped model.

Random weights give the costs of trained ones. Batch normalisation has the statistics of real input, so that
activations neither vanish nor explode on their way through.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from HemoCAMLib.model import SliceStacker, StackSettings, find_model, torchvision_guard  # noqa: F401
from HemoCAMLib.model.folding import folded
from HemoCAMLib.model.heads import AveragePoolHead, Head
from HemoCAMLib.model.registry import load_network
from HemoCAMLib.resources import resource_folder
from HemoCAMLib.sample.recipe import SampleRecipe
from HemoCAMLib.subtypes import SUBTYPE_NAMES

# isort: split
from torchvision import models

CLASS_COUNT = len(SUBTYPE_NAMES)
SIZE, QUICK_SIZE = 512, 128

#: Module names of the layers by what the papers call them.
LAYERS = {
    "EfficientNetV2-S": {"[-1]": "features.7", "[-3]": "features.5"},
    "DenseNet121": {"[-1]": "features.relu5", "[-3]": "features.transition3"},
    "hemocam-phantom": {"[-1]": "score.0", "[-3]": "merge.1"},
}


class PooledClassifier(nn.Module):
    """Features, their average, one linear layer; what a torchvision classifier is.

    Attributes:
        features: to A [N, K, h, w].
        classifier: linear, to [N, C].
    """

    map_layer = "features"

    def __init__(self, features: nn.Module, classifier: nn.Linear, last: str) -> None:
        super().__init__()
        self.features = features
        self.classifier = classifier
        self._last = last

    @property
    def head(self) -> AveragePoolHead:
        return AveragePoolHead(self.classifier.weight, self.classifier.bias)

    @property
    def layer_heads(self) -> dict[str, Head]:
        """Closed form of the head, at the layer where it begins."""
        return {self._last: self.head}

    def trunk(self, stacks: Tensor) -> Tensor:
        activations: Tensor = self.features(stacks)
        return activations

    def forward(self, stacks: Tensor) -> Tensor:
        logits: Tensor = self.classifier(self.features(stacks).mean(dim=(2, 3)))
        return logits


@dataclass(frozen=True)
class Subject:
    """A network in evaluation mode and slices for it.

    Attributes:
        network: not folded, contiguous, as a user of the other libraries has it.
        stacks: [N, 3, H, W].
        gates: [N, C] of bool: the classes that the sample's truth shows in each slice.
    """

    network: nn.Module
    stacks: Tensor
    gates: Tensor

    def fast_network(self) -> nn.Module:
        """The network as the engine runs it: folded, channels-last."""
        network, _ = folded(self.network, self.stacks[:1])  # type: ignore[arg-type]
        fast: nn.Module = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        return fast

    def fast_stacks(self) -> Tensor:
        return self.stacks.contiguous(memory_format=torch.channels_last)


def make_subject(name: str, slice_count: int, *, size: int = SIZE, device: str = "cpu") -> Subject:
    """A network by its name in :data:`LAYERS`, and slices of the sample spread over the head."""
    recipe = SampleRecipe.load(resource_folder("sample"))
    indices = np.linspace(0, len(recipe.labels) - 1, slice_count).astype(int)
    if name == "hemocam-phantom":
        bundle = find_model(name)
        settings, classes = bundle.metadata.stack_settings, bundle.metadata.subtypes
        network: nn.Module = load_network(bundle, fold=False).to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    else:
        settings, classes = StackSettings(size, size), SUBTYPE_NAMES
    stacks = torch.from_numpy(SliceStacker(recipe.noisy_hu(), settings).stacks([int(index) for index in indices]))
    if name != "hemocam-phantom":
        network = _with_random_weights(_BUILDERS[name], stacks[:: max(1, slice_count // 4)])
    network.eval().requires_grad_(False)
    shown = [[name == "any" or (recipe.labels[i] == _label(name)).any() for name in classes] for i in indices]
    return Subject(network.to(device), stacks.to(device), torch.tensor(np.array(shown, dtype=bool)))


def _label(subtype: str) -> int:
    return SUBTYPE_NAMES.index(subtype) + 1


def _efficientnet() -> PooledClassifier:
    network = models.efficientnet_v2_s(num_classes=CLASS_COUNT)
    return PooledClassifier(network.features, network.classifier[-1], LAYERS["EfficientNetV2-S"]["[-1]"])


def _densenet() -> PooledClassifier:
    network = models.densenet121(num_classes=CLASS_COUNT)
    # torchvision applies the last ReLU in place, outside any module: every library's hook would see it overwritten.
    network.features.add_module("relu5", nn.ReLU())
    return PooledClassifier(network.features, network.classifier, LAYERS["DenseNet121"]["[-1]"])


_BUILDERS: dict[str, Callable[[], PooledClassifier]] = {"EfficientNetV2-S": _efficientnet, "DenseNet121": _densenet}


@torch.no_grad()
def _with_random_weights(build: Callable[[], PooledClassifier], stacks: Tensor) -> PooledClassifier:
    torch.manual_seed(0)
    network = build().eval()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 1.0
            module.train()
    network(stacks)
    return network
