"""timm networks as encoders: looked up by plain name only, features at strides 4, 8, 16 and 32."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor, nn

from HemoCAMLib.errors import ModelRefused
from HemoCAMLib.model import torchvision_guard  # noqa: F401  (timm imports torchvision)

# isort: split
import timm
from timm.layers import get_notrace_functions, get_notrace_modules  # type: ignore[attr-defined]

STRIDES = (4, 8, 16, 32)


@lru_cache(maxsize=1)
def _known_names() -> frozenset[str]:
    return frozenset(timm.list_models())


def checked_encoder_name(name: object) -> str:
    """The name if it is a plain timm architecture name.

    timm itself would also take ``hf-hub:`` and ``local-dir:`` names, which fetch from the network or read
    another folder; a bundle must not be able to ask for that.

    Raises:
        ModelRefused: ``MODEL_UNKNOWN_ARCHITECTURE``.
    """
    if not isinstance(name, str) or name not in _known_names():
        raise ModelRefused(
            "MODEL_UNKNOWN_ARCHITECTURE",
            "The model asks for a network that is not known here.",
            "Update HemoCAM and timm, or use another model.",
            f"encoder {str(name)[:80]!r} is not a timm architecture name",
        )
    return name


def create_timm_model(name: object, *, pretrained: bool, **arguments: Any) -> nn.Module:
    """``timm.create_model`` for a checked name; arguments come from our code, never from a bundle.

    Raises:
        ModelRefused: ``MODEL_UNKNOWN_ARCHITECTURE``, or ``MODEL_ARCHITECTURE_ARGUMENTS`` where timm cannot build it.
    """
    checked = checked_encoder_name(name)
    try:
        model: nn.Module = timm.create_model(checked, pretrained=pretrained, in_chans=3, **arguments)
    except Exception as error:
        if pretrained:
            raise
        raise _unsuitable(checked, f"{type(error).__name__}: {error}") from error
    return model


def notrace_modules() -> tuple[type[nn.Module], ...]:
    """Modules that timm says torch.fx must not look into."""
    return tuple(get_notrace_modules())  # type: ignore[no-untyped-call]


def notrace_functions() -> tuple[Callable[..., Any], ...]:
    """Functions that timm says torch.fx must not look into."""
    functions = get_notrace_functions()  # type: ignore[no-untyped-call]
    return tuple(function for function in functions if callable(function))


class PyramidEncoder(nn.Module):
    """A timm network that gives its features at strides 4, 8, 16 and 32, finest first.

    Args:
        name: timm architecture name.
        pretrained: fetch timm's pretrained weights (training only).

    Attributes:
        channels: number of channels at each of the four strides.

    Raises:
        ModelRefused: ``MODEL_UNKNOWN_ARCHITECTURE``, ``MODEL_ARCHITECTURE_ARGUMENTS`` where the network has no
            features at these strides.
    """

    def __init__(self, name: object, *, pretrained: bool = False) -> None:
        super().__init__()
        self.body: nn.Module = create_timm_model(name, pretrained=pretrained, features_only=True)
        info: Any = self.body.feature_info
        reductions: list[int] = list(info.reduction())
        if not set(STRIDES) <= set(reductions):
            raise _unsuitable(str(name), f"features at strides {reductions}, not at {list(STRIDES)}")
        # Where a stride occurs twice, the deeper feature map is the end of the stage.
        self._levels = [max(i for i, value in enumerate(reductions) if value == stride) for stride in STRIDES]
        self.channels: list[int] = [int(info.channels()[level]) for level in self._levels]
        self._channels_come_last = str(getattr(self.body, "output_fmt", "NCHW")).endswith("NHWC")
        self._check_shapes(str(name))

    def forward(self, stacks: Tensor) -> list[Tensor]:
        """[N, 3, H, W] to four maps [N, channels, H/stride, W/stride], stride 4 first."""
        features = self.body(stacks)
        chosen = [features[level] for level in self._levels]
        return [feature.permute(0, 3, 1, 2) for feature in chosen] if self._channels_come_last else chosen

    def _check_shapes(self, name: str) -> None:
        side = 64
        was_training = self.training
        self.eval()
        try:
            with torch.no_grad():
                shapes = [tuple(feature.shape) for feature in self(torch.zeros(1, 3, side, side))]
        except Exception as error:
            raise _unsuitable(name, f"{type(error).__name__}: {error}") from error
        self.train(was_training)
        expected = [
            (1, count, side // stride, side // stride) for count, stride in zip(self.channels, STRIDES, strict=True)
        ]
        if shapes != expected:
            raise _unsuitable(name, f"feature shapes {shapes}, expected {expected}")


def _unsuitable(name: str, detail: str) -> ModelRefused:
    return ModelRefused(
        "MODEL_ARCHITECTURE_ARGUMENTS",
        f"The network {name[:80]} cannot be built as this model asks.",
        "Use another model, or another encoder where you train one.",
        detail,
    )
