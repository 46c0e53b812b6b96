"""The papers' networks by name, on the registry that bundles use, and the weights they may start from."""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from hemocam_training.errors import ConfigRefused
from hemocam_training.learning.config import NetworkConfig
from HemoCAMLib.errors import ModelRefused
from HemoCAMLib.model.architecture import check_architecture, check_segmentation_architecture
from HemoCAMLib.model.lse_unet import LseUNet
from HemoCAMLib.model.registry import build_network, build_segmentation_network
from HemoCAMLib.model.shipped import find_model

#: Classifiers of the papers: the registry's architecture and its arguments.
PAPER_NETWORKS: dict[str, tuple[str, dict[str, Any]]] = {
    "efficientnetv2-s": ("timm-classifier", {"encoder": "tf_efficientnetv2_s"}),
    "efficientnetv2-m": ("timm-classifier", {"encoder": "tf_efficientnetv2_m"}),
    "efficientnetv2-l": ("timm-classifier", {"encoder": "tf_efficientnetv2_l"}),
    "resnet152": ("timm-classifier", {"encoder": "resnet152"}),
    "resnet-rs200": ("timm-classifier", {"encoder": "resnetrs200"}),
    "densenet121": ("timm-classifier", {"encoder": "densenet121"}),
    "rdnet-t": ("timm-classifier", {"encoder": "rdnet_tiny"}),
    "vgg16": ("pooled-classifier", {"encoder": "vgg16"}),
    "vgg19": ("pooled-classifier", {"encoder": "vgg19"}),
    "alexnet": ("pooled-classifier", {"encoder": "alexnet"}),
}

SEGMENTATION = "monai-unet"
_REGISTRY = ("lse-unet", "timm-classifier", "pooled-classifier", SEGMENTATION)

#: Modules after the encoder, which belong to a network's own classes.
_LAST_LAYERS = {"fc", "classifier", "head"}
#: Least share of tensors that two networks on the same encoder have in common.
_SHARED = 0.8


def registry_name(network: NetworkConfig) -> tuple[str, dict[str, Any]]:
    """The registry's name of an architecture and its checked arguments.

    Raises:
        ConfigRefused: ``TRAIN_CONFIG_NETWORK``: no such network.
        ModelRefused: ``MODEL_ARCHITECTURE_ARGUMENTS``.

    >>> registry_name(NetworkConfig(architecture="rdnet-t"))
    ('timm-classifier', {'encoder': 'rdnet_tiny'})
    """
    name, arguments = PAPER_NETWORKS.get(network.architecture, (network.architecture, {}))
    if name not in _REGISTRY:
        known = [*PAPER_NETWORKS, *_REGISTRY]
        near = get_close_matches(network.architecture, known, n=3, cutoff=0.4) or known
        raise ConfigRefused(
            "TRAIN_CONFIG_NETWORK",
            f"There is no network “{network.architecture[:60]}”.",
            f"Did you mean {' or '.join(near)}?" if len(near) <= 3 else f"There are {', '.join(near)}.",
        )
    check = check_segmentation_architecture if name == SEGMENTATION else check_architecture
    return name, check(name, {**arguments, **network.arguments})


def new_network(network: NetworkConfig, class_count: int, seed: int) -> nn.Module:
    """The network with the weights that it starts from, in training mode.

    Raises:
        ConfigRefused: ``TRAIN_PRETRAINED``: published weights cannot be had; ``TRAIN_START``: the weights to start
            from do not fit.
        ModelRefused: the architecture's arguments.
    """
    name, arguments = registry_name(network)
    torch.manual_seed(seed)
    if name == SEGMENTATION:
        made: nn.Module = build_segmentation_network(name, arguments, class_count)
    else:
        made = _built(name, arguments, class_count, pretrained=network.pretrained)
    if network.first_bias is not None:
        if not isinstance(made, LseUNet):
            raise ConfigRefused("TRAIN_CONFIG_NETWORK", "first_bias is for the architecture lse-unet.", "Leave it out.")
        for score in made.score:
            nn.init.constant_(score.bias, network.first_bias)  # type: ignore[arg-type]
    if network.start is not None:
        take_weights(made, stored_weights(network.start))
    return made


