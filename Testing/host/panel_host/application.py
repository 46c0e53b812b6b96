"""`slicer.app`, its managers, and the window: the part of Slicer's application that a panel calls."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any

import slicer
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


class qSlicerApplication(QtWidgets.QApplication):  # noqa: N801
    startupCompleted = Signal()
    mrmlSceneChanged = Signal(object)
    CPP_SIGNATURES = {"mrmlSceneChanged(vtkMRMLScene*)": 1}  # noqa: RUF012

    testing = True
    exit_status: int | None = None
    startup: dict[str, str] = {}  # noqa: RUF012
    scene: Scene
    managers: dict[str, Any]

    def testingEnabled(self) -> bool:  # noqa: N802
        return self.testing

    def mrmlScene(self) -> Any:  # noqa: N802
        return self.scene.scene

    def applicationLogic(self) -> Any:  # noqa: N802
        return self.scene.application_logic

    def moduleLogic(self, name: str) -> Any:  # noqa: N802
        return self.scene.logics.get(name.lower())

    def moduleManager(self) -> Any:  # noqa: N802
        return self.managers["module"]

    def layoutManager(self) -> Any:  # noqa: N802
        return self.managers["layout"]

    def coreIOManager(self) -> CoreIOManager:  # noqa: N802
        return self.managers["io"]  # type: ignore[no-any-return]

    ioManager = coreIOManager

    def commandOptions(self) -> CommandOptions:  # noqa: N802
        return self.managers["options"]  # type: ignore[no-any-return]

    def userSettings(self) -> QtCore.QSettings:  # noqa: N802
        return QtCore.QSettings()

    settings = revisionUserSettings = userSettings

    def startupEnvironment(self) -> QtCore.QProcessEnvironment:  # noqa: N802
        environment = QtCore.QProcessEnvironment()
        for name, value in self.startup.items():
            environment.insert(name, value)
        return environment

    def environment(self) -> QtCore.QProcessEnvironment:
        return QtCore.QProcessEnvironment.systemEnvironment()

    def moduleDocumentationUrl(self, name: str) -> str:  # noqa: N802
        return f"https://slicer.readthedocs.io/en/latest/user_guide/modules/{name.lower()}.html"

    def pauseRender(self) -> None:  # noqa: N802
        self.managers["layout"].pauses += 1

    def resumeRender(self) -> None:  # noqa: N802
        self.managers["layout"].pauses -= 1

    def setRenderPaused(self, paused: bool) -> None:  # noqa: N802
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


class qMRMLSliceWidget(QtWidgets.QWidget):  # noqa: N801
    """A slice view without a picture: its logic and its nodes."""

    def __init__(self, logic: Any) -> None:
        super().__init__()
        self._logic = logic

    def sliceLogic(self) -> Any:  # noqa: N802
        return self._logic

    def mrmlSliceNode(self) -> Any:  # noqa: N802
        return self._logic.GetSliceNode()

    def mrmlSliceCompositeNode(self) -> Any:  # noqa: N802
        return self._logic.GetSliceCompositeNode()

    def fitSliceToBackground(self) -> None:  # noqa: N802
        self._logic.FitSliceToBackground(256, 256)


class qMRMLLayoutManager(QtCore.QObject):  # noqa: N801
    """Fresh settings leave the layout at 0 and the view area blank, as in the application."""

    layoutChanged = Signal(int)

    def __init__(self, scene: Scene, parent: QtCore.QObject) -> None:
        super().__init__(parent)
        self._layout = 0
        self.pauses = 0
        self.resets = {"slice": 0, "threeD": 0}
        self._widgets = {name: qMRMLSliceWidget(logic) for name, logic in scene.slice_logics.items()}

    def setLayout(self, number: int) -> None:  # noqa: N802
        if number != self._layout:
            self._layout = number
            self.layoutChanged.emit(number)

    layout = Property(int, lambda self: self._layout, lambda self, number: self.setLayout(number))
    threeDViewCount = Property(int, lambda self: 0)
    tableViewCount = Property(int, lambda self: 0)
    plotViewCount = Property(int, lambda self: 0)

    def sliceViewNames(self) -> list[str]:  # noqa: N802
        return list(self._widgets) if self._layout else []

    def sliceWidget(self, name: str) -> qMRMLSliceWidget | None:  # noqa: N802
        return self._widgets.get(name)

    def resetSliceViews(self) -> None:  # noqa: N802
        self.resets["slice"] += 1
        for widget in self._widgets.values():
            widget.fitSliceToBackground()

    def resetThreeDViews(self) -> None:  # noqa: N802
        self.resets["threeD"] += 1


class ModuleSelector(QtCore.QObject):
    """`slicer.util.moduleSelector()`."""

    def __init__(self, manager: Any) -> None:
        super().__init__(manager)
        self._manager = manager

    def selectModule(self, name: str) -> None:  # noqa: N802
        self._manager.select(name)

    selectedModule = Property(str, lambda self: self._manager.selected)


class qSlicerMainWindow(QtWidgets.QMainWindow):  # noqa: N801
    """The window, named as Slicer names it; the module panel is its centre."""

    def __init__(self, manager: Any) -> None:
        super().__init__()
        self.setObjectName("qSlicerMainWindow")
        self._selector = ModuleSelector(manager)

    def moduleSelector(self) -> ModuleSelector:  # noqa: N802
        return self._selector
