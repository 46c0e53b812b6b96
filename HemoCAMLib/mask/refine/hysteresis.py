"""Region growing with two limits: strong pixels of the map's region are seeds, weaker ones connected to them join."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from HemoCAMLib.mask.refine.candidate import Candidate, Mask

_EIGHT_CONNECTED = np.ones((3, 3), bool)


def grow(candidate: Candidate, seed_hu: float, lowest_hu: float, highest_hu: float) -> Mask:
    """Blood by two limits on smoothed HU.

    Args:
        candidate: region of the map and its surroundings.
        seed_hu: a pixel of the region above it (and below ``highest_hu``) is a seed.
        lowest_hu: a pixel of the zone above it (and below ``highest_hu``) is blood where such pixels connect it
            to a seed, over edges or corners.
        highest_hu: see above.

    Returns:
        [rows, columns] bool; empty where there is no seed.

    Source: the hysteresis of Canny, A Computational Approach to Edge Detection, PAMI 1986, section VI, on HU.
    """
    allowed = candidate.zone & (candidate.smooth_hu > lowest_hu) & (candidate.smooth_hu < highest_hu)
    seeds = candidate.region & allowed & (candidate.smooth_hu > seed_hu)
    regions, count = ndimage.label(allowed, structure=_EIGHT_CONNECTED)
    joined = np.zeros(count + 1, bool)
    joined[regions[seeds]] = True
    grown: Mask = joined[regions]
    return grown
