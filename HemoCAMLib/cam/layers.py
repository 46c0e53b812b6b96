"""Names of layers: the network's own module names, and presets that mean the same place in every network.

``[-1]`` (also ``last``), ``[-2]`` and ``[-3]`` are those of the CAM benchmark paper, which counts torchvision's
``features`` of EfficientNetV2-S from its end: the 1280-channel convolution before the pooling, the last stage
(256 channels, stride 32), and the stage before it (160 channels, stride 16, "stage 5"). In any other timm network
``[-1]`` is the last feature map and the others are the ends of the stages before it, deepest first, where a
stage whose end is that same feature map is not counted twice. In an LSE-UNet ``[-1]`` is the input of the pooling,
where that paper takes its heat maps, ``[-2]`` the activations before it, and ``[-3]`` and on the coarser merge
levels. In a segmentation network ``[-1]`` is the last feature map before the classes.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from difflib import get_close_matches
from typing import Any

from torch import nn

from HemoCAMLib.errors import UsageError

_PRESET = re.compile(r"\[-\d+\]")


def layer_presets(network: nn.Module) -> dict[str, str]:
    """Presets of a network and the module names they stand for; empty for a network not from our registry.

    >>> from HemoCAMLib.model.registry import build_network
    >>> presets = layer_presets(build_network("timm-classifier", {"encoder": "test_resnet"}, 2))
    >>> presets["[-1]"], presets["[-2]"]
    ('body.layer4', 'body.layer3')
    """
    places: Any = getattr(network, "map_layers", None)
    if places is None:
        return {}
    named = {f"[-{index}]": name for index, name in enumerate(places, start=1)}
    return {"last": places[0], **named}


def resolve_layers(network: nn.Module, layers: str | Sequence[str] | None) -> list[str]:
    """Module names of the wanted layers, each once, presets replaced; the last layer where None.

    Raises:
        UsageError: ``USAGE_CAM_LAYER``; the advice lists the nearest names.
    """
    wanted = ["last"] if layers is None else [layers] if isinstance(layers, str) else list(layers)
    presets = layer_presets(network)
    modules = {name for name, _ in network.named_modules() if name}
    resolved: list[str] = []
    for name in wanted:
        place = presets.get(name, name)
        if place not in modules:
            raise _unknown(name, presets, modules)
        if place not in resolved:
            resolved.append(place)
    if not resolved:
        raise UsageError("USAGE_CAM_LAYER", "No layer was named.", "Name at least one layer.")
    return resolved


def _unknown(name: object, presets: dict[str, str], modules: set[str]) -> UsageError:
    text = str(name)[:80]
    if isinstance(name, str) and (_PRESET.fullmatch(name) or name == "last"):
        advice = f"This network has {', '.join(presets)}." if presets else "Name a module of the network instead."
    else:
        near = get_close_matches(text, [*presets, *sorted(modules)], n=5, cutoff=0.4)
        # A slip inside a dotted name often leaves its last part right.
        ending = [other for other in sorted(modules) if other.rpartition(".")[2] == text.rpartition(".")[2]]
        names = near or ending[:5] or [*presets, *sorted(name for name in modules if "." not in name)][:8]
        advice = f"The nearest names are {', '.join(names)}."
    return UsageError("USAGE_CAM_LAYER", f"The network has no layer {text!r}.", advice)
