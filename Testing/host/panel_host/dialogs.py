"""Dialogs that would wait for a person: answered by the test, or refused after a moment.

In the application a raw `exec_()` waits for ever. Here it runs until something closes the dialog; when nothing does
within `modal_limit_s`, the dialog is rejected and WouldBlock is raised and recorded.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

from PySide6 import QtCore, QtWidgets

from . import event_loop, swallowed

FILE_QUESTIONS = ("getOpenFileName", "getSaveFileName", "getExistingDirectory", "getOpenFileNames")
MESSAGE_QUESTIONS = ("information", "question", "warning", "critical", "about")
INPUT_QUESTIONS = ("getText", "getInt", "getDouble", "getItem", "getMultiLineText")


class WouldBlock(RuntimeError):
    """In the application this call would wait for a person."""


class Answers:
    """What the test answers, and what was opened."""

    def __init__(self) -> None:
        self.modal_limit_s = 5.0
        self.opened_urls: list[str] = []
        self._queued: deque[tuple[str, Any]] = deque()

    def queue(self, question: str, answer: Any) -> None:
        """Answer the next static dialog, such as `getOpenFileName`, with `answer`."""
        self._queued.append((question, answer))

    def take(self, question: str) -> Any:
        if not self._queued or self._queued[0][0] != question.rpartition(".")[2]:
            error = WouldBlock(f"{question} would wait for a person")
            swallowed.record(error)
            raise error
        return self._queued.popleft()[1]

    def clear(self) -> None:
        self._queued.clear()
        self.opened_urls.clear()


answers = Answers()


def file_question(name: str) -> Callable[..., Any]:
    """A static function of QFileDialog: a str, or a tuple of str for several files."""

    def ask(*_: Any) -> Any:
        answer = answers.take(f"QFileDialog.{name}")
        return tuple(map(str, answer)) if name == "getOpenFileNames" else str(answer)

    return ask


def static_question(name: str) -> Callable[..., Any]:
    """Another static function that waits for a person."""
    return lambda *_: answers.take(name)


def open_url(url: Any) -> bool:
    """Nothing is opened; the address is kept."""
    answers.opened_urls.append(url.toString())
    return True


def run_modal(wrapper: Any, cpp: Any, *_: Any) -> int:
    """`dialog.exec_()`."""
    if isinstance(cpp, QtWidgets.QDialog):
        cpp.setModal(True)
        cpp.setResult(0)
        cpp.show()
    else:
        cpp.popup(QtCore.QPoint(0, 0))
    if not event_loop.run_until(lambda: not cpp.isVisible(), answers.modal_limit_s, nested=True):
        cpp.close()
        error = WouldBlock(f"{type(wrapper).__name__}.exec_() waits for a person")
        swallowed.record(error)
        raise error
    return int(cpp.result()) if isinstance(cpp, QtWidgets.QDialog) else 0
