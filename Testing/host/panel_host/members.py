"""Which members a Qt class has in the application, and of which kind each is.

`qt_members.json` was read from a running Slicer 5.12 (PythonQt). A class listed there has exactly the members listed
there; its listed bases (QWidget, QObject) are part of it. A class that is not listed is read from PySide6's own
meta-object by the same rules: a Qt property is an attribute, everything else that can be called is a method.
"""

from __future__ import annotations

import enum
import json
from functools import cache
from pathlib import Path
from typing import Any

from PySide6 import QtCore

RECORDED: dict[str, dict[str, list[str]]] = json.loads(
    Path(__file__).with_name("qt_members.json").read_text(encoding="utf-8")
)
KIND_OF_LIST = {
    "property": "property",
    "method": "method",
    "slot_or_invokable": "method",
    "signal": "signal",
    "enum_value": "enum value",
    "enum_or_class": "enum",
}
# PythonQt gives these to every object, also to values such as an item of a table.
OF_EVERY_OBJECT = ("className", "inherits", "help", "delete")


def is_recorded(class_name: str) -> bool:
    """Whether the class was read from the application."""
    return class_name in RECORDED


def base_names(pyside_class: type) -> tuple[str, ...]:
    """Names of the C++ class and its bases, most derived first."""
    if pyside_class.__name__ in RECORDED and RECORDED[pyside_class.__name__]["inherits"]:
        return tuple(RECORDED[pyside_class.__name__]["inherits"])
    return tuple(base.__name__ for base in pyside_class.__mro__ if base.__name__ not in ("Object", "object"))


@cache
def members_of(pyside_class: type) -> dict[str, str]:
    """Kind of every member: property, method, signal, enum, or enum value."""
    table: dict[str, str] = dict.fromkeys(OF_EVERY_OBJECT, "method")
    if pyside_class.__name__ in RECORDED:
        for name in reversed(RECORDED[pyside_class.__name__]["inherits"] or [pyside_class.__name__]):
            for list_name, kind in KIND_OF_LIST.items():
                table.update(dict.fromkeys(RECORDED.get(name, {}).get(list_name, ()), kind))
        return table
    for base in reversed(pyside_class.__mro__):
        table.update(members_of(base) if base.__name__ in RECORDED else _own_members(base))
    return table


def _own_members(pyside_class: type) -> dict[str, str]:
    """Members that this class itself adds, by PySide6's meta-object."""
    own: dict[str, str] = {}
    if pyside_class.__module__ == "builtins" or pyside_class.__name__ == "Object":
        return own
    for name, value in vars(pyside_class).items():
        if name.startswith("__") or (name.endswith("_") and name[:-1] in vars(pyside_class)):
            continue
        if isinstance(value, type) and issubclass(value, enum.Enum):
            own[name] = "enum"
            own.update(dict.fromkeys(value.__members__, "enum value"))
        elif isinstance(value, QtCore.Signal):
            own[name] = "signal"
        elif callable(value) or isinstance(value, staticmethod | classmethod):
            own[name] = "method"
    meta: Any = getattr(pyside_class, "staticMetaObject", None)
    if meta is not None and issubclass(pyside_class, QtCore.QObject):
        for index in range(meta.propertyOffset(), meta.propertyCount()):
            own[meta.property(index).name()] = "property"
    return own
