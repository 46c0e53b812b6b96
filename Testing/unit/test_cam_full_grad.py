"""FullGrad against the completeness that theory promises, autograd on every layer, and grad-cam."""

from __future__ import annotations

import gc
from typing import Any

import numpy as np
import pytest
import torch
from gradcam_raw_maps import gradcam_library, scaled
from torch import Tensor, nn

from HemoCAMLib.cam.full_grad import decomposed_logits, full_grad
from HemoCAMLib.cam.layer_pass import LayerPass
from HemoCAMLib.errors import UsageError
from HemoCAMLib.model.folding import folded
from HemoCAMLib.model.heads import AveragePoolHead
from HemoCAMLib.model.registry import build_network

CLASSES = 3


class SqueezeExcite(nn.Module):
    """Biases without a place, behind a piecewise linear gate that is the same on every side of the ReLU."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.shift = nn.Conv2d(channels, channels, 1)

    def forward(self, features: Tensor) -> Tensor:
        return features + self.shift(features.mean(dim=(-2, -1), keepdim=True))


def piecewise_linear(inplace: bool = True, affine: bool = False) -> nn.Sequential:
    """Convolutions with and without bias, batch norms with statistics of their own, in-place ReLUs, pooling."""
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1, bias=False),
        nn.BatchNorm2d(8),
        nn.ReLU(inplace=inplace),
        nn.MaxPool2d(2),
        nn.Conv2d(8, 10, 3, padding=1),
        nn.ReLU(inplace=inplace),
        SqueezeExcite(10),
        nn.Conv2d(10, 12, 3, stride=2, padding=1, bias=False),
        nn.BatchNorm2d(12, affine=affine),
        nn.ReLU(inplace=inplace),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(12, CLASSES),
    )
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2)
            if module.affine:
                nn.init.normal_(module.weight)
                nn.init.normal_(module.bias)
    return network.eval().requires_grad_(False)


def whole(network: nn.Module, stacks: Tensor, wanted: Tensor | None = None) -> LayerPass:
    """The layer does not matter to FullGrad."""
    return LayerPass(stacks[:, :1], lambda *_: network(stacks), None, stacks, network, "any", wanted)


def random_stacks(samples: int = 2, rows: int = 24, columns: int = 36) -> Tensor:
    return torch.randn(samples, 3, rows, columns, generator=torch.Generator().manual_seed(6))


def test_in_a_piecewise_linear_network_the_terms_add_up_to_the_logits() -> None:
    network = piecewise_linear().double()
    stacks = random_stacks().double()
    logits = decomposed_logits(whole(network, stacks), range(CLASSES))
    torch.testing.assert_close(logits, network(stacks))
    # None of the terms can be spared.
    assert float((network(stacks) - network(torch.zeros_like(stacks))).abs().max()) > 1e-3


@pytest.mark.parametrize("fold", [False, True])
def test_a_timm_network_adds_up_with_its_batch_norms_folded_or_not(fold: bool) -> None:
    torch.manual_seed(1)
    network: Any = build_network("timm-classifier", {"encoder": "test_resnet"}, CLASSES).eval().requires_grad_(False)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.bias.normal_(0, 0.5)
    stacks = torch.randn(1, 3, 64, 64)
    if fold:
        network, count = folded(network, stacks)
        assert count > 0
    torch.testing.assert_close(
        decomposed_logits(whole(network, stacks), range(CLASSES)), network(stacks), rtol=1e-4, atol=1e-5
    )


def test_a_smooth_activation_breaks_the_sum_as_theory_says() -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 1), nn.SiLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, CLASSES))
    stacks = random_stacks()
    missing = decomposed_logits(whole(network, stacks), range(CLASSES)) - network(stacks).detach()
    assert float(missing.abs().max()) > 1e-3


def published(network: nn.Sequential, stack: Tensor, index: int) -> Tensor:
    """The authors' post-processing, with each layer's output kept and differentiated."""
    image = stack.requires_grad_(True)
    values, places = image, []
    for module in network:
        values = module(values)
        if isinstance(module, nn.Conv2d) and module.bias is not None:
            places.append((values, module.bias))
        elif isinstance(module, nn.BatchNorm2d):
            scale = 1.0 if module.weight is None else module.weight
            shift = 0.0 if module.bias is None else module.bias
            places.append((values, shift - scale * module.running_mean / torch.sqrt(module.running_var + module.eps)))
    gradients = torch.autograd.grad(values[0, index], [image, *[place for place, _ in places]])
    terms = [gradients[0] * image]
    terms += [gradient * bias[:, None, None] for gradient, (_, bias) in zip(gradients[1:], places, strict=True)]
    total = torch.zeros(stack.shape[2:])
    for term in terms:
        size = term.abs() - term.abs().min()
        size = size / size.max()
        total += nn.functional.interpolate(size, stack.shape[2:], mode="bilinear")[0].sum(dim=0)
    return total.detach()


def test_maps_are_those_of_the_authors_code() -> None:
    network, plain = piecewise_linear(inplace=True), piecewise_linear(inplace=False)
    stacks = random_stacks()
    maps = full_grad(whole(network, stacks), [2, 0])
    for sample in range(2):
        for column, index in enumerate((2, 0)):
            expected = published(plain, stacks[sample : sample + 1].clone(), index)
            torch.testing.assert_close(maps[sample, column], expected, rtol=1e-4, atol=1e-4)


def test_unscaled_maps_add_up_to_the_size_of_all_terms_with_a_place() -> None:
    network = nn.Sequential(
        nn.Conv2d(3, 5, 2, stride=2), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(5, CLASSES)
    )
    stacks = random_stacks()
    found = full_grad(whole(network, stacks), range(CLASSES), rescale="none").sum(dim=(-2, -1))
    values = network[0](stacks).detach().requires_grad_(True)
    image = stacks.clone().requires_grad_(True)
    for index in range(CLASSES):
        (at_values,) = torch.autograd.grad(network[1:](values)[:, index].sum(), values)
        (at_image,) = torch.autograd.grad(network(image)[:, index].sum(), image)
        expected = (at_values * network[0].bias[:, None, None]).abs().sum(dim=(1, 2, 3))
        expected = expected + (at_image * stacks).abs().sum(dim=(1, 2, 3))
        torch.testing.assert_close(found[:, index], expected.detach(), rtol=1e-4, atol=1e-5)


def test_rescaled_by_channel_the_maps_agree_with_the_grad_cam_library() -> None:
    gradcam = gradcam_library()
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    # The library leaves batch norms without parameters out.
    network, trained = piecewise_linear(affine=True), piecewise_linear(affine=True).requires_grad_(True)
    stacks = random_stacks(1)
    for either in (network, trained):
        # Large gradients, beside which the 1e-7 that the library adds to every channel's range does not show.
        either[-1].weight.data.mul_(1e4)
    maps = full_grad(whole(network, stacks), range(CLASSES), rescale="channel")
    for index in range(CLASSES):
        library = gradcam.FullGrad(trained, [])
        theirs = library(stacks.clone(), targets=[ClassifierOutputTarget(index)])[0]
        assert np.abs(scaled(maps[0, index]) - theirs).max() <= 1e-4


def test_biases_inside_timm_modules_are_seen() -> None:
    # Batch norms of DenseNet hold their activation, which hides them from a search for nn.BatchNorm2d.
    torch.manual_seed(0)
    network = build_network("timm-classifier", {"encoder": "densenet121"}, CLASSES).eval().requires_grad_(False)
    for module in network.modules():
        if hasattr(module, "running_mean"):
            module.bias.normal_(0, 0.2)
            module.running_mean.normal_(0, 0.2)
    stacks = torch.randn(1, 3, 64, 64)
    found = decomposed_logits(whole(network, stacks), range(CLASSES))
    torch.testing.assert_close(found, network(stacks), rtol=1e-3, atol=1e-4)


def test_a_sample_has_the_same_bits_alone_in_any_batch_and_twice() -> None:
    network = piecewise_linear()
    stacks = random_stacks(3)
    maps = full_grad(whole(network, stacks), [0, 1])
    assert torch.equal(maps, full_grad(whole(network, stacks), [0, 1]))
    assert torch.equal(maps[1:2], full_grad(whole(network, stacks[1:2]), [0, 1]))


def test_only_wanted_maps_are_made() -> None:
    network = piecewise_linear()
    stacks = random_stacks(2)
    wanted = torch.zeros(2, CLASSES, dtype=torch.bool)
    wanted[1, 2] = True
    maps = full_grad(whole(network, stacks, wanted), range(CLASSES))
    assert torch.equal(maps[1, 2], full_grad(whole(network, stacks), [2])[1, 0])
    maps[1, 2] = 0
    assert not maps.any()


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_a_sample_that_is_not_finite_gets_nan_alone(value: float) -> None:
    network = piecewise_linear()
    stacks = random_stacks(2)
    untouched = full_grad(whole(network, stacks), [0])
    stacks[0, 1, 3, 3] = value
    maps = full_grad(whole(network, stacks), [0])
    assert maps[0].isnan().all()
    assert torch.equal(maps[1], untouched[1])


def test_zero_slices_and_odd_sizes_are_finite() -> None:
    network = piecewise_linear()
    for stacks in (torch.zeros(1, 3, 24, 36), random_stacks(1, 9, 5), torch.full((1, 3, 8, 8), 0.3)):
        for rescale in ("layer", "channel", "none"):
            maps = full_grad(whole(network, stacks), [1], rescale=rescale)
            assert maps.shape == (1, 1, *stacks.shape[2:])
            assert torch.isfinite(maps).all()
            assert float(maps.min()) >= 0


def living_tensors() -> int:
    gc.collect()
    return sum(issubclass(type(thing), Tensor) for thing in gc.get_objects())


def test_nothing_stays_behind_also_after_an_error() -> None:
    class Failing(nn.Module):
        def forward(self, features: Tensor) -> Tensor:
            raise RuntimeError("in the middle")

    network = piecewise_linear()
    stacks = random_stacks(1)
    before = full_grad(whole(network, stacks), [0])
    with pytest.raises(RuntimeError, match="in the middle"):
        full_grad(whole(nn.Sequential(*network[:5], Failing()), stacks), [0])
    alive = living_tensors()
    for _ in range(5):
        assert torch.equal(full_grad(whole(network, stacks), [0]), before)
    assert living_tensors() <= alive
    assert not any(module._forward_hooks for module in network.modules())
    assert stacks.grad is None
    assert not stacks.requires_grad


def test_a_pass_that_knows_its_head_only_is_refused() -> None:
    head = AveragePoolHead(torch.ones(1, 2), torch.zeros(1))
    with pytest.raises(UsageError) as caught:
        full_grad(LayerPass.from_head(torch.ones(1, 2, 3, 3), head), [0])
    assert caught.value.code == "USAGE_CAM_WHOLE_NETWORK"
