"""The nodes of one result, found through the record that refers to them."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from HemoCAMLib.errors import WorkerFailed
from HemoCAMLib.scene.bridge import Node
from HemoCAMLib.scene.placement import Placement
from HemoCAMLib.scene.record import Record, read_record, refer, referred
from HemoCAMLib.scene.result_folder import folder_of, put_into, remove_folder
from HemoCAMLib.scene.volume_grid import VolumeGrid

#: Roles of nodes, and of the references from the record's node to them.
VOLUME, SEGMENTATION, HEAT_MAP, COLORS = "volume", "segmentation", "heat-map", "colors"
VOLUMES_TABLE, SLICES_TABLE, CHART, SERIES = "volumes", "slices", "chart", "series"

#: Attribute of a heat map: its subtype.
SUBTYPE = "HemoCAM.subtype"


class ResultNodes:
    """Finds, adds and removes the nodes of one result; a node that the user deleted is just not there any more.

    Args:
        record_node: the text node that remembers the result.
    """

    def __init__(self, record_node: Node) -> None:
        self.record_node = record_node

    @property
    def is_open(self) -> bool:
        """Whether the record, the CT and the segmentation are still in one scene."""
        scene = self.record_node.GetScene()
        if scene is None:
            return False
        return bool(referred(self.record_node, VOLUME) and referred(self.record_node, SEGMENTATION))

    @property
    def record(self) -> Record:
        """What the scene remembers of the run."""
        record = read_record(self.record_node)
        if record is None:
            raise WorkerFailed("WORKER_SCHEMA", "The result was stored by another version of HemoCAM.", "Run it again.")
        return record

    @property
    def volume(self) -> Node:
        """The CT."""
        return self._only(VOLUME)

    @property
    def segmentation(self) -> Node:
        """The segmentation node."""
        return self._only(SEGMENTATION)

    @property
    def volume_table(self) -> Node:
        """Numbers by subtype."""
        return self._only(VOLUMES_TABLE)

    @property
    def slice_table(self) -> Node:
        """Numbers by slice."""
        return self._only(SLICES_TABLE)

    @property
    def chart(self) -> Node:
        """The probability strip."""
        return self._only(CHART)

    @property
    def heat_maps(self) -> dict[str, Node]:
        """Volume nodes by subtype."""
        return {node.GetAttribute(SUBTYPE): node for node in referred(self.record_node, HEAT_MAP)}

    @property
    def placement(self) -> Placement:
        """Where the run's slices are in the CT."""
        record = self.record
        return Placement(VolumeGrid.of_node(self.volume, record.frame), np.array(record.places, np.intp))

    @property
    def folder(self) -> int | None:
        """Item of the result's folder in the subject hierarchy."""
        return folder_of(self.record_node)

    def remove(self) -> None:
        """Takes everything out of the scene again."""
        scene, folder = self.record_node.GetScene(), self.folder if self.record_node.GetScene() else None
        if folder is not None:
            remove_folder(scene, folder)

    def find_run_folder(self) -> Path | None:
        """The run folder, where it can still be found."""
        return self.record.find_run_folder(self.record_node.GetScene())

    def adopt(self, node: Node, role: str) -> None:
        """Makes another node part of the result, such as the overlap with a truth."""
        folder = self.folder
        if folder is not None:
            self.add(folder, role, node)

    def nodes(self, role: str) -> list[Node]:
        """The nodes of the result in a role."""
        return referred(self.record_node, role)

    def add(self, folder: int, role: str, node: Node) -> None:
        """Puts a node into the folder and refers to it."""
        put_into(folder, node, role)
        refer(self.record_node, role, node)

    def _only(self, role: str) -> Node:
        nodes = referred(self.record_node, role)
        if not nodes:
            raise WorkerFailed("WORKER_NODE_GONE", "A part of the result was deleted.", "Open the run again.")
        return nodes[0]
