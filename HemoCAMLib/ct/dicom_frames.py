"""Multi-frame DICOM files: one header for every frame (Enhanced CT, PS3.3 A.38)."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
from pydicom.dataset import Dataset

from HemoCAMLib.ct.dicom_header import DamagedDicomError, SliceHeader, positive, unit_cosines


def frame_headers(dataset: Dataset, header: SliceHeader) -> list[SliceHeader]:
    """One header for every frame of a multi-frame file (Enhanced CT, PS3.3 A.38, functional groups C.7.6.16)."""
    per_frame = _group(dataset, "PerFrameFunctionalGroupsSequence")
    if header.frames == 1 and not per_frame:
        return [header]
    if len(per_frame) != header.frames:
        raise DamagedDicomError("a multi-frame file without a position for every frame")
    shared = _group(dataset, "SharedFunctionalGroupsSequence")
    return [_frame(header, index, [item, *shared[:1]]) for index, item in enumerate(per_frame)]


def _group(dataset: Dataset, keyword: str) -> list[Dataset]:
    try:
        return list(getattr(dataset, keyword, None) or [])
    except Exception as error:  # a sequence is decoded on access, and broken bytes raise anything
        raise DamagedDicomError("the functional groups of a multi-frame file are broken") from error


def _frame(header: SliceHeader, index: int, groups: list[Dataset]) -> SliceHeader:
    def values(sequence: str, keyword: str, count: int) -> list[float] | None:
        try:
            for group in groups:
                macro = getattr(group, sequence, None)
                value = getattr(macro[0], keyword, None) if macro else None
                if value is not None:
                    numbers = [float(part) for part in (value if count > 1 else [value])]
                    return numbers if len(numbers) == count and all(map(math.isfinite, numbers)) else None
        except Exception as error:
            raise DamagedDicomError("the functional groups of a multi-frame file are broken") from error
        return None

    position = values("PlanePositionSequence", "ImagePositionPatient", 3)
    cosines = values("PlaneOrientationSequence", "ImageOrientationPatient", 6)
    spacing = values("PixelMeasuresSequence", "PixelSpacing", 2)
    thickness = values("PixelMeasuresSequence", "SliceThickness", 1)
    slope = values("PixelValueTransformationSequence", "RescaleSlope", 1)
    intercept = values("PixelValueTransformationSequence", "RescaleIntercept", 1)
    return replace(
        header,
        frame=index,
        position_mm=np.array(position) if position else header.position_mm,
        orientation=unit_cosines(np.array(cosines)) if cosines else header.orientation,
        spacing_mm=(spacing[0], spacing[1]) if spacing else header.spacing_mm,
        thickness_mm=positive(thickness[0]) if thickness else header.thickness_mm,
        slope=slope[0] if slope else header.slope,
        intercept=intercept[0] if intercept else header.intercept,
    )
