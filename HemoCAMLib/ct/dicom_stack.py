"""Slices of one series in their order along the normal: duplicates, mixtures and holes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from HemoCAMLib.ct.checks import refused_spacing
from HemoCAMLib.ct.dicom_header import SliceHeader
from HemoCAMLib.ct.geometry import ASSUMED_THICKNESS_MM, Vector
from HemoCAMLib.ct.head_ct import ScanWarning
from HemoCAMLib.ct.orientation import StoredGrid
from HemoCAMLib.ct.steps import missing_steps
from HemoCAMLib.errors import InputRefused

#: Slices closer than this along the normal are at the same position.
_SAME_POSITION_MM = 0.02
#: A slice may lie this far beside the line through the first and the last one.
_BESIDE_MM = 2.0
#: A protocol change leaves one step much shorter than both its neighbours; this many come from two scans.
_SHORT = 0.35
_SHORT_STEPS = 3
#: Tilts and uneven steps smaller than these are rounding.
_TILT_WORTH_SAYING_DEG = 0.5
_UNEVEN = 0.02


@dataclass(frozen=True, eq=False)
class Stack:
    """Ordered slices of one series.

    Attributes:
        headers: along the stored normal, duplicates dropped.
        grid: their true positions.
        thickness_mm: nominal thickness of a lone slice, None where not known.
        warnings: what was found on the way.
    """

    headers: list[SliceHeader]
    grid: StoredGrid
    thickness_mm: float | None
    warnings: tuple[ScanWarning, ...]


def order_slices(
    headers: list[SliceHeader], read: Callable[[SliceHeader], NDArray[np.int32]], allow_gaps: bool
) -> Stack:
    """Sort by position along the normal, drop doubled slices, refuse mixtures and holes.

    Args:
        headers: slices of one series, one size, one orientation, in any order.
        read: stored values of a slice; only called for slices that share a position.
        allow_gaps: warn about missing slices instead of refusing.

    Raises:
        InputRefused: ``CT_MIXED_SERIES``, ``CT_MISSING_SLICES``, ``CT_SPACING``, ``CT_NO_POSITIONS``.
    """
    if len(headers) == 1:
        return _lone_slice(headers[0])
    _refuse_mixtures(headers)
    cosines = headers[0].orientation
    if cosines is None or any(header.position_mm is None for header in headers):
        raise InputRefused(
            "CT_NO_POSITIONS",
            "The slices do not say where they lie in the patient, so volumes cannot be measured.",
            "Export the original series instead of a copy without positions.",
        )
    normal = np.cross(cosines[:3], cosines[3:])
    normal = normal / np.linalg.norm(normal)
    offsets = np.array([float(_position(header) @ normal) for header in headers])
    ordered = [headers[index] for index in sorted(range(len(headers)), key=lambda i: (offsets[i], _tie(headers[i])))]
    kept, dropped = _without_duplicates(ordered, normal, read)
    warnings = []
    if dropped:
        warnings.append(ScanWarning("CT_DUPLICATES", f"{_slices(dropped)} stored twice; the copies were left out."))
    if len(kept) == 1:
        lone = _lone_slice(kept[0])
        return Stack(lone.headers, lone.grid, lone.thickness_mm, (*warnings, *lone.warnings))
    positions = np.stack([_position(header) for header in kept])
    _refuse_interleaved(kept, np.diff(positions @ normal))
    warnings += _judge_steps(kept, positions, normal, allow_gaps)
    return Stack(kept, _grid(kept[0], positions), None, tuple(warnings))


def _position(header: SliceHeader) -> Vector:
    assert header.position_mm is not None
    return header.position_mm


def _tie(header: SliceHeader) -> tuple[str, int, str]:
    """Copies of a slice sort by identity, so that the order of files never shows in a result."""
    return header.sop_instance_uid, header.frame, header.path.name


def _refuse_mixtures(headers: list[SliceHeader]) -> None:
    spacings = {header.spacing_mm for header in headers}
    first = headers[0].spacing_mm
    same = first is not None and all(
        other is not None and np.allclose(first, other, rtol=1e-3, atol=0) for other in spacings
    )
    if not same and spacings != {None}:
        raise mixed("slices of different pixel size")
    if len({header.contrast for header in headers}) > 1:
        raise mixed("slices with and without contrast agent")


def mixed(what: str) -> InputRefused:
    return InputRefused(
        "CT_MIXED_SERIES",
        f"The series mixes {what}, so it is not one scan.",
        "Separate the series, for instance by exporting it again from the archive.",
    )


def _without_duplicates(
    ordered: list[SliceHeader], normal: Vector, read: Callable[[SliceHeader], NDArray[np.int32]]
) -> tuple[list[SliceHeader], int]:
    kept: list[SliceHeader] = []
    dropped = 0
    for header in ordered:
        if kept and abs(float((_position(header) - _position(kept[-1])) @ normal)) < _SAME_POSITION_MM:
            if not _same_image(kept[-1], header, read):
                raise mixed("different images at the same position, such as two kernels or contrast phases")
            dropped += 1
            continue
        kept.append(header)
    return kept, dropped


def _same_image(one: SliceHeader, other: SliceHeader, read: Callable[[SliceHeader], NDArray[np.int32]]) -> bool:
    scale = (one.slope or 1.0, one.intercept or 0.0) == (other.slope or 1.0, other.intercept or 0.0)
    return scale and bool(np.array_equal(read(one), read(other)))


def _refuse_interleaved(kept: list[SliceHeader], steps_mm: Vector) -> None:
    """Two scans whose slices lie between each other, told by kernels that alternate or by steps that do."""
    kernels = [header.kernel for header in kept]
    changes = sum(one != other for one, other in pairwise(kernels))
    if changes > 2 * (len(set(kernels)) - 1):
        raise mixed("slices of different reconstruction kernels")
    inner = steps_mm[1:-1]
    short = np.count_nonzero((inner < _SHORT * steps_mm[:-2]) & (inner < _SHORT * steps_mm[2:]))
    if short >= _SHORT_STEPS:
        raise mixed("two scans whose slices lie between each other")


def _slices(count: int) -> str:
    return "One slice was" if count == 1 else f"{count} slices were"


def _judge_steps(kept: list[SliceHeader], positions: Vector, normal: Vector, allow_gaps: bool) -> list[ScanWarning]:
    steps = np.diff(positions @ normal)
    known = [header.thickness_mm for header in kept]
    thickness = np.array(known, dtype=np.float64) if all(known) else None
    warnings = []
    holes = missing_steps(steps, thickness)
    if holes:
        widest = max(float(steps[hole]) for hole in holes)
        message = (
            f"Slices are missing at {len(holes)} place{'s' if len(holes) > 1 else ''}: "
            f"neighbouring slices are up to {widest:.1f} mm apart where {np.median(steps):.1f} mm is usual."
        )
        if not allow_gaps:
            raise InputRefused(
                "CT_MISSING_SLICES", message, "Export the complete series, or allow gaps to measure it as it is."
            )
        warnings.append(ScanWarning("CT_MISSING_SLICES", message))
    regular = np.delete(steps, holes)
    if regular.size and regular.max() - regular.min() > _UNEVEN * regular.max():
        warnings.append(
            ScanWarning(
                "CT_UNEVEN_STEPS",
                f"Slices are {regular.min():.2f} to {regular.max():.2f} mm apart; "
                "each one is measured with its own extent.",
            )
        )
    if thickness is not None and float(np.median(steps)) > 1.5 * float(np.median(thickness)):
        warnings.append(
            ScanWarning(
                "CT_UNSEEN_TISSUE",
                f"Slices of {np.median(thickness):.1f} mm lie {np.median(steps):.1f} mm apart: "
                "tissue between them was not scanned, and volumes assume that it looks like its neighbours.",
            )
        )
    warnings += _beside_the_line(positions) + _tilt(kept, normal)
    return warnings


def _beside_the_line(positions: Vector) -> list[ScanWarning]:
    along = positions[-1] - positions[0]
    along = along / np.linalg.norm(along)
    relative = positions - positions[0]
    beside = np.linalg.norm(relative - np.outer(relative @ along, along), axis=1)
    if beside.max() <= _BESIDE_MM:
        return []
    return [
        ScanWarning(
            "CT_SHIFTED_SLICES", f"Slices are shifted against each other by up to {beside.max():.0f} mm in their plane."
        )
    ]


def _tilt(kept: list[SliceHeader], normal: Vector) -> list[ScanWarning]:
    angle = float(np.degrees(np.arccos(min(1.0, float(np.abs(normal).max())))))
    tag = kept[0].tilt_tag_deg
    if angle >= _TILT_WORTH_SAYING_DEG:
        return [
            ScanWarning(
                "CT_TILTED", f"The gantry was tilted by {angle:.1f} degrees; true distances between slices are used."
            )
        ]
    if tag is not None and 2.0 <= abs(tag) <= 45.0:
        excess = 100 * (1 / np.cos(np.radians(tag)) - 1)
        return [
            ScanWarning(
                "CT_TILT_CONTRADICTION",
                f"The header gives a gantry tilt of {tag:g} degrees but slices without tilt; if they were tilted, "
                f"volumes are up to {excess:.1f} % too large.",
            )
        ]
    return []


def _spacing(header: SliceHeader) -> tuple[float, float]:
    if header.spacing_mm is None or min(header.spacing_mm) <= 0:
        raise refused_spacing("no pixel size")
    return header.spacing_mm


def _grid(header: SliceHeader, positions: Vector) -> StoredGrid:
    assert header.orientation is not None
    row_mm, column_mm = _spacing(header)
    step_k = (positions[-1] - positions[0]) / (len(positions) - 1)
    shape = (len(positions), header.rows, header.columns)
    return StoredGrid(shape, positions, step_k, header.orientation[3:] * row_mm, header.orientation[:3] * column_mm)


def _lone_slice(header: SliceHeader) -> Stack:
    warnings = []
    row_mm, column_mm = _spacing(header)
    thickness = header.thickness_mm
    if thickness is None:
        warnings.append(
            ScanWarning(
                "CT_ASSUMED_THICKNESS",
                f"The slice does not give its thickness; {ASSUMED_THICKNESS_MM:g} mm is assumed for its volume.",
            )
        )
    cosines = header.orientation
    if cosines is None or header.position_mm is None:
        warnings.append(
            ScanWarning(
                "CT_NO_POSITION", "The slice does not say where it lies in the patient; left and right are assumed."
            )
        )
    if cosines is None:
        cosines = np.array([1.0, 0, 0, 0, 1.0, 0])
    position = np.zeros(3) if header.position_mm is None else header.position_mm
    normal = np.cross(cosines[:3], cosines[3:])
    grid = StoredGrid(
        (1, header.rows, header.columns),
        position[None].copy(),
        normal * (thickness or ASSUMED_THICKNESS_MM),
        cosines[3:] * row_mm,
        cosines[:3] * column_mm,
    )
    return Stack([header], grid, thickness, tuple(warnings + _tilt([header], normal)))
