"""Networks cut at layers: the same logits, the right activations, names, and what must survive."""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from HemoCAMLib.cam import Explainer, layer_presets, maps, method_names
from HemoCAMLib.cam.split import split
from HemoCAMLib.errors import ModelRefused, UsageError
from HemoCAMLib.model.folding import folded
from HemoCAMLib.model.registry import build_network, build_segmentation_network

SMALL = ["test_resnet", "test_efficientnet", "test_convnext", "resnetrs50", "vgg11", "densenet121", "rdnet_tiny"]


def classifier(encoder: str = "test_resnet", classes: int = 3, **arguments: Any) -> Any:
    torch.manual_seed(0)
    return build_network("timm-classifier", {"encoder": encoder, **arguments}, classes).eval()


def unet(encoder: str = "test_resnet") -> Any:
    torch.manual_seed(0)
    return build_network("lse-unet", {"encoder": encoder, "decoder_channels": [8, 8, 8, 8]}, 3).eval()


def output_of(network: nn.Module, layer: str, stacks: Tensor) -> Tensor:
    """What the module returned, seen with a hook."""
    kept: list[Tensor] = []
    handle = network.get_submodule(layer).register_forward_hook(lambda _m, _i, output: kept.append(output.clone()))
    with torch.no_grad():
        network(stacks)
    handle.remove()
    return kept[-1]


def assert_cut_is_the_network(network: Any, stacks: Tensor) -> None:
    explanation = Explainer(network, list(layer_presets(network))).run(stacks)
    with torch.no_grad():
        expected = network(stacks)
    for layer, layer_pass in explanation.layer_passes.items():
        assert torch.equal(layer_pass.logits, expected)
        seen = output_of(network, layer, stacks)
        seen = seen if seen.shape == layer_pass.activations.shape else seen.permute(0, 3, 1, 2)
        assert torch.equal(layer_pass.activations, seen)
        before = layer_pass.activations.clone()
        _, scores = layer_pass.differentiable()
        torch.testing.assert_close(scores.detach(), expected)
        rows = torch.tensor([1, 0, 1])
        torch.testing.assert_close(
            layer_pass.tail(layer_pass.activations[rows], rows), expected[rows], rtol=1e-4, atol=1e-5
        )
        assert torch.equal(layer_pass.activations, before)


@pytest.mark.parametrize("encoder", SMALL)
def test_every_preset_of_a_classifier_gives_its_layer_and_the_networks_logits(encoder: str) -> None:
    assert_cut_is_the_network(classifier(encoder), torch.rand(2, 3, 64, 96))


def test_every_preset_of_a_transformer_with_channels_last_does() -> None:
    network = classifier("swin_tiny_patch4_window7_224", image_size=[64, 96])
    assert_cut_is_the_network(network, torch.rand(2, 3, 64, 96))


@pytest.mark.parametrize("encoder", ["test_resnet", "mobilenetv4_conv_small_035"])
def test_every_preset_of_an_lse_unet_does_skips_included(encoder: str) -> None:
    assert_cut_is_the_network(unet(encoder), torch.rand(2, 3, 64, 96))


@pytest.mark.parametrize("encoder", ["test_resnet", "test_efficientnet", "densenet121"])
def test_so_does_a_network_with_folded_normalisations(encoder: str) -> None:
    network, count = folded(classifier(encoder), torch.rand(1, 3, 64, 64))
    assert count > 0
    assert_cut_is_the_network(network, torch.rand(2, 3, 64, 96))


def test_presets_are_those_of_the_cam_benchmark_paper() -> None:
    torchvision = pytest.importorskip("torchvision")
    theirs = torchvision.models.efficientnet_v2_s(weights=None, num_classes=2).eval()
    stacks = torch.rand(1, 3, 128, 128)
    ours = Explainer(classifier("tf_efficientnetv2_s"), ["[-1]", "[-2]", "[-3]"]).run(stacks)
    shapes = [tuple(layer_pass.activations.shape) for layer_pass in ours.layer_passes.values()]
    assert shapes == [tuple(output_of(theirs, f"features.{index}", stacks).shape) for index in (7, 6, 5)]
    assert shapes == [(1, 1280, 4, 4), (1, 256, 4, 4), (1, 160, 8, 8)]


