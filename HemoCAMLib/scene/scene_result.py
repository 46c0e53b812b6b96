"""A result in a scene: made empty when a run starts, filled while it goes, completed, found again, removed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from HemoCAMLib.run.folder import RunFolder
from HemoCAMLib.run.map_settings import LOCAL_LOGIT
from HemoCAMLib.run.result import Result
from HemoCAMLib.scene.bridge import Node, Scene
from HemoCAMLib.scene.heat_maps import HeatMaps
from HemoCAMLib.scene.placement import place_run
from HemoCAMLib.scene.probability_plot import add_probability_plot
from HemoCAMLib.scene.record import Record, State, add_record, read_record, records_in, refer, set_state, write_record
from HemoCAMLib.scene.result_folder import add_folder, put_into, remove_folder
from HemoCAMLib.scene.result_nodes import (
    CHART,
    COLORS,
    HEAT_MAP,
    SEGMENTATION,
    SERIES,
    SLICES_TABLE,
    SUBTYPE,
    VOLUME,
    VOLUMES_TABLE,
    ResultNodes,
)
from HemoCAMLib.scene.run_labels import RunLabels
from HemoCAMLib.scene.segmentation_writer import SegmentationWriter, new_segmentation_node
from HemoCAMLib.scene.steps import Steps, finish
from HemoCAMLib.scene.tables import write_slice_table, write_volume_table
from HemoCAMLib.scene.volume_grid import VolumeGrid
from HemoCAMLib.subtypes import CLASS_NAMES

#: Slices of a label map that are taken at once, and values of maps: a hundredth of a second.
_BATCH, _BATCH_VALUES = 16, 1 << 20


class SceneResult(ResultNodes):
    """The nodes of one result.

    Every method that changes nodes does nothing and returns False once one of them is gone: a scene that was closed, or
    a folder that was deleted, in the middle of a run.

    Args:
        record_node: the text node that remembers the result; see :meth:`start`, :meth:`open_run` and :meth:`in_scene`.
    """

    def __init__(self, record_node: Node) -> None:
        super().__init__(record_node)
        self._slices: dict[int, Mapping[str, Any]] = {}
        self._writer: SegmentationWriter | None = None
        self._maps: HeatMaps | None = None

    @classmethod
    def start(
        cls,
        volume_node: Node,
        grid: VolumeGrid,
        run: RunFolder,
        run_shape: tuple[int, int, int],
        *,
        classes: Sequence[str] = CLASS_NAMES,
        positions_lps_mm: NDArray[np.float64] | None = None,
        name: str = "",
    ) -> SceneResult:
        """An empty result for a run that has just read its scan.

        Args:
            volume_node: the CT.
            grid: :attr:`AnalysisInput.grid`.
            run: the run's folder, prepared.
            run_shape: (slices, rows, columns) from the event ``input``.
            classes: of the model.
            positions_lps_mm: of the run's slices, where the node may have more of them than the run.
            name: of the folder; that of the volume where empty.

        Raises:
            InputRefused: ``CT_OTHER_SERIES``; nothing was added to the scene then.
        """
        placement = place_run(volume_node, grid, run_shape, positions_lps_mm)
        job = run.read_job()
        title = f"HemoCAM {name or volume_node.GetName() or 'result'}"
        record = Record(
            state="running",
            run_folder=str(run.path.absolute()),
            run_shape=placement.run_shape,
            frame=None if grid.frame is grid.local else grid.frame,
            places=tuple(placement.places.tolist()),
            settings={key: value for key, value in job.to_dict().items() if key not in ("input", "ijk_to_ras")},
        )
        scene, folder = volume_node.GetScene(), add_folder(volume_node, title)
        try:
            result = cls(add_record(scene, record, f"{title} record"))
            put_into(folder, result.record_node, "record")
            refer(result.record_node, VOLUME, volume_node)
            result.add(folder, SEGMENTATION, new_segmentation_node(volume_node, f"{title} segmentation"))
            result.add(folder, VOLUMES_TABLE, scene.AddNewNodeByClass("vtkMRMLTableNode", f"{title} volumes"))
            slices = scene.AddNewNodeByClass("vtkMRMLTableNode", f"{title} slices")
            result.add(folder, SLICES_TABLE, slices)
            write_slice_table(slices, [])
            chart, series = add_probability_plot(slices, f"{title} probability")
            result.add(folder, CHART, chart)
            for node in series:
                result.add(folder, SERIES, node)
        except BaseException:
            remove_folder(scene, folder)
            raise
        result._writer = SegmentationWriter(result.segmentation, placement)
        method = str(job.map.get("method", LOCAL_LOGIT))
        result._maps = HeatMaps(volume_node, placement, classes, method)
        return result

    @classmethod
    def open_run(cls, volume_node: Node, grid: VolumeGrid, result: Result, *, name: str = "") -> SceneResult:
        """A finished run put into the scene as a whole.

        Args:
            volume_node: the CT that it was made from.
            grid: of the node in the order of the analysis: ``VolumeGrid.of_node(node, frame_in_job(run, node))``.
            result: the run.
            name: of the folder.

        Raises:
            InputRefused: ``CT_OTHER_SERIES``, the run is of another scan.
        """
        return finish(cls.open_run_steps(volume_node, grid, result, name=name))

    @classmethod
    def open_run_steps(
        cls, volume_node: Node, grid: VolumeGrid, result: Result, *, name: str = ""
    ) -> Steps[SceneResult]:
        """The same in small steps; given up in the middle, nothing stays in the scene."""
        scan = result.fields["input"]
        shape = (int(scan["slices"]), int(scan["rows"]), int(scan["columns"]))
        positions = np.array([entry["origin_lps_mm"] for entry in result.slices])
        run = RunFolder(result.folder)
        opened = cls.start(volume_node, grid, run, shape, classes=result.classes, positions_lps_mm=positions, name=name)
        try:
            yield from opened.completing(result)
        except BaseException:
            opened.remove()
            raise
        return opened

    @classmethod
    def in_scene(cls, scene: Scene) -> list[SceneResult]:
        """Every result of a scene, such as one that was just loaded; those whose segmentation is gone are left out."""
        results = [cls(node) for node in records_in(scene) if read_record(node) is not None]
        return [result for result in results if result.is_open]

    def put_slices(
        self,
        records: Sequence[Mapping[str, Any]],
        labels: NDArray[np.uint8] | None = None,
        maps: NDArray[np.floating[Any]] | None = None,
    ) -> bool:
        """Takes slices that follow each other as a run finishes them; they show with the next :meth:`update`.

        Args:
            records: of the event ``slices``.
            labels: [slices, rows, columns] (:class:`~HemoCAMLib.scene.run_stream.RunStream`).
            maps: [slices, class, h, w] of the run folder; only subtypes that have a voxel are kept.
        """
        if not self.is_open:
            return False
        self._slices.update({int(record["index"]): record for record in records})
        first = int(records[0]["index"]) if records else 0
        if labels is not None and self._writer is not None:
            self._writer.put(first, labels)
        if maps is not None and self._maps is not None and self._writer is not None:
            self._maps.put(first, maps, self._writer.found)
        return True

    def update(self) -> bool:
        """Shows what was put; call it a few times a second at most."""
        if not self.is_open or self._writer is None or self._maps is None:
            return False
        self._writer.update()
        self._maps.update()
        self._adopt_maps()
        self._write_tables(list(self._slices.values()))
        return True

    def complete(self, result: Result) -> bool:
        """Brings every node to what the finished run says.

        Raises:
            WorkerFailed: ``WORKER_INCOMPLETE``, the run folder is damaged.
        """
        finish(self.completing(result))
        return self.is_open and self.record.state == "complete"

    def completing(self, result: Result) -> Steps[None]:
        """The same in small steps: a panel takes the next one whenever its event loop has had a turn.

        It ends early where the result is gone by then.
        """
        writer, maps = self._writer, self._maps
        if writer is None or maps is None:
            return
        run = RunLabels(result)
        for first, labels in run.batches():
            if not self.is_open:
                return
            writer.put(first, labels)
            yield
        if not self.is_open:
            return
        writer.update(drop_empty=True)
        maps.keep_only(writer.found)
        for name in writer.found:
            if not self.is_open:
                return
            # A few slices of one class at a time: a run of another method may hold large maps of all.
            stored = np.moveaxis(result.activation, 1, 0)
            count = max(1, _BATCH_VALUES // stored[0, 0].size)
            for first in range(0, len(stored), count):
                if not self.is_open:
                    return
                maps.put(first, stored[first : first + count], [name])
                yield
            yield from maps.update_steps()
            if not self.is_open:
                return
            self._adopt_maps()
            yield
        if not self.is_open:
            return
        self._write_tables(result.slices, result.fields)
        write_record(
            self.record_node, replace(self.record, state="complete", geometry=run.geometry, result=result.fields)
        )

    def show_labels(
        self, labels: NDArray[np.uint8], numbers: Mapping[str, Any], slices: Sequence[Mapping[str, Any]]
    ) -> bool:
        """Brings segmentation and tables to another label map of the same run, such as that of other thresholds.

        Args:
            labels: [slice, row, column] of the whole run.
            numbers: as :func:`~HemoCAMLib.scene.tables.write_volume_table` takes them.
            slices: as in ``result.json``.
        """
        return finish(self.show_labels_steps(labels, numbers, slices))

    def show_labels_steps(
        self, labels: NDArray[np.uint8], numbers: Mapping[str, Any], slices: Sequence[Mapping[str, Any]]
    ) -> Steps[bool]:
        """The same in small steps."""
        if not (yield from self.show_segments_steps(labels)):
            return False
        return self.show_numbers(numbers, slices)

    def show_segments_steps(self, labels: NDArray[np.uint8]) -> Steps[bool]:
        """The segmentation alone; it is drawn anew after the last step."""
        for first in range(0, len(labels), _BATCH):
            if not self.is_open:
                return False
            if self._writer is None:
                self._writer = SegmentationWriter(self.segmentation, self.placement)
            self._writer.put(first, labels[first : first + _BATCH])
            yield
        return self.is_open and self._writer is not None and self._writer.update()

    def show_numbers(self, numbers: Mapping[str, Any], slices: Sequence[Mapping[str, Any]]) -> bool:
        """The tables alone; arguments as of :meth:`show_labels`."""
        if not self.is_open:
            return False
        self._write_tables(slices, numbers)
        return True

    def end(self, state: State) -> bool:
        """Notes that a run was cancelled or failed; what it found stays."""
        if not self.is_open:
            return False
        self.update()
        set_state(self.record_node, state)
        return True

    def _adopt_maps(self) -> None:
        assert self._maps is not None
        known = self.heat_maps
        for name, node in self._maps.nodes.items():
            if name not in known:
                node.SetAttribute(SUBTYPE, name)
                self.adopt(node, HEAT_MAP)
        colors = self._maps.color_node
        if colors is not None and not self.nodes(COLORS):
            self.adopt(colors, COLORS)

    def _write_tables(self, slices: Sequence[Mapping[str, Any]], numbers: Mapping[str, Any] | None = None) -> None:
        for table in self.nodes(SLICES_TABLE):
            write_slice_table(table, slices)
        for table in self.nodes(VOLUMES_TABLE) if numbers else ():
            write_volume_table(table, numbers or {}, slices)
