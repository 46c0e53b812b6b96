"""What stands between a network's activations and its logits.

A head is a view of parameters that live in the network: it is made anew at each access, so it is always on the
network's device. Heads whose logits are a pooling of local logits (one logit per class and position) have
closed-form activation maps (:mod:`HemoCAMLib.cam.closed_form`); for any other head only its call is known.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor


def lse_pool(local_logits: Tensor, r: float) -> Tensor:
    """Log-sum-exp pooling over positions in its mean form, ``log(mean(exp(r x))) / r``.

    It lies between the mean (r to 0) and the maximum (r to infinity), and a constant map is pooled to its own
    value at any map size. Pinheiro and Collobert 2015; equation 4 of the weakly supervised quantization paper
    with the mean and the division by r of its published code.

    Args:
        local_logits: [..., h, w].
        r: sharpness, above 0.

    Returns:
        [...]: float32 or wider, the largest value is taken out of the exponent, so nothing overflows.

    >>> lse_pool(torch.full((1, 2, 4, 4), 80.0), 3.0)
    tensor([[80., 80.]])
    """
    positions = local_logits.shape[-1] * local_logits.shape[-2]
    wide = local_logits if local_logits.dtype == torch.float64 else local_logits.float()
    return (torch.logsumexp(r * wide.flatten(-2), dim=-1) - math.log(positions)) / r


def local_scores(activations: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Σ_k W_ck A_kij + bias_c: [N, K, h, w], [C, K], [C] to [N, C, h, w]."""
    # A trunk in half precision hands over half-precision activations; maps and logits are made in the weights' own.
    return torch.nn.functional.conv2d(activations.to(weight.dtype), weight[:, :, None, None], bias)


@dataclass(frozen=True)
class AveragePoolHead:
    """Global average pooling and a linear layer: y_c = mean_ij(Σ_k W_ck A_kij) + bias_c.

    Attributes:
        weight: [C, K].
        bias: [C].
    """

    weight: Tensor
    bias: Tensor

    def local_logits(self, activations: Tensor) -> Tensor:
        """Σ_k W_ck A_kij + bias_c, [N, C, h, w]; its mean over positions is the class logit."""
        return local_scores(activations, self.weight, self.bias)

    def pool(self, local_logits: Tensor) -> Tensor:
        """[N, C, h, w] to class logits [N, C]."""
        return local_logits.mean(dim=(-2, -1))

    def __call__(self, activations: Tensor) -> Tensor:
        """Activations [N, K, h, w] to class logits [N, C]; pooled first, which is the same and cheaper."""
        return torch.nn.functional.linear(activations.mean(dim=(-2, -1)), self.weight, self.bias)


@dataclass(frozen=True)
class LsePoolHead:
    """A linear layer at each position, a learned class bias subtracted, then log-sum-exp pooling.

    y_c = LSE_r(f_c − b_c) with f_c = Σ_k W_ck A_k and LSE_r as in :func:`lse_pool`.

    Attributes:
        weight: [C, K].
        bias: [C], the b that is subtracted.
        r: sharpness of the pooling.
    """

    weight: Tensor
    bias: Tensor
    r: float

    def local_logits(self, activations: Tensor) -> Tensor:
        """f − b, the input of the pooling, [N, C, h, w]; its LSE over positions is the class logit."""
        return local_scores(activations, self.weight, -self.bias)

    def pool(self, local_logits: Tensor) -> Tensor:
        """[N, C, h, w] to class logits [N, C]."""
        return lse_pool(local_logits, self.r)

    def after_linear(self) -> LsePoolHead:
        """The head of the local logits themselves: what stands between f − b and the class logits."""
        count = len(self.bias)
        identity = torch.eye(count, dtype=self.weight.dtype, device=self.weight.device)
        return LsePoolHead(identity, torch.zeros_like(self.bias), self.r)

    def __call__(self, activations: Tensor) -> Tensor:
        """Activations [N, K, h, w] to class logits [N, C]."""
        return self.pool(self.local_logits(activations))


@dataclass(frozen=True)
class OpaqueHead:
    """Any other head (hidden layers, a norm after pooling, attention pooling): it classifies, nothing more is known.

    Attributes:
        function: activations [N, K, h, w] to class logits [N, C].
        reason: why it has no closed form, for the log.
    """

    function: Callable[[Tensor], Tensor]
    reason: str

    def __call__(self, activations: Tensor) -> Tensor:
        """Activations [N, K, h, w] to class logits [N, C]."""
        return self.function(activations)


Head = AveragePoolHead | LsePoolHead | OpaqueHead
