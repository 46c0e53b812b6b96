"""Activation map methods by name."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from torch import Tensor

from HemoCAMLib.cam import closed_form, decomposition, full_grad, gradcam_adapter, gradient, segmentation
from HemoCAMLib.cam.layer_pass import CamMethod, LayerPass, checked_classes
from HemoCAMLib.cam.perturbation import ablation_cam, score_cam
from HemoCAMLib.errors import UsageError


@dataclass(frozen=True)
class MethodEntry:
    """A method and what must be known to run it well.

    Attributes:
        method: the function.
        uses_gradients: it starts from :meth:`LayerPass.differentiable`, so logits come with the same pass.
        segmentation: it is for networks whose logits are maps [N, C, H, W]; all others are for [N, C].
        describe: ``(layer_pass, classes, **options) -> dict`` of plain values that belong into a record, or None.
        scaling: how the method's own maps are scaled; ``none`` for every method that keeps an absolute scale.
    """

    method: CamMethod
    uses_gradients: bool = False
    segmentation: bool = False
    describe: Callable[..., dict[str, Any]] | None = None
    scaling: str = "none"

    @property
    def options(self) -> list[str]:
        """Names of the options that the method takes."""
        return list(inspect.signature(self.method).parameters)[2:]


def _over_pixels(method: CamMethod) -> MethodEntry:
    return MethodEntry(method, uses_gradients=True, segmentation=True, describe=segmentation.pixel_counts)


def _approximate(layer_pass: LayerPass, classes: Sequence[int], **options: Any) -> dict[str, Any]:
    """Said in the record of a method that only approximates the published one."""
    return {"approximate": True}


_METHODS: dict[str, MethodEntry] = {
    "cam": MethodEntry(closed_form.cam),
    "local-logit": MethodEntry(closed_form.local_logit),
    "grad-cam": MethodEntry(gradient.grad_cam, uses_gradients=True),
    "hires-cam": MethodEntry(gradient.hires_cam, uses_gradients=True),
    "grad-cam++": MethodEntry(gradient.grad_cam_plus_plus, uses_gradients=True),
    "xgrad-cam": MethodEntry(gradient.xgrad_cam, uses_gradients=True),
    "layer-cam": MethodEntry(gradient.layer_cam, uses_gradients=True),
    "elementwise-grad-cam": MethodEntry(gradient.elementwise_grad_cam, uses_gradients=True),
    "seg-grad-cam": _over_pixels(segmentation.seg_grad_cam),
    "seg-hires-grad-cam": _over_pixels(segmentation.seg_hires_grad_cam),
    "eigen-cam": MethodEntry(decomposition.eigen_cam),
    "eigen-grad-cam": MethodEntry(decomposition.eigen_grad_cam, uses_gradients=True),
    "kpca-cam": MethodEntry(decomposition.kpca_cam),
    "full-grad": MethodEntry(full_grad.full_grad, scaling="each layer's terms to 0..1 unless rescale is none"),
    "ablation-cam": MethodEntry(ablation_cam.ablation_cam),
    "ablation-cam-fast": MethodEntry(ablation_cam.ablation_cam_fast, describe=_approximate),
    "score-cam": MethodEntry(score_cam.score_cam),
    "score-cam-fast": MethodEntry(score_cam.score_cam_fast, describe=_approximate),
}


def method_names() -> list[str]:
    """Names that :func:`maps` takes."""
    return sorted(_METHODS)


def register_method(name: str, method: CamMethod, **properties: Any) -> None:
    """Adds a method under a new name; properties as in :class:`MethodEntry`.

    Raises:
        ValueError: the name is taken.
    """
    if name in _METHODS:
        raise ValueError(f"there is an activation map method {name} already")
    _METHODS[name] = MethodEntry(method, **properties)


def find_method(name: str) -> MethodEntry:
    """The method of that name; ``gradcam:NAME`` is a method of the grad-cam library.

    Raises:
        UsageError: ``USAGE_CAM_METHOD``; the advice lists the nearest names first.
    """
    if name in _METHODS:
        return _METHODS[name]
    if name.startswith(gradcam_adapter.PREFIX):
        return MethodEntry(gradcam_adapter.library_method(name), scaling=gradcam_adapter.SCALING)
    near = get_close_matches(name, _METHODS, n=3, cutoff=0.5)
    others = [other for other in method_names() if other not in near]
    raise UsageError(
        "USAGE_CAM_METHOD",
        f"There is no activation map method {name[:40]!r}.",
        f"Choose one of {', '.join([*near, *others])}.",
    )


def maps(method: str, layer_pass: LayerPass, classes: Sequence[int] | None = None, **options: Any) -> Tensor:
    """Activation maps of the wanted classes at one layer.

    Args:
        method: one of :func:`method_names`.
        layer_pass: from :class:`HemoCAMLib.cam.Explainer`, or :meth:`LayerPass.from_head`.
        classes: which, in this order; all of them where None.
        options: the method's own.

    Returns:
        [N, len(classes), h, w], signed, on the method's own scale, at the layer's size; the map covers the image.

    Raises:
        UsageError: ``USAGE_CAM_METHOD``, ``USAGE_CAM_CLASS``, ``USAGE_CAM_OPTION``.
        ModelRefused: ``MODEL_NO_CLOSED_FORM``, the method needs a head that this layer does not have.

    >>> import torch
    >>> from HemoCAMLib.model.heads import AveragePoolHead
    >>> head = AveragePoolHead(weight=torch.tensor([[1.0, -1.0]]), bias=torch.zeros(1))
    >>> maps("cam", LayerPass.from_head(torch.tensor([[[[3.0]], [[1.0]]]]), head))
    tensor([[[[2.]]]])
    """
    entry = find_method(method)
    unknown = sorted(set(options) - set(entry.options))
    if unknown:
        raise UsageError(
            "USAGE_CAM_OPTION",
            f"The method {method} has no option {unknown[0][:40]!r}.",
            f"It takes {', '.join(entry.options)}." if entry.options else "It takes no options.",
        )
    return entry.method(layer_pass, checked_classes(classes, layer_pass.class_count), **options)
