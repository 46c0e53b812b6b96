"""`slicer.app`, its managers, and the window: the part of Slicer's application that a panel calls."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any

import slicer
import vtk
from PySide6 import QtCore, QtWidgets
from PySide6.QtCore import Property, Signal

from .scene import CoreIOManager, Scene

VERSION = (5, 12, 3)


class CommandOptions:
    """`slicer.app.commandOptions()`."""

    def __init__(self, testing: bool) -> None:
        self.isTestingEnabled = testing
        self.runPythonAndExit = False
        self.noMainWindow = False


class qSlicerApplication(QtWidgets.QApplication):
    startupCompleted = Signal()
    mrmlSceneChanged = Signal(object)
    CPP_SIGNATURES = {"mrmlSceneChanged(vtkMRMLScene*)": 1}  # noqa: RUF012

    testing = True
    exit_status: int | None = None
    startup: dict[str, str] = {}  # noqa: RUF012
    scene: Scene
    managers: dict[str, Any]

    def testingEnabled(self) -> bool:
        return self.testing

    def mrmlScene(self) -> Any:
        return self.scene.scene

    def applicationLogic(self) -> Any:
        return self.scene.application_logic

    def moduleLogic(self, name: str) -> Any:
        return self.scene.logics.get(name.lower())

    def moduleManager(self) -> Any:
        return self.managers["module"]

    def layoutManager(self) -> Any:
        return self.managers["layout"]

    def coreIOManager(self) -> CoreIOManager:
        return self.managers["io"]  # type: ignore[no-any-return]

    ioManager = coreIOManager

    def commandOptions(self) -> CommandOptions:
        return self.managers["options"]  # type: ignore[no-any-return]

    def userSettings(self) -> QtCore.QSettings:
        return QtCore.QSettings()

    settings = revisionUserSettings = userSettings

    def startupEnvironment(self) -> QtCore.QProcessEnvironment:
        environment = QtCore.QProcessEnvironment()
        for name, value in self.startup.items():
            environment.insert(name, value)
        return environment

    def environment(self) -> QtCore.QProcessEnvironment:
        return QtCore.QProcessEnvironment.systemEnvironment()

    def moduleDocumentationUrl(self, name: str) -> str:
        return f"https://slicer.readthedocs.io/en/latest/user_guide/modules/{name.lower()}.html"

    def pauseRender(self) -> None:
        self.managers["layout"].pauses += 1

    def resumeRender(self) -> None:
        self.managers["layout"].pauses -= 1

    def setRenderPaused(self, paused: bool) -> None:
        self.pauseRender() if paused else self.resumeRender()

    def exit(self, status: int = 0) -> None:
        self.exit_status = status

    def quit(self) -> None:
        self.exit_status = 0

    def restart(self) -> None:
        self.exit_status = 0

    temporaryPath = Property(str, lambda self: tempfile.gettempdir())
    slicerHome = Property(str, lambda self: str(Path(slicer.__file__).parent))
    applicationVersion = Property(str, lambda self: ".".join(map(str, VERSION)))
    majorVersion = Property(int, lambda self: VERSION[0])
    minorVersion = Property(int, lambda self: VERSION[1])
    documentationBaseUrl = Property(str, lambda self: "https://slicer.readthedocs.io/en/latest/")
    os = Property(str, lambda self: {"posix": "linux", "nt": "win"}[os.name])
    revision = Property(str, lambda self: "host")
    repositoryRevision = Property(str, lambda self: "host")


class qMRMLSliceWidget(QtWidgets.QWidget):
    """A slice view without a picture: its logic and its nodes."""

    def __init__(self, logic: Any) -> None:
        super().__init__()
        self._logic = logic

    def sliceLogic(self) -> Any:
        return self._logic

    def mrmlSliceNode(self) -> Any:
        return self._logic.GetSliceNode()

    def mrmlSliceCompositeNode(self) -> Any:
        return self._logic.GetSliceCompositeNode()

    def fitSliceToBackground(self) -> None:
        self._logic.FitSliceToBackground(256, 256)


class qMRMLLayoutManager(QtCore.QObject):
    """Fresh settings leave the layout at 0 and the view area blank, as in the application."""

    layoutChanged = Signal(int)

    def __init__(self, scene: Scene, parent: QtCore.QObject) -> None:
        super().__init__(parent)
        self._layout = 0
        self.pauses = 0
        self.resets = {"slice": 0, "threeD": 0}
        self._widgets = {name: qMRMLSliceWidget(logic) for name, logic in scene.slice_logics.items()}

    def setLayout(self, number: int) -> None:
        if number != self._layout:
            self._layout = number
            self.layoutChanged.emit(number)

    layout = Property(int, lambda self: self._layout, lambda self, number: self.setLayout(number))
    threeDViewCount = Property(int, lambda self: 0)
    tableViewCount = Property(int, lambda self: 0)
    plotViewCount = Property(int, lambda self: 0)

    def sliceViewNames(self) -> list[str]:
        return list(self._widgets) if self._layout else []

    def mrmlSliceLogics(self) -> Any:
        logics = vtk.vtkCollection()
        for widget in self._widgets.values():
            logics.AddItem(widget.sliceLogic())
        return logics

    def sliceWidget(self, name: str) -> qMRMLSliceWidget | None:
        return self._widgets.get(name)

    def resetSliceViews(self) -> None:
        self.resets["slice"] += 1
        for widget in self._widgets.values():
            widget.fitSliceToBackground()

    def resetThreeDViews(self) -> None:
        self.resets["threeD"] += 1


class ModuleSelector(QtCore.QObject):
    """`slicer.util.moduleSelector()`."""

    def __init__(self, manager: Any) -> None:
        super().__init__(manager)
        self._manager = manager

    def selectModule(self, name: str) -> None:
        self._manager.select(name)

    selectedModule = Property(str, lambda self: self._manager.selected)


class qSlicerMainWindow(QtWidgets.QMainWindow):
    """The window, named as Slicer names it; the module panel is its centre."""

    def __init__(self, manager: Any) -> None:
        super().__init__()
        self.setObjectName("qSlicerMainWindow")
        self._selector = ModuleSelector(manager)

    def moduleSelector(self) -> ModuleSelector:
        return self._selector
