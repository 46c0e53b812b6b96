"""Distances between the surfaces of two segmentations, in mm, at the voxels' true positions.

Definition. The surface of a mask is the set of its voxels with at least one face neighbour outside it (or outside the
image), each standing for its centre; distances run from every surface voxel of one mask to the nearest of the other.
That is what MONAI, medpy and Metrics Reloaded compute. They take distances from a transform on a uniform grid, which
cannot hold a tilted gantry or uneven steps; here they are nearest-neighbour distances between the true centres of the
voxels (a k-d tree), exact for every geometry and equal to theirs on a uniform grid.

With P the distances from the prediction's surface to the truth's, and T those the other way:

* Hausdorff: max(max P, max T); 95 %: max(95th percentile of P, of T), percentiles by linear interpolation
  (Huttenlocher et al., IEEE TPAMI 1993; Taha and Hanbury 2015).
* mean surface distance: mean of P and T together (average symmetric surface distance, Heimann et al., IEEE TMI 2009).
* surface Dice at t: share of P and T together that is ≤ t (normalised surface distance, Nikolov et al. 2018, counted
  in voxels, as MONAI's ``compute_surface_dice`` does by default).

Where one mask is empty there is no distance: None; surface Dice is then 0, and None where both are empty.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from HemoCAMLib.ct.geometry import SliceGeometry
from HemoCAMLib.measure.agreement.overlap import ratio

#: Tolerances of surface Dice.
TOLERANCES_MM = (1.0, 2.0)

#: Slices this far apart, farther than any image is wide, never hold each other's nearest points.
_APART_MM = 1e5

Points = NDArray[np.float64]


@dataclass(frozen=True)
class SurfaceAgreement:
    """Distances between two surfaces in mm; None where one of them is empty.

    Attributes:
        hausdorff_mm: largest distance.
        hausdorff95_mm: 95 % of the distances of the worse direction are no longer than this.
        mean_surface_distance_mm: mean over both directions together.
        surface_dice_1mm: share of both surfaces within 1 mm of the other.
        surface_dice_2mm: the same within 2 mm.
    """

    hausdorff_mm: float | None
    hausdorff95_mm: float | None
    mean_surface_distance_mm: float | None
    surface_dice_1mm: float | None
    surface_dice_2mm: float | None


@dataclass(frozen=True, eq=False)
class Surface:
    """The surface voxels of one mask.

    Attributes:
        indices: [points, 3] slice, row, column, in rising order.
        points_mm: [points, 3] centres, LPS.
    """

    indices: NDArray[np.int64]
    points_mm: Points

    def __len__(self) -> int:
        return len(self.indices)

    def part(self, chosen: NDArray[np.bool_]) -> Surface:
        """The voxels that are chosen."""
        return Surface(self.indices[chosen], self.points_mm[chosen])


def surface_of(
    mask: NDArray[np.bool_], geometry: SliceGeometry, *, corner: Sequence[int] = (0, 0, 0), in_plane: bool = False
) -> Surface:
    """The surface of a [slice, row, column] mask.

    Args:
        mask: the mask, or a window of it that holds all of it.
        geometry: of the whole scan.
        corner: index of the window's first voxel.
        in_plane: only neighbours within the slice count: the outline of every slice by itself.
    """
    indices = np.stack(np.nonzero(border_of(mask, in_plane=in_plane)), axis=1)
    indices += np.asarray(corner)
    return Surface(indices, voxel_centres_mm(indices, geometry))


def border_of(mask: NDArray[np.bool_], *, in_plane: bool = False) -> NDArray[np.bool_]:
    """Voxels of a mask with a face neighbour outside it; beyond the array is outside.

    >>> border_of(np.ones((3, 3, 3), bool)).sum()
    np.int64(26)
    """
    inside = mask.copy()
    for axis in (1, 2) if in_plane else (0, 1, 2):
        front = tuple(slice(1, None) if other == axis else slice(None) for other in range(3))
        back = tuple(slice(None, -1) if other == axis else slice(None) for other in range(3))
        first = tuple(slice(None, 1) if other == axis else slice(None) for other in range(3))
        last = tuple(slice(-1, None) if other == axis else slice(None) for other in range(3))
        inside[front] &= mask[back]
        inside[back] &= mask[front]
        inside[first] = False
        inside[last] = False
    border: NDArray[np.bool_] = mask & ~inside
    return border


def voxel_centres_mm(indices: NDArray[np.int64], geometry: SliceGeometry) -> Points:
    """[points, 3] LPS positions of voxels given as [points, 3] slice, row, column."""
    row_mm, column_mm = geometry.pixel_spacing_mm
    centres: Points = geometry.positions_mm[indices[:, 0]]
    centres = centres + indices[:, 1, None] * (row_mm * geometry.column_direction)
    centres += indices[:, 2, None] * (column_mm * geometry.row_direction)
    return centres


@dataclass(frozen=True, eq=False)
class Nearest:
    """For every voxel of one surface the nearest of another.

    Attributes:
        distance_mm: [points] infinite where the other is empty.
        index: [points] which voxel of the other it is.
    """

    distance_mm: NDArray[np.float64]
    index: NDArray[np.int64]


def nearest(origin: Surface, target: Surface) -> Nearest:
    """The nearest voxel of ``target`` for every one of ``origin``."""
    distance_mm = np.full(len(origin), np.inf)
    index = np.zeros(len(origin), np.int64)
    if not len(target) or not len(origin):
        return Nearest(distance_mm, index)
    # Voxels that both surfaces share are at distance 0 without a search.
    keys, target_keys = _keys(origin.indices), _keys(target.indices)
    place = np.minimum(np.searchsorted(target_keys, keys), len(target) - 1)
    shared = target_keys[place] == keys
    index[shared], distance_mm[shared] = place[shared], 0.0
    apart = ~shared
    if apart.any():
        tree = cKDTree(target.points_mm, balanced_tree=False, compact_nodes=False)
        distance_mm[apart], index[apart] = tree.query(origin.points_mm[apart])
    return Nearest(distance_mm, index)


def nearest_in_slice(origin: Surface, target: Surface, geometry: SliceGeometry) -> Nearest:
    """The nearest outline voxel of ``target`` in the same slice; infinite where that slice has none."""
    flat = [
        Surface(surface.indices, surface.indices * np.array([_APART_MM, *geometry.pixel_spacing_mm]))
        for surface in (origin, target)
    ]
    found = nearest(flat[0], flat[1])
    alone = ~np.isin(origin.indices[:, 0], target.indices[:, 0])
    return Nearest(np.where(alone, np.inf, found.distance_mm), found.index)


@dataclass(frozen=True, eq=False)
class SurfacePair:
    """Two surfaces and what is nearest to what.

    Attributes:
        prediction: surface of the prediction.
        truth: surface of the truth.
        from_prediction: nearest voxels of the truth's surface.
        from_truth: nearest voxels of the prediction's surface.
    """

    prediction: Surface
    truth: Surface
    from_prediction: Nearest
    from_truth: Nearest

    @classmethod
    def of(cls, prediction: Surface, truth: Surface) -> SurfacePair:
        """Searches both ways."""
        return cls(prediction, truth, nearest(prediction, truth), nearest(truth, prediction))

    def agreement(self) -> SurfaceAgreement:
        """The distances of both directions."""
        return summarize(self.from_prediction.distance_mm, self.from_truth.distance_mm)


def summarize(from_prediction: NDArray[np.float64], from_truth: NDArray[np.float64]) -> SurfaceAgreement:
    """What the distances of both directions in mm come to; an empty direction is an empty mask."""
    if not from_prediction.size or not from_truth.size:
        dice = 0.0 if from_prediction.size or from_truth.size else None
        return SurfaceAgreement(None, None, None, dice, dice)
    both = np.concatenate([from_prediction, from_truth])
    within = [ratio(int(np.count_nonzero(both <= tolerance)), both.size) for tolerance in TOLERANCES_MM]
    return SurfaceAgreement(
        hausdorff_mm=float(both.max()),
        hausdorff95_mm=float(max(np.percentile(from_prediction, 95), np.percentile(from_truth, 95))),
        mean_surface_distance_mm=float(both.mean()),
        surface_dice_1mm=within[0],
        surface_dice_2mm=within[1],
    )


def _keys(indices: NDArray[np.int64]) -> NDArray[np.int64]:
    keys: NDArray[np.int64] = (indices[:, 0] << 42) | (indices[:, 1] << 21) | indices[:, 2]
    return keys
