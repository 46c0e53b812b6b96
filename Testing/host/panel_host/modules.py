"""`slicer.modules` and the module manager: loading a scripted module, showing it, leaving it, reloading it."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from PySide6 import QtCore, QtGui, QtWidgets
from PySide6.QtCore import Property, Signal

from . import swallowed
from .convert import to_python
from .ctk_widgets import stored
from .mrml_widgets import qMRMLSegmentEditorWidget, qSlicerWidget


class BuiltInModule:
    """A module of C++: its logic."""

    def __init__(self, name: str, logic: Any) -> None:
        self.name, self._logic = name, logic

    def logic(self) -> Any:
        return self._logic


class qSlicerScriptedLoadableModuleWidget(qSlicerWidget):
    """The panel's frame. What enter, exit or setup raise is printed and swallowed, as in the application."""

    def __init__(self, module: qSlicerScriptedLoadableModule) -> None:
        super().__init__()
        self._module = module
        self._entered = False
        self.python: Any = None
        QtWidgets.QVBoxLayout(self)

    def make(self) -> None:
        """Instantiate the Python widget of the module and set it up."""
        name = self._module.name
        try:
            self.python = getattr(sys.modules[name], f"{name}Widget")(to_python(self))
            setattr(self._module.modules, f"{name}Widget", self.python)
            self.python.setup()
        except Exception as error:
            swallowed.record(error)

    def _call(self, hook: str) -> None:
        try:
            getattr(self.python, hook, lambda: None)()
        except Exception as error:
            swallowed.record(error)

    def enter(self) -> None:
        self._entered = True
        self._call("enter")

    def exit(self) -> None:
        self._entered = False
        self._call("exit")

    def reload(self) -> None:
        self.make()

    def self(self) -> Any:
        return self.python

    def module(self) -> Any:
        return self._module

    moduleName = Property(str, lambda self: self._module.name)
    isEntered = Property(bool, lambda self: self._entered)


class qSlicerScriptedLoadableModule(QtCore.QObject):
    title = stored(str, "")
    categories = stored("QStringList", [])
    dependencies = stored("QStringList", [])
    contributors = stored("QStringList", [])
    helpText = stored(str, "")
    acknowledgementText = stored(str, "")
    hidden = stored(bool, False)
    index = stored(int, 0)
    icon = stored(QtGui.QIcon, QtGui.QIcon())
    widgetRepresentationCreationEnabled = stored(bool, True)
    associatedNodeTypes = stored("QStringList", [])

    def __init__(self, path: Path, modules: Any, scene: Any, parent: QtCore.QObject) -> None:
        super().__init__(parent)
        self._path, self.modules, self._scene = path, modules, scene
        self._widget: qSlicerScriptedLoadableModuleWidget | None = None
        self.python: Any = None

    name = Property(str, lambda self: self._path.stem)
    path = Property(str, lambda self: str(self._path))
    isBuiltIn = Property(bool, lambda self: False)
    isInstalled = Property(bool, lambda self: False)

    def mrmlScene(self) -> Any:
        return self._scene

    def widgetRepresentation(self) -> qSlicerScriptedLoadableModuleWidget:
        if self._widget is None:
            self._widget = qSlicerScriptedLoadableModuleWidget(self)
            self._widget.setMRMLScene(self._scene)
            self._widget.make()
        return self._widget


class qSlicerModuleManager(QtCore.QObject):
    moduleAboutToBeUnloaded = Signal(str)
    moduleLoaded = Signal(str)

    def __init__(self, scene: Any, modules: SimpleNamespace, parent: QtCore.QObject) -> None:
        super().__init__(parent)
        self._scene, self._namespace = scene, modules
        self.scripted: dict[str, qSlicerScriptedLoadableModule] = {}
        self.selected = ""

    def load(self, path: Path) -> Any:
        """Discover a scripted module: its folder goes on sys.path, its file is executed, its class instantiated."""
        name = path.stem
        sys.path.insert(0, str(path.parent))
        spec = importlib.util.spec_from_file_location(name, path)
        assert spec is not None
        assert spec.loader is not None
        python_module = importlib.util.module_from_spec(spec)
        sys.modules[name] = python_module
        spec.loader.exec_module(python_module)
        module = qSlicerScriptedLoadableModule(path, self._namespace, self._scene, self)
        self.scripted[name] = module
        setattr(self._namespace, name.lower(), to_python(module))
        module.python = getattr(python_module, name)(to_python(module))
        setattr(self._namespace, f"{name}Instance", module.python)
        self.moduleLoaded.emit(name)
        return to_python(module)

    def select(self, name: str) -> None:
        """Show a module's panel; the one shown before is left."""
        if self.selected in self.scripted:
            self.scripted[self.selected].widgetRepresentation().exit()
        self.selected = name
        if name == "SegmentEditor" and not hasattr(self._namespace, "SegmentEditorWidget"):
            # The application makes a panel when it is first shown.
            self._namespace.SegmentEditorWidget = SimpleNamespace(editor=to_python(qMRMLSegmentEditorWidget()))
        if name in self.scripted:
            widget = self.scripted[name].widgetRepresentation()
            widget.show()
            widget.enter()

    def unload_all(self) -> None:
        """What happens to every module when the application ends."""
        if self.selected in self.scripted:
            self.select("")
        for name, module in self.scripted.items():
            self.moduleAboutToBeUnloaded.emit(name)
            if module._widget is not None:
                module._widget.deleteLater()
            sys.modules.pop(name, None)
            if str(Path(module._path).parent) in sys.path:
                sys.path.remove(str(Path(module._path).parent))
        self.scripted.clear()

    def module(self, name: str) -> Any:
        return self.scripted.get(name) or getattr(self._namespace, name.lower(), None)

    def modulesNames(self) -> list[str]:
        return list(self.scripted)

    def factoryManager(self) -> Any:
        return SimpleNamespace(loadedModuleNames=lambda: tuple(self.scripted))
