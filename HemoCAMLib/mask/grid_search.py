"""Class gates and mask thresholds found on scans with true masks, from stored maps: the network is not run again."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from HemoCAMLib.mask.label_slice import compared_map, compared_threshold
from HemoCAMLib.mask.relabel import SliceMasks
from HemoCAMLib.mask.settings import MaskScale
from HemoCAMLib.mask.upsample import bounding_box, box_where_above, common_box, upsample_box
from HemoCAMLib.subtypes import SUBTYPE_NAMES, SUBTYPES

#: The grid of the weakly supervised paper on the per-image scale, appendix A.
PAPER_GRID = tuple(range(25, 201, 25))

DiceOver = Literal["pooled", "mean"]
Counts = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class TuningScan:
    """A scan whose truth is known.

    Attributes:
        maps: [5, slice, h, w] stored maps in the order of the subtypes; may be memory-mapped.
        probabilities: [5, slice].
        brain: masks, one per slice.
        labels: [slice, rows, columns] uint8 true labels.
    """

    maps: NDArray[np.floating[Any]]
    probabilities: NDArray[np.floating[Any]]
    brain: SliceMasks
    labels: NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class SubtypeGrid:
    """Dice of one subtype for every pair of a class gate and a mask threshold.

    Attributes:
        name: of the subtype.
        gates: [G] rising.
        thresholds: [T] rising.
        hits: [scan, G, T] pixels that are called and true.
        called: [scan, G, T] pixels that are called.
        true: [scan] true pixels.
    """

    name: str
    gates: NDArray[np.float64]
    thresholds: NDArray[np.float64]
    hits: Counts
    called: Counts
    true: Counts

    @property
    def pooled_dice(self) -> NDArray[np.float64]:
        """[G, T] Dice over the pixels of all scans; 0 where nothing is true or called."""
        total = self.called.sum(axis=0) + int(self.true.sum())
        dice: NDArray[np.float64] = 2 * self.hits.sum(axis=0) / np.maximum(total, 1)
        return dice

    @property
    def mean_dice(self) -> NDArray[np.float64]:
        """[G, T] mean of the scans' Dice, over scans that have the subtype: what is called elsewhere does not count."""
        has = self.true > 0
        if not has.any():
            return np.zeros(self.hits.shape[1:])
        dice: NDArray[np.float64] = (2 * self.hits[has] / (self.called[has] + self.true[has, None, None])).mean(axis=0)
        return dice

    def best(self, over: DiceOver = "pooled", gates: Sequence[float] | None = None) -> tuple[float, float, float]:
        """Gate, threshold and Dice of the best pair; ties go to the lower gate, then to the lower threshold.

        Args:
            over: which Dice.
            gates: choose among these of the grid's gates only.
        """
        dice = self.pooled_dice if over == "pooled" else self.mean_dice
        rows = np.arange(self.gates.size) if gates is None else np.flatnonzero(np.isin(self.gates, gates))
        gate, threshold = np.unravel_index(int(np.argmax(dice[rows])), (rows.size, self.thresholds.size))
        row = int(rows[gate])
        return float(self.gates[row]), float(self.thresholds[threshold]), float(dice[row, threshold])

    def rows(self) -> Iterator[dict[str, Any]]:
        """The table of all grid values, a row a pair."""
        pooled, mean = self.pooled_dice, self.mean_dice
        for g, gate in enumerate(self.gates.tolist()):
            for t, threshold in enumerate(self.thresholds.tolist()):
                yield {
                    "subtype": self.name,
                    "gate": gate,
                    "threshold": threshold,
                    "pooled_dice": float(pooled[g, t]),
                    "mean_dice": float(mean[g, t]),
                }


