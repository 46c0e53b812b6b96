"""Connected lesions of a scan, found slice by slice, and the removal of those that are too small or too flat."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components

from HemoCAMLib.ct.geometry import SliceGeometry

Labels = NDArray[np.uint8]
RegionMap = NDArray[np.int32]
Indices = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class _Runs:
    """Stretches of one label along a row, in reading order: a few hundred stand for a slice's thousands of pixels.

    Attributes:
        columns: of the image.
        start: [runs] flat index of each run's first pixel.
        stop: [runs] one past the flat index of its last.
        labels: [runs] label of each run, never 0.
    """

    columns: int
    start: Indices
    stop: Indices
    labels: Labels

    @classmethod
    def of(cls, labels: Labels) -> _Runs:
        flat, columns = np.ascontiguousarray(labels).ravel(), labels.shape[1]
        begins = np.ones(flat.size + 1, bool)
        np.not_equal(flat[1:], flat[:-1], out=begins[1:-1])
        begins[columns:-1:columns] = True
        edges = np.flatnonzero(begins)
        values = flat[edges[:-1]]
        used = values > 0
        return cls(columns, edges[:-1][used], edges[1:][used], values[used])

    @property
    def lengths(self) -> Indices:
        return self.stop - self.start

    def touching(self, other: _Runs, row_step: int) -> tuple[Indices, Indices]:
        """Pairs of runs, here and there, of one label that meet by edge or corner once ``other`` is moved up a step."""
        # Two columns more than the image has keep the corner of one row apart from the start of the next.
        width = self.columns + 2
        here_first, here_last = self._keys(width)
        there_first, there_last = other._keys(width)
        shift = row_step * width
        low = np.searchsorted(there_last, here_first + shift)
        high = np.searchsorted(there_first, here_last + shift, side="right")
        counts = high - low
        here = np.repeat(np.arange(low.size), counts)
        there = np.arange(here.size) - np.repeat(np.cumsum(counts) - counts, counts) + np.repeat(low, counts)
        same: NDArray[np.bool_] = self.labels[here] == other.labels[there]
        return here[same], there[same]

    def _keys(self, width: int) -> tuple[Indices, Indices]:
        """First and one past last pixel in an image of another width; both rise from run to run."""
        rows = self.start // self.columns
        wider = rows * (width - self.columns)
        return self.start + wider, self.stop + wider


@dataclass(frozen=True, eq=False)
class SliceRegions:
    """The 8-connected regions of one slice, each of a single subtype.

    Attributes:
        labels: [regions] label of each region; region n is at n - 1.
        runs: the pixels.
        region_of_run: [runs] region number from 1.
    """

    labels: Labels
    runs: _Runs
    region_of_run: RegionMap

    @property
    def count(self) -> int:
        return int(self.labels.size)

    @property
    def pixel_counts(self) -> Indices:
        """[regions] number of pixels."""
        counts = np.bincount(self.region_of_run, weights=self.runs.lengths, minlength=self.count + 1)[1:]
        whole: Indices = counts.astype(np.int64)
        return whole

    @property
    def top(self) -> int:
        """First row of the window that holds every region."""
        return int(self.runs.start[0] // self.runs.columns) if self.count else 0

    @cached_property
    def left(self) -> int:
        """First column of that window."""
        return int((self.runs.start % self.runs.columns).min()) if self.count else 0

    @cached_property
    def map(self) -> RegionMap:
        """[window rows, window columns] 0 for none, else region number from 1."""
        if self.count == 0:
            return np.zeros((0, 0), np.int32)
        columns = self.runs.columns
        rows = int(self.runs.start[-1] // columns) + 1 - self.top
        width = int(((self.runs.stop - 1) % columns).max()) + 1 - self.left
        window = np.zeros(rows * columns, np.int32)
        window[self.pixels() - self.top * columns] = np.repeat(self.region_of_run, self.runs.lengths)
        return window.reshape(rows, columns)[:, self.left : self.left + width]

    def pixels(self, chosen: NDArray[np.bool_] | None = None) -> Indices:
        """Flat indices of all pixels in reading order, or of the chosen runs' only."""
        start = self.runs.start if chosen is None else self.runs.start[chosen]
        lengths = self.runs.lengths if chosen is None else self.runs.lengths[chosen]
        indices: Indices = np.repeat(start - (np.cumsum(lengths) - lengths), lengths)
        indices += np.arange(indices.size)
        return indices


