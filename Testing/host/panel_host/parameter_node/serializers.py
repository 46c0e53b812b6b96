"""How a value of each type lies in a node: as text parameters, or as a node reference."""

from __future__ import annotations

import enum
import types
import typing
from collections.abc import Iterator, MutableMapping, MutableSequence
from pathlib import PurePath
from typing import Any

import slicer

from ..wrapper import NotInHost


class Serializer:
    """One text parameter. `check` gives the value as its type, TypeError where it is none."""

    def __init__(self, kind: Any) -> None:
        self.kind = kind

    def default(self) -> Any:
        return self.kind()

    def check(self, value: Any) -> Any:
        if not isinstance(value, self.kind):
            raise TypeError(f"Expected {self.kind}, got {type(value)} ({value!r})")
        return value

    def to_text(self, value: Any) -> str:
        return str(value)

    def from_text(self, text: str) -> Any:
        return self.kind(text)

    def is_in(self, node: Any, name: str) -> bool:
        return node.HasParameter(name) != 0

    def write(self, node: Any, name: str, value: Any) -> None:
        node.SetParameter(name, self.to_text(self.check(value)))

    def read(self, node: Any, name: str) -> Any:
        return self.from_text(node.GetParameter(name))

    def remove(self, node: Any, name: str) -> None:
        node.UnsetParameter(name)


class FloatSerializer(Serializer):
    def check(self, value: Any) -> float:
        if not isinstance(value, int | float):
            raise TypeError(f"Expected float, got {type(value)} ({value!r})")
        return float(value)

    def to_text(self, value: Any) -> str:
        return repr(value)


class BoolSerializer(Serializer):
    def from_text(self, text: str) -> bool:
        return text == "True"


class EnumSerializer(Serializer):
    def default(self) -> Any:
        return next(iter(self.kind))

    def to_text(self, value: Any) -> str:
        return str(value.name)

    def from_text(self, text: str) -> Any:
        return self.kind[text]


class NoneSerializer(Serializer):
    def default(self) -> None:
        return None

    def check(self, value: Any) -> None:
        if value is not None:
            raise TypeError(f"Expected None, got {value!r}")

    def from_text(self, text: str) -> None:
        return None


class NodeSerializer(Serializer):
    def default(self) -> None:
        return None

    def is_in(self, node: Any, name: str) -> bool:
        return node.GetNodeReferenceID(name) is not None

    def write(self, node: Any, name: str, value: Any) -> None:
        if value is not None:
            self.check(value)
        node.SetNodeReferenceID(name, value.GetID() if value is not None else None)

    def read(self, node: Any, name: str) -> Any:
        return node.GetNodeReference(name)

    def remove(self, node: Any, name: str) -> None:
        node.SetNodeReferenceID(name, None)


class UnionSerializer(Serializer):
    """The first member type that takes the value exactly; which one it was is kept as `name.kind`."""

    def __init__(self, members: list[Serializer]) -> None:
        self.members = members

    def default(self) -> Any:
        none = next((member for member in self.members if isinstance(member, NoneSerializer)), None)
        return None if none is not None else self.members[0].default()

    def check(self, value: Any) -> Any:
        self._member(value)
        return value

    def _member(self, value: Any) -> int:
        for exact in (True, False):
            for index, member in enumerate(self.members):
                try:
                    checked = member.check(value)
                except TypeError:
                    continue
                if not exact or type(checked) is type(value):
                    return index
        raise TypeError(f"{value!r} is of none of the types of the union")

    def is_in(self, node: Any, name: str) -> bool:
        return node.HasParameter(f"{name}.kind") != 0

    def write(self, node: Any, name: str, value: Any) -> None:
        index = self._member(value)
        node.SetParameter(f"{name}.kind", str(index))
        self.members[index].write(node, f"{name}.value", value)

    def read(self, node: Any, name: str) -> Any:
        return self.members[int(node.GetParameter(f"{name}.kind"))].read(node, f"{name}.value")


class ListSerializer(Serializer):
    """`name.0`, `name.1`, ..., `name.len`."""

    def __init__(self, element: Serializer) -> None:
        self.element = element

    def default(self) -> list[Any]:
        return []

    def check(self, value: Any) -> list[Any]:
        if isinstance(value, str) or not isinstance(value, list | tuple | MutableSequence):
            raise TypeError(f"Expected a list, got {value!r}")
        return [self.element.check(item) for item in value]

    def is_in(self, node: Any, name: str) -> bool:
        return node.HasParameter(f"{name}.len") != 0

    def write(self, node: Any, name: str, value: Any) -> None:
        items = self.check(value)
        for index, item in enumerate(items):
            self.element.write(node, f"{name}.{index}", item)
        node.SetParameter(f"{name}.len", str(len(items)))

    def plain(self, node: Any, name: str) -> list[Any]:
        return [self.element.read(node, f"{name}.{index}") for index in range(int(node.GetParameter(f"{name}.len")))]

    def read(self, node: Any, name: str) -> Any:
        return ObservedList(self, node, name)


