"""Measures a label map slice by slice, with every slice's true extent."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from HemoCAMLib.ct.geometry import SliceGeometry
from HemoCAMLib.mask.components import LesionForest, SliceRegions, slice_regions
from HemoCAMLib.measure.diameter import Points, largest_diameter_mm, outline_points_mm, thickness_mm
from HemoCAMLib.measure.measurements import TOTAL, Measurements, Side
from HemoCAMLib.measure.midline import MidlinePlane
from HemoCAMLib.subtypes import ANY, SUBTYPES

#: A lesion lies on one side where at least this share of it, outside the midline strip, lies there.
ONE_SIDED_SHARE = 0.8

#: Half the width of the strip around the midline that speaks for neither side.
MIDLINE_TOLERANCE_MM = 3.0

#: A lesion below both of these says nothing about the side of its subtype.
SIDE_VOTE_SHARE, SIDE_VOTE_ML = 0.05, 1.0

Window = tuple[slice, slice]


@dataclass(frozen=True, eq=False)
class _Region:
    """One connected region of one slice."""

    index: int
    label: int
    area_mm2: float
    volume_ml: float
    left_ml: float
    right_ml: float
    outline_mm: Points
    diameter_mm: float


@dataclass(frozen=True, eq=False)
class MeasuredSlice:
    """One slice as it was measured, to be taken in again while its labels stay as they are.

    Attributes:
        index: of the slice.
        regions: its connected regions.
        found: what is measured of each.
    """

    index: int
    regions: SliceRegions
    found: tuple[_Region, ...]


class Measurer:
    """Takes label maps in rising slice order and keeps a few numbers per region, never the maps.

    A volume is the sum over voxels of row spacing × column spacing × extent of the voxel's slice along the normal.

    Args:
        geometry: of the scan.
        midline: plane between left and right; the middle of the image where None.
        midline_tolerance_mm: half the width of the strip around it that speaks for neither side.

    >>> geometry = SliceGeometry(np.array([[0.0, 0, 0], [0, 0, 5]]), np.eye(3)[0], np.eye(3)[1], (0.5, 0.5))
    >>> measurer = Measurer(geometry)
    >>> measurer.add(0, np.full((20, 20), 1, np.uint8))
    >>> measurer.add(1, np.zeros((20, 20), np.uint8))
    >>> measurer.finish().volume_ml["IPH"]
    0.5
    """

    def __init__(
        self,
        geometry: SliceGeometry,
        midline: MidlinePlane | None = None,
        *,
        midline_tolerance_mm: float = MIDLINE_TOLERANCE_MM,
    ) -> None:
        self._geometry = geometry
        self._extents_mm = geometry.extents_mm
        self._midline = midline
        self._tolerance_mm = midline_tolerance_mm
        self._forest = LesionForest()
        self._regions: list[_Region] = []

    def add(self, index: int, labels: NDArray[np.uint8]) -> None:
        """Measures [rows, columns] labels of one slice; slices without labels may be left out."""
        self.add_slice(self.measure_slice(index, labels))

    def measure_slice(self, index: int, labels: NDArray[np.uint8]) -> MeasuredSlice:
        """What :meth:`add` finds in one slice, without taking it in."""
        regions = slice_regions(labels)
        if regions.count == 0:
            return MeasuredSlice(index, regions, ())
        midline = self._midline or MidlinePlane.of_image(self._geometry, (labels.shape[0], labels.shape[1]))
        sides = self._count_sides(index, regions, midline)
        found = (
            self._measure_region(index, regions, number, window, *sides[:, number - 1])
            for number, window in enumerate(ndimage.find_objects(regions.map), start=1)
        )
        return MeasuredSlice(index, regions, tuple(found))

    def add_slice(self, measured: MeasuredSlice) -> None:
        """Takes in a slice that :meth:`measure_slice` has measured, here or in a measurer of the same scan."""
        self._forest.add(measured.index, measured.regions)
        self._regions.extend(measured.found)

    def slice_area_mm2(self, labels: NDArray[np.uint8]) -> dict[str, float]:
        """Area of one slice's labels by subtype name and ``any``, in mm², without taking the slice in."""
        counts = np.bincount(labels.ravel(), minlength=len(SUBTYPES) + 1)
        areas = {subtype.name: float(counts[subtype.label]) * self._geometry.pixel_area_mm2 for subtype in SUBTYPES}
        return {ANY: sum(areas.values()), **areas}

    def finish(self, kept_regions: NDArray[np.bool_] | None = None) -> Measurements:
        """The measurements of all slices taken in.

        Args:
            kept_regions: leave out the regions that are not kept, as
                :attr:`~HemoCAMLib.mask.components.ComponentAccumulator.kept_regions` gives them for the same slices:
                the same as measuring the filtered label maps, without a second pass over them.
        """
        result = Measurements.empty(self._geometry.slice_count)
        lesions = self._forest.lesions()
        kept = np.ones(len(self._regions), bool) if kept_regions is None else kept_regions
        for subtype in SUBTYPES:
            by_lesion: dict[int, list[_Region]] = {}
            for region, lesion, stays in zip(self._regions, lesions.tolist(), kept.tolist(), strict=True):
                if stays and region.label == subtype.label:
                    by_lesion.setdefault(lesion, []).append(region)
            if not by_lesion:
                continue
            mine = [region for lesion_regions in by_lesion.values() for region in lesion_regions]
            for region in mine:
                result.area_mm2[region.index][subtype.name] += region.area_mm2
                result.area_mm2[region.index][ANY] += region.area_mm2
            result.volume_ml[subtype.name] = _volume_ml(mine)
            result.volume_ml[TOTAL] += result.volume_ml[subtype.name]
            result.largest_diameter_mm[subtype.name] = max(region.diameter_mm for region in mine)
            result.abc2_ml[subtype.name] = self._abc2_ml(max(by_lesion.values(), key=_volume_ml))
            result.side[subtype.name] = _side(list(by_lesion.values()), _volume_ml(mine))
            result.components[subtype.name] = len(by_lesion)
        return result

    def _count_sides(self, index: int, regions: SliceRegions, midline: MidlinePlane) -> NDArray[np.int64]:
        """[2, regions] pixels clearly to the left and clearly to the right of the midline."""
        first, per_row, per_column = midline.left_mm(self._geometry, index)
        rows, columns = np.nonzero(regions.map)
        left_mm = first + (rows + regions.top) * per_row + (columns + regions.left) * per_column
        numbers = regions.map[rows, columns]
        counts = [
            np.bincount(numbers[side], minlength=regions.count + 1)[1:]
            for side in (left_mm > self._tolerance_mm, left_mm < -self._tolerance_mm)
        ]
        return np.stack(counts)

    def _measure_region(
        self, index: int, regions: SliceRegions, number: int, window: Window, left_pixels: int, right_pixels: int
    ) -> _Region:
        region = regions.map[window] == number
        spacing_mm = self._geometry.pixel_spacing_mm
        corner_mm = np.array([regions.top + window[0].start, regions.left + window[1].start]) * spacing_mm
        outline_mm = outline_points_mm(region, spacing_mm) + corner_mm
        pixel_ml = self._geometry.pixel_area_mm2 * float(self._extents_mm[index]) / 1000
        count = int(np.count_nonzero(region))
        return _Region(
            index=index,
            label=int(regions.labels[number - 1]),
            area_mm2=count * self._geometry.pixel_area_mm2,
            volume_ml=count * pixel_ml,
            left_ml=int(left_pixels) * pixel_ml,
            right_ml=int(right_pixels) * pixel_ml,
            outline_mm=outline_mm,
            diameter_mm=largest_diameter_mm(outline_mm)[0],
        )

    def _abc2_ml(self, lesion: list[_Region]) -> float:
        """A × B × C / 2 of one lesion.

        A is its largest diameter on the slice where its area is largest, B its greatest thickness perpendicular to A
        there, C the sum of the true extents of the slices it is seen on (Kothari et al., Stroke 1996, without its
        weighting of faint slices, with extents along the normal for slice thickness).
        """
        area_by_slice: dict[int, float] = {}
        for region in lesion:
            area_by_slice[region.index] = area_by_slice.get(region.index, 0.0) + region.area_mm2
        largest = max(area_by_slice, key=area_by_slice.__getitem__)
        outline_mm = np.concatenate([region.outline_mm for region in lesion if region.index == largest])
        a_mm, direction = largest_diameter_mm(outline_mm)
        b_mm = thickness_mm(outline_mm, direction, max(self._geometry.pixel_spacing_mm))
        c_mm = float(self._extents_mm[sorted(area_by_slice)].sum())
        return a_mm * b_mm * c_mm / 2 / 1000


def _volume_ml(regions: Iterable[_Region]) -> float:
    return sum(region.volume_ml for region in regions)


def _side(lesions: list[list[_Region]], subtype_ml: float) -> Side:
    """The side of a subtype: that of its lesions, ``both`` where they differ or one lies across the midline."""
    sides = {
        _lesion_side(lesion)
        for lesion in lesions
        if _volume_ml(lesion) >= min(SIDE_VOTE_SHARE * subtype_ml, SIDE_VOTE_ML)
    }
    if not sides:
        return _lesion_side([region for lesion in lesions for region in lesion])
    return sides.pop() if len(sides) == 1 else "both"


def _lesion_side(lesion: list[_Region]) -> Side:
    left_ml = sum(region.left_ml for region in lesion)
    right_ml = sum(region.right_ml for region in lesion)
    aside_ml = left_ml + right_ml
    if aside_ml < _volume_ml(lesion) / 2:
        return "both"
    if left_ml >= ONE_SIDED_SHARE * aside_ml:
        return "left"
    return "right" if right_ml >= ONE_SIDED_SHARE * aside_ml else "both"
