"""Activation maps that follow from one forward pass by a formula, for every class at once.

They exist where the logits are a pooling of a linear layer at each position (:mod:`HemoCAMLib.model.heads`).
With A_k the activations, W the linear layer, N = h·w positions, G_k = ∂y_c/∂A_k:

Average pooling, ``y_c = mean(Σ_k W_ck A_k) + bias_c``
    G_k is W_ck / N at every position, so Grad-CAM = HiResCAM = CAM / N.

LSE pooling, ``y_c = LSE_r(x_c)`` with ``x_c = f_c − b_c``, ``f_c = Σ_k W_ck A_k``
    G_k is W_ck p_c with p_c = softmax over positions of r·x_c, which sums to 1, so Grad-CAM is f_c / N and
    HiResCAM is f_c ⊙ p_c. One layer later, at the input x of the pooling, where
    :meth:`HemoCAMLib.model.heads.LsePoolHead.after_linear` is the head, f_c − b_c stands in place of f_c: there
    the positive part of Grad-CAM is ReLU(f − b) / N.

Maps are signed and keep their scale. The ReLU with which Selvaraju et al. end Grad-CAM, and any scaling for
display, come after (:mod:`HemoCAMLib.cam.scaling`).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from HemoCAMLib.cam.layer_pass import LayerPass
from HemoCAMLib.errors import ModelRefused
from HemoCAMLib.model.heads import AveragePoolHead, LsePoolHead, local_scores

ClosedFormHead = AveragePoolHead | LsePoolHead


def cam(layer_pass: LayerPass, classes: Sequence[int]) -> Tensor:
    """CAM, Σ_k W_ck A_k, without the bias (Zhou et al. 2016; equation 2 of the weakly supervised paper).

    Args:
        layer_pass: A [N, K, h, w] and its head.
        classes: which.

    Returns:
        [N, len(classes), h, w].

    Raises:
        ModelRefused: ``MODEL_NO_CLOSED_FORM``.
    """
    head = required_head(layer_pass)
    weight, bias = _rows(head, classes)
    return local_scores(layer_pass.activations, weight, torch.zeros_like(bias))


def local_logit(layer_pass: LayerPass, classes: Sequence[int]) -> Tensor:
    """The local logit, whose pooling over positions is the class logit; its sigmoid is an absolute scale.

    Average pooling: Σ_k W_ck A_k + bias_c, its mean is y_c. LSE pooling: f_c − b_c, its LSE is y_c.
    Arguments, result and errors as :func:`cam`.
    """
    head = required_head(layer_pass)
    weight, bias = _rows(head, classes)
    return local_scores(layer_pass.activations, weight, -bias if isinstance(head, LsePoolHead) else bias)


def grad_cam(layer_pass: LayerPass, classes: Sequence[int]) -> Tensor:
    """Grad-CAM before its ReLU (Selvaraju et al. 2017): CAM / N for either pooling.

    Arguments, result and errors as :func:`cam`.
    """
    return cam(layer_pass, classes) / _positions(layer_pass.activations)


def hires_cam(layer_pass: LayerPass, classes: Sequence[int]) -> Tensor:
    """HiResCAM (Draelos and Carin 2020): CAM / N for average pooling, CAM ⊙ softmax(r x_c) for LSE pooling.

    Arguments, result and errors as :func:`cam`.
    """
    head = required_head(layer_pass)
    value = cam(layer_pass, classes)
    if isinstance(head, LsePoolHead):
        local = local_logit(layer_pass, classes)
        return value * torch.softmax(head.r * local.flatten(2), dim=-1).view_as(value)
    return value / _positions(layer_pass.activations)


def closed_form_head(layer_pass: LayerPass) -> ClosedFormHead | None:
    """The head, where maps follow from it by a formula."""
    head = layer_pass.head
    return head if isinstance(head, AveragePoolHead | LsePoolHead) else None


def required_head(layer_pass: LayerPass) -> ClosedFormHead:
    """The head, for methods that are nothing without it.

    Raises:
        ModelRefused: ``MODEL_NO_CLOSED_FORM``.
    """
    head = closed_form_head(layer_pass)
    if head is None:
        otherwise = f"layer {layer_pass.layer!r} is not followed by the pooling of a linear layer"
        raise ModelRefused(
            "MODEL_NO_CLOSED_FORM",
            "This model can say whether a slice shows a hemorrhage, but not where by this kind of map.",
            "Choose a model that ends in a pooling of local logits, or a map that is made from gradients.",
            getattr(layer_pass.head, "reason", otherwise),
        )
    return head


def _rows(head: ClosedFormHead, classes: Sequence[int]) -> tuple[Tensor, Tensor]:
    """Weight [len(classes), K] and bias [len(classes)]; nothing is copied where all classes are wanted."""
    if list(classes) == list(range(len(head.bias))):
        return head.weight, head.bias
    return head.weight[list(classes)], head.bias[list(classes)]


def _positions(activations: Tensor) -> int:
    return activations.shape[-2] * activations.shape[-1]
