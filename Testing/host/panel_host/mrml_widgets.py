"""Slicer's widgets that show the scene: as much of each as a panel uses."""

from __future__ import annotations

import weakref
from typing import Any

import shiboken6
from PySide6 import QtCore, QtWidgets
from PySide6.QtCore import Property, Signal

from .ctk_widgets import ctkDoubleSpinBox, ctkRangeWidget, ctkSliderWidget, stored


class _Scene:
    """What every widget with a scene has."""

    CPP_SIGNATURES = {"mrmlSceneChanged(vtkMRMLScene*)": 1}  # noqa: RUF012
    _scene: Any = None

    def mrmlScene(self) -> Any:
        return self._scene

    def setMRMLScene(self, scene: Any) -> None:
        if scene is not self._scene:
            self._scene = scene
            self.mrmlSceneChanged.emit(scene)  # type: ignore[attr-defined]


class qMRMLWidget(_Scene, QtWidgets.QWidget):
    mrmlSceneChanged = Signal(object)


class qSlicerWidget(_Scene, QtWidgets.QWidget):
    mrmlSceneChanged = Signal(object)


class _OneNode(QtWidgets.QWidget):
    """A widget that shows one node."""

    _scene: Any = None
    _node: Any = None

    def mrmlScene(self) -> Any:
        return self._scene

    def setMRMLScene(self, scene: Any) -> None:
        self._scene = scene


class qMRMLTableView(QtWidgets.QTableView):
    _scene: Any = None
    _node: Any = None

    def setMRMLScene(self, scene: Any) -> None:
        self._scene = scene

    def mrmlTableNode(self) -> Any:
        return self._node

    def setMRMLTableNode(self, node: Any) -> None:
        self._node = node


class qMRMLSegmentsTableView(_OneNode):
    selectionChanged = Signal(object, object)
    segmentAboutToBeModified = Signal(str)

    def segmentationNode(self) -> Any:
        return self._node

    def setSegmentationNode(self, node: Any) -> None:
        self._node = node

    readOnly = stored(bool, False)
    visibilityColumnVisible = stored(bool, True)
    colorColumnVisible = stored(bool, True)
    opacityColumnVisible = stored(bool, False)
    statusColumnVisible = stored(bool, False)


class qMRMLSegmentEditorWidget(_OneNode):
    """The editor without effects: what it edits and over which volume."""

    segmentationNodeChanged = Signal(object)
    sourceVolumeNodeChanged = Signal(object)
    _volume: Any = None

    def segmentationNode(self) -> Any:
        return self._node

    def setSegmentationNode(self, node: Any) -> None:
        self._node = node
        self.segmentationNodeChanged.emit(node)

    def sourceVolumeNode(self) -> Any:
        return self._volume

    def setSourceVolumeNode(self, node: Any) -> None:
        self._volume = node
        self.sourceVolumeNodeChanged.emit(node)


class qMRMLSliderWidget(ctkSliderWidget):
    pass


class qMRMLSpinBox(ctkDoubleSpinBox):
    pass


class qMRMLRangeWidget(ctkRangeWidget):
    pass


class SceneWatch:
    """Calls when nodes come and go; ends with the widget, whose C++ side may die before its Python side."""

    def __init__(self, changed: weakref.WeakMethod[Any]) -> None:
        self._changed, self._scene, self._tags = changed, None, list[int]()

    def start(self, scene: Any) -> None:
        self._scene = scene
        events = (scene.NodeAddedEvent, scene.NodeRemovedEvent, scene.EndCloseEvent, scene.EndBatchProcessEvent)
        self._tags = [scene.AddObserver(event, self._tell) for event in events]

    def stop(self) -> None:
        for tag in self._tags:
            self._scene.RemoveObserver(tag)
        self._scene, self._tags = None, []

    def _tell(self, *_: Any) -> None:
        changed = self._changed()
        if changed is not None and shiboken6.isValid(changed.__self__) and not self._scene.IsBatchProcessing():
            changed()


class qMRMLSortFilterProxyModel(QtCore.QSortFilterProxyModel):
    """What a node selector does not offer, of that: single nodes."""

    def __init__(self, changed: weakref.WeakMethod[Any], parent: QtCore.QObject) -> None:
        super().__init__(parent)
        self._changed, self._hidden = changed, list[str]()

    def _hide(self, ids: list[str]) -> None:
        self._hidden = list(ids)
        changed = self._changed()
        if changed is not None:
            changed()

    hiddenNodeIDs = Property("QStringList", lambda self: self._hidden, _hide)


