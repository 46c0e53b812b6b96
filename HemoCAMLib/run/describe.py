"""Which activation maps a model can make: methods of the engine and layers of its network. Worker side."""

from __future__ import annotations

from typing import Any

from HemoCAMLib.cam.layers import layer_presets
from HemoCAMLib.cam.registry import method_names
from HemoCAMLib.model import find_model
from HemoCAMLib.model.registry import build_network

#: Methods for networks that give a class for every pixel; bundles hold classifiers.
_SEGMENTATION = ("seg-grad-cam", "seg-hires-grad-cam")


def describe_model(model: str) -> dict[str, Any]:
    """Methods and layers of a model; its weights are not read.

    Args:
        model: name of one that ships, or path of a bundle.

    Returns:
        ``methods``: names; ``layers``: presets, deepest first, and ``modules``: the module that each of them is.

    Raises:
        ModelRefused: the bundle is damaged or unknown.
    """
    metadata = find_model(model).metadata
    network = build_network(metadata.architecture, metadata.arguments, len(metadata.subtypes))
    presets = {name: module for name, module in layer_presets(network).items() if name.startswith("[")}
    return {
        "methods": [name for name in method_names() if name not in _SEGMENTATION],
        "layers": list(presets),
        "modules": list(presets.values()),
    }
