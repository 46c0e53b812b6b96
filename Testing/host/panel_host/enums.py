"""Qt's enums as PythonQt shows them: integers with a name, and OR gives a plain integer."""

from __future__ import annotations

import enum
from functools import cache
from typing import Any


class QtEnumValue(int):
    """One value of an enum; compares and prints as its integer."""

    member: enum.Enum

    @classmethod
    def of(cls, member: enum.Enum) -> QtEnumValue:
        value = cls(member.value)
        value.member = member
        return value


class _ScopedNames(type):
    _enum: type[enum.Enum]

    def __getattr__(cls, name: str) -> QtEnumValue:
        if not name.startswith("_") and name in cls._enum.__members__:
            return cls.of(cls._enum[name])  # type: ignore[attr-defined, no-any-return]
        raise AttributeError(f"{cls.__name__} has no attribute named '{name}'")


class QtEnum(QtEnumValue, metaclass=_ScopedNames):
    """A whole enum: `Enum.Name` or `Enum(number)`."""

    def __new__(cls, number: int = 0) -> QtEnum:
        value = int.__new__(cls, int(number))
        value.member = cls._enum(int(number))
        return value


@cache
def enum_class(pyside_enum: type[enum.Enum]) -> Any:
    """The class that stands for an enum of PySide6."""
    return _ScopedNames(pyside_enum.__name__, (QtEnum,), {"_enum": pyside_enum})


def enum_value(member: enum.Enum) -> QtEnumValue:
    """The integer that stands for a value of PySide6."""
    return enum_class(type(member)).of(member)  # type: ignore[no-any-return]


def find_enum(pyside_class: type, name: str) -> type[enum.Enum] | None:
    """The enum that Qt 5 calls `name`; flags there have a plural of their own."""
    for candidate in (name, f"{name}Flag", name.removesuffix("s"), f"{name.removesuffix('s')}Flag"):
        found = getattr(pyside_class, candidate, None)
        if isinstance(found, type) and issubclass(found, enum.Enum):
            return found
    return None


def find_enum_value(pyside_class: type, name: str) -> QtEnumValue | None:
    """The value that Qt calls `name`, in whichever enum of the class or its bases it is."""
    for base in pyside_class.__mro__:
        for value in vars(base).values():
            if isinstance(value, type) and issubclass(value, enum.Enum) and name in value.__members__:
                return enum_value(value[name])
    return None
