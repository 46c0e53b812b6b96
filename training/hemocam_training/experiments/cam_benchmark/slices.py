"""Slices with hemorrhage and their masks, for methods to be compared on."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hemocam_training.scan_sources import MINIMAL_AREA_MM2, LabelledScan, ScanSource
from HemoCAMLib.ct.geometry import SliceGeometry
from HemoCAMLib.mask.brain_mask import find_brain
from HemoCAMLib.model.stacks import SliceStacker, StackSettings
from HemoCAMLib.subtypes import ANY, SUBTYPES, subtype_named

#: Taken where a dataset does not tell its geometry (Hemorica): 230 mm across the image, 5 mm from slice to slice. It
#: decides which specks are too small for a box and how far the brain mask is refined, and enters no score.
NOMINAL_WIDTH_MM, NOMINAL_STEP_MM = 230.0, 5.0


@dataclass(frozen=True, eq=False)
class BenchmarkSlice:
    """One slice with what must be known of it.

    Attributes:
        patient: whom a bootstrap draws.
        scan: the series, for a reader to find it again.
        index: of the slice in its scan.
        hu: [3, row, column] int16, the slice between its neighbours; an end repeats.
        labels: [row, column] uint8, the truth; 1 for any hemorrhage where subtypes are not told.
        brain: [row, column] bool, where a mask may lie.
        pixel_area_mm2: of one pixel.
        tells_subtypes: whether ``labels`` holds subtypes.
    """

    patient: str
    scan: str
    index: int
    hu: NDArray[np.int16]
    labels: NDArray[np.uint8]
    brain: NDArray[np.bool_]
    pixel_area_mm2: float
    tells_subtypes: bool = True

    @property
    def classes(self) -> list[str]:
        """ "any" and the subtypes that the slice shows, in an area that a reader would call."""
        if not self.tells_subtypes:
            return [ANY]
        shown = [s.name for s in SUBTYPES if self.truth(s.name).sum() * self.pixel_area_mm2 >= MINIMAL_AREA_MM2]
        return [ANY, *shown]

    def truth(self, name: str) -> NDArray[np.bool_]:
        """[row, column] the pixels of a class."""
        return self.labels > 0 if name == ANY else self.labels == subtype_named(name).label

    def stack(self, settings: StackSettings) -> NDArray[np.float32]:
        """[3, rows, columns], the network's input."""
        return SliceStacker(np.maximum(self.hu, -1024), settings)[1]


def scans_of(source: ScanSource) -> Iterator[LabelledScan]:
    """Every scan of a source, one at a time."""
    return (source.load(number) for number in range(len(source)))


def bleeding_slices(scans: Iterable[LabelledScan], per_scan: int, seed: int = 0) -> Iterator[BenchmarkSlice]:
    """Up to that many slices with hemorrhage of each scan with a mask of hemorrhage, drawn by chance, in scan order.

    Args:
        scans: with noise.
        per_scan: so that a large lesion does not outweigh a small one.
        seed: of the draw.
    """
    for scan in scans:
        if scan.mask is None or scan.mask_kind not in ("subtypes", "any"):
            continue
        geometry = scan.geometry or nominal_geometry(scan.hu.shape)
        rng = np.random.default_rng([seed, _number_of(scan.series)])
        areas_mm2 = np.count_nonzero(scan.mask, axis=(1, 2)) * geometry.pixel_area_mm2
        candidates = np.flatnonzero(areas_mm2 >= MINIMAL_AREA_MM2)
        if not candidates.size:
            continue
        brain = find_brain(scan.hu, geometry)
        for index in sorted(rng.permutation(candidates)[:per_scan].tolist()):
            around = np.clip([index - 1, index, index + 1], 0, len(scan.hu) - 1)
            yield BenchmarkSlice(
                scan.patient,
                scan.series,
                index,
                scan.hu[around],
                scan.mask[index],
                brain.slice(index, scan.hu[index]),
                geometry.pixel_area_mm2,
                scan.mask_kind == "subtypes",
            )


def nominal_geometry(shape: tuple[int, ...]) -> SliceGeometry:
    """Untilted slices of usual size, for [slice, row, column]; see :data:`NOMINAL_WIDTH_MM`."""
    positions = np.zeros((shape[0], 3))
    positions[:, 2] = np.arange(shape[0]) * NOMINAL_STEP_MM
    pixel_mm = NOMINAL_WIDTH_MM / shape[2]
    along_row, along_column = np.array([1.0, 0.0, 0.0]), np.array([0.0, 1.0, 0.0])
    return SliceGeometry(positions, along_row, along_column, (pixel_mm, pixel_mm), NOMINAL_STEP_MM)


def _number_of(series: str) -> int:
    return int(series) if series.isascii() and series.isdigit() else zlib.crc32(series.encode())
