"""The header of a NIfTI file, exactly as the standard defines it.

SimpleITK cannot stand in here: its direction matrix has to be orthonormal, so a sheared sform, which is how a
tilted scan keeps its true positions, is refused or replaced by the nearest rotation, and volumes come out
wrong by the cosine of the tilt. It also multiplies by a slope that is not a number.
"""

from __future__ import annotations

import gzip
import struct
import zlib
from pathlib import Path
from typing import BinaryIO, cast

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
    2: "u1", 4: "i2", 8: "i4", 16: "f4", 64: "f8", 256: "i1", 512: "u2", 768: "u4", 1024: "i8", 1280: "u8",
}  # fmt: skip
_COLOUR_TYPES = frozenset({128, 2304})
_UNIT_MM = {1: 1000.0, 2: 1.0, 3: 0.001}
#: NIfTI is RAS, DICOM and this library LPS.
_RAS_TO_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])


def open_maybe_gzip(path: Path) -> BinaryIO:
    """A stream over the file's bytes, inflated where they start like gzip, whatever the name says."""
    with path.open("rb") as file:
        packed = file.read(2) == b"\x1f\x8b"
    return cast(BinaryIO, gzip.open(path, "rb")) if packed else path.open("rb")


def read_nifti_header(path: Path) -> VolumeHeader:
    """Header of a NIfTI-1 or NIfTI-2 file, single (.nii, .nii.gz) or in two parts (.hdr and .img).

    The affine is the sform where its code is set and it is invertible, otherwise the qform, otherwise pixel sizes
    alone (nifti1.h, methods 3, 2 and 1). A slope of zero or not a number means no scaling.

    Raises:
        InputRefused: ``CT_UNREADABLE``, ``CT_TRUNCATED`` or ``CT_NOT_CT``.
    """
    try:
        with open_maybe_gzip(path) as stream:
            raw = stream.read(544)
    except (OSError, EOFError, zlib.error) as error:
        raise cut_short(str(type(error).__name__)) from error
    fields = _Fields(raw)
    data_path, offset = path, fields.data_offset
    if fields.in_two_parts:
        data_path, offset = _image_beside(path), max(0, fields.data_offset)
    else:
        offset = max(offset, fields.size)
    affine, warnings = fields.affine()
    return VolumeHeader(
        kind="nifti",
        data_path=data_path,
        data_offset=offset,
        shape=fields.shape(),
        dtype=fields.dtype(),
        ijk_to_lps=_RAS_TO_LPS @ affine,
        slope=fields.slope,
        intercept=fields.intercept,
        has_step=fields.has_step,
        warnings=warnings,
    )


def _image_beside(path: Path) -> Path:
    name = path.name[:-3] if path.name.lower().endswith(".gz") else path.name
    stem = name[: -len(Path(name).suffix)]
    for suffix in (".img", ".img.gz", ".IMG", ".IMG.gz"):
        candidate = path.with_name(stem + suffix)
        if candidate.is_file():
            return candidate
    raise not_readable("a header without its image file")


