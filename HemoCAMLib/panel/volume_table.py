"""The table of volumes as a widget: filled from rows that know of none."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import qt
from slicer.i18n import tr as _

from HemoCAMLib.panel.result_table import VolumeRow, volume_headings


def prepare_volume_table(table: Any) -> None:
    """Headings and what they mean."""
    headings = volume_headings()
    table.setColumnCount(len(headings))
    table.setHorizontalHeaderLabels(headings)
    table.verticalHeader().hide()
    header = table.horizontalHeader()
    header.setSectionResizeMode(qt.QHeaderView.ResizeToContents)
    header.setStretchLastSection(True)
    abouts = (
        "",
        _("Volume in millilitres: pixels times area times every slice's true extent."),
        _("A x B x C / 2 of the largest lesion, in millilitres."),
        _("The patient's side."),
        _("Connected regions."),
        _("Slices that show it."),
        _("Highest probability of all slices."),
    )
    for number, about in enumerate(abouts):
        table.horizontalHeaderItem(number).setToolTip(about)


def fill_volume_table(table: Any, rows: Sequence[VolumeRow]) -> None:
    """Replaces what the table shows, and makes it just as high."""
    table.setRowCount(len(rows))
    for number, row in enumerate(rows):
        for place, text in enumerate(row.cells):
            item = qt.QTableWidgetItem(text)
            item.setToolTip(row.title)
            if place:
                item.setTextAlignment(int(qt.Qt.AlignRight | qt.Qt.AlignVCenter))
            elif row.color is not None:
                item.setIcon(_swatch(row.color))
            if not row.name:
                font = item.font()
                font.setBold(True)
                item.setFont(font)
            elif not row.found:
                item.setForeground(qt.QBrush(qt.QColor(140, 140, 140)))
            table.setItem(number, place, item)
    table.resizeRowsToContents()
    if rows:
        height = table.horizontalHeader().height + sum(table.rowHeight(n) for n in range(len(rows))) + 4
        table.setFixedHeight(height)


def _swatch(color: tuple[int, int, int]) -> Any:
    picture = qt.QPixmap(12, 12)
    picture.fill(qt.QColor(*color))
    return qt.QIcon(picture)
