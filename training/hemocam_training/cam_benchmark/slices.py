"""Slices with hemorrhage of held-out phantoms, for methods to be compared on."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hemocam_training.phantoms import Phantom
from hemocam_training.stacks import MINIMAL_AREA_MM2
from HemoCAMLib.mask.brain_mask import find_brain
from HemoCAMLib.model.stacks import SliceStacker, StackSettings
from HemoCAMLib.subtypes import ANY, SUBTYPES, subtype_named


@dataclass(frozen=True, eq=False)
class BenchmarkSlice:
    """One slice with what must be known of it.

    Attributes:
        seed: of the phantom: the patient that a bootstrap draws.
        index: of the slice in its scan.
        hu: [3, row, column] int16, the slice between its neighbours; an end repeats.
        labels: [row, column] uint8, the truth.
        brain: [row, column] bool, where a mask may lie.
        pixel_area_mm2: of one pixel.
    """

    seed: int
    index: int
    hu: NDArray[np.int16]
    labels: NDArray[np.uint8]
    brain: NDArray[np.bool_]
    pixel_area_mm2: float

    @property
    def classes(self) -> list[str]:
        """ "any" and the subtypes that the slice shows, in an area that a reader would call."""
        shown = [s.name for s in SUBTYPES if self.truth(s.name).sum() * self.pixel_area_mm2 >= MINIMAL_AREA_MM2]
        return [ANY, *shown]

    def truth(self, name: str) -> NDArray[np.bool_]:
        """[row, column] the pixels of a class."""
        return self.labels > 0 if name == ANY else self.labels == subtype_named(name).label

    def stack(self, settings: StackSettings) -> NDArray[np.float32]:
        """[3, rows, columns], the network's input."""
        return SliceStacker(np.maximum(self.hu, -1024), settings)[1]


def bleeding_slices(phantoms: Iterable[Phantom], per_scan: int, seed: int = 0) -> Iterator[BenchmarkSlice]:
    """Up to that many slices with hemorrhage of each phantom, drawn by chance, in scan order.

    Args:
        phantoms: full-size, with noise.
        per_scan: so that a large lesion does not outweigh a small one.
        seed: of the draw.
    """
    for phantom in phantoms:
        rng = np.random.default_rng([seed, phantom.seed])
        candidates = np.flatnonzero(phantom.areas_mm2.sum(axis=1) >= MINIMAL_AREA_MM2)
        if not candidates.size:
            continue
        brain = find_brain(phantom.hu, phantom.geometry)
        for index in sorted(rng.permutation(candidates)[:per_scan].tolist()):
            around = np.clip([index - 1, index, index + 1], 0, len(phantom.hu) - 1)
            yield BenchmarkSlice(
                phantom.seed,
                index,
                phantom.hu[around],
                phantom.labels[index],
                brain.slice(index, phantom.hu[index]),
                phantom.geometry.pixel_area_mm2,
            )
