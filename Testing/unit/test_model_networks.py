"""Networks by name: what they compute, and that nothing but a known name with known arguments is built."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
import torch

from HemoCAMLib.errors import ModelRefused
from HemoCAMLib.model.encoders import PyramidEncoder
from HemoCAMLib.model.folding import folded
from HemoCAMLib.model.heads import AveragePoolHead, LsePoolHead, OpaqueHead, lse_pool
from HemoCAMLib.model.lse_unet import LseUNet
from HemoCAMLib.model.registry import build_network

SMALL = {"encoder": "test_resnet", "decoder_channels": [8, 12, 16, 24]}


def small_unet(classes: int = 6, **arguments: Any) -> LseUNet:
    torch.manual_seed(0)
    network = build_network("lse-unet", {**SMALL, **arguments}, classes)
    assert isinstance(network, LseUNet)
    return network.eval()


def with_running_statistics(network: Any, size: int = 64) -> Any:
    """The network with normalisation statistics and weights that are not those of the first day."""
    torch.manual_seed(1)
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.weight.uniform_(0.5, 1.5)
                module.bias.normal_(0, 0.3)
        network.train()
        for _ in range(5):
            network(torch.rand(4, 3, size, size) * 2)
    return network.eval()


def test_lse_pooling_is_the_mean_of_exponentials() -> None:
    x = torch.randn(2, 3, 5, 7, dtype=torch.float64)
    expected = torch.exp(3 * x).mean(dim=(-2, -1)).log() / 3
    torch.testing.assert_close(lse_pool(x, 3.0), expected)


def test_lse_pooling_lies_between_mean_and_maximum_and_does_not_overflow() -> None:
    x = torch.randn(1, 1, 8, 8) * 1e4
    pooled = lse_pool(x, 3.0)
    assert torch.isfinite(pooled).all()
    assert x.mean() <= pooled.item() <= x.max()
    assert lse_pool(torch.full((1, 1, 4, 4), -300.0), 3.0).item() == pytest.approx(-300)


def test_a_network_is_its_head_after_its_trunk() -> None:
    network = small_unet()
    stacks = torch.rand(2, 3, 64, 96)
    with torch.no_grad():
        activations = network.trunk(stacks)
        kept = activations.clone()
        torch.testing.assert_close(network(stacks), network.head(activations))
    assert activations.shape == (2, 8, 16, 24)
    assert torch.equal(activations, kept)


def test_deep_supervision_gives_four_scales_of_which_the_first_is_the_networks_own() -> None:
    network = small_unet()
    stacks = torch.rand(2, 3, 64, 64)
    scales = network.deep_supervision(stacks)
    assert [tuple(maps.shape) for maps in scales.local_logits] == [(2, 6, s, s) for s in (16, 8, 4, 2)]
    torch.testing.assert_close(scales.logits[0], network(stacks))
    for logits, maps in zip(scales.logits, scales.local_logits, strict=True):
        torch.testing.assert_close(logits, lse_pool(maps, network.r))


def test_every_parameter_of_the_unet_learns_from_deep_supervision() -> None:
    network = small_unet().train()
    torch.stack(network.deep_supervision(torch.rand(2, 3, 64, 64)).logits).sum().backward()
    assert [name for name, parameter in network.named_parameters() if parameter.grad is None] == []


def test_the_class_bias_is_subtracted() -> None:
    network = small_unet()
    stacks = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        before = network(stacks)
        network.score[0].bias.add_(torch.arange(6.0))
        torch.testing.assert_close(network(stacks), before - torch.arange(6.0))


def test_the_map_layer_is_a_module_whose_output_is_the_trunks() -> None:
    for network in (small_unet(), build_network("timm-classifier", {"encoder": "test_resnet"}, 3).eval()):
        outputs: list[torch.Tensor] = []
        network.get_submodule(network.map_layer).register_forward_hook(
            lambda _m, _i, out, kept=outputs: kept.append(out)
        )
        with torch.no_grad():
            torch.testing.assert_close(network.trunk(torch.rand(1, 3, 64, 64)), outputs[0])


def test_the_reference_encoder_has_the_papers_channels() -> None:
    assert PyramidEncoder("rdnet_tiny").channels == [256, 440, 744, 1040]


def test_the_decoder_follows_the_encoder_where_nothing_is_said() -> None:
    network = build_network("lse-unet", {"encoder": "mobilenetv3_small_050"}, 2)
    assert isinstance(network, LseUNet)
    assert [score.weight.shape[1] for score in network.score] == network.encoder.channels
    assert network.r == 3.0


@pytest.mark.parametrize(
    ("encoder", "channels"),
    [("test_convnext", 4), ("test_efficientnet", 4), ("mobilenetv4_conv_small_035", 4), ("densenet121", 4)],
)
def test_encoders_of_several_families_serve_the_unet(encoder: str, channels: int) -> None:
    network = build_network("lse-unet", {"encoder": encoder, "decoder_channels": [channels] * 4}, 2).eval()
    with torch.no_grad():
        assert network.trunk(torch.rand(1, 3, 64, 64)).shape == (1, channels, 16, 16)


@pytest.mark.parametrize("encoder", ["test_resnet", "test_efficientnet", "resnet10t", "regnetx_002", "densenet121"])
def test_a_timm_classifier_with_average_pooling_keeps_timms_logits(encoder: str) -> None:
    network: Any = build_network("timm-classifier", {"encoder": encoder}, 5).eval()
    stacks = torch.rand(2, 3, 96, 64)
    assert isinstance(network.head, AveragePoolHead)
    with torch.no_grad():
        torch.testing.assert_close(network(stacks), network.body(stacks), rtol=1e-5, atol=1e-6)
        head = network.head
        activations = network.trunk(stacks)
        torch.testing.assert_close(head(activations), head.pool(head.local_logits(activations)), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("encoder", ["mobilenetv3_small_050", "test_convnext"])
def test_a_timm_classifier_with_more_behind_its_pooling_classifies_without_closed_form(encoder: str) -> None:
    network: Any = build_network("timm-classifier", {"encoder": encoder}, 5).eval()
    assert isinstance(network.head, OpaqueHead)
    assert network.head.reason
    stacks = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(network(stacks), network.body(stacks))


def test_a_channels_last_transformer_gives_a_map_with_channels_first() -> None:
    arguments = {"encoder": "swin_tiny_patch4_window7_224", "image_size": [64, 96]}
    network: Any = build_network("timm-classifier", arguments, 2).eval()
    stacks = torch.rand(1, 3, 64, 96)
    with torch.no_grad():
        assert network.trunk(stacks).shape == (1, 768, 2, 3)
        torch.testing.assert_close(network(stacks), network.body(stacks), rtol=1e-5, atol=1e-6)


def test_stage_names_are_timms_own() -> None:
    network: Any = build_network("timm-classifier", {"encoder": "resnet10t"}, 2)
    assert network.stage_names == ["act1", "layer1", "layer2", "layer3", "layer4"]
    assert network.map_layer == "body.layer4"


def test_a_network_without_feature_maps_is_refused() -> None:
    with pytest.raises(ModelRefused) as caught:
        build_network("timm-classifier", {"encoder": "test_vit", "image_size": [64, 64]}, 2)
    assert caught.value.code == "MODEL_ARCHITECTURE_ARGUMENTS"


@pytest.mark.parametrize(
    ("name", "arguments", "code"),
    [
        ("os.system", {"encoder": "test_resnet"}, "MODEL_UNKNOWN_ARCHITECTURE"),
        ("lse-unet", {"encoder": "no_such_network"}, "MODEL_UNKNOWN_ARCHITECTURE"),
        ("lse-unet", {"encoder": "hf-hub:someone/network"}, "MODEL_ARCHITECTURE_ARGUMENTS"),
        ("lse-unet", {"encoder": "local-dir:/tmp/network"}, "MODEL_ARCHITECTURE_ARGUMENTS"),
        ("lse-unet", {"encoder": "resnet18.a1_in1k"}, "MODEL_ARCHITECTURE_ARGUMENTS"),
        ("lse-unet", {"encoder": ["test_resnet"]}, "MODEL_ARCHITECTURE_ARGUMENTS"),
        ("lse-unet", {}, "MODEL_ARCHITECTURE_ARGUMENTS"),
        ("lse-unet", {"encoder": "test_resnet", "pretrained": True}, "MODEL_ARCHITECTURE_ARGUMENTS"),
        ("lse-unet", {"encoder": "test_resnet", "checkpoint_path": "x.pth"}, "MODEL_ARCHITECTURE_ARGUMENTS"),
        ("timm-classifier", {"encoder": "test_resnet", "r": 3}, "MODEL_ARCHITECTURE_ARGUMENTS"),
        ("lse-unet", {"encoder": "test_resnet", "r": 0}, "MODEL_ARCHITECTURE_ARGUMENTS"),
        ("lse-unet", {"encoder": "test_resnet", "r": True}, "MODEL_ARCHITECTURE_ARGUMENTS"),
        ("lse-unet", {"encoder": "test_resnet", "r": float("nan")}, "MODEL_ARCHITECTURE_ARGUMENTS"),
        ("lse-unet", {"encoder": "test_resnet", "decoder_channels": [8, 8, 8]}, "MODEL_ARCHITECTURE_ARGUMENTS"),
        ("lse-unet", {"encoder": "test_resnet", "decoder_channels": [8, 8, 8, 10**9]}, "MODEL_ARCHITECTURE_ARGUMENTS"),
        ("lse-unet", {"encoder": "test_vit"}, "MODEL_ARCHITECTURE_ARGUMENTS"),
    ],
)
def test_only_known_names_with_known_arguments_are_built(name: str, arguments: dict[str, Any], code: str) -> None:
    with pytest.raises(ModelRefused) as caught:
        build_network(name, arguments, 6)
    assert caught.value.code == code


@pytest.mark.parametrize("count", [0, -1, 1001, True, 2.0, "6"])
def test_an_impossible_number_of_classes_is_refused(count: Any) -> None:
    with pytest.raises(ModelRefused):
        build_network("lse-unet", SMALL, count)


@pytest.mark.parametrize(
    ("name", "encoder"),
    [
        ("lse-unet", "resnet10t"),
        ("lse-unet", "mobilenetv4_conv_small_035"),
        ("timm-classifier", "test_efficientnet"),
        ("timm-classifier", "densenet121"),
    ],
)
def test_folding_changes_activations_by_less_than_a_hundred_thousandth(name: str, encoder: str) -> None:
    arguments: dict[str, Any] = {"encoder": encoder}
    if name == "lse-unet":
        arguments["decoder_channels"] = [8, 8, 8, 8]
    network = with_running_statistics(build_network(name, arguments, 4))
    stacks = torch.rand(2, 3, 64, 64)
    lighter, count = folded(network, torch.rand(1, 3, 64, 64))
    with torch.no_grad():
        before, after = network.trunk(stacks), lighter.trunk(stacks)
        torch.testing.assert_close(network(stacks), lighter(stacks), rtol=1e-5, atol=1e-5)
    assert count > 5
    assert float((before - after).abs().max()) <= 1e-5 * float(before.abs().max())
    assert sum(isinstance(module, torch.nn.BatchNorm2d) for module in lighter.modules()) < sum(
        isinstance(module, torch.nn.BatchNorm2d) for module in network.modules()
    )


def test_rounding_that_the_network_has_anyway_does_not_keep_it_from_being_folded() -> None:
    class FarFromZero(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.convolution = torch.nn.Conv2d(3, 4, 3)
            self.normalisation = torch.nn.BatchNorm2d(4)
            # The difference of two numbers near 300 keeps their rounding, 3e-5: as much as a deep network gathers.
            self.convolution.bias.data.fill_(300.0)
            self.normalisation.running_mean.fill_(300.0)

        def trunk(self, stacks: torch.Tensor) -> torch.Tensor:
            return self.normalisation(self.convolution(stacks))

    network: Any = FarFromZero().eval()
    _, count = folded(network, torch.rand(1, 3, 64, 64))
    assert count == 1


def test_a_convolution_that_something_else_reads_is_not_folded() -> None:
    class Shared(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.convolution = torch.nn.Conv2d(3, 4, 3)
            self.normalisation = torch.nn.BatchNorm2d(4)
            self.normalisation.bias.data.fill_(1.0)

        def trunk(self, stacks: torch.Tensor) -> torch.Tensor:
            features = self.convolution(stacks)
            return self.normalisation(features) + features

    network: Any = Shared().eval()
    same, count = folded(network, torch.rand(1, 3, 16, 16))
    assert same is network
    assert count == 0


def test_timm_can_be_imported_beside_a_torchvision_that_does_not_fit() -> None:
    script = (
        "from HemoCAMLib.model import torchvision_guard as guard; import timm, torchvision; "
        "from torchvision import transforms; "
        "assert guard.SCHEMAS_DEFINED_HERE != torchvision.extension._has_ops(); "
        "assert guard.make_torchvision_importable() == guard.SCHEMAS_DEFINED_HERE"
    )
    subprocess.run([sys.executable, "-c", script], check=True, timeout=120)


def test_the_heads_of_both_kinds_are_views_of_the_networks_parameters() -> None:
    unet: Any = small_unet()
    assert isinstance(unet.head, LsePoolHead)
    assert unet.head.weight.data_ptr() == unet.score[0].weight.data_ptr()
    classifier: Any = build_network("timm-classifier", {"encoder": "test_resnet"}, 2)
    assert classifier.head.weight.data_ptr() == classifier.body.get_classifier().weight.data_ptr()


def test_a_head_that_would_overwrite_the_activations_gets_a_copy(monkeypatch: pytest.MonkeyPatch) -> None:
    class InPlace(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem = torch.nn.Conv2d(3, 4, 3, stride=4, padding=1)
            self.fc = torch.nn.Linear(4, 2)

        def forward_features(self, stacks: torch.Tensor) -> torch.Tensor:
            features: torch.Tensor = self.stem(stacks)
            return features

        def forward_head(self, features: torch.Tensor) -> torch.Tensor:
            logits: torch.Tensor = self.fc(torch.nn.functional.relu(features, inplace=True).mean(dim=(-2, -1)))
            return logits

        def get_classifier(self) -> torch.nn.Module:
            return self.fc

    monkeypatch.setattr("HemoCAMLib.model.timm_classifier.create_timm_model", lambda *_, **__: InPlace())
    network: Any = build_network("timm-classifier", {"encoder": "test_resnet"}, 2).eval()
    with torch.no_grad():
        activations = network.trunk(torch.randn(1, 3, 32, 32))
        kept = activations.clone()
        logits = network.head(activations)
        assert torch.equal(activations, kept)
        torch.testing.assert_close(logits, network.body.fc(kept.relu().mean(dim=(-2, -1))))
    assert isinstance(network.head, OpaqueHead)
