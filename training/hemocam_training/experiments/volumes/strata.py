"""Scans by gantry tilt and slice thickness: where a volume goes wrong that ignores them."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from hemocam_training.experiments.volumes.measure import ScanVolumes


def strata(
    rows: Sequence[ScanVolumes], tilt_edges_deg: Sequence[float], extent_edges_mm: Sequence[float]
) -> dict[str, list[ScanVolumes]]:
    """The rows of each stratum that has any; every row is in one of tilt, one of thickness, one of spacing.

    Args:
        rows: of one structure.
        tilt_edges_deg, extent_edges_mm: rising; a value on an edge belongs to the stratum above.

    >>> row = ScanVolumes(1, "a", "any", 12.0, 5.0, False, 3.0, {})
    >>> list(strata([row], [1, 15], [3.5]))
    ['tilt 1° to 15°', 'slices 3.5 mm or more', 'even steps']
    """
    found: dict[str, list[ScanVolumes]] = {}
    for name, low, high in _ranges("tilt {}", tilt_edges_deg, "°"):
        found[name] = [row for row in rows if low <= row.tilt_deg < high]
    for name, low, high in _ranges("slices {}", extent_edges_mm, " mm"):
        found[name] = [row for row in rows if low <= row.extent_mm < high]
    found["even steps"] = [row for row in rows if not row.uneven]
    found["uneven steps"] = [row for row in rows if row.uneven]
    return {name: each for name, each in found.items() if each}


def _ranges(pattern: str, edges: Sequence[float], unit: str) -> list[tuple[str, float, float]]:
    ends = [float("-inf"), *edges, float("inf")]
    named = []
    for low, high in pairwise(ends):
        if low == float("-inf"):
            text = f"below {high:g}{unit}"
        elif high == float("inf"):
            text = f"{low:g}{unit} or more"
        else:
            text = f"{low:g}{unit} to {high:g}{unit}"
        named.append((pattern.format(text), low, high))
    return named