class qMRMLNodeComboBox(QtWidgets.QWidget):
    """The nodes of given types in the scene, as they come and go."""

    currentNodeChanged = Signal(object)
    currentNodeIDChanged = Signal(str)
    nodeAdded = Signal(object)
    nodeAddedByUser = Signal(object)
    nodeAboutToBeRemoved = Signal(object)
    CPP_SIGNATURES = {  # noqa: RUF012
        "currentNodeChanged(vtkMRMLNode*)": 1,
        "currentNodeChanged(bool)": 1,
        "nodeAdded(vtkMRMLNode*)": 1,
        "nodeAddedByUser(vtkMRMLNode*)": 1,
        "nodeAboutToBeRemoved(vtkMRMLNode*)": 1,
    }

    def __init__(self, parent: QtWidgets.QWidget | None = None) -> None:
        super().__init__(parent)
        self._scene: Any = None
        watch = self._watch = SceneWatch(weakref.WeakMethod(self._refresh))
        self.destroyed.connect(lambda: watch.stop())
        self._nodes: list[Any] = []
        self._shown_id = ""
        self._attributes: list[tuple[str, str, str | None]] = []
        self._filter = qMRMLSortFilterProxyModel(weakref.WeakMethod(self._refresh), self)
        self.combo = QtWidgets.QComboBox(self)
        row = QtWidgets.QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        row.addWidget(self.combo)
        self.combo.currentIndexChanged.connect(self._tell)

    nodeTypes = Property(
        "QStringList", lambda self: self.__dict__.get("_types", []), lambda self, v: self._set_types(v)
    )
    noneEnabled = Property(
        bool, lambda self: self.__dict__.get("_none", False), lambda self, value: self._set_none(value)
    )
    noneDisplay = stored(str, "None")
    addEnabled = stored(bool, True)
    editEnabled = stored(bool, False)
    removeEnabled = stored(bool, True)
    renameEnabled = stored(bool, False)
    selectNodeUponCreation = stored(bool, True)
    showHidden = stored(bool, False)
    showChildNodeTypes = stored(bool, True)
    baseName = stored(str, "")
    currentNodeID = Property(str, lambda self: self._shown_id, lambda self, node_id: self.setCurrentNodeID(node_id))

    def _set_types(self, types: list[str]) -> None:
        self._types = list(types)
        self._refresh()

    def _set_none(self, value: bool) -> None:
        self._none = value
        self._refresh()

    def mrmlScene(self) -> Any:
        return self._scene

    def sortFilterProxyModel(self) -> qMRMLSortFilterProxyModel:
        return self._filter

    def setMRMLScene(self, scene: Any) -> None:
        self._watch.stop()
        self._scene = scene
        if scene is not None:
            self._watch.start(scene)
        self._refresh()

    def addAttribute(self, kind: str, name: str, value: Any = None) -> None:
        self._attributes.append((kind, name, None if value is None else str(value)))
        self._refresh()

    def removeAttribute(self, kind: str, name: str) -> None:
        self._attributes = [entry for entry in self._attributes if entry[:2] != (kind, name)]
        self._refresh()

    def _wanted(self, node: Any) -> bool:
        types = self.nodeTypes
        kind = (node.IsA if self.showChildNodeTypes else node.GetClassName().__eq__) if types else None
        if kind is None or not any(kind(name) for name in types) or (node.GetHideFromEditors() and not self.showHidden):
            return False
        if node.GetID() in self._filter._hidden:
            return False
        for of_kind, name, value in self._attributes:
            if node.IsA(of_kind) and (
                node.GetAttribute(name) is None or (value is not None and node.GetAttribute(name) != value)
            ):
                return False
        return True

    def _refresh(self) -> None:
        scene = self._scene
        before = self._shown_id
        nodes = [] if scene is None else [scene.GetNthNode(index) for index in range(scene.GetNumberOfNodes())]
        self._nodes = ([None] if self.noneEnabled else []) + [node for node in nodes if self._wanted(node)]
        with QtCore.QSignalBlocker(self.combo):
            self.combo.clear()
            for node in self._nodes:
                self.combo.addItem(self.noneDisplay if node is None else node.GetName())
            ids = ["" if node is None else node.GetID() for node in self._nodes]
            self.combo.setCurrentIndex(ids.index(before) if before in ids else (0 if ids else -1))
        self._tell()

    def _tell(self, *_: Any) -> None:
        node = self.currentNode()
        shown = "" if node is None else node.GetID()
        if shown != self._shown_id:
            self._shown_id = shown
            self.currentNodeChanged.emit(node)
            self.currentNodeIDChanged.emit(shown)

    def currentNode(self) -> Any:
        index = self.combo.currentIndex()
        return self._nodes[index] if 0 <= index < len(self._nodes) else None

    def setCurrentNode(self, node: Any) -> None:
        self.setCurrentNodeID("" if node is None else node.GetID())

    def setCurrentNodeID(self, node_id: str) -> None:
        ids = ["" if node is None else node.GetID() for node in self._nodes]
        self.combo.setCurrentIndex(ids.index(node_id) if node_id in ids else -1)

    def setCurrentNodeIndex(self, index: int) -> None:
        self.combo.setCurrentIndex(index + (1 if self.noneEnabled else 0))

    def nodeCount(self) -> int:
        return len(self._nodes) - (1 if self.noneEnabled else 0)

    def nodeFromIndex(self, index: int) -> Any:
        return self._nodes[index + (1 if self.noneEnabled else 0)]

    def addNode(self) -> Any:
        node = self._scene.AddNewNodeByClass(self.nodeTypes[0], self.baseName)
        if self.selectNodeUponCreation:
            self.setCurrentNode(node)
        self.nodeAddedByUser.emit(node)
        return node


WIDGETS: tuple[type, ...] = tuple(
    made for name, made in sorted(globals().items()) if name.startswith(("qMRML", "qSlicer")) and isinstance(made, type)
)
