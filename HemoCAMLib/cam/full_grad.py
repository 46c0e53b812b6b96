"""FullGrad: what the input and every bias of a network add to a logit.

Srinivas and Fleuret (NeurIPS 2019). In a network of convolutions, linear layers, batch norms in evaluation mode,
ReLUs and poolings a logit is exactly Σ x ⊙ ∂y/∂x + Σ_l b_l ⊙ ∂y/∂b_l (proposition 1), and the terms of a
convolution have a place in the image. The bias of a batch norm is β − γμ/σ; where it was folded into its
convolution it is that convolution's. Behind SiLU, GELU or layer norm the sum no longer is the logit, and the map is
its local linear part.

Biases are seen where they enter (``conv2d``, ``batch_norm``, ``linear``, ...) instead of by the type of a module as
in grad-cam's library, which therefore misses those of timm's batch norms with an activation, of batch norms without
parameters, of layer norms and of linear layers at each position. Terms without a place (squeeze-excite, the
classifier) are in no map.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from HemoCAMLib.cam.layer_pass import LayerPass
from HemoCAMLib.cam.whole_network import whole_network

#: What is brought to the range 0 to 1 before layers are added: a layer, each of its channels, or nothing.
Rescale = Literal["layer", "channel", "none"]

#: The gradient at the place where a bias enters, the bias, and which dimension holds channels.
Receiver = Callable[[Tensor, Tensor, int], None]


def full_grad(layer_pass: LayerPass, classes: Sequence[int], *, rescale: Rescale = "layer") -> Tensor:
    """FullGrad map, Σ_l Σ_channels ψ(b_l ⊙ ∂y/∂b_l) + Σ_channels ψ(x ⊙ ∂y/∂x), of the whole network.

    The layer does not matter. One sample's graph at a time is held, and used for all classes; a layer's gradient is
    reduced when it comes and never kept.

    Args:
        layer_pass: for its network and slices.
        classes: which.
        rescale: what ψ does between the absolute value and the enlargement. ``layer``: each layer's terms to 0..1,
            the paper's. ``channel``: each channel's, as grad-cam's library does, which gives channels of noise as
            much weight as any. Both lose the scale, so slices cannot be compared. ``none``: keeps it, in logits per
            pixel of the input.

    Returns:
        [N, len(classes), H, W] at the size of the network's input, never negative; NaN for a sample whose input
        or gradients are not finite.

    Raises:
        UsageError: ``USAGE_CAM_WHOLE_NETWORK``.
    """
    network, stacks = whole_network(layer_pass)
    maps = torch.zeros(len(stacks), len(classes), *stacks.shape[2:], dtype=stacks.dtype, device=stacks.device)
    wanted = torch.stack([layer_pass.wants(index) for index in classes], dim=1)
    sums: dict[tuple[int, int], Tensor] = {}

    def receive(gradient: Tensor, factor: Tensor, channels: int) -> None:
        if gradient.dim() != 4:
            return
        terms = (gradient * factor).movedim(channels, 1)[0].abs_()
        size = (terms.shape[1], terms.shape[2])
        if size != (1, 1):
            sums[size] = sums.get(size, 0) + _layer_sum(terms, rescale)

    for sample in wanted.any(dim=1).nonzero().flatten().tolist():
        columns = wanted[sample].nonzero().flatten().tolist()
        stack = stacks[sample : sample + 1]
        if not bool(torch.isfinite(stack).all()):
            maps[sample, columns] = torch.nan
            continue
        gradients = _input_gradients(network, stack, [classes[c] for c in columns], receive)
        for column, (image, gradient) in zip(columns, gradients, strict=True):
            receive(gradient, image, 1)
            maps[sample, column] = sum(_enlarged(total, stacks.shape[2:], rescale) for total in sums.values())
            sums.clear()
    return maps


def decomposed_logits(layer_pass: LayerPass, classes: Sequence[int]) -> Tensor:
    """Σ x ⊙ ∂y/∂x + Σ_l b_l ⊙ ∂y/∂b_l over all terms, with or without a place: [N, len(classes)].

    The logits themselves where the network is piecewise linear; elsewhere it says how much of them FullGrad sees.

    Raises:
        UsageError: ``USAGE_CAM_WHOLE_NETWORK``.
    """
    network, stacks = whole_network(layer_pass)
    logits = stacks.new_zeros(len(stacks), len(classes))
    for sample in range(len(stacks)):
        parts: list[Tensor] = []

        def receive(gradient: Tensor, factor: Tensor, channels: int, parts: list[Tensor] = parts) -> None:
            parts.append((gradient.double() * factor).sum())

        for column, (image, gradient) in enumerate(
            _input_gradients(network, stacks[sample : sample + 1], classes, receive)
        ):
            receive(gradient, image, 1)
            logits[sample, column] = torch.stack(parts).sum()
            parts.clear()
    return logits


def _input_gradients(
    network: nn.Module, stack: Tensor, classes: Sequence[int], receive: Receiver
) -> Iterable[tuple[Tensor, Tensor]]:
    """For each class x and ∂y/∂x, after every bias has been given to the receiver."""
    with torch.inference_mode(False), torch.enable_grad():
        image = (stack.clone() if stack.is_inference() else stack.detach()).requires_grad_(True)
        with _BiasWatch(receive):
            logits = network(image)
    for index in classes:
        (gradient,) = torch.autograd.grad(logits[:, index].sum(), image, retain_graph=True)
        yield image.detach(), gradient


@torch.no_grad()
def _layer_sum(terms: Tensor, rescale: Rescale) -> Tensor:
    """A layer's absolute terms [K, h, w], brought to their range and added over channels: [h, w]."""
    if rescale == "none":
        return terms.sum(dim=0)
    dims = (0, 1, 2) if rescale == "layer" else (1, 2)
    lowest, highest = terms.amin(dim=dims, keepdim=True), terms.amax(dim=dims, keepdim=True)
    return ((terms - lowest) / (highest - lowest).clamp_min(torch.finfo(terms.dtype).tiny)).sum(dim=0)


