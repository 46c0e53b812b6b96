"""What a volume file says about its voxels, whatever its format."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from HemoCAMLib.ct.geometry import Vector
from HemoCAMLib.ct.head_ct import ScanWarning
from HemoCAMLib.errors import InputRefused


@dataclass(frozen=True, eq=False)
class VolumeHeader:
    """Where a volume's voxels lie on disk, what they mean and where they are in the patient.

    Attributes:
        kind: ``nifti`` or ``nrrd``.
        data_path: file with the voxels.
        data_offset: bytes before the first voxel, after inflating where the whole file is gzip.
        shape: (k, j, i), i fastest on disk.
        dtype: of one voxel, with byte order.
        ijk_to_lps: [4, 4] voxel index to patient coordinates LPS in mm; may shear.
        slope: HU = slope * stored + intercept; None where the file has no scaling.
        intercept: see above.
        has_step: whether the distance between planes is stored (it is not for some single slices).
        packed_from: offset in the raw file where a gzip stream of voxels starts; None where the whole file is
            either plain or gzip.
        warnings: found on the way.
        layers: values stored at every voxel, one after the other; more than one only where layers were asked for.
        names: key/value pairs of the file by key.
    """

    kind: str
    data_path: Path
    data_offset: int
    shape: tuple[int, int, int]
    dtype: np.dtype[np.generic]
    ijk_to_lps: Vector
    slope: float | None = None
    intercept: float | None = None
    has_step: bool = True
    packed_from: int | None = None
    warnings: tuple[ScanWarning, ...] = ()
    layers: int = 1
    names: Mapping[str, str] = field(default_factory=dict)


def usable_affine(affine: Vector) -> bool:
    """Whether a [4, 4] affine is finite and spans space."""
    if affine.shape != (4, 4) or not np.isfinite(affine).all():
        return False
    lengths = np.linalg.norm(affine[:3, :3], axis=0)
    if lengths.min() < 1e-6 or lengths.max() > 1e6:
        return False
    return abs(float(np.linalg.det(affine[:3, :3] / lengths))) > 0.1


def three_sizes(sizes: list[int]) -> tuple[int, int, int]:
    """(k, j, i) from sizes with the fastest axis first, which may be two or have ones at their end.

    Raises:
        InputRefused: ``CT_NOT_ONE_VOLUME``, ``CT_UNREADABLE``.
    """
    if len(sizes) < 2 or any(size < 1 for size in sizes):
        raise not_readable("sizes of the volume")
    if any(size != 1 for size in sizes[3:]):
        raise not_one_volume()
    i, j, k = [*sizes, 1][:3]
    return k, j, i


def not_one_volume() -> InputRefused:
    return InputRefused(
        "CT_NOT_ONE_VOLUME",
        "The file holds several volumes, such as a perfusion scan or a colour image.",
        "Save the one head CT that is to be analysed as a file of its own.",
    )


def cut_short(detail: str) -> InputRefused:
    return InputRefused(
        "CT_TRUNCATED",
        "The file is cut short: part of its image is missing.",
        "Copy or export the scan again.",
        detail,
    )


def not_readable(detail: str) -> InputRefused:
    return InputRefused(
        "CT_UNREADABLE",
        "The file is damaged or stored in a way that cannot be read here.",
        "Export the scan again as DICOM, NIfTI or NRRD.",
        detail,
    )
