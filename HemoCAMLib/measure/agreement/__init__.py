"""How well a prediction agrees with the truth: overlap, distances, lesions, volumes, for one scan or many."""

from __future__ import annotations

from HemoCAMLib.measure.agreement.agreement import (
    OVERLAP_ONLY,
    Agreement,
    CompareOptions,
    SliceAgreement,
    StructureAgreement,
    VolumeAgreement,
)
from HemoCAMLib.measure.agreement.compare import compare_label_maps, compare_segmentations
from HemoCAMLib.measure.agreement.segmentation import Segmentation, segmentation_of_labels
from HemoCAMLib.measure.agreement.structures import STRUCTURES

__all__ = [
    "OVERLAP_ONLY",
    "STRUCTURES",
    "Agreement",
    "CompareOptions",
    "Segmentation",
    "SliceAgreement",
    "StructureAgreement",
    "VolumeAgreement",
    "compare_label_maps",
    "compare_segmentations",
    "segmentation_of_labels",
]
