"""The strip as a widget: painted into a picture, clicked, and walked through with the arrow keys."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import qt

from HemoCAMLib.panel.strip import StripLayout, StripRow, shaded_runs

_INK = (40, 40, 40)


class StripWidget(qt.QLabel):  # type: ignore[misc]
    """Shows rows of values over slices; a click, or the arrow keys, choose a slice.

    Args:
        on_slice: called with the index of the slice that the user chose.
    """

    def __init__(self, on_slice: Callable[[int], None]) -> None:
        super().__init__()
        self._on_slice = on_slice
        self._rows: list[StripRow] = []
        self._count = 0
        self._current: int | None = None
        self._picture: Any = None
        self.setFocusPolicy(qt.Qt.StrongFocus)
        self.setMinimumWidth(120)
        self.setSizePolicy(qt.QSizePolicy.Ignored, qt.QSizePolicy.Fixed)
        self.setAlignment(qt.Qt.AlignLeft | qt.Qt.AlignTop)

    def show_rows(self, rows: Sequence[StripRow], count: int) -> None:
        """Paints other values.

        Args:
            rows: from top to bottom; every one with ``count`` values.
            count: slices.
        """
        self._rows, self._count = list(rows), count
        self._picture = None
        self._repaint()

    def mark(self, index: int | None) -> None:
        """Draws a frame around the slice that is in view."""
        if index != self._current:
            self._current = index
            self._repaint()

    @property
    def current_slice(self) -> int | None:
        """The slice that is in view."""
        return self._current

    def layout_of(self) -> StripLayout:
        """Where things lie in the picture as it is now."""
        return StripLayout(max(int(self.width), 60), len(self._rows), self._count)

    def mousePressEvent(self, event: Any) -> None:  # noqa: N802
        self._choose(self.layout_of().slice_at(int(event.pos().x())))

    def keyPressEvent(self, event: Any) -> None:  # noqa: N802
        step = {int(qt.Qt.Key_Left): -1, int(qt.Qt.Key_Right): 1}.get(int(event.key()))
        if step is None or self._count == 0:
            qt.QLabel.keyPressEvent(self, event)
            return
        here = 0 if self._current is None else self._current + step
        self._choose(min(max(here, 0), self._count - 1))

    def resizeEvent(self, event: Any) -> None:  # noqa: N802
        self._picture = None
        self._repaint()

    def _choose(self, index: int | None) -> None:
        if index is not None:
            self.mark(index)
            self._on_slice(index)

    def _repaint(self) -> None:
        layout = self.layout_of()
        self.setFixedHeight(max(layout.height, 1))
        if not self._rows:
            self.clear()
            return
        if self._picture is None:
            self._picture = self._painted(layout)
        shown = self._picture
        if self._current is not None and self._current < self._count:
            shown = qt.QPixmap(self._picture)
            painter = qt.QPainter()
            painter.begin(shown)
            left = layout.left(self._current)
            width = max(layout.left(self._current + 1) - left, 3)
            painter.setPen(qt.QPen(qt.QColor(0, 0, 0)))
            painter.drawRect(left, 0, width - 1, layout.height - 1)
            painter.end()
        self.setPixmap(shown)

    def _painted(self, layout: StripLayout) -> Any:
        picture = qt.QPixmap(layout.width, layout.height)
        # The names stand on the panel's own background, whatever the application's style is.
        picture.fill(qt.QColor(0, 0, 0, 0))
        painter = qt.QPainter()
        painter.begin(picture)
        text_color = self.palette.color(qt.QPalette.WindowText)
        for number, row in enumerate(self._rows):
            top = number * layout.row_height
            painter.setPen(qt.QPen(text_color))
            painter.drawText(0, top + layout.row_height - 3, row.name)
            for first, end, color in shaded_runs(row, layout):
                left = layout.left(first)
                # One pixel between slices where there is room for it.
                width = layout.left(end) - left
                gap = 1 if layout.has_gaps else 0
                cell = qt.QRect(left, top, max(width - gap, 1), layout.row_height - 1)
                painter.fillRect(cell, qt.QColor(*color))
                if first in row.marked and width > 5 and layout.has_gaps:
                    painter.fillRect(
                        qt.QRect(left + width // 2 - 1, top + layout.row_height - 4, 2, 2), qt.QColor(*_INK)
                    )
        painter.end()
        return picture
