"""Signals: who is called with how many arguments, and what happens to an exception."""

from __future__ import annotations

import inspect
import sys
import types
from collections.abc import Callable
from typing import Any

import shiboken6
from PySide6 import QtCore

from . import swallowed
from .convert import to_python, to_qt
from .wrapper import NotInHost

# The first overload in Qt 5, which `signal.connect` takes, has fewer arguments than Qt 6's only one.
FIRST_OVERLOAD_ARGUMENTS = {("QProcess", "finished"): 1}

Connection = tuple[str, Callable[..., Any], Callable[..., Any]]
_connections: dict[int, list[Connection]] = {}


class DeclaredSignal:
    """`qt.Signal(int)` in the body of a Python subclass."""

    def __init__(self, *argument_types: Any) -> None:
        self.types = argument_types

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    def __get__(self, instance: Any, owner: type) -> Any:
        return self if instance is None else SignalOfObject(instance, self.name)


class SignalOfObject:
    """`button.clicked`: connect, disconnect, emit; calling it emits."""

    def __init__(self, owner: Any, name: str) -> None:
        self._owner, self._name = owner, name

    def connect(self, target: Callable[..., Any]) -> bool:
        cpp = alive(self._owner)
        return connect(cpp, self._name, _first_overload(cpp, self._name), target)

    def disconnect(self, *targets: Callable[..., Any]) -> bool:
        return disconnect(alive(self._owner), self._name, targets[0] if targets else None)

    def emit(self, *args: Any) -> None:
        cpp = alive(self._owner)
        signal = getattr(cpp, self._name)
        for method in _signals(cpp):
            if bytes(method.name().data()).decode() == self._name and method.parameterCount() == len(args):
                types_of = ",".join(bytes(name.data()).decode() for name in method.parameterTypes())
                signal = signal[types_of] if args else signal
                break
        signal.emit(*(to_qt(argument) for argument in args))

    __call__ = emit


def alive(owner: Any) -> Any:
    """The object of PySide6; ValueError when C++ has destroyed it."""
    cpp = owner.__dict__["_cpp"]
    if not shiboken6.isValid(cpp):
        raise ValueError(f"Trying to use a signal of a destroyed {type(owner).__name__} object")
    return cpp


def connect_by_signature(owner: Any, cpp: Any, signature: str, target: Any, *more: Any) -> bool:
    """`object.connect("clicked(bool)", f)`: False and a line on stderr where there is no such signal."""
    if more or not callable(target):
        raise NotInHost("connecting to a slot by its signature")
    name, count = parse_signature(cpp, signature)
    if name is None:
        print(f"PythonQt: signal '{signature}' does not exist on {type(owner).__name__}", file=sys.stderr)
        return False
    return connect(cpp, name, count, target)


def disconnect_by_signature(owner: Any, cpp: Any, signature: str, target: Any = None) -> bool:
    """`object.disconnect("clicked(bool)", f)`: False where it was not connected."""
    name, _ = parse_signature(cpp, signature)
    return name is not None and disconnect(cpp, name, target)


def parse_signature(cpp: Any, signature: str) -> tuple[str | None, int]:
    """Name of the signal and how many arguments the overload has; (None, 0) where it does not exist."""
    normal = bytes(QtCore.QMetaObject.normalizedSignature(signature).data()).decode()
    declared: dict[str, int] = getattr(type(cpp), "CPP_SIGNATURES", {})
    if normal in declared:
        return normal.split("(")[0], declared[normal]
    for method in _signals(cpp):
        if bytes(method.methodSignature().data()).decode() == normal:
            return bytes(method.name().data()).decode(), method.parameterCount()
    return None, 0


def _signals(cpp: Any) -> list[QtCore.QMetaMethod]:
    meta = cpp.metaObject()
    methods = (meta.method(index) for index in range(meta.methodCount()))
    return [method for method in methods if method.methodType() == QtCore.QMetaMethod.MethodType.Signal]


def _first_overload(cpp: Any, name: str) -> int:
    for base in type(cpp).__mro__:
        if (base.__name__, name) in FIRST_OVERLOAD_ARGUMENTS:
            return FIRST_OVERLOAD_ARGUMENTS[base.__name__, name]
    return max(method.parameterCount() for method in _signals(cpp) if bytes(method.name().data()).decode() == name)


def connect(cpp: Any, name: str, argument_count: int, target: Callable[..., Any]) -> bool:
    """Call `target` with the signal's first arguments whenever it is emitted."""

    def deliver(*args: Any) -> None:
        given = [to_python(argument) for argument in args[:argument_count]]
        wanted = _positional_limit(target)
        try:
            target(*(given if wanted is None else given[:wanted]))
        except Exception as error:
            swallowed.record(error)

    forwarder = _with_arity(deliver, _full_arity(cpp, name))
    getattr(cpp, name).connect(forwarder)
    address = shiboken6.getCppPointer(cpp)[0]
    if address not in _connections:
        _connections[address] = []
        cpp.destroyed.connect(lambda: _connections.pop(address, None))
    _connections[address].append((name, target, forwarder))
    return True


def disconnect(cpp: Any, name: str, target: Callable[..., Any] | None) -> bool:
    """Undo every connection of the signal to `target` (to anything where None); False where there was none."""
    mine = _connections.get(shiboken6.getCppPointer(cpp)[0], [])
    found = [entry for entry in mine if entry[0] == name and (target is None or entry[1] == target)]
    for entry in found:
        getattr(cpp, name).disconnect(entry[2])
        mine.remove(entry)
    return bool(found)


def _full_arity(cpp: Any, name: str) -> int:
    return max(method.parameterCount() for method in _signals(cpp) if bytes(method.name().data()).decode() == name)


def _with_arity(deliver: Callable[..., None], count: int) -> Callable[..., None]:
    """PySide6 asks a callable how many arguments it takes, and gives `*args` fewer than C++ has."""
    return (
        lambda: deliver(),
        lambda a: deliver(a),
        lambda a, b: deliver(a, b),
        lambda a, b, c: deliver(a, b, c),
        lambda a, b, c, d: deliver(a, b, c, d),
    )[count]


def _positional_limit(target: Callable[..., Any]) -> int | None:
    """How many arguments PythonQt passes at most; None means all: partial, builtins, `*args`."""
    function, bound = (target.__func__, 1) if isinstance(target, types.MethodType) else (target, 0)
    if not isinstance(function, types.FunctionType) or function.__code__.co_flags & inspect.CO_VARARGS:
        return None
    return function.__code__.co_argcount - bound
