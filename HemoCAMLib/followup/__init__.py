"""Two runs of one patient held against each other: aligned, change in millilitres, side by side. Host side."""

from HemoCAMLib.followup.change import Change, SubtypeChange, change_between
from HemoCAMLib.followup.compare import FollowUp, RunScan, follow_up
from HemoCAMLib.followup.page import write_followup
from HemoCAMLib.followup.registration import Alignment, align

__all__ = [
    "Alignment",
    "Change",
    "FollowUp",
    "RunScan",
    "SubtypeChange",
    "align",
    "change_between",
    "follow_up",
    "write_followup",
]
