"""Activation map methods by name."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from HemoCAMLib.cam import closed_form
from HemoCAMLib.errors import UsageError
from HemoCAMLib.model.heads import Head

#: From activations [N, K, h, w] and the head behind them to maps [N, C, h, w], every class at once.
CamMethod = Callable[[Tensor, Head], Tensor]

_METHODS: dict[str, CamMethod] = {
    "cam": closed_form.cam,
    "grad-cam": closed_form.grad_cam,
    "hires-cam": closed_form.hires_cam,
    "local-logit": closed_form.local_logit,
}


def method_names() -> list[str]:
    """Names that :func:`maps` takes."""
    return sorted(_METHODS)


def register_method(name: str, method: CamMethod) -> None:
    """Adds a method under a new name.

    Raises:
        ValueError: the name is taken.
    """
    if name in _METHODS:
        raise ValueError(f"there is an activation map method {name} already")
    _METHODS[name] = method


def maps(method: str, activations: Tensor, head: Head) -> Tensor:
    """Activation maps of every class from the activations of the pass that classified.

    Args:
        method: one of :func:`method_names`.
        activations: A, [N, K, h, w], from ``network.trunk``.
        head: ``network.head``.

    Returns:
        [N, C, h, w], signed, on the method's own scale, at the activations' size; the map covers the whole image.

    Raises:
        UsageError: ``USAGE_CAM_METHOD``, no such method.
        ModelRefused: ``MODEL_NO_CLOSED_FORM``, the method needs a head that this network does not have.

    >>> import torch
    >>> from HemoCAMLib.model.heads import AveragePoolHead
    >>> head = AveragePoolHead(weight=torch.tensor([[1.0, -1.0]]), bias=torch.zeros(1))
    >>> maps("cam", torch.tensor([[[[3.0]], [[1.0]]]]), head)
    tensor([[[[2.]]]])
    """
    if method not in _METHODS:
        raise UsageError(
            "USAGE_CAM_METHOD",
            f"There is no activation map method {method[:40]!r}.",
            f"Choose one of {', '.join(method_names())}.",
        )
    return _METHODS[method](activations, head)
