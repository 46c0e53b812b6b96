"""Tables of the panel that are filled from table nodes: what stands in them. Knows of no widget."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from slicer.i18n import tr as _

from HemoCAMLib.measure.measurements import TOTAL
from HemoCAMLib.panel.strip import ANY_COLOR, StripRow
from HemoCAMLib.panel.words import millilitres
from HemoCAMLib.scene.bridge import Node
from HemoCAMLib.scene.tables import SLICE, probability_column
from HemoCAMLib.subtypes import ANY, CLASS_NAMES, SUBTYPE_NAMES, SUBTYPES


@dataclass(frozen=True)
class VolumeRow:
    """One row of the table of volumes.

    Attributes:
        name: subtype, or empty for all together.
        title: in full.
        cells: texts under :func:`volume_headings`.
        color: of the subtype; None for all together.
        found: whether there is any volume.
    """

    name: str
    title: str
    cells: tuple[str, ...]
    color: tuple[int, int, int] | None
    found: bool


def volume_headings() -> tuple[str, ...]:
    """Headings with units."""
    return (_("Subtype"), _("mL"), _("ABC/2"), _("Side"), _("Lesions"), _("Slices"), _("max p"))


def volume_rows(table_node: Node) -> list[VolumeRow]:
    """Rows of the result's table node; none while that is empty."""
    count = int(table_node.GetNumberOfRows())
    if count != len(SUBTYPES) + 1:
        return []
    columns = {name: _texts(table_node, name) for name in ("Side",)}
    numbers = {name: column(table_node, name) for name in ("Volume", "ABC/2", "Lesions", "Slices", "Probability")}
    rows = []
    for index, subtype in enumerate([*SUBTYPES, None]):
        volume = float(numbers["Volume"][index])
        abc2 = float(numbers["ABC/2"][index])
        cells = (
            subtype.name if subtype else _("All"),
            millilitres(volume),
            "" if math.isnan(abc2) else millilitres(abc2),
            columns["Side"][index].replace("none", ""),
            str(int(numbers["Lesions"][index])),
            str(int(numbers["Slices"][index])),
            f"{float(numbers['Probability'][index]):.2f}",
        )
        title = subtype.title if subtype else _("All hemorrhage")
        name, color = (subtype.name, subtype.color_rgb) if subtype else ("", None)
        rows.append(VolumeRow(name, title, cells, color, volume > 0))
    return rows


def volumes_of(table_node: Node) -> dict[str, float]:
    """Millilitres by subtype name, and ``total``, as the table has them: after corrections too."""
    return dict(zip((*SUBTYPE_NAMES, TOTAL), column(table_node, "Volume").tolist(), strict=True))


def strip_rows(table_node: Node, count: int, gates: dict[str, float]) -> list[StripRow]:
    """The probability strip of a slice table, of a run under way too.

    Args:
        table_node: slices that are there.
        count: slices of the scan.
        gates: by class name: slices above are marked.
    """
    colors = {ANY: ANY_COLOR, **{subtype.name: subtype.color_rgb for subtype in SUBTYPES}}
    places = column(table_node, SLICE).astype(int) - 1
    rows = []
    for name in CLASS_NAMES:
        values = np.full(count, np.nan)
        values[places] = column(table_node, probability_column(name))
        gate = gates.get(name, 2.0)
        marked = frozenset(np.flatnonzero(values > gate).tolist()) if name != ANY else frozenset()
        rows.append(StripRow(name, colors[name], values.tolist(), marked))
    return rows


def slice_entry(table_node: Node, index: int) -> dict[str, Any] | None:
    """Probabilities and areas of one slice, as in ``result.json``; None where it is not there yet."""
    rows = np.flatnonzero(column(table_node, SLICE).astype(int) == index + 1)
    if rows.size == 0:
        return None
    row = int(rows[0])
    return {
        "index": index,
        "probability": {name: float(column(table_node, probability_column(name))[row]) for name in CLASS_NAMES},
        "area_mm2": {name: float(column(table_node, f"{name} area")[row]) for name in CLASS_NAMES},
    }


def column(table_node: Node, name: str) -> NDArray[Any]:
    """Numbers of a column; empty where it is not there."""
    from vtk.util.numpy_support import vtk_to_numpy

    found = table_node.GetTable().GetColumnByName(name)
    return np.zeros(0) if found is None else np.asarray(vtk_to_numpy(found))


def _texts(table_node: Node, name: str) -> Sequence[str]:
    found = table_node.GetTable().GetColumnByName(name)
    return [str(found.GetValue(row)) for row in range(found.GetNumberOfValues())]
