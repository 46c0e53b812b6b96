"""Values on their way between the module's Python and Qt, by PythonQt's rules.

Out of Qt: lists become tuples, dicts are copies, enums are integers, objects are wrapped. Into Qt: where C++ wants a
string, anything simple becomes one (None is "None"); where it wants a bool, truth decides; numpy scalars are numbers.
"""

from __future__ import annotations

import enum
import inspect
from collections.abc import Callable, Iterator, Sequence
from pathlib import PurePath
from typing import Any

import numpy as np
from PySide6 import QtCore
from shibokensupport.signature import get_signature

from .enums import QtEnumValue, enum_value
from .wrapper import PythonQtInstanceWrapper, wrap_object


class NoConversion(Exception):
    """The value is not what C++ wants."""


def to_python(value: Any) -> Any:
    """What PythonQt hands to Python for a value of PySide6."""
    if isinstance(value, enum.Enum):
        return enum_value(value)
    if isinstance(value, list | tuple):
        return tuple(to_python(item) for item in value)
    if isinstance(value, dict):
        return {to_python(key): to_python(item) for key, item in value.items()}
    module = type(value).__module__
    if isinstance(value, QtCore.QObject) or module.startswith("PySide6."):
        return wrap_object(value)
    return value


def to_qt(value: Any) -> Any:
    """What PySide6 wants for a value of the module."""
    if isinstance(value, PythonQtInstanceWrapper):
        return value.__dict__["_cpp"]
    if isinstance(value, QtEnumValue):
        return value.member
    if isinstance(value, type) and hasattr(value, "_pyside"):
        return value._pyside
    if isinstance(value, tuple | list):
        return [to_qt(item) for item in value]
    if isinstance(value, dict):
        return {key: to_qt(item) for key, item in value.items()}
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, PurePath):
        return str(value)
    return value


def cast(value: Any, wanted: Any) -> Any:
    """The value as the C++ type `wanted` (str, bool, int, float, or an enum); NoConversion where PythonQt refuses."""
    if wanted is str:
        if value is None or isinstance(value, str | int | float):
            return str(value)
    elif wanted is bool:
        return bool(value)
    elif wanted is int:
        if isinstance(value, int | float):
            return int(value)
    elif wanted is float:
        if isinstance(value, int | float):
            return float(value)
    elif isinstance(wanted, type) and issubclass(wanted, enum.Enum):
        if isinstance(value, wanted):
            return value
        if isinstance(value, int):
            return wanted(value)
    elif wanted is not str:
        return value
    raise NoConversion(f"{value!r} is not a {wanted}")


def _signatures(function: Callable[..., Any]) -> Iterator[inspect.Signature]:
    found = get_signature(function)
    if isinstance(found, inspect.Signature):
        yield found
    elif isinstance(found, Sequence):
        yield from found


def _none_as_text(function: Callable[..., Any], given: list[Any]) -> list[Any]:
    """PySide6 takes None for a null string; PythonQt makes the text "None" of it."""
    if not any(value is None for value in given):
        return given
    for signature in _signatures(function):
        wanted = [parameter.annotation for parameter in signature.parameters.values() if parameter.name != "self"]
        if len(given) <= len(wanted):
            pairs = zip(given, wanted, strict=False)
            return ["None" if value is None and kind is str else value for value, kind in pairs]
    return given


def call(
    function: Callable[..., Any],
    receiver: tuple[Any, ...],
    arguments: tuple[Any, ...],
    name: str,
    described: Callable[..., Any] | None = None,
) -> Any:
    """Call a function of PySide6 with the module's arguments; ValueError where no overload takes them.

    `described` is the same function as the class has it, which PySide6 can describe when it is given.
    """
    described = described or function
    if any(inspect.isgenerator(argument) for argument in arguments):
        raise ValueError(f"Could not find matching overload for given arguments: {name}: no generators")
    given = _none_as_text(described, [to_qt(argument) for argument in arguments])
    try:
        return to_python(function(*receiver, *given))
    except (TypeError, NotImplementedError) as error:
        refused = error
    for signature in _signatures(described):
        wanted = [parameter.annotation for parameter in signature.parameters.values() if parameter.name != "self"]
        if len(given) > len(wanted):
            continue
        try:
            casted = [cast(value, kind) for value, kind in zip(given, wanted, strict=False)]
            return to_python(function(*receiver, *casted))
        except (TypeError, ValueError, NoConversion):
            continue
    shown = ", ".join(repr(argument) for argument in arguments)
    raise ValueError(f"Could not find matching overload for given arguments: {name}({shown})") from refused
