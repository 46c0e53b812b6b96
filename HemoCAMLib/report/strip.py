"""The probability of every subtype along the scan, as a drawing that scales and prints."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

from HemoCAMLib.subtypes import ANY, CLASS_NAMES, SUBTYPES

WIDTH, LABEL_WIDTH, ROW, GAP = 760.0, 44.0, 20.0, 3.0
BAR = 46.0

#: One hue, light to dark; a dot, not the colour, says that something was outlined.
PROBABILITY_RGB = (16, 61, 112)


@dataclass(frozen=True)
class _Column:
    left: float
    width: float


def probability_strip(slices: Sequence[dict[str, Any]], shown: Sequence[int]) -> str:
    """An ``<svg>``: a row a class, a column a slice as wide as its true extent, feet to head.

    Darker is more probable, a dot marks slices where the subtype was outlined; below, the outlined area of every
    slice, and arrows at the slices that are shown as pictures.

    Args:
        slices: entries of ``result.json``.
        shown: indices of the slices in the report's pictures.
    """
    columns = _columns(slices)
    height = len(CLASS_NAMES) * (ROW + GAP) + BAR + 34
    parts = [
        f'<svg viewBox="0 0 {WIDTH:g} {height:g}" role="img" aria-label="Probability of each hemorrhage subtype '
        f'and outlined area in every slice, from feet to head" class="strip" font-size="12">'
    ]
    for number, name in enumerate(CLASS_NAMES):
        top = number * (ROW + GAP)
        parts.append(f'<text x="{LABEL_WIDTH - 6:g}" y="{top + ROW - 6:g}" text-anchor="end">{name}</text>')
        parts += [_cell(entry, name, column, top) for entry, column in zip(slices, columns, strict=True)]
    base = len(CLASS_NAMES) * (ROW + GAP) + BAR
    parts.append(f'<text x="{LABEL_WIDTH - 6:g}" y="{base - BAR / 2:g}" text-anchor="end">area</text>')
    parts += _bars(slices, columns, base)
    parts += _arrows(columns, shown, base)
    parts.append(f'<text x="{LABEL_WIDTH:g}" y="{base + 31:g}">feet</text>')
    parts.append(f'<text x="{WIDTH:g}" y="{base + 31:g}" text-anchor="end">head</text></svg>')
    return "".join(parts)


def _columns(slices: Sequence[dict[str, Any]]) -> list[_Column]:
    extents = [float(entry["extent_mm"]) for entry in slices]
    scale = (WIDTH - LABEL_WIDTH) / sum(extents)
    columns, left = [], LABEL_WIDTH
    for extent in extents:
        columns.append(_Column(left, extent * scale))
        left += extent * scale
    return columns


def _cell(entry: dict[str, Any], name: str, column: _Column, top: float) -> str:
    probability, area_mm2 = float(entry["probability"][name]), float(entry["area_mm2"][name])
    red, green, blue = PROBABILITY_RGB
    outlined = f", {area_mm2:.0f} mm² outlined" if area_mm2 > 0 else ""
    tip = escape(f"slice {entry['index'] + 1}: {name} {probability:.2f}{outlined}")
    cell = (
        f'<rect x="{column.left:.2f}" y="{top:g}" width="{max(column.width - 0.6, 0.3):.2f}" height="{ROW:g}" '
        f'fill="rgb({red},{green},{blue})" fill-opacity="{0.04 + 0.96 * probability:.3f}"><title>{tip}</title></rect>'
    )
    if area_mm2 > 0:
        middle = column.left + column.width / 2
        radius = min(3.2, column.width * 0.4)
        cell += (
            f'<circle cx="{middle:.2f}" cy="{top + ROW / 2:g}" r="{radius:.2f}" '
            'fill="#fff" stroke="#111" stroke-width="1"/>'
        )
    return cell


def _bars(slices: Sequence[dict[str, Any]], columns: Sequence[_Column], base: float) -> list[str]:
    """Stacked areas by subtype; the largest slice fills the height."""
    largest = max(float(entry["area_mm2"][ANY]) for entry in slices) or 1.0
    bars = [f'<line x1="{LABEL_WIDTH:g}" x2="{WIDTH:g}" y1="{base:g}" y2="{base:g}" stroke="#555"/>']
    for entry, column in zip(slices, columns, strict=True):
        top = base
        for subtype in SUBTYPES:
            share = float(entry["area_mm2"][subtype.name]) / largest * (BAR - 6)
            if share > 0:
                top -= share
                bars.append(
                    f'<rect x="{column.left:.2f}" y="{top:.2f}" width="{max(column.width - 0.6, 0.3):.2f}" '
                    f'height="{share:.2f}" fill="rgb{subtype.color_rgb}"/>'
                )
    return bars


def _arrows(columns: Sequence[_Column], shown: Sequence[int], base: float) -> list[str]:
    arrows = []
    for index in shown:
        x = columns[index].left + columns[index].width / 2
        arrows.append(f'<path d="M{x:.2f} {base + 3:g}l4 7h-8z" fill="#111"/>')
        arrows.append(f'<text x="{x:.2f}" y="{base + 20:g}" text-anchor="middle" font-size="10">{index + 1}</text>')
    return arrows
