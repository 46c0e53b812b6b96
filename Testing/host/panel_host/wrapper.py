"""The classes and objects that the module sees instead of PySide6's.

As in PythonQt every class derives from PythonQtInstanceWrapper alone, members are found in a table and not in the
class, so that `isinstance` knows no Qt bases, `super().closeEvent` fails and a name that is not in the table raises.
The object itself is a real one of PySide6.
"""

from __future__ import annotations

import types
import weakref
from collections.abc import Callable
from typing import Any

import shiboken6
from PySide6 import QtCore, QtWidgets

from . import enums, members


class NotInHost(RuntimeError):
    """The application has this member; the host has nothing that does its work."""


class PythonQtClassWrapper(type):
    """Metaclass: what is asked of a class and not of an object."""

    _pyside: type

    def __getattr__(cls, name: str) -> Any:
        pyside = _pyside_of(cls)
        if pyside is None or name.startswith("__"):
            raise AttributeError(name)
        special = class_attribute(pyside, name)
        if special is not None:
            return special
        kind = members.members_of(pyside).get(_plain(name))
        if kind is None and not members.is_recorded(pyside.__name__) and enums.find_enum(pyside, name) is not None:
            kind = "enum"
        if kind == "enum value":
            value = enums.find_enum_value(pyside, name)
            if value is not None:
                return value
        elif kind == "enum":
            found = enums.find_enum(pyside, name)
            if found is not None:
                return enums.enum_class(found)
        elif kind == "method":
            return UnboundMethod(pyside, _plain(name))
        elif kind in ("property", "signal"):
            raise AttributeError(f"{kind} '{name}' of {pyside.__name__} needs an object")
        if kind is None:
            raise AttributeError(f"{pyside.__name__} has no attribute named '{name}'")
        raise NotInHost(f"{pyside.__name__}.{name}")

    def __setattr__(cls, name: str, value: Any) -> None:
        if "_pyside" in vars(cls) and not name.startswith("__"):
            raise AttributeError(f"{name}: classes of Qt cannot be changed")
        super().__setattr__(name, value)


class PythonQtInstanceWrapper(metaclass=PythonQtClassWrapper):
    """An object of C++ as Python sees it."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        if kwargs:
            raise ValueError(f"called slot does not support kwargs: {type(self).__name__}({', '.join(kwargs)})")
        object.__setattr__(self, "_cpp", construct(self, args))

    def __getattr__(self, name: str) -> Any:
        cpp = self.__dict__.get("_cpp")
        if cpp is None or name.startswith("__"):
            raise AttributeError(f"{type(self).__name__} has no attribute named '{name}'")
        return get_member(self, cpp, name)

    def __setattr__(self, name: str, value: Any) -> None:
        set_member(self, self.__dict__.get("_cpp"), name, value)

    def __bool__(self) -> bool:
        cpp = self.__dict__["_cpp"]
        if not shiboken6.isValid(cpp):
            return False
        if isinstance(cpp, QtWidgets.QWidget):
            return True
        return not any(getattr(self, question)() for question in ("isEmpty", "isNull") if hasattr(cpp, question))

    def __eq__(self, other: object) -> bool:
        cpp = self.__dict__["_cpp"]
        if other is None:
            return not shiboken6.isValid(cpp)
        if not isinstance(other, PythonQtInstanceWrapper):
            return False
        theirs = other.__dict__["_cpp"]
        return cpp is theirs if isinstance(cpp, QtCore.QObject) else bool(cpp == theirs)

    def __hash__(self) -> int:
        return id(self.__dict__["_cpp"])

    def __str__(self) -> str:
        cpp = self.__dict__["_cpp"]
        return str(cpp.data()) if isinstance(cpp, QtCore.QByteArray) else repr(self)

    def __repr__(self) -> str:
        return f"{type(self).__name__} ({type(self).__name__} at: 0x{id(self.__dict__.get('_cpp')):x})"

    def __dir__(self) -> list[str]:
        return sorted(members.members_of(type(self.__dict__["_cpp"])))


class _Method:
    """Something that can be called, with positional arguments only."""

    def __init__(self, pyside: type, name: str) -> None:
        self._pyside, self._name = pyside, name

    def _refuse_keywords(self, keywords: dict[str, Any]) -> None:
        if keywords:
            raise ValueError(f"called slot does not support kwargs: {self._name}({', '.join(keywords)})")

    def _function(self) -> Callable[..., Any]:
        """PySide6's function; it writes `raise_` where Qt says `raise`."""
        for name in (self._name, f"{self._name}_"):
            if callable(getattr(self._pyside, name, None)):
                return getattr(self._pyside, name)  # type: ignore[no-any-return]
        raise NotInHost(f"{self._pyside.__name__}.{self._name}")


