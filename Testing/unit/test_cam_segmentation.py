"""Maps of segmentation networks against the grad-cam library and against autograd by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from gradcam_raw_maps import unit
from gradcam_reference import REFERENCES, Library
from torch import Tensor

from HemoCAMLib.cam import Explainer, Explanation
from HemoCAMLib.errors import ModelRefused, UsageError
from HemoCAMLib.model.architecture import check_architecture
from HemoCAMLib.model.registry import build_network, build_segmentation_network

pytest.importorskip("monai")
METHODS = ("seg-grad-cam", "seg-hires-grad-cam")
CLASSES = 3


def network() -> Any:
    torch.manual_seed(0)
    arguments = {"channels": [4, 8, 8], "residual_units": 1}
    return build_segmentation_network("monai-unet", arguments, CLASSES).eval().double()


def explained(layer: str = "[-2]", batch: int = 2) -> tuple[Any, Tensor, Explanation]:
    segmenter = network()
    torch.manual_seed(1)
    stacks = torch.rand(batch, 3, 32, 48, dtype=torch.float64)
    return segmenter, stacks, Explainer(segmenter, layer).run(stacks)


@pytest.mark.parametrize("layer", ["[-1]", "[-2]", "[-3]"])
@pytest.mark.parametrize("method", METHODS)
def test_maps_over_the_predicted_pixels_are_those_of_the_grad_cam_library(method: str, layer: str) -> None:
    pytest.importorskip("pytorch_grad_cam")
    from pytorch_grad_cam.utils.model_targets import SemanticSegmentationTarget

    segmenter, stacks, explanation = explained(layer)
    (name,) = explanation.layer_passes
    ours = explanation.maps(method).values.numpy()
    predicted = explanation.logits.argmax(dim=1).numpy()
    library = Library(segmenter)
    for row in range(2):
        for index in range(CLASSES):
            target = SemanticSegmentationTarget(index, (predicted[row] == index).astype(np.float64))
            theirs = library.map(REFERENCES[method].library, name, stacks[row : row + 1], target)
            assert np.abs(theirs).max() > 0
            assert np.abs(unit(ours[row, index]) - unit(theirs)).max() <= 1e-4


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    "pixels",
    [{"box": (4, 8, 10, 6)}, {"pixel": (5, 7)}, {"mask": torch.eye(48, dtype=torch.bool)[:32].expand(2, 32, 48)}, {}],
    ids=["box", "pixel", "mask", "prediction"],
)
def test_maps_are_gradients_of_the_sum_of_logits_over_the_pixels(method: str, pixels: dict[str, Any]) -> None:
    segmenter, stacks, explanation = explained()
    (name,) = explanation.layer_passes
    kept: list[Tensor] = []
    segmenter.get_submodule(name).register_forward_hook(lambda _m, _i, output: kept.append(output))
    logits = segmenter(stacks)
    chosen = torch.zeros(2, CLASSES, 32, 48, dtype=torch.bool)
    if "box" in pixels:
        chosen[:, :, 4:14, 8:14] = True
    elif "pixel" in pixels:
        chosen[:, :, 5, 7] = True
    elif "mask" in pixels:
        chosen[:] = pixels["mask"][:, None]
    else:
        chosen = logits.argmax(dim=1)[:, None] == torch.arange(CLASSES)[None, :, None, None]
    found = explanation.maps(method, **pixels).values
    for index in range(CLASSES):
        (gradient,) = torch.autograd.grad((logits * chosen)[:, index].sum(), kept[0], retain_graph=True)
        weights = gradient.mean(dim=(2, 3), keepdim=True) if method == "seg-grad-cam" else gradient
        torch.testing.assert_close(found[:, index], (weights * kept[0]).sum(dim=1).detach())


@pytest.mark.parametrize("method", METHODS)
def test_no_pixels_give_a_map_of_zeros_and_the_record_says_so(method: str) -> None:
    _, _, explanation = explained()
    found = explanation.maps(method, mask=torch.zeros(32, 48, dtype=torch.bool))
    assert not found.values.any()
    assert found.record["pixels"] == [[0] * CLASSES] * 2
    assert explanation.maps(method, box=(3, 3, 0, 4)).record["pixels"] == [[0] * CLASSES] * 2


def test_the_record_counts_the_pixels_of_each_class() -> None:
    _, _, explanation = explained()
    record = explanation.maps("seg-grad-cam", [2, 0]).record
    predicted = explanation.logits.argmax(dim=1)
    assert record["pixels"] == [[int((row == index).sum()) for index in (2, 0)] for row in predicted]
    assert sum(map(sum, explanation.maps("seg-grad-cam").record["pixels"])) == 2 * 32 * 48


@pytest.mark.parametrize(
    "pixels",
    [
        {"pixel": (32, 0)},
        {"pixel": (-1, 0)},
        {"box": (0, 0, 33, 1)},
        {"box": (0, 0, 1, 1), "pixel": (0, 0)},
        {"mask": torch.ones(32, 48)},
        {"mask": torch.ones(16, 48, dtype=torch.bool)},
    ],
    ids=str,
)
def test_pixels_outside_the_output_are_refused(pixels: dict[str, Any]) -> None:
    _, _, explanation = explained()
    with pytest.raises(UsageError) as caught:
        explanation.maps("seg-grad-cam", **pixels)
    assert caught.value.code == "USAGE_CAM_PIXELS"


def test_methods_for_slices_and_for_pixels_are_not_mixed_up() -> None:
    _, _, explanation = explained()
    classifier = build_network("timm-classifier", {"encoder": "test_resnet"}, 2)
    of_slices = Explainer(classifier, "[-2]").run(torch.rand(1, 3, 64, 64))
    for wrong, method in ((explanation, "layer-cam"), (of_slices, "seg-grad-cam")):
        with pytest.raises(UsageError) as caught:
            wrong.maps(method)
        assert caught.value.code == "USAGE_CAM_METHOD"


@pytest.mark.parametrize(
    "arguments",
    [{"channels": [8]}, {"channels": [8, 0]}, {"channels": "8"}, {"residual_units": True}, {"act": "os.system"}],
)
def test_only_known_arguments_build_a_segmentation_network(arguments: dict[str, Any]) -> None:
    with pytest.raises(ModelRefused) as caught:
        build_segmentation_network("monai-unet", arguments, 2)
    assert caught.value.code == "MODEL_ARCHITECTURE_ARGUMENTS"


def test_a_bundle_cannot_name_a_segmentation_network() -> None:
    with pytest.raises(ModelRefused) as caught:
        check_architecture("monai-unet", {})
    assert caught.value.code == "MODEL_SEGMENTS"
