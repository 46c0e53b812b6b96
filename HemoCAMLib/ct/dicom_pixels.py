"""Pixel data of one DICOM slice to Hounsfield units."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from HemoCAMLib.ct.dicom_compressed import read_compressed, truncated
from HemoCAMLib.ct.dicom_header import SliceHeader
from HemoCAMLib.ct.head_ct import AIR_HU
from HemoCAMLib.ct.stored_values import Reading, apply_reading

#: Padding above this is tissue's own range, and is only believed where it touches the image border.
_SURE_PADDING_HU = -500


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
    return _extend_sign(read_compressed(header), header)


def _native(header: SliceHeader) -> NDArray[np.int32]:
    assert header.payload is not None
    bytes_each = header.bits_allocated // 8
    size = header.rows * header.columns * bytes_each
    offset, length = header.payload
    first = header.frame * size
    with header.path.open("rb", buffering=0) as file:
        file.seek(offset + first)
        data = file.read(size) if first + size <= length else b""
    if len(data) < size:
        raise truncated()
    kind = "i" if header.signed else "u"
    values = np.frombuffer(data, f"{'>' if header.big_endian else '<'}{kind}{bytes_each}")
    return _extend_sign(values.astype(np.int32).reshape(header.rows, header.columns), header)


def _extend_sign(values: NDArray[np.int32], header: SliceHeader) -> NDArray[np.int32]:
    """Signed numbers of 12 or 13 bits that were not extended to the 16 bits of their field."""
    half = 1 << (header.bits_stored - 1) if 1 < header.bits_stored < header.bits_allocated else 0
    if header.signed and half and values.min() >= 0 and values.max() >= half:
        return np.where(values >= half, values - 2 * half, values)
    return values


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
