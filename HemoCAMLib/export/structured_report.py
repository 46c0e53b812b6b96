"""The measurements as a DICOM Structured Report: Comprehensive 3D SR with TID 1500 (PS3.3 A.35.13, PS3.16)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from HemoCAMLib.export import codes
from HemoCAMLib.export.headers import fresh_uid
from HemoCAMLib.export.origin import RESEARCH_STATEMENT, RESEARCH_USE, Origin
from HemoCAMLib.export.segmentation import Segment
from HemoCAMLib.export.source import SourceSeries
from HemoCAMLib.run.result import Result
from HemoCAMLib.subtypes import ANY, SUBTYPES, Subtype

if TYPE_CHECKING:
    from highdicom.seg import Segmentation
    from highdicom.sr import (
        Comprehensive3DSR,
        FindingSite,
        Measurement,
        MeasurementsAndQualitativeEvaluations,
        QualitativeEvaluation,
        ReferencedSegment,
        SourceImageForMeasurementGroup,
        VolumetricROIMeasurementsAndQualitativeEvaluations,
    )
    from pydicom.sr.coding import Code

SERIES_NUMBER = 7002


def build_report(
    result: Result,
    source: SourceSeries,
    segments: tuple[Segment, ...],
    segmentation: Segmentation | None,
    origin: Origin,
) -> Comprehensive3DSR:
    """The report of a run.

    It holds one measurement group for the whole scan (TID 1501), then one for every subtype: TID 1411 with a
    reference to its segment and to the images that show it where it was found, TID 1501 with "absent" where it was
    not. A scan without hemorrhage gives such a report too.

    Args:
        result: the run.
        source: its original series.
        segments: what was found.
        segmentation: the object that holds them, None where nothing was found.
        origin: the algorithm.
    """
    from highdicom.sr import Comprehensive3DSR, MeasurementReport, ObservationContext, TextContentItem
    from pydicom.sr.codedict import codes as dicom

    found = {segment.subtype.name: segment for segment in segments}
    groups: list[Any] = [_whole_scan(result, source, origin)]
    for subtype in SUBTYPES:
        if subtype.name in found and segmentation is not None:
            groups.append(_found(result, source, found[subtype.name], segmentation, origin))
        else:
            groups.append(_not_found(result, subtype, origin))
    content = MeasurementReport(
        observation_context=ObservationContext(observer_device_context=origin.observer()),
        procedure_reported=codes.CT_OF_HEAD,
        imaging_measurements=groups,
        title=dicom.DCM.ImagingMeasurementReport,
    )
    for sentence in _comments(result, bool(found)):
        content[0].ContentSequence.append(
            TextContentItem(name=dicom.DCM.Comment, value=sentence, relationship_type="CONTAINS")
        )
    return Comprehensive3DSR(
        evidence=[*source.headers, *([] if segmentation is None else [segmentation])],
        content=content,
        series_instance_uid=fresh_uid(),
        series_number=SERIES_NUMBER,
        sop_instance_uid=fresh_uid(),
        instance_number=1,
        is_complete=True,
        is_final=False,
        is_verified=False,
        series_description=f"HemoCAM report. {RESEARCH_USE}",
        specific_character_set="ISO_IR 192",
        coding_schemes=[codes.private_scheme()],
        **origin.equipment(),
    )


def _comments(result: Result, anything: bool) -> list[str]:
    """What numbers cannot say; nothing here names a patient."""
    verdict = "Hemorrhage was found by the algorithm." if anything else "No hemorrhage was found by the algorithm."
    quality = result.fields.get("quality", {}).get("findings", [])
    return [RESEARCH_STATEMENT, verdict, *(entry["message"] for entry in (*result.warnings, *quality))]


def _whole_scan(result: Result, source: SourceSeries, origin: Origin) -> MeasurementsAndQualitativeEvaluations:
    from highdicom.sr import MeasurementsAndQualitativeEvaluations, TrackingIdentifier

    return MeasurementsAndQualitativeEvaluations(
        tracking_identifier=TrackingIdentifier(fresh_uid(), "HemoCAM any hemorrhage"),
        finding_category=codes.CATEGORY,
        finding_type=codes.HEMORRHAGE,
        algorithm_id=origin.for_report(),
        measurements=_measurements(result, ANY),
        qualitative_evaluations=[_presence(result.volume_ml["total"] > 0)],
        source_images=_all_images(source),
    )


def _not_found(result: Result, subtype: Subtype, origin: Origin) -> MeasurementsAndQualitativeEvaluations:
    from highdicom.sr import MeasurementsAndQualitativeEvaluations, TrackingIdentifier

    return MeasurementsAndQualitativeEvaluations(
        tracking_identifier=TrackingIdentifier(fresh_uid(), f"HemoCAM {subtype.name}"),
        finding_category=codes.CATEGORY,
        finding_type=codes.HEMORRHAGE,
        finding_sites=_sites(subtype, None),
        algorithm_id=origin.for_report(),
        measurements=_measurements(result, subtype.name),
        qualitative_evaluations=[_which(subtype), _presence(False)],
    )


def _found(
    result: Result, source: SourceSeries, segment: Segment, segmentation: Segmentation, origin: Origin
) -> VolumetricROIMeasurementsAndQualitativeEvaluations:
    from highdicom.sr import (
        QualitativeEvaluation,
        TrackingIdentifier,
        VolumetricROIMeasurementsAndQualitativeEvaluations,
    )

    subtype = segment.subtype
    side = codes.SIDES.get(result.fields["side"][subtype.name])
    evaluations = [_which(subtype), _presence(True)]
    if side is not None:
        # Said for every subtype alike: EDH has no finding site that could carry its side.
        evaluations.append(QualitativeEvaluation(codes.LATERALITY, side))
    return VolumetricROIMeasurementsAndQualitativeEvaluations(
        tracking_identifier=TrackingIdentifier(segment.tracking_uid, segment.tracking_id),
        referenced_segment=_reference(source, segment, segmentation),
        finding_category=codes.CATEGORY,
        finding_type=codes.HEMORRHAGE,
        finding_sites=_sites(subtype, side),
        algorithm_id=origin.for_report(),
        measurements=_measurements(result, subtype.name),
        qualitative_evaluations=evaluations,
    )


def _measurements(result: Result, name: str) -> list[Measurement]:
    """Volume, slices, largest probability; ABC/2, diameter and lesions where there is something to measure.

    Args:
        result: the run.
        name: a subtype, or "any" for the whole scan.
    """
    from highdicom.sr import Measurement

    key = "total" if name == ANY else name
    volume_ml = result.volume_ml[key]
    probability = max(float(entry["probability"][name]) for entry in result.slices)
    shown = sum(entry["area_mm2"][name] > 0 for entry in result.slices)
    measurements = [
        Measurement(codes.VOLUME, volume_ml, codes.MILLILITRE),
        Measurement(codes.SLICE_COUNT, shown, codes.SLICES),
        Measurement(codes.PROBABILITY, probability, codes.NO_UNITS, derivation=codes.MAXIMUM),
    ]
    if volume_ml > 0:
        for concept, table, unit, derivation in (
            (codes.ABC2_VOLUME, "abc2_ml", codes.MILLILITRE, None),
            (codes.DIAMETER, "largest_diameter_mm", codes.MILLIMETRE, codes.MAXIMUM),
            (codes.LESION_COUNT, "components", codes.LESIONS, None),
        ):
            value = result.fields[table].get(key)
            if value is not None:
                measurements.append(Measurement(concept, value, unit, derivation=derivation))
    return measurements


def _presence(present: bool) -> QualitativeEvaluation:
    from highdicom.sr import QualitativeEvaluation

    return QualitativeEvaluation(codes.PRESENCE, codes.PRESENT if present else codes.ABSENT)


def _which(subtype: Subtype) -> QualitativeEvaluation:
    from highdicom.sr import QualitativeEvaluation

    return QualitativeEvaluation(codes.SUBTYPE, codes.subtype_code(subtype))


def _sites(subtype: Subtype, side: Code | None) -> list[FindingSite] | None:
    from highdicom.sr import FindingSite

    region = codes.region_of(subtype)
    return None if region is None else [FindingSite(anatomic_location=region, laterality=side)]


def _reference(source: SourceSeries, segment: Segment, segmentation: Segmentation) -> ReferencedSegment:
    """The segment, and the images that show it."""
    from highdicom.sr import ReferencedSegment, SourceImageForSegmentation

    if source.is_multi_frame:
        header = source.headers[0]
        frames = sorted(source.ct.source.planes[plane].frame + 1 for plane in segment.planes)
        images = [SourceImageForSegmentation(header.SOPClassUID, header.SOPInstanceUID, frames)]
    else:
        headers = [source.headers[plane] for plane in segment.planes]
        images = [SourceImageForSegmentation(header.SOPClassUID, header.SOPInstanceUID) for header in headers]
    return ReferencedSegment(
        sop_class_uid=segmentation.SOPClassUID,
        sop_instance_uid=segmentation.SOPInstanceUID,
        segment_number=segment.number,
        source_images=images,
    )


def _all_images(source: SourceSeries) -> list[SourceImageForMeasurementGroup]:
    from highdicom.sr import SourceImageForMeasurementGroup

    return [SourceImageForMeasurementGroup(header.SOPClassUID, header.SOPInstanceUID) for header in source.headers]
