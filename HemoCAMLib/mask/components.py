"""Connected lesions of a scan, found slice by slice, and the removal of those that are too small."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from HemoCAMLib.ct.geometry import SliceGeometry

Labels = NDArray[np.uint8]
RegionMap = NDArray[np.int32]

_EIGHT_CONNECTED = np.ones((3, 3), bool)


@dataclass(frozen=True, eq=False)
class SliceRegions:
    """The 8-connected regions of one slice, each of a single subtype.

    Attributes:
        top: first row of the window that holds every region.
        left: first column of that window.
        map: [window rows, window columns] 0 for none, else region number from 1.
        labels: [regions] label of each region; region n is at n - 1.
    """

    top: int
    left: int
    map: RegionMap
    labels: Labels

    @property
    def count(self) -> int:
        return int(self.labels.size)

    @property
    def pixel_counts(self) -> NDArray[np.int64]:
        """[regions] number of pixels."""
        counts: NDArray[np.int64] = np.bincount(self.map.ravel(), minlength=self.count + 1)[1:]
        return counts


def slice_regions(labels: Labels) -> SliceRegions:
    """The regions of a [rows, columns] label map; the numbering depends on nothing but the map."""
    rows = np.flatnonzero(labels.any(axis=1))
    if rows.size == 0:
        return SliceRegions(0, 0, np.zeros((0, 0), np.int32), np.zeros(0, np.uint8))
    columns = np.flatnonzero(labels.any(axis=0))
    top, left = int(rows[0]), int(columns[0])
    window = labels[top : rows[-1] + 1, left : columns[-1] + 1]
    regions = np.zeros(window.shape, np.int32)
    owners: list[Labels] = []
    count = 0
    for label in np.flatnonzero(np.bincount(window.ravel())):
        if label == 0:
            continue
        numbered, found = ndimage.label(window == label, structure=_EIGHT_CONNECTED, output=np.int32)
        np.add(regions, numbered + np.int32(count), out=regions, where=numbered > 0)
        owners.append(np.full(found, label, np.uint8))
        count += found
    return SliceRegions(top, left, regions, np.concatenate(owners))


class LesionForest:
    """Joins the regions of neighbouring slices into lesions: 26-connected, each of a single subtype.

    Only the previous slice's regions are held, whatever the number of slices; beyond that one integer per region.
    """

    def __init__(self) -> None:
        self._parents: list[int] = []
        self._first_region: dict[int, int] = {}
        self._previous: tuple[int, SliceRegions] | None = None

    def add(self, index: int, regions: SliceRegions) -> int:
        """Takes one slice's regions; slices come in rising order and may be left out where they are empty.

        Returns:
            The number of the slice's first region within the scan; the others follow it.
        """
        if index in self._first_region or (self._previous is not None and index <= self._previous[0]):
            raise ValueError(f"slice {index} came out of order")
        first = len(self._parents)
        self._first_region[index] = first
        self._parents.extend(range(first, first + regions.count))
        if self._previous is not None and self._previous[0] == index - 1:
            below = self._previous[1]
            below_first = self._first_region[index - 1]
            for here, there in _touching(regions, below):
                self._join(first + here - 1, below_first + there - 1)
        self._previous = index, regions
        return first

    def first_region(self, index: int) -> int | None:
        """Number of a slice's first region within the scan; None for a slice that was not added."""
        return self._first_region.get(index)

    def lesions(self) -> NDArray[np.int64]:
        """[regions of the scan] which lesion each belongs to, numbered from 0 in the order of appearance."""
        roots = np.array([self._root(region) for region in range(len(self._parents))], np.int64)
        return np.unique(roots, return_inverse=True)[1].astype(np.int64)

    def _root(self, region: int) -> int:
        while self._parents[region] != region:
            self._parents[region] = self._parents[self._parents[region]]
            region = self._parents[region]
        return region

    def _join(self, one: int, other: int) -> None:
        one, other = self._root(one), self._root(other)
        # The earlier region stays the root, which keeps lesions in the order of appearance.
        self._parents[max(one, other)] = min(one, other)


