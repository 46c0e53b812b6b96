"""Which architectures a bundle may name, and with which arguments of which type. Host side."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from HemoCAMLib.errors import ModelRefused

#: Networks of torchvision that :class:`HemoCAMLib.model.pooled_classifier.PooledClassifier` takes.
POOLED_ENCODERS = ("alexnet", "vgg16", "vgg16_bn", "vgg19", "vgg19_bn")


def check_architecture(name: object, arguments: object) -> dict[str, Any]:
    """The arguments if this architecture exists and takes exactly such arguments.

    Whether the encoder is one that timm knows can only be told where timm is, in
    :func:`HemoCAMLib.model.encoders.checked_encoder_name`.

    Raises:
        ModelRefused: ``MODEL_UNKNOWN_ARCHITECTURE``, ``MODEL_ARCHITECTURE_ARGUMENTS``, ``MODEL_SEGMENTS``.

    >>> check_architecture("lse-unet", {"encoder": "resnet10t", "r": 3})
    {'encoder': 'resnet10t', 'r': 3.0}
    """
    if isinstance(name, str) and name in _SEGMENTATION_ARGUMENTS:
        raise ModelRefused(
            "MODEL_SEGMENTS",
            "The model gives classes of pixels, not the probabilities of slices that an analysis needs.",
            "Use a model that classifies slices.",
            f"architecture name {name!r}",
        )
    if not isinstance(name, str) or name not in _ARGUMENTS:
        raise ModelRefused(
            "MODEL_UNKNOWN_ARCHITECTURE",
            "The model asks for a network that is not known here.",
            f"Known are {', '.join(sorted(_ARGUMENTS))}; update HemoCAM or use another model.",
            f"architecture name {str(name)[:80]!r}",
        )
    return _checked(name, arguments, _ARGUMENTS[name], required=("encoder",))


def check_segmentation_architecture(name: object, arguments: object) -> dict[str, Any]:
    """The arguments if this is a segmentation network and takes exactly such arguments.

    Raises:
        ModelRefused: ``MODEL_UNKNOWN_ARCHITECTURE``, ``MODEL_ARCHITECTURE_ARGUMENTS``.
    """
    if not isinstance(name, str) or name not in _SEGMENTATION_ARGUMENTS:
        raise ModelRefused(
            "MODEL_UNKNOWN_ARCHITECTURE",
            "There is no such segmentation network.",
            f"Known are {', '.join(sorted(_SEGMENTATION_ARGUMENTS))}.",
            f"architecture name {str(name)[:80]!r}",
        )
    return _checked(name, arguments, _SEGMENTATION_ARGUMENTS[name])


def _checked(
    name: str, arguments: object, allowed: Mapping[str, Callable[[str, object], Any]], required: tuple[str, ...] = ()
) -> dict[str, Any]:
    """Every argument by its own check, and none besides."""
    if not isinstance(arguments, Mapping):
        raise _refused(name, "the arguments are not a table of names and values")
    unknown = [str(key)[:40] for key in arguments if key not in allowed]
    if unknown:
        raise _refused(name, f"unknown arguments {unknown}")
    for argument in required:
        if argument not in arguments:
            raise _refused(name, f"the argument {argument} is missing")
    return {key: allowed[key](name, value) for key, value in arguments.items()}


def _encoder(architecture: str, value: object) -> str:
    # Letters, digits and underscores only: timm reads a colon, slash or dot as another source of weights.
    if isinstance(value, str) and 1 <= len(value) <= 80 and value.isascii() and value.replace("_", "").isalnum():
        return value
    raise _refused(architecture, f"encoder {str(value)[:80]!r} is not a plain architecture name")


def _pooled_encoder(architecture: str, value: object) -> str:
    if isinstance(value, str) and value in POOLED_ENCODERS:
        return value
    raise _refused(architecture, f"encoder {str(value)[:80]!r} is none of {', '.join(POOLED_ENCODERS)}")


def _sharpness(architecture: str, value: object) -> float:
    if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value) and 0 < value <= 100:
        return float(value)
    raise _refused(architecture, f"r is {str(value)[:40]!r}, not a number above 0 and up to 100")


def _decoder_channels(architecture: str, value: object) -> list[int] | None:
    if value is None:
        return None
    if isinstance(value, list | tuple) and len(value) == 4 and all(_is_count(item, 1, 4096) for item in value):
        return list(value)
    raise _refused(architecture, f"decoder_channels is {str(value)[:80]!r}, not four numbers from 1 to 4096")


def _image_size(architecture: str, value: object) -> list[int] | None:
    if value is None:
        return None
    if isinstance(value, list | tuple) and len(value) == 2 and all(_is_count(item, 32, 2048) for item in value):
        return list(value)
    raise _refused(architecture, f"image_size is {str(value)[:80]!r}, not two numbers from 32 to 2048")


def _level_channels(architecture: str, value: object) -> list[int]:
    if isinstance(value, list | tuple) and 2 <= len(value) <= 7 and all(_is_count(item, 1, 4096) for item in value):
        return list(value)
    raise _refused(architecture, f"channels is {str(value)[:80]!r}, not two to seven numbers from 1 to 4096")


def _residual_units(architecture: str, value: object) -> int:
    if isinstance(value, int) and _is_count(value, 0, 8):
        return value
    raise _refused(architecture, f"residual_units is {str(value)[:40]!r}, not a number from 0 to 8")


def _is_count(value: object, lowest: int, highest: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and lowest <= value <= highest


def _refused(architecture: str, detail: str) -> ModelRefused:
    return ModelRefused(
        "MODEL_ARCHITECTURE_ARGUMENTS",
        f"The model describes its network ({architecture}) in a way that is not accepted: {detail}.",
        "Ask whoever made the model for a corrected file.",
    )


_ARGUMENTS: dict[str, dict[str, Callable[[str, object], Any]]] = {
    "lse-unet": {"encoder": _encoder, "r": _sharpness, "decoder_channels": _decoder_channels},
    "timm-classifier": {"encoder": _encoder, "image_size": _image_size},
    "pooled-classifier": {"encoder": _pooled_encoder},
}

_SEGMENTATION_ARGUMENTS: dict[str, dict[str, Callable[[str, object], Any]]] = {
    "monai-unet": {"channels": _level_channels, "residual_units": _residual_units},
}
