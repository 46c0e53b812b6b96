"""The header of a NRRD file, as far as a scan needs it.

As with NIfTI the space directions are read here because SimpleITK cannot hold sheared ones.
Format: teem.sourceforge.net/nrrd/format.html.
"""

from __future__ import annotations

import math
import re
from pathlib import Path

import numpy as np

from HemoCAMLib.ct.geometry import Vector
from HemoCAMLib.ct.head_ct import ScanWarning
from HemoCAMLib.ct.volume_header import (
    VolumeHeader,
    cut_short,
    not_one_volume,
    not_readable,
    three_sizes,
    usable_affine,
)

_TYPES = {
    "i1": ("signed char", "int8", "int8_t"),
    "u1": ("uchar", "unsigned char", "uint8", "uint8_t"),
    "i2": ("short", "short int", "signed short", "signed short int", "int16", "int16_t"),
    "u2": ("ushort", "unsigned short", "unsigned short int", "uint16", "uint16_t"),
    "i4": ("int", "signed int", "int32", "int32_t"),
    "u4": ("uint", "unsigned int", "uint32", "uint32_t"),
    "i8": ("longlong", "long long", "long long int", "signed long long", "signed long long int", "int64", "int64_t"),
    "u8": ("ulonglong", "unsigned long long", "unsigned long long int", "uint64", "uint64_t"),
    "f4": ("float",),
    "f8": ("double",),
}
_CODE_OF = {name: code for code, names in _TYPES.items() for name in names}

#: Sign of each space axis in LPS.
_SPACES = {
    "right-anterior-superior": (-1, -1, 1), "ras": (-1, -1, 1),
    "left-anterior-superior": (1, -1, 1), "las": (1, -1, 1),
    "left-posterior-superior": (1, 1, 1), "lps": (1, 1, 1),
}  # fmt: skip
_LONGEST_HEADER = 1024 * 1024


def read_nrrd_header(path: Path, *, layers: bool = False) -> VolumeHeader:
    """Header of an attached (.nrrd) or detached (.nhdr) file with raw or gzip voxels.

    A detached header may only name a file in its own folder.

    Args:
        path: of the header.
        layers: accept several values a voxel, as 3D Slicer stores overlapping segments.

    Raises:
        InputRefused: ``CT_UNREADABLE``, ``CT_TRUNCATED``, ``CT_NOT_ONE_VOLUME``.
    """
    with path.open("rb") as file:
        start = file.read(_LONGEST_HEADER)
    if not start.startswith(b"NRRD000"):
        raise not_readable("no NRRD signature")
    end = re.search(rb"\r?\n\r?\n", start)
    text = (start[: end.start()] if end else start).decode("utf-8", "replace")
    fields = _parse(text)
    if "data file" in fields or "datafile" in fields:
        data_path, offset = _data_file(path, fields.get("data file") or fields["datafile"]), 0
    elif end is None:
        raise cut_short("header")
    else:
        data_path, offset = path, end.end()
    encoding = fields.get("encoding", "raw").lower()
    if encoding not in ("raw", "gzip", "gz") or any(fields.get(key, "0") != "0" for key in ("line skip", "byte skip")):
        raise not_readable(f"encoding {encoding} or skipped bytes")
    shape, spatial, layer_count = _shape(fields, layers)
    affine, has_step, warnings = _affine(fields, spatial)
    packed = encoding != "raw"
    return VolumeHeader(
        kind="nrrd",
        data_path=data_path,
        data_offset=0 if packed else offset,
        shape=shape,
        dtype=_dtype(fields),
        ijk_to_lps=affine,
        has_step=has_step,
        packed_from=offset if packed else None,
        warnings=warnings,
        layers=layer_count,
        names=_key_values(text),
    )


def _parse(text: str) -> dict[str, str]:
    fields: dict[str, str] = {}
    for line in text.splitlines()[1:]:
        name, separator, value = line.partition(": ")
        if separator and not line.startswith("#") and ":=" not in name:
            fields[name.strip().lower()] = value.strip()
    return fields


def _key_values(text: str) -> dict[str, str]:
    """The pairs ``key:=value``, in which a backslash escapes a line break and itself."""
    pairs = (line.partition(":=") for line in text.splitlines()[1:] if ":=" in line and not line.startswith("#"))
    return {key: value.replace("\\n", "\n").replace("\\\\", "\\") for key, _, value in pairs}


