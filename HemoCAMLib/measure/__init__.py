"""What a label map amounts to: millilitres, areas, diameters, sides."""

from __future__ import annotations

from HemoCAMLib.measure.measurements import Measurements, Side
from HemoCAMLib.measure.measurer import Measurer
from HemoCAMLib.measure.midline import MidlinePlane

__all__ = ["Measurements", "Measurer", "MidlinePlane", "Side"]
