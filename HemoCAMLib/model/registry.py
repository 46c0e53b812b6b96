"""Networks by name, fresh or with a bundle's weights: the only place that turns a bundle's words into a network."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import torch
from torch import Tensor

from HemoCAMLib.errors import ModelRefused
from HemoCAMLib.model.architecture import check_architecture, check_segmentation_architecture
from HemoCAMLib.model.bundle import ModelBundle
from HemoCAMLib.model.folding import folded
from HemoCAMLib.model.heads import Head
from HemoCAMLib.model.lse_unet import LseUNet
from HemoCAMLib.model.metadata import BundleMetadata
from HemoCAMLib.model.pooled_classifier import PooledClassifier
from HemoCAMLib.model.segmentation_unet import SegmentationUNet
from HemoCAMLib.model.state import checked_state
from HemoCAMLib.model.timm_classifier import TimmClassifier

#: Networks that a bundle may name.
Classifier = LseUNet | TimmClassifier | PooledClassifier


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


def build_network(name: str, arguments: Mapping[str, Any], class_count: int, *, pretrained: bool = False) -> Classifier:
    """The network of that architecture with fresh weights, in training mode.

    Args:
        name: ``lse-unet``, ``timm-classifier`` or ``pooled-classifier``.
        arguments: ``encoder`` and, for ``lse-unet``, ``r`` and ``decoder_channels``; for ``timm-classifier``,
            ``image_size``. Nothing else is accepted, and only plain values of the right type.
        class_count: number of logits, 1 to 1000.
        pretrained: start from published weights (training only: it may reach the network).

    Raises:
        ModelRefused: ``MODEL_UNKNOWN_ARCHITECTURE``, ``MODEL_ARCHITECTURE_ARGUMENTS``.

    >>> network = build_network("lse-unet", {"encoder": "resnet10t", "decoder_channels": [16, 24, 32, 48]}, 6)
    >>> network.map_layer
    'merge.0'
    """
    checked = check_architecture(name, arguments)
    builders: dict[str, type[LseUNet] | type[TimmClassifier] | type[PooledClassifier]] = {
        "lse-unet": LseUNet,
        "timm-classifier": TimmClassifier,
        "pooled-classifier": PooledClassifier,
    }
    return builders[name](class_count=_checked_count(class_count), pretrained=pretrained, **checked)


def build_segmentation_network(name: str, arguments: Mapping[str, Any], class_count: int) -> SegmentationUNet:
    """A segmentation network with fresh weights, in training mode; its logits are [N, C, H, W].

    Args:
        name: ``monai-unet``.
        arguments: ``channels`` and ``residual_units``, both optional.
        class_count: number of classes, 1 to 1000.

    Raises:
        ModelRefused: ``MODEL_UNKNOWN_ARCHITECTURE``, ``MODEL_ARCHITECTURE_ARGUMENTS``, ``MODEL_PACKAGE``.
    """
    checked = check_segmentation_architecture(name, arguments)
    return SegmentationUNet(_checked_count(class_count), **checked)


def load_network(bundle: ModelBundle, device: str | torch.device = "cpu", *, fold: bool = True) -> Classifier:
    """The bundle's network with its weights: evaluation mode, float32, channels-last, no gradients.

    Args:
        bundle: from :meth:`ModelBundle.open`; its checksum is compared here.
        device: where the network will run.
        fold: fold batch normalisation into convolutions; changes activations by less than 1e-5 of their maximum.

    Raises:
        ModelRefused: ``MODEL_CHECKSUM``, ``MODEL_MISSING_KEY``, ``MODEL_UNEXPECTED_KEY``, ``MODEL_SHAPE``,
            ``MODEL_NOT_FINITE``, ``MODEL_UNKNOWN_MAP_LAYER``, and those of building and reading.
    """
    metadata = bundle.metadata
    network = build_network(metadata.architecture, metadata.arguments, len(metadata.subtypes))
    _check_description(metadata, network)
    weights = bundle.read_weights()
    network.load_state_dict(checked_state(weights, network.state_dict()))
    network.eval().requires_grad_(False)
    if fold:
        generator = torch.Generator().manual_seed(0)
        network, _ = folded(network, torch.rand(1, 3, *metadata.input_size, generator=generator))
    return network.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]


def _checked_count(class_count: object) -> int:
    if isinstance(class_count, bool) or not isinstance(class_count, int) or not 1 <= class_count <= 1000:
        raise ModelRefused(
            "MODEL_ARCHITECTURE_ARGUMENTS", "The model's number of classes is not usable.", detail=repr(class_count)
        )
    return class_count


def _check_description(metadata: BundleMetadata, network: Classifier) -> None:
    if metadata.map_layer != network.map_layer:
        raise ModelRefused(
            "MODEL_UNKNOWN_MAP_LAYER",
            "The model asks for maps from a layer that its network does not offer.",
            "Update HemoCAM, or ask whoever made the model for a corrected file.",
            f"map layer {metadata.map_layer[:80]!r}, the network offers {network.map_layer!r}",
        )
    if any(length % network.input_multiple for length in metadata.input_size):
        raise ModelRefused(
            "MODEL_METADATA_VALUE",
            "The model's description cannot be used: its input size does not suit its network.",
            "Ask whoever made the model for a corrected file.",
            f"input size {metadata.input_size}, must be multiples of {network.input_multiple}",
        )
