"""AlexNet and VGG with their pooling changed, so that activation maps follow from one linear layer.

Their own classifiers flatten a grid of positions and pass it through two hidden layers. Here, as in the study that
measured activation maps against tumour masks (Kang et al., section 2.2) and as Zhou et al. 2016 did it, the
convolutions are followed by global average pooling and one linear layer.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from HemoCAMLib.errors import ModelRefused
from HemoCAMLib.model import torchvision_guard  # noqa: F401  (before torchvision)
from HemoCAMLib.model.architecture import POOLED_ENCODERS
from HemoCAMLib.model.heads import AveragePoolHead, Head

# isort: split
import torchvision.models


class PooledClassifier(nn.Module):
    """Convolutions of AlexNet or VGG, global average pooling, one linear layer.

    Args:
        encoder: ``alexnet``, ``vgg16``, ``vgg16_bn``, ``vgg19`` or ``vgg19_bn``.
        class_count: C, number of logits.
        pretrained: fetch torchvision's pretrained convolutions (training only).

    Attributes:
        class_count: C.
        map_layer: name of the module whose output is A: what the last of the network's maximum poolings gives.
        map_layers: places for maps, deepest first: that, then the activations before each maximum pooling.
        input_multiple: input rows and columns must be multiples of this.

    Raises:
        ModelRefused: ``MODEL_ARCHITECTURE_ARGUMENTS``: another network.
    """

    input_multiple = 1
    map_layer = "features"

    def __init__(self, encoder: str, class_count: int, *, pretrained: bool = False) -> None:
        super().__init__()
        if encoder not in POOLED_ENCODERS:
            raise ModelRefused(
                "MODEL_ARCHITECTURE_ARGUMENTS",
                "The model asks for a network that cannot be pooled.",
                f"There are {', '.join(POOLED_ENCODERS)}.",
                f"encoder {encoder[:80]!r}",
            )
        self.class_count = class_count
        whole = torchvision.models.get_model(encoder, weights="DEFAULT" if pretrained else None)
        self.features: nn.Sequential = whole.features
        channels = [module.out_channels for module in self.features if isinstance(module, nn.Conv2d)][-1]
        self.classifier = nn.Linear(channels, class_count)
        nn.init.normal_(self.classifier.weight, 0, 0.01)
        nn.init.zeros_(self.classifier.bias)
        poolings = [place for place, module in enumerate(self.features) if isinstance(module, nn.MaxPool2d)]
        self.map_layers = ("features", *(f"features.{place - 1}" for place in reversed(poolings)))

    def trunk(self, stacks: Tensor) -> Tensor:
        """Slice stacks [N, 3, H, W] to activations A [N, K, h, w]."""
        features: Tensor = self.features(stacks)
        return features

    @property
    def head(self) -> AveragePoolHead:
        """A to class logits [N, C]."""
        return AveragePoolHead(self.classifier.weight, self.classifier.bias)

    @property
    def layer_heads(self) -> dict[str, Head]:
        """What follows a layer, by its name, where that is a pooling of a linear layer."""
        return {"features": self.head}

    def forward(self, stacks: Tensor) -> Tensor:
        """Slice stacks [N, 3, H, W] to class logits [N, C]."""
        return torch.nn.functional.linear(
            self.trunk(stacks).mean(dim=(-2, -1)), self.classifier.weight, self.classifier.bias
        )
