"""Pixel data of one DICOM slice to Hounsfield units."""

from __future__ import annotations

import os
import threading
import zlib
from typing import Any

import numpy as np
import pydicom
import SimpleITK
from numpy.typing import NDArray
from pydicom.encaps import get_frame
from pydicom.pixels.decoders.base import get_decoder
from scipy import ndimage

from HemoCAMLib.ct.dicom_header import SliceHeader
from HemoCAMLib.ct.head_ct import AIR_HU
from HemoCAMLib.ct.stored_values import Reading, apply_reading
from HemoCAMLib.errors import InputRefused

#: GDCM keeps global state; one reader at a time.
_GDCM = threading.Lock()

#: Padding above this is tissue's own range, and is only believed where it touches the image border.
_SURE_PADDING_HU = -500

#: Most that a deflated file may grow to, bytes.
_INFLATED_LIMIT = 512 * 1024 * 1024

_END_OF_IMAGE = b"\xff\xd9"
_JPEG_FAMILY = "1.2.840.10008.1.2.4."


def read_hu(header: SliceHeader, reading: Reading) -> NDArray[np.int16]:
    """Hounsfield units of one slice, [row, column] int16, padding and everything below -1024 as -1024.

    Rescale slope and intercept as in PS3.3 C.7.6.16.2.9, padding as in C.7.5.1.1.2.

    Raises:
        InputRefused: ``CT_TRUNCATED`` or ``CT_UNREADABLE``.
    """
    stored = read_stored(header)
    hu = rescale(stored, header, reading)
    padding = _padding_mask(stored, header)
    if padding is not None:
        hu[_believed(padding, hu)] = AIR_HU
    return hu


def needs_judgement(header: SliceHeader) -> bool:
    """Whether the header may be wrong about HU: no intercept, or an unsigned field that cannot reach air."""
    return header.intercept is None or (not header.signed and header.intercept > -100)


def rescale(stored: NDArray[np.int32], header: SliceHeader, reading: Reading) -> NDArray[np.int16]:
    """Stored integers to int16 HU, not below -1024."""
    if needs_judgement(header) and reading is not Reading.AS_TAGGED:
        hu = apply_reading(stored, reading)
    else:
        slope, intercept = header.slope or 1.0, header.intercept or 0.0
        if slope == 1.0 and intercept == int(intercept) and abs(intercept) < 1e6:
            hu = stored + np.int32(intercept)
        else:
            with np.errstate(over="ignore", invalid="ignore"):
                hu = np.rint(np.clip(stored * slope + intercept, -32768, 32767)).astype(np.int32)
    return np.clip(hu, AIR_HU, 32767).astype(np.int16)


def read_stored(header: SliceHeader) -> NDArray[np.int32]:
    """Stored integers of one slice, [row, column], sign taken from the header."""
    if header.payload is not None:
        return _native(header)
    return _encapsulated(header)


def _native(header: SliceHeader) -> NDArray[np.int32]:
    assert header.payload is not None
    bytes_each = header.bits_allocated // 8
    size = header.rows * header.columns * bytes_each
    offset, length = header.payload
    first = header.frame * size
    with header.path.open("rb", buffering=0) as file:
        file.seek(offset + first)
        data = file.read(size) if first + size <= max(length, 0) or _odd_length(header, length) else b""
    if len(data) < size:
        raise truncated()
    kind = "i" if header.signed else "u"
    values = np.frombuffer(data, f"{'>' if header.big_endian else '<'}{kind}{bytes_each}")
    return _extend_sign(values.astype(np.int32).reshape(header.rows, header.columns), header)


def _odd_length(header: SliceHeader, length: int) -> bool:
    """Some writers leave the length of pixel data at zero; the file's own length then decides."""
    return length == 0 and header.frames == 1


def _extend_sign(values: NDArray[np.int32], header: SliceHeader) -> NDArray[np.int32]:
    """Signed numbers of 12 or 13 bits that were not extended to the 16 bits of their field."""
    half = 1 << (header.bits_stored - 1) if 1 < header.bits_stored < header.bits_allocated else 0
    if header.signed and half and values.min() >= 0 and values.max() >= half:
        return np.where(values >= half, values - 2 * half, values)
    return values


def _encapsulated(header: SliceHeader) -> NDArray[np.int32]:
    """Compressed pixel data: pydicom's decoders where they are installed, otherwise the GDCM inside SimpleITK."""
    dataset = _parse_again(header)
    if _decodable(header.transfer_syntax):
        _check_complete(dataset, header)
        try:
            values = _decoded(dataset, header)
        except InputRefused:
            raise
        except Exception as error:  # decoders raise whatever their libraries raise
            raise unreadable(f"{type(error).__name__} in the decoder") from error
    else:
        _check_complete(dataset, header)
        values = _gdcm(header)
    if values.shape != (header.rows, header.columns):
        raise unreadable("decoded image has another size than the header says")
    return _extend_sign(values, header)


