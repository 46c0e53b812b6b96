"""A comparison with ground truth as table nodes."""

from __future__ import annotations

import math

from HemoCAMLib.measure.agreement import Agreement
from HemoCAMLib.scene.bridge import Node
from HemoCAMLib.scene.tables import SLICE, Column, write_table

#: Field of ``agreement.json``, heading, unit.
_COLUMNS = (
    ("dice", "Dice", ""),
    ("iou", "IoU", ""),
    ("precision", "Precision", ""),
    ("recall", "Recall", ""),
    ("hausdorff95_mm", "Hausdorff 95 %", "mm"),
    ("mean_surface_distance_mm", "Surface distance", "mm"),
    ("prediction_ml", "HemoCAM", "mL"),
    ("truth_ml", "Truth", "mL"),
    ("difference_ml", "Difference", "mL"),
    ("difference_percent", "Difference in percent", "%"),
)


def write_agreement_table(table_node: Node, agreement: Agreement) -> None:
    """One row a structure, "any" first; what is not defined, such as Dice of two empty masks, is not a number."""
    structures = agreement.to_dict()["structures"]
    columns = [Column("Hemorrhage", list(structures))]
    for field, heading, unit in _COLUMNS:
        columns.append(Column(heading, [_number(fields.get(field)) for fields in structures.values()], unit))
    columns.append(Column("Empty", [str(fields["empty"]) for fields in structures.values()]))
    write_table(table_node, columns)


def write_slice_agreement_table(table_node: Node, agreement: Agreement, structure: str) -> None:
    """One row a slice for one structure: Dice and both areas.

    Raises:
        KeyError: the structure was not compared.
    """
    slices = agreement.structures[structure].slices
    columns = [
        Column(SLICE, [entry.index + 1 for entry in slices]),
        Column("Dice", [_number(entry.overlap.dice) for entry in slices]),
        Column("HemoCAM", [entry.prediction_mm2 for entry in slices], "mm2"),
        Column("Truth", [entry.truth_mm2 for entry in slices], "mm2"),
    ]
    write_table(table_node, columns)


def _number(value: float | None) -> float:
    return math.nan if value is None else float(value)
