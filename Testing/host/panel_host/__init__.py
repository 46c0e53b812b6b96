"""A stand-in for the application 3D Slicer, strict as PythonQt is: see README.md beside this package.

Nothing of it is importable by accident: `qt`, `ctk` and the application's part of `slicer` exist only inside

>>> with PanelHost() as host:  # doctest: +SKIP
...     import qt, slicer
"""

from __future__ import annotations

import ctypes
import gc
import os
import shutil
import sys
import tempfile
import types
import warnings
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")

import slicer
from PySide6 import QtCore

from . import application, dialogs, event_loop, modules, mrml_widgets, scripted_module, slicer_modules, swallowed
from .convert import to_python
from .ctk_widgets import WIDGETS as CTK_WIDGETS
from .event_loop import Heartbeat
from .launcher import ChildWorld
from .qt_module import QtModule
from .scene import Scene
from .ui_loader import QUiLoader
from .wrapper import NotInHost, wrapper_class

__all__ = ["Heartbeat", "NotInHost", "PanelHost", "SwallowedError"]


def _keep_constants() -> None:
    """PySide6 6.12 gives back references to None, True and False that it never took; before Python 3.12, where these
    cannot die, the interpreter aborts in the end. A billion more than there are is as good as immortal."""
    if sys.version_info < (3, 12):
        for constant in (None, True, False):
            ctypes.c_ssize_t.from_address(id(constant)).value += 1 << 30


_keep_constants()


class SwallowedError(AssertionError):
    """The application would have printed this and gone on."""


