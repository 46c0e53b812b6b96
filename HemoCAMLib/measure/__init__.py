"""What a label map amounts to: millilitres, areas, diameters, sides."""

from __future__ import annotations

from HemoCAMLib.measure.measurements import Measurements, Side
from HemoCAMLib.measure.measurer import MeasuredSlice, Measurer
from HemoCAMLib.measure.midline import MidlinePlane

__all__ = ["MeasuredSlice", "Measurements", "Measurer", "MidlinePlane", "Side"]
