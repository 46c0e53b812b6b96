"""Signals in the host: arguments, overloads, and what becomes of an exception, as PythonQt was measured."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest


def test_a_function_gets_as_many_arguments_as_it_declares(qt: Any) -> None:
    button, seen = qt.QPushButton(), []
    button.clicked.connect(lambda: seen.append("none"))
    button.clicked.connect(lambda checked: seen.append(checked))
    button.clicked.connect(lambda x=7: seen.append(("default", x)))
    button.clicked.connect(lambda *a: seen.append(a))
    button.clicked.connect(seen.append)
    button.click()
    assert seen == ["none", False, ("default", False), (False,), False]


def test_a_bound_method_gets_as_many_arguments_as_it_declares(qt: Any) -> None:
    class Receiver:
        seen: list[Any] = []  # noqa: RUF012

        def none(self) -> None:
            self.seen.append("none")

        def one(self, checked: bool) -> None:
            self.seen.append(checked)

    receiver, button = Receiver(), qt.QPushButton()
    button.clicked.connect(receiver.none)
    button.clicked.connect(receiver.one)
    button.click()
    assert receiver.seen == ["none", False]


def test_a_partial_gets_all_arguments_and_its_type_error_is_only_printed(host: Any, qt: Any) -> None:
    button, seen = qt.QPushButton(), []
    button.clicked.connect(partial(lambda word: seen.append(word), "p"))
    button.click()
    assert seen == []
    assert [type(error) for error in host.take_errors()] == [TypeError]


def test_a_signal_has_no_subscript_and_connect_takes_the_first_overload(host: Any, qt: Any) -> None:
    import sys

    process, seen = qt.QProcess(), []
    with pytest.raises(TypeError):
        process.finished[int]
    process.finished.connect(lambda *a: seen.append(a))
    assert process.connect("finished(int,QProcess::ExitStatus)", lambda *a: seen.append(a)) is True
    process.start("PythonSlicer", ["-c", "raise SystemExit(3)"])
    assert sys.executable.endswith("PythonSlicer")
    assert host.run_until(lambda: len(seen) == 2)
    assert seen == [(3,), (3, qt.QProcess.NormalExit)]


def test_an_index_is_given_as_a_number_and_qt_5s_text_overload_is_refused(qt: Any) -> None:
    """The application has "currentIndexChanged(QString)" with Qt 5 only; a build with Qt 6 has not."""
    combo, seen = qt.QComboBox(), []
    combo.currentIndexChanged.connect(seen.append)
    combo.addItem("a")
    assert seen == [0]
    assert combo.connect("currentIndexChanged(QString)", seen.append) is False


def test_a_misspelt_signature_is_false_and_a_line(qt: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert qt.QPushButton().connect("cliked()", print) is False
    assert "cliked()" in capsys.readouterr().err


def test_connect_and_disconnect_answer_true_or_false(qt: Any) -> None:
    class Receiver:
        count = 0

        def hear(self) -> None:
            self.count += 1

    button, receiver = qt.QPushButton(), Receiver()
    assert button.connect("clicked()", receiver.hear) is True
    assert button.clicked.connect(receiver.hear) is True
    button.click()
    assert receiver.count == 2
    assert button.clicked.disconnect(print) is False
    assert button.disconnect("clicked()", receiver.hear) is True
    button.click()
    assert receiver.count == 2
    assert button.clicked.disconnect(receiver.hear) is False


def test_calling_a_signal_emits_it(qt: Any) -> None:
    button, seen = qt.QPushButton(), []
    button.clicked.connect(seen.append)
    button.clicked(True)
    button.clicked.emit(True)
    assert seen == [True, True]


def test_a_signal_of_ones_own_works(qt: Any) -> None:
    class Mine(qt.QObject):
        told = qt.Signal(int)

    mine, seen = Mine(), []
    mine.told.connect(seen.append)
    mine.told.emit(4)
    assert seen == [4]


def test_an_exception_in_a_slot_or_a_timer_fails_the_test_that_does_not_take_it(host: Any, qt: Any) -> None:
    from panel_host import SwallowedError

    def broken() -> None:
        raise KeyError("x")

    button = qt.QPushButton()
    button.clicked.connect(broken)
    button.click()
    with pytest.raises(SwallowedError):
        host.fail_on_errors()
    fired = []
    qt.QTimer.singleShot(0, broken)
    qt.QTimer.singleShot(1, lambda: fired.append(1))
    host.run_until(lambda: bool(fired), 2)
    assert [type(error) for error in host.take_errors()] == [KeyError]


def test_an_exception_in_an_observer_of_the_scene_is_swallowed_too(host: Any) -> None:
    import slicer

    def broken(caller: Any, event: str) -> None:
        raise KeyError("x")

    tag = slicer.mrmlScene.AddObserver(slicer.vtkMRMLScene.NodeAddedEvent, broken)
    slicer.mrmlScene.AddNewNodeByClass("vtkMRMLTableNode")
    slicer.mrmlScene.RemoveObserver(tag)
    assert KeyError in [type(error) for error in host.take_errors()]


def test_single_shot_is_slicers_function_and_outlives_the_widget(host: Any, qt: Any) -> None:
    timer, seen = qt.QTimer(), []
    with pytest.raises(AttributeError):
        timer.singleShot = True
    timer.setSingleShot(True)
    assert timer.isSingleShot()
    widget = qt.QWidget()
    qt.QTimer.singleShot(5, lambda: seen.append("fired"))
    widget.deleteLater()
    del widget
    assert host.run_until(lambda: bool(seen), 2)


def test_one_string_is_no_command_for_a_process(qt: Any) -> None:
    """Qt 5 splits "prog args", Qt 6 does not: the host takes neither."""
    with pytest.raises(ValueError, match="one string"):
        qt.QProcess().start("PythonSlicer -V")
