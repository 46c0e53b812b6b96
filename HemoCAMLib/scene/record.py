"""What a scene remembers of a run: where its folder is, its settings, numbers and true geometry, and its nodes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from HemoCAMLib.ct import SliceGeometry
from HemoCAMLib.scene.bridge import Matrix, Node, Scene
from HemoCAMLib.scene.result_folder import ROLE

#: Version of the text; grows when a field changes its meaning or goes.
RECORD_SCHEMA = 1

RECORD_ROLE = "record"

#: Before the role of every reference from the record's node.
_REFERENCE = "HemoCAM."

State = Literal["running", "complete", "cancelled", "failed"]


@dataclass(frozen=True, eq=False)
class Record:
    """The content of the record's node, kept as JSON in its text.

    Attributes:
        state: how far the run came.
        run_folder: where it was, as text; empty where it is of no use any more.
        run_shape: (slices, rows, columns).
        frame: [4, 4] index of the volume node to mm RAS in the space of the analysis
            (:class:`~HemoCAMLib.scene.volume_grid.VolumeGrid`); None for the node's own.
        places: [slice of the run] slice of the node.
        geometry: true positions of the run's slices; None while they are not known.
        settings: of the job.
        result: the content of ``result.json``; empty while the run is not complete.
    """

    state: State
    run_folder: str
    run_shape: tuple[int, int, int]
    frame: Matrix | None
    places: tuple[int, ...]
    geometry: SliceGeometry | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    result: Mapping[str, Any] = field(default_factory=dict)

    def to_text(self) -> str:
        """JSON."""
        geometry = self.geometry
        fields = {
            "schema": RECORD_SCHEMA,
            "state": self.state,
            "run_folder": self.run_folder,
            "run_shape": list(self.run_shape),
            "frame": None if self.frame is None else np.asarray(self.frame).tolist(),
            "places": list(self.places),
            "geometry": None
            if geometry is None
            else {
                "positions_lps_mm": geometry.positions_mm.tolist(),
                "row_direction": geometry.row_direction.tolist(),
                "column_direction": geometry.column_direction.tolist(),
                "pixel_spacing_mm": list(geometry.pixel_spacing_mm),
                "slice_thickness_mm": geometry.slice_thickness_mm,
            },
            "settings": dict(self.settings),
            "result": dict(self.result),
        }
        # ASCII alone: what a storage format makes of other letters is then of no matter.
        return json.dumps(fields)

    @classmethod
    def from_text(cls, text: str) -> Record | None:
        """The record in a text; None where it is damaged or of another version."""
        try:
            fields = json.loads(text)
            if fields["schema"] != RECORD_SCHEMA:
                return None
            slices, rows, columns = (int(size) for size in fields["run_shape"])
            return cls(
                state=fields["state"],
                run_folder=str(fields["run_folder"]),
                run_shape=(slices, rows, columns),
                frame=None if fields["frame"] is None else np.array(fields["frame"], float).reshape(4, 4),
                places=tuple(int(place) for place in fields["places"]),
                geometry=None if fields["geometry"] is None else _geometry(fields["geometry"]),
                settings=dict(fields["settings"]),
                result=dict(fields["result"]),
            )
        except (ValueError, KeyError, TypeError, AttributeError):
            return None

    def find_run_folder(self, scene: Scene) -> Path | None:
        """The run folder where it was, or of the same name beside the scene's file; None where it is in neither."""
        if not self.run_folder:
            return None
        was = Path(self.run_folder)
        beside = Path(scene.GetRootDirectory() or ".") / was.name
        return next((place for place in (was, beside) if (place / "job.json").is_file()), None)


def add_record(scene: Scene, record: Record, name: str) -> Node:
    """A text node that holds a record."""
    node = scene.AddNewNodeByClass("vtkMRMLTextNode", name)
    node.SetAttribute(ROLE, RECORD_ROLE)
    write_record(node, record)
    return node


def write_record(node: Node, record: Record) -> None:
    """Replaces the record in a node."""
    node.SetText(record.to_text())


def read_record(node: Node) -> Record | None:
    """The record in a node; None where it holds none that can be read."""
    return Record.from_text(node.GetText() or "")


def set_state(node: Node, state: State) -> None:
    """Notes how a run ended."""
    record = read_record(node)
    if record is not None:
        write_record(node, replace(record, state=state))


def refer(record_node: Node, role: str, node: Node) -> None:
    """Lets a record's node refer to another one, through saving, loading and renaming."""
    record_node.AddNodeReferenceID(_REFERENCE + role, node.GetID())


def referred(record_node: Node, role: str) -> list[Node]:
    """The nodes that a record refers to in a role and that are still there."""
    count = record_node.GetNumberOfNodeReferences(_REFERENCE + role)
    nodes = (record_node.GetNthNodeReference(_REFERENCE + role, index) for index in range(count))
    return [node for node in nodes if node is not None]


def records_in(scene: Scene) -> list[Node]:
    """Nodes of all records in a scene, oldest first."""
    texts = (
        scene.GetNthNodeByClass(n, "vtkMRMLTextNode") for n in range(scene.GetNumberOfNodesByClass("vtkMRMLTextNode"))
    )
    return [node for node in texts if node.GetAttribute(ROLE) == RECORD_ROLE]


def _geometry(fields: Mapping[str, Any]) -> SliceGeometry:
    row_mm, column_mm = fields["pixel_spacing_mm"]
    thickness = fields["slice_thickness_mm"]
    return SliceGeometry(
        np.array(fields["positions_lps_mm"], float).reshape(-1, 3),
        np.array(fields["row_direction"], float),
        np.array(fields["column_direction"], float),
        (float(row_mm), float(column_mm)),
        None if thickness is None else float(thickness),
    )
