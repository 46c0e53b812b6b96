"""A network cut at layers, and the maps of a batch that ran through it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from HemoCAMLib.cam.closed_form import closed_form_head
from HemoCAMLib.cam.fusion import fuse
from HemoCAMLib.cam.layer_pass import LayerPass, autocast, checked_classes
from HemoCAMLib.cam.layers import resolve_layers
from HemoCAMLib.cam.registry import find_method
from HemoCAMLib.cam.registry import maps as maps_at
from HemoCAMLib.cam.scaling import not_finite, scaled
from HemoCAMLib.cam.split import TailGraph, split
from HemoCAMLib.errors import ModelRefused, UsageError

#: Largest difference of the cut network's logits from the network's own, relative to the largest logit.
TOLERANCE = {torch.float32: 1e-4, torch.float64: 1e-9, torch.bfloat16: 5e-2, torch.float16: 1e-2}


class Explainer:
    """A network, cut at layers once, ready for any number of batches.

    Args:
        network: any network that takes [N, 3, H, W] and gives logits [N, C], or [N, C, H, W] (segmentation). Weights
            are shared, not copied: put it on its device before. It is explained in evaluation mode, whatever mode
            it is in, and nothing about it is changed.
        layers: module names or presets (:mod:`HemoCAMLib.cam.layers`), one or several; the last layer where None.
        half: type of half-precision passes, or None for full precision.

    Raises:
        UsageError: ``USAGE_CAM_LAYER``.
        ModelRefused: ``MODEL_NOT_TRACEABLE``.

    >>> from HemoCAMLib.model.registry import build_network
    >>> network = build_network("timm-classifier", {"encoder": "test_resnet"}, 2)
    >>> explanation = Explainer(network, ["[-1]", "[-2]"]).run(torch.rand(1, 3, 64, 64))
    >>> explanation.maps("grad-cam", [1], layer="[-2]").values.shape
    torch.Size([1, 1, 4, 4])
    """

    def __init__(
        self, network: nn.Module, layers: str | Sequence[str] | None = None, *, half: torch.dtype | None = None
    ) -> None:
        self.layers = resolve_layers(network, layers)
        self._original = network
        self._split = split(network, self.layers)
        self._half = half
        self._heads = dict(getattr(self._split.network, "layer_heads", {}))
        self._prefers_channels_last = bool(getattr(network, "_channels_come_last", False))
        self._checked = False

    @property
    def network(self) -> nn.Module:
        """The frozen twin of the caller's network, in evaluation mode."""
        return self._split.network

    def run(self, stacks: Tensor) -> Explanation:
        """Runs the trunk once for all layers, without a graph.

        Args:
            stacks: [N, 3, H, W], on the network's device.

        Raises:
            UsageError: ``USAGE_CAM_LAYER``: a layer's output is no feature map.
            ModelRefused: ``MODEL_NOT_TRACEABLE``: the cut network does not compute what the network computes.
        """
        with torch.inference_mode(False), torch.no_grad():
            stacks = stacks.clone() if stacks.is_inference() else stacks.detach()
            with autocast(stacks.device, self._half):
                kept = self._split.trunk(stacks)
            passes = {
                name: self._layer_pass(name, kept[index], self._split.tails[index], kept, stacks)
                for index, name in enumerate(self.layers)
            }
            explanation = Explanation(self._original, passes)
            if not self._checked:
                self._check(stacks, explanation)
                self._checked = True
        return explanation

    def _layer_pass(self, name: str, output: Any, tail: TailGraph, kept: tuple[Any, ...], stacks: Tensor) -> LayerPass:
        last = self._channels_are_last(name, output, stacks)
        activations = output.permute(0, 3, 1, 2) if last else output
        crossing = [kept[index] for index in tail.crossing]
        bound = _BoundTail(tail, crossing, len(stacks), last, self._half)
        return LayerPass(activations, bound, self._heads.get(name), stacks, self.network, name, half=self._half)

    def _channels_are_last(self, name: str, output: Any, stacks: Tensor) -> bool:
        shape = tuple(getattr(output, "shape", ()))
        if len(shape) != 4:
            raise _no_feature_map(name, f"its output has {len(shape)} dimensions, not 4" if shape else "no tensor")
        fits_first, fits_last = (_is_image(shape[at : at + 2], stacks) for at in (2, 1))
        if not (fits_first or fits_last):
            raise _no_feature_map(name, f"its output, {list(shape)}, does not have the shape of the image")
        return fits_last and (not fits_first or self._prefers_channels_last)

    @torch.no_grad()
    def _check(self, stacks: Tensor, explanation: Explanation) -> None:
        """The first slice's logits, the cut way and the network's own."""
        with autocast(stacks.device, self._half):
            expected = self.network(stacks[:1]).float()
        largest = expected.abs().nan_to_num(0, 0, 0).max()
        close = TOLERANCE[self._half or expected.dtype] * float(largest)
        for name, layer_pass in explanation.layer_passes.items():
            found = layer_pass.logits[:1].float()
            if found.shape != expected.shape or not torch.allclose(found, expected, 0, close + 1e-6, equal_nan=True):
                raise ModelRefused(
                    "MODEL_NOT_TRACEABLE",
                    "Maps at inner layers cannot be made for this network, because it changes when taken apart.",
                    "Choose the network's own map layer, or another model.",
                    f"logits of the network cut at {name} differ",
                )


