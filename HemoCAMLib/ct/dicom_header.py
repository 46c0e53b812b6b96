"""One slice as its DICOM header describes it, without values that name a patient."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from HemoCAMLib.ct.geometry import Vector

#: CT Image Storage and Enhanced CT Image Storage (PS3.4 B.5).
CT_CLASSES = frozenset({"1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.2.1"})


class DamagedDicomError(Exception):
    """A file that is DICOM but whose header is cut or broken; the text is for a log and names no file."""


@dataclass(frozen=True, eq=False)
class SliceHeader:
    """One slice as its DICOM header describes it (PS3.3 C.7.6.2, C.7.6.3, C.8.2.1); lengths in mm, LPS.

    ``None`` stands for absent or unreadable. ``payload`` is (offset, length) of the pixel data of all frames
    in the file for uncompressed data, None where a decoder has to find it.
    """

    path: Path
    frame: int
    frames: int
    transfer_syntax: str
    payload: tuple[int, int] | None
    big_endian: bool
    sop_class: str
    sop_instance_uid: str
    study_uid: str
    series_uid: str
    modality: str
    image_type: tuple[str, ...]
    body_part: str
    kernel: str
    contrast: bool
    described_as_bone: bool
    rows: int
    columns: int
    samples: int
    photometric: str
    bits_allocated: int
    bits_stored: int
    high_bit: int
    signed: bool
    padding: int | None
    padding_limit: int | None
    slope: float | None
    intercept: float | None
    position_mm: Vector | None
    orientation: Vector | None
    spacing_mm: tuple[float, float] | None
    thickness_mm: float | None
    tilt_tag_deg: float | None

    @property
    def is_ct(self) -> bool:
        if self.modality:
            return self.modality == "CT"
        return self.sop_class in CT_CLASSES or not self.sop_class

    @property
    def is_localizer(self) -> bool:
        return "LOCALIZER" in self.image_type or "SCOUT" in self.image_type


def positive(value: float | None) -> float | None:
    return value if value is not None and value > 0 else None


def unit_cosines(cosines: Vector | None) -> Vector | None:
    """The six direction cosines with unit length, or None where they span no plane."""
    if cosines is None:
        return None
    row, column = cosines[:3], cosines[3:]
    lengths = np.linalg.norm(row), np.linalg.norm(column)
    if not (0.9 < lengths[0] < 1.1 and 0.9 < lengths[1] < 1.1):
        return None
    return np.concatenate([row / lengths[0], column / lengths[1]])
