"""Score-CAM: a channel weighs by the score of the slice seen through it.

Wang et al. (CVPR workshops 2020), algorithm 1: the slice X is masked by each channel, enlarged and stretched to
[0, 1], and the channel's weight is the softmax over channels of the class logit of X ⊙ mask. Its score of the
baseline image, which the paper subtracts, is the same for all channels and cancels in the softmax. Masked parts
become 0 in the network's input, which is the normalisation's mean, not air.

One run of a masked slice gives the logits of all classes; grad-cam's library runs it anew for each. It also enlarges
channels by corners (``align_corners``), as if the centres of the outermost positions lay on the image's edges;
here, as in the authors' own code, each position is an equal part of the image. The option gives the library's maps.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from HemoCAMLib.cam.gradient import empty_maps
from HemoCAMLib.cam.layer_pass import LayerPass, autocast
from HemoCAMLib.cam.perturbation.blocks import (
    BLOCK_BYTES,
    memory_format,
    rows_per_block,
    scores_of_variants,
    weighted_sum,
)
from HemoCAMLib.cam.whole_network import whole_network

#: Memory of the network's values for a slice, in units of the slice's own.
_NETWORK_EXPANSION = 16


def score_cam(
    layer_pass: LayerPass, classes: Sequence[int], *, align_corners: bool = False, block_bytes: int = BLOCK_BYTES
) -> Tensor:
    """Score-CAM, Σ_k softmax_k(y_c(X ⊙ mask_k)) A_k, from one run of the network for each channel.

    A constant channel masks everything, as in grad-cam's library; all of them share one run.

    Args:
        layer_pass: the layer.
        classes: which.
        align_corners: enlarge channels as grad-cam's library does.
        block_bytes: memory that masked slices that run together should stay below.

    Returns:
        [N, len(classes), h, w], in units of A; NaN for a sample whose activations are not finite.

    Raises:
        UsageError: ``USAGE_CAM_WHOLE_NETWORK``.
    """
    _, stacks = whole_network(layer_pass)
    maps = empty_maps(layer_pass, len(classes))
    for sample in _wanted(layer_pass, classes):
        own = layer_pass.activations[sample].to(maps.dtype)
        if not bool(torch.isfinite(own).all()):
            maps[sample] = torch.nan
            continue
        scores = _scores(layer_pass, stacks[sample], own, align_corners, block_bytes)[:, list(classes)]
        maps[sample] = weighted_sum(torch.softmax(scores, dim=0), own)
    return maps


def score_cam_fast(
    layer_pass: LayerPass,
    classes: Sequence[int],
    *,
    channels: int = 8,
    input_scale: float = 1.0,
    align_corners: bool = False,
    block_bytes: int = BLOCK_BYTES,
) -> Tensor:
    """Score-CAM, approximately: only the most varying channels mask; masked slices may be smaller.

    All other channels get the mean of the scores that were measured, so that they keep their part of the map.
    With the shipped model 8 channels at full size follow the exact maps closer than 32 at less than half of it: a
    network scores a smaller head differently, which hurts more than channels that are left out.

    Agreement with :func:`score_cam`, median correlation of maps: 0.97 at the shipped encoder's 256 channels (the
    plain mean of all channels has 0.96 there), 0.80 at the 64-channel layer before its last (32 channels: 0.96;
    smallest 0.41), and none in an EfficientNetV2-S with random weights. A picture, not a measurement.

    Args:
        layer_pass: the layer.
        classes: which.
        channels: how many mask, for each sample those with the largest variance over positions.
        input_scale: rows and columns of masked slices by those of the input, rounded to multiples of 32; 1
            leaves them alone, for networks that take one size only.
        align_corners: enlarge channels as grad-cam's library does.
        block_bytes: memory that masked slices that run together should stay below.

    Returns:
        [N, len(classes), h, w].

    Raises:
        UsageError: ``USAGE_CAM_WHOLE_NETWORK``.
    """
    _, stacks = whole_network(layer_pass)
    if input_scale != 1:
        size = [min(length, max(32, 32 * round(length * input_scale / 32))) for length in stacks.shape[2:]]
        stacks = interpolate(stacks, size, mode="bilinear", antialias=True)
    maps = empty_maps(layer_pass, len(classes))
    for sample in _wanted(layer_pass, classes):
        own = layer_pass.activations[sample].to(maps.dtype)
        if not bool(torch.isfinite(own).all()):
            maps[sample] = torch.nan
            continue
        chosen = own.flatten(1).var(dim=1, correction=0).argsort(descending=True, stable=True)[:channels]
        measured = _scores(layer_pass, stacks[sample], own[chosen], align_corners, block_bytes)[:, list(classes)]
        scores = measured.mean(dim=0).expand(len(own), -1).clone()
        scores[chosen] = measured
        maps[sample] = weighted_sum(torch.softmax(scores, dim=0), own)
    return maps


def _wanted(layer_pass: LayerPass, classes: Sequence[int]) -> list[int]:
    samples: list[int] = (
        torch.stack([layer_pass.wants(index) for index in classes]).any(dim=0).nonzero().flatten().tolist()
    )
    return samples


def _scores(layer_pass: LayerPass, stack: Tensor, channels: Tensor, align_corners: bool, block_bytes: int) -> Tensor:
    """Logits [K, C] of a slice stack [3, H, W] seen through each of its channels [K, h, w]."""
    constant = channels.flatten(1).amax(dim=1) == channels.flatten(1).amin(dim=1)
    varying = (~constant).nonzero().flatten()
    layout = memory_format(stack[None])
    network, _ = whole_network(layer_pass)

    def run(slices: Tensor) -> Tensor:
        with autocast(slices.device, layer_pass.half):
            scores: Tensor = network(slices)
        return scores.to(channels.dtype)

    def masked(block: Sequence[int]) -> Tensor:
        if block[0] == len(varying):
            return torch.zeros_like(stack)[None]
        enlarged = interpolate(
            channels[varying[list(block)], None], stack.shape[1:], mode="bilinear", align_corners=align_corners
        )
        lowest, highest = enlarged.amin(dim=(-2, -1), keepdim=True), enlarged.amax(dim=(-2, -1), keepdim=True)
        span = (highest - lowest).clamp_min(torch.finfo(stack.dtype).tiny)
        return (stack * ((enlarged - lowest) / span)).contiguous(memory_format=layout)

    rows = rows_per_block(_NETWORK_EXPANSION * stack.numel() * stack.element_size(), block_bytes)
    parts = [scores_of_variants(masked, run, len(varying), rows)] if len(varying) else []
    parts += [scores_of_variants(lambda _: masked([len(varying)]), run, 1, 1)] if constant.any() else []
    order = torch.where(constant, len(varying), constant.logical_not().cumsum(0) - 1)
    return torch.cat(parts)[order]
