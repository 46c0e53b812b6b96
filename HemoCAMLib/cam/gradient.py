"""Activation maps from gradients: the tail runs once, then one vector-Jacobian product for each class.

A_k are the layer's activations, G_k = ∂y_c/∂A_k, N = h·w. Maps are signed; the ReLU with which several of the
papers end is a matter of display (:mod:`HemoCAMLib.cam.scaling`), except where it stands inside the sum.
Where the tail has a closed form, Grad-CAM and HiResCAM are taken from it: the same numbers without gradients.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from HemoCAMLib.cam import closed_form
from HemoCAMLib.cam.layer_pass import LayerPass
from HemoCAMLib.errors import UsageError

#: A [N, K, h, w] and G of the same shape to one map [N, h, w].
Formula = Callable[[Tensor, Tensor], Tensor]


def grad_cam(layer_pass: LayerPass, classes: Sequence[int]) -> Tensor:
    """Grad-CAM before its ReLU, Σ_k mean(G_k) A_k (Selvaraju et al. 2017, equations 1 and 2).

    Args:
        layer_pass: a batch at a layer.
        classes: which.

    Returns:
        [N, len(classes), h, w].

    Raises:
        UsageError: ``USAGE_CAM_METHOD``: the network segments.
    """
    if closed_form.closed_form_head(layer_pass) is not None:
        return closed_form.grad_cam(layer_pass, classes)
    return maps_from_gradients(layer_pass, classes, mean_weighted)


def hires_cam(layer_pass: LayerPass, classes: Sequence[int]) -> Tensor:
    """HiResCAM, Σ_k G_k ⊙ A_k (Draelos and Carin 2020, equation 6). As :func:`grad_cam`."""
    if closed_form.closed_form_head(layer_pass) is not None:
        return closed_form.hires_cam(layer_pass, classes)
    return maps_from_gradients(layer_pass, classes, elementwise)


def grad_cam_plus_plus(layer_pass: LayerPass, classes: Sequence[int], epsilon: float = 0.0) -> Tensor:
    """Grad-CAM++ before its ReLU, Σ_k w_k A_k with w_k = Σ_ij α_kij relu(G_kij) (Chattopadhay et al. 2018).

    α = G² / (2 G² + Σ_ab A_kab · G³), equation 19, which is 1 / (2 + Σ A_k · G) wherever G is not 0; 0 elsewhere.
    The grad-cam library adds 1e-6 to the denominator. G falls with the number of positions, so G² is often far
    below that, and its α is then G² · 10⁶: another method, whose maps depend on the size of the image. ``epsilon``
    brings it back for comparisons.

    Args and errors as :func:`grad_cam`; ``epsilon`` is added to the denominator.
    """

    def formula(activations: Tensor, gradient: Tensor) -> Tensor:
        total = activations.sum(dim=(-2, -1), keepdim=True)
        if epsilon:
            square = gradient.square()
            alpha = square / (2 * square + total * square * gradient + epsilon)
        else:
            alpha = _quotient(torch.ones_like(gradient), 2 + total * gradient)
        return _channel_sum((alpha * gradient.clamp_min(0)).sum(dim=(-2, -1)), activations)

    return maps_from_gradients(layer_pass, classes, formula)


def xgrad_cam(layer_pass: LayerPass, classes: Sequence[int], epsilon: float = 0.0) -> Tensor:
    """XGrad-CAM before its ReLU, Σ_k w_k A_k with w_k = Σ_ij G_kij A_kij / Σ_ij A_kij (Fu et al. 2020, equation 8).

    A channel whose activations add up to 0 gets no weight. The grad-cam library adds 1e-7 to ΣA, which damps
    channels whose activations nearly cancel; ``epsilon`` brings it back for comparisons.

    Args and errors as :func:`grad_cam`; ``epsilon`` is added to ΣA.
    """

    def formula(activations: Tensor, gradient: Tensor) -> Tensor:
        product = (gradient * activations).sum(dim=(-2, -1))
        return _channel_sum(_quotient(product, activations.sum(dim=(-2, -1)) + epsilon), activations)

    return maps_from_gradients(layer_pass, classes, formula)


def layer_cam(layer_pass: LayerPass, classes: Sequence[int]) -> Tensor:
    """LayerCAM before its outer ReLU, Σ_k relu(G_k) ⊙ A_k (Jiang et al. 2021, equations 5-7). As :func:`grad_cam`."""
    return maps_from_gradients(layer_pass, classes, lambda A, G: (G.clamp_min(0) * A).sum(dim=1))


def elementwise_grad_cam(layer_pass: LayerPass, classes: Sequence[int]) -> Tensor:
    """Element-wise Grad-CAM, Σ_k relu(G_k ⊙ A_k), as in the grad-cam library. As :func:`grad_cam`."""
    return maps_from_gradients(layer_pass, classes, lambda A, G: (G * A).clamp_min(0).sum(dim=1))


def mean_weighted(activations: Tensor, gradient: Tensor) -> Tensor:
    """Σ_k mean(G_k) A_k: [N, K, h, w] twice to [N, h, w]."""
    return _channel_sum(gradient.mean(dim=(-2, -1)), activations)


def elementwise(activations: Tensor, gradient: Tensor) -> Tensor:
    """Σ_k G_k ⊙ A_k: [N, K, h, w] twice to [N, h, w]."""
    return (gradient * activations).sum(dim=1)


def maps_from_gradients(layer_pass: LayerPass, classes: Sequence[int], formula: Formula) -> Tensor:
    """The maps of a formula in A and G; zero where a map is not wanted.

    Returns:
        [N, len(classes), h, w], in the activations' type but at least float32.

    Raises:
        UsageError: ``USAGE_CAM_METHOD``: the network segments.
    """
    maps = empty_maps(layer_pass, len(classes))
    activations = layer_pass.activations.to(maps.dtype)
    for place, rows, gradient in class_gradients(layer_pass, classes):
        maps[rows, place] = formula(activations[rows], gradient.to(maps.dtype))
    return maps


def class_gradients(layer_pass: LayerPass, classes: Sequence[int]) -> Iterator[tuple[int, Tensor, Tensor]]:
    """G of each wanted class, from one graph that is let go of with the last.

    Yields:
        place of the class in ``classes``, the rows of the batch where it is wanted, [M] of long, and G there,
        [M, K, h, w]. Classes that no slice wants are left out.

    Raises:
        UsageError: ``USAGE_CAM_METHOD``: the network segments.
    """
    leaf, scores = layer_pass.differentiable()
    if scores.dim() != 2:
        raise UsageError(
            "USAGE_CAM_METHOD",
            "This method explains the classes of a slice, but the network gives classes of pixels.",
            "Choose seg-grad-cam or seg-hires-grad-cam.",
        )
    seeds = []
    for place, index in enumerate(classes):
        rows = layer_pass.wants(index).nonzero().flatten().to(leaf.device)
        if len(rows):
            seed = torch.zeros_like(scores)
            seed[rows, index] = 1
            seeds.append((place, rows, seed))
    yield from vector_jacobian_products(leaf, scores, seeds)


def vector_jacobian_products(
    leaf: Tensor, scores: Tensor, seeds: Sequence[tuple[int, Tensor, Tensor]]
) -> Iterator[tuple[int, Tensor, Tensor]]:
    """For each (place, rows, seed): place, rows, and Σ seed · ∂scores/∂leaf at these rows; a loop beats vmap here."""
    for number, (place, rows, seed) in enumerate(seeds, start=1):
        with torch.inference_mode(False):
            (gradient,) = torch.autograd.grad(scores, leaf, seed, retain_graph=number < len(seeds))
        yield place, rows, gradient[rows] if len(rows) < len(leaf) else gradient


def empty_maps(layer_pass: LayerPass, count: int) -> Tensor:
    """Zeros [N, count, h, w] for a layer's maps, not narrower than float32."""
    activations = layer_pass.activations
    dtype = torch.promote_types(activations.dtype, torch.float32)
    shape = (len(activations), count, *activations.shape[-2:])
    return torch.zeros(shape, dtype=dtype, device=activations.device)


def _channel_sum(weights: Tensor, activations: Tensor) -> Tensor:
    """Σ_k w_k A_k: [N, K] and [N, K, h, w] to [N, h, w]."""
    return torch.einsum("nk,nkij->nij", weights, activations)


def _quotient(above: Tensor, below: Tensor) -> Tensor:
    """0 where the denominator is 0."""
    return torch.where(below == 0, 0.0, above / below)