class _Fields:
    """Fields of either version, by their offsets in nifti1.h and nifti2.h."""

    def __init__(self, raw: bytes) -> None:
        if len(raw) < 348:
            raise cut_short("header")
        self._raw = raw
        sizes = {(order, size) for order in "<>" for size in (348, 540)}
        found = [(order, size) for order, size in sorted(sizes) if struct.unpack(order + "i", raw[:4])[0] == size]
        if not found:
            raise not_readable("not a NIfTI header")
        self._order, self.size = found[0]
        self._second = self.size == 540
        magic = raw[4:8] if self._second else raw[344:348]
        if magic[:3] not in (b"n+1", b"ni1", b"n+2", b"ni2") or len(raw) < self.size:
            raise not_readable("no NIfTI signature; Analyze files do not say how they lie in the patient")
        self.in_two_parts = magic[:2] == b"ni"
        number = "d" if self._second else "f"
        self._pixdim = self._many(number, 8, 104 if self._second else 76)
        self.data_offset = self._offset()
        slope, intercept = self._many(number, 2, 176 if self._second else 112)
        intercept = float(intercept) if np.isfinite(intercept) else 0.0
        # One and zero are what writers put where they know of no scaling.
        scaled = bool(np.isfinite(slope)) and slope != 0 and (slope, intercept) != (1.0, 0.0)
        self.slope = float(slope) if scaled else None
        self.intercept = intercept if scaled else None

    def _many(self, kind: str, count: int, at: int) -> Vector:
        return np.array(struct.unpack_from(f"{self._order}{count}{kind}", self._raw, at), dtype=np.float64)

    def _offset(self) -> int:
        at = self._many("q", 1, 168)[0] if self._second else self._many("f", 1, 108)[0]
        if not 0 <= at < 2**31:
            raise not_readable("offset of the voxels")
        return int(at)

    def _sizes(self) -> list[int]:
        dim = self._many("q", 8, 16) if self._second else self._many("h", 8, 40)
        if not 1 <= dim[0] <= 7:
            raise not_readable("number of dimensions")
        return [int(size) for size in dim[1 : 1 + int(dim[0])]]

    def shape(self) -> tuple[int, int, int]:
        return three_sizes(self._sizes())

    @property
    def has_step(self) -> bool:
        return len(self._sizes()) > 2 and bool(np.isfinite(self._pixdim[3]) and self._pixdim[3] > 0)

    def dtype(self) -> np.dtype[np.generic]:
        code = int(self._many("h", 1, 12 if self._second else 70)[0])
        if code in _COLOUR_TYPES:
            raise not_one_volume()
        if code not in _TYPES:
            raise not_readable(f"voxel type {code}")
        return np.dtype(self._order + _TYPES[code])

    def affine(self) -> tuple[Vector, tuple[ScanWarning, ...]]:
        """[4, 4] voxel index to RAS in mm."""
        codes = self._many("i", 2, 344) if self._second else self._many("h", 2, 252)
        number, at = ("d", 400) if self._second else ("f", 280)
        rows = self._many(number, 12, at).reshape(3, 4)
        units = int(self._many("i", 1, 500)[0]) if self._second else self._raw[123]
        scale = _UNIT_MM.get(units & 7, 1.0)
        sform = _homogeneous(rows)
        if codes[1] > 0 and usable_affine(sform):
            return _scaled(sform, scale), ()
        qform = self._qform()
        if codes[0] > 0 and usable_affine(qform):
            return _scaled(qform, scale), ()
        sizes = _homogeneous(np.hstack([np.diag(self._sizes_mm()), np.zeros((3, 1))]))
        if not usable_affine(sizes):
            raise not_readable("voxel sizes")
        return _scaled(sizes, scale), (
            ScanWarning(
                "CT_NO_ORIENTATION",
                "The file does not say how the scan lies in the patient; left and right may be exchanged.",
            ),
        )

    def _sizes_mm(self) -> Vector:
        sizes = np.abs(self._pixdim[1:4])
        # A 2-D file has no third size; any positive number will do, the caller assumes a thickness.
        return sizes if self.has_step else np.array([sizes[0], sizes[1], 1.0])

    def _qform(self) -> Vector:
        """Method 2 of nifti1.h: a rotation from the quaternion, voxel sizes, qfac for a mirrored third axis."""
        number, at = ("d", 352) if self._second else ("f", 256)
        b, c, d, x, y, z = self._many(number, 6, at)
        norm = b * b + c * c + d * d
        if not np.isfinite([b, c, d, x, y, z]).all():
            return np.zeros((4, 4))
        # In single precision a half turn never sums to one exactly; nifti1_io.c draws the line at the same place.
        if norm > 1.0 - 1e-7:
            b, c, d = np.array([b, c, d]) / np.sqrt(norm)
            norm = 1.0
        a = np.sqrt(1.0 - norm)
        rotation = np.array([
            [a * a + b * b - c * c - d * d, 2 * (b * c - a * d), 2 * (b * d + a * c)],
            [2 * (b * c + a * d), a * a + c * c - b * b - d * d, 2 * (c * d - a * b)],
            [2 * (b * d - a * c), 2 * (c * d + a * b), a * a + d * d - b * b - c * c],
        ])  # fmt: skip
        mirrored = -1.0 if self._pixdim[0] < 0 else 1.0
        steps = rotation * self._sizes_mm() * np.array([1.0, 1.0, mirrored])
        return _homogeneous(np.hstack([steps, np.array([[x], [y], [z]])]))


def _homogeneous(rows: Vector) -> Vector:
    affine: Vector = np.vstack([rows, [0.0, 0.0, 0.0, 1.0]])
    return affine


def _scaled(affine: Vector, scale: float) -> Vector:
    scaled: Vector = affine.copy()
    scaled[:3] *= scale
    return scaled
