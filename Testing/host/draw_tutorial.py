"""Draws the pictures of docs/slicer-tutorial.md from the phantom: the real panel, Slicer's own views, a real analysis.

Run in the environment with Slicer's classes; the worker's Python is that of .venv. What is not Slicer's is the frame
around: widgets have the look of plain Qt, and panel and views are put side by side here.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "Testing" / "host"), str(ROOT / "Testing" / "fixtures")]

import vtk  # noqa: E402
from PIL import Image, ImageDraw, ImageFont  # noqa: E402
from PySide6 import QtGui, QtWidgets  # noqa: E402
from vtk.util.numpy_support import vtk_to_numpy  # noqa: E402

from panel_host import PanelHost  # noqa: E402
from panel_host.drawn_views import DrawnSlice, DrawnSpace, Picture  # noqa: E402

PANEL_WIDTH, VIEW = 460, 430
SECTIONS = ("inputButton", "resultButton", "thresholdButton", "compareButton", "batchButton")


class Studio:
    """The application with the phantom analysed, ready to be drawn."""

    def __init__(self, host: Any, folder: Path) -> None:
        import slicer
        from HemoCAMLib.panel.sample_data import load_phantom

        self.host, self.folder = host, folder
        host.load_module(ROOT / "HemoCAM" / "HemoCAM.py")
        self.widget = host.select_module("HemoCAM")
        self.ui, self.panel = self.widget.ui, self.widget.panel
        self.volume, self.truth = load_phantom()
        self.ui.inputSelector.setCurrentNode(self.volume)
        self._wait(lambda: bool(self.ui.applyButton.enabled))
        logic = host.scene.application_logic
        self.slices = {
            name: DrawnSlice(slices, logic, (VIEW, VIEW)) for name, slices in host.scene.slice_logics.items()
        }
        self.space = DrawnSpace(slicer.mrmlScene, logic, (VIEW, VIEW))

    def analyse(self) -> None:
        """By the panel's button; a picture is drawn in the middle."""
        from HemoCAMLib.panel.worker_host import application_worker

        self.ui.applyButton.click()
        run = self.panel.run
        self._wait(lambda: run.handle is not None and run.handle.slices_done >= 12)
        # Held, so that a fast machine is not done before the picture is.
        worker = application_worker().pids[-1]
        os.kill(worker, signal.SIGSTOP)
        self._wait(lambda: run.handle.shown is not None)
        self.host.run_for(1.0)
        self.panel.result.go_to_slice(8)
        self.host.run_for(0.2)
        picture = self.beside(self.grab("inputButton", "resultButton"), [self.axial()])
        os.kill(worker, signal.SIGCONT)
        self.save("slicer-running", picture)
        self._wait(lambda: run.handle.finished)
        if run.handle.state != "done":
            raise SystemExit(f"{run.handle.state}: {run.handle.error}")
        self.host.run_for(1.5)

    def views(self) -> list[Picture]:
        """Axial, 3-D, coronal, sagittal, as Slicer's four views lie."""
        self.panel.choice.current.segmentation.CreateClosedSurfaceRepresentation()
        self.space.look_from(150, 15, 1.3)
        others = [self.slices["Green"], self.slices["Yellow"]]
        for view, orientation in zip(others, ("Coronal", "Sagittal"), strict=True):
            view.logic.GetSliceNode().SetOrientation(orientation)
            view.fit(1.15)
        # The row of the IPH: its largest bleed.
        self.ui.volumeTable.cellClicked.emit(0, 0)
        self.host.run_for(1.5)
        return [self.axial(), self.space.picture(), *(view.picture() for view in others)]

    def show_heat_map(self, name: str) -> None:
        """By the panel's list; none where the name is empty."""
        selector = self.ui.heatMapSelector
        selector.currentIndex = selector.findData(name)
        selector.activated.emit(selector.currentIndex)
        self.host.run_for(0.2)

    def axial(self, zoom: float = 1.35) -> Picture:
        """The red view where it is."""
        view = self.slices["Red"]
        node = view.logic.GetSliceNode()
        offset = node.GetSliceOffset()
        view.fit(zoom)
        node.SetSliceOffset(offset)
        return view.picture()

    def grab(self, *sections: str) -> Picture:
        """The panel with these sections open."""
        for name in SECTIONS:
            # Opened once, so that closing hides what the panel has shown within a closed section meanwhile.
            getattr(self.ui, name).collapsed = False
            getattr(self.ui, name).collapsed = name not in sections
        root = self.panel._widget._cpp
        root.resize(PANEL_WIDTH, 10)
        self.host.run_for(0.2)
        root.resize(PANEL_WIDTH, max(root.layout().totalHeightForWidth(PANEL_WIDTH), root.minimumSizeHint().height()))
        self.host.run_for(0.3)
        picture = pixels_of(root)
        empty = (picture == picture[-1, :1]).all(axis=(1, 2))
        return picture[: int(np.flatnonzero(~empty)[-1]) + 12]

    def beside(self, panel: Picture, views: list[Picture]) -> Image.Image:
        """The panel at the left as in Slicer, views at the right in two columns."""
        columns = 1 if len(views) < 3 else 2
        rows = -(-len(views) // columns)
        gap = 4
        width = panel.shape[1] + columns * (VIEW + gap) + gap
        height = max(panel.shape[0], rows * (VIEW + gap) + gap)
        page = Image.new("RGB", (width, height), tuple(panel[-1, 0].tolist()))
        page.paste(Image.fromarray(panel), (0, 0))
        for number, view in enumerate(views):
            row, column = divmod(number, columns)
            page.paste(Image.fromarray(view), (panel.shape[1] + gap + column * (VIEW + gap), gap + row * (VIEW + gap)))
        return page

    def row(self, named: list[tuple[str, Picture]]) -> Image.Image:
        """Pictures beside each other, each with a line under it."""
        font = ImageFont.load_default(15)
        gap, line = 6, 26
        height = max(picture.shape[0] for _, picture in named)
        width = sum(picture.shape[1] + gap for _, picture in named) + gap
        page = Image.new("RGB", (width, height + line + gap), "white")
        draw, left = ImageDraw.Draw(page), gap
        for words, picture in named:
            page.paste(Image.fromarray(picture), (left, gap))
            draw.text((left, gap + picture.shape[0] + 4), words, "black", font)
            left += picture.shape[1] + gap
        return page

    def save(self, name: str, picture: Image.Image | Picture) -> None:
        """As PNG."""
        page = picture if isinstance(picture, Image.Image) else Image.fromarray(picture)
        page.save(self.folder / f"{name}.png", optimize=True)

    def close(self) -> None:
        """Before the application ends."""
        for view in (*self.slices.values(), self.space):
            view.close()

    def _wait(self, done: Any) -> None:
        if not self.host.run_until(done, 900):
            raise SystemExit("it took too long")


def chart_picture(chart_node: Any, size: tuple[int, int] = (860, 300)) -> Picture:
    """A plot chart node drawn with VTK's chart, as Slicer's plot view does."""
    view = vtk.vtkContextView()
    view.GetRenderWindow().SetOffScreenRendering(1)
    view.GetRenderWindow().SetMultiSamples(8)
    view.GetRenderWindow().SetSize(*size)
    view.GetRenderer().SetBackground(1, 1, 1)
    chart = vtk.vtkChartXY()
    view.GetScene().AddItem(chart)
    for number in range(chart_node.GetNumberOfPlotSeriesNodes()):
        series = chart_node.GetNthPlotSeriesNode(number)
        plot = chart.AddPlot(vtk.vtkChart.LINE)
        plot.SetInputData(series.GetTableNode().GetTable(), series.GetXColumnName(), series.GetYColumnName())
        plot.SetLabel(series.GetName())
        plot.SetColorF(*series.GetColor())
        plot.SetWidth(2.0)
        plot.SetMarkerStyle(series.GetMarkerStyle())
        plot.GetPen().SetLineType(series.GetLineStyle())
    chart.SetShowLegend(True)
    chart.GetLegend().SetHorizontalAlignment(vtk.vtkChartLegend.LEFT)
    chart.GetAxis(vtk.vtkAxis.LEFT).SetRange(*chart_node.GetYAxisRange())
    chart.GetAxis(vtk.vtkAxis.LEFT).SetBehavior(vtk.vtkAxis.FIXED)
    chart.GetAxis(vtk.vtkAxis.LEFT).SetTitle(chart_node.GetYAxisTitle())
    chart.GetAxis(vtk.vtkAxis.BOTTOM).SetTitle(chart_node.GetXAxisTitle())
    view.GetRenderWindow().Render()
    grabber = vtk.vtkWindowToImageFilter()
    grabber.SetInput(view.GetRenderWindow())
    grabber.ReadFrontBufferOff()
    grabber.Update()
    image = grabber.GetOutput()
    columns, rows, _ = image.GetDimensions()
    pixels = vtk_to_numpy(image.GetPointData().GetScalars()).reshape(rows, columns, 3)
    return np.ascontiguousarray(pixels[::-1])


def draw(studio: Studio) -> None:
    """Every picture of the tutorial."""
    panel, ui = studio.panel, studio.ui
    studio.analyse()
    current = panel.choice.current
    studio.show_heat_map("IPH")
    views = studio.views()
    studio.save("slicer-result", studio.beside(studio.grab("inputButton", "resultButton"), views))
    with_all = studio.axial()
    current.segmentation.SetDisplayVisibility(False)
    heat_map = studio.axial()
    studio.show_heat_map("")
    plain = studio.axial()
    current.segmentation.SetDisplayVisibility(True)
    studio.save(
        "slicer-heat-map",
        studio.row([("The CT", plain), ("with the heat map", heat_map), ("with heat map and segments", with_all)]),
    )
    studio.save("slicer-probability", chart_picture(current.chart))
    slider = ui.maskIPHSlider
    pictures = []
    ui.refinementCheck.checked = False
    for value in (0.3, 0.97):
        slider.value = value
        studio.host.run_for(3.0)
        volume = panel.common.choice.current.record.result["volume_ml"]["IPH"]
        pictures.append((f"IPH above {value:g}: {volume:.1f} mL", studio.axial()))
    studio.save("slicer-thresholds", studio.row([("", studio.grab("thresholdButton")), *pictures]))
    ui.runThresholdsButton.click()
    studio.host.run_for(3.0)
    ui.truthSelector.setCurrentNode(studio.truth)
    studio.host.run_for(2.0)
    ui.compareApplyButton.click()
    studio.host.run_until(lambda: ui.agreementTable.rowCount > 0 and bool(current.nodes("overlap")), 120)
    studio.host.run_for(1.0)
    current.segmentation.SetDisplayVisibility(False)
    studio.save("slicer-compare", studio.beside(studio.grab("compareButton"), [studio.axial()]))
    for node in current.nodes("overlap"):
        node.SetDisplayVisibility(False)
    draw_batch(studio)


def draw_batch(studio: Studio) -> None:
    """Two scans, one of which is no head."""
    import qt
    import slicer

    studio.volume.SetName("Scan 1")
    slicer.util.addVolumeFromArray(np.full((5, 64, 64), -1000, np.int16), None, "Scan 2, no head")
    part = studio.panel.batch
    studio.host.run_until(lambda: part.list.count == 2, 10)
    for number in range(2):
        part.list.item(number).setCheckState(qt.Qt.Checked)
    part.apply_button.click()
    studio.host.run_until(lambda: part.batch.finished, 600)
    studio.host.run_for(0.5)
    table = table_picture(part.batch.table_node)
    studio.save("slicer-batch", studio.row([("", studio.grab("batchButton")), ("The table of all scans", table)]))


def table_picture(table_node: Any) -> Picture:
    """A table node as a table of Qt, as Slicer's table view shows it."""
    table = table_node.GetTable()
    widget = QtWidgets.QTableWidget(table.GetNumberOfRows(), table.GetNumberOfColumns())
    widget.setHorizontalHeaderLabels(
        [table_node.GetColumnTitle(table.GetColumnName(column)) for column in range(table.GetNumberOfColumns())]
    )
    for row in range(table.GetNumberOfRows()):
        for column in range(table.GetNumberOfColumns()):
            value = table.GetColumn(column).GetValue(row)
            text = value if isinstance(value, str) else "" if np.isnan(value) else f"{value:.2f}"
            widget.setItem(row, column, QtWidgets.QTableWidgetItem(text))
    widget.setColumnWidth(5, 300)
    widget.setWordWrap(True)
    widget.resizeColumnsToContents()
    widget.setColumnWidth(5, min(widget.columnWidth(5), 330))
    widget.resizeRowsToContents()
    widget.setFixedSize(
        sum(widget.columnWidth(column) for column in range(6)) + widget.verticalHeader().sizeHint().width() + 4,
        sum(widget.rowHeight(row) for row in range(table.GetNumberOfRows())) + 30,
    )
    return pixels_of(widget)


def pixels_of(widget: QtWidgets.QWidget) -> Picture:
    """[row, column, RGB] of a widget."""
    image = widget.grab().toImage().convertToFormat(QtGui.QImage.Format.Format_RGB888)
    rows = np.frombuffer(image.constBits(), np.uint8).reshape(image.height(), image.bytesPerLine())
    return rows[:, : 3 * image.width()].reshape(image.height(), image.width(), 3).copy()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "images")
    chosen = parser.parse_args()
    chosen.out.mkdir(parents=True, exist_ok=True)
    with PanelHost(python=str(ROOT / ".venv" / "bin" / "python")) as host:
        studio = Studio(host, chosen.out)
        try:
            draw(studio)
        finally:
            studio.close()


if __name__ == "__main__":
    main()
