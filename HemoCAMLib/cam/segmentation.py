"""Maps of segmentation networks over a set of pixels M (Seg-Grad-CAM, Vinogradova et al. 2020, equation 1;
Seg-HiRes-Grad-CAM, Rheude et al. 2024, equation 4): y_c = Σ over M of the logit of class c, then as for a classifier.

M is found for each class by itself. (The published code of Seg-HiRes-Grad-CAM compares all channels of the
prediction at once, so that for class 0 M is made of the wrong pixels.)
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from HemoCAMLib.cam.gradient import Formula, elementwise, empty_maps, mean_weighted, vector_jacobian_products
from HemoCAMLib.cam.layer_pass import LayerPass
from HemoCAMLib.errors import UsageError


def seg_grad_cam(
    layer_pass: LayerPass,
    classes: Sequence[int],
    mask: Tensor | None = None,
    box: tuple[int, int, int, int] | None = None,
    pixel: tuple[int, int] | None = None,
) -> Tensor:
    """Seg-Grad-CAM before its ReLU, Σ_k mean(G_k) A_k with G_k = ∂(Σ_M y_c)/∂A_k.

    Args:
        layer_pass: a batch at a layer of a segmentation network.
        classes: which.
        mask: M as a mask of bool, [N, H, W] or [H, W], at the size of the network's output.
        box: M as a box: first row, first column, rows, columns.
        pixel: M as one pixel: row, column. Where none of the three is given, M are the pixels that the network
            gives to the class (arg-max over classes).

    Returns:
        [N, len(classes), h, w]; zero where M is empty.

    Raises:
        UsageError: ``USAGE_CAM_METHOD``: the network classifies; ``USAGE_CAM_PIXELS``.
    """
    return _maps(layer_pass, classes, mean_weighted, {"mask": mask, "box": box, "pixel": pixel})


def seg_hires_grad_cam(
    layer_pass: LayerPass,
    classes: Sequence[int],
    mask: Tensor | None = None,
    box: tuple[int, int, int, int] | None = None,
    pixel: tuple[int, int] | None = None,
) -> Tensor:
    """Seg-HiRes-Grad-CAM before its ReLU, Σ_k G_k ⊙ A_k; all else as :func:`seg_grad_cam`."""
    return _maps(layer_pass, classes, elementwise, {"mask": mask, "box": box, "pixel": pixel})


def pixel_counts(layer_pass: LayerPass, classes: Sequence[int], **pixels: Any) -> dict[str, Any]:
    """For the record: how many pixels M has, ``{"pixels": [[…] of each slice]}``; a map over none is zero."""
    sets = _pixel_sets(layer_pass.logits, classes, **pixels)
    return {"pixels": sets.sum(dim=(-2, -1)).tolist()}


def _maps(layer_pass: LayerPass, classes: Sequence[int], formula: Formula, pixels: dict[str, Any]) -> Tensor:
    leaf, scores = layer_pass.differentiable()
    sets = _pixel_sets(scores.detach(), classes, **pixels)
    seeds = []
    for place, index in enumerate(classes):
        rows = sets[:, place].any(dim=(-2, -1)) if sets.numel() else sets.new_zeros(len(leaf))
        rows = (rows & layer_pass.wants(index).to(rows.device)).nonzero().flatten()
        if len(rows):
            seed = torch.zeros_like(scores)
            seed[rows, index] = sets[rows, place].to(seed.dtype)
            seeds.append((place, rows, seed))
    maps = empty_maps(layer_pass, len(classes))
    activations = layer_pass.activations.to(maps.dtype)
    for place, rows, gradient in vector_jacobian_products(leaf, scores, seeds):
        maps[rows, place] = formula(activations[rows], gradient.to(maps.dtype))
    return maps


def _pixel_sets(
    scores: Tensor,
    classes: Sequence[int],
    mask: Tensor | None = None,
    box: tuple[int, int, int, int] | None = None,
    pixel: tuple[int, int] | None = None,
) -> Tensor:
    """M of each slice and class, [N, len(classes), H, W] of bool."""
    if scores.dim() != 4:
        raise UsageError(
            "USAGE_CAM_METHOD",
            "This method explains the classes of pixels, but the network gives classes of a slice.",
            "Choose grad-cam or hires-cam.",
        )
    if sum(given is not None for given in (mask, box, pixel)) > 1:
        raise _wrong_pixels("More than one set of pixels was given.", "Give a mask, or a box, or a pixel.")
    batch, _, rows, columns = scores.shape
    if mask is None and box is None and pixel is None:
        predicted = scores.argmax(dim=1)
        return torch.stack([predicted == index for index in classes], dim=1)
    if mask is not None:
        if mask.dtype != torch.bool or tuple(mask.shape) not in ((rows, columns), (batch, rows, columns)):
            raise _wrong_pixels(
                "The mask does not fit the network's output.", f"Give a mask of bool, {rows} rows, {columns} columns."
            )
        chosen = mask.to(scores.device).expand(batch, rows, columns)
    else:
        chosen = torch.zeros(batch, rows, columns, dtype=torch.bool, device=scores.device)
        row, column, tall, wide = box if box is not None else (*pixel, 1, 1)  # type: ignore[misc]
        if row < 0 or column < 0 or tall < 0 or wide < 0 or row + tall > rows or column + wide > columns:
            raise _wrong_pixels(
                "The pixels lie outside the network's output.", f"It has {rows} rows and {columns} columns."
            )
        chosen[:, row : row + tall, column : column + wide] = True
    return chosen[:, None].expand(batch, len(classes), rows, columns)


def _wrong_pixels(message: str, advice: str) -> UsageError:
    return UsageError("USAGE_CAM_PIXELS", message, advice)
