"""A strip over all slices, one row a class and one column a slice: what is painted where. Knows of no widget."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

Color = tuple[int, int, int]

#: Colour of the class "any".
ANY_COLOR: Color = (70, 70, 70)

#: A slice that was not analysed yet, and one in which there is nothing.
WAITING: Color = (205, 205, 205)
EMPTY: Color = (244, 244, 244)

#: Steps from nothing to a row's full colour: more than an eye tells apart.
_SHADES = 32


@dataclass
class StripRow:
    """One row.

    Attributes:
        name: written in front of it.
        color: of a value of 1.
        values: one a slice, 0 to 1; not a number where there is none (yet).
        marked: slices that carry a mark, such as those above the class's gate.
    """

    name: str
    color: Color
    values: Sequence[float]
    marked: frozenset[int] = field(default_factory=frozenset)


@dataclass(frozen=True)
class StripLayout:
    """Where things lie in a picture of a given size.

    Attributes:
        width: of the picture in pixels.
        row_count: rows.
        slice_count: columns.
        margin: pixels in front for names.
        row_height: pixels a row.
    """

    width: int
    row_count: int
    slice_count: int
    margin: int = 34
    row_height: int = 13

    @property
    def height(self) -> int:
        """Of the picture in pixels."""
        return self.row_count * self.row_height + 1

    @property
    def has_gaps(self) -> bool:
        """Whether there is room for a pixel between slices."""
        return self.width - self.margin > 3 * self.slice_count

    def left(self, index: int) -> int:
        """Where the column of a slice begins."""
        return self.margin + (self.width - self.margin) * index // max(self.slice_count, 1)

    def slice_at(self, x: int) -> int | None:
        """The slice whose column a pixel lies in; None in front of all and where there are no slices.

        >>> layout = StripLayout(134, 6, 40)
        >>> [layout.slice_at(layout.left(index)) for index in (0, 1, 39)], layout.slice_at(10), layout.slice_at(999)
        ([0, 1, 39], None, 39)
        """
        if x < self.margin or self.slice_count == 0:
            return None
        index = (x - self.margin) * self.slice_count // max(self.width - self.margin, 1)
        index = min(index, self.slice_count - 1)
        # Columns begin at whole pixels, rounded down.
        while index + 1 < self.slice_count and self.left(index + 1) <= x:
            index += 1
        return index


def shaded_runs(row: StripRow, layout: StripLayout) -> Iterator[tuple[int, int, Color]]:
    """(first slice, one past the last, colour) of what is filled at once: a slice, or alike ones without gaps.

    Every rectangle costs a painting library's call: a strip of 300 slices has a few hundred and not 1800.

    >>> row = StripRow("any", (0, 0, 0), [0.0, 0.001, 1.0])
    >>> [(first, end) for first, end, _ in shaded_runs(row, StripLayout(36, 1, 3))]
    [(0, 2), (2, 3)]
    """
    first, color = 0, None
    for index, value in enumerate(row.values):
        known = not math.isnan(value)
        here = shade(round(value * _SHADES) / _SHADES if known else value, row.color)
        if color is not None and (layout.has_gaps or here != color):
            yield first, index, color
            first = index
        color = here
    if color is not None:
        yield first, len(row.values), color


def shade(value: float, color: Color) -> Color:
    """The colour of a value: from almost white at 0 to the row's own at 1.

    >>> shade(float("nan"), (0, 0, 0)) == WAITING, shade(1.0, (10, 20, 30))
    (True, (10, 20, 30))
    """
    if math.isnan(value):
        return WAITING
    share = min(max(value, 0.0), 1.0)
    red, green, blue = (round(empty + (full - empty) * share) for empty, full in zip(EMPTY, color, strict=True))
    return red, green, blue