@dataclass(frozen=True)
class ClassMaps:
    """Maps and how they were made.

    Attributes:
        values: [N, len(classes), h, w].
        record: plain values for a result's record: ``method``, ``layers``, ``classes``, ``options``, ``fusion``,
            ``scaling``, ``positive``, ``explained`` (how many of the maps were above their gate, None where all
            were wanted), ``not_finite`` (how many values are NaN or infinite before scaling).
        wanted: [N, len(classes)] of bool; a map that was not wanted is zero.
    """

    values: Tensor
    record: dict[str, Any]
    wanted: Tensor


class Explanation:
    """A batch after its run: logits, and maps by any method at any of the explainer's layers.

    Attributes:
        layer_passes: by module name, in the order of the explainer's layers.
    """

    def __init__(self, network: nn.Module, layer_passes: dict[str, LayerPass]) -> None:
        self._network = network
        self.layer_passes = layer_passes

    @property
    def logits(self) -> Tensor:
        """[N, C], or [N, C, H, W] for a segmentation network."""
        known = [layer_pass for layer_pass in self.layer_passes.values() if layer_pass.knows_logits]
        return (known or list(self.layer_passes.values()))[0].logits

    def maps(
        self,
        method: str,
        classes: Sequence[int] | None = None,
        *,
        layer: str | Sequence[str] | None = None,
        gates: Sequence[float] | Tensor | None = None,
        positive: bool = False,
        fusion: str | None = None,
        fusion_scale: str = "per-image-max",
        scaling: str | dict[str, Any] = "none",
        **options: Any,
    ) -> ClassMaps:
        """Maps of the wanted classes.

        Args:
            method: a name of the registry.
            classes: which, all where None.
            layer: one of the explainer's layers or presets, several to be fused; the only one, or all, where None.
            gates: which maps are wanted: probabilities, one for each class of the network, that a slice must
                exceed; or [N, C] of bool. All other maps are zero, and gradients are not computed for them.
            positive: keep the positive part only (Grad-CAM's closing ReLU).
            fusion: ``mean``, ``max`` or ``product`` (:mod:`HemoCAMLib.cam.fusion`); needed for several layers.
            fusion_scale: on which scale layers are fused.
            scaling: see :mod:`HemoCAMLib.cam.scaling`; the batch is taken as the volume.
            options: the method's own.

        Raises:
            UsageError: ``USAGE_CAM_METHOD``, ``USAGE_CAM_OPTION``, ``USAGE_CAM_CLASS``, ``USAGE_CAM_LAYER``,
                ``USAGE_CAM_FUSION``, ``USAGE_CAM_SCALING``, ``USAGE_CAM_GATES``.
            ModelRefused: ``MODEL_NO_CLOSED_FORM``.
        """
        entry = find_method(method)
        names = self._names(layer)
        if len(names) > 1 and fusion is None:
            raise UsageError(
                "USAGE_CAM_FUSION", "Maps of several layers need a way to be fused.", "Choose mean, max or product."
            )
        layered = []
        wanted = None
        for name in names:
            layer_pass = self.layer_passes[name]
            if entry.uses_gradients and closed_form_head(layer_pass) is None:
                # One run of the tail for the gates, which look at its logits, and for the gradients.
                layer_pass.prepare_graph()
            wanted = _wanted(gates, layer_pass) if wanted is None else wanted
            raw = maps_at(method, replace(layer_pass, wanted=wanted), classes, **options)
            layered.append(raw)
        chosen = checked_classes(classes, self.layer_passes[names[0]].class_count)
        shown = torch.ones(layered[0].shape[:2], dtype=torch.bool) if wanted is None else wanted[:, chosen].cpu()
        if not shown.all():
            layered = [torch.where(shown[:, :, None, None].to(raw.device), raw, 0.0) for raw in layered]
        values = layered[0] if fusion is None else fuse(layered, fusion, fusion_scale)
        values = values.clamp_min(0) if positive else values
        record: dict[str, Any] = {
            "method": method,
            "layers": names,
            "classes": chosen,
            "options": {name: str(value) for name, value in options.items()},
            "method_scaling": entry.scaling,
            "fusion": None if fusion is None else {"how": fusion, "scale": fusion_scale},
            "positive": positive,
            "explained": None if wanted is None else int(shown.sum()),
            "not_finite": not_finite(values),
        }
        if entry.describe is not None:
            record |= entry.describe(self.layer_passes[names[0]], chosen, **options)
        values, record["scaling"] = scaled(values, scaling)
        return ClassMaps(values, record, shown)

    def _names(self, layer: str | Sequence[str] | None) -> list[str]:
        names = list(self.layer_passes) if layer is None else resolve_layers(self._network, layer)
        for name in names:
            if name not in self.layer_passes:
                raise UsageError(
                    "USAGE_CAM_LAYER",
                    f"The network was not cut at the layer {name!r}.",
                    f"It was cut at {', '.join(self.layer_passes)}.",
                )
        return names


