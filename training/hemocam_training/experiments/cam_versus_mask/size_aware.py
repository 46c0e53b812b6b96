"""How well a map finds a lesion, whatever the lesion's size.

IoU alone mixes three things: where the map points, how large the threshold draws it, and how large the lesion is. A
map of 7 x 7 cells over an image can outline a lesion smaller than a cell only where it happens to lie around a cell's
centre, and a rule that marks the highest 5 % of the pixels cannot reach an IoU of 0.5 with a lesion of 2 %: such a
lesion scores low however well it is found. A large lesion, on the other hand, is overlapped by a mask laid down by
chance. So beside IoU, for every slice:

* the **reachable** IoU: of the same map at its best threshold. IoU / reachable is what the threshold rule makes of
  what the map knows; reachable itself says how well the map points, with no rule in it.
* the **bound**: IoU of the ideal map of that many cells, each holding the lesion's share of it, at its best
  threshold. No map of that resolution is expected to do better.
* **chance**: expected IoU of a mask of equal area that lies anywhere. For shares a of the lesion and m of the mask,
  a m / (a + m - a m).
* the **size-adjusted IoU**: (IoU - chance) / (bound - chance). 1 is what the map's resolution allows, 0 is what
  chance gives, for a lesion of any size; below 0 is worse than chance. It is to IoU what the adjusted Rand index is
  to Rand's (Hubert and Arabie 1985): the same index between its expected and its largest value.

Whether the measure does what it is for can be seen in the data: regressed on the logarithm of the lesion's size its
slope and the share of variance that size explains should be nearer to zero than those of IoU.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from HemoCAMLib.mask.upsample import upsample_box


@dataclass(frozen=True)
class SizeAware:
    """Of one map and lesion; see the module.

    Attributes:
        reachable: of this map at its best threshold.
        bound: of the ideal map of the same resolution, and at least ``reachable``.
    """

    reachable: float
    bound: float


def size_aware(activation_map: NDArray[np.float32], truth: NDArray[np.bool_]) -> SizeAware:
    """What a map could reach, and what any map of its resolution could.

    Args:
        activation_map: [h, w], signed, at its own size.
        truth: [row, column], not empty.
    """
    reachable = reachable_iou(over_image(activation_map, truth.shape), truth)
    return SizeAware(reachable, max(reachable, resolution_bound(truth, activation_map.shape)))


def over_image(activation_map: NDArray[np.float32], shape: tuple[int, ...]) -> NDArray[np.float32]:
    """[row, column] a map interpolated linearly to the image; values that are not finite count as 0."""
    finite = np.nan_to_num(activation_map, nan=0.0, posinf=0.0, neginf=0.0).astype(np.float32)
    rows, columns = shape
    enlarged: NDArray[np.float32] = upsample_box(finite, (rows, columns), (0, rows, 0, columns))
    return enlarged


def reachable_iou(scores: NDArray[np.float32], truth: NDArray[np.bool_]) -> float:
    """The largest IoU of {score > threshold} with the truth over all thresholds that leave a pixel out or none.

    A constant map says nothing and reaches 0, as under every rule that finds its threshold in the map.

    >>> reachable_iou(np.array([[3.0, 2.0], [1.0, 0.0]], np.float32), np.array([[True, False], [True, False]]))
    0.6666666666666666
    """
    values = scores.ravel()
    if values.size == 0 or values.min() == values.max():
        return 0.0
    order = np.argsort(-values, kind="stable")
    both = np.cumsum(truth.ravel()[order])
    marked = np.arange(1, values.size + 1)
    iou = both / (marked + int(truth.sum()) - both)
    # Between equal values no threshold can cut.
    cuts = np.append(np.diff(values[order]) != 0, True)
    return float(iou[cuts].max())


def resolution_bound(truth: NDArray[np.bool_], cells: tuple[int, ...]) -> float:
    """IoU that the ideal map of h x w cells reaches: each cell's value is the share of it that the lesion fills."""
    rows, columns = (_overlap(length, count) for length, count in zip(truth.shape, cells, strict=True))
    ideal = (rows @ truth @ columns.T).astype(np.float32)
    return reachable_iou(over_image(ideal, truth.shape), truth)


def chance_iou(lesion_share: float, mask_share: float) -> float:
    """Expected overlap over expected union of two independent masks with these shares of the image.

    >>> chance_iou(0.5, 0.5)
    0.3333333333333333
    """
    union = lesion_share + mask_share - lesion_share * mask_share
    return lesion_share * mask_share / union if union > 0 else 0.0


def adjusted_iou(iou: float, chance: float, bound: float) -> float:
    """IoU between what chance gives (0) and what the map's resolution allows (1); NaN where the two are one."""
    return (iou - chance) / (bound - chance) if bound - chance > 1e-9 else float("nan")


def _overlap(length: int, count: int) -> NDArray[np.float64]:
    """[count, length] share of each cell along one axis that each pixel fills."""
    edges = np.arange(count + 1) * (length / count)
    pixels = np.arange(length)
    overlap = np.minimum(edges[1:, None], pixels + 1) - np.maximum(edges[:-1, None], pixels)
    shares: NDArray[np.float64] = np.maximum(overlap, 0) * (count / length)
    return shares
