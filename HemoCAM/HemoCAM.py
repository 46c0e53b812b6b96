# SPDX-License-Identifier: Apache-2.0
"""HemoCAM in 3D Slicer: intracranial hemorrhage in head CT, from slice labels to millilitres.

This file is what the application knows of the module; what it does lies in ``HemoCAMLib``.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any, Union

import slicer
from slicer.i18n import tr as _
from slicer.i18n import translate
from slicer.parameterNodeWrapper import Choice, WithinRange, parameterNodeWrapper
from slicer.ScriptedLoadableModule import (
    ScriptedLoadableModule,
    ScriptedLoadableModuleLogic,
    ScriptedLoadableModuleTest,
    ScriptedLoadableModuleWidget,
)

# Installed and built, HemoCAMLib lies beside this file; in a plain checkout one folder above. Another version that pip
# may have put into the application must not be taken instead.
for _folder in (Path(__file__).resolve().parent, Path(__file__).resolve().parents[1]):
    if (_folder / "HemoCAMLib" / "__init__.py").is_file():
        if str(_folder) not in sys.path:
            sys.path.insert(0, str(_folder))
        break


class HemoCAM(ScriptedLoadableModule):
    """Title, help and registration of the module."""

    def __init__(self, parent: Any) -> None:
        ScriptedLoadableModule.__init__(self, parent)
        self.parent.title = _("HemoCAM")
        self.parent.categories = [translate("qSlicerAbstractCoreModule", "Segmentation")]
        self.parent.dependencies = ["Segmentations", "SegmentEditor", "SubjectHierarchy", "Tables", "Plots", "Volumes"]
        self.parent.contributors = ["The HemoCAM founders"]
        self.parent.helpText = _(
            "<p>Finds intracranial hemorrhage in a head CT and measures it in millilitres, per subtype. A classifier "
            "that was trained on slice labels only says which of five subtypes each slice shows; class activation maps "
            "say where.</p>"
            "<ol><li>Choose a head CT and press <b>Analyse</b>. Slices appear as they are done; the window stays "
            "usable.</li>"
            "<li>Read volumes in the table; click the strip to go to a slice, a row to go to the largest bleed.</li>"
            "<li>Move <b>Thresholds</b>; masks follow at once, the network does not run again.</li>"
            "<li><b>Compare</b> with a segmentation or label map, <b>Correct</b> in the Segment Editor, <b>Export</b>, "
            "<b>Save</b>.</li></ol>"
            "<p>Nothing leaves this computer. Research software, not a medical device: never use it for diagnosis or "
            "treatment.</p>"
        )
        self.parent.helpText += self.getDefaultModuleDocumentationLink()
        self.parent.acknowledgementText = _(
            "<p>Methods: CAM (Zhou et al., CVPR 2016), Grad-CAM (Selvaraju et al., ICCV 2017), HiResCAM (Draelos and "
            "Carin, 2020), LSE pooling (Pinheiro and Collobert, CVPR 2015), LSE-UNet and masks (Chen and Kuo, Beyond "
            "Classification).</p>"
        )
        slicer.app.connect("startupCompleted()", self.registerSampleData)

    def registerSampleData(self) -> None:
        """Offers the phantom in the Sample Data module."""
        from HemoCAMLib.panel.sample_data import register_sample_data

        register_sample_data(self.resourcePath("Icons/HemoCAM.png"))


@parameterNodeWrapper
class HemoCAMParameterNode:
    """What the panel keeps in the scene."""

    inputVolume: slicer.vtkMRMLScalarVolumeNode
    # Slicer takes no other spelling of a union of nodes, and wants the None.
    truth: Union[slicer.vtkMRMLSegmentationNode, slicer.vtkMRMLLabelMapVolumeNode, None]  # noqa: UP007
    device: Annotated[str, Choice(["auto", "cpu", "cuda", "mps"])] = "auto"
    allowGaps: bool = False
    explainAll: bool = False
    heatMapOpacity: Annotated[float, WithinRange(0.0, 1.0)] = 0.5
    show3D: bool = True
    showOverlap: bool = True
    minimumVolumeMl: Annotated[float, WithinRange(0.0, 100.0)] = 0.1
    refine: bool = True
    gateIPH: Annotated[float, WithinRange(0.0, 1.0)] = 0.5
    maskIPH: Annotated[float, WithinRange(0.0, 255.0)] = 0.5
    gateIVH: Annotated[float, WithinRange(0.0, 1.0)] = 0.5
    maskIVH: Annotated[float, WithinRange(0.0, 255.0)] = 0.5
    gateSAH: Annotated[float, WithinRange(0.0, 1.0)] = 0.5
    maskSAH: Annotated[float, WithinRange(0.0, 255.0)] = 0.5
    gateSDH: Annotated[float, WithinRange(0.0, 1.0)] = 0.5
    maskSDH: Annotated[float, WithinRange(0.0, 255.0)] = 0.5
    gateEDH: Annotated[float, WithinRange(0.0, 1.0)] = 0.5
    maskEDH: Annotated[float, WithinRange(0.0, 255.0)] = 0.5


class HemoCAMWidget(ScriptedLoadableModuleWidget):
    """Loads the .ui file, binds the parameters, and hands both to the panel."""

    def __init__(self, parent: Any = None) -> None:
        self.panel: Any = None
        self.ui: Any = None
        self._parameters: Any = None
        self._guiTag: Any = None
        ScriptedLoadableModuleWidget.__init__(self, parent)

    def setup(self) -> None:
        ScriptedLoadableModuleWidget.setup(self)
        from HemoCAMLib.panel.panel import Panel

        widget = slicer.util.loadUI(self.resourcePath("UI/HemoCAM.ui"))
        self.layout.addWidget(widget)
        self.ui = slicer.util.childWidgetVariables(widget)
        widget.setMRMLScene(slicer.mrmlScene)
        self.logic = HemoCAMLogic()
        self.panel = Panel(widget, self.ui, self.logic, self.bindParameters, self.releaseParameters)

    def bindParameters(self) -> Any:
        """Connects the widgets to the scene's parameters, new ones where there are none; gives the parameters."""
        self.releaseParameters()
        self._parameters = HemoCAMParameterNode(self.logic.getParameterNode())
        self._guiTag = self._parameters.connectGui(self.ui)
        return self._parameters

    def releaseParameters(self) -> None:
        """Lets go of them: while the scene closes and while another module is shown."""
        if self._parameters is not None and self._guiTag is not None:
            self._parameters.disconnectGui(self._guiTag)
        self._parameters = self._guiTag = None

    def enter(self) -> None:
        if self.panel is not None:
            self.panel.enter()

    def exit(self) -> None:
        if self.panel is not None:
            self.panel.exit()

    def cleanup(self) -> None:
        """The module goes: so do its worker, its timers and its observers."""
        if self.panel is not None:
            self.panel.close()
            self.panel = None

    def onReload(self) -> None:
        """A developer who reloads wants the library anew too, of which this file is the smallest part."""
        if self.developerMode:
            for name in [name for name in sys.modules if name.split(".")[0] == "HemoCAMLib"]:
                del sys.modules[name]
        super().onReload()


