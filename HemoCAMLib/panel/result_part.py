"""The part of the panel that shows a result: strip, volumes, heat map, and the way to the largest bleed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import qt
import slicer
from slicer.i18n import tr as _

from HemoCAMLib.errors import HemoCAMError
from HemoCAMLib.panel.edit_watch import is_edited
from HemoCAMLib.panel.heat_map_part import HeatMapPart
from HemoCAMLib.panel.parts import Common, Part
from HemoCAMLib.panel.result_table import slice_entry, strip_rows, volume_rows, volumes_of
from HemoCAMLib.panel.stepper import Stepper
from HemoCAMLib.panel.strip_widget import StripWidget
from HemoCAMLib.panel.views import SlicePosition
from HemoCAMLib.panel.volume_table import fill_volume_table, prepare_volume_table
from HemoCAMLib.panel.words import (
    WARNING,
    colored,
    error_sentence,
    found_sentence,
    plain,
    slice_text,
    unfinished_sentence,
)
from HemoCAMLib.scene import SceneResult, Steps, corrected_steps, largest_bleed_steps, place_of
from HemoCAMLib.scene.edited import labels_of_members
from HemoCAMLib.subtypes import SUBTYPE_NAMES, subtype_named

#: Table nodes change many times in a row.
_GATHER_MS = 30


class ResultPart(Part):
    """Follows the chosen result's nodes, and brings them into view.

    Args:
        common: what the parts share.
        heat_map: what is shown over the CT.
    """

    def __init__(self, common: Common, heat_map: HeatMapPart) -> None:
        super().__init__(common)
        self._heat_map = heat_map
        ui = self.ui
        self.strip = StripWidget(self.go_to_slice)
        self.strip.toolTip = _(
            "Probability of each class in each slice. Click, or use the arrow keys, to go to a slice."
        )
        ui.stripFrame.layout().addWidget(self.strip)
        ui.stripFrame.setMinimumHeight(0)
        self._stepper = Stepper()
        self._observed: list[tuple[Any, int]] = []
        self._slice_view: tuple[Any, int] | None = None
        self._position: SlicePosition | None = None
        self._gather = qt.QTimer()
        self._gather.setSingleShot(True)
        self._gather.setInterval(_GATHER_MS)
        self._gather.connect("timeout()", self._show_tables)
        prepare_volume_table(ui.volumeTable)
        ui.resultSelector.connect("activated(int)", self._on_result)
        ui.volumeTable.connect("cellClicked(int,int)", self._on_row)
        ui.showLargestButton.connect("clicked()", self.show_largest)
        ui.openRunButton.connect("clicked()", self._on_open_run)
        ui.removeResultButton.connect("clicked()", self._on_remove)
        common.choice.connect(self.update)
        self.update()

    def update(self) -> None:
        """Shows the chosen result from the start."""
        self._forget_nodes()
        self._fill_results()
        current = self.common.choice.current
        for widget in (self.ui.showLargestButton, self.ui.removeResultButton):
            widget.setEnabled(current is not None)
        self._position = None
        if current is not None:
            self._position = SlicePosition(current)
            for table in (*current.nodes("slices"), *current.nodes("volumes")):
                self._observe(table, "ModifiedEvent", lambda *_: self._gather.start())
            self._watch_slice_view()
        self._show_tables()

    def show(self, shown: SceneResult, *, largest: bool) -> None:
        """Brings a result into the views.

        Args:
            shown: just started, finished or opened.
            largest: go to its largest bleed.
        """
        views = self.common.views
        views.use_layout()
        views.align(shown.volume)
        views.show_volume(shown.volume, None, 0.0, fit=True)
        self._heat_map.show(choose=largest)
        if largest:
            self.show_largest()

    def show_largest(self) -> None:
        """Goes to the largest bleed of the result."""
        self._find_bleed("")

    def go_to_slice(self, index: int) -> None:
        """Brings one slice of the run into view."""
        current = self.common.choice.current
        if current is None or self._position is None:
            return
        placement = self._position.placement
        _slices, rows, columns = placement.run_shape
        self.common.views.go_to_slice(place_of(index, rows / 2, columns / 2, current.volume, placement))
        self._say_slice(index)

    def enter(self) -> None:
        self._watch_slice_view()

    def exit(self) -> None:
        self._unwatch_slice_view()

    def scene_closing(self) -> None:
        self._stepper.cancel()
        self._gather.stop()
        self._forget_nodes()

    def close(self) -> None:
        self.scene_closing()

    @property
    def _gates(self) -> dict[str, float]:
        current = self.common.choice.current
        if current is None:
            return {}
        record = current.record
        mask = (record.result.get("settings") or record.settings).get("mask") or {}
        return dict(mask.get("class_thresholds") or {})

    def _fill_results(self) -> None:
        selector, current = self.ui.resultSelector, self.common.choice.current
        results = self.common.choice.results()
        selector.clear()
        for result in results:
            selector.addItem(_title(result), result.record_node.GetID())
        chosen = -1 if current is None else selector.findData(current.record_node.GetID())
        selector.currentIndex = chosen
        selector.setEnabled(len(results) > 0)

    def _show_tables(self) -> None:
        current = self.common.choice.current
        if current is None:
            self.strip.show_rows([], 0)
            self.ui.stripLabel.text = ""
            self.ui.summaryLabel.text = _("No result yet.")
            self.ui.volumeTable.setVisible(False)
            return
        tables = current.nodes("slices")
        count = current.record.run_shape[0]
        if tables:
            self.strip.show_rows(strip_rows(tables[0], count, self._gates), count)
        self._show_volumes(current)
        self._heat_map.follow()
        self._on_slice_view()
        if self.strip.current_slice is not None:
            self._say_slice(self.strip.current_slice)

    def _show_volumes(self, current: SceneResult) -> None:
        record, table = current.record, self.ui.volumeTable
        nodes = current.nodes("volumes")
        rows = volume_rows(nodes[0]) if nodes else []
        table.setVisible(bool(rows))
        if record.state != "complete":
            self.ui.summaryLabel.text = plain(unfinished_sentence(record.state))
        elif rows:
            note = colored(" " + _("Corrected by hand."), WARNING) if is_edited(current) else ""
            self.ui.summaryLabel.text = found_sentence(volumes_of(nodes[0])) + note
        fill_volume_table(table, rows)

    def _on_result(self, index: int) -> None:
        self.common.choice.choose_by_id(str(self.ui.resultSelector.itemData(index) or ""))
        current = self.common.choice.current
        if current is not None:
            self.show(current, largest=True)

    def _on_row(self, row: int, column: int) -> None:
        names = (*SUBTYPE_NAMES, "")
        if row < len(names):
            self._find_bleed(names[row])

    def _find_bleed(self, subtype: str) -> None:
        current = self.common.choice.current
        if current is not None:
            self._stepper.start(_bleed_steps(current, subtype), self._on_bleed, self._on_no_bleed)

    def _on_bleed(self, ras: tuple[float, float, float] | None) -> None:
        current = self.common.choice.current
        if ras is not None and current is not None:
            self.common.views.jump(ras)
            self.common.views.look_at(ras)

    def _on_no_bleed(self, error: HemoCAMError) -> None:
        self.ui.stripLabel.text = error_sentence(error)

    def _on_open_run(self) -> None:
        folder = qt.QFileDialog.getExistingDirectory(self.common.window, _("Open a finished run"), "")
        if not folder:
            return
        self.open_run(Path(folder))

    def open_run(self, folder: Path) -> None:
        """Puts a finished run into the scene, on the chosen CT where it is of that."""
        volume = self.ui.inputSelector.currentNode()
        try:
            try:
                result = self.common.logic.openRun(folder, volume)
            except HemoCAMError as error:
                if volume is None or error.code != "CT_OTHER_SERIES":
                    raise
                result = self.common.logic.openRun(folder)
        except HemoCAMError as error:
            slicer.util.errorDisplay(error_sentence(error), parent=self.common.window)
            return
        self.common.choice.choose(result.shown)
        self.show(result.shown, largest=True)

    def _on_remove(self) -> None:
        current = self.common.choice.current
        if current is not None:
            self._forget_nodes()
            current.remove()
            self.common.choice.refresh()

    def _watch_slice_view(self) -> None:
        self._unwatch_slice_view()
        node = self.common.views.strip_node()
        if node is not None and self.common.choice.current is not None:
            self._slice_view = (node, node.AddObserver("ModifiedEvent", lambda *_: self._on_slice_view()))

    def _unwatch_slice_view(self) -> None:
        if self._slice_view is not None:
            node, tag = self._slice_view
            node.RemoveObserver(tag)
            self._slice_view = None

    def _on_slice_view(self) -> None:
        if self._position is None or self._slice_view is None:
            return
        index = self._position.index_of(self._slice_view[0])
        if index is not None and index != self.strip.current_slice:
            self.strip.mark(index)
            self._say_slice(index)

    def _say_slice(self, index: int) -> None:
        current = self.common.choice.current
        tables = [] if current is None else current.nodes("slices")
        entry = slice_entry(tables[0], index) if tables else None
        assert current is not None
        count = current.record.run_shape[0]
        self.ui.stripLabel.text = "" if entry is None else slice_text(entry, count, self._gates)

    def _observe(self, node: Any, event: str, callback: Any) -> None:
        self._observed.append((node, node.AddObserver(event, callback)))

    def _forget_nodes(self) -> None:
        for node, tag in self._observed:
            node.RemoveObserver(tag)
        self._observed = []
        self._unwatch_slice_view()


def _bleed_steps(shown: SceneResult, subtype: str) -> Steps[tuple[float, float, float] | None]:
    """The largest bleed of a subtype, or of all, in the segmentation as it is now."""
    segmentation = yield from corrected_steps(shown)
    labels = np.zeros(segmentation.members.shape, np.uint8)
    for index, plane in enumerate(segmentation.members):
        if plane.any():
            labels[index] = labels_of_members(plane)
            yield
    if subtype:
        labels = np.where(labels == subtype_named(subtype).label, labels, 0).astype(np.uint8)
        yield
    return (yield from largest_bleed_steps(labels, shown.volume, shown.placement))


def _title(result: SceneResult) -> str:
    hierarchy = slicer.mrmlScene.GetSubjectHierarchyNode()
    folder = result.folder
    return str(hierarchy.GetItemName(folder)) if folder is not None else str(result.record_node.GetName())
