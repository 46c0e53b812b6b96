"""Principal components of activations against decompositions of the whole matrix and against grad-cam."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from gradcam_raw_maps import gradcam_library, raw_map, scaled
from torch import Tensor, nn

from HemoCAMLib.cam import decomposition
from HemoCAMLib.cam.decomposition import eigen_cam, eigen_grad_cam, kpca_cam
from HemoCAMLib.cam.layer_pass import LayerPass
from HemoCAMLib.cam.leading_eigenvector import leading_eigenvector
from HemoCAMLib.model.heads import AveragePoolHead, OpaqueHead

CLASSES, CHANNELS, ROWS, COLUMNS = 3, 7, 6, 9
METHODS: list[Callable[..., Tensor]] = [eigen_cam, eigen_grad_cam, kpca_cam]


def layer_pass(activations: Tensor) -> LayerPass:
    """Behind the layer: a nonlinear network, so that gradients differ between positions."""
    torch.manual_seed(7)
    channels = activations.shape[1]
    network = nn.Sequential(
        nn.Conv2d(channels, 8, 3, padding=1), nn.SiLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, CLASSES)
    )
    return LayerPass.from_head(
        activations, OpaqueHead(network.to(activations.dtype).requires_grad_(False), "two layers")
    )


def random_activations(seed: int = 0, samples: int = 2) -> Tensor:
    """Skewed, so that the channel sum and the first component are far from orthogonal."""
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(samples, CHANNELS, ROWS, COLUMNS, generator=generator) ** 3


@pytest.mark.parametrize("shape", [(40, 6), (6, 40), (300, 20), (2, 1), (1, 1)])
def test_the_leading_eigenvector_is_that_of_the_whole_decomposition(shape: tuple[int, int]) -> None:
    torch.manual_seed(1)
    factor = torch.randn(shape, dtype=torch.float64)
    # An indefinite matrix, whose largest eigenvalue by size is negative.
    matrix = factor @ factor.mT - 3 * torch.eye(len(factor), dtype=torch.float64) * factor.square().sum()
    values, vectors = torch.linalg.eigh(matrix)
    value, vector = leading_eigenvector(lambda v: matrix @ v, len(matrix), matrix.device)
    assert value == pytest.approx(float(values[-1]), rel=1e-9)
    if len(factor) > 1 and values[-1] - values[-2] > 1e-6 * values.abs().max():
        assert abs(float(vector @ vectors[:, -1])) == pytest.approx(1, abs=1e-9)


def test_a_close_second_eigenvalue_is_told_apart() -> None:
    values = torch.linspace(0, 1, 200, dtype=torch.float64)
    values[-1] = 1.001
    basis, _ = torch.linalg.qr(torch.randn(200, 200, dtype=torch.float64, generator=torch.Generator().manual_seed(2)))
    matrix = basis @ torch.diag(values) @ basis.mT
    value, vector = leading_eigenvector(lambda v: matrix @ v, 200, matrix.device)
    assert value == pytest.approx(1.001, rel=1e-10)
    assert abs(float(vector @ basis[:, -1])) == pytest.approx(1, abs=1e-8)


def test_eigen_cam_is_the_first_left_singular_vector_times_its_value() -> None:
    activations = random_activations()
    maps = eigen_cam(layer_pass(activations), [0, 2])
    assert torch.equal(maps[:, 0], maps[:, 1])
    for sample, found in zip(activations.double(), maps[:, 0].double(), strict=True):
        observations = sample.flatten(1).mT
        left, singular, _ = torch.linalg.svd(observations - observations.mean(dim=0), full_matrices=False)
        expected = (left[:, 0] * singular[0]).view(ROWS, COLUMNS)
        expected = expected * torch.sign((expected * sample.sum(dim=0)).sum())
        torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-6)


def test_eigen_grad_cam_behind_average_pooling_is_the_component_of_the_weighted_channels() -> None:
    activations = random_activations()
    weight = torch.randn(CLASSES, CHANNELS, generator=torch.Generator().manual_seed(3))
    given = LayerPass.from_head(activations, AveragePoolHead(weight, torch.zeros(CLASSES)))
    maps = eigen_grad_cam(given, [1])
    weighted = LayerPass.from_head(activations * weight[1, :, None, None] / (ROWS * COLUMNS), given.head)
    torch.testing.assert_close(maps, eigen_cam(weighted, [1]), rtol=1e-5, atol=1e-8)


def test_signs_follow_the_sum_of_the_channels() -> None:
    for seed in range(20):
        activations = random_activations(seed, samples=1)
        for sign in (1, -1):
            given = layer_pass(sign * activations)
            component = eigen_cam(given, [0])[0, 0]
            total = given.activations[0].sum(dim=0)
            assert float(((total - total.mean()) * component).sum()) >= 0
        leaf, scores = given.differentiable()
        (gradient,) = torch.autograd.grad(scores[:, 1].sum(), leaf)
        hires = (gradient * leaf.detach()).sum(dim=1)[0]
        assert float(((hires - hires.mean()) * eigen_grad_cam(given, [1])[0, 0]).sum()) >= 0


@pytest.mark.parametrize("kernel", ["sigmoid", "rbf"])
@pytest.mark.parametrize("gamma", [None, 0.7])
def test_kpca_cam_agrees_with_scikit_learn(kernel: Any, gamma: float | None) -> None:
    decompositions = pytest.importorskip("sklearn.decomposition")
    activations = random_activations(samples=1)
    observations = activations[0].flatten(1).mT.double()
    observations = observations - observations.mean(dim=0)
    reference = decompositions.KernelPCA(n_components=1, kernel=kernel, gamma=gamma, eigen_solver="dense")
    expected = reference.fit_transform(observations.numpy())[:, 0]
    found = kpca_cam(layer_pass(activations), [0], kernel=kernel, gamma=gamma)[0, 0].flatten().double().numpy()
    assert min(np.abs(found - expected).max(), np.abs(found + expected).max()) <= 1e-6 * np.abs(expected).max()


def test_a_kernel_matrix_that_does_not_fit_is_computed_in_passing(monkeypatch: pytest.MonkeyPatch) -> None:
    given = layer_pass(random_activations())
    kept = kpca_cam(given, [0])
    monkeypatch.setattr(decomposition, "GRAM_BYTES", 0)
    monkeypatch.setattr(decomposition, "_GRAM_ROWS", 10)
    torch.testing.assert_close(kpca_cam(given, [0]), kept, rtol=1e-4, atol=1e-4 * float(kept.abs().max()))


@pytest.mark.parametrize("method", METHODS)
def test_a_sample_has_the_same_bits_alone_in_any_batch_and_twice(method: Callable[..., Tensor]) -> None:
    activations = random_activations(samples=4)
    maps = method(layer_pass(activations), [0, 1])
    assert torch.equal(maps, method(layer_pass(activations), [0, 1]))
    for index in range(4):
        alone = method(layer_pass(activations[index : index + 1]), [0, 1])
        # EigenGrad-CAM's gradient comes from a convolution whose order of sums may depend on the batch.
        exact = {"rtol": 1e-5, "atol": 1e-6} if method is eigen_grad_cam else {"rtol": 0, "atol": 0}
        torch.testing.assert_close(alone[0], maps[index], **exact)


@pytest.mark.parametrize("method", METHODS)
def test_zero_and_constant_channels_give_zeros(method: Callable[..., Tensor]) -> None:
    assert not method(layer_pass(torch.zeros(1, CHANNELS, ROWS, COLUMNS)), [0]).any()
    constant = torch.arange(1.0, CHANNELS + 1)[None, :, None, None].expand(1, -1, ROWS, COLUMNS) / 3
    if method is not eigen_grad_cam:
        assert not method(layer_pass(constant.contiguous()), [0]).any()


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_a_sample_that_is_not_finite_gets_nan_and_spares_the_others(
    method: Callable[..., Tensor], value: float
) -> None:
    activations = random_activations(samples=3)
    whole = method(layer_pass(activations), [0, 1])
    activations[1, 2, 3, 4] = value
    maps = method(layer_pass(activations), [0, 1])
    assert maps[1].isnan().all()
    torch.testing.assert_close(maps[[0, 2]], whole[[0, 2]])


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("shape", [(1, 1, 5, 8), (1, 4, 1, 1), (1, 1, 1, 1), (2, 3, 1, 7)])
def test_one_channel_and_one_position_work(method: Callable[..., Tensor], shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    maps = method(layer_pass(torch.rand(shape)), [0, 2])
    assert maps.shape == (shape[0], 2, *shape[2:])
    assert torch.isfinite(maps).all()


@pytest.mark.parametrize("name", ["EigenCAM", "EigenGradCAM", "KPCA_CAM"])
def test_maps_agree_with_the_grad_cam_library_up_to_its_sign(name: str) -> None:
    gradcam = gradcam_library()
    torch.manual_seed(0)
    first = nn.Sequential(nn.Conv2d(3, 10, 3, stride=2, padding=1), nn.SiLU())
    rest = nn.Sequential(
        nn.Conv2d(10, 12, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(12, CLASSES)
    )
    stacks = torch.rand(1, 3, 24, 36)
    theirs = raw_map(getattr(gradcam, name)(nn.Sequential(first, rest), [first]), stacks, 1)
    method = {"EigenCAM": eigen_cam, "EigenGradCAM": eigen_grad_cam, "KPCA_CAM": kpca_cam}[name]
    ours = method(LayerPass.from_head(first(stacks).detach(), OpaqueHead(rest, "several layers")), [1])[0, 0]
    sign = np.sign((theirs * ours.double().numpy()).sum())
    assert np.abs(scaled(ours) - scaled(sign * theirs)).max() <= 1e-4
