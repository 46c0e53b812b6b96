"""What the worker of a run had to say, in a window whose text can be copied and sent."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import qt
from slicer.i18n import tr as _

from HemoCAMLib.run.folder import RunFolder

#: More is seldom read; the file has all.
_TAIL_BYTES = 200_000


def log_text(folder: Path) -> str:
    """Events and log of a run as one text; the end of each where they are long."""
    run = RunFolder(folder)
    parts = [str(folder)]
    for title, path in ((_("Events"), run.events_path), (_("Log of the analysis process"), run.log_path)):
        parts += ["", f"--- {title} ---", _tail(path) or _("(empty)")]
    return "\n".join(parts)


class LogWindow:
    """A window that stays open beside the application.

    Args:
        parent: window that it belongs to.
    """

    def __init__(self, parent: Any) -> None:
        self._folder: Path | None = None
        self.dialog = qt.QDialog(parent)
        self.dialog.setWindowTitle(_("HemoCAM: log"))
        self.dialog.resize(760, 480)
        layout = qt.QVBoxLayout(self.dialog)
        self.text = qt.QPlainTextEdit()
        self.text.setReadOnly(True)
        self.text.setLineWrapMode(qt.QPlainTextEdit.NoWrap)
        layout.addWidget(self.text)
        buttons = qt.QHBoxLayout()
        layout.addLayout(buttons)
        self.refresh_button = qt.QPushButton(_("Read again"))
        self.refresh_button.connect("clicked()", self.refresh)
        self.folder_button = qt.QPushButton(_("Open folder"))
        self.folder_button.connect("clicked()", self._on_folder)
        buttons.addWidget(self.refresh_button)
        buttons.addWidget(self.folder_button)
        buttons.addStretch(1)

    def show_run(self, folder: Path) -> None:
        """Shows the log of a run as it is now."""
        self._folder = Path(folder)
        self.refresh()
        self.dialog.show()
        self.dialog.raise_()

    def refresh(self) -> None:
        """Reads the files again."""
        if self._folder is not None:
            self.text.setPlainText(log_text(self._folder))
            bar = self.text.verticalScrollBar()
            bar.setValue(bar.maximum)

    def close(self) -> None:
        """Closes it for good."""
        self.dialog.hide()
        self.dialog.deleteLater()

    def _on_folder(self) -> None:
        if self._folder is not None:
            qt.QDesktopServices.openUrl(qt.QUrl.fromLocalFile(str(self._folder)))


def _tail(path: Path) -> str:
    try:
        with path.open("rb") as file:
            file.seek(0, 2)
            size = file.tell()
            file.seek(max(0, size - _TAIL_BYTES))
            return file.read().decode("utf-8", "replace").strip()
    except OSError:
        return ""
