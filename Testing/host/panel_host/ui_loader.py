"""`slicer.util.loadUI`: a .ui file with Slicer's widgets in it.

QUiLoader does the work. What it cannot do is done here: connections whose arguments are nodes or scenes, tool tips
as Slicer rewrites them, and refusing a class that the host does not have.
"""

from __future__ import annotations

import xml.etree.ElementTree as ET
from typing import Any

from PySide6 import QtCore, QtUiTools, QtWidgets

from . import ctk_widgets, mrml_widgets
from .special import wrapped_tool_tip
from .wrapper import NotInHost

STAND_INS = {made.__name__: made for made in (*ctk_widgets.WIDGETS, *mrml_widgets.WIDGETS)}


class QUiLoader(QtUiTools.QUiLoader):
    """`qt.QUiLoader` with the stand-ins known to it."""

    def load(self, device: QtCore.QIODevice, parent: QtWidgets.QWidget | None = None) -> QtWidgets.QWidget:
        tree = ET.fromstring(bytes(device.readAll().data()))
        for entry in tree.iter("customwidget"):
            name = entry.findtext("class", "")
            if name not in STAND_INS:
                raise NotInHost(f"{name} of the .ui file")
            self.registerCustomWidget(STAND_INS[name])
        by_hand = _take_connections_with_nodes(tree)
        buffer = QtCore.QBuffer()
        buffer.setData(ET.tostring(tree))
        buffer.open(QtCore.QIODevice.OpenModeFlag.ReadOnly)
        widget = super().load(buffer, parent)
        for sender, signal, receiver, slot in by_hand:
            getattr(_named(widget, sender), signal).connect(getattr(_named(widget, receiver), slot))
        for child in (widget, *widget.findChildren(QtWidgets.QWidget)):
            child.setToolTip(wrapped_tool_tip(child.toolTip()))
        return widget


def _take_connections_with_nodes(tree: ET.Element) -> list[tuple[str, str, str, str]]:
    """Connections such as mrmlSceneChanged(vtkMRMLScene*), which are no signatures of Qt; removed from the tree."""
    taken = []
    for group in tree.iter("connections"):
        for connection in list(group):
            parts = {part: connection.findtext(part, "") for part in ("sender", "signal", "receiver", "slot")}
            if "vtk" in parts["signal"]:
                group.remove(connection)
                signal, slot = parts["signal"].split("(")[0], parts["slot"].split("(")[0]
                taken.append((parts["sender"], signal, parts["receiver"], slot))
    return taken


def _named(root: QtWidgets.QWidget, name: str) -> Any:
    found = root if root.objectName() == name else root.findChild(QtCore.QObject, name)
    if found is None:
        raise RuntimeError(f"the .ui file connects {name}, which is not in it")
    return found
