"""`@parameterNodeWrapper`: a class with annotations becomes a view of a scene node."""

from __future__ import annotations

import typing
from dataclasses import dataclass
from typing import Any

import slicer
import vtk

from ..wrapper import NotInHost
from .annotations import Default, Validator
from .gui import Connector, connector_for
from .serializers import Serializer, serializer_for


@dataclass(frozen=True)
class Parameter:
    """One annotated name: its type, where it lies, what it must be."""

    name: str
    kind: Any
    annotations: tuple[Any, ...]
    serializer: Serializer
    initial: Default

    def read(self, node: Any) -> Any:
        """Closing the scene empties the node; a parameter that is gone starts again."""
        if not self.serializer.is_in(node, self.name):
            self.serializer.write(node, self.name, self.initial.value)
        return self.serializer.read(node, self.name)

    def write(self, node: Any, value: Any) -> None:
        for annotation in self.annotations:
            if isinstance(annotation, Validator):
                annotation.validate(value)
        with slicer.util.NodeModify(node):
            self.serializer.write(node, self.name, value)


def parameterNodeWrapper(classtype: type | None = None) -> Any:
    """Make a wrapper of a class; with or without parentheses."""
    return _wrap if classtype is None else _wrap(classtype)


def isParameterNodeWrapper(subject: Any) -> bool:
    return getattr(subject, "_is_parameter_node_wrapper", False)


def _wrap(cls: type) -> type:
    parameters: dict[str, Parameter] = {}
    for name, hint in typing.get_type_hints(cls, include_extras=True).items():
        kind, *annotations = typing.get_args(hint) if typing.get_origin(hint) is typing.Annotated else (hint,)
        try:
            serializer = next((note for note in annotations if isinstance(note, Serializer)), None)
            serializer = serializer or serializer_for(kind)
        except NotInHost:
            raise
        except Exception as error:
            raise Exception(f"Unable to create serializer for {cls} member {name}") from error
        given = next((note for note in annotations if isinstance(note, Default)), None)
        initial = Default(getattr(cls, name)) if hasattr(cls, name) else given or Default(serializer.default())
        parameters[name] = Parameter(name, kind, tuple(annotations), serializer, initial)
        setattr(cls, name, _property(parameters[name]))
    for name, value in vars(Wrapper).items():
        if name.startswith("__") and name != "__init__":
            continue
        if name in vars(cls) and name != "__init__":
            raise ValueError(f"Cannot use reserved name '{name}' in a parameterNodeWrapper")
        setattr(cls, name, value)
    cls.allParameters = parameters  # type: ignore[attr-defined]
    cls._is_parameter_node_wrapper = True  # type: ignore[attr-defined]
    return cls


def _property(parameter: Parameter) -> property:
    return property(
        lambda self: parameter.read(self.parameterNode),
        lambda self, value: parameter.write(self.parameterNode, value),
    )


class Wrapper:
    """The members that every wrapped class is given."""

    allParameters: dict[str, Parameter]

    def __init__(self, parameterNode: Any, prefix: str | None = None) -> None:
        if prefix:
            raise NotImplementedError("the host keeps parameters without a prefix")
        self.parameterNode = parameterNode
        self._guis: dict[int, dict[str, Connector]] = {}
        self._observers: dict[int, int] = {}
        self._updating = False
        for parameter in self.allParameters.values():
            if not parameter.serializer.is_in(parameterNode, parameter.name):
                parameter.write(parameterNode, parameter.initial.value)

    def default(self, paramName: str) -> Default:
        return self._parameter(paramName).initial

    def dataType(self, paramName: str) -> Any:
        return self._parameter(paramName).kind

    def getValue(self, name: str) -> Any:
        return self._parameter(name).read(self.parameterNode)

    def setValue(self, name: str, value: Any) -> None:
        self._parameter(name).write(self.parameterNode, value)

    def _parameter(self, name: str) -> Parameter:
        if name not in self.allParameters:
            raise ValueError(f"Cannot find a param with the given name: {name}")
        return self.allParameters[name]

    def connectGui(self, gui: Any) -> int:
        """Bind every child that has the dynamic property SlicerParameterName."""
        import qt

        is_widget = getattr(gui, "isWidgetType", lambda: False)()
        children = gui.findChildren(qt.QWidget) if is_widget else vars(gui).values()
        named = ((child.property("SlicerParameterName"), child) for child in children if hasattr(child, "property"))
        return self.connectParametersToGui({name: child for name, child in named if name})  # type: ignore[no-any-return]

    def connectParametersToGui(self, mapping: dict[str, Any]) -> int:
        connectors = {}
        for name, widget in mapping.items():
            parameter = self._parameter(name)
            connectors[name] = connector_for(widget, parameter.kind, list(parameter.annotations))
        tag = max(self._guis, default=-1) + 1
        self._guis[tag] = connectors
        for name, connector in connectors.items():
            connector.write(self.getValue(name))
            connector.connect(lambda name=name, connector=connector: self._from_gui(name, connector))
        self._observers[tag] = self.AddObserver(vtk.vtkCommand.ModifiedEvent, lambda *_: self._to_gui())
        return tag

    def disconnectGui(self, guiTag: int) -> None:
        for connector in self._guis.pop(guiTag, {}).values():
            connector.disconnect()
        if guiTag in self._observers:
            self.RemoveObserver(self._observers.pop(guiTag))

    def _from_gui(self, name: str, connector: Connector) -> None:
        if not self._updating:
            self.setValue(name, connector.read())

    def _to_gui(self) -> None:
        if self._updating:
            return
        self._updating = True
        try:
            for connectors in self._guis.values():
                for name, connector in connectors.items():
                    connector.write(self.getValue(name))
        finally:
            self._updating = False

    def StartModify(self) -> Any:
        return self.parameterNode.StartModify()

    def EndModify(self, wasModified: Any) -> Any:
        return self.parameterNode.EndModify(wasModified)

    def AddObserver(self, event: Any, callback: Any, priority: float = 0.0) -> Any:
        return self.parameterNode.AddObserver(event, callback, priority)

    def RemoveObserver(self, tag: Any) -> Any:
        return self.parameterNode.RemoveObserver(tag)

    def Modified(self) -> Any:
        return self.parameterNode.Modified()
