"""The application around Qt: slicer.util, settings, threads, children, typed parameters, .ui files, modules."""

import enum
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pytest


def test_a_python_thread_starves_while_the_event_loop_is_idle(host: Any, qt: Any) -> None:
    """Measured in the application: 1 tick in an idle loop, 11 a second with a Python slot every 100 ms."""
    from panel_host.event_loop import THREADS_STARVE

    if not THREADS_STARVE:
        pytest.skip("on this platform the host cannot keep Python's lock in the event loop")
    ticks, stop = [0], threading.Event()

    def count() -> None:
        while not stop.is_set():
            ticks[0] += 1
            time.sleep(0.001)

    thread = threading.Thread(target=count)
    thread.start()
    try:
        host.run_for(0.05)
        before = ticks[0]
        host.run_for(0.5)
        idle = ticks[0] - before
        timer = qt.QTimer()
        timer.timeout.connect(lambda: None)
        timer.start(100)
        before = ticks[0]
        host.run_for(1.0)
        slow = ticks[0] - before
        timer.stop()
    finally:
        stop.set()
        thread.join()
    assert idle <= 3
    assert 5 <= slow <= 40


def test_questions_in_testing_mode_are_answered_with_false(host: Any) -> None:
    import slicer

    assert slicer.util.confirmYesNoDisplay("?") is False
    assert slicer.util.confirmOkCancelDisplay("?") is False
    assert slicer.util.confirmRetryCloseDisplay("?") is False
    assert slicer.util.infoDisplay("!") is None
    assert slicer.util.warningDisplay("!") is None
    assert slicer.util.errorDisplay("!") is None


def test_pip_ensure_in_testing_mode_does_nothing(host: Any) -> None:
    import slicer

    assert not hasattr(slicer, "packaging")
    import slicer.packaging

    assert slicer.packaging.pip_ensure("no-such-package-at-all>=1") is None
    assert slicer.packaging.pip_check("no-such-package-at-all") is False
    assert slicer.packaging.pip_check("numpy>=1") is True


def test_settings_are_text_in_a_new_process(host: Any, qt: Any) -> None:
    import slicer

    settings = qt.QSettings()
    settings.setValue("HemoCAM/on", True)
    settings.setValue("HemoCAM/count", 5)
    assert settings.value("HemoCAM/count") == 5
    settings.sync()
    again = qt.QSettings(settings.fileName(), qt.QSettings.IniFormat)
    assert slicer.util.toBool(again.value("HemoCAM/on")) is True
    read = subprocess.run(
        [sys.executable, "-c", _READ_SETTINGS, settings.fileName()],
        capture_output=True,
        text=True,
        check=True,
        env=slicer.util.startupEnvironment(),
    )
    assert read.stdout.split() == ["'true'", "'5'"]


_READ_SETTINGS = """
import sys
from PySide6.QtCore import QSettings
s = QSettings(sys.argv[1], QSettings.Format.IniFormat)
print(repr(s.value("HemoCAM/on")), repr(s.value("HemoCAM/count")))
"""


def test_another_python_needs_the_startup_environment(host: Any) -> None:
    import slicer

    real = host._python
    code = [real, "-c", "print(1)"]
    assert subprocess.run(code, capture_output=True, check=False).returncode != 0
    clean = slicer.util.startupEnvironment()
    assert subprocess.run(code, capture_output=True, check=True, env=clean).stdout.split() == [b"1"]


def test_python_slicer_has_empty_qt_and_leaves_its_child_when_killed(host: Any, qt: Any, tmp_path: Path) -> None:
    if sys.platform == "win32":
        pytest.skip("signals of POSIX")
    marker = tmp_path / "alive"
    code = (
        "import sys, time, pathlib, qt, ctk\n"
        "assert not hasattr(qt, 'QWidget') and not hasattr(ctk, 'ctkComboBox')\n"
        f"for n in range(40): pathlib.Path({str(marker)!r}).write_text(str(n)); time.sleep(0.05)\n"
    )
    process = qt.QProcess()
    process.start(sys.executable, ["-c", code])
    assert host.run_until(marker.exists)
    process.kill()
    host.run_for(0.2)
    seen = marker.read_text()
    time.sleep(0.3)
    assert marker.read_text() != seen


def test_a_console_process_delivers_lines_on_the_main_thread(host: Any) -> None:
    import slicer

    lines, codes = [], []
    slicer.util.launchConsoleProcess(
        [sys.executable, "-c", "print('a'); print('b')"],
        blocking=False,
        logCallback=lines.append,
        completedCallback=codes.append,
    )
    assert host.run_until(lambda: bool(codes))
    assert (lines, codes) == (["a", "b"], [0])


