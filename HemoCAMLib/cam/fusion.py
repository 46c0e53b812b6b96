"""Maps of several layers as one.

Layers differ in size and, by orders of magnitude, in scale. Maps are enlarged to the finest one, bilinearly. By
default each is first reduced to its positive part over its largest value in the same image (``per-image-max``), as
the CAM benchmark paper and grad-cam fuse; a product or a maximum of maps on different scales says nothing. With
``none`` they are fused as they are, which keeps an absolute scale for the mean and the maximum; a product takes the
positive part even then, since two negative values would make a positive one.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from HemoCAMLib.errors import UsageError

FUSIONS = ("mean", "max", "product")
FUSION_SCALES = ("per-image-max", "none")


def fuse(layers: Sequence[Tensor], how: str, scale: str = "per-image-max") -> Tensor:
    """One map from several.

    Args:
        layers: [N, C, h, w] each, h and w as they are.
        how: ``mean``, ``max`` or ``product``.
        scale: ``per-image-max`` or ``none``.

    Returns:
        [N, C, h, w] of the finest.

    Raises:
        UsageError: ``USAGE_CAM_FUSION``.

    >>> fine, coarse = torch.tensor([[[[2.0, 0.0]]]]), torch.tensor([[[[3.0]]]])
    >>> fuse([fine, coarse], "mean").flatten().tolist()
    [1.0, 0.5]
    """
    if how not in FUSIONS or scale not in FUSION_SCALES:
        raise UsageError(
            "USAGE_CAM_FUSION",
            "Maps of several layers cannot be fused in this way.",
            f"Choose one of {', '.join(FUSIONS)}, on the scale {' or '.join(FUSION_SCALES)}.",
        )
    rows, columns = max((layer.shape[-2:] for layer in layers), key=lambda size: size[0] * size[1])
    prepared = [_prepared(layer, how, scale) for layer in layers]
    stack = torch.stack([interpolate(layer, (rows, columns), mode="bilinear") for layer in prepared])
    if how == "mean":
        return stack.mean(dim=0)
    return stack.amax(dim=0) if how == "max" else stack.prod(dim=0)


def _prepared(layer: Tensor, how: str, scale: str) -> Tensor:
    if scale == "none":
        return layer.clamp_min(0) if how == "product" else layer
    positive = layer.clamp_min(0)
    largest = positive.amax(dim=(-2, -1), keepdim=True)
    return torch.where(largest > 0, positive / largest, 0.0)
