"""The numbers of a run as table nodes: one row a subtype, one row a slice."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from HemoCAMLib.measure.measurements import TOTAL
from HemoCAMLib.scene.bridge import Node, column_of
from HemoCAMLib.subtypes import CLASS_NAMES, SUBTYPES

#: Columns of the slice table that plots ask for.
SLICE, POSITION = "Slice", "Position"


@dataclass(frozen=True)
class Column:
    """One column of a table.

    Attributes:
        name: heading, without the unit.
        values: texts or numbers.
        unit: of the numbers (UCUM); empty without one.
        about: what it is, in a few words.
    """

    name: str
    values: ArrayLike
    unit: str = ""
    about: str = ""


def probability_column(name: str) -> str:
    """Heading of a class's probability in the slice table."""
    return f"p({name})"


def write_volume_table(table_node: Node, numbers: Mapping[str, Any], slices: Sequence[Mapping[str, Any]]) -> None:
    """One row a subtype and one for all together.

    Args:
        table_node: its content is replaced.
        numbers: ``volume_ml``, ``abc2_ml``, ``largest_diameter_mm``, ``side`` and ``components`` by subtype name, as in
            ``result.json`` and :meth:`Measurements.as_dict`.
        slices: as in ``result.json``: ``probability`` and ``area_mm2`` by subtype name and ``any``.
    """
    names = [subtype.name for subtype in SUBTYPES]

    def of_subtypes(field: str, total: float) -> list[float]:
        return [float(numbers[field][name]) for name in names] + [total]

    def largest(name: str) -> float:
        return max((float(entry["probability"].get(name, 0.0)) for entry in slices), default=0.0)

    lesions = [int(numbers["components"][name]) for name in names]
    undefined = float("nan")
    columns = [
        Column("Hemorrhage", [*(subtype.title for subtype in SUBTYPES), "All"]),
        Column("Volume", of_subtypes("volume_ml", float(numbers["volume_ml"][TOTAL])), "mL", "Sum over true slices"),
        Column("ABC/2", of_subtypes("abc2_ml", undefined), "mL", "A x B x C / 2 of the largest lesion"),
        Column("Diameter", of_subtypes("largest_diameter_mm", undefined), "mm", "Largest in one slice"),
        Column("Side", [*(str(numbers["side"][name]) for name in names), ""]),
        Column("Lesions", [*lesions, sum(lesions)], "", "Connected regions"),
        Column("Slices", [*(_slices_with(slices, name) for name in names), _slices_with(slices, "any")]),
        Column("Probability", [*(largest(name) for name in names), largest("any")], "", "Highest of all slices"),
    ]
    write_table(table_node, columns)


def write_slice_table(table_node: Node, slices: Sequence[Mapping[str, Any]]) -> None:
    """One row a slice: number from 1, position, probability and area by class.

    Args:
        table_node: its content is replaced.
        slices: as in ``result.json`` and in the events of a run, in any order; slices that are not there yet are left
            out.
    """
    ordered = sorted(slices, key=lambda entry: entry["index"])
    columns = [
        Column(SLICE, np.array([entry["index"] + 1 for entry in ordered], np.int32), "", "From feet to head, from 1"),
        Column(POSITION, np.array([entry["position_mm"] for entry in ordered], float), "mm", "Along the normal"),
    ]
    for name in CLASS_NAMES:
        values = np.array([entry["probability"][name] for entry in ordered], float)
        columns.append(Column(probability_column(name), values, "", f"Probability of {name}"))
    for name in CLASS_NAMES:
        values = np.array([entry["area_mm2"][name] for entry in ordered], float)
        columns.append(Column(f"{name} area", values, "mm2"))
    write_table(table_node, columns)


def write_table(table_node: Node, columns: Sequence[Column]) -> None:
    """Replaces the content of a table node, with units and types that a saved scene brings back."""
    was_modifying = table_node.StartModify()
    try:
        table_node.RemoveAllColumns()
        table_node.SetUseColumnTitleAsColumnHeader(True)
        for column in columns:
            array = column_of(column.values, column.name)
            table_node.AddColumn(array)
            table_node.SetColumnType(column.name, array.GetDataType())
            if column.unit:
                table_node.SetColumnUnitLabel(column.name, column.unit)
            title = f"{column.name}, {column.unit}" if column.unit else column.name
            table_node.SetColumnTitle(column.name, title)
            if column.about:
                table_node.SetColumnDescription(column.name, column.about)
    finally:
        table_node.EndModify(was_modifying)
    table_node.SetLocked(True)


def _slices_with(slices: Sequence[Mapping[str, Any]], name: str) -> int:
    return sum(float(entry["area_mm2"][name]) > 0 for entry in slices)
