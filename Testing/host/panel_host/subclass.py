"""Making objects: plain ones of PySide6, and those of a Python class that derives from a class of Qt.

A Python subclass gets a class of PySide6 of its own, in which every method that the subclass overrides calls the
wrapper. What such a method raises is only printed, and the base class's own answer is given.
"""

from __future__ import annotations

import weakref
from typing import Any

from PySide6 import QtCore, QtGui

from . import swallowed
from .convert import call, to_python, to_qt
from .signals import DeclaredSignal
from .wrapper import PythonQtInstanceWrapper, _pyside_of

_shells: dict[type, type] = {}


def construct_object(wrapper: PythonQtInstanceWrapper, args: tuple[Any, ...]) -> Any:
    """The object of PySide6 for a new wrapper."""
    cls = type(wrapper)
    pyside = _pyside_of(cls)
    assert pyside is not None
    is_subclass = "_pyside" not in vars(cls)
    factory = _shell(cls, pyside) if is_subclass else pyside
    cpp = _made(factory, pyside, args)
    if pyside is QtGui.QIcon:
        object.__setattr__(wrapper, "_from_file", bool(args) and isinstance(args[0], str))
    if isinstance(cpp, QtCore.QObject):
        cpp._host_wrapper = wrapper if is_subclass else weakref.ref(wrapper)  # type: ignore[attr-defined]
    return cpp


def _made(factory: type, pyside: type, args: tuple[Any, ...]) -> Any:
    """A new object. OR-ed flags are plain integers, and for those C++ finds another constructor."""
    if pyside.__name__ == "QDialogButtonBox":
        args = tuple(argument for argument in args if type(argument) is not int)
    given = tuple(to_qt(argument) for argument in args)
    try:
        return factory(*given)
    except (TypeError, NotImplementedError):
        result = call(factory, (), args, pyside.__name__)
        return result.__dict__["_cpp"] if isinstance(result, PythonQtInstanceWrapper) else result


def _shell(cls: type, pyside: type) -> type:
    """The class of PySide6 behind a Python subclass."""
    if cls in _shells:
        return _shells[cls]
    namespace: dict[str, Any] = {"_made_by_host": True}
    for base in cls.__mro__:
        if "_pyside" in vars(base):
            break
        for name, value in vars(base).items():
            if isinstance(value, DeclaredSignal):
                namespace.setdefault(name, QtCore.Signal(*value.types))
            elif callable(value) and not name.startswith("__") and callable(getattr(pyside, name, None)):
                namespace.setdefault(name, _forwarder(pyside, name))
    _shells[cls] = type(cls.__name__, (pyside,), namespace)
    return _shells[cls]


def _forwarder(pyside: type, name: str) -> Any:
    def forward(self: Any, *args: Any) -> Any:
        wrapper = getattr(self, "_host_wrapper", None)
        if isinstance(wrapper, PythonQtInstanceWrapper):
            try:
                return to_qt(getattr(wrapper, name)(*(to_python(argument) for argument in args)))
            except Exception as error:
                swallowed.record(error)
        return getattr(pyside, name)(self, *args)

    forward.__name__ = name
    return forward
