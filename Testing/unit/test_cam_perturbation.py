"""Ablation-CAM and Score-CAM against one plain run for each channel, closed form, and grad-cam."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from gradcam_raw_maps import ablates_to_zero, gradcam_library, raw_map, scaled
from torch import Tensor, nn

from HemoCAMLib.cam import Explainer
from HemoCAMLib.cam.layer_pass import LayerPass
from HemoCAMLib.cam.perturbation import blocks
from HemoCAMLib.cam.perturbation.ablation_cam import ablation_cam, ablation_cam_fast
from HemoCAMLib.cam.perturbation.blocks import rows_per_block
from HemoCAMLib.cam.perturbation.score_cam import score_cam, score_cam_fast
from HemoCAMLib.errors import UsageError
from HemoCAMLib.model.heads import AveragePoolHead, Head, LsePoolHead, OpaqueHead

CLASSES, CHANNELS, ROWS, COLUMNS = 3, 10, 12, 18
METHODS: list[Callable[..., Tensor]] = [ablation_cam, ablation_cam_fast, score_cam, score_cam_fast]


class TwoParts(nn.Module):
    """Convolution and activation up to the layer, and what follows, with values that cross the layer."""

    def __init__(self, activation: type[nn.Module] = nn.SiLU, channels: int = CHANNELS, crossing: bool = False) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first = nn.Sequential(nn.Conv2d(3, channels, 3, stride=2, padding=1), activation())
        self.second = nn.Sequential(nn.Conv2d(channels, 12, 3, padding=1), nn.ReLU())
        self.classifier = nn.Linear(12, CLASSES)
        self.crossing = crossing
        self.eval().requires_grad_(False)

    def rest(self, activations: Tensor, stacks: Tensor) -> Tensor:
        features = self.second(activations)
        if self.crossing:
            features = features * stacks[:, :1, ::2, ::2]
        scores: Tensor = self.classifier(features.mean(dim=(-2, -1)))
        return scores

    def forward(self, stacks: Tensor) -> Tensor:
        return self.rest(self.first(stacks), stacks)

    def layer_pass(self, stacks: Tensor, wanted: Tensor | None = None) -> LayerPass:
        def tail(activations: Tensor, rows: Tensor | None = None) -> Tensor:
            return self.rest(activations, stacks if rows is None else stacks[rows])

        return LayerPass(self.first(stacks).detach(), tail, None, stacks, self, "first", wanted)


def random_stacks(samples: int = 2, rows: int = 2 * ROWS, columns: int = 2 * COLUMNS) -> Tensor:
    return torch.rand(samples, 3, rows, columns, generator=torch.Generator().manual_seed(4))


def plain_ablation(given: LayerPass, index: int, value: str) -> Tensor:
    """One run of the tail for each channel of the whole batch."""
    maps = []
    for channel in range(given.activations.shape[1]):
        changed = given.activations.clone()
        mean = changed[:, channel].mean(dim=(-2, -1), keepdim=True)
        changed[:, channel] = 0 if value == "zero" else mean
        weights = given.logits[:, index] - given.tail(changed)[:, index]
        maps.append(weights[:, None, None] * given.activations[:, channel])
    return torch.stack(maps).sum(dim=0)


@pytest.mark.parametrize("crossing", [False, True])
@pytest.mark.parametrize("value", ["zero", "mean"])
def test_ablation_cam_is_what_each_channel_alone_loses(value: Any, crossing: bool) -> None:
    given = TwoParts(crossing=crossing).layer_pass(random_stacks())
    maps = ablation_cam(given, [2, 0], value=value)
    for column, index in enumerate((2, 0)):
        torch.testing.assert_close(maps[:, column], plain_ablation(given, index, value), rtol=1e-4, atol=1e-6)


def head_and_activations(kind: str) -> tuple[Head, Tensor]:
    generator = torch.Generator().manual_seed(5)
    activations = torch.randn(2, CHANNELS, ROWS, COLUMNS, generator=generator, dtype=torch.float64)
    weight = torch.randn(CLASSES, CHANNELS, generator=generator, dtype=torch.float64)
    bias = torch.randn(CLASSES, generator=generator, dtype=torch.float64)
    return AveragePoolHead(weight, bias) if kind == "average" else LsePoolHead(weight, bias, 3.0), activations


@pytest.mark.parametrize("method", [ablation_cam, ablation_cam_fast])
@pytest.mark.parametrize("value", ["zero", "mean"])
@pytest.mark.parametrize("kind", ["average", "lse"])
def test_behind_a_pooling_head_the_closed_form_is_what_running_gives(
    method: Callable[..., Tensor], value: Any, kind: str
) -> None:
    head, activations = head_and_activations(kind)
    closed = method(LayerPass.from_head(activations, head), range(CLASSES), value=value)
    run = ablation_cam(LayerPass.from_head(activations, OpaqueHead(head, "unknown")), range(CLASSES), value=value)
    torch.testing.assert_close(closed, run)
    if kind == "average" and value == "zero":
        expected = torch.einsum("ck,nk,nkij->ncij", head.weight, activations.mean(dim=(-2, -1)), activations)
        torch.testing.assert_close(closed, expected)
    if kind == "average" and value == "mean":
        assert float(closed.abs().max()) <= 1e-12


def test_the_fast_ablation_is_exact_with_all_channels_and_close_with_half_of_them() -> None:
    given = TwoParts().layer_pass(random_stacks())
    exact = ablation_cam(given, range(CLASSES))
    torch.testing.assert_close(ablation_cam_fast(given, range(CLASSES), channels=CHANNELS), exact)
    errors = [float((ablation_cam_fast(given, range(CLASSES), channels=n) - exact).abs().max()) for n in (0, 5)]
    assert errors[1] < errors[0] < 0.5 * float(exact.abs().max())
    assert errors[1] < 0.1 * float(exact.abs().max())


def test_to_first_order_a_linear_tail_is_exact() -> None:
    head, activations = head_and_activations("average")
    opaque = LayerPass.from_head(activations, OpaqueHead(head, "unknown"))
    closed = ablation_cam(LayerPass.from_head(activations, head), range(CLASSES))
    torch.testing.assert_close(ablation_cam_fast(opaque, range(CLASSES), channels=0), closed)


def test_channels_that_are_off_already_are_not_run() -> None:
    network = TwoParts(nn.ReLU)
    given = network.layer_pass(random_stacks(1))
    given.activations[:, ::2] = 0
    rows: list[int] = []
    counted = LayerPass(given.activations, lambda a, r=None: rows.append(len(a)) or given.tail(a, r))
    torch.testing.assert_close(ablation_cam(counted, [0])[:, 0], plain_ablation(given, 0, "zero"), rtol=1e-4, atol=1e-6)
    assert sum(rows) == CHANNELS // 2 + 1


def test_score_cam_follows_its_paper() -> None:
    network = TwoParts()
    stacks = random_stacks()
    given = network.layer_pass(stacks)
    maps = score_cam(given, [1, 2])
    enlarged = nn.functional.interpolate(given.activations, stacks.shape[2:], mode="bilinear", align_corners=False)
    for sample in range(2):
        scores = []
        for mask in enlarged[sample]:
            scores.append(network((stacks[sample] * (mask - mask.min()) / (mask.max() - mask.min()))[None])[0])
        weights = torch.softmax(torch.stack(scores), dim=0)
        expected = torch.einsum("kc,kij->cij", weights[:, 1:], given.activations[sample])
        torch.testing.assert_close(maps[sample], expected, rtol=1e-5, atol=1e-6)


def test_the_fast_score_cam_is_exact_with_all_channels_at_full_size() -> None:
    given = TwoParts().layer_pass(random_stacks())
    exact = score_cam(given, range(CLASSES))
    torch.testing.assert_close(score_cam_fast(given, range(CLASSES), channels=CHANNELS, input_scale=1.0), exact)
    fast = score_cam_fast(given, range(CLASSES), channels=5, input_scale=0.5)
    correlation = np.corrcoef(fast.flatten().numpy(), exact.flatten().numpy())[0, 1]
    assert 0.9 < correlation < 1


def test_constant_channels_share_one_masked_run() -> None:
    network = TwoParts()
    given = network.layer_pass(random_stacks(1))
    given.activations[:, 3] = 0.5
    given.activations[:, 7] = 0
    maps = score_cam(given, [0])
    assert torch.isfinite(maps).all()
    runs: list[int] = []
    handle = network.register_forward_hook(lambda module, inputs, output: runs.append(len(output)))
    assert torch.equal(score_cam(given, [0]), maps)
    handle.remove()
    assert sum(runs) == CHANNELS - 1


def test_methods_that_change_the_slice_need_the_whole_network() -> None:
    head, activations = head_and_activations("average")
    with pytest.raises(UsageError) as caught:
        score_cam(LayerPass.from_head(activations, head), [0])
    assert caught.value.code == "USAGE_CAM_WHOLE_NETWORK"


@pytest.mark.parametrize("method", METHODS)
def test_a_sample_has_the_same_bits_alone_in_any_batch_and_twice(method: Callable[..., Tensor]) -> None:
    network = TwoParts(crossing=True)
    stacks = random_stacks(3)
    maps = method(network.layer_pass(stacks), [0, 1])
    assert torch.equal(maps, method(network.layer_pass(stacks), [0, 1]))
    for index in range(3):
        given = network.layer_pass(stacks)
        alone = network.layer_pass(stacks[index : index + 1])
        alone = LayerPass(given.activations[index : index + 1], alone.tail, None, alone.stacks, network)
        assert torch.equal(method(alone, [0, 1])[0], maps[index])


@pytest.mark.parametrize("method", METHODS)
def test_block_size_changes_rounding_only_and_follows_the_budget(method: Callable[..., Tensor]) -> None:
    given = TwoParts().layer_pass(random_stacks(1))
    torch.testing.assert_close(method(given, [0, 1], block_bytes=1), method(given, [0, 1]), rtol=1e-4, atol=1e-6)
    assert rows_per_block(100, 1) == 1
    assert rows_per_block(100, 1050) == 10
    assert rows_per_block(1, 1 << 40) == blocks.MOST_ROWS


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_a_sample_that_is_not_finite_gets_nan_alone(method: Callable[..., Tensor], value: float) -> None:
    network = TwoParts()
    stacks = random_stacks(3)
    whole = method(network.layer_pass(stacks), [0, 1])
    stacks[1, 0, 5, 5] = value
    maps = method(network.layer_pass(stacks), [0, 1])
    assert maps[1].isnan().all()
    torch.testing.assert_close(maps[[0, 2]], whole[[0, 2]])


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("shape", [(1, 2, 2), (CHANNELS, 2, 2), (1, 24, 36), (2, 2, 31)])
def test_one_channel_one_position_and_odd_shapes_work(method: Callable[..., Tensor], shape: tuple[int, ...]) -> None:
    channels, rows, columns = shape
    given = TwoParts(channels=channels).layer_pass(random_stacks(1, rows, columns))
    maps = method(given, [1])
    assert maps.shape == (1, 1, *given.activations.shape[2:])
    assert torch.isfinite(maps).all()


@pytest.mark.parametrize("method", METHODS)
def test_zero_activations_give_zero_maps(method: Callable[..., Tensor]) -> None:
    given = TwoParts().layer_pass(random_stacks(1))
    given.activations.zero_()
    assert not method(given, [0, 2]).any()


@pytest.mark.parametrize("method", METHODS)
def test_samples_whose_maps_are_not_wanted_are_not_run(method: Callable[..., Tensor]) -> None:
    network = TwoParts()
    wanted = torch.zeros(3, CLASSES, dtype=torch.bool)
    wanted[1, 2] = True
    maps = method(network.layer_pass(random_stacks(3), wanted), [0, 2])
    assert not maps[[0, 2]].any()
    torch.testing.assert_close(maps[1, 1], method(network.layer_pass(random_stacks(3)), [2])[1, 0])
    assert not method(network.layer_pass(random_stacks(3), wanted), [0]).any()


@pytest.mark.parametrize("method", METHODS)
def test_inputs_are_left_alone_and_an_error_passes_through(method: Callable[..., Tensor]) -> None:
    network = TwoParts()
    stacks = random_stacks()
    given = network.layer_pass(stacks)
    kept = given.activations.clone(), stacks.clone()
    before = method(given, [0])
    assert torch.equal(given.activations, kept[0])
    assert torch.equal(stacks, kept[1])

    def broken(*_: object) -> Tensor:
        raise RuntimeError("in the middle")

    handle = network.register_forward_hook(broken)
    with pytest.raises(RuntimeError, match="in the middle"):
        method(LayerPass(given.activations, broken, None, stacks, network), [0])
    handle.remove()
    assert torch.equal(method(given, [0]), before)


@pytest.mark.parametrize("activation", [nn.ReLU, nn.SiLU])
def test_ablation_cam_agrees_with_the_grad_cam_library_mended(activation: type[nn.Module]) -> None:
    gradcam = gradcam_library()
    network = TwoParts(activation)
    stacks = random_stacks(1)
    given = network.layer_pass(stacks)
    for index in range(CLASSES):
        library = gradcam.AblationCAM(network, [network.first], ablation_layer=ablates_to_zero())
        # The library divides by the logit.
        theirs = raw_map(library, stacks, index) * float(given.logits[0, index])
        ours = ablation_cam(given, [index])[0, 0]
        assert np.abs(scaled(ours) - scaled(theirs)).max() <= 1e-4


def test_score_cam_agrees_with_the_grad_cam_library() -> None:
    gradcam = gradcam_library()
    network = TwoParts(nn.ReLU)
    stacks = random_stacks(1)
    given = network.layer_pass(stacks)
    for index in range(CLASSES):
        theirs = raw_map(gradcam.ScoreCAM(network, [network.first]), stacks, index)
        ours = score_cam(given, [index], align_corners=True)[0, 0]
        assert np.abs(scaled(ours) - scaled(theirs)).max() <= 1e-4


@pytest.mark.parametrize("method", ["ablation-cam", "score-cam", "eigen-cam", "kpca-cam", "eigen-grad-cam"])
def test_half_precision_runs_the_network_in_it_and_gives_maps_in_full(method: str) -> None:
    torch.manual_seed(0)
    network = TwoParts()
    network.classifier.weight.mul_(10)
    stacks = random_stacks()
    whole = Explainer(network, "first").run(stacks).maps(method).values
    halved = Explainer(network, "first", half=torch.bfloat16)
    seen: list[torch.dtype] = []
    handle = halved.network.classifier.register_forward_hook(lambda module, inputs, output: seen.append(output.dtype))
    values = halved.run(stacks).maps(method).values
    handle.remove()
    assert set(seen) == {torch.bfloat16}
    assert values.dtype == torch.float32
    assert np.corrcoef(values.flatten().numpy(), whole.flatten().numpy())[0, 1] > 0.9
