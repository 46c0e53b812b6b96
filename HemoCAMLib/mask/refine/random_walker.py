"""The outline of a lesion along edges of HU: the random walker, seeded by the map and by HU."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from HemoCAMLib.mask.refine.candidate import Candidate, FloatImage, Mask
from HemoCAMLib.mask.upsample import upsample_box

#: The walk is computed on pixels of at least this size, and on no more of them than this: the linear system grows
#: faster than the outline gains.
WORKING_PIXEL_MM, LARGEST_SYSTEM = 0.9, 128 * 128

#: Width of the outermost part of the zone that is background for certain.
RIM_MM = 1.5

_BLOOD, _BACKGROUND, _UNKNOWN, _OUTSIDE = 1, 2, 0, -1


def walk(candidate: Candidate, seed_hu: float, background_hu: float, highest_hu: float, edge_hu: float) -> Mask:
    """Blood where a random walker reaches a seed of blood before one of background.

    Seeds of blood are pixels of the map's region with smoothed HU between ``seed_hu`` and ``highest_hu``; background
    are the pixels of the zone below ``background_hu`` or above ``highest_hu`` and the rim of the zone.

    Args:
        candidate: region of the map and its surroundings.
        seed_hu: see above.
        background_hu: see above.
        highest_hu: see above.
        edge_hu: a step of HU between neighbouring pixels by which the chance to cross falls to 1/e.

    Returns:
        [rows, columns] bool; empty where there is no seed of blood.

    Source: Grady, Random Walks for Image Segmentation, PAMI 2006, equations 1 and 10, solved by scikit-image.
    """
    blood = candidate.region & candidate.zone & (candidate.smooth_hu > seed_hu) & (candidate.smooth_hu < highest_hu)
    if not blood.any():
        return blood
    factor = _factor(candidate)
    coarse_hu = _block_mean(candidate.smooth_hu, factor)
    zone = _block_mean(candidate.zone.astype(np.float32), factor) >= 0.5
    distance_mm = _block_mean(np.minimum(candidate.distance_mm, 1e4), factor)
    rim = zone & (distance_mm > distance_mm[zone].max(initial=0) - RIM_MM)
    seeds = np.where(zone, _UNKNOWN, _OUTSIDE)
    # A coarse pixel that straddles the zone's edge has HU mixed with nothing; it is no seed.
    seeds[zone & ((coarse_hu < background_hu) | (coarse_hu > highest_hu) | rim)] = _BACKGROUND
    seeds[zone & (_block_mean(blood.astype(np.float32), factor) >= 0.5)] = _BLOOD
    probability = _blood_probability(coarse_hu, seeds, edge_hu)
    rows, columns = (size * factor for size in probability.shape)
    fine = upsample_box(probability, (rows, columns), (0, candidate.zone.shape[0], 0, candidate.zone.shape[1]))
    walked: Mask = candidate.zone & (fine > 0.5)
    return walked


def _blood_probability(hu: FloatImage, seeds: NDArray[np.int_], edge_hu: float) -> FloatImage:
    """[h, w] chance to reach blood first; seeds are certain and what no seed can reach is background."""
    from skimage.segmentation import random_walker

    probability: FloatImage = (seeds == _BLOOD).astype(np.float32)
    open_parts = _parts_to_decide(seeds)
    if not open_parts.any():
        return probability
    labels = np.where(open_parts, seeds, _OUTSIDE)
    spread = float(hu.std())
    if spread == 0 or not (labels == _BACKGROUND).any():
        probability[open_parts] = 1
        return probability
    # scikit-image divides by 10 times the image's standard deviation; undone, so that edge_hu means HU.
    beta = 10 * spread / edge_hu**2
    # The direct solver: as fast as conjugate gradients on systems of this size, and right where edges are so steep
    # that those do not converge.
    chances = random_walker(hu, labels, beta=beta, mode="bf", return_full_prob=True)
    probability[open_parts] = chances[0][open_parts]
    return probability


def _parts_to_decide(seeds: NDArray[np.int_]) -> Mask:
    """Connected parts of the zone that hold blood and pixels still to be decided; elsewhere there is nothing to solve.

    Four-connected as the walker is; scikit-image refuses systems with nothing to decide.
    """
    parts, count = ndimage.label(seeds != _OUTSIDE)
    useful = np.zeros(count + 1, bool)
    useful[np.intersect1d(parts[seeds == _BLOOD], parts[seeds == _UNKNOWN])] = True
    useful[0] = False
    reached: Mask = useful[parts]
    return reached


def _factor(candidate: Candidate) -> int:
    rows, columns = candidate.zone.shape
    by_size = round(WORKING_PIXEL_MM / max(candidate.pixel_spacing_mm))
    return max(1, by_size, int(np.ceil(np.sqrt(rows * columns / LARGEST_SYSTEM))))


def _block_mean(image: FloatImage, factor: int) -> FloatImage:
    """Mean of blocks of factor × factor pixels; the last block repeats the edge where the image does not fill it."""
    rows, columns = (-(-size // factor) for size in image.shape)
    padded = np.pad(image, ((0, rows * factor - image.shape[0]), (0, columns * factor - image.shape[1])), mode="edge")
    mean: FloatImage = padded.reshape(rows, factor, columns, factor).mean(axis=(1, 3))
    return mean
