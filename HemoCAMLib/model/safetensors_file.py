"""Reading and writing safetensors with the standard library and numpy only, every bound checked. Host side.

The format: 8 bytes little-endian header length, a JSON header ``{name: {dtype, shape, data_offsets}}``, then the
tensors' bytes without gaps or overlaps (https://github.com/huggingface/safetensors, "Format"). Nothing in such a
file can be executed. Slicer's Python has no safetensors package, and a damaged file must end in one clear
sentence, so the checks are made here.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from HemoCAMLib.errors import ModelRefused
from HemoCAMLib.model.strict_json import parse_json

MAXIMUM_HEADER_BYTES = 16 * 2**20
MAXIMUM_TENSORS = 20_000
MAXIMUM_DIMENSIONS = 8

_DTYPES: dict[str, np.dtype[Any]] = {
    "F64": np.dtype("<f8"),
    "F32": np.dtype("<f4"),
    "F16": np.dtype("<f2"),
    # numpy has no bfloat16; its bits are the upper half of a float32.
    "BF16": np.dtype("<u2"),
    "I64": np.dtype("<i8"),
    "I32": np.dtype("<i4"),
    "I16": np.dtype("<i2"),
    "I8": np.dtype("i1"),
    "U8": np.dtype("u1"),
    "BOOL": np.dtype("?"),
}
_NAMES = {dtype: name for name, dtype in _DTYPES.items() if name != "BF16"}


@dataclass(frozen=True)
class TensorEntry:
    """Where one tensor lies.

    Attributes:
        dtype: the format's name, such as ``F16``.
        shape: lengths of its dimensions.
        begin: first byte, counted from the end of the header.
        end: one past its last byte.
    """

    dtype: str
    shape: tuple[int, ...]
    begin: int
    end: int


def read_header(data: bytes | memoryview) -> tuple[dict[str, TensorEntry], int]:
    """The tensors of a safetensors file and the offset of the first tensor's bytes.

    Raises:
        ModelRefused: ``MODEL_WEIGHTS_DAMAGED``.
    """
    if len(data) < 8:
        raise _damaged("shorter than a header")
    (length,) = struct.unpack_from("<Q", data)
    if length > MAXIMUM_HEADER_BYTES or length > len(data) - 8:
        raise _damaged(f"header of {length} bytes in a file of {len(data)}")
    try:
        header = parse_json(bytes(data[8 : 8 + length]))
    except ValueError as error:
        raise _damaged(f"header: {error}") from error
    if not isinstance(header, dict):
        raise _damaged("header is not a table")
    header.pop("__metadata__", None)
    if not 0 < len(header) <= MAXIMUM_TENSORS:
        raise _damaged(f"{len(header)} tensors")
    entries = {name: _entry(name, fields) for name, fields in header.items()}
    _check_layout(entries, len(data) - 8 - length)
    return entries, 8 + length


def read_tensors(data: bytes | memoryview) -> dict[str, NDArray[Any]]:
    """All tensors by name; bfloat16 comes as float32, everything else as stored. Views of ``data`` where possible.

    Raises:
        ModelRefused: ``MODEL_WEIGHTS_DAMAGED``.
    """
    entries, start = read_header(data)
    tensors: dict[str, NDArray[Any]] = {}
    for name, entry in entries.items():
        count = (entry.end - entry.begin) // _DTYPES[entry.dtype].itemsize
        flat = np.frombuffer(data, dtype=_DTYPES[entry.dtype], count=count, offset=start + entry.begin)
        if entry.dtype == "BF16":
            flat = (flat.astype(np.uint32) << 16).view(np.float32)
        elif entry.dtype == "BOOL":
            flat = np.frombuffer(data, dtype=np.uint8, count=count, offset=start + entry.begin) != 0
        tensors[name] = flat.reshape(entry.shape)
    return tensors


def write_tensors(tensors: Mapping[str, NDArray[Any]]) -> bytes:
    """The bytes of a safetensors file; names are sorted, so the same tensors always give the same bytes.

    Raises:
        ValueError: a tensor's type cannot be stored.
    """
    header: dict[str, dict[str, Any]] = {}
    parts: list[bytes] = []
    offset = 0
    # Larger item sizes first keep every tensor aligned to its own item size.
    for name in sorted(tensors, key=lambda key: (-tensors[key].dtype.itemsize, key)):
        array = np.asarray(tensors[name], order="C")
        little = array.astype(array.dtype.newbyteorder("<"), copy=False)
        if little.dtype not in _NAMES:
            raise ValueError(f"tensor {name} has type {array.dtype}, which safetensors cannot hold")
        part = little.tobytes()
        header[name] = {
            "dtype": _NAMES[little.dtype],
            "shape": list(array.shape),
            "data_offsets": [offset, offset + len(part)],
        }
        parts.append(part)
        offset += len(part)
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + b"".join(parts)


def _entry(name: str, fields: object) -> TensorEntry:
    if not isinstance(fields, dict) or set(fields) != {"dtype", "shape", "data_offsets"}:
        raise _damaged(f"entry of tensor {name[:80]!r}")
    dtype, shape, offsets = fields["dtype"], fields["shape"], fields["data_offsets"]
    if not isinstance(dtype, str) or dtype not in _DTYPES:
        raise _damaged(f"tensor {name[:80]!r} has type {str(dtype)[:20]!r}")
    if not _is_counts(shape) or len(shape) > MAXIMUM_DIMENSIONS or not _is_counts(offsets) or len(offsets) != 2:
        raise _damaged(f"shape or offsets of tensor {name[:80]!r}")
    items = 1
    for length in shape:
        items *= length
    if offsets[1] - offsets[0] != items * _DTYPES[dtype].itemsize:
        raise _damaged(f"size of tensor {name[:80]!r}")
    return TensorEntry(dtype, tuple(shape), offsets[0], offsets[1])


def _check_layout(entries: Mapping[str, TensorEntry], total: int) -> None:
    position = 0
    for entry in sorted(entries.values(), key=lambda item: (item.begin, item.end)):
        if entry.begin != position:
            raise _damaged(f"a gap or overlap at byte {position}")
        position = entry.end
    if position != total:
        raise _damaged(f"tensors end at byte {position}, the file at {total}")


def _is_counts(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(v, int) and not isinstance(v, bool) and v >= 0 for v in value)


def _damaged(detail: str) -> ModelRefused:
    return ModelRefused(
        "MODEL_WEIGHTS_DAMAGED",
        "The model's weights file is damaged.",
        "Get the model again from where it came from.",
        f"safetensors: {detail}",
    )