class UnboundMethod(_Method):
    """`qt.QWidget.closeEvent(self, event)`, or a static function such as `qt.QTimer.singleShot`."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        self._refuse_keywords(kwargs)
        function = self._function()
        if args and isinstance(args[0], PythonQtInstanceWrapper):
            receiver = args[0].__dict__["_cpp"]
            if isinstance(receiver, self._pyside):
                special = special_method(receiver, self._name)
                if special is not None:
                    return special(args[0], receiver, *args[1:])
                return convert().call(function, (receiver,), args[1:], self._name)
        return convert().call(function, (), args, self._name)


class BoundMethod(_Method):
    """A method of an object; equal to itself when asked for again, so that it can be disconnected."""

    def __init__(self, owner: PythonQtInstanceWrapper, pyside: type, name: str) -> None:
        super().__init__(pyside, name)
        self._owner = owner

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        self._refuse_keywords(kwargs)
        cpp = self._owner.__dict__["_cpp"]
        if isinstance(cpp, QtCore.QObject) and not shiboken6.isValid(cpp):
            raise ValueError(f"Trying to call '{self._name}' on a destroyed {type(self._owner).__name__} object")
        special = special_method(cpp, self._name)
        if special is not None:
            return special(self._owner, cpp, *args)
        function = self._function()
        if not getattr(type(cpp), "_made_by_host", False):
            # PySide6 crashes when a method that is also a static function is called through its class.
            return convert().call(getattr(cpp, function.__name__), (), args, self._name, function)
        receiver = () if isinstance(function, types.BuiltinFunctionType) else (cpp,)
        return convert().call(function, receiver, args, self._name)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, BoundMethod) and (self._owner, self._name) == (other._owner, other._name)

    def __hash__(self) -> int:
        return hash((self._owner, self._name))


def convert() -> Any:
    """The conversions; they need this file first."""
    from . import convert as module

    return module


def special_method(cpp: Any, name: str) -> Callable[..., Any] | None:
    from .special import METHODS

    for base in type(cpp).__mro__:
        if (base.__name__, name) in METHODS:
            return METHODS[base.__name__, name]
    return METHODS.get(("", name))


def class_attribute(pyside: type, name: str) -> Any:
    from .special import CLASS_ATTRIBUTES

    for base in pyside.__mro__:
        if (base.__name__, name) in CLASS_ATTRIBUTES:
            return CLASS_ATTRIBUTES[base.__name__, name]
    return None


def construct(wrapper: PythonQtInstanceWrapper, args: tuple[Any, ...]) -> Any:
    from .subclass import construct_object

    return construct_object(wrapper, args)


def get_member(wrapper: Any, cpp: Any, name: str) -> Any:
    from .attributes import read

    return read(wrapper, cpp, name)


def set_member(wrapper: Any, cpp: Any, name: str, value: Any) -> None:
    from .attributes import write

    write(wrapper, cpp, name, value)


def _plain(name: str) -> str:
    """`exec_`, `raise_`, `print_`: names that are keywords somewhere."""
    return name[:-1] if name.endswith("_") and not name.endswith("__") else name


def _pyside_of(cls: type) -> type | None:
    for base in cls.__mro__:
        if "_pyside" in vars(base):
            return vars(base)["_pyside"]  # type: ignore[no-any-return]
    return None


_wrapper_classes: dict[type, type] = {}


def wrapper_class(pyside: type) -> Any:
    """The class that the module sees for a class of PySide6."""
    if pyside not in _wrapper_classes:
        _wrapper_classes[pyside] = PythonQtClassWrapper(
            pyside.__name__, (PythonQtInstanceWrapper,), {"_pyside": pyside}
        )
    return _wrapper_classes[pyside]


def wrap_object(cpp: Any) -> Any:
    """The wrapper of an object; the same one as long as somebody holds it."""
    held = getattr(cpp, "_host_wrapper", None)
    known = held() if isinstance(held, weakref.ref) else held
    if known is not None:
        return known
    own = next(base for base in type(cpp).__mro__ if not getattr(base, "_made_by_host", False))
    wrapper = object.__new__(wrapper_class(own))
    object.__setattr__(wrapper, "_cpp", cpp)
    if isinstance(cpp, QtCore.QObject):
        cpp._host_wrapper = weakref.ref(wrapper)
    return wrapper
