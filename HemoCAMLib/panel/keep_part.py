"""The part of the panel for what happens to a result afterwards: corrected, exported, saved."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import qt
import slicer
from slicer.i18n import tr as _

from HemoCAMLib.errors import HemoCAMError, WorkerFailed
from HemoCAMLib.panel.analysis_result import AnalysisResult
from HemoCAMLib.panel.edit_watch import EditWatch, forget_edits, is_edited
from HemoCAMLib.panel.files import write_label_map, write_tables
from HemoCAMLib.panel.parts import Common, Part
from HemoCAMLib.panel.stepper import Stepper
from HemoCAMLib.panel.words import error_sentence
from HemoCAMLib.scene import SceneResult, keep_run_steps


class KeepPart(Part):
    """Segment Editor, export, and the scene as one file.

    Args:
        common: what the parts share.
    """

    def __init__(self, common: Common) -> None:
        super().__init__(common)
        self.watch = EditWatch()
        self._packing = Stepper()
        ui = self.ui
        ui.segmentEditorButton.connect("clicked()", self.open_editor)
        ui.saveSceneButton.connect("clicked()", self._on_save)
        self._menu = qt.QMenu(ui.exportButton)
        for title, action in (
            (_("Label map (NRRD)..."), self._on_label_map),
            (_("Tables (CSV)..."), self._on_tables),
            (_("Report..."), self._on_report),
            (_("DICOM segmentation and report..."), self._on_dicom),
        ):
            self._menu.addAction(title).connect("triggered()", action)
        ui.exportButton.setMenu(self._menu)
        common.choice.connect(self.update)
        self.update()

    def update(self) -> None:
        """Follows the segmentation of the chosen result where its analysis is over."""
        complete = self.common.choice.complete
        self.watch.watch(complete)
        if complete is not None:
            # At once and not when the scene is saved: it may be saved by Slicer's own menu.
            self._packing.start(keep_run_steps(complete), lambda kept: None)
        for button in (self.ui.segmentEditorButton, self.ui.exportButton):
            button.setEnabled(complete is not None)

    def may_replace(self, shown: SceneResult) -> bool:
        """Whether masks may be made anew; asks where corrections by hand would be lost."""
        if not is_edited(shown):
            return True
        agreed = slicer.util.confirmOkCancelDisplay(
            _("This segmentation was corrected by hand. Other thresholds make it anew; the corrections are lost."),
            windowTitle="HemoCAM",
        )
        if agreed:
            forget_edits(shown)
        return bool(agreed)

    def open_editor(self) -> None:
        """Opens the Segment Editor on the result, with its CT as source volume."""
        complete = self.common.choice.complete
        if complete is None:
            return
        segmentation, volume = complete.segmentation, complete.volume
        slicer.util.selectModule("SegmentEditor")
        editor = slicer.modules.SegmentEditorWidget.editor
        editor.setSegmentationNode(segmentation)
        editor.setSourceVolumeNode(volume)

    def scene_closing(self) -> None:
        self.watch.stop()
        self._packing.cancel()

    def close(self) -> None:
        self.scene_closing()

    def _chosen(self) -> AnalysisResult | None:
        complete = self.common.choice.complete
        return None if complete is None else AnalysisResult(complete)

    def _on_save(self) -> None:
        path = qt.QFileDialog.getSaveFileName(
            self.common.window, _("Save scene"), "HemoCAM.mrb", _("Slicer scene bundle (*.mrb)")
        )
        if path:
            path = path if path.lower().endswith(".mrb") else f"{path}.mrb"
            self._try(lambda: self._save(Path(path)))

    def _save(self, path: Path) -> None:
        self._packing.finish()
        if not slicer.util.saveScene(str(path)):
            raise WorkerFailed(
                "WORKER_SAVE", _("The scene could not be saved."), _("Choose another folder, on a disk with room.")
            )

    def _on_label_map(self) -> None:
        result = self._chosen()
        path = qt.QFileDialog.getSaveFileName(self.common.window, _("Label map"), "labels.nrrd", _("NRRD (*.nrrd)"))
        if result is not None and path:
            self._try(lambda: write_label_map(result.shown, Path(path)))

    def _on_tables(self) -> None:
        result = self._chosen()
        folder = qt.QFileDialog.getExistingDirectory(self.common.window, _("Folder for the tables"), "")
        if result is not None and folder:
            self._try(lambda: write_tables(result.shown, Path(folder)))

    def _on_report(self) -> None:
        result = self._chosen()
        folder = qt.QFileDialog.getExistingDirectory(self.common.window, _("Folder for the report"), "")
        if result is not None and folder:
            self._try(lambda: self.common.logic.writeReport(result, folder))

    def _on_dicom(self) -> None:
        result = self._chosen()
        folder = qt.QFileDialog.getExistingDirectory(self.common.window, _("Folder for DICOM objects"), "")
        if result is not None and folder:
            self._try(lambda: self.common.logic.exportDicom(result, folder))

    def _try(self, work: Callable[[], Any]) -> None:
        try:
            work()
        except HemoCAMError as error:
            slicer.util.errorDisplay(error_sentence(error), parent=self.common.window)
