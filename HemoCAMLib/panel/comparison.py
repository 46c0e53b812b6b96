"""A result compared with ground truth in the same scene, with tables and an overlap to look at."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from HemoCAMLib.errors import UsageError
from HemoCAMLib.measure.agreement import Agreement, compare_segmentations
from HemoCAMLib.panel.analysis_result import AnalysisResult
from HemoCAMLib.scene import (
    SceneResult,
    Steps,
    add_overlap_steps,
    corrected_steps,
    finish,
    in_background,
    read_segmentation_node_steps,
    write_agreement_table,
    write_slice_agreement_table,
)
from HemoCAMLib.scene.bridge import Node
from HemoCAMLib.scene.result_folder import belongings_of, remove_unused
from HemoCAMLib.subtypes import ANY

#: Roles of the nodes among those of the result.
AGREEMENT, SLICE_AGREEMENT, OVERLAP = "agreement", "slice-agreement", "overlap"


@dataclass(frozen=True, eq=False)
class Comparison:
    """How far a result and a truth agree.

    Attributes:
        agreement: all figures: ``agreement["any"].dice``, ``agreement["SDH"].surface.hausdorff95_mm``, ...
        table: table node with a row for each structure.
        slice_table: table node with a row for each slice, for one structure.
        overlap: segmentation node: green both, red HemoCAM only, yellow truth only; None where it was not asked for.
    """

    agreement: Agreement
    table: Node
    slice_table: Node
    overlap: Node | None

    @property
    def notes(self) -> tuple[str, ...]:
        """What was done to compare the two, such as resampling; to be shown."""
        return tuple(self.agreement.notes)


def compare_with_truth(
    result: AnalysisResult,
    truth_node: Node,
    mapping: Mapping[str, str] | str | None = None,
    *,
    structure: str = ANY,
    overlap: bool = True,
) -> Comparison:
    """Compares the segmentation as it is now, edits included, with a truth; a former comparison is replaced.

    Args:
        result: in a scene.
        truth_node: segmentation or label map, on whatever grid.
        mapping: what the truth's labels mean: by name or value, or the name of a data set; None guesses
            (:func:`~HemoCAMLib.scene.guess_mapping`).
        structure: subtype, or ``any``, of the slice table and the overlap.
        overlap: make the overlap.

    Raises:
        InputRefused: the labels' meaning is unclear (``TRUTH_LABELS``), or the truth lies elsewhere.
        UsageError: ``USAGE_TRUTH``, the truth is the result's own segmentation.
    """
    return finish(compare_steps(result, truth_node, mapping, structure=structure, overlap=overlap))


def compare_steps(
    result: AnalysisResult,
    truth_node: Node,
    mapping: Mapping[str, str] | str | None = None,
    *,
    structure: str = ANY,
    overlap: bool = True,
) -> Steps[Comparison]:
    """The same in small steps; nodes are added with the last ones."""
    shown = result.shown
    if truth_node is shown.segmentation:
        raise UsageError(
            "USAGE_TRUTH", "The truth is the result's own segmentation.", "Choose the segmentation of an expert."
        )
    prediction = yield from corrected_steps(shown)
    truth = yield from read_segmentation_node_steps(
        truth_node, shown.volume, shown.placement, shown.record.geometry, mapping
    )
    agreement = yield from in_background(compare_segmentations, prediction, truth)
    _check_there(shown, truth_node)
    remove_comparison(result)
    name, scene = str(truth_node.GetName()), shown.record_node.GetScene()
    table = scene.AddNewNodeByClass("vtkMRMLTableNode", f"Agreement with {name}")
    write_agreement_table(table, agreement)
    shown.adopt(table, AGREEMENT)
    slice_table = scene.AddNewNodeByClass("vtkMRMLTableNode", f"Agreement with {name} by slice")
    write_slice_agreement_table(slice_table, agreement, structure)
    shown.adopt(slice_table, SLICE_AGREEMENT)
    made = None
    if overlap:
        made = yield from add_overlap_steps(
            shown.volume, shown.placement, prediction, truth, structure, f"Overlap with {name}"
        )
        shown.adopt(made, OVERLAP)
    return Comparison(agreement, table, slice_table, made)


def _check_there(shown: SceneResult, truth_node: Node) -> None:
    if not shown.is_open or truth_node.GetScene() is None:
        raise UsageError("USAGE_RESULT_GONE", "The result or the truth was deleted.", "Open the run again.")


def remove_comparison(result: AnalysisResult) -> None:
    """Takes the nodes of a former comparison out of the scene."""
    scene = result.shown.record_node.GetScene()
    nodes = [node for role in (AGREEMENT, SLICE_AGREEMENT, OVERLAP) for node in result.shown.nodes(role)]
    belongings = [belonging for node in nodes for belonging in belongings_of(node)]
    for node in nodes:
        scene.RemoveNode(node)
    remove_unused(scene, belongings)
