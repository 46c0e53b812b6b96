"""From a head CT on disk or in memory to Hounsfield units with true geometry."""

from HemoCAMLib.ct.geometry import ASSUMED_THICKNESS_MM, SliceGeometry
from HemoCAMLib.ct.head_ct import AIR_HU, HeadCT, InputGrid, ScanWarning, SourceIdentity, SourcePlane
from HemoCAMLib.ct.reader import head_ct_from_array, read_head_ct
from HemoCAMLib.ct.slice_file import SliceFile

__all__ = [
    "AIR_HU",
    "ASSUMED_THICKNESS_MM",
    "HeadCT",
    "InputGrid",
    "ScanWarning",
    "SliceFile",
    "SliceGeometry",
    "SourceIdentity",
    "SourcePlane",
    "head_ct_from_array",
    "read_head_ct",
]
