"""For methods that change the network's input and so run all of it."""

from __future__ import annotations

from torch import Tensor, nn

from HemoCAMLib.cam.layer_pass import LayerPass
from HemoCAMLib.errors import UsageError


def whole_network(layer_pass: LayerPass) -> tuple[nn.Module, Tensor]:
    """The network and its input [N, 3, H, W].

    Raises:
        UsageError: ``USAGE_CAM_WHOLE_NETWORK``, the pass knows its head only.
    """
    if layer_pass.network is None or layer_pass.stacks is None:
        raise UsageError(
            "USAGE_CAM_WHOLE_NETWORK",
            "This activation map changes the slice itself, so it needs the whole network.",
            "Make it with an Explainer, or choose a map that starts from activations.",
        )
    return layer_pass.network, layer_pass.stacks
