"""Objects of Qt in the host: what a module may read, write and call, as PythonQt was measured to allow it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest


def test_nothing_of_the_host_is_importable_outside_of_it(host: Any) -> None:
    assert "qt" in sys.modules
    from panel_host import PanelHost

    host.__exit__(None)
    try:
        with pytest.raises(ImportError):
            import qt  # noqa: F401
        with pytest.raises(ImportError):
            import slicer.ScriptedLoadableModule
        import slicer

        assert not hasattr(slicer, "mrmlScene")
        assert not hasattr(slicer, "app")
    finally:
        host.__enter__()
    assert PanelHost


@pytest.mark.parametrize(
    ("kind", "attribute", "value"),
    [
        ("QLabel", "text", "a"),
        ("QSpinBox", "value", 3),
        ("QComboBox", "count", 0),
        ("QComboBox", "currentText", ""),
        ("QComboBox", "currentIndex", -1),
        ("QComboBox", "currentData", None),
        ("QTableWidget", "rowCount", 0),
        ("QTabWidget", "count", 0),
        ("QTimer", "interval", 0),
        ("QPushButton", "objectName", ""),
        ("QPushButton", "enabled", True),
    ],
)
def test_a_property_is_an_attribute_and_its_getter_cannot_be_called(
    qt: Any, kind: str, attribute: str, value: object
) -> None:
    made = getattr(qt, kind)()
    if kind in ("QLabel", "QSpinBox"):
        setattr(made, attribute, value)
    assert getattr(made, attribute) == value
    with pytest.raises(TypeError, match="not callable"):
        getattr(made, attribute)()


def test_setters_and_questions_exist_beside_the_properties(qt: Any) -> None:
    box = qt.QCheckBox("a")
    box.setChecked(True)
    assert box.isChecked() is True
    assert box.checked is True
    box.setObjectName("mine")
    assert box.objectName == "mine"
    box.setText("b")
    assert box.text == "b"
    assert box.isVisible() is False
    assert qt.QTimer().isActive() is False


def test_values_that_are_no_objects_keep_their_methods(qt: Any) -> None:
    assert qt.QTableWidgetItem("a").text() == "a"
    assert qt.QColor("red").name() == "#ff0000"
    assert qt.QUrl("http://a.b").toString() == "http://a.b"
    assert qt.QSize(3, 4).width() == 3
    widget = qt.QWidget()
    assert isinstance(widget.width, int)
    assert widget.size.width() == widget.width
    with pytest.raises(AttributeError):
        widget.size.width = 3


def test_parent_layout_state_and_exit_code_are_methods(qt: Any) -> None:
    widget = qt.QWidget()
    assert widget.parent() is None
    assert widget.layout() is None
    assert qt.QProcess().state() == qt.QProcess.NotRunning
    assert qt.QProcess().exitCode() == 0


def test_an_unknown_attribute_raises_on_get_and_on_set(qt: Any) -> None:
    button = qt.QPushButton()
    with pytest.raises(AttributeError, match="no attribute named 'txt'"):
        button.txt  # noqa: B018
    with pytest.raises(AttributeError, match="not allowed"):
        button.enable = False
    with pytest.raises(AttributeError):
        qt.QPushButton.nope  # noqa: B018


def test_a_python_subclass_may_have_attributes_of_its_own(qt: Any) -> None:
    class Mine(qt.QWidget):
        pass

    mine = Mine()
    mine.anything = 3
    assert mine.anything == 3


def test_a_method_cannot_be_replaced_on_an_object(qt: Any) -> None:
    button = qt.QPushButton()
    for name in ("show", "clicked", "setText"):
        with pytest.raises(AttributeError, match="can not be overwritten"):
            setattr(button, name, lambda: None)


def test_a_property_without_a_setter_cannot_be_written(qt: Any) -> None:
    with pytest.raises(AttributeError, match="not writable"):
        qt.QComboBox().count = 3


def test_a_dynamic_property_is_an_attribute_too(qt: Any) -> None:
    label = qt.QLabel()
    assert label.property("Mine") is None
    label.setProperty("Mine", "x")
    assert label.property("Mine") == "x"
    assert label.Mine == "x"


def test_isinstance_knows_no_bases_of_qt(qt: Any) -> None:
    button = qt.QPushButton()
    assert not isinstance(button, qt.QWidget)
    assert not issubclass(qt.QPushButton, qt.QWidget)
    assert [base.__name__ for base in type(button).__mro__] == ["QPushButton", "PythonQtInstanceWrapper", "object"]
    assert button.inherits("QWidget")
    assert not button.inherits("QLabel")
    assert button.isWidgetType()
    assert button.className() == "QPushButton"


def test_super_finds_no_method_of_qt_but_the_class_does(qt: Any) -> None:
    calls = []

    class Closing(qt.QWidget):
        def __init__(self, parent: Any = None) -> None:
            super().__init__(parent)

        def closeEvent(self, event: Any) -> None:  # noqa: N802
            calls.append(event.isAccepted())
            with pytest.raises(AttributeError):
                super().closeEvent(event)
            qt.QWidget.closeEvent(self, event)

    widget = Closing()
    widget.show()
    widget.close()
    assert calls == [True]
    assert not widget.visible


def test_overrides_are_called_and_what_they_raise_is_only_printed(host: Any, qt: Any) -> None:
    class Broken(qt.QWidget):
        def sizeHint(self) -> Any:  # noqa: N802
            return qt.QSize(123, 45)

        def closeEvent(self, event: Any) -> None:  # noqa: N802
            raise ZeroDivisionError

    widget = Broken()
    widget.adjustSize()
    assert widget.width == 123
    widget.show()
    widget.close()
    assert [type(error) for error in host.take_errors()] == [ZeroDivisionError]


def test_an_event_filter_is_called(qt: Any) -> None:
    seen = []

    class Filter(qt.QObject):
        def eventFilter(self, watched: Any, event: Any) -> bool:  # noqa: N802
            seen.append((watched.objectName, event.type() == qt.QEvent.Close))
            return False

    widget, watcher = qt.QWidget(), Filter()
    widget.objectName = "watched"
    widget.installEventFilter(watcher)
    widget.close()
    assert ("watched", True) in seen


def test_keywords_are_refused_in_constructors_and_calls(qt: Any) -> None:
    with pytest.raises(ValueError, match="does not support kwargs"):
        qt.QPushButton(text="x")
    with pytest.raises(ValueError, match="does not support kwargs"):
        qt.QSettings().value("k", 0, type=int)
    with pytest.raises(ValueError, match="does not support kwargs"):
        qt.QLabel().setText(text="a")


def test_wrong_arguments_are_a_value_error(qt: Any) -> None:
    with pytest.raises(ValueError, match="matching overload"):
        qt.QLabel().setPixmap("x")
    with pytest.raises(AttributeError, match="does not accept"):
        qt.QSpinBox().value = "x"


def test_lists_come_back_as_tuples(qt: Any, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("")
    assert qt.QDir(str(tmp_path)).entryList(["*.txt"]) == ("a.txt",)
    process = qt.QProcess()
    process.setArguments(["a", "b"])
    assert process.arguments() == ("a", "b")
    settings = qt.QSettings()
    settings.setValue("list", [1, 2])
    assert settings.value("list") == (1, 2)
    assert settings.allKeys() == ("list",)
    widget = qt.QWidget()
    assert widget.findChildren(qt.QLabel) == ()


def test_what_goes_through_a_variant_is_a_copy(qt: Any) -> None:
    combo, given = qt.QComboBox(), {"k": [1, 2]}
    combo.addItem("a", given)
    assert combo.itemData(0) == {"k": (1, 2)}
    assert combo.itemData(0) is not given
    assert combo.currentData == {"k": (1, 2)}


def test_a_generator_is_no_list_of_strings(qt: Any) -> None:
    combo = qt.QComboBox()
    combo.addItems(("a", "b"))
    combo.addItems(["c"])
    with pytest.raises(ValueError, match="matching overload"):
        combo.addItems(name for name in "de")
    assert combo.count == 3


def test_bytes_of_qt_are_read_with_data(qt: Any) -> None:
    array = qt.QByteArray(b"abc")
    with pytest.raises(TypeError):
        bytes(array)
    assert array.data() == b"abc"
    assert array.data().decode() == "abc"
    assert str(array) == "b'abc'"


def test_none_is_shown_as_a_word_and_numbers_become_text(qt: Any) -> None:
    label = qt.QLabel()
    label.setText(None)
    assert label.text == "None"
    label.text = None
    assert label.text == "None"
    label.text = 5
    assert label.text == "5"
    label.setText(6)
    assert label.text == "6"


def test_a_bool_is_taken_by_truth(qt: Any) -> None:
    button = qt.QPushButton()
    for value, expected in (([], False), ("x", True), (object(), True), (0, False), (np.bool_(True), True)):
        button.setEnabled(value)
        assert button.enabled is expected
        button.enabled = value
        assert button.enabled is expected


def test_numpy_scalars_and_paths_are_taken_for_numbers_and_text(qt: Any) -> None:
    spin, real, label = qt.QSpinBox(), qt.QDoubleSpinBox(), qt.QLabel()
    spin.setValue(np.int64(7))
    assert spin.value == 7
    spin.value = np.int32(8)
    assert spin.value == 8
    real.setValue(np.float32(0.5))
    assert real.value == 0.5
    label.setText(Path("a") / "b")
    assert label.text == str(Path("a") / "b")


def test_ored_flags_are_plain_integers_and_pick_another_constructor(qt: Any) -> None:
    both = qt.QDialogButtonBox.Ok | qt.QDialogButtonBox.Cancel
    assert type(both) is int
    assert qt.QDialogButtonBox(both).buttons() == ()
    box = qt.QDialogButtonBox()
    box.setStandardButtons(both)
    assert len(box.buttons()) == 2
    other = qt.QDialogButtonBox()
    other.standardButtons = both
    assert len(other.buttons()) == 2
    assert len(qt.QDialogButtonBox(qt.QDialogButtonBox.StandardButtons(both)).buttons()) == 2


def test_enums_are_integers(qt: Any) -> None:
    state = qt.QProcess().state()
    assert str(state) == "0"
    assert state == qt.QProcess.NotRunning == 0
    assert qt.Qt.AlignCenter == qt.Qt.AlignmentFlag.AlignCenter
    label = qt.QLabel()
    label.alignment = qt.Qt.AlignRight | qt.Qt.AlignTop
    assert label.alignment == qt.Qt.AlignRight | qt.Qt.AlignTop


def test_an_empty_layout_and_an_empty_size_are_false(qt: Any) -> None:
    layout, widget = qt.QVBoxLayout(), qt.QWidget()
    assert not layout
    assert not qt.QSize()
    assert widget
    widget.setLayout(layout)
    assert not widget.layout()
    assert widget.layout() is not None
    layout.addWidget(qt.QLabel())
    assert layout


def test_a_destroyed_object_is_false_and_says_so(host: Any, qt: Any) -> None:
    label = qt.QLabel("x")
    label.deleteLater()
    host.run_until(lambda: not label, 2)
    assert not label
    with pytest.raises(ValueError, match="destroyed"):
        label.text  # noqa: B018
    with pytest.raises(ValueError, match="destroyed"):
        label.setText("y")
    with pytest.raises(AttributeError, match="destroyed"):
        label.text = "y"


def test_a_signal_blocker_is_no_context_manager(qt: Any) -> None:
    spin, seen = qt.QSpinBox(), []
    spin.valueChanged.connect(seen.append)
    with pytest.raises((TypeError, AttributeError)), qt.QSignalBlocker(spin):
        pass
    was = spin.blockSignals(True)
    spin.value = 3
    spin.blockSignals(was)
    assert seen == []


def test_qt_is_flat_and_lacks_what_the_application_lacks(qt: Any) -> None:
    for name in ("QtCore", "QtWidgets", "qApp", "QFutureWatcher", "QSqlDatabase", "QSvgWidget", "QDomDocument"):
        with pytest.raises(AttributeError):
            getattr(qt, name)
    with pytest.raises(AttributeError):
        qt.QMetaObject.invokeMethod()
    for name in ("QThreadPool", "QRunnable", "QRegularExpression", "Signal", "Slot"):
        assert getattr(qt, name)


def test_the_meta_object_knows_only_itself(qt: Any) -> None:
    label = qt.QLabel()
    assert label.metaObject().className() == "QMetaObject"
    assert label.className() == "QLabel"


def test_file_dialogs_answer_with_text(host: Any, qt: Any) -> None:
    for question in ("getOpenFileName", "getSaveFileName", "getExistingDirectory"):
        host.dialogs.queue(question, Path("a.nrrd"))
        assert getattr(qt.QFileDialog, question)(None, "title", "", "*.nrrd") == "a.nrrd"
    host.dialogs.queue("getOpenFileNames", ["a", "b"])
    assert qt.QFileDialog.getOpenFileNames(None, "title") == ("a", "b")


def test_find_children_needs_a_type_and_follows_inheritance(qt: Any) -> None:
    outer = qt.QWidget()
    button, label = qt.QPushButton(outer), qt.QLabel(outer)
    button.objectName = "n"
    assert outer.findChild(qt.QPushButton, "n") is button
    assert outer.findChild("QPushButton", "n") is button
    assert set(outer.findChildren(qt.QWidget)) == {button, label}
    assert outer.findChildren(qt.QLabel) == (label,)
    with pytest.raises(ValueError, match="findChildren"):
        outer.findChildren()


def test_a_font_is_a_copy(qt: Any) -> None:
    label = qt.QLabel()
    label.font.setBold(True)
    assert not label.font.bold()
    font = label.font
    font.setBold(True)
    label.font = font
    assert label.font.bold()


def test_an_icon_of_a_missing_file_is_not_null(qt: Any) -> None:
    assert not qt.QIcon("/missing.png").isNull()
    assert qt.QIcon().isNull()


def test_name_is_the_object_name(qt: Any) -> None:
    widget = qt.QWidget()
    widget.name = "a"
    assert widget.objectName == "a"
    assert widget.name == "a"


def test_a_tool_tip_reads_back_as_rich_text(qt: Any) -> None:
    button = qt.QPushButton()
    button.toolTip = "x"
    assert button.toolTip == "<p>x</p>"
    button.setToolTip("<b>y</b>")
    assert button.toolTip == "<b>y</b>"


def test_the_same_object_is_the_same_in_python(qt: Any) -> None:
    widget = qt.QWidget()
    label = qt.QLabel(widget)
    assert label.parent() is widget
    assert widget.children()[0] is label


def test_a_dialog_that_nobody_answers_is_refused(host: Any, qt: Any) -> None:
    from panel_host.dialogs import WouldBlock

    host.dialogs.modal_limit_s = 0.1
    with pytest.raises(WouldBlock):
        qt.QMessageBox().exec_()
    with pytest.raises(WouldBlock):
        qt.QMessageBox.question(None, "a", "b")
    assert len(host.take_errors()) == 2


def test_a_dialog_that_somebody_closes_answers(qt: Any) -> None:
    dialog = qt.QDialog()
    qt.QTimer.singleShot(10, dialog.accept)
    assert dialog.exec_() == qt.QDialog.Accepted
