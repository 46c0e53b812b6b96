"""Averages over noise and test-time augmentation."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from HemoCAMLib.cam import Explainer
from HemoCAMLib.cam.smoothing import Augmentation, Noise, smooth_maps
from HemoCAMLib.errors import UsageError
from HemoCAMLib.model.registry import build_network

CLASSES = 3


@pytest.fixture(scope="module")
def explainer() -> Explainer:
    torch.manual_seed(0)
    return Explainer(build_network("timm-classifier", {"encoder": "test_resnet"}, CLASSES), "[-2]")


def random_stacks(samples: int = 2) -> Tensor:
    return torch.randn(samples, 3, 64, 96, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("method", ["grad-cam", "eigen-cam", "ablation-cam-fast"])
def test_augmentation_is_the_mean_of_maps_of_mirrored_and_scaled_slices(explainer: Explainer, method: str) -> None:
    stacks = random_stacks()
    expected = []
    for factor in (0.9, 1.0, 1.1):
        expected.append(explainer.run(stacks * factor).maps(method, [1]).values)
        expected.append(explainer.run(stacks.flip(-1) * factor).maps(method, [1]).values.flip(-1))
    found = smooth_maps(explainer, stacks, method, [1], over=Augmentation())
    torch.testing.assert_close(found.values, torch.stack(expected).mean(dim=0))
    assert found.record["smoothing"] == {
        "over": "augmentation",
        "factors": (0.9, 1.0, 1.1),
        "mirror": True,
        "runs": 6,
    }
    assert found.record["method"] == method


def test_a_symmetric_slice_gets_a_symmetric_map(explainer: Explainer) -> None:
    half = random_stacks(1)
    stacks = half + half.flip(-1)
    values = smooth_maps(explainer, stacks, "hires-cam", over=Augmentation(factors=(1.0,))).values
    torch.testing.assert_close(values, values.flip(-1))


def test_noise_is_the_same_bits_at_each_call_and_in_any_batch(explainer: Explainer) -> None:
    stacks = random_stacks(3)
    over = Noise(samples=3, sigma=0.2, seed=5)
    maps = smooth_maps(explainer, stacks, "eigen-cam", [0], over=over)
    assert torch.equal(maps.values, smooth_maps(explainer, stacks, "eigen-cam", [0], over=over).values)
    alone = smooth_maps(explainer, stacks[2:], "eigen-cam", [0], over=over).values
    torch.testing.assert_close(alone[0], maps.values[2], rtol=1e-4, atol=1e-5)
    other = smooth_maps(explainer, stacks, "eigen-cam", [0], over=Noise(samples=3, sigma=0.2, seed=6)).values
    assert not torch.allclose(other, maps.values)
    assert maps.record["smoothing"] == {"over": "noise", "samples": 3, "sigma": 0.2, "seed": 5, "runs": 3}


def test_noise_has_the_stated_size() -> None:
    stacks = torch.cat([random_stacks(1), 10 * random_stacks(1)])
    spans = stacks.flatten(1).amax(dim=1) - stacks.flatten(1).amin(dim=1)
    for changed, mirrored in Noise(samples=2, sigma=0.15).runs(stacks):
        assert not mirrored
        torch.testing.assert_close((changed - stacks).flatten(1).std(dim=1), 0.15 * spans, rtol=0.02, atol=0)


def test_without_noise_nothing_changes(explainer: Explainer) -> None:
    stacks = random_stacks()
    plain = explainer.run(stacks).maps("grad-cam").values
    smoothed = smooth_maps(explainer, stacks, "grad-cam", over=Noise(samples=2, sigma=0.0))
    torch.testing.assert_close(smoothed.values, plain)


def test_gates_are_those_of_the_unchanged_slices(explainer: Explainer) -> None:
    stacks = random_stacks()
    probabilities = torch.sigmoid(explainer.run(stacks).logits)
    gates = [float(probabilities[:, index].mean()) for index in range(CLASSES)]
    found = smooth_maps(explainer, stacks, "grad-cam", over=Noise(samples=2), gates=gates)
    assert torch.equal(found.wanted, probabilities > torch.tensor(gates))
    assert torch.equal(found.values.flatten(2).any(dim=2), found.wanted)


def test_the_mean_is_clipped_and_scaled_not_its_parts(explainer: Explainer) -> None:
    stacks = random_stacks()
    arguments: dict[str, Any] = {"over": Noise(samples=2, sigma=0.5)}
    plain = smooth_maps(explainer, stacks, "grad-cam", **arguments).values
    positive = smooth_maps(explainer, stacks, "grad-cam", positive=True, **arguments).values
    assert torch.equal(positive, plain.clamp_min(0))
    image = smooth_maps(explainer, stacks, "grad-cam", scaling="per-image-min-max", **arguments).values
    assert torch.equal(image.flatten(2).amax(dim=2), torch.ones(2, CLASSES))
    assert not image.flatten(2).amin(dim=2).any()


def test_no_run_and_gates_that_do_not_fit_are_refused(explainer: Explainer) -> None:
    with pytest.raises(UsageError) as caught:
        smooth_maps(explainer, random_stacks(1), "grad-cam", over=Noise(samples=0))
    assert caught.value.code == "USAGE_CAM_SMOOTHING"
    with pytest.raises(UsageError) as caught:
        smooth_maps(explainer, random_stacks(1), "grad-cam", over=Noise(samples=1), gates=[0.5])
    assert caught.value.code == "USAGE_CAM_GATES"
