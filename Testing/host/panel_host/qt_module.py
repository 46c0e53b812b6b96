"""The flat module `qt`."""

from __future__ import annotations

import types
from typing import Any

from PySide6 import QtCore, QtGui, QtNetwork, QtUiTools, QtWidgets

from .signals import DeclaredSignal
from .wrapper import wrapper_class

SOURCES = (QtCore, QtGui, QtWidgets, QtNetwork, QtUiTools)
# Found in PySide6 and not in the application.
ABSENT = frozenset({"qApp", "QFutureWatcher", "QSvgRenderer", "QSqlDatabase", "QMetaEnum", "QMetaObject"})


class QtModule(types.ModuleType):
    """`import qt`: classes are made when they are asked for."""

    def __init__(self, name: str = "qt") -> None:
        super().__init__(name)
        self.__dict__["Signal"] = DeclaredSignal
        self.__dict__["Slot"] = lambda *_types, **_options: lambda function: function

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_") or name in ABSENT or not name.startswith("Q"):
            raise AttributeError(f"module 'qt' has no attribute '{name}'")
        for source in SOURCES:
            found = getattr(source, name, None)
            if isinstance(found, type):
                made = wrapper_class(found)
                self.__dict__[name] = made
                return made
        raise AttributeError(f"module 'qt' has no attribute '{name}'")
