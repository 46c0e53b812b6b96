"""Maps that are the first principal component of a layer's channels.

The channels at one position are one observation; X [positions, K] holds them, each channel's mean taken out. The
map is the projection of the observations on the direction in which they vary most, √λ u with X Xᵀ u = λ u.

Which end of that direction is positive is arbitrary, and grad-cam's library leaves it to its decomposition, so that
its map flips between slices and half of the bleedings vanish in its ReLU. Here the map correlates positively with
the sum of the decomposed channels. Signs aside the maps equal that library's. Where channels hold NaN or infinity
for a sample its map is NaN (the library computes on with zeros); constant channels give a map of zeros.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Literal

import torch
from torch import Tensor

from HemoCAMLib.cam.layer_pass import LayerPass
from HemoCAMLib.cam.leading_eigenvector import leading_eigenvector

#: Largest Gram matrix of :func:`kpca_cam` that is kept; a larger one is computed anew at every product.
GRAM_BYTES = 1 << 30
_GRAM_ROWS = 1024

Product = Callable[[Tensor], Tensor]


def eigen_cam(layer_pass: LayerPass, classes: Sequence[int]) -> Tensor:
    """EigenCAM: first principal component of A (Muhammad and Yeasin 2020, equation 2, on centred channels).

    It knows no class: every class gets the same map.

    Returns:
        [N, len(classes), h, w], in units of A times √K.
    """
    shared = torch.stack([_component(sample, _linear) for sample in layer_pass.activations])
    return shared[:, None].repeat(1, len(classes), 1, 1)


def eigen_grad_cam(layer_pass: LayerPass, classes: Sequence[int]) -> Tensor:
    """EigenGrad-CAM: first principal component of G ⊙ A, the summands of HiResCAM (grad-cam's library).

    Returns:
        [N, len(classes), h, w]; it correlates positively with HiResCAM, so positive is evidence for the class.
    """
    leaf, scores = layer_pass.differentiable()
    found = leaf.new_zeros(
        len(leaf), len(classes), *leaf.shape[2:], dtype=torch.promote_types(leaf.dtype, torch.float32)
    )
    for column, index in enumerate(classes):
        (gradient,) = torch.autograd.grad(scores[:, index].sum(), leaf, retain_graph=True)
        for row in layer_pass.wants(index).nonzero().flatten().tolist():
            found[row, column] = _component(gradient[row] * leaf[row].detach(), _linear)
    return found


def kpca_cam(
    layer_pass: LayerPass,
    classes: Sequence[int],
    *,
    kernel: Literal["sigmoid", "rbf"] = "sigmoid",
    gamma: float | None = None,
) -> Tensor:
    """KPCA-CAM: first kernel principal component of A (Karmani et al. 2024), the same map for every class.

    Args:
        layer_pass: the layer.
        classes: only their number matters.
        kernel: between the channels x, y at two positions: ``tanh(γ x·y + 1)``, or ``exp(−γ |x − y|²)``.
        gamma: γ; 1/K where None.

    Returns:
        [N, len(classes), h, w], on the kernel's scale.
    """

    def centred_kernel(observations: Tensor) -> Product:
        return _kernel(observations, kernel, gamma)

    shared = torch.stack([_component(sample, centred_kernel) for sample in layer_pass.activations])
    return shared[:, None].repeat(1, len(classes), 1, 1)


@torch.no_grad()
def _component(channels: Tensor, operator: Callable[[Tensor], Product]) -> Tensor:
    """√λ u of one sample's channels [K, h, w], with its sign: [h, w], in float32 where they are narrower."""
    found = torch.promote_types(channels.dtype, torch.float32)
    if not bool(torch.isfinite(channels).all()):
        return torch.full_like(channels[0], torch.nan, dtype=found)
    wide = torch.float32 if channels.device.type == "mps" else torch.float64
    observations = channels.flatten(1).mT.to(wide)
    largest = float(observations.abs().max())
    observations = observations - observations.mean(dim=0)
    # What is left of constant channels is the rounding of their mean, and would have a direction too.
    if float(observations.abs().max()) <= 8 * torch.finfo(wide).eps * largest:
        return torch.zeros_like(channels[0], dtype=found)
    value, vector = leading_eigenvector(operator(observations), len(observations), channels.device)
    total = observations.sum(dim=1)
    along = float(vector @ total)
    if abs(along) <= 1e-9 * float(total.norm()):
        along = float(vector[vector.abs().argmax()])
    length = math.sqrt(max(value, 0.0))
    return (vector * (length if along >= 0 else -length)).view(channels.shape[1:]).to(found)


def _linear(observations: Tensor) -> Product:
    return lambda vector: observations @ (observations.mT @ vector)


def _kernel(observations: Tensor, kernel: str, gamma: float | None) -> Product:
    """v to the kernel matrix of the observations, centred in feature space, times v."""
    count, channels = observations.shape
    scale = 1 / channels if gamma is None else gamma
    dtype = observations.dtype if count * count * observations.element_size() <= GRAM_BYTES else torch.float32
    points = observations.to(dtype)
    squares = points.square().sum(dim=1)

    def rows(start: int) -> Tensor:
        block = slice(start, start + _GRAM_ROWS)
        dots = points[block] @ points.mT
        if kernel == "rbf":
            return torch.exp(dots.mul_(2).sub_(squares[block, None]).sub_(squares).clamp_(max=0).mul_(scale))
        return dots.mul_(scale).add_(1).tanh_()

    starts = range(0, count, _GRAM_ROWS)
    kept = [rows(start) for start in starts] if count * count * points.element_size() <= GRAM_BYTES else None

    def product(vector: Tensor) -> Tensor:
        centred = (vector - vector.mean()).to(dtype)
        blocks = kept if kept is not None else map(rows, starts)
        image = torch.cat([block @ centred for block in blocks]).to(vector.dtype)
        return image - image.mean()

    return product