def _enlarged(total: Tensor, size: Sequence[int], rescale: Rescale) -> Tensor:
    image = functional.interpolate(total[None, None], list(size), mode="bilinear", align_corners=False)[0, 0]
    # Spread over the pixels of its position, what a position adds stays the same.
    return image * (total.numel() / image.numel()) if rescale == "none" else image


class _BiasWatch(TorchFunctionMode):
    """Gives every bias that enters inside of it to a receiver, when gradients come back."""

    def __init__(self, receive: Receiver) -> None:
        super().__init__()
        self._receive = receive

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        output = func(*args, **(kwargs or {}))
        entering = _ENTERING.get(func)
        if entering is not None and output.requires_grad:
            names, channels, bias_of = entering
            bias = bias_of(dict(zip(names, args, strict=False)) | (kwargs or {}))
            if bias is not None:
                self._attach(output, bias.detach(), channels % output.dim())
        return output

    def _attach(self, output: Tensor, bias: Tensor, channels: int) -> None:
        factor = bias.view([-1 if dim == channels else 1 for dim in range(output.dim())])
        # A hook of the tensor itself sees the gradient before a later in-place activation, too.
        output.register_hook(lambda gradient: self._receive(gradient, factor, channels))  # type: ignore[no-untyped-call]


def _explicit(given: dict[str, Any]) -> Tensor | None:
    bias: Tensor | None = given.get("bias")
    return bias


def _of_batch_norm(given: dict[str, Any]) -> Tensor | None:
    if given.get("training") or given.get("running_mean") is None:
        return _explicit(given)
    weight, bias = given.get("weight"), given.get("bias")
    shift: Tensor = -given["running_mean"] / torch.sqrt(given["running_var"] + given.get("eps", 1e-5))
    shift = shift if weight is None else shift * weight
    return shift if bias is None else shift + bias


_LINEAR = ("input", "weight", "bias")
_BATCH_NORM = ("input", "running_mean", "running_var", "weight", "bias", "training", "momentum", "eps")
#: By function: names of its arguments, the dimension of its output that holds channels, and its bias.
_ENTERING: dict[Any, tuple[tuple[str, ...], int, Callable[[dict[str, Any]], Tensor | None]]] = {
    functional.conv2d: (_LINEAR, 1, _explicit),
    functional.conv_transpose2d: (_LINEAR, 1, _explicit),
    functional.linear: (_LINEAR, -1, _explicit),
    functional.batch_norm: (_BATCH_NORM, 1, _of_batch_norm),
    functional.group_norm: (("input", "num_groups", "weight", "bias"), 1, _explicit),
    functional.layer_norm: (("input", "normalized_shape", "weight", "bias"), -1, _explicit),
}