def _built(name: str, arguments: Mapping[str, Any], class_count: int, *, pretrained: bool) -> nn.Module:
    try:
        return build_network(name, arguments, class_count, pretrained=pretrained)
    except ModelRefused:
        raise
    except Exception as error:
        if not pretrained:
            raise
        raise ConfigRefused(
            "TRAIN_PRETRAINED",
            f"Published weights for {arguments.get('encoder', name)} could not be fetched.",
            "Connect this machine to the network once, or set network.pretrained to false to start at random.",
            f"{type(error).__name__}: {error}",
        ) from error


def stored_weights(path: Path) -> dict[str, Tensor]:
    """Weights from a safetensors file, a bundle (folder, zip or name of one that ships), or the folder of a training.

    Raises:
        ConfigRefused: ``TRAIN_START``.
    """
    file = path / "checkpoint.safetensors" if (path / "checkpoint.safetensors").is_file() else path
    try:
        if file.suffix == ".safetensors":
            return load_file(file)
        weights = find_model(file).read_weights()
        return {name: torch.from_numpy(value.copy()).float() for name, value in weights.items()}
    except (OSError, SafetensorError, ModelRefused) as error:
        raise ConfigRefused(
            "TRAIN_START",
            f"The weights to start from cannot be read from {path.name}.",
            "Name a safetensors file, a bundle, or the folder of a training.",
            str(error),
        ) from error


def take_weights(network: nn.Module, weights: Mapping[str, Tensor]) -> None:
    """Start from weights of the same network, or of another one on the same encoder, of which the encoder is taken.

    Raises:
        ConfigRefused: ``TRAIN_START``: neither fits; nothing is changed then.
    """
    state = network.state_dict()
    chosen = dict(weights) if set(weights) == set(state) else _of_same_encoder(weights, state)
    wrong = [name for name, value in chosen.items() if value.shape != state[name].shape]
    if wrong or not chosen:
        raise ConfigRefused(
            "TRAIN_START",
            "The weights to start from are those of another network.",
            "Start from the same architecture, or from one on the same encoder.",
            f"{len(wrong)} of another shape, first {(wrong or ['everything'])[0]}",
        )
    network.load_state_dict(chosen, strict=False)


def _of_same_encoder(weights: Mapping[str, Tensor], state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Weights of an encoder by the names that they have in this network; empty where it is another encoder."""
    places = {_encoder_name(name): name for name in state if _encoder_name(name)}
    stored = {_encoder_name(name): value for name, value in weights.items() if _encoder_name(name)}
    shared = set(places) & set(stored)
    # A classifier has layers after the last stage that an encoder of features lacks.
    if len(shared) < _SHARED * min(len(places), len(stored)):
        return {}
    return {places[name]: stored[name] for name in shared}


def _encoder_name(name: str) -> str:
    """One name for a tensor of an encoder, empty for others: timm calls ``stages.0`` of its features ``stages_0``."""
    bare = name.removeprefix("encoder.")
    parts = bare.split(".")
    if parts[0] not in ("body", "features") or set(parts) & _LAST_LAYERS:
        return ""
    return bare.replace(".", "_")


class EncoderClassifier(nn.Module):
    """An LSE-UNet's encoder as a classifier of its own: average pooling and a linear layer.

    The first stage of the weakly supervised paper's training; the encoder's parameters are the LSE-UNet's own, the
    linear layer is dropped afterwards.

    Args:
        network: whose encoder learns.
        class_count: C, number of logits.
    """

    def __init__(self, network: LseUNet, class_count: int) -> None:
        super().__init__()
        self.encoder = network.encoder
        self.classifier = nn.Linear(network.encoder.channels[-1], class_count)

    def forward(self, stacks: Tensor) -> Tensor:
        """Slice stacks [N, 3, H, W] to class logits [N, C]."""
        logits: Tensor = self.classifier(self.encoder(stacks)[-1].mean(dim=(-2, -1)))
        return logits
