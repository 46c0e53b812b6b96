"""Gradient methods against the grad-cam library, against autograd by hand, and against theory."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import pytest
import torch
from gradcam_reference import GRADIENT_METHODS, REFERENCES, Library, largest_difference
from random_networks import with_random_biases
from torch import Tensor, nn

from HemoCAMLib.cam import Explainer, Explanation, LayerPass, find_method, maps, method_names, scaled
from HemoCAMLib.errors import UsageError
from HemoCAMLib.model.registry import build_network

METHODS = list(GRADIENT_METHODS)


@lru_cache
def network_of(encoder: str, classes: int = 3, precision: torch.dtype = torch.float32, **arguments: Any) -> Any:
    """Built once; no test changes it."""
    torch.manual_seed(0)
    name = "lse-unet" if "decoder_channels" in arguments else "timm-classifier"
    given = {key: list(value) for key, value in arguments.items()}
    return with_random_biases(build_network(name, {"encoder": encoder, **given}, classes)).to(precision)


def unet() -> Any:
    return network_of("test_resnet", decoder_channels=(8, 8, 8, 8))


@lru_cache
def explained(network: Any, layer: str, batch: int, rows: int, columns: int) -> tuple[Tensor, Explanation]:
    torch.manual_seed(1)
    stacks = torch.rand(batch, 3, rows, columns, dtype=next(network.parameters()).dtype)
    return stacks, Explainer(network, layer).run(stacks)


def assert_agrees(
    network: Any, layer: str, method: str, size: tuple[int, int, int], channels_last: bool = False
) -> None:
    pytest.importorskip("pytorch_grad_cam")
    stacks, explanation = explained(network, layer, *size)
    library = Library(network, channels_last)
    assert largest_difference(method, library, explanation, layer, stacks, range(network.class_count)) <= 1e-4


def test_every_method_has_a_reference_and_takes_the_options_that_make_it_equal() -> None:
    assert set(REFERENCES) == set(method_names())
    for name, reference in REFERENCES.items():
        assert set(reference.options) <= set(find_method(name).options)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    ("encoder", "layer"),
    [
        ("test_resnet", "body.layer2"),
        ("test_resnet", "body.layer4"),
        ("test_efficientnet", "body.blocks.2"),
        ("test_convnext", "body.stages.1"),
    ],
)
def test_maps_are_those_of_the_grad_cam_library(encoder: str, layer: str, method: str) -> None:
    # In float64: maps that nearly cancel would otherwise compare the rounding of two orders of summation.
    assert_agrees(network_of(encoder, precision=torch.float64), layer, method, (2, 64, 96))


@pytest.mark.parametrize("method", METHODS)
def test_maps_of_a_network_with_channels_last_are_those_of_the_library(method: str) -> None:
    network = network_of("swin_tiny_patch4_window7_224", 2, image_size=(64, 64))
    assert_agrees(network, "body.layers.2", method, (1, 64, 64), channels_last=True)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("layer", ["merge.2", "score.0"])
def test_maps_inside_an_lse_unet_are_those_of_the_library(layer: str, method: str) -> None:
    assert_agrees(unet(), layer, method, (1, 64, 64))


def test_the_three_first_methods_are_one_at_the_last_layer_before_average_pooling() -> None:
    explanation = Explainer(network_of("test_resnet")).run(torch.rand(2, 3, 64, 96))
    (layer_pass,) = explanation.layer_passes.values()
    without_head = LayerPass(layer_pass.activations, layer_pass.tail)
    cam = explanation.maps("cam").values / 6
    for method in ("grad-cam", "hires-cam", "xgrad-cam"):
        torch.testing.assert_close(explanation.maps(method).values, cam, rtol=1e-4, atol=1e-7)
        torch.testing.assert_close(maps(method, without_head), cam, rtol=1e-4, atol=1e-7)


def test_at_the_input_of_lse_pooling_grad_cam_is_the_local_logit_over_the_positions() -> None:
    network = unet()
    stacks = torch.rand(1, 3, 64, 64)
    explanation = Explainer(network, "last").run(stacks)
    with torch.no_grad():
        local = network.head.local_logits(network.trunk(stacks))
    torch.testing.assert_close(explanation.maps("grad-cam").values, local / 256)
    torch.testing.assert_close(explanation.maps("grad-cam", positive=True).values, torch.relu(local) / 256)


def test_grad_cam_plus_plus_does_not_depend_on_the_size_of_the_gradient_as_the_library_does() -> None:
    torch.manual_seed(0)
    activations = torch.rand(1, 4, 5, 5, dtype=torch.float64)
    weight = torch.rand(4, dtype=torch.float64) + 0.5

    def tail(small: float) -> Any:
        # α = 1 / (2 + ΣA·G) is the same where A·G is: larger activations stand against smaller gradients.
        return lambda a, rows=None: (a * weight[:, None, None] * small).square().sum(dim=(1, 2, 3))[:, None]

    plain = maps("grad-cam++", LayerPass(activations, tail(1.0)))
    larger = maps("grad-cam++", LayerPass(activations * 1e3, tail(1e-3)))
    torch.testing.assert_close(larger, plain)
    library = maps("grad-cam++", LayerPass(activations * 1e3, tail(1e-3)), epsilon=1e-6)
    assert (library / plain).max() < 0.9


def test_the_librarys_addend_damps_channels_that_nearly_cancel_in_xgrad_cam() -> None:
    activations = torch.tensor([[[[1.0, -1.0 + 1e-6]], [[2.0, 1.0]]]], dtype=torch.float64)
    tail = LayerPass(activations, lambda a, rows=None: a.sum(dim=(2, 3)))
    # The gradient is 1 everywhere, and so is each channel's weight, however small its sum.
    torch.testing.assert_close(maps("xgrad-cam", tail)[0, 0, 0], activations[0, 0, 0])
    damped = maps("xgrad-cam", tail, epsilon=1e-7)[0, 0, 0]
    torch.testing.assert_close(damped, activations[0, 0, 0] / 1.1)


def test_a_channel_whose_activations_cancel_gets_no_weight_from_xgrad_cam() -> None:
    activations = torch.tensor([[[[1.0, -1.0]], [[2.0, 1.0]]]])
    found = maps("xgrad-cam", LayerPass(activations, lambda a, rows=None: a.sum(dim=(2, 3))))
    torch.testing.assert_close(found, torch.tensor([[[[0.0, 0.0]], [[2.0, 1.0]]]]))


@pytest.mark.parametrize("method", METHODS)
def test_only_maps_above_their_gate_are_made_and_they_are_the_same(method: str) -> None:
    explainer = Explainer(network_of("test_efficientnet"), "[-3]")
    stacks = torch.rand(3, 3, 64, 64)
    every = explainer.run(stacks).maps(method).values
    wanted = torch.tensor([[True, False, False], [False, False, False], [True, False, True]])
    gated = explainer.run(stacks).maps(method, gates=wanted)
    torch.testing.assert_close(gated.values[wanted], every[wanted], rtol=1e-4, atol=1e-7)
    assert not gated.values[~wanted].any()
    assert gated.record["explained"] == 3
    assert torch.equal(gated.wanted, wanted)


def test_gates_of_probabilities_decide_by_the_logits_and_cost_one_run_of_the_tail() -> None:
    explanation = Explainer(network_of("test_resnet"), "[-2]").run(torch.rand(4, 3, 64, 64))
    probabilities = torch.sigmoid(explanation.logits)
    gates = probabilities.median(dim=0).values.tolist()
    assert torch.equal(explanation.maps("layer-cam", gates=gates).wanted, probabilities > torch.tensor(gates))
    for wrong in ([0.5], torch.ones(2, 3, dtype=torch.bool)):
        with pytest.raises(UsageError) as caught:
            explanation.maps("layer-cam", gates=wrong)
        assert caught.value.code == "USAGE_CAM_GATES"


def test_the_tail_runs_once_for_logits_gates_and_all_gradients(monkeypatch: pytest.MonkeyPatch) -> None:
    explainer = Explainer(network_of("test_resnet"), "[-2]")
    explainer.run(torch.rand(1, 3, 64, 64))
    explanation = explainer.run(torch.rand(2, 3, 64, 64))
    runs = []
    graph = explainer._split.tails[0].graph
    handle = graph.register_forward_hook(lambda *_: runs.append(1))
    explanation.maps("grad-cam", gates=[0.0, 0.0, 0.0])
    assert explanation.logits.shape == (2, 3)
    handle.remove()
    assert len(runs) == 1


def test_a_gradient_of_an_average_stays_the_same_and_small() -> None:
    from HemoCAMLib.cam.light_backward import mean_over_positions

    x = torch.randn(2, 3, 4, 5, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(mean_over_positions, (x,))
    torch.testing.assert_close(mean_over_positions(x), nn.functional.adaptive_avg_pool2d(x, 1))


def test_a_library_method_is_reached_by_name_and_says_how_it_is_scaled() -> None:
    pytest.importorskip("pytorch_grad_cam")
    network = network_of("test_resnet")
    explanation = Explainer(network, "[-2]").run(torch.rand(2, 3, 64, 96))
    theirs = explanation.maps("gradcam:GradCAM", [2])
    assert theirs.values.shape == (2, 1, 64, 96)
    assert theirs.record["method_scaling"].startswith("per-image")
    ours = explanation.maps("grad-cam", [2], positive=True, scaling="per-image-min-max").values
    ours, _ = scaled(nn.functional.interpolate(ours, (64, 96), mode="bilinear"), "per-image-min-max")
    torch.testing.assert_close(ours, theirs.values, rtol=0, atol=1e-4)
    assert explanation.maps("gradcam:ShapleyCAM", [0]).values.shape == (2, 1, 64, 96)


@pytest.mark.parametrize("name", ["gradcam:GradCAMM", "gradcam:utils.image", "gradcam:BaseCAM", "gradcam:"])
def test_only_methods_that_the_library_exports_are_reached(name: str) -> None:
    pytest.importorskip("pytorch_grad_cam")
    explanation = Explainer(network_of("test_resnet"), "[-2]").run(torch.rand(1, 3, 64, 64))
    with pytest.raises(UsageError) as caught:
        explanation.maps(name)
    assert caught.value.code == "USAGE_CAM_METHOD"
    assert "gradcam:" in caught.value.advice


def test_without_the_library_its_methods_say_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "pytorch_grad_cam", None)
    with pytest.raises(UsageError) as caught:
        maps("gradcam:GradCAM", LayerPass(torch.zeros(1, 1, 2, 2), lambda a, rows=None: a.sum(dim=(2, 3))))
    assert caught.value.code == "USAGE_CAM_LIBRARY"
    assert "pip install" in caught.value.advice