@pytest.mark.parametrize(
    ("network", "first_three"),
    [
        (lambda: classifier("densenet121"), ["features", "features.denseblock3", "features.denseblock2"]),
        (lambda: classifier("test_resnet"), ["layer4", "layer3", "layer2"]),
    ],
)
def test_presets_of_other_networks_are_their_stages(network: Any, first_three: list[str]) -> None:
    presets = layer_presets(network())
    assert [presets[name] for name in ("[-1]", "[-2]", "[-3]")] == [f"body.{name}" for name in first_three]
    assert presets["last"] == presets["[-1]"]


def test_the_input_of_the_pooling_is_the_last_layer_of_an_lse_unet() -> None:
    assert list(layer_presets(unet()).values())[1:] == ["score.0", "merge.0", "merge.1", "merge.2", "merge.3"]


class Awkward(nn.Module):
    """In-place operations of every kind, around a layer and on a skip that crosses it."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3, padding=1)
        self.norm = nn.BatchNorm2d(4)
        self.act = nn.ReLU(inplace=True)
        self.deep = nn.Conv2d(4, 4, 3, padding=1)
        self.silu = nn.SiLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(self.stem(x))
        skip = x * 2
        y = self.act(x)
        nn.functional.relu(skip, inplace=True)
        y = self.deep(y)
        y += skip
        skip.mul_(3)
        y = self.silu(y)
        torch.relu_(y)
        y = nn.functional.leaky_relu(y, 0.1, True)
        return (y + skip).mean(dim=(2, 3))


@pytest.mark.parametrize("layer", ["stem", "norm", "act", "deep", "silu"])
def test_in_place_operations_change_neither_activations_nor_skips(layer: str) -> None:
    torch.manual_seed(0)
    network = Awkward().eval()
    stacks = torch.randn(2, 3, 8, 8)
    explanation = Explainer(network, [layer, "stem"]).run(stacks)
    with torch.no_grad():
        assert torch.equal(explanation.logits, network(stacks))
    layer_pass = explanation.layer_passes[layer]
    if layer != "norm":
        assert torch.equal(layer_pass.activations, output_of(network, layer, stacks))
    before = layer_pass.activations.clone()
    first, second = maps("layer-cam", layer_pass), maps("layer-cam", layer_pass)
    assert torch.equal(first, second)
    assert torch.equal(layer_pass.activations, before)
    torch.testing.assert_close(layer_pass.tail(before), network(stacks))


class Branching(nn.Module):
    """Decides by values, which cannot be traced."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Conv2d(4, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.inner(x) if x.sum() > 0 else x


class Holder(nn.Module):
    def __init__(self, middle: nn.Module, untraceable: bool = False) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3)
        self.middle = middle
        self.unused = nn.Conv2d(4, 4, 1)
        self.fc = nn.Linear(4, 2)
        self.untraceable = untraceable

    def forward(self, x: Tensor) -> Tensor:
        if self.untraceable and x.sum() > 1e9:
            return x
        features = self.middle(self.stem(x))
        return self.fc(features.mean(dim=(2, 3)))


def test_what_cannot_be_traced_stays_in_one_piece() -> None:
    network = Holder(Branching()).eval()
    stacks = torch.rand(2, 3, 8, 8)
    explanation = Explainer(network, ["stem", "middle"]).run(stacks)
    with torch.no_grad():
        assert torch.equal(explanation.logits, network(stacks))
    assert explanation.maps("grad-cam", layer="stem").values.abs().sum() > 0
    with pytest.raises(UsageError, match="lies inside middle"):
        Explainer(network, "middle.inner")
    with pytest.raises(ModelRefused) as caught:
        Explainer(Holder(nn.Identity(), untraceable=True), "stem")
    assert caught.value.code == "MODEL_NOT_TRACEABLE"


@pytest.mark.parametrize(
    ("layer", "nearest"),
    [("body.layer33", "body.layer3"), ("layer2", "body.layer2"), ("[-9]", "[-1]"), ("last ", "last"), ("", "[-1]")],
)
def test_a_layer_that_does_not_exist_is_answered_with_the_nearest(layer: str, nearest: str) -> None:
    with pytest.raises(UsageError) as caught:
        Explainer(classifier(), layer)
    assert caught.value.code == "USAGE_CAM_LAYER"
    assert nearest in caught.value.advice


