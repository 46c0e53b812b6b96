"""Networks by name: the only place that turns a bundle's words into a network."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from torch import Tensor, nn

from HemoCAMLib.errors import ModelRefused
from HemoCAMLib.model.architecture import check_architecture
from HemoCAMLib.model.heads import Head
from HemoCAMLib.model.lse_unet import LseUNet
from HemoCAMLib.model.timm_classifier import TimmClassifier


class Network(Protocol):
    """What every network offers: one pass to activations, a cheap head from there on.

    ``network(x)`` is ``network.head(network.trunk(x))`` in evaluation mode.
    """

    class_count: int
    input_multiple: int

    @property
    def map_layer(self) -> str:
        """Name of the module whose output is A, as in ``named_modules()``."""

    @property
    def head(self) -> Head:
        """Activations A [N, K, h, w] to logits [N, C]."""

    def trunk(self, stacks: Tensor) -> Tensor:
        """Slice stacks [N, 3, H, W] to activations A [N, K, h, w]."""

    def __call__(self, stacks: Tensor) -> Tensor:
        """Slice stacks [N, 3, H, W] to logits [N, C]."""


def build_network(
    name: str, arguments: Mapping[str, Any], class_count: int, *, pretrained: bool = False
) -> LseUNet | TimmClassifier:
    """The network of that architecture with fresh weights, in training mode.

    Args:
        name: ``lse-unet`` or ``timm-classifier``.
        arguments: ``encoder`` and, for ``lse-unet``, ``r`` and ``decoder_channels``; for ``timm-classifier``,
            ``image_size``. Nothing else is accepted, and only plain values of the right type.
        class_count: number of logits, 1 to 1000.
        pretrained: start from timm's pretrained weights (training only: it may reach the network).

    Raises:
        ModelRefused: ``MODEL_UNKNOWN_ARCHITECTURE``, ``MODEL_ARCHITECTURE_ARGUMENTS``.

    >>> network = build_network("lse-unet", {"encoder": "resnet10t", "decoder_channels": [16, 24, 32, 48]}, 6)
    >>> network.map_layer
    'merge.0'
    """
    checked = check_architecture(name, arguments)
    if isinstance(class_count, bool) or not isinstance(class_count, int) or not 1 <= class_count <= 1000:
        raise ModelRefused(
            "MODEL_ARCHITECTURE_ARGUMENTS", "The model's number of classes is not usable.", detail=repr(class_count)
        )
    builders: dict[str, type[LseUNet] | type[TimmClassifier]] = {
        "lse-unet": LseUNet,
        "timm-classifier": TimmClassifier,
    }
    return builders[name](class_count=class_count, pretrained=pretrained, **checked)


def is_network(module: nn.Module) -> bool:
    """True if the module is one of ours."""
    return isinstance(module, LseUNet | TimmClassifier)
