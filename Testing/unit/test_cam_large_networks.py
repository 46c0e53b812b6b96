"""Decomposition, perturbation and FullGrad on whole networks with random weights, against grad-cam's library."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from gradcam_raw_maps import gradcam_library, raw_map, scaled
from torch import Tensor, nn

from HemoCAMLib.cam import Explainer
from HemoCAMLib.model.registry import build_network

CLASSES = 2
#: Layers whose output nothing overwrites in place, so that the library sees what the network sees.
LAYERS = {"tf_efficientnetv2_s": "body.blocks.4", "densenet121": "body.features.transition2"}
LIBRARY = {
    "eigen-cam": "EigenCAM",
    "eigen-grad-cam": "EigenGradCAM",
    "kpca-cam": "KPCA_CAM",
    "ablation-cam": "AblationCAM",
    "score-cam": "ScoreCAM",
}


def network_and_stacks(encoder: str) -> tuple[Any, Tensor]:
    """Batch norms with statistics of the input, so that values neither vanish nor explode on their way."""
    torch.manual_seed(0)
    network = build_network("timm-classifier", {"encoder": encoder}, CLASSES)
    stacks = torch.rand(2, 3, 64, 96)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 1.0
            nn.init.normal_(module.bias, 0, 0.2)
    with torch.no_grad():
        network.train()(torch.rand(8, 3, 64, 96))
    return network.eval(), stacks


def library_map(method: str, network: Any, layer: str, stacks: Tensor, index: int) -> Any:
    gradcam = gradcam_library()
    arguments: dict[str, Any] = {}
    if method == "ablation-cam":
        from pytorch_grad_cam.ablation_layer import AblationLayer

        class AblatesToZero(AblationLayer):
            """Without the library's minimum less 1e7."""

            def __call__(self, x: Tensor) -> Tensor:
                output = self.activations
                for row in range(len(output)):
                    output[row, self.indices[row]] = 0
                return output

        arguments["ablation_layer"] = AblatesToZero()
    library = getattr(gradcam, LIBRARY[method])(network, [network.get_submodule(layer)], **arguments)
    return raw_map(library, stacks, index)


@pytest.mark.slow
@pytest.mark.parametrize("encoder", LAYERS)
@pytest.mark.parametrize("method", LIBRARY)
def test_maps_of_whole_networks_agree_with_the_grad_cam_library(method: str, encoder: str) -> None:
    network, stacks = network_and_stacks(encoder)
    explanation = Explainer(network, LAYERS[encoder]).run(stacks)
    options = {"align_corners": True} if method == "score-cam" else {}
    ours = explanation.maps(method, [1], **options).values[0, 0].double().numpy()
    theirs = library_map(method, network, LAYERS[encoder], stacks, 1)
    if method == "ablation-cam":
        theirs = theirs * float(explanation.logits[0, 1])
    if method in ("eigen-cam", "eigen-grad-cam", "kpca-cam"):
        theirs = theirs * np.sign((ours * theirs).sum())
    assert np.abs(scaled(ours) - scaled(theirs)).max() <= 1e-4


@pytest.mark.slow
def test_full_grad_of_efficientnet_agrees_with_the_grad_cam_library() -> None:
    import torchvision
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    gradcam = gradcam_library()
    torch.manual_seed(0)
    network = torchvision.models.efficientnet_v2_s(num_classes=CLASSES)
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.momentum = 1.0
        network.train()(torch.rand(8, 3, 64, 96))
    network.eval()
    stacks = torch.rand(1, 3, 64, 96)
    # Beside large gradients the 1e-7 that the library adds to every channel's range does not show.
    network.classifier[1].weight.data.mul_(1e6)
    ours = Explainer(network, "features.5").run(stacks).maps("full-grad", [1], rescale="channel").values[0, 0]
    theirs = gradcam.FullGrad(network, [])(stacks.clone(), targets=[ClassifierOutputTarget(1)])[0]
    assert np.abs(scaled(ours) - theirs).max() <= 1e-4