@pytest.mark.parametrize(("layer", "why"), [("unused", "not used"), ("fc", "no feature map")])
def test_a_layer_without_a_feature_map_of_the_slice_is_refused_with_a_sentence(layer: str, why: str) -> None:
    with pytest.raises(UsageError, match=why):
        Explainer(Holder(nn.Identity()), layer).run(torch.rand(1, 3, 8, 8))


def test_nothing_about_the_callers_network_changes_even_when_a_map_fails() -> None:
    network = classifier().train()
    next(network.parameters()).requires_grad_(False)
    flags = [parameter.requires_grad for parameter in network.parameters()]
    buffers = [buffer.clone() for buffer in network.buffers()]
    explanation = Explainer(network, "[-2]").run(torch.rand(2, 3, 64, 64))
    explanation.maps("grad-cam")
    with pytest.raises(RuntimeError):
        explanation.layer_passes["body.layer3"].tail(torch.rand(2, 1, 4, 4))
    with pytest.raises(UsageError):
        explanation.maps("gradcam:NoSuchThing")
    assert network.training
    assert [parameter.requires_grad for parameter in network.parameters()] == flags
    assert all(parameter.grad is None for parameter in network.parameters())
    assert all(torch.equal(a, b) for a, b in zip(buffers, network.buffers(), strict=True))
    assert not [m for m in network.modules() if m._forward_hooks or m._backward_hooks or m._forward_pre_hooks]


def test_weights_are_shared_not_copied() -> None:
    network = classifier()
    explainer = Explainer(network, "[-2]")
    twins = {parameter.data_ptr() for parameter in explainer.network.parameters()}
    assert twins == {parameter.data_ptr() for parameter in network.parameters()}
    assert not any(parameter.requires_grad for parameter in explainer.network.parameters())


@pytest.mark.parametrize("mode", [torch.inference_mode, torch.no_grad, torch.enable_grad])
def test_callers_in_any_mode_get_the_same_maps(mode: Any) -> None:
    network = classifier()
    stacks = torch.rand(2, 3, 64, 96)
    expected = Explainer(network, "[-2]").run(stacks).maps("grad-cam").values
    with mode():
        found = Explainer(network, "[-2]").run(stacks * 1).maps("grad-cam").values
    assert torch.equal(found, expected)
    assert not found.requires_grad


def test_twice_gives_the_same_to_the_bit_and_one_slice_alone_the_same() -> None:
    explainer = Explainer(classifier("test_efficientnet"), ["[-2]", "[-3]"])
    stacks = torch.rand(3, 3, 64, 96)
    first, second = explainer.run(stacks), explainer.run(stacks)
    for layer in first.layer_passes:
        one, again = (explanation.maps("layer-cam", layer=layer).values for explanation in (first, second))
        assert torch.equal(one, again)
        alone = explainer.run(stacks[1:2]).maps("layer-cam", layer=layer).values
        torch.testing.assert_close(alone[0], one[1], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("value", [0.0, 0.5, float("nan"), float("inf")])
@pytest.mark.parametrize("method", ["cam", "grad-cam", "grad-cam++", "xgrad-cam", "layer-cam", "elementwise-grad-cam"])
def test_inputs_of_no_sense_end_in_a_map_that_says_so(method: str, value: float) -> None:
    explanation = Explainer(classifier(), "last" if method == "cam" else "[-2]").run(torch.full((1, 3, 64, 64), value))
    for scaling in ("none", "per-image-min-max", "per-volume-max", "per-volume-percentile"):
        found = explanation.maps(method, scaling=scaling)
        sensible = bool(torch.tensor(value).isfinite())
        assert (found.record["not_finite"] == 0) == sensible
        assert sensible or scaling == "none" or torch.isfinite(found.values).all()


def test_maps_of_layers_are_fused_on_the_finest() -> None:
    explanation = Explainer(classifier(), ["[-3]", "[-2]"]).run(torch.rand(1, 3, 64, 64))
    with pytest.raises(UsageError) as caught:
        explanation.maps("layer-cam")
    assert caught.value.code == "USAGE_CAM_FUSION"
    fused = explanation.maps("layer-cam", [1], fusion="mean")
    assert fused.values.shape == (1, 1, 8, 8)
    assert fused.record["layers"] == ["body.layer2", "body.layer3"]
    assert fused.record["fusion"] == {"how": "mean", "scale": "per-image-max"}


def test_half_precision_runs_where_it_is_asked_for() -> None:
    network, stacks = classifier(), torch.rand(1, 3, 64, 64)
    full = Explainer(network, "[-2]").run(stacks).maps("layer-cam").values
    half = Explainer(network, "[-2]", half=torch.bfloat16).run(stacks)
    assert half.layer_passes["body.layer3"].activations.dtype == torch.bfloat16
    values = half.maps("layer-cam").values
    assert values.dtype == torch.float32
    assert (values - full).abs().max() < 0.2 * full.abs().max()


def test_shared_layers_give_their_last_output() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 3, 3, padding=1)

        def forward(self, x: Tensor) -> Tensor:
            return self.conv(self.conv(x)).mean(dim=(2, 3))

    network, stacks = Twice().eval(), torch.rand(1, 3, 8, 8)
    found = Explainer(network, "conv").run(stacks).layer_passes["conv"].activations
    assert torch.equal(found, output_of(network, "conv", stacks))


