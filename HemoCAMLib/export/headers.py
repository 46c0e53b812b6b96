"""Headers of the original files, made fit for objects that are derived from them.

A derived object repeats the patient and study modules of its source (PS3.3 A.51.3, A.75.3, A.35.13) and points at
its images. Files of research data sets lack some of what the standard demands of every CT image, and real archives
send values that break their own type. Here such values are completed where nothing is invented by it, emptied where
the standard allows an empty value (type 2), and refused otherwise. Nothing of a header ever leaves this module
other than inside a dataset.
"""

from __future__ import annotations

import re
import uuid
from collections import deque

import numpy as np
import pydicom
from pydicom import config
from pydicom.dataset import Dataset
from pydicom.tag import BaseTag
from pydicom.uid import CTImageStorage
from pydicom.valuerep import validate_value

from HemoCAMLib.ct import HeadCT, ScanWarning
from HemoCAMLib.ct.reader import quiet_pydicom
from HemoCAMLib.errors import InputRefused

#: Patient (PS3.3 C.7.1.1) and General Study (C.7.2.1): must be there, may be empty.
TYPE_2 = (
    "PatientName",
    "PatientID",
    "PatientBirthDate",
    "PatientSex",
    "StudyDate",
    "StudyTime",
    "StudyID",
    "AccessionNumber",
    "ReferringPhysicianName",
)
_SEXES = ("", "M", "F", "O")
#: Value types of text, each with rules of its own (PS3.5 6.2). Identifiers are looked at apart.
_TEXT_TYPES = ("AE", "AS", "CS", "DA", "DS", "DT", "IS", "LO", "LT", "PN", "SH", "ST", "TM", "UT")
#: Components with leading zeros break PS3.5 9.1 but are common and harmless.
_UID = re.compile(r"[0-9][0-9.]{0,63}")
#: Groups of the identifying, patient and relationship attributes; others are not repeated in a derived object.
_REPEATED_GROUPS = (0x0008, 0x0010, 0x0012, 0x0020, 0x0032, 0x0038, 0x0040)


def read_headers(ct: HeadCT) -> tuple[tuple[Dataset, ...], tuple[ScanWarning, ...]]:
    """One header for every file of a scan, completed.

    Args:
        ct: a scan that was read from DICOM.

    Returns:
        datasets without pixels, in the order of ``ct.source.planes``, and what was done to them, in words.

    Raises:
        InputRefused: ``CT_NO_IDENTIFIERS``, ``CT_NO_POSITIONS``, ``CT_HEADER``, ``CT_SEVERAL_FILES``.
    """
    planes = ct.source.planes
    paths = list(dict.fromkeys(plane.path for plane in planes))
    if len(paths) > 1 and len(paths) != len(planes):
        raise InputRefused(
            "CT_SEVERAL_FILES",
            "The scan is spread over several files of many images each, and a DICOM result can refer to one such "
            "file only.",
            "Export the series from the archive as one file, or with one file a slice.",
        )
    by_path = {plane.path: plane for plane in planes}
    with quiet_pydicom():
        try:
            headers = tuple(pydicom.dcmread(path, stop_before_pixels=True, force=True) for path in paths)
            notices: dict[str, ScanWarning] = {}
            for header, path in zip(headers, paths, strict=True):
                _complete(header, by_path[path].sop_instance_uid, ct, notices)
            _share_geometry(headers, ct)
        except InputRefused:
            raise
        except Exception as error:  # pydicom raises many kinds on broken bytes; their text may hold a patient's
            raise broken_header(error) from None
    _check_identifiers(headers)
    return headers, tuple(notices.values())


def broken_header(error: BaseException) -> InputRefused:
    """The refusal of a source whose headers break a DICOM object; keeps the kind of failure, never its text."""
    trace, place = error.__traceback__, ""
    while trace is not None:
        place = f"{trace.tb_frame.f_globals.get('__name__', '')}:{trace.tb_lineno}"
        trace = trace.tb_next
    return InputRefused(
        "CT_HEADER",
        "The headers of the original files hold values from which no valid DICOM object can be made.",
        "Export the original series from the archive again.",
        f"{type(error).__name__} at {place}",
    )


def _complete(header: Dataset, sop_instance_uid: str, ct: HeadCT, notices: dict[str, ScanWarning]) -> None:
    if _drop_broken_values(header):
        notices["values"] = ScanWarning(
            "CT_HEADER_VALUES", "Header values that break the DICOM standard were left empty in the exported objects."
        )
    for keyword in TYPE_2:
        if keyword not in header:
            setattr(header, keyword, "")
    meta = getattr(header, "file_meta", Dataset())
    header.SOPClassUID = header.get("SOPClassUID") or meta.get("MediaStorageSOPClassUID") or CTImageStorage
    header.SOPInstanceUID = sop_instance_uid
    header.Modality = "CT"
    if header.get("PatientIdentityRemoved") == "YES" and not (
        header.get("DeidentificationMethod") or header.get("DeidentificationMethodCodeSequence")
    ):
        # PS3.3 C.7.1.1 asks for a method; this is what is known of it.
        header.DeidentificationMethod = "Not stated in the source"
    if not header.get("FrameOfReferenceUID"):
        header.FrameOfReferenceUID = derived_uid("frame of reference", ct.source.series_instance_uid)
        notices["frame"] = ScanWarning(
            "CT_NO_FRAME_OF_REFERENCE",
            "The original files name no frame of reference; the exported objects share one that is derived from the "
            "series identifier.",
        )
    # A step that ignores tilt or uneven distances would mislead a reader; highdicom adds the true one where it exists.
    if "SpacingBetweenSlices" in header:
        del header.SpacingBetweenSlices


