"""One pass of a network, cut at a layer: what every activation map method starts from.

A method is a function ``(layer_pass, classes, **options) -> maps [N, len(classes), h, w]``. Its maps are signed,
unscaled and at the layer's own size; only a ReLU that stands inside a paper's formula is part of the method.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from HemoCAMLib.errors import UsageError
from HemoCAMLib.model.heads import AveragePoolHead, Head, LsePoolHead


class Tail(Protocol):
    """What follows the layer."""

    def __call__(self, activations: Tensor, rows: Tensor | None = None) -> Tensor:
        """Activations to scores; differentiable; never writes into its input.

        Args:
            activations: [M, K, h, w], the layer's output or something put in its place.
            rows: [M], long: which sample of the batch each row belongs to, for values that reach the scores past
                the layer (skip connections). None where M is N, in order.

        Returns:
            [M, C] logits, or [M, C, H, W] for a segmentation network.
        """


@dataclass(frozen=True)
class LayerPass:
    """A batch at one layer of a network.

    Attributes:
        activations: A [N, K, h, w], detached, from one run of the trunk.
        tail: from A to the logits.
        head: the closed form of the tail (:mod:`HemoCAMLib.model.heads`) where the network has one at this layer.
        stacks: the network's input [N, 3, H, W], for methods that change it.
        network: the whole network in evaluation mode, its parameters without gradients, for the same methods.
        layer: name of the module whose output A is.
        wanted: [N, C] of bool, or None for all: which maps will be looked at. A method may leave the others zero.
        half: the type in which the network ran and in which a method runs it again, or None for full precision.
    """

    activations: Tensor
    tail: Tail
    head: Head | None = None
    stacks: Tensor | None = None
    network: nn.Module | None = None
    layer: str = ""
    wanted: Tensor | None = None
    half: torch.dtype | None = None
    _known: dict[str, Any] = field(default_factory=dict, repr=False, compare=False)

    @classmethod
    def from_head(cls, activations: Tensor, head: Head) -> LayerPass:
        """The pass of ``network.trunk`` and ``network.head``: no splitting, nothing is copied.

        Args:
            activations: [N, K, h, w].
            head: the network's.
        """
        return cls(activations, _HeadTail(head), head)

    @property
    def logits(self) -> Tensor:
        """Scores of the batch, [N, C] (or [N, C, H, W]), detached; computed when first asked for."""
        if "logits" not in self._known:
            with torch.no_grad():
                self._known["logits"] = self.tail(self.activations).detach()
        logits: Tensor = self._known["logits"]
        return logits

    @property
    def knows_logits(self) -> bool:
        """Whether the logits have been computed."""
        return "logits" in self._known

    @property
    def class_count(self) -> int:
        """C."""
        if isinstance(self.head, AveragePoolHead | LsePoolHead):
            return len(self.head.bias)
        return int(self.logits.shape[1])

    def prepare_graph(self) -> None:
        """Runs the tail with a graph, kept for the next :meth:`differentiable`: the logits come with it."""
        if "graph" not in self._known:
            self._known["graph"] = self.differentiable()

    def differentiable(self, rows: slice = slice(None)) -> tuple[Tensor, Tensor]:
        """A as a leaf that takes gradients, and the scores that follow from it, with their graph.

        Works in a caller's ``no_grad`` or ``inference_mode`` too. Parameters get no gradients.

        Args:
            rows: a part of the batch, for graphs that would not fit in memory at once.

        Returns:
            [M, K, h, w] and [M, C].
        """
        whole = rows == slice(None)
        if whole and "graph" in self._known:
            prepared: tuple[Tensor, Tensor] = self._known.pop("graph")
            return prepared
        with torch.inference_mode(False), torch.enable_grad():
            part = self.activations[rows]
            leaf = (part.clone() if part.is_inference() else part.detach()).requires_grad_(True)
            numbers = None if whole else torch.arange(len(self.activations), device=part.device)[rows]
            scores = self.tail(leaf, numbers)
        if whole:
            self._known.setdefault("logits", scores.detach())
        return leaf, scores

    def wants(self, index: int) -> Tensor:
        """[N] of bool: the samples whose map of a class will be looked at."""
        if self.wanted is None:
            return torch.ones(len(self.activations), dtype=torch.bool)
        return self.wanted[:, index].cpu()


#: ``(layer_pass, classes, **options) -> [N, len(classes), h, w]``; options have defaults and plain values.
CamMethod = Callable[..., Tensor]


@dataclass(frozen=True)
class _HeadTail:
    head: Head

    def __call__(self, activations: Tensor, rows: Tensor | None = None) -> Tensor:
        return self.head(activations)


def autocast(device: torch.device, half: torch.dtype | None) -> AbstractContextManager[Any]:
    """The context in which a part of the network runs; half precision only where it was asked for."""
    return nullcontext() if half is None else torch.autocast(device.type, dtype=half)


def checked_classes(classes: Sequence[int] | None, count: int) -> list[int]:
    """The classes, all of them where None.

    Raises:
        UsageError: ``USAGE_CAM_CLASS``.
    """
    wanted = list(range(count)) if classes is None else [int(index) for index in classes]
    if not wanted or min(wanted) < 0 or max(wanted) >= count:
        raise UsageError(
            "USAGE_CAM_CLASS", f"The network has {count} classes.", f"Choose classes from 0 to {count - 1}."
        )
    return wanted
