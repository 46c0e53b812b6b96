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


class KeptSlices:
    """Label maps of the settings that were tried last, so that a slider computes only the slices that it changes.

    A slice depends on the subtypes that are called in it, their thresholds, and the settings that all share; a
    smallest volume is applied afterwards. Empty label maps take no memory.
    """

    def __init__(self) -> None:
        self._kept: dict[int, tuple[object, NDArray[np.uint8] | None]] = {}

    def labels(
        self,
        index: int,
        probabilities: NDArray[np.floating[Any]],
        settings: MaskSettings,
        make: Callable[[int], NDArray[np.uint8]],
    ) -> NDArray[np.uint8]:
        """[rows, columns] of a slice, made anew only where it can differ from the last; not to be written to.

        Args:
            index: of the slice.
            probabilities: [5] of it.
            settings: to label with.
            make: labels a slice with these settings.
        """
        called = np.flatnonzero(probabilities > np.asarray(settings.class_thresholds)).tolist()
        thresholds = tuple((subtype, settings.mask_thresholds[subtype]) for subtype in called)
        key = (thresholds, settings.scale, settings.rule, settings.refinement, settings.map_values)
        former, labels = self._kept.get(index, (None, None))
        if former == key and labels is not None:
            return labels
        made = make(index)
        if made.any():
            self._kept[index] = (key, made)
        else:
            self._kept.pop(index, None)
        return made


def label_scan(
    local_logits: NDArray[np.floating[Any]],
    probabilities: NDArray[np.floating[Any]],
    brain: SliceMasks,
    geometry: SliceGeometry,
    settings: MaskSettings,
    hu: SliceImages | None = None,
    kept: KeptSlices | None = None,
) -> Iterator[NDArray[np.uint8]]:
    """Label maps of all slices in order, small lesions removed: the same as an analysis with these settings gives.

    Args:
        local_logits: [5, slice, h, w] stored maps of the subtypes; may be memory-mapped, a slice is read at a time.
        probabilities: [5, slice]; a column that is not a number (not analysed yet) gives an empty label map.
        brain: [rows, columns] masks, one per slice, such as :class:`PackedMasks`.
        geometry: of the scan.
        settings: the new settings.
        hu: [rows, columns] int16 slices of the scan; needed where the settings have a refinement.
        kept: of a former call with the same scan, to be asked and brought up to date; what is given must not be
            written to then.

    Yields:
        [rows, columns] uint8 labels, slice after slice. Without a smallest volume each is made when it is asked for;
        with one, the label maps that are not empty are held until then.
    """

    def unfiltered(index: int) -> NDArray[np.uint8]:
        return labelled(index) if kept is None else kept.labels(index, probabilities[:, index], settings, labelled)

    def labelled(index: int) -> NDArray[np.uint8]:
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
    held: dict[int, NDArray[np.uint8]] = {}
    for index, (labels, regions) in enumerate(_in_order(with_regions, count)):
        components.add_regions(index, regions)
        if regions.count:
            held[index] = labels
    components.finish()
    for index in range(count):
        if index not in held:
            yield np.zeros(brain[index].shape, np.uint8)
        elif components.changes(index):
            yield components.filter(index, held.pop(index))
        else:
            yield held.pop(index)


def _in_order(work: Callable[[int], Made], count: int) -> Iterator[Made]:
    """What ``work`` gives for 0, 1, ... in order, a few ahead of the asker: numpy leaves the other cores free."""
    with ThreadPoolExecutor(THREADS) as pool:
        waiting = deque(pool.submit(work, index) for index in range(min(2 * THREADS, count)))
        for index in range(count):
            made = waiting.popleft().result()
            if index + 2 * THREADS < count:
                waiting.append(pool.submit(work, index + 2 * THREADS))
            yield made
