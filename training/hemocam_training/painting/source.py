"""Slices to learn from whose blood is painted when they are asked for."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from hemocam_training.painting.anatomies import Anatomy, depth_mm, read_anatomies
from hemocam_training.painting.canvas import Canvas
from hemocam_training.painting.paint import PaintedStack, paint
from HemoCAMLib.errors import UsageError
from HemoCAMLib.subtypes import CLASS_NAMES

#: A slice that shows less of the skull's inside is never painted on.
_SMALLEST_SECTION_MM2 = 1500.0
#: How many subtypes bleed at once, and which of them how often.
_SUBTYPE_COUNTS = (0.68, 0.22, 0.10)
_SUBTYPE_WEIGHTS = {"IPH": 1.2, "IVH": 0.9, "SAH": 1.0, "SDH": 1.2, "EDH": 0.8}


class PaintedSlices:
    """Slices of heads without blood, on which a chosen share is painted; each time with other blood.

    A :class:`~hemocam_training.learning.slices.SliceSource` whose labels come with the stacks. An index from
    ``len(self)`` on stands for the slice ``index - len(self)`` with blood.

    Args:
        folders: written by ``hemocam-train anatomies``.
        size: rows and columns of the stacks; a divisor of the stored size averages.

    Attributes:
        target, known: [slice, class] of the slices as they are: no blood, and that is known.
        scan_count: heads.

    Raises:
        DataRefused: ``TRAIN_ANATOMIES``.
        UsageError: ``USAGE_SHARDS_SIZE``.
    """

    def __init__(self, folders: Sequence[Path], size: int) -> None:
        heads: list[Anatomy] = []
        for folder in folders:
            found, self._preprocessing = read_anatomies(folder)
            heads += found
        stored = self._preprocessing.size
        if stored % size:
            raise UsageError(
                "USAGE_SHARDS_SIZE",
                f"Heads stored at {stored} cannot be averaged to {size}.",
                "Give a divisor of the stored size.",
            )
        self.size, self._heads = size, heads
        self._head = np.repeat(np.arange(len(heads)), [len(head.fields) for head in heads])
        self._row = np.concatenate([np.arange(len(head.fields)) for head in heads])
        self._paintable = np.flatnonzero(np.concatenate([_inside_mm2(head) for head in heads]) > _SMALLEST_SECTION_MM2)
        self.target = np.zeros((len(self._row), len(CLASS_NAMES)), np.float32)
        self.known = np.ones_like(self.target)
        self.scan_count = len(heads)

    def __len__(self) -> int:
        return len(self._row)

    def balanced_indices(self, rng: np.random.Generator, count: int) -> NDArray[np.int64]:
        """Half of them any slices without blood, half of them slices to be painted on."""
        clean = rng.integers(len(self), size=count - count // 2)
        return np.concatenate([clean, rng.choice(self._paintable, count // 2) + len(self)])

    def stacks_hu(self, indices: NDArray[np.int64], repeated: NDArray[np.bool_]) -> Tensor:
        """[N, 3, H, W] HU of the slices as they are, without blood and look-alikes."""
        canvases = [
            self._canvas(int(index) % len(self), bool(alone), torch.Generator())
            for index, alone in zip(indices, repeated, strict=True)
        ]
        return torch.stack([canvas.hu for canvas in canvases])

    def painted(self, index: int, repeated: bool, seed: Sequence[int]) -> PaintedStack:
        """One stack with its labels.

        Args:
            index: see the class.
            repeated: all three slices are the slice itself.
            seed: numbers that decide what is painted.
        """
        state = np.random.SeedSequence([int(number) for number in seed]).generate_state(1, np.uint64)[0]
        generator = torch.Generator().manual_seed(int(state >> np.uint64(1)))
        canvas = self._canvas(index % len(self), repeated, generator)
        return paint(canvas, _subtypes(canvas) if index >= len(self) else ())

    def _canvas(self, slice_number: int, repeated: bool, generator: torch.Generator) -> Canvas:
        head, row = self._heads[self._head[slice_number]], int(self._row[slice_number])
        last = len(head.fields) - 1
        rows = [row] * 3 if repeated else [max(row - 1, 0), row, min(row + 1, last)]
        values: NDArray[Any] = np.stack([head.fields[number] for number in rows]).astype(np.float32)
        values[:, 0] = values[:, 0] * self._preprocessing.hu_per_step + self._preprocessing.low_hu
        values[:, 1] = depth_mm(values[:, 1])
        values[:, 2:] /= 255
        fields = torch.from_numpy(values)
        factor = self._preprocessing.size // self.size
        if factor > 1:
            fields = functional.avg_pool2d(fields, factor)
        hu, depth, csf, ventricle = fields.unbind(1)
        return Canvas(
            hu,
            depth,
            csf,
            ventricle,
            pixel_mm=head.pixel_mm * factor,
            step_mm=0.0 if repeated else head.step_mm,
            generator=generator,
        )


def _subtypes(canvas: Canvas) -> list[str]:
    left = dict(_SUBTYPE_WEIGHTS)
    chosen = []
    for _ in range(1 + canvas.pick(_SUBTYPE_COUNTS)):
        name = list(left)[canvas.pick(list(left.values()))]
        chosen.append(name)
        del left[name]
    return chosen


def _inside_mm2(head: Anatomy) -> NDArray[np.float64]:
    """[slice] area of the skull's inside, counted on every fourth row and column."""
    inside: NDArray[np.float64] = (depth_mm(head.fields[:, 1, ::4, ::4].astype(np.float32)) > 0).sum(axis=(1, 2))
    return inside * (4 * head.pixel_mm) ** 2
