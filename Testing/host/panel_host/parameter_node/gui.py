"""Which widget shows which type, by the widget's exact class, and what binding does to the widget."""

from __future__ import annotations

import enum
import logging
import typing
from collections.abc import Callable
from pathlib import PurePath
from typing import Any

import slicer

from .annotations import Choice, Decimals, Maximum, Minimum, SingleStep, WithinRange

CHECKABLE = ("QCheckBox", "ctkCheckBox", "QPushButton", "ctkCheckablePushButton")
INTEGER = ("QSlider", "QSpinBox")
REAL = (
    "QDoubleSpinBox",
    "ctkSliderWidget",
    "ctkDoubleSlider",
    "ctkDoubleSpinBox",
    "qMRMLSliderWidget",
    "qMRMLSpinBox",
)
COMBO = ("QComboBox", "ctkComboBox")


class Connector:
    """Reads and writes one property of a widget, and tells when the user changed it."""

    def __init__(self, widget: Any, attribute: str, signal: str, read: Callable[[Any], Any], write: Any = None) -> None:
        self._widget, self._attribute, self._signal = widget, attribute, signal
        self._read, self._write = read, write or (lambda value: value)
        self._changed: Callable[[], None] | None = None

    def read(self) -> Any:
        return self._read(getattr(self._widget, self._attribute))

    def write(self, value: Any) -> None:
        setattr(self._widget, self._attribute, self._write(value))

    def connect(self, changed: Callable[[], None]) -> None:
        self._changed = changed
        if self._signal:
            getattr(self._widget, self._signal).connect(self._on_signal)

    def disconnect(self) -> None:
        if self._signal:
            getattr(self._widget, self._signal).disconnect(self._on_signal)

    def _on_signal(self) -> None:
        if self._changed is not None:
            self._changed()


class NodeConnector(Connector):
    def read(self) -> Any:
        return self._widget.currentNode()

    def write(self, value: Any) -> None:
        self._widget.setCurrentNode(value)


def connector_for(widget: Any, kind: Any, annotations: list[Any]) -> Connector:
    """The connector of a widget and a type; RuntimeError where Slicer has none, a Python subclass included."""
    widget_class = type(widget).__name__ if "_pyside" in vars(type(widget)) else None
    choice = _first(annotations, Choice)
    if kind is bool and widget_class in CHECKABLE:
        if widget_class == "QPushButton" and not widget.checkable:
            logging.warning("Making push button checkable for conversion to bool")
            widget.checkable = True
        return Connector(widget, "checked", "toggled", bool)
    if kind is int and widget_class in INTEGER:
        _limit(widget, annotations, -(2**31), 2**31 - 1)
        return Connector(widget, "value", "valueChanged", int)
    if kind in (int, float) and widget_class in REAL:
        if widget_class == "ctkSliderWidget" and not _is_bounded(annotations):
            raise RuntimeError("Cannot have a connection to ctkSliderWidget where the float types is unbounded.")
        _limit(widget, annotations, float("-inf"), float("inf"))
        return Connector(widget, "value", "valueChanged", kind)
    if widget_class in COMBO and choice is not None and kind in (int, float, str, bool):
        return _combo(widget, choice.choices, [str(value) for value in choice.choices])
    if widget_class in COMBO and isinstance(kind, type) and issubclass(kind, enum.Enum):
        label = getattr(kind, "label", lambda value: value.name)
        return _combo(widget, list(kind), [label(value) for value in kind])
    if kind is str and widget_class in ("QLineEdit", "QLabel", "QTextEdit"):
        attribute = "plainText" if widget_class == "QTextEdit" else "text"
        return Connector(widget, attribute, "" if widget_class == "QLabel" else "textChanged", str)
    if isinstance(kind, type) and issubclass(kind, PurePath) and widget_class == "ctkPathLineEdit":
        return Connector(widget, "currentPath", "currentPathChanged", kind, str)
    if isinstance(kind, type) and issubclass(kind, PurePath) and widget_class == "ctkDirectoryButton":
        return Connector(widget, "directory", "directoryChanged", kind, str)
    if widget_class == "qMRMLNodeComboBox" and _only_nodes(kind):
        return NodeConnector(widget, "currentNodeID", "currentNodeChanged", str)
    raise RuntimeError(f"Unable to create GUI connector from datatype '{kind}' to widget type '{type(widget)}'")


def _only_nodes(kind: Any) -> bool:
    members = [member for member in typing.get_args(kind) or (kind,) if member is not type(None)]
    return all(isinstance(member, type) and issubclass(member, slicer.vtkMRMLNode) for member in members)


def _combo(widget: Any, values: list[Any], labels: list[str]) -> Connector:
    widget.clear()
    for label in labels:
        widget.addItem(label)
    return Connector(widget, "currentIndex", "currentIndexChanged", lambda index: values[index], values.index)


def _limit(widget: Any, annotations: list[Any], lowest: float, highest: float) -> None:
    decimals, step = _first(annotations, Decimals), _first(annotations, SingleStep)
    if decimals is not None:
        widget.decimals = decimals.value
    if step is not None:
        widget.singleStep = step.value
    within = _first(annotations, WithinRange)
    minimum, maximum = within or _first(annotations, Minimum), within or _first(annotations, Maximum)
    widget.minimum = lowest if minimum is None else minimum.minimum
    widget.maximum = highest if maximum is None else maximum.maximum


def _is_bounded(annotations: list[Any]) -> bool:
    both = _first(annotations, Minimum) is not None and _first(annotations, Maximum) is not None
    return _first(annotations, WithinRange) is not None or both


def _first(annotations: list[Any], kind: type) -> Any:
    return next((annotation for annotation in annotations if isinstance(annotation, kind)), None)
