"""Refinement of one slice: the map says where, Hounsfield units say how far."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import IntFlag

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from HemoCAMLib.mask.refine.candidate import Candidate, FloatImage, Mask, SliceWindow, brain_median_hu
from HemoCAMLib.mask.refine.hu_mixture import separate
from HemoCAMLib.mask.refine.hysteresis import grow
from HemoCAMLib.mask.refine.random_walker import walk
from HemoCAMLib.mask.refine.settings import RefinementSettings
from HemoCAMLib.mask.refine.skull_distance import depth_mm
from HemoCAMLib.subtypes import SUBTYPES

Labels = NDArray[np.uint8]

_EIGHT_CONNECTED = np.ones((3, 3), bool)


class Outcome(IntFlag):
    """What became of a subtype in a slice."""

    NONE = 0
    #: At least one of its regions has the outline that the image gave.
    REFINED = 1
    #: A region in which no blood was found was kept as the map drew it.
    KEPT = 2
    #: A region in which no blood was found was removed.
    CLEARED = 4
    #: Blood and brain did not separate in HU (isodense or anemic), so the map's outline was kept.
    NOT_SEPARATED = 8

    @property
    def names(self) -> list[str]:
        """What holds, in lower-case words.

        >>> (Outcome.REFINED | Outcome.NOT_SEPARATED).names
        ['refined', 'not_separated']
        """
        return [flag.name.lower() for flag in Outcome if flag & self and flag.name]


@dataclass(frozen=True, eq=False)
class RefinedSlice:
    """A refined label map.

    Attributes:
        labels: [rows, columns] uint8.
        outcomes: [5] what became of each subtype, as :class:`Outcome`, in the order of the subtypes.
    """

    labels: Labels
    outcomes: tuple[Outcome, ...]


def refine_slice(
    labels: Labels,
    hu: NDArray[np.int16],
    brain: Mask,
    pixel_spacing_mm: tuple[float, float],
    settings: RefinementSettings,
) -> RefinedSlice:
    """A slice's label map with the outlines that its HU give.

    Every subtype starts from the pixels that the map gave it. Only subtypes that are labelled in the slice can be
    labelled afterwards, and only inside the brain mask. A pixel that two subtypes claim goes to the one whose region
    of the map is nearer, ties to the first. A region in which the method finds no blood is kept or cleared, as
    ``settings.where_empty`` says.

    Args:
        labels: [rows, columns] uint8 made from the maps by any rule.
        hu: [rows, columns] of the slice.
        brain: [rows, columns] pixels that may be labelled.
        pixel_spacing_mm: (distance between rows, distance between columns).
        settings: method and parameters.

    >>> brain = np.ones((40, 40), bool)
    >>> hu = np.full((40, 40), 30, np.int16); hu[10:30, 10:30] = 60
    >>> labels = np.zeros((40, 40), np.uint8); labels[15:38, 15:20] = 1
    >>> refined = refine_slice(labels, hu, brain, (1.0, 1.0), RefinementSettings(smoothing_mm=0, reach_mm=20))
    >>> bool((refined.labels == (hu == 60)).all())
    True
    """
    outcomes = [Outcome.NONE] * len(SUBTYPES)
    labels = labels * brain
    if not labels.any():
        return RefinedSlice(labels, tuple(outcomes))
    settings = _raised_limits(settings, brain_median_hu(hu, brain))
    window = SliceWindow(labels, hu, brain, pixel_spacing_mm, settings.reach_mm, settings.smoothing_mm)
    refined = np.zeros_like(labels)
    view = refined[window.view]
    nearest: FloatImage = np.full(view.shape, np.inf, np.float32)
    depth = depth_mm(brain, pixel_spacing_mm)[window.view] if any(settings.skull_mm) else None
    for label, candidate in window.candidates():
        found, outcome = _METHODS[settings.name](candidate, settings)
        margin_mm = settings.skull_mm[label - 1]
        if depth is not None and margin_mm > 0:
            found = found & (depth >= margin_mm)
        found, rest = _empty_regions(candidate.region, found, keep=settings.where_empty[label - 1] == "keep")
        # An outline that was given up is not refined, though its regions are not empty.
        outcomes[label - 1] = outcome | (rest & ~Outcome.REFINED) if outcome else rest
        wins = found & (candidate.distance_mm < nearest)
        np.copyto(nearest, candidate.distance_mm, where=wins)
        view[wins] = label
    return RefinedSlice(refined, tuple(outcomes))


def _raised_limits(settings: RefinementSettings, brain_hu: float) -> RefinementSettings:
    """The settings with limits that lie far enough above this slice's brain."""
    seed_hu = min(max(settings.seed_hu, brain_hu + settings.above_brain_hu), settings.highest_hu - 1, 100.0)
    raised_hu = max(0.0, seed_hu - settings.seed_hu)
    return replace(settings, lowest_hu=settings.lowest_hu + raised_hu, seed_hu=settings.seed_hu + raised_hu)


def _hysteresis(candidate: Candidate, settings: RefinementSettings) -> tuple[Mask, Outcome]:
    return grow(candidate, settings.seed_hu, settings.lowest_hu, settings.highest_hu), Outcome.NONE


def _hu_mixture(candidate: Candidate, settings: RefinementSettings) -> tuple[Mask, Outcome]:
    found = separate(candidate, settings.separation_hu, settings.separation_sd, settings.highest_hu)
    return (candidate.region, Outcome.NOT_SEPARATED) if found is None else (found, Outcome.NONE)


def _random_walker(candidate: Candidate, settings: RefinementSettings) -> tuple[Mask, Outcome]:
    background_hu = settings.lowest_hu - settings.edge_hu
    found = walk(candidate, settings.seed_hu, background_hu, settings.highest_hu, settings.edge_hu)
    return found, Outcome.NONE


def _map_only(candidate: Candidate, settings: RefinementSettings) -> tuple[Mask, Outcome]:
    return candidate.region, Outcome.NONE


_METHODS: dict[str, Callable[[Candidate, RefinementSettings], tuple[Mask, Outcome]]] = {
    "map-only": _map_only,
    "hysteresis": _hysteresis,
    "hu-mixture": _hu_mixture,
    "random-walker": _random_walker,
}


def _empty_regions(region: Mask, found: Mask, *, keep: bool) -> tuple[Mask, Outcome]:
    """Deals with the parts of the map's region in which nothing was found."""
    parts, count = ndimage.label(region, structure=_EIGHT_CONNECTED)
    filled = np.zeros(count + 1, bool)
    filled[parts[found]] = True
    filled[0] = True
    outcome = Outcome.REFINED if filled[1:].any() else Outcome.NONE
    if filled.all():
        return found, outcome
    if not keep:
        return found, outcome | Outcome.CLEARED
    return found | ~filled[parts], outcome | Outcome.KEPT
