"""Which slices a report shows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from HemoCAMLib.subtypes import ANY, SUBTYPE_NAMES

#: Slices nearer to each other than this show the same again.
APART = 2


def key_slices(slices: Sequence[dict[str, Any]], count: int = 6) -> list[int]:
    """Indices of the slices to show, ascending.

    Of each subtype found the slice with its largest area, then slices with most hemorrhage that are not next to one
    chosen already. Without any finding: the most suspicious slice, and one a quarter from each end.

    Args:
        slices: entries of ``result.json``.
        count: at most so many; each subtype found comes first.

    >>> row = lambda i, area: {"index": i, "area_mm2": {"any": area, **dict.fromkeys(SUBTYPE_NAMES, 0), "IPH": area},
    ...                        "probability": {"any": 0.1 * i}}
    >>> key_slices([row(0, 0), row(1, 5), row(2, 9), row(3, 4), row(4, 3)], 2)
    [2, 4]
    """
    chosen: list[int] = []
    for name in SUBTYPE_NAMES:
        best = max(slices, key=lambda entry: entry["area_mm2"][name])
        if best["area_mm2"][name] > 0 and best["index"] not in chosen:
            chosen.append(best["index"])
    for entry in sorted(slices, key=lambda entry: -entry["area_mm2"][ANY]):
        if len(chosen) >= count or entry["area_mm2"][ANY] == 0:
            break
        if all(abs(entry["index"] - other) >= APART for other in chosen):
            chosen.append(entry["index"])
    if not chosen:
        suspicious = max(slices, key=lambda entry: entry["probability"][ANY])["index"]
        last = len(slices) - 1
        chosen = list({suspicious, round(last / 4), round(last * 3 / 4)})[:count]
    return sorted(chosen)
