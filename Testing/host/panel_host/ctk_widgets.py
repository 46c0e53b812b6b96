"""CTK's widgets: as much of each as a panel uses, on real widgets of Qt."""

from __future__ import annotations

import weakref
from pathlib import Path
from typing import Any

from PySide6 import QtCore, QtGui, QtWidgets
from PySide6.QtCore import Property, Signal


def stored(kind: Any, default: Any) -> Any:
    """A property that is only kept."""
    values: weakref.WeakKeyDictionary[Any, Any] = weakref.WeakKeyDictionary()
    return Property(kind, lambda self: values.get(self, default), values.__setitem__)


#: QWIDGETSIZE_MAX of Qt.
UNLIMITED_HEIGHT = (1 << 24) - 1

#: Dynamic property of a widget that a collapsed parent hides, and no one else.
_HIDDEN_BY_PARENT = "_hiddenByCollapse"


def _show_children(parent: QtWidgets.QWidget, shown: bool) -> None:
    """Hide what is in a collapsed widget; show again what was hidden by that alone."""
    for child in parent.findChildren(QtWidgets.QWidget, options=QtCore.Qt.FindChildOption.FindDirectChildrenOnly):
        if not shown and not child.isHidden():
            child.setProperty(_HIDDEN_BY_PARENT, True)
            child.hide()
        elif shown and child.property(_HIDDEN_BY_PARENT):
            child.setProperty(_HIDDEN_BY_PARENT, False)
            child.show()


def _hide_newcomer(parent: Any, event: QtCore.QChildEvent) -> None:
    """A .ui file may collapse a widget before it has children."""
    child = event.child()
    if event.type() != QtCore.QEvent.Type.ChildPolished or not isinstance(child, QtWidgets.QWidget):
        return
    if parent.collapsed and not child.isHidden():
        child.setProperty(_HIDDEN_BY_PARENT, True)
        child.hide()


class ctkCollapsibleButton(QtWidgets.QAbstractButton):
    contentsCollapsed = Signal(bool)

    def __init__(self, *args: Any) -> None:
        title, parent = _title_and_parent(args)
        super().__init__(parent)
        self.setCheckable(True)
        self.setChecked(True)
        self.setText(title)
        self.setContentsMargins(0, self._header(), 0, 0)
        self.setSizePolicy(QtWidgets.QSizePolicy.Policy.Preferred, QtWidgets.QSizePolicy.Policy.Preferred)
        self.toggled.connect(self._show_contents)

    def _header(self) -> int:
        return self.fontMetrics().height() + 10

    def _show_contents(self, shown: bool) -> None:
        _show_children(self, shown)
        self.contentsCollapsed.emit(not shown)

    def childEvent(self, event: QtCore.QChildEvent) -> None:
        super().childEvent(event)
        _hide_newcomer(self, event)

    collapsed = Property(bool, lambda self: not self.isChecked(), lambda self, value: self.setChecked(not value))
    collapsedHeight = stored(int, 10)
    flat = stored(bool, False)

    def sizeHint(self) -> QtCore.QSize:
        header = QtCore.QSize(self.fontMetrics().horizontalAdvance(self.text()) + 40, self._header())
        layout = self.layout()
        return header if layout is None or not self.isChecked() else layout.sizeHint().expandedTo(header)

    minimumSizeHint = sizeHint

    def hitButton(self, position: QtCore.QPoint) -> bool:
        return position.y() < self._header()

    def paintEvent(self, _: QtGui.QPaintEvent) -> None:
        option = QtWidgets.QStyleOptionToolButton()
        option.initFrom(self)
        option.rect = QtCore.QRect(0, 0, self.width(), self._header())
        option.text = self.text()
        option.toolButtonStyle = QtCore.Qt.ToolButtonStyle.ToolButtonTextBesideIcon
        option.features = QtWidgets.QStyleOptionToolButton.ToolButtonFeature.Arrow
        option.arrowType = QtCore.Qt.ArrowType.DownArrow if self.isChecked() else QtCore.Qt.ArrowType.RightArrow
        QtWidgets.QStylePainter(self).drawComplexControl(QtWidgets.QStyle.ComplexControl.CC_ToolButton, option)


class ctkCollapsibleGroupBox(QtWidgets.QGroupBox):
    def __init__(self, *args: Any) -> None:
        title, parent = _title_and_parent(args)
        super().__init__(title, parent)
        self.setCheckable(True)
        self.toggled.connect(self._show_contents)

    def _show_contents(self, shown: bool) -> None:
        _show_children(self, shown)
        self.setMaximumHeight(UNLIMITED_HEIGHT if shown else self.fontMetrics().height() + 8)

    def childEvent(self, event: QtCore.QChildEvent) -> None:
        super().childEvent(event)
        _hide_newcomer(self, event)

    collapsed = Property(bool, lambda self: not self.isChecked(), lambda self, value: self.setChecked(not value))
    collapsedHeight = stored(int, 10)


