"""DICOM headers, each file read once; nothing is validated aloud, nothing that names a patient is kept."""

from __future__ import annotations

import io
import math
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from pydicom.dataset import Dataset

from HemoCAMLib.ct.dicom_frames import frame_headers
from HemoCAMLib.ct.dicom_header import CT_CLASSES, DamagedDicomError, SliceHeader, positive, unit_cosines
from HemoCAMLib.ct.geometry import Vector

#: The header of nearly every CT slice is shorter than this; longer ones are parsed from the file.
_FIRST_BYTES = 64 * 1024

#: What technologists type where no agent was given.
_NO_CONTRAST = frozenset({"", "NO", "NONE", "N", "NIL", "0", "-", "NO CONTRAST", "WITHOUT", "NATIVE"})
_DEFLATED = "1.2.840.10008.1.2.1.99"
_BIG_ENDIAN = "1.2.840.10008.1.2.2"
NATIVE_SYNTAXES = frozenset({"1.2.840.10008.1.2", "1.2.840.10008.1.2.1", _BIG_ENDIAN})
_DIRECTORY_CLASS = "1.2.840.10008.1.3.10"

# fmt: off
_KEYWORDS = (
    "ImageType", "SOPClassUID", "SOPInstanceUID", "Modality", "SeriesDescription", "ContrastBolusAgent",
    "BodyPartExamined", "SliceThickness", "GantryDetectorTilt", "SpacingBetweenSlices", "ConvolutionKernel",
    "StudyInstanceUID", "SeriesInstanceUID", "ImagePositionPatient", "ImageOrientationPatient", "SamplesPerPixel",
    "PhotometricInterpretation", "NumberOfFrames", "Rows", "Columns", "PixelSpacing", "BitsAllocated", "BitsStored",
    "HighBit", "PixelRepresentation", "PixelPaddingValue", "PixelPaddingRangeLimit", "RescaleIntercept",
    "RescaleSlope", "SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence",
)
# fmt: on
_TAGS: dict[str, int] = {word: int(pydicom.datadict.tag_for_keyword(word) or 0) for word in _KEYWORDS}


def looks_like_dicom(path: Path) -> bool:
    """Whether the file starts like DICOM: the PS3.10 preamble, or a first element of group 2 or 8 without one."""
    with path.open("rb") as file:
        start = file.read(132)
    if start[128:132] == b"DICM":
        return True
    group, element = struct.unpack("<HH", start[:4]) if len(start) >= 16 else (0, 0)
    if (group, element) not in {(2, 0), (2, 1), (8, 0), (8, 5), (8, 8), (8, 0x16)}:
        return False
    explicit = start[4:6].isalpha() and start[4:6].isupper()
    return explicit or struct.unpack("<I", start[4:8])[0] < 1024


def read_slice_headers(path: Path) -> list[SliceHeader]:
    """Every slice that a DICOM file holds; empty for DICOM without an image (reports, directories).

    Raises:
        DamagedDicomError: the header is cut or broken, or announces an image that is not there.
    """
    try:
        return _headers(path)
    except (DamagedDicomError, OSError):
        raise
    except Exception as error:  # pydicom raises many kinds on broken bytes, some only on access
        raise DamagedDicomError(f"{type(error).__name__} while parsing the header") from error


def _headers(path: Path) -> list[SliceHeader]:
    dataset, offset, start = _parse(path)
    values = _Values(dataset)
    syntax = str(getattr(dataset.file_meta, "TransferSyntaxUID", "") or "")
    sop_class = str(getattr(dataset.file_meta, "MediaStorageSOPClassUID", "") or "") or values.text("SOPClassUID")
    if sop_class == _DIRECTORY_CLASS:
        return []
    # A file cut inside its header has no size yet; what is known not to be CT is no loss.
    if not values.integer("Rows") and sop_class and sop_class not in CT_CLASSES:
        return []
    if not start:
        raise DamagedDicomError("the header announces an image but the file holds no pixel data")
    big_endian = not dataset.original_encoding[1]
    header = _one_slice(path, values, syntax, _payload(offset, start, syntax, big_endian), big_endian)
    return frame_headers(dataset, header)


def _parse(path: Path) -> tuple[Dataset, int, bytes]:
    """The header, the offset of the pixel data element and that element's first 12 bytes (empty if absent)."""
    tags = list(_TAGS.values())
    with path.open("rb") as file:
        buffer = io.BytesIO(file.read(_FIRST_BYTES))
        whole = len(buffer.getbuffer()) < _FIRST_BYTES
        stream: Any = buffer
        dataset = None
        try:
            dataset = pydicom.dcmread(buffer, stop_before_pixels=True, force=True, specific_tags=tags)
        except Exception:
            if whole:
                raise
        found = dataset is not None and _at_pixel_data(stream)
        if not found and not whole:
            file.seek(0)
            stream = file
            dataset = pydicom.dcmread(
                stream, stop_before_pixels=True, force=True, specific_tags=tags, defer_size=16 * 1024 * 1024
            )
            found = _at_pixel_data(stream)
        assert dataset is not None
        if str(getattr(dataset.file_meta, "TransferSyntaxUID", "")) == _DEFLATED:
            # Positions in the inflated stream mean nothing in the file.
            return dataset, 0, b"deflated"
        offset = int(stream.tell())
        return dataset, offset, stream.read(12) if found else b""


