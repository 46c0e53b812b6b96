"""Compressed pixel data of one DICOM slice to stored integers."""

from __future__ import annotations

import struct
import tempfile
import threading
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.encaps import encapsulate, get_frame
from pydicom.pixels.decoders.base import get_decoder

from HemoCAMLib.ct.dicom_header import SliceHeader
from HemoCAMLib.errors import InputRefused

#: GDCM keeps global state; one reader at a time.
_GDCM = threading.Lock()

#: Most that one file may hold or grow to, bytes.
_LARGEST = 512 * 1024 * 1024

_END_OF_IMAGE = b"\xff\xd9"
_JPEG_FAMILY = "1.2.840.10008.1.2.4."
_DEFLATED = "1.2.840.10008.1.2.1.99"
#: Start-of-frame markers: JPEG (ISO 10918-1, B.1.1.3) without the tables among them, and JPEG-LS.
_FRAME_MARKERS = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC} | {0xF7}


def read_compressed(header: SliceHeader) -> NDArray[np.int32]:
    """Stored integers [row, column] of one compressed slice.

    pydicom's decoders are used where they are installed, otherwise the GDCM inside SimpleITK: Slicer's Python has
    no pylibjpeg. Either gets the codestream only after its length and its size have been checked.

    Raises:
        InputRefused: ``CT_TRUNCATED`` or ``CT_UNREADABLE``.
    """
    if header.path.stat().st_size > _LARGEST:
        raise unreadable("compressed file is too large")
    if header.transfer_syntax == _DEFLATED:
        return _deflated(header)
    dataset = _parse(header)
    frame = _frame(dataset, header)
    try:
        values = _decoded(dataset, header) if _decodable(header.transfer_syntax) else _gdcm(frame, header)
    except InputRefused:
        raise
    except Exception as error:  # decoders raise whatever their libraries raise
        raise unreadable(f"{type(error).__name__} in the decoder") from error
    return _checked(values, header)


def _checked(values: NDArray[np.generic], header: SliceHeader) -> NDArray[np.int32]:
    if values.shape != (header.rows, header.columns):
        raise unreadable("decoded image has another size than the header says")
    return values.astype(np.int32)


def _parse(header: SliceHeader) -> Any:
    try:
        return pydicom.dcmread(header.path, force=True)
    except Exception as error:  # pydicom raises many kinds on broken bytes
        raise truncated() from error


def _frame(dataset: Any, header: SliceHeader) -> bytes:
    """The codestream of one frame, complete and of the size that the header says.

    A JPEG stream that was cut decodes without complaint to an image with an empty lower part, and one whose size
    was damaged makes decoders take memory without bounds.
    """
    try:
        frame = get_frame(dataset.PixelData, header.frame, number_of_frames=header.frames)
    except Exception as error:  # broken item lengths raise many kinds
        raise truncated() from error
    if header.transfer_syntax.startswith(_JPEG_FAMILY):
        if not frame.rstrip(b"\0").endswith(_END_OF_IMAGE):
            raise truncated()
        if codestream_size(frame) != (header.rows, header.columns):
            raise unreadable("the compressed image has another size than the header says")
    return frame


def codestream_size(frame: bytes) -> tuple[int, int] | None:
    """(rows, columns) as a JPEG, JPEG-LS or JPEG 2000 codestream itself says; None where it does not."""
    if frame[:4] == b"\xff\x4f\xff\x51" and len(frame) >= 24:
        right, bottom, left, top = struct.unpack(">4I", frame[8:24])
        return bottom - top, right - left
    place = 2
    while place + 9 <= len(frame) and frame[place] == 0xFF:
        marker, length = frame[place + 1], struct.unpack(">H", frame[place + 2 : place + 4])[0]
        if marker in _FRAME_MARKERS:
            rows, columns = struct.unpack(">2H", frame[place + 5 : place + 9])
            return rows, columns
        place += 2 + length
    return None


def _decodable(syntax: str) -> bool:
    try:
        return bool(get_decoder(pydicom.uid.UID(syntax)).is_available)
    except NotImplementedError:
        return False


def _decoded(dataset: Any, header: SliceHeader) -> NDArray[np.generic]:
    decoder = get_decoder(pydicom.uid.UID(header.transfer_syntax))
    values, _ = decoder.as_array(dataset, index=header.frame, raw=True)
    return np.asarray(values)


def _gdcm(frame: bytes, header: SliceHeader) -> NDArray[np.generic]:
    """Decode through SimpleITK, from a clean file that holds nothing but this image.

    GDCM parses a damaged file for a long time and with much memory, and it would apply the rescale by itself.
    """
    # Large, slow to load, and needed by few scans.
    import SimpleITK

    clean = FileDataset("", Dataset(), preamble=b"\0" * 128, file_meta=FileMetaDataset())
    clean.file_meta.TransferSyntaxUID = pydicom.uid.UID(header.transfer_syntax)
    clean.file_meta.MediaStorageSOPClassUID = clean.SOPClassUID = pydicom.uid.CTImageStorage
    clean.file_meta.MediaStorageSOPInstanceUID = clean.SOPInstanceUID = pydicom.uid.generate_uid()
    clean.Modality = "CT"
    clean.Rows, clean.Columns = header.rows, header.columns
    clean.SamplesPerPixel, clean.PhotometricInterpretation = 1, "MONOCHROME2"
    clean.BitsAllocated, clean.BitsStored, clean.HighBit = header.bits_allocated, header.bits_stored, header.high_bit
    clean.PixelRepresentation = int(header.signed)
    clean.PixelData = encapsulate([frame])
    clean["PixelData"].VR = "OB"
    with tempfile.TemporaryDirectory(prefix="hemocam-") as folder:
        path = Path(folder, "slice.dcm")
        clean.save_as(path, enforce_file_format=True)
        reader = SimpleITK.ImageFileReader()
        reader.SetImageIO("GDCMImageIO")
        reader.SetFileName(str(path))
        with _GDCM:
            values: NDArray[np.generic] = SimpleITK.GetArrayFromImage(reader.Execute())
    return values.reshape(values.shape[-2:]) if values.ndim == 3 and values.shape[0] == 1 else values


def _deflated(header: SliceHeader) -> NDArray[np.int32]:
    """A file that is deflated as a whole may grow to any size; find out before memory is taken."""
    data = header.path.read_bytes()
    meta_length = int.from_bytes(data[140:144], "little") if data[128:132] == b"DICM" else 0
    inflater, rest, total = zlib.decompressobj(-zlib.MAX_WBITS), data[144 + meta_length :], 0
    try:
        while rest and not inflater.eof and total <= _LARGEST:
            total += len(inflater.decompress(rest, 1 << 20))
            rest = inflater.unconsumed_tail
    except zlib.error as error:
        raise truncated() from error
    if total > _LARGEST:
        raise unreadable("deflated file grows without bounds")
    try:
        values = np.asarray(_parse(header).pixel_array)
    except InputRefused:
        raise
    except Exception as error:  # pydicom raises many kinds where pixel data are short
        raise truncated() from error
    return _checked(values[header.frame] if values.ndim == 3 else values, header)


def truncated() -> InputRefused:
    return InputRefused(
        "CT_TRUNCATED",
        "A file of this scan is cut short: part of its image is missing.",
        "Copy or export the scan again.",
    )


def unreadable(detail: str) -> InputRefused:
    return InputRefused(
        "CT_UNREADABLE",
        "A file of this scan is damaged or stored in a way that cannot be read here.",
        "Export the scan again, without compression if possible.",
        detail,
    )
