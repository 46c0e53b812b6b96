"""Activation maps that follow from one forward pass by a formula, for every class at once.

They exist where the logits are a pooling of a linear layer at each position (:mod:`HemoCAMLib.model.heads`).
With A_k the activations, W the linear layer, N = h·w positions, G_k = ∂y_c/∂A_k:

Average pooling, ``y_c = mean(Σ_k W_ck A_k) + bias_c``, maps at A
    G_k is W_ck / N at every position, so Grad-CAM = HiResCAM = CAM / N.

LSE pooling, ``y_c = LSE_r(x_c)`` with ``x_c = f_c − b_c``, ``f_c = Σ_k W_ck A_k``, maps at its input x
    ∂y_c/∂x_c = softmax over positions of r·x_c, which sums to 1. Averaged over positions it is 1/N, so
    Grad-CAM is x_c / N, and HiResCAM is x_c ⊙ softmax(r x_c). (b_c cancels in the softmax, not in the factor
    before it. At A instead of x the same formulas hold with f_c in place of that factor.)

Maps are signed and keep their scale. The ReLU with which Selvaraju et al. end Grad-CAM, and any scaling for
display, come after; the ReLU of Grad-CAM at the LSE input is exactly ReLU(f − b) / N.
"""

from __future__ import annotations

import torch
from torch import Tensor

from HemoCAMLib.errors import ModelRefused
from HemoCAMLib.model.heads import AveragePoolHead, Head, LsePoolHead, OpaqueHead, local_scores


def cam(activations: Tensor, head: Head) -> Tensor:
    """CAM, Σ_k W_ck A_k, without the bias (Zhou et al. 2016; equation 2 of the weakly supervised paper).

    Args:
        activations: A, [N, K, h, w].
        head: from the same network.

    Returns:
        [N, C, h, w].

    Raises:
        ModelRefused: ``MODEL_NO_CLOSED_FORM``.
    """
    known = _with_closed_form(head)
    return local_scores(activations, known.weight, torch.zeros_like(known.bias))


def local_logit(activations: Tensor, head: Head) -> Tensor:
    """The local logit, whose pooling over positions is the class logit; its sigmoid is an absolute scale.

    Average pooling: Σ_k W_ck A_k + bias_c, its mean is y_c. LSE pooling: f_c − b_c, its LSE is y_c.
    Arguments, result and errors as :func:`cam`.
    """
    return _with_closed_form(head).local_logits(activations)


def grad_cam(activations: Tensor, head: Head) -> Tensor:
    """Grad-CAM before its ReLU (Selvaraju et al. 2017): CAM / N, or (f_c − b_c) / N at the input of LSE pooling.

    Arguments, result and errors as :func:`cam`.
    """
    return _pooled_value(activations, head) / _positions(activations)


def hires_cam(activations: Tensor, head: Head) -> Tensor:
    """HiResCAM (Draelos and Carin 2020): CAM / N, or x_c ⊙ softmax(r x_c), x_c = f_c − b_c, for LSE pooling.

    Arguments, result and errors as :func:`cam`.
    """
    value = _pooled_value(activations, head)
    if isinstance(head, LsePoolHead):
        return value * torch.softmax(head.r * value.flatten(2), dim=-1).view_as(value)
    return value / _positions(activations)


def _pooled_value(activations: Tensor, head: Head) -> Tensor:
    """What the gradient multiplies: A's weighted sum for average pooling, the input of the pooling for LSE."""
    return local_logit(activations, head) if isinstance(head, LsePoolHead) else cam(activations, head)


def _positions(activations: Tensor) -> int:
    return activations.shape[-2] * activations.shape[-1]


def _with_closed_form(head: Head) -> AveragePoolHead | LsePoolHead:
    if isinstance(head, OpaqueHead):
        raise ModelRefused(
            "MODEL_NO_CLOSED_FORM",
            "This model can say whether a slice shows a hemorrhage, but not where by this kind of map.",
            "Choose a model that ends in a pooling of local logits, or a map that is made from gradients.",
            head.reason,
        )
    return head
