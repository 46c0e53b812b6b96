"""The LSE-UNet: a classifier whose local logits are fine enough to draw masks from.

Chen and Kuo, "Beyond Classification: Elaborating Network Predictions for Better Weakly Supervised
Quantization", section 3.1 and figure 3, with the details of its published code.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn

from HemoCAMLib.model.encoders import STRIDES, PyramidEncoder
from HemoCAMLib.model.heads import Head, LsePoolHead, local_scores, lse_pool

# isort: split
from timm.layers import EffectiveSEModule, LayerNorm2d  # type: ignore[attr-defined]


@dataclass(frozen=True)
class DeepSupervision:
    """What the training losses need, from one pass; scale 0 is the finest, at a quarter of the input size.

    Attributes:
        logits: four class logits l_k, [N, C] each (equation 6).
        local_logits: four maps f_k − b_k, the inputs of the pooling, [N, C, H/4/2^k, W/4/2^k] (equation 7).
    """

    logits: list[Tensor]
    local_logits: list[Tensor]


class LseUNet(nn.Module):
    """UNet on a timm encoder, a classifier at each of four scales, log-sum-exp pooling to class logits.

    Its trunk ends before the last 1×1 convolution of the finest scale, so that the head is linear up to the
    pooling and every class's map follows from one pass. Inference uses the finest scale only.

    Args:
        encoder: timm architecture with features at strides 4, 8, 16, 32.
        class_count: C, number of logits.
        r: sharpness of the pooling.
        decoder_channels: channels of the decoder at strides 4, 8, 16, 32; the encoder's own where None, as in
            the paper (256, 440, 744, 1040 for RDNet-T). A small list keeps a small model small.
        pretrained: fetch timm's pretrained weights for the encoder (training only).

    Attributes:
        class_count: C.
        map_layer: name of the module whose output is A.
        map_layers: places for maps, deepest first: the input of the pooling, A, then the coarser merge levels.
        input_multiple: input rows and columns must be multiples of this.

    Raises:
        ModelRefused: unknown or unsuitable encoder.
    """

    map_layer = "merge.0"
    map_layers = ("score.0", "merge.0", "merge.1", "merge.2", "merge.3")
    input_multiple = STRIDES[-1]

    def __init__(
        self,
        encoder: str,
        class_count: int,
        *,
        r: float = 3.0,
        decoder_channels: Sequence[int] | None = None,
        pretrained: bool = False,
    ) -> None:
        super().__init__()
        self.class_count = class_count
        self.r = r
        self.encoder = PyramidEncoder(encoder, pretrained=pretrained)
        skips = self.encoder.channels
        widths = list(decoder_channels) if decoder_channels is not None else list(skips)
        self.merge = nn.ModuleList(
            ConvBlock(skip + (width if scale < len(STRIDES) - 1 else 0), width)
            for scale, (skip, width) in enumerate(zip(skips, widths, strict=True))
        )
        self.up = nn.ModuleList(UpBlock(coarse, fine) for fine, coarse in pairwise(widths))
        self.score = nn.ModuleList(LocalScore(width, class_count) for width in widths)

    def trunk(self, stacks: Tensor) -> Tensor:
        """Slice stacks [N, 3, H, W] to activations A [N, K, H/4, W/4] of the finest scale."""
        return self._decode(stacks)[0]

    @property
    def head(self) -> LsePoolHead:
        """The finest scale's head: A to class logits [N, C]."""
        score = self.score[0]
        assert isinstance(score, LocalScore)
        return LsePoolHead(score.weight, score.bias, self.r)

    @property
    def layer_heads(self) -> dict[str, Head]:
        """What follows a layer, by its name, where that is a pooling of a linear layer."""
        return {"merge.0": self.head, "score.0": self.head.after_linear()}

    def forward(self, stacks: Tensor) -> Tensor:
        """Slice stacks [N, 3, H, W] to class logits [N, C]."""
        return lse_pool(self.score[0](self.trunk(stacks)), self.r)

    def deep_supervision(self, stacks: Tensor) -> DeepSupervision:
        """Slice stacks [N, 3, H, W] to the logits and local logits of all four scales."""
        local_logits = [score(maps) for score, maps in zip(self.score, self._decode(stacks), strict=True)]
        return DeepSupervision([lse_pool(local, self.r) for local in local_logits], local_logits)

    def _decode(self, stacks: Tensor) -> list[Tensor]:
        skips: list[Tensor] = self.encoder(stacks)
        decoded = self.merge[-1](skips[-1])
        scales = [decoded]
        for scale in reversed(range(len(STRIDES) - 1)):
            decoded = self.merge[scale](torch.cat([skips[scale], self.up[scale](decoded)], dim=1))
            scales.insert(0, decoded)
        return scales


class ConvBlock(nn.Sequential):
    """1×1 convolution, channel LayerNorm, ReLU, effective squeeze-excite: [N, in, h, w] to [N, out, h, w]."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__(
            nn.Conv2d(in_channels, out_channels, kernel_size=1),
            LayerNorm2d(out_channels),
            nn.ReLU(inplace=True),
            EffectiveSEModule(out_channels),
        )


class UpBlock(nn.Sequential):
    """1×1 convolution to the finer scale's channels, 3×3 ×4 channels, depth-to-space, channel LayerNorm.

    [N, in, h, w] to [N, out, 2h, 2w].
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__(
            nn.Conv2d(in_channels, out_channels, kernel_size=1),
            nn.Conv2d(out_channels, 4 * out_channels, kernel_size=3, padding=1),
            nn.PixelShuffle(2),
            LayerNorm2d(out_channels),
        )


class LocalScore(nn.Module):
    """One scale's classifier: activations [N, K, h, w] to local logits ``W A − b``, [N, C, h, w].

    Its output is the input of the pooling, the layer where the paper takes its heatmaps. The 1×1 convolution
    has no bias of its own: it would only duplicate b.

    Attributes:
        weight: W, [C, K].
        bias: b, [C], learned, subtracted.
    """

    def __init__(self, channels: int, class_count: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(class_count, channels))
        self.bias = nn.Parameter(torch.zeros(class_count))
        nn.init.kaiming_uniform_(self.weight, a=5**0.5)

    def forward(self, activations: Tensor) -> Tensor:
        """[N, K, h, w] to [N, C, h, w]."""
        return local_scores(activations, self.weight, -self.bias)