def test_the_layout_of_fresh_settings_is_blank(host: Any) -> None:
    import slicer

    layout = slicer.app.layoutManager()
    assert layout.layout == 0
    assert layout.sliceViewNames() == ()
    layout.setLayout(3)
    assert layout.sliceViewNames() == ("Red", "Green", "Yellow")
    node = slicer.util.addVolumeFromArray(np.zeros((2, 3, 4), np.int16))
    slicer.util.setSliceViewerLayers(background=node)
    composite = layout.sliceWidget("Red").mrmlSliceCompositeNode()
    assert composite.GetBackgroundVolumeID() == node.GetID()


def test_a_segment_and_an_array_are_exchanged_by_slicers_own_code(host: Any) -> None:
    import slicer

    volume = slicer.util.addVolumeFromArray(np.zeros((2, 3, 4), np.int16))
    segmentation = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode")
    segmentation.SetReferenceImageGeometryParameterFromVolumeNode(volume)
    segment = segmentation.GetSegmentation().AddEmptySegment("IPH")
    mask = np.zeros((2, 3, 4), np.uint8)
    mask[1, 1:, 2] = 1
    slicer.util.updateSegmentBinaryLabelmapFromArray(mask, segmentation, segment, volume)
    np.testing.assert_array_equal(slicer.util.arrayFromSegmentBinaryLabelmap(segmentation, segment, volume), mask)


def test_a_table_wants_arrays(host: Any) -> None:
    import slicer

    table = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLTableNode")
    slicer.util.updateTableFromArray(table, [np.array([1.0, 2.0])], ["mL"])
    assert table.GetNumberOfRows() == 2
    with pytest.raises(AttributeError):
        slicer.util.updateTableFromArray(table, [[1.0, 2.0]], ["mL"])


def test_a_node_selector_gives_the_scenes_own_node(host: Any) -> None:
    import slicer

    selector = slicer.qMRMLNodeComboBox()
    selector.nodeTypes = ["vtkMRMLScalarVolumeNode"]
    selector.noneEnabled = True
    selector.setMRMLScene(slicer.mrmlScene)
    seen = []
    assert selector.connect("currentNodeChanged(vtkMRMLNode*)", seen.append) is True
    selector.currentNodeChanged.connect(seen.append)
    assert selector.currentNodeID == ""
    assert selector.currentNode() is None
    node = slicer.util.addVolumeFromArray(np.zeros((2, 3, 4)))
    selector.setCurrentNode(node)
    assert selector.currentNode() is node
    assert selector.currentNodeID == node.GetID()
    assert seen == [node, node]
    slicer.mrmlScene.RemoveNode(node)
    assert selector.currentNode() is None
    assert seen[-1] is None
    assert selector.nodeTypes == ("vtkMRMLScalarVolumeNode",)
    with pytest.raises(TypeError):
        selector.currentNodeID()


class Colour(enum.Enum):
    RED = 1
    BLUE = 2


def test_a_parameter_takes_exactly_its_type(host: Any) -> None:
    import slicer
    from slicer.parameterNodeWrapper import Choice, WithinRange, parameterNodeWrapper

    @parameterNodeWrapper
    class Parameters:
        volume: slicer.vtkMRMLScalarVolumeNode
        gate: Annotated[float, WithinRange(0, 1)] = 0.5
        either: int | str = 3
        scale: Annotated[str, Choice(["a", "b"])] = "a"
        colour: Colour = Colour.BLUE
        numbers: list[int]
        folder: Path = Path("x")

    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScriptedModuleNode")
    parameters = Parameters(node)
    assert parameters.volume is None
    for given in (1, np.float64(0.25)):
        parameters.gate = given
        assert type(parameters.gate) is float
        assert parameters.gate == float(given)
    for name, value, error in (
        ("gate", "1", TypeError),
        ("gate", 1.5, ValueError),
        ("scale", "c", ValueError),
        ("either", np.int64(1), TypeError),
    ):
        with pytest.raises(error):
            setattr(parameters, name, value)
    parameters.either = "t"
    assert Parameters(node).either == "t"
    assert parameters.colour is Colour.BLUE
    parameters.numbers.append(4)
    assert parameters.numbers == [4]
    assert node.GetParameter("numbers.0") == "4"
    assert node.GetParameter("numbers.len") == "1"
    assert parameters.folder == Path("x")