def _wanted(gates: Sequence[float] | Tensor | None, layer_pass: LayerPass) -> Tensor | None:
    if gates is None:
        return None
    count, batch = layer_pass.class_count, len(layer_pass.activations)
    if isinstance(gates, Tensor) and gates.dtype == torch.bool and gates.shape == (batch, count):
        return gates
    values = torch.as_tensor(gates, dtype=torch.float32)
    if isinstance(gates, Tensor) or layer_pass.logits.dim() != 2 or values.shape != (count,):
        raise UsageError(
            "USAGE_CAM_GATES",
            "The gates do not fit the network's classes.",
            f"Give {count} probabilities, or a table of {batch} slices and {count} classes.",
        )
    return torch.sigmoid(layer_pass.logits.float()).cpu() > values


class _BoundTail:
    """A tail with the values of one run that cross its layer."""

    def __init__(
        self, tail: TailGraph, crossing: list[Any], batch: int, channels_last: bool, half: torch.dtype | None
    ) -> None:
        self._tail = tail
        self._crossing = crossing
        self._batch = batch
        self._channels_last = channels_last
        self._half = half

    def __call__(self, activations: Tensor, rows: Tensor | None = None) -> Tensor:
        values = [self._of_rows(index, value, rows, len(activations)) for index, value in enumerate(self._crossing)]
        features = activations.permute(0, 2, 3, 1) if self._channels_last else activations
        with autocast(activations.device, self._half):
            scores: Tensor = self._tail.graph(features, *values)
        return scores.float() if self._half else scores

    def _of_rows(self, index: int, value: Any, rows: Tensor | None, count: int) -> Any:
        if rows is None:
            if count != self._batch:
                raise ValueError(f"{count} rows for a batch of {self._batch}: say which sample each belongs to")
            return value
        if isinstance(value, Tensor):
            return value[rows.to(value.device)] if len(value) == self._batch else value
        if index not in self._tail.batch_sizes:
            return value
        return torch.Size((count, *value[1:])) if isinstance(value, torch.Size) else count


def _is_image(size: tuple[int, ...], stacks: Tensor) -> bool:
    """Whether rows and columns are those of the input at some stride, rounded either way."""
    rows, columns = stacks.shape[-2:]
    tall, wide = size
    return abs(tall * columns / rows - wide) < 1 + columns / rows and max(tall, wide) <= 2 * math.ceil(
        max(rows, columns)
    )


def _no_feature_map(name: str, why: str) -> UsageError:
    return UsageError(
        "USAGE_CAM_LAYER",
        f"The layer {name!r} gives no feature map: {why}.",
        "Choose a layer whose output has rows and columns.",
    )
