"""Weights from a file against the weights that a network has."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from HemoCAMLib.errors import ModelRefused
from HemoCAMLib.model.bundle import not_finite


def checked_state(weights: Mapping[str, NDArray[Any]], expected: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights as tensors of the expected types, if they are exactly those that the network has.

    Raises:
        ModelRefused: ``MODEL_MISSING_KEY``, ``MODEL_UNEXPECTED_KEY``, ``MODEL_SHAPE``, ``MODEL_NOT_FINITE``.
    """
    missing = sorted(set(expected) - set(weights))
    if missing:
        raise _mismatch("MODEL_MISSING_KEY", f"lacks {len(missing)} tensors, first {missing[0]}")
    unexpected = sorted(set(weights) - set(expected))
    if unexpected:
        raise _mismatch("MODEL_UNEXPECTED_KEY", f"has {len(unexpected)} unknown tensors, first {unexpected[0]!r:.120}")
    return {name: _tensor(name, weights[name], like) for name, like in expected.items()}


def _tensor(name: str, values: NDArray[Any], like: Tensor) -> Tensor:
    if tuple(values.shape) != tuple(like.shape):
        raise _mismatch("MODEL_SHAPE", f"tensor {name} has shape {values.shape}, expected {tuple(like.shape)}")
    if (values.dtype.kind == "f") != like.is_floating_point():
        raise _mismatch("MODEL_SHAPE", f"tensor {name} has type {values.dtype}, expected {like.dtype}")
    # Copied: the file's bytes are read-only, and torch warns about arrays that cannot be written.
    tensor = torch.from_numpy(np.array(values)).to(like.dtype)
    if not torch.isfinite(tensor).all():
        raise not_finite(name)
    return tensor


def _mismatch(code: str, detail: str) -> ModelRefused:
    return ModelRefused(
        code,
        "The model's weights do not fit the network that it describes.",
        "Ask whoever made the model for a corrected file.",
        detail,
    )