class ObservedList(MutableSequence[Any]):
    """A list in a node: what is changed here is changed there."""

    def __init__(self, serializer: ListSerializer, node: Any, name: str) -> None:
        self._parts = serializer, node, name

    def _values(self) -> list[Any]:
        serializer, node, name = self._parts
        return serializer.plain(node, name)

    def _store(self, values: list[Any]) -> None:
        serializer, node, name = self._parts
        serializer.write(node, name, values)

    def __getitem__(self, index: Any) -> Any:
        return self._values()[index]

    def __setitem__(self, index: Any, value: Any) -> None:
        values = self._values()
        values[index] = value
        self._store(values)

    def __delitem__(self, index: Any) -> None:
        values = self._values()
        del values[index]
        self._store(values)

    def __len__(self) -> int:
        return len(self._values())

    def insert(self, index: int, value: Any) -> None:
        values = self._values()
        values.insert(index, value)
        self._store(values)

    def __eq__(self, other: object) -> bool:
        return self._values() == (other._values() if isinstance(other, ObservedList) else other)

    def __repr__(self) -> str:
        return repr(self._values())


class TupleSerializer(ListSerializer):
    """A tuple of fixed types, read as a tuple."""

    def __init__(self, elements: list[Serializer]) -> None:
        self.elements = elements

    def default(self) -> Any:
        return tuple(element.default() for element in self.elements)

    def check(self, value: Any) -> list[Any]:
        if not isinstance(value, tuple) or len(value) != len(self.elements):
            raise TypeError(f"Expected a tuple of {len(self.elements)}, got {value!r}")
        return [element.check(item) for element, item in zip(self.elements, value, strict=True)]

    def write(self, node: Any, name: str, value: Any) -> None:
        for index, item in enumerate(self.check(value)):
            self.elements[index].write(node, f"{name}.{index}", item)
        node.SetParameter(f"{name}.len", str(len(self.elements)))

    def read(self, node: Any, name: str) -> Any:
        return tuple(element.read(node, f"{name}.{index}") for index, element in enumerate(self.elements))


class DictSerializer(Serializer):
    """Keys and values as two lists, `name.keys` and `name.values`."""

    def __init__(self, key: Serializer, value: Serializer) -> None:
        self.keys, self.values = ListSerializer(key), ListSerializer(value)

    def default(self) -> dict[Any, Any]:
        return {}

    def check(self, value: Any) -> Any:
        if not isinstance(value, dict | MutableMapping):
            raise TypeError(f"Expected a dict, got {value!r}")
        return value

    def is_in(self, node: Any, name: str) -> bool:
        return self.keys.is_in(node, f"{name}.keys")

    def write(self, node: Any, name: str, value: Any) -> None:
        checked = self.check(value)
        self.keys.write(node, f"{name}.keys", list(checked))
        self.values.write(node, f"{name}.values", list(checked.values()))

    def plain(self, node: Any, name: str) -> dict[Any, Any]:
        return dict(zip(self.keys.plain(node, f"{name}.keys"), self.values.plain(node, f"{name}.values"), strict=True))

    def read(self, node: Any, name: str) -> Any:
        return ObservedDict(self, node, name)


class ObservedDict(MutableMapping[Any, Any]):
    """A dict in a node: what is changed here is changed there."""

    def __init__(self, serializer: DictSerializer, node: Any, name: str) -> None:
        self._parts = serializer, node, name

    def _plain(self) -> dict[Any, Any]:
        serializer, node, name = self._parts
        return serializer.plain(node, name)

    def _store(self, values: dict[Any, Any]) -> None:
        serializer, node, name = self._parts
        serializer.write(node, name, values)

    def __getitem__(self, key: Any) -> Any:
        return self._plain()[key]

    def __setitem__(self, key: Any, value: Any) -> None:
        self._store({**self._plain(), key: value})

    def __delitem__(self, key: Any) -> None:
        self._store({k: v for k, v in self._plain().items() if k != key})

    def __iter__(self) -> Iterator[Any]:
        return iter(self._plain())

    def __len__(self) -> int:
        return len(self._plain())

    def __repr__(self) -> str:
        return repr(self._plain())


SCALARS: dict[Any, type[Serializer]] = {
    int: Serializer,
    float: FloatSerializer,
    str: Serializer,
    bool: BoolSerializer,
    type(None): NoneSerializer,
}


def serializer_for(kind: Any) -> Serializer:
    """The serializer of a type; Exception where Slicer has none."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        return UnionSerializer([serializer_for(argument) for argument in arguments])
    if origin is list:
        return ListSerializer(serializer_for(arguments[0]))
    if origin is tuple:
        return TupleSerializer([serializer_for(argument) for argument in arguments])
    if origin is dict:
        return DictSerializer(serializer_for(arguments[0]), serializer_for(arguments[1]))
    if kind in SCALARS:
        return SCALARS[kind](kind)
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        return EnumSerializer(kind)
    if isinstance(kind, type) and issubclass(kind, PurePath):
        return Serializer(kind)
    if isinstance(kind, type) and issubclass(kind, slicer.vtkMRMLNode):
        return NodeSerializer(kind)
    if kind in (list, dict, typing.Any):
        raise NotInHost(f"parameters of type {kind}")
    raise Exception(f"Unable to create serializer for {kind}")
