"""A scan in a dozen numbers: sampling, coverage, densities and noise of the brain, metal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from HemoCAMLib.ct.geometry import SliceGeometry
from HemoCAMLib.mask import BrainMask

#: Every so many rows are looked at: a sixth of the pixels gives the same numbers to a tenth of a HU.
ROW_STEP = 6

#: Densities are counted this far inside the space, where bone has no part in a pixel and a thin clot little.
INSIDE_MM = 8.0

#: Vessels with contrast medium; unenhanced blood stays below 100 HU, calcification is a few pixels.
ENHANCED_HU = (130, 600)

#: Titanium and steel; dense bone and tooth enamel stay below.
METAL_HU = 2500

#: What counts as tissue of the brain where its density and noise are taken.
TISSUE_HU = (-10, 110)


@dataclass(frozen=True)
class ScanStatistics:
    """What a scan is like. A value is None where the scan does not show it (no brain found, a single slice).

    Attributes:
        pixel_spacing_mm: larger of the two spacings in the plane.
        slice_extent_mm: median extent of a slice along the normal.
        tilt_deg: size of the gantry tilt.
        brain_height_mm: extent along the normal of the slices that show the space inside the skull.
        brain_volume_ml: of that space, at 2 mm.
        lowest_area_cm2: of that space in the first slice of the scan; large where the skull base is cut off.
        highest_area_cm2: in the last slice; large where the vertex is cut off.
        brain_p10_hu: 10th percentile of the brain's density, 8 mm and more inside the skull.
        brain_median_hu: median of it.
        brain_p90_hu: 90th percentile of it.
        noise_hu: standard deviation of fine noise there, from second differences along rows.
        enhanced_percent: share of pixels inside that are as dense as vessels with contrast medium.
        metal_ml: volume above 2500 HU in that space.
    """

    pixel_spacing_mm: float
    slice_extent_mm: float
    tilt_deg: float
    brain_height_mm: float | None = None
    brain_volume_ml: float | None = None
    lowest_area_cm2: float | None = None
    highest_area_cm2: float | None = None
    brain_p10_hu: float | None = None
    brain_median_hu: float | None = None
    brain_p90_hu: float | None = None
    noise_hu: float | None = None
    enhanced_percent: float | None = None
    metal_ml: float | None = None

    def as_dict(self) -> dict[str, float | None]:
        """By name, rounded to three decimals."""
        return {name: None if value is None else round(value, 3) for name, value in asdict(self).items()}


def measure_scan(
    slices: Sequence[NDArray[np.int16]] | NDArray[np.int16], geometry: SliceGeometry, brain: BrainMask
) -> ScanStatistics:
    """The statistics of a scan; reads each slice with brain once and holds a histogram.

    Args:
        slices: int16 arrays [rows, columns] in HU.
        geometry: of the scan.
        brain: its brain mask.
    """
    found = ScanStatistics(
        pixel_spacing_mm=max(geometry.pixel_spacing_mm),
        slice_extent_mm=float(np.median(geometry.extents_mm)),
        tilt_deg=abs(geometry.tilt_deg),
    )
    if brain.is_empty:
        return found
    areas_mm2 = _areas_mm2(brain)
    shown = areas_mm2 > 0
    if geometry.slice_count > 1:
        found = replace(
            found,
            brain_height_mm=float(geometry.extents_mm[shown].sum()),
            brain_volume_ml=float((areas_mm2 * geometry.extents_mm).sum() / 1000),
            lowest_area_cm2=float(areas_mm2[0] / 100),
            highest_area_cm2=float(areas_mm2[-1] / 100),
        )
    density = _Density(geometry, brain)
    for index in np.flatnonzero(shown):
        density.add(int(index), slices[int(index)])
    return density.added_to(found)


def _areas_mm2(brain: BrainMask) -> NDArray[np.float64]:
    """[slice] area of the space inside the skull, from the copy at 2 mm."""
    pixel_mm2 = brain.pixel_spacing_mm[0] * brain.pixel_spacing_mm[1] * brain.factor**2
    by_slab = np.count_nonzero(brain.space, axis=(1, 2)) * pixel_mm2
    areas: NDArray[np.float64] = by_slab[brain.slab_of_slice]
    return areas


class _Density:
    """Histogram of HU and of second differences well inside the skull, slice by slice."""

    def __init__(self, geometry: SliceGeometry, brain: BrainMask) -> None:
        self._geometry, self._brain = geometry, brain
        self._hu = np.zeros(TISSUE_HU[1] - TISSUE_HU[0] + 1, np.int64)
        self._differences = np.zeros(1024, np.int64)
        self._inside_count = self._enhanced_count = 0
        self._metal_mm3 = 0.0

    def add(self, index: int, hu: NDArray[np.int16]) -> None:
        factor, columns = self._brain.factor, hu.shape[1]
        space = self._brain.space[self._brain.slab_of_slice[index]]
        core = ndimage.binary_erosion(
            space, iterations=max(1, round(INSIDE_MM / (max(self._brain.pixel_spacing_mm) * factor)))
        )
        rows = hu[::ROW_STEP]
        of_row = np.arange(0, hu.shape[0], ROW_STEP) // factor
        metal = (rows > METAL_HU) & np.repeat(space[of_row], factor, axis=1)[:, :columns]
        voxel_mm3 = self._geometry.pixel_area_mm2 * float(self._geometry.extents_mm[index])
        self._metal_mm3 += np.count_nonzero(metal) * ROW_STEP * voxel_mm3
        inside = np.repeat(core[of_row], factor, axis=1)[:, :columns]
        values = rows[inside]
        self._inside_count += values.size
        self._enhanced_count += int(np.count_nonzero((values > ENHANCED_HU[0]) & (values < ENHANCED_HU[1])))
        tissue = values[(values >= TISSUE_HU[0]) & (values <= TISSUE_HU[1])]
        self._hu += np.bincount(tissue - TISSUE_HU[0], minlength=self._hu.size)
        both = inside[:, 1:-1] & inside[:, :-2] & inside[:, 2:]
        wide = rows.astype(np.int32)
        second = np.abs(2 * wide[:, 1:-1] - wide[:, :-2] - wide[:, 2:])[both]
        self._differences += np.bincount(np.minimum(second, self._differences.size - 1), minlength=1024)

    def added_to(self, statistics: ScanStatistics) -> ScanStatistics:
        found = replace(statistics, metal_ml=self._metal_mm3 / 1000)
        if self._hu.sum() == 0 or self._differences.sum() == 0:
            return found
        p10, median, p90 = (_percentile(self._hu, share) + TISSUE_HU[0] for share in (0.1, 0.5, 0.9))
        # The median of |2b - a - c| of white noise with standard deviation s is 0.6745 s √6.
        noise = _percentile(self._differences, 0.5) / (0.6745 * np.sqrt(6))
        return replace(
            found,
            brain_p10_hu=p10,
            brain_median_hu=median,
            brain_p90_hu=p90,
            noise_hu=float(noise),
            enhanced_percent=100 * self._enhanced_count / self._inside_count,
        )


def _percentile(counts: NDArray[np.int64], share: float) -> float:
    """Of whole numbers 0, 1, 2 … by their counts, interpolated within a bin of width 1 around each."""
    below = np.cumsum(counts)
    wanted = share * below[-1]
    place = int(np.searchsorted(below, wanted))
    before = below[place - 1] if place else 0
    return float(place - 0.5 + (wanted - before) / max(counts[place], 1))