def _at_pixel_data(stream: Any) -> bool:
    place = stream.tell()
    tag = stream.read(4)
    stream.seek(place)
    return tag in (b"\xe0\x7f\x10\x00", b"\x7f\xe0\x00\x10")


def _payload(offset: int, start: bytes, syntax: str, big_endian: bool) -> tuple[int, int] | None:
    if syntax and syntax not in NATIVE_SYNTAXES:
        return None
    if len(start) < 12:
        raise DamagedDicomError("the file ends inside the pixel data element")
    order = ">" if big_endian else "<"
    if start[4:6] in (b"OB", b"OW", b"UN"):
        length, at = struct.unpack(order + "I", start[8:12])[0], offset + 12
    else:
        length, at = struct.unpack(order + "I", start[4:8])[0], offset + 8
    return None if length == 0xFFFFFFFF else (at, int(length))


class _Values:
    """Header values from the bytes as they stand: nothing is validated aloud, nothing is raised."""

    def __init__(self, dataset: Dataset) -> None:
        self._dataset = dataset
        self._order = "<" if dataset.original_encoding[1] is not False else ">"

    def _bytes(self, keyword: str) -> bytes:
        element = self._dataset.get_item(_TAGS[keyword]) if _TAGS[keyword] in self._dataset else None
        value = getattr(element, "value", None)
        if isinstance(value, bytes):
            return value
        if value is None or isinstance(value, (int, float)):
            return b"" if value is None else str(value).encode()
        if isinstance(value, (list, tuple)) or type(value).__name__ == "MultiValue":
            return "\\".join(str(part) for part in value).encode("latin-1", "replace")
        return str(value).encode("latin-1", "replace")

    def texts(self, keyword: str) -> tuple[str, ...]:
        text = self._bytes(keyword).decode("latin-1").strip("\0 ")
        return tuple(part.strip("\0 ") for part in text.split("\\")) if text else ()

    def text(self, keyword: str) -> str:
        return (self.texts(keyword) or ("",))[0]

    def numbers(self, keyword: str, count: int) -> list[float] | None:
        try:
            values = [float(part) for part in self.texts(keyword)]
        except ValueError:
            return None
        return values[:count] if len(values) >= count and all(map(math.isfinite, values)) else None

    def number(self, keyword: str) -> float | None:
        values = self.numbers(keyword, 1)
        return values[0] if values else None

    def integer(self, keyword: str) -> int | None:
        """A US or SS value, as unsigned 16 bit; a number written as text is read too."""
        raw = self._bytes(keyword)
        if len(raw) >= 2 and getattr(self._dataset.get_item(_TAGS[keyword]), "is_raw", False):
            return int(struct.unpack(self._order + "H", raw[:2])[0])
        number = self.number(keyword)
        return None if number is None else int(number) & 0xFFFF

    def vector(self, keyword: str, count: int) -> Vector | None:
        values = self.numbers(keyword, count)
        return None if values is None else np.array(values)


def _one_slice(
    path: Path, values: _Values, syntax: str, payload: tuple[int, int] | None, big_endian: bool
) -> SliceHeader:
    description = values.text("SeriesDescription").lower()
    spacing = values.numbers("PixelSpacing", 2)
    frames = values.number("NumberOfFrames")
    allocated = values.integer("BitsAllocated") or 16
    stored = values.integer("BitsStored") or allocated
    return SliceHeader(
        path=path,
        frame=0,
        frames=max(1, int(frames or 1)),
        transfer_syntax=syntax,
        payload=payload,
        big_endian=big_endian,
        sop_class=values.text("SOPClassUID"),
        sop_instance_uid=values.text("SOPInstanceUID"),
        study_uid=values.text("StudyInstanceUID"),
        series_uid=values.text("SeriesInstanceUID"),
        modality=values.text("Modality").upper(),
        image_type=tuple(part.upper() for part in values.texts("ImageType")),
        body_part=values.text("BodyPartExamined").upper(),
        kernel=values.text("ConvolutionKernel").upper(),
        contrast=values.text("ContrastBolusAgent").upper() not in _NO_CONTRAST,
        described_as_bone=any(word in description for word in ("bone", "knochen")),
        rows=values.integer("Rows") or 0,
        columns=values.integer("Columns") or 0,
        samples=values.integer("SamplesPerPixel") or 1,
        photometric=values.text("PhotometricInterpretation").upper() or "MONOCHROME2",
        bits_allocated=allocated,
        bits_stored=stored,
        high_bit=_first(values.integer("HighBit"), stored - 1),
        signed=values.integer("PixelRepresentation") == 1,
        padding=values.integer("PixelPaddingValue"),
        padding_limit=values.integer("PixelPaddingRangeLimit"),
        slope=values.number("RescaleSlope"),
        intercept=values.number("RescaleIntercept"),
        position_mm=values.vector("ImagePositionPatient", 3),
        orientation=unit_cosines(values.vector("ImageOrientationPatient", 6)),
        spacing_mm=(spacing[0], spacing[1]) if spacing else None,
        thickness_mm=positive(values.number("SliceThickness")) or positive(values.number("SpacingBetweenSlices")),
        tilt_tag_deg=values.number("GantryDetectorTilt"),
    )


def _first(value: int | None, otherwise: int) -> int:
    return otherwise if value is None else value