class ctkDoubleSpinBox(QtWidgets.QWidget):
    valueChanged = Signal(float)
    decimalsChanged = Signal(int)

    def __init__(self, parent: QtWidgets.QWidget | None = None) -> None:
        super().__init__(parent)
        self.box = QtWidgets.QDoubleSpinBox(self)
        row = QtWidgets.QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        row.addWidget(self.box)
        self.box.valueChanged.connect(self.valueChanged)

    def setRange(self, low: float, high: float) -> None:
        self.box.setRange(low, high)

    value = Property(float, lambda self: self.box.value(), lambda self, v: self.box.setValue(v))
    minimum = Property(float, lambda self: self.box.minimum(), lambda self, v: self.box.setMinimum(v))
    maximum = Property(float, lambda self: self.box.maximum(), lambda self, v: self.box.setMaximum(v))
    singleStep = Property(float, lambda self: self.box.singleStep(), lambda self, v: self.box.setSingleStep(v))
    decimals = Property(int, lambda self: self.box.decimals(), lambda self, v: self.box.setDecimals(v))
    suffix = Property(str, lambda self: self.box.suffix(), lambda self, v: self.box.setSuffix(v))
    prefix = Property(str, lambda self: self.box.prefix(), lambda self, v: self.box.setPrefix(v))

    def setValue(self, value: float) -> None:
        self.box.setValue(value)


class ctkSliderWidget(QtWidgets.QWidget):
    """A slider and a spin box for a double. With `tracking` off the value follows when the slider is let go."""

    valueChanged = Signal(float)
    valueIsChanging = Signal(float)
    decimalsChanged = Signal(int)
    STEPS = 10000

    def __init__(self, parent: QtWidgets.QWidget | None = None) -> None:
        super().__init__(parent)
        self.slider = QtWidgets.QSlider(QtCore.Qt.Orientation.Horizontal, self)
        self.slider.setRange(0, self.STEPS)
        self.box = QtWidgets.QDoubleSpinBox(self)
        self.box.setRange(0.0, 100.0)
        row = QtWidgets.QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        row.addWidget(self.slider, 1)
        row.addWidget(self.box)
        self.slider.valueChanged.connect(self._slid)
        self.slider.sliderReleased.connect(lambda: self.box.setValue(self._of_slider()))
        self.box.valueChanged.connect(self._typed)

    def _of_slider(self) -> float:
        low, high = self.box.minimum(), self.box.maximum()
        return low + (high - low) * self.slider.value() / self.STEPS

    def _slid(self, _: int) -> None:
        value = self._of_slider()
        self.valueIsChanging.emit(value)
        if self.tracking or not self.slider.isSliderDown():
            self.box.setValue(value)

    def _typed(self, value: float) -> None:
        self._place_slider()
        self.valueChanged.emit(value)

    def _place_slider(self) -> None:
        low, high = self.box.minimum(), self.box.maximum()
        with QtCore.QSignalBlocker(self.slider):
            self.slider.setValue(round((self.box.value() - low) / (high - low) * self.STEPS) if high > low else 0)

    def _limit(self, low: float, high: float) -> None:
        self.box.setRange(low, high)
        self._place_slider()

    value = Property(float, lambda self: self.box.value(), lambda self, v: self.box.setValue(v))
    minimum = Property(float, lambda self: self.box.minimum(), lambda self, v: self._limit(v, self.box.maximum()))
    maximum = Property(float, lambda self: self.box.maximum(), lambda self, v: self._limit(self.box.minimum(), v))
    singleStep = Property(float, lambda self: self.box.singleStep(), lambda self, v: self.box.setSingleStep(v))
    pageStep = stored(float, 1.0)
    decimals = Property(int, lambda self: self.box.decimals(), lambda self, v: self.box.setDecimals(v))
    suffix = Property(str, lambda self: self.box.suffix(), lambda self, v: self.box.setSuffix(v))
    prefix = Property(str, lambda self: self.box.prefix(), lambda self, v: self.box.setPrefix(v))
    spinBoxVisible = Property(
        bool, lambda self: not self.box.isHidden(), lambda self, shown: self.box.setVisible(shown)
    )
    tracking = stored(bool, True)
    popupSlider = stored(bool, False)

    def setValue(self, value: float) -> None:
        self.box.setValue(value)

    def setDecimals(self, count: int) -> None:
        self.box.setDecimals(count)

    def reset(self) -> None:
        self.box.setValue(0.0)


