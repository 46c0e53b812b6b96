"""Reading and writing a member of an object."""

from __future__ import annotations

from typing import Any

import shiboken6
from PySide6 import QtCore

from . import enums, members
from .convert import NoConversion, call, cast, to_python, to_qt
from .signals import SignalOfObject
from .special import PROPERTIES, READ_ONLY
from .wrapper import BoundMethod, NotInHost, _plain, _pyside_of

ALIASES = {"name": "objectName"}
CPP_TYPES = {"QString": str, "bool": bool, "int": int, "uint": int, "double": float, "float": float}


def read(wrapper: Any, cpp: Any, name: str) -> Any:
    """`wrapper.name`."""
    pyside = _pyside_of(type(wrapper))
    assert pyside is not None
    name, kind = _look_up(pyside, name)
    if kind == "property":
        return _read_property(wrapper, cpp, name)
    if kind == "signal":
        return SignalOfObject(wrapper, name)
    if kind == "method":
        return BoundMethod(wrapper, pyside, name)
    if kind == "enum value":
        return enums.find_enum_value(pyside, name)
    if kind == "enum":
        found = enums.find_enum(pyside, name)
        if found is None:
            raise NotInHost(f"{pyside.__name__}.{name}")
        return enums.enum_class(found)
    if isinstance(cpp, QtCore.QObject) and shiboken6.isValid(cpp) and name.encode() in _dynamic(cpp):
        return to_python(cpp.property(name))
    raise AttributeError(f"{pyside.__name__} has no attribute named '{name}'")


def write(wrapper: Any, cpp: Any, name: str, value: Any) -> None:
    """`wrapper.name = value`."""
    cls = type(wrapper)
    pyside = _pyside_of(cls)
    assert pyside is not None
    name, kind = _look_up(pyside, name)
    if kind == "property":
        if cpp is None or not shiboken6.isValid(cpp):
            raise AttributeError(f"Trying to set property '{name}' on a destroyed {pyside.__name__} object")
        _write_property(wrapper, cpp, name, value)
    elif kind is not None:
        raise AttributeError(f"{kind.capitalize()} '{name}' can not be overwritten on {pyside.__name__} object")
    elif isinstance(cpp, QtCore.QObject) and name.encode() in _dynamic(cpp):
        cpp.setProperty(name, to_qt(value))
    elif "_pyside" in vars(cls):
        raise AttributeError(f"{pyside.__name__}.{name}: creating new attributes on C++ objects is not allowed")
    else:
        object.__setattr__(wrapper, name, value)


def _look_up(pyside: type, name: str) -> tuple[str, str | None]:
    table = members.members_of(pyside)
    if name not in table and issubclass(pyside, QtCore.QObject):
        name = ALIASES.get(name, name)
    if name not in table and _plain(name) in table:
        name = _plain(name)
    return name, table.get(name)


def _dynamic(cpp: QtCore.QObject) -> set[bytes]:
    return {bytes(property_name.data()) for property_name in cpp.dynamicPropertyNames()}


def _read_property(wrapper: Any, cpp: Any, name: str) -> Any:
    if not shiboken6.isValid(cpp):
        raise ValueError(f"Trying to read property '{name}' from a destroyed {type(wrapper).__name__} object")
    reader, _ = _special(cpp, name)
    if reader is not None:
        return reader(wrapper, cpp)
    if cpp.metaObject().indexOfProperty(name) < 0:
        raise NotInHost(f"{type(cpp).__name__}.{name}")
    capital = name[0].upper() + name[1:]
    for getter in (name, f"is{capital}", f"has{capital}"):
        found = getattr(cpp, getter, None)
        if callable(found):
            return to_python(found())
    return to_python(cpp.property(name))


def _write_property(wrapper: Any, cpp: Any, name: str, value: Any) -> None:
    _, writer = _special(cpp, name)
    if writer is READ_ONLY:
        raise AttributeError(f"Property '{name}' of {type(wrapper).__name__} object is not writable")
    if writer is not None:
        writer(wrapper, cpp, value)
        return
    meta = cpp.metaObject()
    index = meta.indexOfProperty(name)
    if index < 0:
        raise NotInHost(f"{type(cpp).__name__}.{name}")
    described = meta.property(index)
    if not described.isWritable():
        raise AttributeError(f"Property '{name}' of {type(wrapper).__name__} object is not writable")
    kind = described.typeName()
    given = to_qt(value)
    try:
        if kind in CPP_TYPES:
            given = cast(given, CPP_TYPES[kind])
        setter = getattr(type(cpp), f"set{name[0].upper()}{name[1:]}", None)
        if setter is not None:
            call(setter, (cpp,), (given,), f"set {name}")
        elif not cpp.setProperty(name, given):
            raise NoConversion
    except (NoConversion, ValueError) as error:
        raise AttributeError(
            f"Property '{name}' of type '{kind}' does not accept an object of type {type(value).__name__} ({value!r})"
        ) from error


def _special(cpp: Any, name: str) -> tuple[Any, Any]:
    for base in type(cpp).__mro__:
        if (base.__name__, name) in PROPERTIES:
            return PROPERTIES[base.__name__, name]
    return None, None
