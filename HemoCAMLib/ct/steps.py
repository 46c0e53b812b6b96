"""Missing slices, told apart from a protocol that changes its step on purpose."""

from __future__ import annotations

import numpy as np

from HemoCAMLib.ct.geometry import Vector

#: A step this much longer than its neighbours is a hole: one missing slice doubles it.
HOLE_RATIO = 1.8
#: Steps within this fraction belong to the same block.
_SAME = 0.1
#: Thickness that varies by more than this factor was planned per block.
_PLANNED = 1.2


def missing_steps(steps_mm: Vector, thickness_mm: Vector | None = None) -> list[int]:
    """Indices of the steps that span missing slices.

    A missing slice leaves one step, along the normal, about an integer multiple of the regular one. A protocol
    that changes from 4 mm to 7 mm leaves a block of longer steps instead, and often one odd short step
    between the blocks. Hence the rule:

    1. Steps are cut into blocks of equal steps (within 10 %). A block of two or more is regular.
    2. A step is a hole where it is at least 1.8 times the nearest regular block on **every** side that has one.
       A regular block at the end of the scan is a change of protocol (posterior fossa thin, the rest thick),
       a lone long step there is a hole. Where no block is regular, the shortest step is the measure.
    3. Where the slice thickness varies by more than a factor of 1.2, the scanner changed its protocol on purpose:
       every step is then divided by the mean thickness of its two slices first, which makes planned blocks equal.

    Args:
        steps_mm: [slices - 1] distances along the normal.
        thickness_mm: [slices] nominal thickness, or None where not every slice has one.

    >>> missing_steps(np.array([5.0, 5.0, 10.0, 5.0]))
    [2]
    >>> missing_steps(np.array([4.0, 4.0, 4.0, 1.08, 7.0, 7.0, 7.0]))
    []
    """
    steps = np.asarray(steps_mm, dtype=np.float64)
    if thickness_mm is not None and thickness_mm.min() > 0 and thickness_mm.max() > _PLANNED * thickness_mm.min():
        steps = steps / ((thickness_mm[1:] + thickness_mm[:-1]) / 2)
    blocks = _blocks(steps)
    lengths = [float(steps[first:last].mean()) for first, last in blocks]
    regular = [number for number, (first, last) in enumerate(blocks) if last - first > 1]
    holes: list[int] = []
    for number, (first, last) in enumerate(blocks):
        before = [lengths[other] for other in regular if other < number][-1:]
        after = [lengths[other] for other in regular if other > number][:1]
        if number in regular and not (before and after):
            continue
        if lengths[number] >= HOLE_RATIO * max(before + after or [min(lengths)]):
            holes.extend(range(first, last))
    return holes


def _blocks(steps: Vector) -> list[tuple[int, int]]:
    """Runs of equal steps as (first, last + 1)."""
    edges = [0]
    for index in range(1, len(steps)):
        start = steps[edges[-1]]
        if abs(steps[index] - start) > _SAME * max(start, steps[index]):
            edges.append(index)
    return list(zip(edges, [*edges[1:], len(steps)], strict=True)) if len(steps) else []
