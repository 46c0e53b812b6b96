"""The papers' networks: each builds, takes a training step and gives maps from its map layer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from hemocam_training.errors import ConfigRefused
from hemocam_training.learning.config import LossConfig, NetworkConfig, OptimiserConfig
from hemocam_training.learning.learner import optimiser
from hemocam_training.learning.networks import PAPER_NETWORKS, new_network
from hemocam_training.learning.objectives import Objective

from HemoCAMLib.cam.explainer import Explainer
from HemoCAMLib.model.shipped import find_model

SIZE = 64
FAST = ("alexnet", "densenet121")


def steps_and_maps(network: Any, loss: str) -> None:
    """One step with a gradient for every parameter, then a finite map for two classes."""
    torch.manual_seed(0)
    batch = {
        "target": torch.tensor([[1.0] * 6, [0.0] * 6]),
        "known": torch.ones(2, 6),
        "known_count": torch.tensor(12.0),
    }
    x = torch.rand(2, 3, SIZE, SIZE)
    objective = Objective(LossConfig(kind=loss), "all", None)  # type: ignore[arg-type]
    method = optimiser(OptimiserConfig(name="sgd", learning_rate=1e-3), network, 1e-3)
    before = {name: value.clone() for name, value in network.named_parameters()}
    objective(objective.outputs_of(network.train())(x), batch).backward()
    method.step()
    # Branches that begin at zero have no gradient yet behind their last layer, and tiny steps are lost in rounding.
    gradients = [value.grad for value in network.parameters()]
    assert all(gradient is not None and torch.isfinite(gradient).all() for gradient in gradients)
    assert any(not torch.equal(value, before[name]) for name, value in network.named_parameters())
    # In double precision: normalised by what two small slices left, a deep network amplifies rounding without end.
    exact = network.eval().requires_grad_(False).double()
    found = Explainer(exact).run(x.double()).maps("grad-cam", [0, 1]).values
    assert found.shape[:2] == (2, 2)
    assert torch.isfinite(found).all()


@pytest.mark.parametrize("name", FAST)
def test_a_network_of_the_papers_learns_and_shows_where(name: str) -> None:
    steps_and_maps(new_network(NetworkConfig(architecture=name), 6, 0), "classification")


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(set(PAPER_NETWORKS) - set(FAST)))
def test_every_network_of_the_papers_learns_and_shows_where(name: str) -> None:
    steps_and_maps(new_network(NetworkConfig(architecture=name), 6, 0), "classification")


@pytest.mark.slow
def test_the_full_size_lse_unet_learns_and_shows_where() -> None:
    network: Any = new_network(NetworkConfig(architecture="lse-unet", arguments={"encoder": "rdnet_tiny"}), 6, 0)
    assert network.encoder.channels == [256, 440, 744, 1040]
    steps_and_maps(network, "lse")


def test_an_lse_unet_learns_and_shows_where() -> None:
    arguments = {"encoder": "resnet10t", "decoder_channels": [8, 8, 8, 8]}
    settings = NetworkConfig(architecture="lse-unet", arguments=arguments, first_bias=2.0)
    network: Any = new_network(settings, 6, 0)
    assert [float(score.bias[0]) for score in network.score] == [2.0] * 4
    steps_and_maps(network, "lse")


def test_pooled_alexnet_has_closed_form_maps() -> None:
    network: Any = new_network(NetworkConfig(architecture="alexnet"), 3, 0).eval()
    stacks = torch.rand(2, 3, 96, 96)
    with torch.no_grad():
        activations = network.trunk(stacks)
        local = torch.einsum("ck,nkhw->nchw", network.classifier.weight, activations)
        expected = local.mean(dim=(-2, -1)) + network.classifier.bias
        assert torch.allclose(network(stacks), expected, atol=1e-6)
        assert torch.allclose(network.head.local_logits(activations).mean(dim=(-2, -1)), expected, atol=1e-6)
    # Grad-CAM is the same map over the number of positions where pooling is an average and the rest linear.
    maps = Explainer(network.requires_grad_(False)).run(stacks).maps("grad-cam", [0, 1, 2]).values
    positions = activations.shape[-1] * activations.shape[-2]
    assert torch.allclose(maps, torch.relu(local) / positions, atol=1e-6) or torch.allclose(
        maps, local / positions, atol=1e-6
    )


def test_a_network_starts_from_a_model_that_ships_by_its_name() -> None:
    bundle = find_model("hemocam-phantom")
    metadata = bundle.metadata
    arguments = {"architecture": metadata.architecture, "arguments": dict(metadata.arguments)}
    network = new_network(NetworkConfig(**arguments, start=Path("hemocam-phantom")), 6, 0)
    stored = bundle.read_weights()
    state = network.state_dict()
    assert set(state) == set(stored)
    assert all(torch.equal(state[name], torch.from_numpy(value.copy()).float()) for name, value in stored.items())
    with pytest.raises(ConfigRefused, match="cannot be read from nothing-such"):
        new_network(NetworkConfig(**arguments, start=Path("nothing-such")), 6, 0)
