"""Any timm classifier, split at its last feature map."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from HemoCAMLib.errors import ModelRefused
from HemoCAMLib.model.encoders import create_timm_model
from HemoCAMLib.model.heads import AveragePoolHead, Head, OpaqueHead


class TimmClassifier(nn.Module):
    """A timm classifier as trunk (``forward_features``) and head (``forward_head``).

    At construction the head is looked into: where it is nothing but an average over positions and one linear
    layer, :attr:`head` is an :class:`AveragePoolHead` and closed-form maps exist. Any other head still
    classifies, as an :class:`OpaqueHead`.

    Args:
        encoder: timm architecture name.
        class_count: C, number of logits.
        image_size: rows and columns, only for architectures whose parameters depend on them (Swin and the like).
        pretrained: fetch timm's pretrained weights (training only).

    Attributes:
        class_count: C.
        map_layer: timm's own name of the module whose output is A.
        map_layers: places for maps, deepest first: the last feature map, then the ends of the stages before it.
        stage_names: timm's own names of the stages' last modules, shallow to deep.
        input_multiple: input rows and columns must be multiples of this.

    Raises:
        ModelRefused: unknown architecture, or one without a feature map (pure token sequences).
    """

    input_multiple = 1

    def __init__(
        self,
        encoder: str,
        class_count: int,
        *,
        image_size: Sequence[int] | None = None,
        pretrained: bool = False,
    ) -> None:
        super().__init__()
        sizes: dict[str, Any] = {} if image_size is None else {"img_size": tuple(image_size)}
        self.class_count = class_count
        self.body: Any = create_timm_model(encoder, pretrained=pretrained, num_classes=class_count, **sizes)
        self.stage_names: list[str] = [info["module"] for info in getattr(self.body, "feature_info", [])]
        self._channels_come_last = str(getattr(self.body, "output_fmt", "NCHW")).endswith("NHWC")
        self._head_writes_into_its_input = False
        self._reason_opaque = ""
        self._look_into(encoder, tuple(image_size) if image_size is not None else (96, 96))

    def trunk(self, stacks: Tensor) -> Tensor:
        """Slice stacks [N, 3, H, W] to the last feature map A [N, K, h, w]."""
        features: Tensor = self.body.forward_features(stacks)
        return features.permute(0, 3, 1, 2) if self._channels_come_last else features

    @property
    def head(self) -> AveragePoolHead | OpaqueHead:
        """A to class logits [N, C]."""
        if self._reason_opaque:
            return OpaqueHead(self._timm_head, self._reason_opaque)
        return _average_pool_head(self.body.get_classifier())

    @property
    def layer_heads(self) -> dict[str, Head]:
        """What follows a layer, by its name, where that is a pooling of a linear layer."""
        return {self.map_layer: self.head} if self._map_layer_gives_features else {}

    def forward(self, stacks: Tensor) -> Tensor:
        """Slice stacks [N, 3, H, W] to class logits [N, C]."""
        # timm's own head, so that its dropout acts in training.
        return self._timm_head(self.trunk(stacks)) if self.training else self.head(self.trunk(stacks))

    def _timm_head(self, activations: Tensor) -> Tensor:
        features = activations.permute(0, 2, 3, 1) if self._channels_come_last else activations
        logits: Tensor = self.body.forward_head(features.clone() if self._head_writes_into_its_input else features)
        return logits

    @torch.no_grad()
    def _look_into(self, encoder: str, image_size: tuple[int, ...]) -> None:
        was_training = self.training
        self.eval()
        try:
            activations, self.map_layer = self._traced_features(torch.zeros(1, 3, *image_size))
            if activations.dim() != 4:
                raise ValueError(f"features of shape {tuple(activations.shape)}")
            generator = torch.Generator().manual_seed(0)
            probe = torch.randn(activations.shape, generator=generator)
            untouched = probe.clone()
            modules, logits = self._traced_head(probe)
        except Exception as error:
            raise ModelRefused(
                "MODEL_ARCHITECTURE_ARGUMENTS",
                f"The network {encoder} has no feature map that could show where a finding lies.",
                "Use a convolutional network, or give image_size where the network needs it.",
                f"{type(error).__name__}: {error}",
            ) from error
        self._head_writes_into_its_input = not torch.equal(probe, untouched)
        self._reason_opaque = self._why_opaque(untouched, modules, logits)
        self.train(was_training)

    def _traced_features(self, stacks: Tensor) -> tuple[Tensor, str]:
        """The trunk's output and the outermost module that returned it."""
        returned: list[tuple[str, int]] = []
        names = {module: name for name, module in self.body.named_modules() if name}

        def note(module: nn.Module, _inputs: object, output: object) -> None:
            if isinstance(output, Tensor):
                returned.append((names[module], id(output)))
                alive.append(output)

        alive: list[Tensor] = []
        handles = [module.register_forward_hook(note) for module in names]
        try:
            features: Tensor = self.body.forward_features(stacks)
        finally:
            for handle in handles:
                handle.remove()
        candidates = [name for name, identity in returned if identity == id(features)]
        layer = "body." + (candidates[-1] if candidates else (self.stage_names or ["forward_features"])[-1])
        self._map_layer_gives_features = bool(candidates)
        before = [name for name in reversed(self.stage_names) if name not in candidates and f"body.{name}" != layer]
        self.map_layers = (layer, *(f"body.{name}" for name in before))
        return (features.permute(0, 3, 1, 2) if self._channels_come_last else features), layer

    def _traced_head(self, activations: Tensor) -> tuple[list[nn.Module], Tensor]:
        """Modules with parameters or buffers of their own that the head runs, and the logits."""
        used: list[nn.Module] = []

        def note(module: nn.Module, _inputs: object, _output: object) -> None:
            if any(True for _ in module.parameters(recurse=False)) or any(True for _ in module.buffers(recurse=False)):
                used.append(module)

        handles = [module.register_forward_hook(note) for module in self.body.modules()]
        try:
            logits = self._timm_head(activations)
        finally:
            for handle in handles:
                handle.remove()
        return used, logits

    def _why_opaque(self, activations: Tensor, modules: list[nn.Module], logits: Tensor) -> str:
        classifier = self.body.get_classifier()
        is_linear = isinstance(classifier, nn.Linear) or (
            isinstance(classifier, nn.Conv2d) and classifier.kernel_size == (1, 1) and classifier.groups == 1
        )
        if not is_linear:
            return f"the classifier is a {type(classifier).__name__}"
        others = [type(module).__name__ for module in modules if module is not classifier]
        if others or len(modules) != 1:
            return f"layers between the feature map and the classifier: {', '.join(others) or 'it runs twice'}"
        # An all-zero classifier (some architectures start so) would make every pooling look like an average.
        with _random_weights(classifier):
            expected = _average_pool_head(classifier)(activations)
            found = self._timm_head(activations)
        if expected.shape != found.shape or not torch.allclose(expected, found, rtol=1e-4, atol=1e-4):
            return "the pooling is not an average over positions"
        return ""


class _random_weights:  # noqa: N801  (used as a with-statement verb)
    """Fills a layer's parameters with fixed random numbers and restores them on exit."""

    def __init__(self, layer: nn.Module) -> None:
        self._parameters = list(layer.parameters())
        self._saved = [parameter.detach().clone() for parameter in self._parameters]

    def __enter__(self) -> None:
        generator = torch.Generator().manual_seed(1)
        for parameter in self._parameters:
            parameter.copy_(torch.randn(parameter.shape, generator=generator))

    def __exit__(self, *_: object) -> None:
        for parameter, saved in zip(self._parameters, self._saved, strict=True):
            parameter.copy_(saved)


def _average_pool_head(classifier: nn.Module) -> AveragePoolHead:
    weight: Any = classifier.weight
    bias: Any = classifier.bias
    matrix = weight.flatten(1)
    # Not asked whether it is a Tensor: while the network is traced, it is a stand-in for one.
    return AveragePoolHead(matrix, matrix.new_zeros(matrix.shape[0]) if bias is None else bias)
