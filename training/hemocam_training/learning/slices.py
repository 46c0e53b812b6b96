"""What a training asks of the slices it learns from."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from torch import Tensor


class SliceSource(Protocol):
    """Slices with class labels: :class:`hemocam_training.shards.SliceShards`, or anything with these members.

    Attributes:
        target: [slice, class] 0 or 1; any hemorrhage first where the classes are ours.
        known: [slice, class] 1 where the label counts.
    """

    target: NDArray[np.float32]
    known: NDArray[np.float32]

    def __len__(self) -> int:
        """Number of slices."""

    def stacks_hu(self, indices: NDArray[np.int64], repeated: NDArray[np.bool_]) -> Tensor:
        """[N, 3, H, W] HU: before, the slice, after; all the slice itself where ``repeated``."""

    def balanced_indices(self, rng: np.random.Generator, count: int) -> NDArray[np.int64]:
        """Half of them any slices, half of them positive for a class drawn evenly."""


class MaskedSlices(SliceSource, Protocol):
    """Slices that have masks too."""

    def masks(self, indices: NDArray[np.int64]) -> NDArray[np.uint8]:
        """[N, H, W] labels, 0 none."""