def _data_file(path: Path, name: str) -> Path:
    data_path = path.with_name(Path(name).name)
    if name.upper().startswith("LIST") or "%" in name or Path(name).name not in (name, name.removeprefix("./")):
        raise not_readable("voxels spread over several files or lying in another folder")
    if not data_path.is_file():
        raise not_readable("the file with the voxels is missing")
    return data_path


def _numbers(text: str, kind: type[int] | type[float]) -> list[float]:
    try:
        return [float(kind(part)) for part in text.split()]
    except ValueError as error:
        raise not_readable("a number in the header") from error


def _shape(fields: dict[str, str], layers: bool) -> tuple[tuple[int, int, int], list[int], int]:
    """(k, j, i), the indices of the axes that run through space, fastest first, and the number of layers."""
    sizes = [int(size) for size in _numbers(fields.get("sizes", ""), int)]
    if len(sizes) != int((_numbers(fields.get("dimension", "0"), int) or [0])[0]):
        raise not_readable("sizes of the volume")
    axes = list(range(len(sizes)))
    directions = _directions(fields)
    if directions is not None:
        if len(directions) != len(sizes):
            raise not_readable("space directions")
        axes = [axis for axis in axes if directions[axis] is not None]
    others = [axis for axis in range(len(sizes)) if axis not in axes]
    if layers and others == [0] and sizes[0] > 0:
        return three_sizes([sizes[axis] for axis in axes]), axes, sizes[0]
    if any(sizes[axis] != 1 for axis in others):
        raise not_one_volume()
    return three_sizes([sizes[axis] for axis in axes]), axes, 1


def _directions(fields: dict[str, str]) -> list[Vector | None] | None:
    if "space directions" not in fields:
        return None
    parts = re.findall(r"none|\([^)]*\)", fields["space directions"])
    return [None if part == "none" else np.array(_numbers(part[1:-1].replace(",", " "), float)) for part in parts]


def _dtype(fields: dict[str, str]) -> np.dtype[np.generic]:
    code = _CODE_OF.get(fields.get("type", "").lower())
    if code is None:
        raise not_readable("voxel type")
    return np.dtype(("<" if fields.get("endian", "little").lower() == "little" else ">") + code)


def _affine(fields: dict[str, str], spatial: list[int]) -> tuple[Vector, bool, tuple[ScanWarning, ...]]:
    """[4, 4] voxel index to LPS, whether a third step is stored, and warnings."""
    directions = _directions(fields)
    signs = _SPACES.get(fields.get("space", "").lower())
    affine = np.eye(4)
    has_step = len(spatial) > 2
    if directions is None or signs is None:
        affine[:3, :3] = np.diag(_spacings(fields, spatial))
        if not usable_affine(affine):
            raise not_readable("spacings")
        return (
            affine,
            has_step,
            (
                ScanWarning(
                    "CT_NO_ORIENTATION",
                    "The file does not say how the scan lies in the patient; left and right may be exchanged.",
                ),
            ),
        )
    vectors = [vector for axis in spatial if (vector := directions[axis]) is not None]
    if any(vector.shape != (3,) for vector in vectors):
        raise not_readable("space directions")
    if len(vectors) == 2:
        normal = np.cross(vectors[0], vectors[1])
        vectors.append(normal / max(float(np.linalg.norm(normal)), 1e-9))
    origin = _numbers(fields.get("space origin", "(0,0,0)").strip("()").replace(",", " "), float)
    if len(vectors) != 3 or len(origin) != 3:
        raise not_readable("space directions or origin")
    affine[:3, :3] = np.array(vectors).T
    affine[:3, 3] = origin
    affine[:3] *= np.array(signs)[:, None]
    if not usable_affine(affine):
        raise not_readable("space directions")
    return affine, has_step, ()


def _spacings(fields: dict[str, str], spatial: list[int]) -> list[float]:
    directions = _directions(fields)
    if directions is not None:
        # Directions without a space that this library knows: only their lengths can be used.
        lengths = [float(np.linalg.norm(vector)) for vector in directions if vector is not None]
        return [*lengths, 1.0][:3]
    stored = _numbers(fields.get("spacings", ""), float)
    if len(stored) < len(spatial):
        raise not_readable("spacings")
    chosen = [abs(stored[axis]) for axis in spatial]
    return [size if math.isfinite(size) else 0.0 for size in [*chosen, 1.0][:3]]
