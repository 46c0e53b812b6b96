"""Cached phantoms as a source of balanced batches of slice stacks with class labels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from hemocam_training.cache import LOW_HU, SIZE, STEPS_PER_HU
from hemocam_training.phantoms.plan import has_hidden_subdural

#: Below this labelled area in a slice a reader may or may not call it; such labels do not count.
MINIMAL_AREA_MM2 = 20.0


def labels_from_areas(areas_mm2: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Class labels (any first) and which of them are known.

    Args:
        areas_mm2: [slice, subtype] labelled area.

    Returns:
        target and known, [slice, class] each, 0 or 1.
    """
    areas = np.concatenate([areas_mm2.sum(axis=1, keepdims=True), areas_mm2], axis=1)
    target = (areas >= MINIMAL_AREA_MM2).astype(np.float32)
    return target, ((areas == 0) | (target > 0)).astype(np.float32)


class CachedStacks:
    """Every slice of a cache folder.

    Args:
        folder: written by :mod:`hemocam_training.cache`.
        limit: use only that many scans.
        size: rows and columns of the stacks; half the cached size trains four times as fast. Above the cached size
            slices are interpolated: a network with coarse maps gets more positions, not more detail.
        without_hidden: leave out scans whose subdural a reader would hardly see: labels like that teach a network to
            suspect every healthy convexity.

    Attributes:
        target, known: see :func:`labels_from_areas`.
        seeds: of the scans used.
    """

    def __init__(self, folder: Path, limit: int | None = None, size: int = SIZE, without_hidden: bool = False) -> None:
        files = sorted(path for path in folder.glob("*.npy") if not path.stem.endswith(".areas"))[:limit]
        if without_hidden:
            files = [path for path in files if not has_hidden_subdural(int(path.stem))]
        if not files:
            raise FileNotFoundError(f"no cached phantoms in {folder}")
        self.seeds = [int(path.stem) for path in files]
        scans = [_shrunk(np.load(path), max(1, SIZE // size)) for path in files]
        self._size = size
        self._slices = torch.from_numpy(np.concatenate(scans))
        ends = np.cumsum([len(scan) for scan in scans])
        self._first = np.repeat(ends - [len(scan) for scan in scans], [len(scan) for scan in scans])
        self._last = np.repeat(ends - 1, [len(scan) for scan in scans])
        areas = np.concatenate([np.load(path.with_name(f"{path.stem}.areas.npy")) for path in files])
        self.target, self.known = labels_from_areas(areas)
        self._positives = [np.flatnonzero(self.target[:, c] > 0) for c in range(1, self.target.shape[1])]

    def __len__(self) -> int:
        return len(self._slices)

    def balanced_indices(self, rng: np.random.Generator, count: int) -> NDArray[np.int64]:
        """Half of them any slices, half of them positive for a subtype drawn evenly."""
        anywhere = rng.integers(len(self), size=count - count // 2)
        classes = [c for c, found in enumerate(self._positives) if found.size]
        positive = [rng.choice(self._positives[rng.choice(classes)]) for _ in range(count // 2)]
        return np.concatenate([anywhere, np.array(positive, dtype=np.int64)])

    def stacks_hu(self, indices: NDArray[np.int64], repeated: NDArray[np.bool_]) -> Tensor:
        """[N, 3, H, W] HU: before, the slice, after; all the slice itself where ``repeated``."""
        before = np.where(repeated, indices, np.maximum(indices - 1, self._first[indices]))
        after = np.where(repeated, indices, np.minimum(indices + 1, self._last[indices]))
        wanted = torch.from_numpy(np.stack([before, indices, after], axis=1))
        hu = self._slices[wanted].float() / STEPS_PER_HU + LOW_HU
        if self._size <= SIZE:
            return hu
        return functional.interpolate(hu, (self._size, self._size), mode="bilinear", align_corners=False)


def _shrunk(values: NDArray[np.uint8], factor: int) -> NDArray[np.uint8]:
    if factor == 1:
        return values
    blocks = values.reshape(values.shape[0], values.shape[1] // factor, factor, values.shape[2] // factor, factor)
    return np.rint(blocks.mean(axis=(2, 4), dtype=np.float32)).astype(np.uint8)
