"""A lesion as the map drew it, cut out of its slice with the HU around it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Mask = NDArray[np.bool_]
FloatImage = NDArray[np.float32]

#: HU are cut to this range before they are smoothed, so that an air bubble or a calcification stays small.
CUT_HU = (-50, 150)

#: The median of a slice's brain is as good from a sixteenth of its pixels.
BRAIN_STEP_PX = 4

#: Standard deviations after which the smoothing kernel ends.
KERNEL_SD = 3.0


@dataclass(frozen=True, eq=False)
class Candidate:
    """What the map calls one subtype in one slice.

    Attributes:
        region: [rows, columns] what the map marked, one or several regions.
        distance_mm: [rows, columns] float32 from the region; 0 inside.
        zone: [rows, columns] pixels of the brain mask within reach of the region, and the region itself.
        smooth_hu: [rows, columns] float32 smoothed HU, made from pixels of the brain mask only.
        pixel_spacing_mm: (distance between rows, distance between columns).
    """

    region: Mask
    distance_mm: FloatImage
    zone: Mask
    smooth_hu: FloatImage
    pixel_spacing_mm: tuple[float, float]


class SliceWindow:
    """The part of a slice that its candidates can reach.

    Args:
        labels: [rows, columns] uint8 as the map gives them; at least one pixel is labelled.
        hu: [rows, columns] int16.
        brain: [rows, columns] bool.
        pixel_spacing_mm: (distance between rows, distance between columns).
        reach_mm: how far a candidate may grow.
        smoothing_mm: standard deviation of the Gaussian on HU.
    """

    def __init__(
        self,
        labels: NDArray[np.uint8],
        hu: NDArray[np.int16],
        brain: Mask,
        pixel_spacing_mm: tuple[float, float],
        reach_mm: float,
        smoothing_mm: float,
    ) -> None:
        self._spacing_mm = pixel_spacing_mm
        self._reach_mm = reach_mm
        self.view = _box(labels > 0, pixel_spacing_mm, reach_mm)
        self.labels = labels[self.view]
        self.brain = brain[self.view]
        self.smooth_hu = smoothed_hu(hu[self.view], self.brain, pixel_spacing_mm, smoothing_mm)

    def candidates(self) -> Iterator[tuple[int, Candidate]]:
        """Every label of the slice with its candidate, in rising order, each in the shape of the window."""
        for label in np.flatnonzero(np.bincount(self.labels.ravel())):
            if label:
                yield int(label), self._candidate(self.labels == label)

    def _candidate(self, region: Mask) -> Candidate:
        distance_mm = np.full(region.shape, np.inf, np.float32)
        own = _box(region, self._spacing_mm, self._reach_mm)
        distance_mm[own] = ndimage.distance_transform_edt(~region[own], sampling=self._spacing_mm)
        zone = self.brain & (distance_mm <= self._reach_mm)
        return Candidate(region, distance_mm, zone, self.smooth_hu, self._spacing_mm)


def brain_median_hu(hu: NDArray[np.int16], brain: Mask) -> float:
    """Median HU of a slice's brain mask, from every fourth pixel of every fourth row; 0 where there is none."""
    values = hu[::BRAIN_STEP_PX, ::BRAIN_STEP_PX][brain[::BRAIN_STEP_PX, ::BRAIN_STEP_PX]]
    return float(np.median(values)) if values.size else 0.0


def smoothed_hu(
    hu: NDArray[np.int16], brain: Mask, pixel_spacing_mm: tuple[float, float], smoothing_mm: float
) -> FloatImage:
    """[rows, columns] HU smoothed by a Gaussian that sees only the brain mask, so that bone does not leak in.

    Normalised convolution (Knutsson and Westin, CVPR 1993): the smoothed product of image and mask, divided by the
    smoothed mask. Outside of the mask the value is 0.
    """
    inside = brain.astype(np.float32)
    values = np.clip(hu, *CUT_HU).astype(np.float32) * inside
    if smoothing_mm > 0:
        sd_px = [smoothing_mm / spacing for spacing in pixel_spacing_mm]
        values = ndimage.gaussian_filter(values, sd_px, truncate=KERNEL_SD, mode="constant")
        weight = ndimage.gaussian_filter(inside, sd_px, truncate=KERNEL_SD, mode="constant")
        np.divide(values, weight, out=values, where=brain)
    values[~brain] = 0
    return values


def _box(mask: Mask, pixel_spacing_mm: tuple[float, float], margin_mm: float) -> tuple[slice, slice]:
    """The smallest window that holds a mask and what lies within a margin of it."""
    ranges = []
    for axis, spacing in enumerate(pixel_spacing_mm):
        filled = np.flatnonzero(mask.any(axis=1 - axis))
        margin = int(np.ceil(margin_mm / spacing)) + 1
        ranges.append(slice(max(int(filled[0]) - margin, 0), int(filled[-1]) + 1 + margin))
    return ranges[0], ranges[1]