class PanelHost:
    """The application: `with PanelHost() as host:`. Leaving it fails when an exception was swallowed inside.

    testing       as `Slicer --testing`: dialogs of slicer.util answer without being shown
    main_window   False as `Slicer --no-main-window`
    python        interpreter that PythonSlicer starts (default: this one)
    """

    def __init__(self, *, testing: bool = True, main_window: bool = True, python: str | None = None) -> None:
        self._testing, self._with_window = testing, main_window
        self._python = python or sys.executable
        self.dialogs = dialogs.answers

    def __enter__(self) -> PanelHost:
        self.folder = Path(tempfile.mkdtemp(prefix="panel-host-"))
        self._children = ChildWorld(self.folder, self._python).__enter__()
        self._recording = swallowed.Recording()
        self._recording.__enter__()
        self.dialogs.clear()
        self.dialogs.modal_limit_s = 5.0
        self._use_own_settings()
        self.application = QtCore.QCoreApplication.instance() or application.qSlicerApplication(["Slicer"])
        self.application.setApplicationName("Slicer")
        self.application.setOrganizationName("slicer.org")
        self._start()
        self._install()
        return self

    def _use_own_settings(self) -> None:
        ini = QtCore.QSettings.Format.IniFormat
        QtCore.QSettings.setDefaultFormat(ini)
        for scope in (QtCore.QSettings.Scope.UserScope, QtCore.QSettings.Scope.SystemScope):
            QtCore.QSettings.setPath(ini, scope, str(self.folder / "settings"))

    def _start(self) -> None:
        app = self.application
        self.scene = Scene(self.folder)
        self.modules = SimpleNamespace()
        for name, logic in self.scene.logics.items():
            setattr(self.modules, name, modules.BuiltInModule(name, logic))
        self._manager = modules.qSlicerModuleManager(self.scene.scene, self.modules, app)
        self._layout = application.qMRMLLayoutManager(self.scene, app)
        app.testing, app.exit_status, app.startup, app.scene = (
            self._testing,
            None,
            self._children.startup,
            self.scene,
        )
        app.managers = {
            "module": self._manager,
            "layout": self._layout,
            "io": application.CoreIOManager(self.scene),
            "options": application.CommandOptions(self._testing),
        }
        self._window = application.qSlicerMainWindow(self._manager) if self._with_window else None

    def _install(self) -> None:
        """Put the modules where an import finds them, and remember what was there."""
        qt = QtModule()
        qt.__dict__["QUiLoader"] = wrapper_class(QUiLoader)
        ctk = types.ModuleType("ctk")
        ctk.__dict__.update({made.__name__: wrapper_class(made) for made in CTK_WIDGETS})
        base = types.ModuleType("slicer.ScriptedLoadableModule")
        base.__dict__.update({name: getattr(scripted_module, name) for name in scripted_module.__all__})
        base.__dict__["__all__"] = scripted_module.__all__
        from . import parameter_node

        self._installed = {
            "qt": qt,
            "ctk": ctk,
            "slicer.ScriptedLoadableModule": base,
            "slicer.parameterNodeWrapper": parameter_node,
            "slicer.i18n": slicer_modules.i18n(),
            "slicer.testing": slicer_modules.testing(),
        }
        self._before = {name: sys.modules.get(name) for name in self._installed}
        sys.modules.update(self._installed)
        self._finder = slicer_modules.OnImport("slicer.packaging", slicer_modules.packaging)
        sys.meta_path.insert(0, self._finder)
        import slicer.util

        shown: dict[str, Any] = {
            "app": to_python(self.application),
            "mrmlScene": self.scene.scene,
            "modules": self.modules,
            "moduleNames": SimpleNamespace(),
            "ScriptedLoadableModule": base,
            "parameterNodeWrapper": parameter_node,
            "i18n": self._installed["slicer.i18n"],
            "testing": self._installed["slicer.testing"],
            **{made.__name__: wrapper_class(made) for made in mrml_widgets.WIDGETS},
            "qSlicerScriptedLoadableModule": wrapper_class(modules.qSlicerScriptedLoadableModule),
            "qSlicerScriptedLoadableModuleWidget": wrapper_class(modules.qSlicerScriptedLoadableModuleWidget),
        }
        self._shown = tuple(shown)
        for name, value in shown.items():
            setattr(slicer, name, value)

    def __exit__(self, kind: Any, *_: object) -> None:
        self._manager.unload_all()
        self.application.aboutToQuit.emit()
        # The application object outlives the host; whoever listened to it does not.
        for signal in (self.application.aboutToQuit, self.application.startupCompleted):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", RuntimeWarning)
                signal.disconnect()
        if self._window is not None:
            self._window.deleteLater()
        for made in (self._manager, self._layout):
            made.deleteLater()
        event_loop.process_events()
        QtCore.QCoreApplication.sendPostedEvents(None, QtCore.QEvent.Type.DeferredDelete)
        for name in (*self._shown, "selfTests", "packaging"):
            if hasattr(slicer, name):
                delattr(slicer, name)
        sys.meta_path.remove(self._finder)
        sys.modules.pop("slicer.packaging", None)
        for name, module in self._before.items():
            if module is None:
                sys.modules.pop(name, None)
            else:
                sys.modules[name] = module
        self.scene.close()
        self._recording.__exit__()
        self._children.__exit__()
        # What the module left in cycles goes now, on the main thread, and not in whatever thread is next.
        gc.collect()
        shutil.rmtree(self.folder, ignore_errors=True)
        if kind is None:
            self.fail_on_errors()

    def load_module(self, path: Path) -> Any:
        """Load a scripted module from its file, as `--additional-module-paths` does, and start the application."""
        module = self._manager.load(Path(path).absolute())
        self.application.startupCompleted.emit()
        return module

    def select_module(self, name: str) -> Any:
        """Show the module's panel; gives its Python widget."""
        self._manager.select(name)
        return getattr(self.modules, f"{name}Widget", None)

    def run_until(self, done: Callable[[], bool], limit_s: float = 10.0) -> bool:
        """Turn the event loop until `done()`; False when `limit_s` is over."""
        return event_loop.run_until(done, limit_s)

    def run_for(self, seconds: float) -> None:
        """Turn the event loop for some time."""
        event_loop.run_for(seconds)

    def close_scene(self) -> None:
        """File, Close scene."""
        self.scene.scene.Clear(False)

    def take_errors(self) -> list[BaseException]:
        """Exceptions that the application would only have printed; a test that expects some takes them."""
        return swallowed.take()

    def fail_on_errors(self) -> None:
        """SwallowedError when something was swallowed and nobody took it."""
        errors = swallowed.take()
        if errors:
            raise SwallowedError(f"{len(errors)} exceptions were only printed") from errors[0]