def _touching(here: SliceRegions, there: SliceRegions) -> NDArray[np.int64]:
    """[pairs, 2] region numbers of two neighbouring slices that share a subtype and touch by face, edge or corner."""
    rows, columns = np.nonzero(here.map)
    if rows.size == 0 or there.count == 0:
        return np.zeros((0, 2), np.int64)
    padded = np.pad(there.map, 1)
    rows_there, columns_there = rows + (here.top - there.top + 1), columns + (here.left - there.left + 1)
    numbers = here.map[rows, columns].astype(np.int64)
    stride = there.count + 1
    pairs = []
    for row_step in (-1, 0, 1):
        for column_step in (-1, 0, 1):
            row, column = rows_there + row_step, columns_there + column_step
            within = (row >= 0) & (row < padded.shape[0]) & (column >= 0) & (column < padded.shape[1])
            neighbours = padded[row[within], column[within]]
            met = neighbours > 0
            pairs.append(np.unique(numbers[within][met] * stride + neighbours[met]))
    keys = np.unique(np.concatenate(pairs))
    result = np.stack([keys // stride, keys % stride], axis=1)
    same_subtype: NDArray[np.bool_] = here.labels[result[:, 0] - 1] == there.labels[result[:, 1] - 1]
    return result[same_subtype]


class ComponentAccumulator:
    """Finds lesions below a volume in a first pass over the label maps, and removes them in a second.

    A lesion is a 26-connected set of voxels of one subtype: a subtype's volume is what is reported, so a speck of
    one subtype is not kept alive by a neighbour of another. Its volume is voxels × row spacing × column spacing ×
    the extent of the slice each lies in.

    Args:
        geometry: of the scan.
        minimum_volume_ml: lesions smaller than this go; a lesion of exactly this volume stays.
    """

    def __init__(self, geometry: SliceGeometry, minimum_volume_ml: float) -> None:
        self._voxel_ml = geometry.pixel_area_mm2 * geometry.extents_mm / 1000
        self._minimum_volume_ml = minimum_volume_ml
        self._forest = LesionForest()
        self._volumes_ml: list[float] = []
        self._region_counts: dict[int, int] = {}
        self._kept: NDArray[np.bool_] | None = None

    def add(self, index: int, labels: Labels) -> None:
        """First pass, rising slice index; slices without labels may be left out."""
        regions = slice_regions(labels)
        self._forest.add(index, regions)
        self._region_counts[index] = regions.count
        self._volumes_ml.extend((regions.pixel_counts * self._voxel_ml[index]).tolist())

    def finish(self) -> int:
        """Ends the first pass; gives the number of lesions that stay."""
        lesions = self._forest.lesions()
        volumes_ml = np.bincount(lesions, weights=self._volumes_ml) if lesions.size else np.zeros(0)
        # A volume that equals the limit must not be lost to the rounding of a sum.
        stays = volumes_ml >= self._minimum_volume_ml * (1 - 1e-9)
        self._kept = stays[lesions]
        return int(stays.sum())

    @property
    def kept_regions(self) -> NDArray[np.bool_]:
        """[regions of the scan] whether each stays, in the order in which :func:`slice_regions` gave them."""
        if self._kept is None:
            raise RuntimeError("finish() comes first")
        return self._kept

    def changes(self, index: int) -> bool:
        """Whether a slice loses anything, so that :meth:`filter` is worth calling."""
        return not self._kept_in(index).all()

    def filter(self, index: int, labels: Labels) -> Labels:
        """Second pass, any order: the label map that was given for this slice, without the small lesions."""
        regions = slice_regions(labels)
        kept = np.concatenate([[False], self._kept_in(index)])
        filtered = np.zeros_like(labels)
        bottom, right = regions.top + regions.map.shape[0], regions.left + regions.map.shape[1]
        view = np.s_[regions.top : bottom, regions.left : right]
        np.copyto(filtered[view], labels[view], where=kept[regions.map])
        return filtered

    def _kept_in(self, index: int) -> NDArray[np.bool_]:
        first = self._forest.first_region(index) or 0
        return self.kept_regions[first : first + self._region_counts.get(index, 0)]
