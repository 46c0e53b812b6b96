"""From activation maps to a label map: Algorithm 1, the brain mask, removal of small lesions."""

from __future__ import annotations

from HemoCAMLib.mask.brain_mask import BrainMask, BrainMaskBuilder, find_brain
from HemoCAMLib.mask.components import ComponentAccumulator
from HemoCAMLib.mask.label_slice import label_slice
from HemoCAMLib.mask.relabel import KeptSlices, PackedMasks, label_scan
from HemoCAMLib.mask.settings import MaskSettings

__all__ = [
    "BrainMask",
    "BrainMaskBuilder",
    "ComponentAccumulator",
    "KeptSlices",
    "MaskSettings",
    "PackedMasks",
    "find_brain",
    "label_scan",
    "label_slice",
]
