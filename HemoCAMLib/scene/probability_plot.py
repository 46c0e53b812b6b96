"""The strip over all slices: how likely each class is in each of them, as a chart of Slicer's own."""

from __future__ import annotations

from HemoCAMLib.scene.bridge import Node
from HemoCAMLib.scene.tables import SLICE, probability_column
from HemoCAMLib.subtypes import ANY, SUBTYPES

_ANY_COLOR = (110, 110, 110)


def add_probability_plot(slice_table_node: Node, name: str) -> tuple[Node, list[Node]]:
    """A chart node with one series a class over the slice table; it follows the table.

    Args:
        slice_table_node: written by :func:`~HemoCAMLib.scene.tables.write_slice_table`.
        name: of the chart.

    Returns:
        the chart and its series, "any" first.
    """
    scene = slice_table_node.GetScene()
    chart = scene.AddNewNodeByClass("vtkMRMLPlotChartNode", name)
    chart.SetTitle(name)
    chart.SetXAxisTitle("Slice")
    chart.SetYAxisTitle("Probability")
    chart.YAxisRangeAutoOff()
    chart.SetYAxisRange(0.0, 1.0)
    colors = [(ANY, _ANY_COLOR), *((subtype.name, subtype.color_rgb) for subtype in SUBTYPES)]
    series = [_series(slice_table_node, class_name, color) for class_name, color in colors]
    for node in series:
        chart.AddAndObservePlotSeriesNodeID(node.GetID())
    return chart, series


def _series(slice_table_node: Node, class_name: str, color_rgb: tuple[int, int, int]) -> Node:
    node = slice_table_node.GetScene().AddNewNodeByClass("vtkMRMLPlotSeriesNode", class_name)
    node.SetAndObserveTableNodeID(slice_table_node.GetID())
    node.SetXColumnName(SLICE)
    node.SetYColumnName(probability_column(class_name))
    node.SetPlotType(node.PlotTypeScatter)
    node.SetMarkerStyle(node.MarkerStyleCircle)
    node.SetLineStyle(node.LineStyleDash if class_name == ANY else node.LineStyleSolid)
    node.SetColor(*(channel / 255 for channel in color_rgb))
    return node
