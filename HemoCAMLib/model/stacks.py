"""Slice stacks: what the network sees of a head CT. Used by inference and training alike; numpy only.

Order of operations: window each slice to 0..1, resize it, stack three neighbours, normalise. The window comes
before the resize, so that bone (a thousand HU) does not bleed into the averaged rim of the brain.

The whole image is resized to the network's input size, whatever its shape: a position (u, v) of the unit square
is the same place in the image, in the input and in the activation map. An image that is not square is therefore
stretched, nothing is cut off or padded.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

STACK_DEPTH = 3


@dataclass(frozen=True)
class StackSettings:
    """How slices become network input; every field comes from the model bundle.

    Attributes:
        rows: input rows of the network.
        columns: input columns of the network.
        window_center_hu: centre of the window in HU.
        window_width_hu: width of the window in HU.
        mean: subtracted from the windowed value.
        std: the windowed value is divided by it after that.
    """

    rows: int
    columns: int
    window_center_hu: float = 25.0
    window_width_hu: float = 130.0
    mean: float = 0.0
    std: float = 1.0


class Slices(Protocol):
    """Slices that are read one at a time: an array [slice, row, column] or a file reader."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> NDArray[np.int16]: ...


def window(hu: NDArray[np.generic], center: float, width: float) -> NDArray[np.float32]:
    """HU to 0..1: 0 at and below center − width/2, 1 at and above center + width/2, linear between.

    Args:
        hu: any shape, any number type.
        center: window centre in HU.
        width: window width in HU, above 0.

    >>> window(np.array([-1024, -40, 25, 90, 3000]), 25, 130).tolist()
    [0.0, 0.0, 0.5, 1.0, 1.0]
    """
    values = hu.astype(np.float32)
    values -= np.float32(center - width / 2)
    values *= np.float32(1 / width)
    np.clip(values, 0, 1, out=values)
    return values


def resize(image: NDArray[np.float32], rows: int, columns: int) -> NDArray[np.float32]:
    """The whole image at another size: area averages where it shrinks, linear interpolation where it grows.

    Shrinking by a whole factor is the exact mean of blocks. The mean over the image is kept when shrinking.

    Args:
        image: [r, c].
        rows: r of the result.
        columns: c of the result.
    """
    resized: NDArray[np.float32] = _resize_rows(_resize_rows(image, rows).T, columns).T
    return resized


class SliceStacker:
    """Network input for slice after slice of one scan.

    Going in order, each slice is read, windowed and resized once: the last three are kept.

    Args:
        slices: HU, [slice, row, column] or anything that gives one slice [row, column] per index.
        settings: from the model bundle.
    """

    def __init__(self, slices: Slices | NDArray[np.int16], settings: StackSettings) -> None:
        self._slices = slices
        self._settings = settings
        self._kept: dict[int, NDArray[np.float32]] = {}

    def __len__(self) -> int:
        return len(self._slices)

    def __getitem__(self, index: int) -> NDArray[np.float32]:
        """The stack around slice ``index``, float32 [3, rows, columns], C-contiguous.

        Channel 1 is the slice itself, 0 the one before, 2 the one after; at the ends the last slice repeats.

        Raises:
            IndexError: no such slice.
        """
        stack = np.empty((STACK_DEPTH, self._settings.rows, self._settings.columns), dtype=np.float32)
        self.fill(index, stack)
        return stack

    def fill(self, index: int, stack: NDArray[np.float32]) -> None:
        """Like ``stacker[index]``, written into an array that the caller keeps (part of a batch)."""
        count = len(self._slices)
        if not 0 <= index < count:
            raise IndexError(f"slice {index} of {count}")
        wanted = [min(max(index + step, 0), count - 1) for step in (-1, 0, 1)]
        self._kept = {key: kept for key, kept in self._kept.items() if key in wanted}
        for channel, key in enumerate(wanted):
            if key not in self._kept:
                self._kept[key] = self._prepared(key)
            stack[channel] = self._kept[key]

    def stacks(self, indices: Sequence[int]) -> NDArray[np.float32]:
        """Stacks around several slices, float32 [n, 3, rows, columns]."""
        batch = np.empty((len(indices), STACK_DEPTH, self._settings.rows, self._settings.columns), dtype=np.float32)
        for position, index in enumerate(indices):
            self.fill(index, batch[position])
        return batch

    def _prepared(self, index: int) -> NDArray[np.float32]:
        settings = self._settings
        windowed = window(np.asarray(self._slices[index]), settings.window_center_hu, settings.window_width_hu)
        small = resize(windowed, settings.rows, settings.columns)
        prepared: NDArray[np.float32] = (small - np.float32(settings.mean)) * np.float32(1 / settings.std)
        return prepared


def _resize_rows(image: NDArray[np.float32], rows: int) -> NDArray[np.float32]:
    present = image.shape[0]
    if rows == present:
        return image
    if present % rows == 0:
        factor = present // rows
        total: NDArray[np.float32] = image[0::factor] + image[1::factor]
        for offset in range(2, factor):
            total += image[offset::factor]
        total *= np.float32(1 / factor)
        return total
    product: NDArray[np.float32] = _row_weights(present, rows) @ image
    return product


@lru_cache(maxsize=16)
def _row_weights(present: int, wanted: int) -> NDArray[np.float32]:
    """[wanted, present], each row sums to 1: overlap of pixel areas, or linear interpolation of pixel centres."""
    scale = present / wanted
    if scale >= 1:
        edges = np.arange(wanted + 1) * scale
        pixels = np.arange(present)
        overlap = np.minimum(edges[1:, None], pixels + 1) - np.maximum(edges[:-1, None], pixels)
        weights = np.maximum(overlap, 0)
    else:
        centres = np.clip((np.arange(wanted) + 0.5) * scale - 0.5, 0, present - 1)
        weights = np.maximum(1 - np.abs(centres[:, None] - np.arange(present)), 0)
    weights = weights / weights.sum(axis=1, keepdims=True)
    single: NDArray[np.float32] = weights.astype(np.float32)
    return single
