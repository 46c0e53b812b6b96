"""Closed-form maps against autograd, against grad-cam, and against what theory says about them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from HemoCAMLib.cam import LayerPass, method_names, register_method
from HemoCAMLib.cam import maps as maps_of_pass
from HemoCAMLib.errors import ModelRefused, UsageError
from HemoCAMLib.model.heads import AveragePoolHead, Head, LsePoolHead, OpaqueHead, lse_pool
from HemoCAMLib.model.registry import build_network

CLASSES, CHANNELS, ROWS, COLUMNS = 4, 7, 5, 6
POSITIONS = ROWS * COLUMNS


def parameters(seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """Activations of both signs, weight and bias, in float64."""
    torch.manual_seed(seed)
    activations = torch.randn(2, CHANNELS, ROWS, COLUMNS, dtype=torch.float64) * 2
    return (
        activations,
        torch.randn(CLASSES, CHANNELS, dtype=torch.float64),
        torch.randn(CLASSES, dtype=torch.float64),
    )


def average_head() -> tuple[Tensor, AveragePoolHead]:
    activations, weight, bias = parameters()
    return activations, AveragePoolHead(weight, bias)


def lse_head(r: float = 3.0) -> tuple[Tensor, LsePoolHead]:
    activations, weight, bias = parameters()
    return activations, LsePoolHead(weight, bias, r)


def maps(method: str, activations: Tensor, head: Head) -> Tensor:
    return maps_of_pass(method, LayerPass.from_head(activations, head))


def at_pooling(activations: Tensor, head: LsePoolHead) -> tuple[Tensor, LsePoolHead]:
    """The input of the pooling and what follows it."""
    return head.local_logits(activations), head.after_linear()


def gradients(layer: Tensor, logits_of: Any) -> list[Tensor]:
    """∂y_c/∂layer for every class, each shaped like the layer."""
    leaf = layer.detach().requires_grad_(True)
    logits = logits_of(leaf)
    return [torch.autograd.grad(logits[:, c].sum(), leaf, retain_graph=True)[0] for c in range(logits.shape[1])]


def autograd_maps(method: str, layer: Tensor, logits_of: Any) -> Tensor:
    per_class = []
    for gradient in gradients(layer, logits_of):
        weights = gradient.mean(dim=(-2, -1), keepdim=True) if method == "grad-cam" else gradient
        per_class.append((weights * layer).sum(dim=1))
    return torch.stack(per_class, dim=1)


@pytest.mark.parametrize("method", ["grad-cam", "hires-cam"])
def test_average_pooling_agrees_with_autograd(method: str) -> None:
    activations, head = average_head()
    torch.testing.assert_close(maps(method, activations, head), autograd_maps(method, activations, head))


@pytest.mark.parametrize("method", ["grad-cam", "hires-cam"])
@pytest.mark.parametrize("r", [0.5, 3.0, 20.0])
def test_lse_pooling_agrees_with_autograd_at_both_sides_of_its_linear_layer(method: str, r: float) -> None:
    activations, head = lse_head(r)
    local, after = at_pooling(activations, head)
    torch.testing.assert_close(maps(method, local, after), autograd_maps(method, local, head.pool))
    torch.testing.assert_close(maps(method, activations, head), autograd_maps(method, activations, head))


def test_with_average_pooling_cam_is_n_times_grad_cam_and_hires_cam() -> None:
    activations, head = average_head()
    plain = maps("cam", activations, head)
    torch.testing.assert_close(plain, torch.einsum("ck,nkij->ncij", head.weight, activations))
    torch.testing.assert_close(plain, POSITIONS * maps("grad-cam", activations, head))
    torch.testing.assert_close(plain, POSITIONS * maps("hires-cam", activations, head))


def test_at_the_lse_input_the_pooled_gradient_is_one_over_n() -> None:
    activations, head = lse_head()
    local = head.local_logits(activations)
    for index, gradient in enumerate(gradients(local, head.pool)):
        pooled = gradient.mean(dim=(-2, -1))
        expected = torch.zeros(CLASSES, dtype=torch.float64)
        expected[index] = 1 / POSITIONS
        torch.testing.assert_close(pooled, expected.expand_as(pooled))


def test_grad_cam_at_the_lse_input_is_relu_of_f_minus_b_over_n() -> None:
    activations, head = lse_head()
    f = torch.einsum("ck,nkij->ncij", head.weight, activations)
    expected = torch.relu(f - head.bias[:, None, None]) / POSITIONS
    torch.testing.assert_close(torch.relu(maps("grad-cam", *at_pooling(activations, head))), expected)


def test_hires_cam_at_the_lse_input_is_its_value_times_its_softmax() -> None:
    activations, head = lse_head()
    f = torch.einsum("ck,nkij->ncij", head.weight, activations)
    share = torch.softmax(head.r * f.flatten(2), dim=-1).view_as(f)
    expected = (f - head.bias[:, None, None]) * share
    torch.testing.assert_close(maps("hires-cam", *at_pooling(activations, head)), expected)
    torch.testing.assert_close(share.sum(dim=(-2, -1)), torch.ones(2, CLASSES, dtype=torch.float64))


def test_one_layer_earlier_the_lse_maps_have_f_in_place_of_f_minus_b() -> None:
    activations, head = lse_head()
    f = maps("cam", activations, head)
    torch.testing.assert_close(maps("grad-cam", activations, head), f / POSITIONS)
    share = torch.softmax(head.r * f.flatten(2), dim=-1).view_as(f)
    torch.testing.assert_close(maps("hires-cam", activations, head), f * share)


def test_pooling_the_local_logit_gives_the_class_logit() -> None:
    activations, average = average_head()
    torch.testing.assert_close(maps("local-logit", activations, average).mean(dim=(-2, -1)), average(activations))
    activations, lse = lse_head()
    torch.testing.assert_close(lse_pool(maps("local-logit", activations, lse), lse.r), lse(activations))


@pytest.mark.parametrize("method", ["cam", "grad-cam", "hires-cam", "local-logit"])
@pytest.mark.parametrize("kind", ["average", "lse"])
def test_maps_cover_every_class_and_leave_the_activations_alone(method: str, kind: str) -> None:
    activations, head = average_head() if kind == "average" else lse_head()
    kept = activations.clone()
    found = maps(method, activations, head)
    assert found.shape == (2, CLASSES, ROWS, COLUMNS)
    assert torch.equal(activations, kept)
    for index in range(2):
        torch.testing.assert_close(found[index], maps(method, activations[index : index + 1], head)[0])


def scaled(image: Any) -> Any:
    """grad-cam's own scaling of one map: positive part, smallest value to 0, largest to 1."""
    positive = np.maximum(image, 0)
    positive = positive - positive.min()
    return positive / (1e-7 + positive.max())