def _parse_again(header: SliceHeader) -> Any:
    if header.path.stat().st_size > _INFLATED_LIMIT:
        raise unreadable("compressed file is too large")
    if header.transfer_syntax.endswith(".1.99"):
        _check_inflated(header)
    try:
        return pydicom.dcmread(header.path, force=True)
    except Exception as error:  # pydicom raises many kinds on broken bytes
        raise truncated() from error


def _check_inflated(header: SliceHeader) -> None:
    """A deflated file may hold any amount of data; find out before memory is taken."""
    data = header.path.read_bytes()
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    length = int.from_bytes(data[140:144], "little") if data[128:132] == b"DICM" else 0
    rest, total = data[144 + length :], 0
    while rest and not inflater.eof:
        try:
            total += len(inflater.decompress(rest, 1 << 20))
        except zlib.error as error:
            raise truncated() from error
        rest = inflater.unconsumed_tail
        if total > _INFLATED_LIMIT:
            raise unreadable("deflated file grows without bounds")


def _decodable(syntax: str) -> bool:
    try:
        return syntax.endswith(".1.99") or bool(get_decoder(pydicom.uid.UID(syntax)).is_available)
    except NotImplementedError:
        return False


def _check_complete(dataset: Any, header: SliceHeader) -> None:
    """A JPEG stream that was cut decodes without complaint to an image with an empty lower part; refuse it."""
    if not header.transfer_syntax.startswith(_JPEG_FAMILY):
        return
    try:
        frame = get_frame(dataset.PixelData, header.frame, number_of_frames=header.frames)
    except Exception as error:  # broken item lengths raise many kinds
        raise truncated() from error
    if not frame.rstrip(b"\0").endswith(_END_OF_IMAGE):
        raise truncated()


def _decoded(dataset: Any, header: SliceHeader) -> NDArray[np.int32]:
    if header.transfer_syntax.endswith(".1.99"):
        values = np.asarray(dataset.pixel_array)
        values = values[header.frame] if values.ndim == 3 else values
    else:
        decoder = get_decoder(pydicom.uid.UID(header.transfer_syntax))
        values, _ = decoder.as_array(dataset, index=header.frame, raw=True)
    return np.asarray(values).astype(np.int32)


def _gdcm(header: SliceHeader) -> NDArray[np.int32]:
    """Stored integers through SimpleITK, which hands out rescaled ones: the rescale is undone exactly."""
    reader = SimpleITK.ImageFileReader()
    reader.SetImageIO("GDCMImageIO")
    reader.SetFileName(os.fspath(header.path))
    try:
        with _GDCM:
            values = SimpleITK.GetArrayFromImage(reader.Execute())
    except RuntimeError as error:
        raise unreadable("no decoder for this compression, or damaged pixel data") from error
    if values.ndim == 3 and header.frame < len(values):
        values = values[header.frame]
    slope, intercept = header.slope or 1.0, header.intercept or 0.0
    return np.rint((values.astype(np.float64) - intercept) / slope).astype(np.int32)


def _padding_mask(stored: NDArray[np.int32], header: SliceHeader) -> NDArray[np.bool_] | None:
    """Pixels that the header declares as padding; compared as 16-bit patterns since writers confuse the sign."""
    if header.padding is None:
        return None
    pattern = stored & 0xFFFF
    if header.padding_limit is None or header.padding_limit == header.padding:
        return np.asarray(pattern == header.padding)
    low, high = sorted((_signed16(header.padding), _signed16(header.padding_limit)))
    values = ((pattern ^ 0x8000) - 0x8000) if low < 0 else pattern
    return np.asarray((values >= low) & (values <= high))


def _signed16(value: int) -> int:
    return value - 0x10000 if value >= 0x8000 else value


def _believed(padding: NDArray[np.bool_], hu: NDArray[np.int16]) -> NDArray[np.bool_]:
    """Padding that can be believed: a padding value of, say, 0 HU would otherwise punch holes into the brain."""
    if not padding.any() or int(hu[padding].max()) <= _SURE_PADDING_HU:
        return padding
    regions, count = ndimage.label(padding)
    border = np.concatenate([regions[0], regions[-1], regions[:, 0], regions[:, -1]])
    touching = np.zeros(count + 1, bool)
    touching[np.unique(border)] = True
    touching[0] = False
    return np.asarray(touching[regions])


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