def _drop_broken_values(header: Dataset) -> bool:
    """Empties values that break the rules of their own type; True where there were any.

    Text is decoded on the way, so that it can be written in another character set.
    """
    unreadable = [tag for tag in list(header.keys()) if not _decode(header, tag)]
    for tag in unreadable:
        del header[tag]
    broken = []
    for element in header:
        if element.tag.group not in _REPEATED_GROUPS or element.tag.is_private or element.VR not in _TEXT_TYPES:
            continue
        values = element.value if element.VM > 1 else [element.value]
        try:
            for value in values if element.VM else ():
                validate_value(element.VR, str(value), config.RAISE)
            sound = element.keyword != "PatientSex" or str(element.value or "") in _SEXES
        except (ValueError, TypeError):
            sound = False
        if not sound:
            broken.append(element)
    for element in broken:
        if element.keyword in TYPE_2:
            element.value = ""
        else:
            del header[element.tag]
    return bool(broken or unreadable)


def _decode(header: Dataset, tag: BaseTag) -> bool:
    """Reads one element with all that is inside it; False where its bytes are no value of its type."""
    try:
        element = header[tag]
        for item in element.value if element.VR == "SQ" else ():
            deque(item.iterall(), maxlen=0)
        return True
    except Exception:  # pydicom raises many kinds on broken bytes
        return False


def _check_identifiers(headers: tuple[Dataset, ...]) -> None:
    uids = [str(header.SOPInstanceUID) for header in headers]
    studies = {str(header.get("StudyInstanceUID") or "") for header in headers}
    series = {str(header.get("SeriesInstanceUID") or "") for header in headers}
    valid = all(_UID.fullmatch(uid) for uid in (*uids, *studies, *series))
    if not valid or len(set(uids)) != len(uids) or len(studies) != 1:
        raise InputRefused(
            "CT_NO_IDENTIFIERS",
            "The files of this scan lack valid identifiers of their own, so no DICOM result can refer to them.",
            "Export the original series from the archive and analyse it.",
        )


def _share_geometry(headers: tuple[Dataset, ...], ct: HeadCT) -> None:
    """Orientation, spacing and thickness in one way for all planes; what differs by rounding is made the same.

    Raises:
        InputRefused: ``CT_NO_POSITIONS``, a lone slice that does not say where it lies.
    """
    first = headers[0]
    if "PerFrameFunctionalGroupsSequence" in first:
        _share_groups(first, ct)
        return
    if "ImageOrientationPatient" not in first or "ImagePositionPatient" not in first:
        raise InputRefused(
            "CT_NO_POSITIONS",
            "The original file does not say where it lies in the patient, so a DICOM result would have no place.",
            "Export the original series instead of a copy without positions.",
        )
    for header in headers:
        header.ImageOrientationPatient = first.ImageOrientationPatient
        header.PixelSpacing = first.PixelSpacing
        header.FrameOfReferenceUID = first.FrameOfReferenceUID
        _fill_thickness(header, ct)


def _share_groups(header: Dataset, ct: HeadCT) -> None:
    """Orientation and spacing of a multi-frame file said once, as those of the frames that were analysed."""
    if not header.get("SharedFunctionalGroupsSequence"):
        header.SharedFunctionalGroupsSequence = [Dataset()]
    shared = header.SharedFunctionalGroupsSequence[0]
    analysed = header.PerFrameFunctionalGroupsSequence[ct.source.planes[0].frame]
    for keyword in ("PlaneOrientationSequence", "PixelMeasuresSequence"):
        if keyword not in shared:
            setattr(shared, keyword, getattr(analysed, keyword))
    measures = shared.PixelMeasuresSequence[0]
    if "SpacingBetweenSlices" in measures:
        del measures.SpacingBetweenSlices
    _fill_thickness(measures, ct)


def _fill_thickness(measures: Dataset, ct: HeadCT) -> None:
    """Where the files do not tell the slice thickness, the median extent of the slices stands for it."""
    try:
        known = float(measures.get("SliceThickness") or 0) > 0
    except (TypeError, ValueError):
        known = False
    if not known:
        measures.SliceThickness = round(float(np.median(ct.geometry.extents_mm)), 4)


def derived_uid(*parts: str) -> str:
    """A UID that is the same whenever the parts are: ``2.25.`` and a name-based UUID (PS3.5 B.2)."""
    return f"2.25.{uuid.uuid5(uuid.NAMESPACE_URL, 'hemocam/' + '/'.join(parts)).int}"


def fresh_uid() -> str:
    """A UID that was never used before: ``2.25.`` and a random UUID (PS3.5 B.2)."""
    return f"2.25.{uuid.uuid4().int}"