class HemoCAMLogic(ScriptedLoadableModuleLogic):
    """What scripts call. Each method is that of :class:`HemoCAMLib.panel.scripting.Scripting`, which says more.

    >>> logic = slicer.util.getModuleLogic("HemoCAM")
    >>> result = logic.analyze(slicer.util.getNode("CT"))
    >>> result.volume_ml["SDH"], result.segmentation
    """

    def __init__(self, parent: Any = None) -> None:
        ScriptedLoadableModuleLogic.__init__(self, parent)
        self._scripting: Any = None

    @property
    def scripting(self) -> Any:
        """The body; loaded when it is first asked for, so that the application starts as fast as before."""
        if self._scripting is None:
            from HemoCAMLib.panel.scripting import Scripting

            self._scripting = Scripting()
        return self._scripting

    def analyze(self, volumeNode: Any, model: str | None = None, *, wait: bool = True, **settings: Any) -> Any:
        """Finds hemorrhage in a head CT: a result, or with ``wait=False`` a handle at once."""
        return self.scripting.analyze(volumeNode, model, wait=wait, **settings)

    def analyzeSeveral(self, scans: Any, tableNode: Any = None, model: str | None = None, **settings: Any) -> Any:
        """Analyses several volumes one after the other into one table; one that fails never stops the rest."""
        return self.scripting.analyzeSeveral(scans, tableNode, model, **settings)

    def applyThresholds(
        self, result: Any, classThresholds: Any = None, maskThresholds: Any = None, **changes: Any
    ) -> Any:
        """Brings a result to other thresholds without the network; nothing at all gives those of the analysis."""
        return self.scripting.applyThresholds(result, classThresholds, maskThresholds, **changes)

    def thresholds(self, result: Any) -> Any:
        """The same for a slider: ``thresholds(result).apply(changes)``."""
        return self.scripting.thresholds(result)

    def compare(self, result: Any, truthNode: Any, mapping: Any = None, **options: Any) -> Any:
        """Compares a result, edits included, with a segmentation or label map: figures, tables, overlap."""
        return self.scripting.compare(result, truthNode, mapping, **options)

    def openRun(self, folder: Any, volumeNode: Any = None) -> Any:
        """A finished run folder put into the scene, without the network."""
        return self.scripting.openRun(folder, volumeNode)

    def results(self) -> list[Any]:
        """Complete results of the scene, such as those of a scene that was just loaded."""
        return list(self.scripting.results())

    def exportDicom(self, result: Any, folder: Any, source: Any = None, **options: Any) -> Any:
        """Writes a result as DICOM segmentation and structured report."""
        return self.scripting.exportDicom(result, folder, source, **options)

    def writeReport(self, result: Any, folder: Any, **options: Any) -> list[Any]:
        """Writes a result as a page to read and print."""
        return list(self.scripting.writeReport(result, folder, **options))


class HemoCAMTest(ScriptedLoadableModuleTest):
    """The self-tests of :mod:`HemoCAMLib.panel.selftest`, for “Reload and Test” and the self-test module."""

    def runTest(self, **options: Any) -> None:
        import unittest

        from HemoCAMLib.panel.selftest import self_tests

        outcome = unittest.TextTestRunner(verbosity=2).run(self_tests())
        self.assertTrue(outcome.wasSuccessful(), "a self-test failed; see the log")


def load_tests(loader: Any, tests: Any, pattern: Any) -> Any:
    """What ``slicer.testing.runUnitTest([...], "HemoCAM")`` runs."""
    from HemoCAMLib.panel.selftest import self_tests

    return self_tests()
