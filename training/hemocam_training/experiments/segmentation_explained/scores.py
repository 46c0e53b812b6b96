"""How well a map points at a region: energy inside, pointing game."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Map = NDArray[np.float32]
Region = NDArray[np.bool_]


def energy_inside(saliency: Map, region: Region) -> float:
    """Share of the map's positive part that lies in the region; NaN where there is none.

    The energy-based pointing game of Wang et al., Score-CAM, CVPR Workshops 2020, section 4.4, with the region for the
    box.

    Args:
        saliency: [row, column], signed.
        region: [row, column].

    >>> energy_inside(np.array([[1.0, 3.0, -5.0]], np.float32), np.array([[False, True, True]]))
    0.75
    """
    positive = np.maximum(saliency, 0, dtype=np.float64)
    total = positive.sum()
    return float(positive[region].sum() / total) if total > 0 else math.nan


def points_inside(saliency: Map, region: Region, tolerance_px: float = 0.0) -> float:
    """1 where the map's highest pixel lies in the region or no farther from it than the tolerance, else 0.

    The pointing game of Zhang et al., Top-down Neural Attention by Excitation Backprop, IJCV 2018. Where several
    pixels are highest it is the share of them that hit, which chance would give. NaN for a map without a positive
    value.

    >>> points_inside(np.array([[0.0, 2.0, 2.0]], np.float32), np.array([[True, True, False]]))
    0.5
    """
    peak = float(saliency.max())
    if not peak > 0:
        return math.nan
    reached = region
    if tolerance_px > 0:
        reached = ndimage.distance_transform_edt(~region) <= tolerance_px if region.any() else region
    return float(reached[saliency == peak].mean())