class ctkRangeWidget(QtWidgets.QWidget):
    valuesChanged = Signal(float, float)
    minimumValueChanged = Signal(float)
    maximumValueChanged = Signal(float)

    def __init__(self, parent: QtWidgets.QWidget | None = None) -> None:
        super().__init__(parent)
        self.low, self.high = QtWidgets.QDoubleSpinBox(self), QtWidgets.QDoubleSpinBox(self)
        row = QtWidgets.QHBoxLayout(self)
        for box, changed in ((self.low, self.minimumValueChanged), (self.high, self.maximumValueChanged)):
            row.addWidget(box)
            box.valueChanged.connect(changed)
            box.valueChanged.connect(lambda _: self.valuesChanged.emit(self.low.value(), self.high.value()))

    def setRange(self, low: float, high: float) -> None:
        self.low.setRange(low, high)
        self.high.setRange(low, high)

    def setValues(self, low: float, high: float) -> None:
        self.low.setValue(low)
        self.high.setValue(high)

    minimum = Property(float, lambda self: self.low.minimum(), lambda self, v: self.setRange(v, self.low.maximum()))
    maximum = Property(float, lambda self: self.low.maximum(), lambda self, v: self.setRange(self.low.minimum(), v))
    minimumValue = Property(float, lambda self: self.low.value(), lambda self, v: self.low.setValue(v))
    maximumValue = Property(float, lambda self: self.high.value(), lambda self, v: self.high.setValue(v))
    decimals = Property(int, lambda self: self.low.decimals(), lambda self, v: self.low.setDecimals(v))
    singleStep = Property(float, lambda self: self.low.singleStep(), lambda self, v: self.low.setSingleStep(v))


class ctkPathLineEdit(QtWidgets.QWidget):
    currentPathChanged = Signal(str)
    validInputChanged = Signal(bool)

    def __init__(self, parent: QtWidgets.QWidget | None = None) -> None:
        super().__init__(parent)
        self.edit = QtWidgets.QLineEdit(self)
        QtWidgets.QHBoxLayout(self).addWidget(self.edit)
        self.edit.textChanged.connect(self.currentPathChanged)

    def setCurrentPath(self, path: str) -> None:
        self.edit.setText(path)

    def addCurrentPathToHistory(self) -> None:
        """The history is not kept."""

    currentPath = Property(str, lambda self: self.edit.text(), lambda self, path: self.edit.setText(path))
    nameFilters = stored("QStringList", [])
    settingKey = stored(str, "")
    label = stored(str, "")
    showBrowseButton = stored(bool, True)
    showHistoryButton = stored(bool, True)
    filters = stored(int, 0)
    options = stored(int, 0)


class ctkDirectoryButton(QtWidgets.QWidget):
    directoryChanged = Signal(str)
    directorySelected = Signal(str)

    def _go(self, folder: str) -> None:
        if folder != self.directory:
            self._directory = str(Path(folder).absolute())
            self.directoryChanged.emit(self._directory)

    directory = Property(str, lambda self: self.__dict__.get("_directory", str(Path.cwd())), _go)
    caption = stored(str, "")
    text = stored(str, "")


class ctkComboBox(QtWidgets.QComboBox):
    defaultText = stored(str, "")


class ctkCheckBox(QtWidgets.QCheckBox):
    pass


class ctkPushButton(QtWidgets.QPushButton):
    pass


class ctkCheckablePushButton(ctkPushButton):
    checkBoxUserCheckable = stored(bool, True)


class ctkSearchBox(QtWidgets.QLineEdit):
    showSearchIcon = stored(bool, False)


class ctkExpandableWidget(QtWidgets.QFrame):
    pass


class ctkFittedTextBrowser(QtWidgets.QTextBrowser):
    collapsed = stored(bool, True)

    def setCollapsibleText(self, text: str) -> None:
        self.setText(text)


class ctkMessageBox(QtWidgets.QMessageBox):
    dontShowAgain = stored(bool, False)
    dontShowAgainVisible = stored(bool, False)
    dontShowAgainSettingsKey = stored(str, "")

    def setDontShowAgain(self, value: bool) -> None:
        self.setProperty("dontShowAgain", value)


def _title_and_parent(args: tuple[Any, ...]) -> tuple[str, QtWidgets.QWidget | None]:
    title = next((argument for argument in args if isinstance(argument, str)), "")
    return title, next((argument for argument in args if isinstance(argument, QtWidgets.QWidget)), None)


WIDGETS: tuple[type, ...] = tuple(
    made for name, made in sorted(globals().items()) if name.startswith("ctk") and isinstance(made, type)
)
