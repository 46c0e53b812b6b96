"""What ``HemoCAMLogic`` can do for a script, a notebook or a test; names follow Slicer's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import qt
import slicer

from HemoCAMLib.errors import InputRefused, UsageError
from HemoCAMLib.panel.analysis import Analysis
from HemoCAMLib.panel.analysis_result import AnalysisResult
from HemoCAMLib.panel.application import file_of_uid, modality_of, new_run_folder, wait_for
from HemoCAMLib.panel.batch import Batch, Scan
from HemoCAMLib.panel.batch_scans import scan_of_node
from HemoCAMLib.panel.comparison import Comparison, compare_with_truth
from HemoCAMLib.panel.open_run import open_run
from HemoCAMLib.panel.thresholds import LiveThresholds
from HemoCAMLib.panel.worker_host import application_worker
from HemoCAMLib.run.folder import RunFolder
from HemoCAMLib.run.relabel_run import relabel
from HemoCAMLib.run.result import Result
from HemoCAMLib.run.source import scan_of_run
from HemoCAMLib.scene import SceneResult
from HemoCAMLib.scene.bridge import Node


class Scripting:
    """The body of ``HemoCAMLogic``; it keeps nothing but what makes the next call faster.

    >>> logic = slicer.util.getModuleLogic("HemoCAM")  # doctest: +SKIP
    >>> result = logic.analyze(slicer.util.getNode("CT"))  # doctest: +SKIP
    >>> result.volume_ml["SDH"], result.segmentation.GetName()  # doctest: +SKIP
    """

    _live: tuple[AnalysisResult, LiveThresholds] | None = None

    def analyze(
        self,
        volumeNode: Node,
        model: str | None = None,
        *,
        device: str = "auto",
        mask: Mapping[str, Any] | None = None,
        map: Mapping[str, Any] | None = None,
        batchSize: int = 0,
        threads: int = 0,
        precision: str = "auto",
        allowGaps: bool = False,
        runFolder: str | Path | None = None,
        overwrite: bool = False,
        wait: bool = True,
    ) -> AnalysisResult | Analysis:
        """Finds hemorrhage in a head CT and puts the result beside it in the scene.

        Args:
            volumeNode: scalar volume in HU.
            model: name of a shipped model, or folder of a bundle; None takes the default.
            device: ``auto``, ``cpu``, ``cuda`` or ``mps``.
            mask: changes of the model's mask settings, such as ``{"class_thresholds": {"SDH": 0.3}}``.
            map: method and layers of the maps, such as ``{"method": "grad-cam"}``.
            batchSize: slices a forward pass; 0 chooses.
            threads: of the CPU; 0 takes all cores.
            precision: ``auto``, ``float32``, ``bfloat16`` or ``float16``.
            allowGaps: go on where slices are missing.
            runFolder: where the run is written; None makes a new folder (:func:`runs_folder`). A folder with an
                unfinished run of the same scan and settings goes on where it stopped.
            overwrite: allow ``runFolder`` to hold another analysis.
            wait: True turns the event loop until the result is there; False returns a handle at once.

        Returns:
            the result, or the handle (:class:`~HemoCAMLib.panel.analysis.Analysis`).

        Raises:
            HemoCAMError: with ``wait``, whatever was refused or failed, or Cancelled. Without, the handle's ``error``.
            UsageError: ``USAGE_VOLUME``, what was given is no node of a scene.
        """
        if volumeNode is None or volumeNode.GetScene() is None:
            raise UsageError("USAGE_VOLUME", "There is no volume in the scene to analyse.", "Load a head CT first.")
        settings = {
            "model": model or "",
            "device": device,
            "mask": dict(mask or {}),
            "map": dict(map or {}),
            "batch_size": batchSize,
            "threads": threads,
            "precision": precision,
            "allow_gaps": allowGaps,
        }
        handle = Analysis(
            application_worker(),
            volumeNode,
            Path(runFolder) if runFolder is not None else new_run_folder(),
            settings,
            file_of_uid=file_of_uid(),
            modality=modality_of(volumeNode),
            overwrite=overwrite,
            discard=runFolder is None,
        )
        if not wait:
            return handle
        wait_for(handle)
        if handle.result is None:
            assert handle.error is not None
            raise handle.error
        return handle.result

    def analyzeSeveral(
        self,
        scans: Sequence[Node | Scan],
        tableNode: Node | None = None,
        model: str | None = None,
        *,
        folder: str | Path | None = None,
        wait: bool = True,
        **settings: Any,
    ) -> Batch:
        """Analyses several scans one after the other into one table; one that fails never stops the rest.

        Args:
            scans: volume nodes, or :func:`~HemoCAMLib.panel.batch_scans.scan_of_series` for series of the database.
            tableNode: takes a row for each scan and subtype; None makes one.
            model: as in :meth:`analyze`.
            folder: of the run folders; None makes a new one. The same scans in the same folder go on where they
                stopped.
            wait: True turns the event loop until all are done; False returns at once.
            settings: further ones of :meth:`analyze`.

        Returns:
            the batch: ``scans`` with their numbers, ``table_node``, ``cancel()``, ``start()`` to go on.
        """
        table = tableNode or slicer.mrmlScene.AddNewNodeByClass("vtkMRMLTableNode", "HemoCAM scans")

        def start(node: Node, run_folder: Path) -> Analysis:
            handle = self.analyze(node, model, runFolder=run_folder, wait=False, **settings)
            assert isinstance(handle, Analysis)
            return handle

        batch = Batch(
            [scan if isinstance(scan, Scan) else scan_of_node(scan) for scan in scans],
            start,
            table,
            Path(folder) if folder is not None else new_run_folder(),
            lambda call: qt.QTimer.singleShot(0, call),
        )
        batch.start()
        if wait:
            wait_for(batch)
        return batch

    def applyThresholds(
        self,
        result: AnalysisResult,
        classThresholds: Mapping[str, float] | None = None,
        maskThresholds: Mapping[str, float] | None = None,
        **changes: Any,
    ) -> AnalysisResult:
        """Brings segmentation, tables and numbers of a result to other thresholds, without the network.

        Args:
            result: complete, with its run folder at hand.
            classThresholds: by subtype name: a slice has the subtype where its probability exceeds this, 0 to 1.
            maskThresholds: by subtype name: a pixel belongs to it where its score exceeds this.
            changes: other fields of :class:`~HemoCAMLib.mask.MaskSettings`: ``minimum_volume_ml``, ``refinement``,
                ``scale``, ``rule``. Everything is relative to the settings of the analysis; nothing at all gives
                those back.

        Returns:
            the same result, whose numbers are the new ones.

        Raises:
            UsageError: a setting makes no sense, the run has no maps that it would need, or ``USAGE_RESULT_GONE``.
        """
        given = {"class_thresholds": classThresholds, "mask_thresholds": maskThresholds}
        changes = {**changes, **{name: dict(values) for name, values in given.items() if values}}
        if not self.thresholds(result).apply(changes):
            raise UsageError("USAGE_RESULT_GONE", "The result is no longer in the scene.", "Open its run again.")
        return result

    def thresholds(self, result: AnalysisResult) -> LiveThresholds:
        """What a slider calls: maps of a result, kept in memory until another result is asked for."""
        if self._live is None or self._live[0].shown.record_node is not result.shown.record_node:
            self._live = (result, LiveThresholds(result))
        return self._live[1]

    def compare(
        self,
        result: AnalysisResult,
        truthNode: Node,
        mapping: Mapping[str, str] | str | None = None,
        *,
        structure: str = "any",
        overlap: bool = True,
    ) -> Comparison:
        """Compares a result, edits included, with a truth: :func:`~HemoCAMLib.panel.comparison.compare_with_truth`."""
        return compare_with_truth(result, truthNode, mapping, structure=structure, overlap=overlap)

    def openRun(self, folder: str | Path, volumeNode: Node | None = None) -> AnalysisResult:
        """A finished run put into the scene, without the network: :func:`~HemoCAMLib.panel.open_run.open_run`."""
        return open_run(folder, volumeNode)

    def results(self) -> list[AnalysisResult]:
        """Complete results of the scene, oldest first, such as those of a scene that was just loaded."""
        found = SceneResult.in_scene(slicer.mrmlScene)
        return [AnalysisResult(shown) for shown in found if shown.record.state == "complete"]

    def exportDicom(
        self,
        result: AnalysisResult,
        folder: str | Path,
        source: str | Path | None = None,
        *,
        heatMaps: bool = False,
        overwrite: bool = False,
    ) -> Any:
        """Writes a result as DICOM segmentation and structured report (package highdicom).

        With the thresholds that the scene shows; corrections by hand are not in it.

        Args:
            result: of a volume that was analysed from its DICOM files, with its run folder at hand.
            folder: for the objects, made if absent.
            source: folder with the series; None takes where it was.
            heatMaps: write parametric maps too.
            overwrite: replace a former export.

        Returns:
            :class:`~HemoCAMLib.export.ExportedFiles`.

        Raises:
            UsageError: ``USAGE_NOT_DICOM``, there are no files to refer to; or any refusal of
                :func:`~HemoCAMLib.export.export_dicom`.
        """
        from HemoCAMLib.export import export_dicom

        run = run_as_shown(result)
        files = source or RunFolder(run.folder).read_job().input
        if not files:
            raise UsageError(
                "USAGE_NOT_DICOM",
                "This result was made from a volume whose DICOM files were not at hand.",
                "Import the series into the DICOM database, load it and analyse it again.",
            )
        return export_dicom(run.folder, files, folder, heatMaps, overwrite=overwrite)

    def writeReport(self, result: AnalysisResult, folder: str | Path, *, pdf: bool = False) -> list[Path]:
        """Writes a result as a page to read and print (packages jinja2 and pillow; weasyprint for PDF).

        With the thresholds that the scene shows; corrections by hand are not in it. Without the scan it has no
        pictures, and says so.

        Returns:
            the files written.
        """
        from HemoCAMLib.report import ReportOptions, write_report

        run = run_as_shown(result)
        try:
            ct = scan_of_run(run)
        except InputRefused:
            ct = None
        return write_report(run, folder, ct=ct, options=ReportOptions(pdf=pdf))


def run_as_shown(result: AnalysisResult) -> Result:
    """The run with the thresholds that the scene shows: the run itself, or a relabelled copy in a folder of its own."""
    run, mask = result.run, result.settings["mask"]
    if mask == run.fields["settings"]["mask"]:
        return run
    return relabel(run.folder, new_run_folder(), mask=mask)