def nudged(network: Any) -> Any:
    """Biases away from zero, so that a forgotten bias shows."""
    torch.manual_seed(3)
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if name.endswith("bias"):
                parameter.normal_(0, 0.5)
    return network.eval()


@pytest.mark.parametrize("method", ["grad-cam", "hires-cam"])
@pytest.mark.parametrize(
    ("name", "layer"), [("lse-unet", "score.0"), ("timm-classifier", None), ("timm-classifier-bn", None)]
)
def test_maps_agree_with_the_grad_cam_library(method: str, name: str, layer: str | None) -> None:
    gradcam: Any = pytest.importorskip("pytorch_grad_cam")
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    torch.manual_seed(0)
    if name == "lse-unet":
        arguments: dict[str, Any] = {"encoder": "test_resnet", "decoder_channels": [8, 8, 8, 8]}
    else:
        arguments = {"encoder": "densenet121" if name.endswith("bn") else "test_resnet"}
    network = nudged(build_network(name.removesuffix("-bn"), arguments, 3))
    stacks = torch.rand(1, 3, 64, 96)
    target = network.get_submodule(layer or network.map_layer)
    library = {"grad-cam": gradcam.GradCAM, "hires-cam": gradcam.HiResCAM}[method](network, [target])
    with torch.no_grad():
        activations, head = network.trunk(stacks), network.head
        ours = maps(method, *(at_pooling(activations, head) if name == "lse-unet" else (activations, head)))
        ours = ours[0].double().numpy()
    brightest: list[float] = []
    for index in range(3):
        kept: list[Any] = []
        # The library resizes to the image; its own map, before that, is what is compared.
        original = library.get_cam_image
        library.get_cam_image = lambda *a, kept=kept, original=original, **k: kept.append(original(*a, **k)) or kept[-1]
        library(stacks.clone(), targets=[ClassifierOutputTarget(index)])
        library.get_cam_image = original
        theirs = scaled(kept[0][0].astype(np.float64))
        assert np.abs(scaled(ours[index]) - theirs).max() <= 1e-4
        brightest.append(theirs.max())
    assert max(brightest) > 0.9


def test_a_head_without_closed_form_is_refused_with_the_reason() -> None:
    head: Head = OpaqueHead(lambda activations: activations.mean(dim=(-2, -1)), "a hidden layer")
    for method in ("cam", "local-logit"):
        with pytest.raises(ModelRefused) as caught:
            maps(method, torch.zeros(1, 2, 3, 3), head)
        assert caught.value.code == "MODEL_NO_CLOSED_FORM"
        assert caught.value.detail == "a hidden layer"


def test_an_unknown_method_is_refused_with_the_known_ones() -> None:
    activations, head = average_head()
    with pytest.raises(UsageError) as caught:
        maps("occlusion", activations, head)
    assert caught.value.code == "USAGE_CAM_METHOD"
    assert "grad-cam" in caught.value.advice


def test_a_new_method_joins_under_a_new_name_only(monkeypatch: pytest.MonkeyPatch) -> None:
    from HemoCAMLib.cam import registry

    monkeypatch.setattr(registry, "_METHODS", dict(registry._METHODS))
    register_method("channel-sum", lambda layer_pass, classes: layer_pass.activations.sum(dim=1, keepdim=True))
    assert "channel-sum" in method_names()
    activations, head = average_head()
    torch.testing.assert_close(maps("channel-sum", activations, head), activations.sum(dim=1, keepdim=True))
    with pytest.raises(ValueError, match="already"):
        register_method("cam", lambda layer_pass, classes: layer_pass.activations)