def test_segmentation_networks_are_cut_like_any_other() -> None:
    pytest.importorskip("monai")
    torch.manual_seed(0)
    network: Any = build_segmentation_network("monai-unet", {"channels": [4, 8, 8], "residual_units": 1}, 3).eval()
    assert_cut_is_the_network(network, torch.rand(2, 3, 32, 48))


def _tensors() -> int:
    gc.collect()
    # By type: isinstance would wake lazy objects of other packages.
    return sum(issubclass(type(item), Tensor) for item in gc.get_objects())


def calls_of(method: str) -> Callable[[], object]:
    """A call of everything that a method needs: trunk, tail, gates, fusion where there are layers to fuse."""
    if method.startswith("seg-"):
        pytest.importorskip("monai")
        torch.manual_seed(0)
        arguments = {"channels": [4, 8, 8], "residual_units": 1}
        explainer = Explainer(build_segmentation_network("monai-unet", arguments, 3).eval(), "[-2]")
        stacks = torch.rand(1, 3, 32, 32)
        return lambda: explainer.run(stacks).maps(method)
    layers = ["[-1]"] if method in ("cam", "local-logit") else ["[-2]", "[-3]"]
    explainer = Explainer(classifier(), layers)
    stacks = torch.rand(1, 3, 32, 32)

    def once() -> None:
        explanation = explainer.run(stacks)
        explanation.maps(method, layer=layers[0], gates=[0.0, 1.0, 0.0])
        if method in ("hires-cam", "eigen-cam"):
            explanation.maps(method, fusion="max")

    return once


@pytest.mark.parametrize("method", method_names())
def test_no_tensor_stays_behind(method: str) -> None:
    once = calls_of(method)
    for _ in range(2):
        once()
    before = _tensors()
    for _ in range(3):
        once()
    assert _tensors() <= before


@pytest.mark.slow
@pytest.mark.parametrize("method", method_names())
def test_memory_does_not_grow_over_a_thousand_calls(
    method: str, record_property: Callable[[str, object], None]
) -> None:
    psutil = pytest.importorskip("psutil")
    once = calls_of(method)
    for _ in range(100):
        once()
    tensors, resident = _tensors(), psutil.Process().memory_info().rss
    for _ in range(1000):
        once()
    grown_mb = (psutil.Process().memory_info().rss - resident) / 1e6
    print(f"{method}: {grown_mb:+.1f} MB over 1000 calls")
    record_property("grown_mb", round(grown_mb, 1))
    assert _tensors() <= tensors
    assert grown_mb < 20


def test_a_tail_takes_skips_of_the_samples_that_its_rows_belong_to() -> None:
    explanation = Explainer(unet(), "merge.2").run(torch.rand(3, 3, 64, 64))
    layer_pass = explanation.layer_passes["merge.2"]
    assert split(unet(), ["merge.2"]).tails[0].crossing
    rows = torch.tensor([2, 2, 0, 1])
    torch.testing.assert_close(layer_pass.tail(layer_pass.activations[rows], rows), layer_pass.logits[rows])
    with pytest.raises(ValueError, match="which sample"):
        layer_pass.tail(layer_pass.activations[rows])