def slice_regions(labels: Labels) -> SliceRegions:
    """The regions of a [rows, columns] label map, by subtype and within it in reading order of their first pixels."""
    runs = _Runs.of(labels)
    size = runs.labels.size
    below = runs.touching(runs, 1)
    # The pairs come sorted by their first run, which is what compressed rows need.
    row_ends = np.searchsorted(below[0], np.arange(size + 1))
    graph = csr_array((np.ones(below[0].size), below[1], row_ends), shape=(size, size))
    found, component = connected_components(graph, directed=False) if size else (0, np.zeros(0, np.int32))
    first_run = np.full(found, size)
    np.minimum.at(first_run, component, np.arange(size))
    order = np.lexsort((first_run, runs.labels[first_run]))
    number = np.empty(found, np.int32)
    number[order] = np.arange(1, found + 1)
    return SliceRegions(runs.labels[first_run[order]], runs, number[component])


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


def _touching(here: SliceRegions, there: SliceRegions) -> set[tuple[int, int]]:
    """Region numbers of two neighbouring slices that share a subtype and touch by face, edge or corner."""
    pairs: set[tuple[int, int]] = set()
    for row_step in (-1, 0, 1):
        ours, theirs = here.runs.touching(there.runs, row_step)
        pairs.update(zip(here.region_of_run[ours].tolist(), there.region_of_run[theirs].tolist(), strict=True))
    return pairs


class ComponentAccumulator:
    """Finds lesions that are too small or too flat in a first pass over the label maps, and removes them in a second.

    A lesion is a 26-connected set of voxels of one subtype: a subtype's volume is what is reported, so a speck of
    one subtype is not kept alive by a neighbour of another. Its volume is voxels × row spacing × column spacing ×
    the extent of the slice each lies in.

    Its height is the sum of the true extents of its slices, its diameter that of the circle with the area of its
    largest region. A lesion on the scan's first or last slice is never flat: it may go on outside.

    Args:
        geometry: of the scan.
        minimum_volume_ml: lesions smaller than this go; a lesion of exactly this volume stays.
        smallest_height: lesions whose height is a smaller share than this of their diameter go; 0 keeps all.
    """

    def __init__(self, geometry: SliceGeometry, minimum_volume_ml: float, smallest_height: float = 0.0) -> None:
        self._geometry = geometry
        self._extents_mm = geometry.extents_mm
        self._minimum_volume_ml = minimum_volume_ml
        self._smallest_height = smallest_height
        self._forest = LesionForest()
        self._areas_mm2: list[float] = []
        self._slices: list[int] = []
        self._region_counts: dict[int, int] = {}
        self._kept: NDArray[np.bool_] | None = None

    def add(self, index: int, labels: Labels) -> None:
        """First pass, rising slice index; slices without labels may be left out."""
        self.add_regions(index, slice_regions(labels))

    def add_regions(self, index: int, regions: SliceRegions) -> None:
        """The same from a slice's regions, which may have been found in another thread."""
        self._forest.add(index, regions)
        self._region_counts[index] = regions.count
        self._areas_mm2.extend((regions.pixel_counts * self._geometry.pixel_area_mm2).tolist())
        self._slices.extend([index] * regions.count)

    def finish(self) -> int:
        """Ends the first pass; gives the number of lesions that stay."""
        lesions = self._forest.lesions()
        slices, areas_mm2 = np.array(self._slices, np.int64), np.array(self._areas_mm2)
        volumes_ml = np.bincount(lesions, weights=areas_mm2 * self._extents_mm[slices] / 1000)
        # A volume that equals the limit must not be lost to the rounding of a sum.
        stays = volumes_ml >= self._minimum_volume_ml * (1 - 1e-9)
        if self._smallest_height > 0:
            stays &= ~self._flat(lesions, slices, areas_mm2)
        self._kept = stays[lesions]
        return int(stays.sum())

    def _flat(self, lesions: Indices, slices: Indices, areas_mm2: NDArray[np.float64]) -> NDArray[np.bool_]:
        """[lesions] whether each is an artefact of too few slices for its diameter."""
        count = int(lesions.max(initial=-1)) + 1
        largest_mm2 = np.zeros(count)
        np.maximum.at(largest_mm2, lesions, areas_mm2)
        spanned = np.unique(np.stack([lesions, slices]), axis=1)
        height_mm = np.bincount(spanned[0], weights=self._extents_mm[spanned[1]], minlength=count)
        at_end = np.zeros(count, bool)
        at_end[lesions[(slices == 0) | (slices == self._geometry.slice_count - 1)]] = True
        flat: NDArray[np.bool_] = height_mm < self._smallest_height * 2 * np.sqrt(largest_mm2 / np.pi)
        return flat & ~at_end

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
        """Second pass, any order: the label map that was given for this slice, without the lesions that go."""
        regions = slice_regions(labels)
        filtered: Labels = labels.copy()
        lost = ~self._kept_in(index)[regions.region_of_run - 1]
        np.put(filtered, regions.pixels(lost), 0)
        return filtered

    def _kept_in(self, index: int) -> NDArray[np.bool_]:
        first = self._forest.first_region(index) or 0
        return self.kept_regions[first : first + self._region_counts.get(index, 0)]
