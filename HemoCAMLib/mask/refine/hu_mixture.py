"""Blood and brain around a lesion as two Gaussians: the limit between them is found, not given."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from HemoCAMLib.mask.refine.candidate import Candidate, Mask
from HemoCAMLib.mask.refine.hysteresis import grow

#: Smoothed HU that can be brain or blood; air, fat, bone and calcification lie outside.
TISSUE_HU = (5.0, 95.0)

#: Width of a bin of the histogram that the mixture is fitted to.
BIN_HU = 1.0

#: Where the means start: brain low in the whole zone, blood high in the map's region.
BRAIN_PERCENTILE, BLOOD_PERCENTILE = 30.0, 80.0

#: Standard deviation that the fit starts from and the smallest it may reach; smoothing leaves about this much noise.
START_SD_HU, SMALLEST_SD_HU = 4.0, 2.0

#: Fewer pixels say too little about two means.
FEWEST_PIXELS = 50

ITERATIONS = 30


@dataclass(frozen=True)
class Mixture:
    """Two Gaussians with one standard deviation.

    Attributes:
        brain_hu: mean of the darker one.
        blood_hu: mean of the brighter one.
        sd_hu: standard deviation of both.
        blood_share: weight of the brighter one.
    """

    brain_hu: float
    blood_hu: float
    sd_hu: float
    blood_share: float

    def separates(self, separation_hu: float, separation_sd: float) -> bool:
        """Whether the means lie far enough apart in HU and in standard deviations.

        Two equal Gaussians show two peaks only where their means differ by more than two standard deviations.
        """
        difference_hu = self.blood_hu - self.brain_hu
        return difference_hu >= separation_hu and difference_hu >= separation_sd * self.sd_hu

    @property
    def limit_hu(self) -> float:
        """Half-way between the means, where both components are equally dense."""
        return (self.brain_hu + self.blood_hu) / 2


def fit_mixture(hu: NDArray[np.floating[Any]], brain_hu: float, blood_hu: float) -> Mixture:
    """Expectation maximisation on the histogram of the values.

    Args:
        hu: smoothed HU of tissue, any shape, at least one value within :data:`TISSUE_HU`.
        brain_hu: where the darker mean starts.
        blood_hu: where the brighter mean starts.

    >>> rng = np.random.default_rng(0)
    >>> fitted = fit_mixture(np.concatenate([rng.normal(30, 3, 3000), rng.normal(60, 3, 1000)]), 25.0, 50.0)
    >>> round(fitted.brain_hu), round(fitted.blood_hu), round(fitted.blood_share, 2)
    (30, 60, 0.25)
    """
    counts, edges = np.histogram(hu, round((TISSUE_HU[1] - TISSUE_HU[0]) / BIN_HU), TISSUE_HU)
    centres = (edges[1:] + edges[:-1]) / 2
    weight = counts / counts.sum()
    variance, share = START_SD_HU**2, 0.5
    for _ in range(ITERATIONS):
        log_ratio = ((centres - brain_hu) ** 2 - (centres - blood_hu) ** 2) / (2 * variance)
        blood = expit(log_ratio + math.log(share / (1 - share)))
        share = float(np.clip((weight * blood).sum(), 1e-6, 1 - 1e-6))
        blood_hu = float((weight * blood * centres).sum() / share)
        brain_hu = float((weight * (1 - blood) * centres).sum() / (1 - share))
        spread = blood * (centres - blood_hu) ** 2 + (1 - blood) * (centres - brain_hu) ** 2
        variance = max(float((weight * spread).sum()), SMALLEST_SD_HU**2)
    return Mixture(brain_hu, blood_hu, variance**0.5, share)


def separate(candidate: Candidate, separation_hu: float, separation_sd: float, highest_hu: float) -> Mask | None:
    """Blood by the limit half-way between the means of blood and brain, grown from the map's region.

    Args:
        candidate: region of the map and its surroundings.
        separation_hu: least difference of the means in HU.
        separation_sd: least difference of the means in standard deviations.
        highest_hu: smoothed HU that blood stays below.

    Returns:
        [rows, columns] bool; None where the two components do not separate, as in isodense or anemic blood.
    """
    tissue = candidate.smooth_hu[candidate.zone]
    tissue = tissue[(tissue > TISSUE_HU[0]) & (tissue < TISSUE_HU[1])]
    inside = candidate.smooth_hu[candidate.region & candidate.zone]
    if min(tissue.size, inside.size) < FEWEST_PIXELS:
        return None
    brain_hu = float(np.percentile(tissue, BRAIN_PERCENTILE))
    blood_hu = float(np.percentile(inside, BLOOD_PERCENTILE))
    mixture = fit_mixture(tissue, brain_hu, max(blood_hu, brain_hu + START_SD_HU))
    if not mixture.separates(separation_hu, separation_sd):
        return None
    return grow(candidate, mixture.limit_hu, mixture.limit_hu, highest_hu)
