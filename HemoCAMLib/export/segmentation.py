"""The label map as a DICOM Segmentation object (PS3.3 A.51 and C.8.20), one segment a subtype that was found."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from pydicom.dataset import Dataset

from HemoCAMLib.export.codes import CATEGORY, HEMORRHAGE, region_of
from HemoCAMLib.export.headers import fresh_uid
from HemoCAMLib.export.origin import RESEARCH_USE, Origin
from HemoCAMLib.export.source import SourceSeries
from HemoCAMLib.subtypes import SUBTYPES, Subtype

if TYPE_CHECKING:
    from highdicom import PlanePositionSequence
    from highdicom.seg import Segmentation, SegmentDescription

SERIES_NUMBER = 7001


@dataclass(frozen=True)
class Segment:
    """One subtype that was found.

    Attributes:
        number: of the segment, from 1.
        subtype: which it is.
        tracking_uid: the same in the segmentation and in the report (PS3.3 C.8.20.2, PS3.16 TID 4108).
        planes: indices of the source's planes that show it.
    """

    number: int
    subtype: Subtype
    tracking_uid: str
    planes: tuple[int, ...]

    @property
    def tracking_id(self) -> str:
        return f"HemoCAM {self.subtype.name}"


def find_segments(source: SourceSeries) -> tuple[Segment, ...]:
    """The segments of a label map in the order of the subtypes; empty where it shows none."""
    found = [(subtype, np.flatnonzero((source.labels == subtype.label).any(axis=(1, 2)))) for subtype in SUBTYPES]
    present = [(subtype, planes) for subtype, planes in found if planes.size]
    return tuple(
        Segment(number, subtype, fresh_uid(), tuple(int(plane) for plane in planes))
        for number, (subtype, planes) in enumerate(present, start=1)
    )


def build_segmentation(source: SourceSeries, segments: tuple[Segment, ...], origin: Origin) -> Segmentation:
    """A BINARY segmentation in the pixel grid of the source's own images.

    Every frame refers to the image, or the frame of a multi-frame image, that it lies on; frames without content
    are left out (PS3.3 C.8.20.2.3 does not ask for them). Positions and orientation are the source's own values, so
    tilt and uneven steps stay as they are.

    Args:
        source: the original series and the labels.
        segments: of :func:`find_segments`, at least one: a segmentation without segments does not exist.
        origin: the algorithm.
    """
    from highdicom.seg import Segmentation

    numbers = np.zeros(SUBTYPES[-1].label + 1, np.uint8)
    for segment in segments:
        numbers[segment.subtype.label] = segment.number
    segmentation = Segmentation(
        source_images=source.headers,
        pixel_array=numbers[source.labels],
        segmentation_type="BINARY",
        segment_descriptions=[_description(segment, origin) for segment in segments],
        series_instance_uid=fresh_uid(),
        series_number=SERIES_NUMBER,
        sop_instance_uid=fresh_uid(),
        instance_number=1,
        content_label="HEMORRHAGE",
        content_description=f"Intracranial hemorrhage. {RESEARCH_USE}",
        series_description=f"HemoCAM segmentation. {RESEARCH_USE}",
        specific_character_set="ISO_IR 192",
        plane_positions=_frame_positions(source) if source.is_multi_frame else None,
        **origin.equipment(),
    )
    _tell_thickness_by_frame(segmentation, source)
    return segmentation


def _description(segment: Segment, origin: Origin) -> SegmentDescription:
    from highdicom.color import CIELabColor
    from highdicom.seg import SegmentDescription

    region = region_of(segment.subtype)
    return SegmentDescription(
        segment_number=segment.number,
        segment_label=segment.subtype.title,
        segmented_property_category=CATEGORY,
        segmented_property_type=HEMORRHAGE,
        algorithm_type="AUTOMATIC",
        algorithm_identification=origin.for_segment(),
        tracking_uid=segment.tracking_uid,
        tracking_id=segment.tracking_id,
        anatomic_regions=None if region is None else [region],
        display_color=CIELabColor.from_rgb(*segment.subtype.color_rgb),
    )


def _frame_positions(source: SourceSeries) -> list[PlanePositionSequence]:
    """Where the frames lie that were kept: a multi-frame file may hold copies, which must not come twice."""
    from highdicom import PlanePositionSequence

    groups = source.headers[0].PerFrameFunctionalGroupsSequence
    positions = [groups[plane.frame].PlanePositionSequence[0].ImagePositionPatient for plane in source.ct.source.planes]
    return [PlanePositionSequence(coordinate_system="PATIENT", image_position=position) for position in positions]


def _tell_thickness_by_frame(segmentation: Segmentation, source: SourceSeries) -> None:
    """Moves the pixel measures to the frames where slices differ in thickness (PS3.3 C.7.6.16.2.1)."""
    thickness_mm = _thickness_by_image(source)
    if len(set(thickness_mm.values())) == 1:
        return
    shared = segmentation.SharedFunctionalGroupsSequence[0]
    measures = shared.PixelMeasuresSequence[0]
    for frame in segmentation.PerFrameFunctionalGroupsSequence:
        image = frame.DerivationImageSequence[0].SourceImageSequence[0]
        own = Dataset()
        own.PixelSpacing = measures.PixelSpacing
        own.SliceThickness = thickness_mm[
            str(image.ReferencedSOPInstanceUID), int(image.get("ReferencedFrameNumber") or 1)
        ]
        frame.PixelMeasuresSequence = [own]
    del shared.PixelMeasuresSequence


def _thickness_by_image(source: SourceSeries) -> dict[tuple[str, int], float]:
    """Slice thickness in mm by SOP instance and frame number."""
    if not source.is_multi_frame:
        return {(str(header.SOPInstanceUID), 1): float(header.SliceThickness) for header in source.headers}
    header = source.headers[0]
    shared = float(header.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0].SliceThickness)
    found = {}
    for plane in source.ct.source.planes:
        own = header.PerFrameFunctionalGroupsSequence[plane.frame].get("PixelMeasuresSequence")
        known = own[0].get("SliceThickness") if own else None
        found[str(header.SOPInstanceUID), plane.frame + 1] = float(known) if known else shared
    return found