@pytest.mark.parametrize("kind", [tuple, set[int], bytes, np.ndarray])
def test_a_type_that_slicer_cannot_keep_is_refused_with_the_class(host: Any, kind: Any) -> None:
    from slicer.parameterNodeWrapper import parameterNodeWrapper

    with pytest.raises(Exception, match="serializer"):
        parameterNodeWrapper(type("Parameters", (), {"__annotations__": {"value": kind}}))


def test_binding_goes_by_the_exact_class_of_the_widget(host: Any, qt: Any) -> None:
    import ctk
    import slicer
    from slicer.parameterNodeWrapper import Decimals, Minimum, WithinRange, parameterNodeWrapper

    @parameterNodeWrapper
    class Parameters:
        gate: Annotated[float, WithinRange(0, 10), Decimals(1)] = 0.5
        size: Annotated[float, Minimum(2)] = 3.0
        text: str = "t"

    class MySlider(ctk.ctkSliderWidget):
        pass

    parameters = Parameters(slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScriptedModuleNode"))
    for name, widget in (("gate", MySlider()), ("text", qt.QPlainTextEdit())):
        with pytest.raises(RuntimeError, match="Unable to create GUI connector"):
            parameters.connectParametersToGui({name: widget})
    slider, spin = ctk.ctkSliderWidget(), qt.QDoubleSpinBox()
    tag = parameters.connectParametersToGui({"gate": slider, "size": spin})
    assert (slider.minimum, slider.maximum, slider.decimals, slider.value) == (0, 10, 1, 0.5)
    assert (spin.minimum, spin.maximum) == (2, float("inf"))
    slider.value = 4.0
    assert parameters.gate == 4.0
    parameters.gate = 7
    assert slider.value == 7.0
    slider.maximum = 100
    slider.value = 40.0
    assert [type(error) for error in host.take_errors()] == [ValueError]
    assert (slider.value, parameters.gate) == (40.0, 7.0)
    parameters.disconnectGui(tag)
    slider.value = 1.0
    assert parameters.gate == 7.0


UI = """<?xml version="1.0" encoding="UTF-8"?>
<ui version="4.0"><class>Panel</class>
<widget class="qMRMLWidget" name="Panel"><layout class="QVBoxLayout" name="rows">
<item><widget class="ctkCollapsibleButton" name="inputs"><property name="text"><string>Inputs</string></property>
<layout class="QVBoxLayout" name="inner">
<item><widget class="qMRMLNodeComboBox" name="inputSelector">
<property name="nodeTypes"><stringlist><string>vtkMRMLScalarVolumeNode</string></stringlist></property>
<property name="noneEnabled"><bool>true</bool></property>
<property name="toolTip"><string>the CT</string></property>
<property name="SlicerParameterName" stdset="0"><string>inputVolume</string></property></widget></item>
<item><widget class="ctkSliderWidget" name="gate">
<property name="SlicerParameterName" stdset="0"><string>gate</string></property></widget></item>
</layout></widget></item>
<item><widget class="QPushButton" name="applyButton"><property name="text"><string>Analyse</string></property>
</widget></item></layout></widget>
<customwidgets>
<customwidget><class>qMRMLWidget</class><extends>QWidget</extends><container>1</container></customwidget>
<customwidget><class>ctkCollapsibleButton</class><extends>QWidget</extends><container>1</container></customwidget>
<customwidget><class>ctkSliderWidget</class><extends>QWidget</extends></customwidget>
<customwidget><class>qMRMLNodeComboBox</class><extends>QWidget</extends></customwidget>
</customwidgets>
<connections><connection><sender>Panel</sender><signal>mrmlSceneChanged(vtkMRMLScene*)</signal>
<receiver>inputSelector</receiver><slot>setMRMLScene(vtkMRMLScene*)</slot></connection></connections></ui>
"""

MODULE = """
import slicer
from typing import Annotated
from slicer.i18n import tr as _
from slicer.ScriptedLoadableModule import *
from slicer.parameterNodeWrapper import WithinRange, parameterNodeWrapper
from slicer.util import VTKObservationMixin

class Tiny(ScriptedLoadableModule):
    def __init__(self, parent):
        ScriptedLoadableModule.__init__(self, parent)
        parent.title = _("Tiny")
        parent.categories = ["Tests"]

@parameterNodeWrapper
class TinyParameters:
    inputVolume: slicer.vtkMRMLScalarVolumeNode
    gate: Annotated[float, WithinRange(0, 1)] = 0.25

class TinyWidget(ScriptedLoadableModuleWidget, VTKObservationMixin):
    def __init__(self, parent=None):
        ScriptedLoadableModuleWidget.__init__(self, parent)
        VTKObservationMixin.__init__(self)
        self.events = []

    def setup(self):
        ScriptedLoadableModuleWidget.setup(self)
        widget = slicer.util.loadUI(self.resourcePath("UI/Tiny.ui"))
        self.layout.addWidget(widget)
        self.ui = slicer.util.childWidgetVariables(widget)
        widget.setMRMLScene(slicer.mrmlScene)
        self.logic = TinyLogic()
        self.parameters = TinyParameters(self.logic.getParameterNode())
        self.tag = self.parameters.connectGui(self.ui)
        self.ui.applyButton.connect("clicked(bool)", self.onApply)
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.EndCloseEvent, self.onClosed)

    def cleanup(self):
        self.events.append("cleanup")
        self.parameters.disconnectGui(self.tag)
        self.removeObservers()

    def enter(self): self.events.append("enter")
    def exit(self): self.events.append("exit")
    def onClosed(self, caller, event): self.events.append("closed")
    def onApply(self): self.events.append(self.parameters.gate)

class TinyLogic(ScriptedLoadableModuleLogic):
    pass

class TinyTest(ScriptedLoadableModuleTest):
    def test_it(self):
        slicer.selfTestRan = True
"""


@pytest.fixture
def tiny(host: Any, tmp_path: Path) -> Any:
    """A scripted module with a panel, loaded and shown."""
    (tmp_path / "Resources" / "UI").mkdir(parents=True)
    (tmp_path / "Resources" / "UI" / "Tiny.ui").write_text(UI, encoding="utf-8")
    (tmp_path / "Tiny.py").write_text(MODULE, encoding="utf-8")
    host.load_module(tmp_path / "Tiny.py")
    return host.select_module("Tiny")


def test_a_ui_file_has_slicers_widgets_connections_and_parameters(host: Any, tiny: Any) -> None:
    import slicer

    assert tiny.ui.inputs.className() == "ctkCollapsibleButton"
    assert tiny.ui.inputSelector.mrmlScene() is slicer.mrmlScene
    assert tiny.ui.inputSelector.toolTip == "<p>the CT</p>"
    assert tiny.ui.gate.value == 0.25
    node = slicer.util.addVolumeFromArray(np.zeros((2, 3, 4)))
    tiny.ui.inputSelector.setCurrentNode(node)
    assert tiny.parameters.inputVolume is node
    with pytest.raises(RuntimeError, match="file not found"):
        slicer.util.loadUI("missing.ui")


def test_a_ui_file_with_an_unknown_class_is_refused(host: Any, tmp_path: Path) -> None:
    import slicer
    from panel_host import NotInHost

    path = tmp_path / "a.ui"
    path.write_text(UI.replace("ctkSliderWidget", "ctkNoSuchWidget"), encoding="utf-8")
    with pytest.raises(NotInHost, match="ctkNoSuchWidget"):
        slicer.util.loadUI(path)


def test_a_module_is_shown_clicked_left_and_reloaded(host: Any, tiny: Any) -> None:
    import slicer

    tiny.ui.applyButton.click()
    host.close_scene()
    slicer.util.selectModule("Other")
    assert tiny.events == ["enter", 0.25, "closed", "exit"]
    tiny.onReload()
    assert tiny.events[-1] == "cleanup"
    renewed = slicer.modules.TinyWidget
    assert renewed is not tiny
    assert slicer.util.getModuleWidget("Tiny") is renewed
    assert slicer.util.getModuleLogic("Tiny") is renewed.logic
    assert slicer.modules.tiny.title == "Tiny"
    slicer.selfTests["Tiny"]()
    assert slicer.selfTestRan is True
    del slicer.selfTestRan


def test_a_scene_is_saved_and_read_again(host: Any, tmp_path: Path) -> None:
    import slicer

    slicer.util.addVolumeFromArray(np.arange(24, dtype=np.int16).reshape(2, 3, 4), name="ct")
    path = tmp_path / "scene.mrb"
    assert slicer.util.saveScene(str(path))
    host.close_scene()
    assert slicer.mrmlScene.GetFirstNodeByName("ct") is None
    slicer.util.loadScene(str(path))
    assert slicer.util.arrayFromVolume(slicer.util.getNode("ct")).max() == 23


def test_an_exit_status_is_kept_and_nothing_ends(host: Any) -> None:
    import slicer

    slicer.util.exit(3)
    assert host.application.exit_status == 3


def test_the_heartbeat_finds_a_blocked_event_loop(host: Any, qt: Any) -> None:
    from panel_host import Heartbeat

    with Heartbeat() as beat:
        qt.QTimer.singleShot(50, lambda: time.sleep(0.12))
        host.run_for(0.5)
    assert 115 <= beat.worst_gap_ms < 400
    assert beat.gap_ms(50) < 50
    assert beat.gap_ms(100) == beat.worst_gap_ms


def test_an_event_of_the_scene_has_no_name_and_its_node_needs_a_declared_type(host: Any) -> None:
    import slicer
    import vtk
    from slicer.util import VTKObservationMixin

    class Watcher(VTKObservationMixin):
        def __init__(self) -> None:
            VTKObservationMixin.__init__(self)
            self.seen: list[Any] = []

        @vtk.calldata_type(vtk.VTK_OBJECT)
        def on_added(self, caller: Any, event: str, node: Any) -> None:
            self.seen.append((event, node))

    watcher = Watcher()
    watcher.addObserver(slicer.mrmlScene, slicer.vtkMRMLScene.NodeAddedEvent, watcher.on_added)
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLTableNode")
    watcher.removeObservers()
    assert watcher.seen == [("NoEvent", node)]


def test_a_module_that_is_left_running_is_cleaned_up_when_the_application_ends(host: Any, tiny: Any) -> None:
    import slicer

    host.__exit__(None)
    assert tiny.events == ["enter", "exit", "cleanup"]
    host.__enter__()
    assert not hasattr(slicer.modules, "tiny")


def test_a_slider_takes_only_a_parameter_with_limits(host: Any) -> None:
    import ctk
    import slicer

    @slicer.parameterNodeWrapper.parameterNodeWrapper
    class Parameters:
        free: float
        limited: Annotated[float, slicer.parameterNodeWrapper.WithinRange(0.0, 2.0)] = 1.0

    parameters = Parameters(slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScriptedModuleNode"))
    slider = ctk.ctkSliderWidget()
    with pytest.raises(RuntimeError, match="unbounded"):
        parameters.connectParametersToGui({"free": slider})
    parameters.connectParametersToGui({"limited": slider})
    assert slider.maximum == 2.0


def test_a_node_selector_hides_single_nodes(host: Any) -> None:
    import slicer

    selector = slicer.qMRMLNodeComboBox()
    selector.nodeTypes = ["vtkMRMLTextNode"]
    selector.setMRMLScene(slicer.mrmlScene)
    nodes = [slicer.mrmlScene.AddNewNodeByClass("vtkMRMLTextNode", name) for name in ("one", "two")]
    assert selector.nodeCount() == 2
    selector.sortFilterProxyModel().hiddenNodeIDs = [nodes[0].GetID()]
    assert selector.nodeCount() == 1
    assert selector.currentNode() is nodes[1]
    assert tuple(selector.sortFilterProxyModel().hiddenNodeIDs) == (nodes[0].GetID(),)
    selector.setMRMLScene(None)


def test_what_is_collapsed_is_hidden_and_comes_back(host: Any, qt: Any) -> None:
    import ctk

    for made in (ctk.ctkCollapsibleButton(), ctk.ctkCollapsibleGroupBox()):
        layout = qt.QVBoxLayout(made)
        made.collapsed = True
        late, never = qt.QLabel("late"), qt.QLabel("never shown")
        layout.addWidget(late)
        layout.addWidget(never)
        made.show()
        host.run_for(0.05)
        assert not late.isVisible()
        made.collapsed = False
        never.setVisible(False)
        made.collapsed = True
        made.collapsed = False
        assert late.isVisible()
        assert not never.isVisible()


def test_the_segment_editor_knows_what_it_edits(host: Any) -> None:
    import slicer

    segmentation = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode")
    slicer.util.selectModule("SegmentEditor")
    editor = slicer.modules.SegmentEditorWidget.editor
    editor.setSegmentationNode(segmentation)
    assert editor.segmentationNode() is segmentation
    assert editor.sourceVolumeNode() is None


def test_all_slice_views_are_fitted(host: Any) -> None:
    import slicer

    slicer.app.layoutManager().setLayout(3)
    node = slicer.util.addVolumeFromArray(np.zeros((4, 5, 6), np.int16))
    slicer.util.setSliceViewerLayers(background=node, fit=True)
    assert slicer.app.layoutManager().mrmlSliceLogics().GetNumberOfItems() == 3