def grid_search(
    scans: Iterable[TuningScan],
    gates: Mapping[str, Sequence[float]] | Sequence[float],
    thresholds: Sequence[float] = PAPER_GRID,
    scale: MaskScale = "per_image",
) -> dict[str, SubtypeGrid]:
    """Dice of every subtype for every gate and every threshold, from one pass over the scans.

    A slice's pixels are sorted into the grid's bins once; what any threshold calls is then a sum over bins, and what
    any gate calls a sum over slices. Pixels are called as by :func:`~HemoCAMLib.mask.label_slice.label_slice` with the
    rule ``fixed``, but for one subtype at a time: that subtypes compete for a pixel is left out, and so are
    refinement and the smallest volume.

    Args:
        scans: read once, one held at a time.
        gates: class thresholds to try, 0..1, for all subtypes or by name.
        thresholds: mask thresholds to try, on the scale.
        scale: of the thresholds.

    Returns:
        By subtype name.

    >>> maps = np.zeros((5, 1, 4, 4)); maps[0, 0, 1:3, 1:3] = 1; maps[0, 0, 0, 0] = 0.5
    >>> truth = np.uint8(maps[0] == 1)
    >>> scan = TuningScan(maps, np.full((5, 1), 0.9), np.ones((1, 4, 4), bool), truth)
    >>> grid_search([scan], gates=[0.5, 0.95], thresholds=[100, 150])["IPH"].best()
    (0.5, 150.0, 1.0)
    """
    tried = {
        name: np.unique(np.asarray(gates[name] if isinstance(gates, Mapping) else gates, np.float64))
        for name in SUBTYPE_NAMES
    }
    grid = np.unique(np.asarray(thresholds, np.float64))
    # Single precision, as label_slice compares.
    cuts = np.array([compared_threshold(value, scale) for value in grid.tolist()], np.float32)
    counted = [[_count(scan, k, tried[name], cuts, scale) for k, name in enumerate(SUBTYPE_NAMES)] for scan in scans]
    shape = (len(counted), 2)
    grids = {}
    for k, name in enumerate(SUBTYPE_NAMES):
        pixels = np.array([scan[k][0] for scan in counted], np.int64).reshape(*shape, tried[name].size, grid.size)
        true = np.array([scan[k][1] for scan in counted], np.int64)
        grids[name] = SubtypeGrid(name, tried[name], grid, pixels[:, 1], pixels[:, 0], true)
    return grids


def _count(
    scan: TuningScan, k: int, gates: NDArray[np.float64], cuts: NDArray[np.float32], scale: str
) -> tuple[Counts, int]:
    """[2, G, T] pixels of a scan that are called, and called and true, of subtype number ``k``; how many are true."""
    wanted = scan.labels == SUBTYPES[k].label
    counts = np.zeros((2, gates.size, cuts.size), np.int64)
    probabilities = np.asarray(scan.probabilities[k], np.float64)
    for index in np.flatnonzero(probabilities > gates[0]).tolist():
        bins = _bins(scan.maps[k, index], scan.brain[index], wanted[index], cuts, scale)
        # A pixel in bin b exceeds the first b thresholds.
        above = np.cumsum(bins[:, ::-1], axis=1)[:, ::-1][:, 1:]
        counts[:, probabilities[index] > gates] += np.stack([above.sum(axis=0), above[1]])[:, None]
    return counts, int(np.count_nonzero(wanted))


def _bins(
    raw: NDArray[np.generic], brain: NDArray[np.bool_], wanted: NDArray[np.bool_], cuts: NDArray[np.float32], scale: str
) -> Counts:
    """[2, T + 1] pixels of one slice by the number of thresholds that they exceed: not true, true."""
    compared = compared_map(raw, scale)
    inside = bounding_box(brain)
    reach = box_where_above(compared, float(cuts[0]), brain.shape)
    box = common_box(inside, reach) if inside and reach else None
    if box is None:
        return np.zeros((2, cuts.size + 1), np.int64)
    view = np.s_[box[0] : box[1], box[2] : box[3]]
    pixels = brain[view]
    exceeded = np.searchsorted(cuts, upsample_box(compared, brain.shape, box)[pixels])
    exceeded += (cuts.size + 1) * wanted[view][pixels]
    return np.bincount(exceeded, minlength=2 * (cuts.size + 1)).reshape(2, -1)
