"""The part of the panel for several scans: a list to tick, one button, a table that grows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import qt
import slicer
from slicer.i18n import tr as _

from HemoCAMLib.panel.batch import DONE, FAILED, Batch, Scan
from HemoCAMLib.panel.batch_scans import ct_series_in_database, scan_of_node, scan_of_series
from HemoCAMLib.panel.parts import Common, Part
from HemoCAMLib.panel.words import BAD, colored, plain
from HemoCAMLib.scene.result_folder import ROLE

_NODE, _SERIES = "node:", "series:"


class BatchPart(Part):
    """Analyses what is ticked with the model and settings that the panel shows; its widgets are made here.

    Args:
        common: what the parts share.
        settings: gives the keyword arguments of ``logic.analyze`` but for the volume.
        may_start: whether an analysis can begin now.
    """

    def __init__(self, common: Common, settings: Callable[[], dict[str, Any]], may_start: Callable[[], bool]) -> None:
        super().__init__(common)
        self._settings, self._may_start = settings, may_start
        self.batch: Batch | None = None
        self._started_with: list[str] = []
        layout = self.ui.batchButton.layout()
        self.list = qt.QListWidget()
        self.list.setObjectName("batchList")
        self.list.setMinimumHeight(120)
        self.list.toolTip = _("Tick the scans to analyse.")
        self.add_button = qt.QPushButton(_("Add CT series of the DICOM database"))
        self.add_button.setObjectName("batchAddButton")
        self.add_button.toolTip = _("Each series is loaded when its turn comes.")
        self.keep_check = qt.QCheckBox(_("Keep what is loaded from the database in the scene"))
        self.keep_check.setObjectName("batchKeepCheck")
        self.keep_check.toolTip = _("Otherwise only the table stays, and the memory of a long list is not needed.")
        self.apply_button = qt.QPushButton()
        self.apply_button.setObjectName("batchApplyButton")
        self.status_label = qt.QLabel()
        self.status_label.setObjectName("batchStatusLabel")
        self.status_label.setWordWrap(True)
        for widget in (self.list, self.add_button, self.keep_check, self.apply_button, self.status_label):
            layout.addWidget(widget)
        self.add_button.connect("clicked()", self.on_add)
        self.apply_button.connect("clicked()", self.on_apply)
        self.list.connect("itemChanged(QListWidgetItem*)", self.update)
        self.scene_changed()

    @property
    def ticked(self) -> list[str]:
        """What is ticked, in the order of the list."""
        items = [self.list.item(row) for row in range(self.list.count)]
        return [str(item.data(qt.Qt.UserRole)) for item in items if item.checkState() == qt.Qt.Checked]

    def on_add(self) -> None:
        """Lists the CT series of the database below the volumes of the scene."""
        found = ct_series_in_database()
        for uid, name in found:
            self._add(_SERIES + uid, name)
        if not found:
            self.status_label.text = _("The DICOM database holds no CT series.")

    def on_apply(self) -> None:
        """Analyse all that is ticked; Cancel while that goes on; Go on after it was cancelled."""
        if self.batch is not None and self.batch.busy:
            self.batch.cancel()
        elif self._can_go_on:
            if self._may_start():
                assert self.batch is not None
                self.batch.start()
        elif self.ticked and self._may_start():
            self._started_with = self.ticked
            scans = [scan for scan in map(self._scan, self.ticked) if scan is not None]
            self.batch = self.common.logic.analyzeSeveral(scans, wait=False, **self._settings())
            self.batch.connect("changed", self._on_batch)
            self.batch.connect("finished", self._on_batch)
            _show_table(self.batch.table_node)
        self.update()

    @property
    def _can_go_on(self) -> bool:
        """Whether the last batch was cancelled and the same scans are ticked."""
        batch = self.batch
        if batch is None or not batch.finished or batch.table_node.GetScene() is None:
            return False
        return self.ticked == self._started_with and any(scan.state not in (DONE, FAILED) for scan in batch.scans)

    def update(self, *_args: Any) -> None:
        """Brings the button to the state of things."""
        busy = self.batch is not None and self.batch.busy
        idle = _("Go on") if self._can_go_on else _("Analyse ticked scans")
        self.apply_button.text = _("Cancel") if busy else idle
        self.apply_button.setEnabled(busy or bool(self.ticked))
        self.list.setEnabled(not busy)

    def scene_changed(self) -> None:
        """Volumes of the scene come and go in the list; ticks stay."""
        ticked = set(self.ticked)
        series = [
            (str(item.data(qt.Qt.UserRole)), str(item.text()))
            for item in (self.list.item(row) for row in range(self.list.count))
            if str(item.data(qt.Qt.UserRole)).startswith(_SERIES)
        ]
        self.list.clear()
        for node in slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode"):
            if not node.IsA("vtkMRMLLabelMapVolumeNode") and not node.GetAttribute(ROLE):
                self._add(_NODE + str(node.GetID()), str(node.GetName()))
        for key, name in series:
            self._add(key, name)
        for row in range(self.list.count):
            item = self.list.item(row)
            if str(item.data(qt.Qt.UserRole)) in ticked:
                item.setCheckState(qt.Qt.Checked)
        self.update()

    def scene_closing(self) -> None:
        self._give_up()

    def close(self) -> None:
        self._give_up()

    def _give_up(self) -> None:
        batch, self.batch = self.batch, None
        if batch is not None:
            batch.abandon()
        self.status_label.text = ""

    def _add(self, key: str, name: str) -> None:
        known = [str(self.list.item(row).data(qt.Qt.UserRole)) for row in range(self.list.count)]
        if key in known:
            return
        item = qt.QListWidgetItem(name)
        item.setData(qt.Qt.UserRole, key)
        item.setFlags(qt.Qt.ItemIsEnabled | qt.Qt.ItemIsUserCheckable | qt.Qt.ItemIsSelectable)
        item.setCheckState(qt.Qt.Unchecked)
        self.list.addItem(item)

    def _scan(self, key: str) -> Scan | None:
        if key.startswith(_SERIES):
            return scan_of_series(key.removeprefix(_SERIES), keep=bool(self.keep_check.checked))
        node = slicer.mrmlScene.GetNodeByID(key.removeprefix(_NODE))
        return None if node is None else scan_of_node(node)

    def _on_batch(self, batch: Batch) -> None:
        if batch is not self.batch:
            return
        count = len(batch.scans)
        words = [_("{done} of {count} scans done").format(done=batch.done_count, count=count)]
        if batch.failed_count:
            words.append(colored(_("{count} failed; the table says why").format(count=batch.failed_count), BAD))
        if batch.finished and not all(scan.state in (DONE, FAILED) for scan in batch.scans):
            words.append(_("cancelled"))
        elif batch.current is not None:
            words.append(_("now {name}").format(name=plain(batch.current.name)))
        self.status_label.text = ", ".join(words) + "."
        self.update()


def _show_table(table_node: Any) -> None:
    """In the table view of the layout, where there is one."""
    logic = slicer.app.applicationLogic()
    selection = logic.GetSelectionNode() if logic is not None else None
    if selection is not None:
        selection.SetActiveTableID(table_node.GetID())
        logic.PropagateTableSelection()
