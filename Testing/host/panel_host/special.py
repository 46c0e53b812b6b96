"""Members that PythonQt or Slicer treat in their own way, by class and name.

METHODS:           (class, method) -> function(wrapper, cpp, *args); class "" is every class.
PROPERTIES:        (class, property) -> (read(wrapper, cpp) or None, write(wrapper, cpp, value), None or READ_ONLY).
CLASS_ATTRIBUTES:  (class, name) -> what `qt.Class.name` is.
"""

from __future__ import annotations

import html
from collections.abc import Callable
from typing import Any

import shiboken6
from PySide6 import QtCore, QtGui

from . import dialogs, event_loop, signals
from .convert import call, to_python, to_qt
from .wrapper import _pyside_of

READ_ONLY = object()


def _inherits(wrapper: Any, cpp: Any, name: str) -> bool:
    from .members import base_names

    pyside = _pyside_of(type(wrapper))
    assert pyside is not None
    return name in base_names(pyside)


def _find_children(wrapper: Any, cpp: Any, *wanted: Any) -> tuple[Any, ...]:
    if not wanted:
        raise ValueError("Could not find matching overload for given arguments: findChildren()")
    kind = wanted[0] if isinstance(wanted[0], str) else wanted[0]._pyside.__name__
    name = wanted[1] if len(wanted) > 1 else None
    found = (to_python(child) for child in cpp.findChildren(QtCore.QObject))
    return tuple(c for c in found if c.inherits(kind) and (name is None or c.objectName == name))


def _find_child(wrapper: Any, cpp: Any, *wanted: Any) -> Any:
    return next(iter(_find_children(wrapper, cpp, *wanted)), None)


class MetaObject:
    """What `metaObject()` is good for in PythonQt: nothing."""

    def className(self) -> str:
        return "QMetaObject"


def _start_process(wrapper: Any, cpp: Any, *args: Any) -> Any:
    if len(args) == 1 and isinstance(args[0], str) and " " in args[0].strip():
        raise ValueError("QProcess.start with one string: Qt 5 splits it, Qt 6 does not. Give (program, [arguments])")
    return call(QtCore.QProcess.start, (cpp,), args, "start")


def single_shot(msec: int, target: Callable[..., Any], *more: Any) -> None:
    """Slicer's replacement: the timer belongs to the application and outlives the widget."""
    if more or not callable(target):
        raise ValueError("qt.QTimer.singleShot(msec, callable)")
    timer = QtCore.QTimer(QtCore.QCoreApplication.instance())
    timer.setSingleShot(True)
    signals.connect(timer, "timeout", 0, target)
    timer.timeout.connect(timer.deleteLater)
    timer.start(int(msec))


def wrapped_tool_tip(text: str) -> str:
    """Slicer makes every plain tool tip rich text, so that it is word-wrapped."""
    return text if not text or QtGui.Qt.mightBeRichText(text) else f"<p>{html.escape(text, quote=False)}</p>"


def _set_tool_tip(wrapper: Any, cpp: Any, text: Any) -> None:
    cpp.setToolTip(wrapped_tool_tip(str(text)))


def _icon_is_null(wrapper: Any, cpp: Any) -> bool:
    """Slicer's icon engine takes any file name, also of a file that is not there."""
    return cpp.isNull() and not wrapper.__dict__.get("_from_file", False)


def _grabbed(wrapper: Any, cpp: Any, *args: Any) -> Any:
    return to_python(cpp.grab(*(to_qt(argument) for argument in args)))


METHODS: dict[tuple[str, str], Callable[..., Any]] = {
    ("", "className"): lambda wrapper, cpp: type(wrapper).__name__,
    ("", "inherits"): _inherits,
    ("", "delete"): lambda wrapper, cpp: shiboken6.delete(cpp),
    ("QObject", "connect"): signals.connect_by_signature,
    ("QObject", "disconnect"): signals.disconnect_by_signature,
    ("QObject", "findChildren"): _find_children,
    ("QObject", "findChild"): _find_child,
    ("QObject", "metaObject"): lambda wrapper, cpp: MetaObject(),
    ("QWidget", "setToolTip"): _set_tool_tip,
    ("QWidget", "grab"): _grabbed,
    ("QIcon", "isNull"): _icon_is_null,
    ("QProcess", "start"): _start_process,
    ("QDialog", "exec"): dialogs.run_modal,
    ("QMenu", "exec"): dialogs.run_modal,
}
PROPERTIES: dict[tuple[str, str], tuple[Any, Any]] = {
    ("QWidget", "toolTip"): (None, _set_tool_tip),
    ("QTimer", "singleShot"): (lambda wrapper, cpp: single_shot, READ_ONLY),
}
CLASS_ATTRIBUTES: dict[tuple[str, str], Any] = {
    ("QTimer", "singleShot"): single_shot,
    ("QCoreApplication", "processEvents"): event_loop.process_events,
    **{("QFileDialog", name): dialogs.file_question(name) for name in dialogs.FILE_QUESTIONS},
    **{("QMessageBox", name): dialogs.static_question(f"QMessageBox.{name}") for name in dialogs.MESSAGE_QUESTIONS},
    **{("QInputDialog", name): dialogs.static_question(f"QInputDialog.{name}") for name in dialogs.INPUT_QUESTIONS},
    ("QColorDialog", "getColor"): dialogs.static_question("QColorDialog.getColor"),
    ("QDesktopServices", "openUrl"): dialogs.open_url,
}
