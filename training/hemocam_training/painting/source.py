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

from hemocam_training.errors import DataRefused
from hemocam_training.painting.anatomies import Anatomy, depth_mm, read_anatomies
from hemocam_training.painting.canvas import Canvas
from hemocam_training.painting.paint import PaintedStack, paint
from hemocam_training.scan_sources import MINIMAL_AREA_MM2
from HemoCAMLib.errors import UsageError
from HemoCAMLib.subtypes import CLASS_NAMES, SUBTYPES

#: A slice that shows less of the skull's inside is never painted on.
_SMALLEST_SECTION_MM2 = 1500.0
#: How many subtypes bleed at once, and which of them how often.
_SUBTYPE_COUNTS = (0.68, 0.22, 0.10)
_SUBTYPE_WEIGHTS = {"IPH": 1.2, "IVH": 0.9, "SAH": 1.0, "SDH": 1.2, "EDH": 0.8}
#: Of the slices with blood, this share has its head's own, where there are such heads.
_OWN_BLOOD_SHARE = 0.35


class PaintedSlices:
    """Slices of heads; on a chosen share of those that never bled blood is painted, each time other blood.

    A :class:`~hemocam_training.learning.slices.SliceSource` whose labels come with the stacks. An index from
    ``len(self)`` on stands for the slice ``index - len(self)`` with blood.

    Args:
        folders: written by ``hemocam-train anatomies``.
        size: rows and columns of the stacks; a divisor of the stored size averages.

    Attributes:
        target, known: [slice, class] of the slices as they are.
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
        bleeds = np.repeat([head.bleeds for head in heads], [len(head.fields) for head in heads])
        inside_mm2 = np.concatenate([_inside_mm2(head) for head in heads])
        self._paintable = np.flatnonzero(~bleeds & (inside_mm2 > _SMALLEST_SECTION_MM2))
        areas_mm2 = np.concatenate([_areas_mm2(head) for head in heads])
        self.target = (areas_mm2 >= MINIMAL_AREA_MM2).astype(np.float32)
        self.known = (self.target == (areas_mm2 > 0)).astype(np.float32)
        self._clean = np.flatnonzero(areas_mm2[:, 0] == 0)
        own = [np.flatnonzero(column) for column in self.target[:, 1:].T]
        self._own_blood = [found for found in own if found.size]
        if not self._clean.size or not (self._paintable.size or self._own_blood):
            raise DataRefused(
                "TRAIN_ANATOMIES",
                "These heads have no slices without blood, or none that show blood or could.",
                "Draw more heads with hemocam-train anatomies, without --bleeding too.",
            )
        self._own_share = _OWN_BLOOD_SHARE if self._own_blood and self._paintable.size else float(bool(self._own_blood))
        self.scan_count = len(heads)

    def __len__(self) -> int:
        return len(self._row)

    def balanced_indices(self, rng: np.random.Generator, count: int) -> NDArray[np.int64]:
        """Half of them any slices without blood, half of them slices to be painted on or with blood of their own.

        Those are drawn evenly by subtype.
        """
        bloody = count // 2
        chosen = rng.choice(self._clean, count - bloody)
        own = int(rng.binomial(bloody, self._own_share))
        which = rng.integers(max(1, len(self._own_blood)), size=own)
        with_own = np.array([rng.choice(self._own_blood[number]) for number in which], np.int64)
        return np.concatenate([chosen, with_own, rng.choice(self._paintable, bloody - own) + len(self)])

    def stacks_hu(self, indices: NDArray[np.int64], repeated: NDArray[np.bool_]) -> Tensor:
        """[N, 3, H, W] HU of the slices as they are, nothing painted."""
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
        number = index % len(self)
        canvas = self._canvas(number, repeated, generator)
        if index >= len(self):
            return paint(canvas, _subtypes(canvas))
        stack = paint(canvas)
        if canvas.labels is None:
            return stack
        target, known = torch.from_numpy(self.target[number]), torch.from_numpy(self.known[number])
        return stack._replace(target=target, known=known, labels=canvas.labels[1])

    def _canvas(self, slice_number: int, repeated: bool, generator: torch.Generator) -> Canvas:
        head, row = self._heads[self._head[slice_number]], int(self._row[slice_number])
        last = len(head.fields) - 1
        rows = [row] * 3 if repeated else [max(row - 1, 0), row, min(row + 1, last)]
        values: NDArray[Any] = np.stack([head.fields[number] for number in rows]).astype(np.float32)
        values[:, 0] = values[:, 0] * self._preprocessing.hu_per_step + self._preprocessing.low_hu
        values[:, 1] = depth_mm(values[:, 1])
        values[:, 2:4] /= 255
        fields, labels = torch.from_numpy(values[:, :4]), torch.from_numpy(values[:, 4:])
        factor = self._preprocessing.size // self.size
        if factor > 1:
            fields, labels = functional.avg_pool2d(fields, factor), labels[..., ::factor, ::factor]
        hu, depth, csf, ventricle = fields.unbind(1)
        return Canvas(
            hu,
            depth,
            csf,
            ventricle,
            labels=labels[:, 0].to(torch.uint8) if head.bleeds else None,
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


def _areas_mm2(head: Anatomy) -> NDArray[np.float64]:
    """[slice, class] area of the head's own blood, any first."""
    if not head.bleeds:
        return np.zeros((len(head.fields), len(CLASS_NAMES)))
    labels = head.fields[:, 4]
    counts = [(labels > 0).sum(axis=(1, 2))]
    counts += [(labels == subtype.label).sum(axis=(1, 2)) for subtype in SUBTYPES]
    areas: NDArray[np.float64] = np.stack(counts, axis=1) * head.pixel_mm**2
    return areas
