"""New label maps from stored activation maps: what a slider for thresholds needs, without the network."""

from __future__ import annotations

import math
import os
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from HemoCAMLib.ct.geometry import SliceGeometry
from HemoCAMLib.mask.components import ComponentAccumulator, SliceRegions, slice_regions
from HemoCAMLib.mask.label_slice import label_slice
from HemoCAMLib.mask.refine import refine_slice
from HemoCAMLib.mask.settings import MaskSettings

Made = TypeVar("Made")

#: More would wait for each other: a good part of a slice's time is Python's own.
THREADS = min(2, os.cpu_count() or 1)


class SliceMasks(Protocol):
    """Anything that gives the [rows, columns] mask of a slice: a list, an array, :class:`PackedMasks`."""

    def __getitem__(self, index: int, /) -> NDArray[np.bool_]: ...


class SliceImages(Protocol):
    """Anything that gives a slice [rows, columns] in HU: an array, :attr:`HeadCT.slices`."""

    def __getitem__(self, index: int, /) -> NDArray[np.int16]: ...


class PackedMasks:
    """Masks of a whole scan at one bit per pixel: 32 KiB for 512 × 512, so that they can be kept while a user tries.

    >>> masks = PackedMasks()
    >>> masks.append(np.eye(3, dtype=bool))
    >>> bool((masks[0] == np.eye(3)).all())
    True
    """

    def __init__(self) -> None:
        self._packed: list[tuple[NDArray[np.uint8], tuple[int, ...]]] = []

    def append(self, mask: NDArray[np.bool_]) -> None:
        """Adds the next slice's [rows, columns] mask."""
        self._packed.append((np.packbits(mask), mask.shape))

    def __len__(self) -> int:
        return len(self._packed)

    def __getitem__(self, index: int) -> NDArray[np.bool_]:
        packed, shape = self._packed[index]
        return np.unpackbits(packed, count=math.prod(shape)).view(np.bool_).reshape(shape)


def label_scan(
    local_logits: NDArray[np.floating[Any]],
    probabilities: NDArray[np.floating[Any]],
    brain: SliceMasks,
    geometry: SliceGeometry,
    settings: MaskSettings,
    hu: SliceImages | None = None,
) -> Iterator[NDArray[np.uint8]]:
    """Label maps of all slices in order, small lesions removed: the same as an analysis with these settings gives.

    Args:
        local_logits: [5, slice, h, w] stored maps of the subtypes; may be memory-mapped, a slice is read at a time.
        probabilities: [5, slice]; a column that is not a number (not analysed yet) gives an empty label map.
        brain: [rows, columns] masks, one per slice, such as :class:`PackedMasks`.
        geometry: of the scan.
        settings: the new settings.
        hu: [rows, columns] int16 slices of the scan; needed where the settings have a refinement.

    Yields:
        [rows, columns] uint8 labels, slice after slice. Without a smallest volume each is made when it is asked for;
        with one, the label maps that are not empty are held until then.
    """

    def unfiltered(index: int) -> NDArray[np.uint8]:
        labels = label_slice(local_logits[:, index], probabilities[:, index], brain[index], settings)
        if settings.refinement is None or hu is None or not labels.any():
            return labels
        return refine_slice(labels, hu[index], brain[index], geometry.pixel_spacing_mm, settings.refinement).labels

    if settings.refinement is not None and hu is None:
        raise ValueError("a refinement needs the scan in HU")

    def with_regions(index: int) -> tuple[NDArray[np.uint8], SliceRegions]:
        labels = unfiltered(index)
        return labels, slice_regions(labels)

    count = local_logits.shape[1]
    smallest_height = settings.refinement.smallest_height if settings.refinement is not None else 0.0
    if settings.minimum_volume_ml == smallest_height == 0:
        yield from _in_order(unfiltered, count)
        return
    components = ComponentAccumulator(geometry, settings.minimum_volume_ml, smallest_height)
    kept: dict[int, NDArray[np.uint8]] = {}
    for index, (labels, regions) in enumerate(_in_order(with_regions, count)):
        components.add_regions(index, regions)
        if regions.count:
            kept[index] = labels
    components.finish()
    for index in range(count):
        if index not in kept:
            yield np.zeros(brain[index].shape, np.uint8)
        elif components.changes(index):
            yield components.filter(index, kept.pop(index))
        else:
            yield kept.pop(index)


def _in_order(work: Callable[[int], Made], count: int) -> Iterator[Made]:
    """What ``work`` gives for 0, 1, ... in order, a few ahead of the asker: numpy leaves the other cores free."""
    with ThreadPoolExecutor(THREADS) as pool:
        waiting = deque(pool.submit(work, index) for index in range(min(2 * THREADS, count)))
        for index in range(count):
            made = waiting.popleft().result()
            if index + 2 * THREADS < count:
                waiting.append(pool.submit(work, index + 2 * THREADS))
            yield made
