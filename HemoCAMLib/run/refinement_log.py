"""What refinement did to each slice, kept in the run folder so that a resumed run tells the same."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from HemoCAMLib.ct import ScanWarning
from HemoCAMLib.mask.refine import Outcome
from HemoCAMLib.run.folder import GrowingArray
from HemoCAMLib.subtypes import SUBTYPE_NAMES

#: What a user must know beyond the outlines: code and sentence by outcome.
_NOTICES: dict[Outcome, tuple[str, str]] = {
    Outcome.KEPT: (
        "MASK_REGIONS_KEPT",
        "The map marked regions that do not look like blood in {slices}; they were kept as the map drew them.",
    ),
    Outcome.CLEARED: (
        "MASK_REGIONS_CLEARED",
        "The map marked regions that do not look like blood in {slices}; they were removed.",
    ),
    Outcome.NOT_SEPARATED: (
        "MASK_NOT_SEPARATED",
        "Blood and brain did not differ clearly in {slices}; the outlines there are the map's own.",
    ),
}


class RefinementLog:
    """One :class:`~HemoCAMLib.mask.refine.Outcome` for every subtype and slice.

    Args:
        path: scratch file of the run folder.
        slices: number of slices.
    """

    def __init__(self, path: Path, slices: int) -> None:
        self._outcomes = GrowingArray(path, (len(SUBTYPE_NAMES), slices), "|u1")

    def write(self, index: int, outcomes: Sequence[Outcome]) -> None:
        """Keeps the outcomes [5] of a slice."""
        self._outcomes.write(index, np.array(outcomes, np.uint8))

    def record(self, index: int) -> dict[str, list[str]]:
        """What became of a slice's subtypes, by name, as it stands in events and in ``result.json``."""
        outcomes = self._outcomes.read(index).tolist()
        return {name: Outcome(o).names for name, o in zip(SUBTYPE_NAMES, outcomes, strict=True) if o}

    def warnings(self) -> tuple[ScanWarning, ...]:
        """What a user must know, a sentence for each kind of thing that happened."""
        found = []
        slices = [np.bitwise_or.reduce(self._outcomes.read(index)) for index in range(self._outcomes.shape[1])]
        for outcome, (code, sentence) in _NOTICES.items():
            count = sum(bool(flags & outcome) for flags in slices)
            if count:
                found.append(ScanWarning(code, sentence.format(slices=f"{count} slice{'s' * (count > 1)}")))
        return tuple(found)

    def close(self) -> None:
        self._outcomes.close()
