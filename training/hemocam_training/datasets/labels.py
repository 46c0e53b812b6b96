"""Labels of a slice or a scan: one of yes, no and unknown for any, IPH, IVH, SAH, SDH and EDH."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
from numpy.typing import NDArray

from HemoCAMLib.subtypes import CLASS_NAMES, SUBTYPE_NAMES, SUBTYPES

#: In the order of :data:`HemoCAMLib.subtypes.CLASS_NAMES`; None is unknown.
Labels = tuple[bool | None, ...]

UNKNOWN: Labels = (None,) * len(CLASS_NAMES)
NEGATIVE: Labels = (False,) * len(CLASS_NAMES)


def labels_of(named: Mapping[str, bool | None]) -> Labels:
    """Labels by class name, settled: what follows from the others is filled in.

    A subtype that is present makes ``any`` present, whatever was said of it; ``any`` absent makes all absent; all
    subtypes absent leave ``any`` as it was told, because datasets have bleedings of no subtype.

    >>> labels_of({"SAH": True, "IPH": False})
    (True, False, None, True, None, None)
    >>> labels_of({"any": False})
    (False, False, False, False, False, False)
    """
    subtypes = [named.get(name) for name in SUBTYPE_NAMES]
    bleeds = named.get("any")
    if any(subtypes):
        bleeds = True
    elif bleeds is None and all(present is False for present in subtypes):
        bleeds = False
    if bleeds is False:
        return NEGATIVE
    return (bleeds, *subtypes)


def contradict(named: Mapping[str, bool | None]) -> bool:
    """Whether a subtype is said to be present and hemorrhage absent."""
    return named.get("any") is False and any(named.get(name) for name in SUBTYPE_NAMES)


def union(several: Iterable[Labels]) -> Labels:
    """Labels of a whole from those of its parts: present where in one, absent where in none, else unknown."""
    columns = list(zip(*several, strict=True))
    if not columns:
        return UNKNOWN
    return tuple(True if True in column else None if None in column else False for column in columns)


def of_every_slice(scan: Labels) -> Labels:
    """What a scan's labels say of each of its slices: what is nowhere in the scan is in none of them."""
    return tuple(False if present is False else None for present in scan)


def labels_of_mask(mask: NDArray[np.uint8], kind: str) -> Labels:
    """Labels of one slice from its mask [row, column].

    Args:
        mask: with kind ``subtypes`` the label of each pixel as in :mod:`HemoCAMLib.subtypes`, otherwise 0 and 1.
        kind: ``subtypes`` or ``any``; other masks say nothing of hemorrhage.
    """
    if kind == "any":
        return labels_of({"any": bool(mask.any())})
    if kind != "subtypes":
        return UNKNOWN
    present = np.bincount(mask.ravel(), minlength=len(SUBTYPES) + 1) > 0
    return labels_of({subtype.name: bool(present[subtype.label]) for subtype in SUBTYPES})
