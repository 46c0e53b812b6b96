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
from HemoCAMLib.measure.agreement.cohort import Cohort, compare_cases, read_cases
from HemoCAMLib.measure.agreement.cohort_files import write_cohort
from HemoCAMLib.measure.agreement.compare import compare_label_maps, compare_segmentations
from HemoCAMLib.measure.agreement.files import compare, write_agreement
from HemoCAMLib.measure.agreement.mapping import KNOWN_MAPPINGS
from HemoCAMLib.measure.agreement.read import read_segmentation
from HemoCAMLib.measure.agreement.segmentation import Segmentation, segmentation_of_labels
from HemoCAMLib.measure.agreement.structures import STRUCTURES

__all__ = [
    "KNOWN_MAPPINGS",
    "OVERLAP_ONLY",
    "STRUCTURES",
    "Agreement",
    "Cohort",
    "CompareOptions",
    "Segmentation",
    "SliceAgreement",
    "StructureAgreement",
    "VolumeAgreement",
    "compare",
    "compare_cases",
    "compare_label_maps",
    "compare_segmentations",
    "read_cases",
    "read_segmentation",
    "segmentation_of_labels",
    "write_agreement",
    "write_cohort",
]
