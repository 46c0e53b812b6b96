"""NIfTI, NRRD and arrays in memory to a HeadCT."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np
from numpy.typing import NDArray

from HemoCAMLib.ct.checks import check_head, check_size, check_spacing
from HemoCAMLib.ct.geometry import ASSUMED_THICKNESS_MM, SliceGeometry, Vector
from HemoCAMLib.ct.head_ct import AIR_HU, HeadCT, ScanWarning, SourceIdentity
from HemoCAMLib.ct.nifti_header import open_maybe_gzip, read_nifti_header
from HemoCAMLib.ct.nrrd_header import read_nrrd_header
from HemoCAMLib.ct.orientation import canonical_geometry, grid_from_affine, reorientation_of
from HemoCAMLib.ct.plane_sink import PlaneSink, Slices
from HemoCAMLib.ct.stored_values import Reading, apply_reading, choose_reading, reading_warning
from HemoCAMLib.ct.volume_header import VolumeHeader, cut_short, not_readable, usable_affine
from HemoCAMLib.errors import InputRefused

NIFTI_SUFFIXES = (".nii", ".nii.gz", ".hdr", ".hdr.gz")
NRRD_SUFFIXES = (".nrrd", ".nhdr")

#: gzip packs at most about this much.
_PACKING = 1100
#: A broken voxel here and there is replaced; more than this share of them is not a scan.
_BROKEN_SHARE = 0.01
_OBLIQUE_DEG = 2.0

Progress = Callable[[int, int], None]


def read_volume(
    path: Path, *, store: Path | None, on_progress: Progress | None, tilted_step_is_table_step: bool
) -> HeadCT:
    """A NIfTI or NRRD file as a HeadCT; see :func:`HemoCAMLib.ct.read_head_ct` for the arguments.

    Raises:
        InputRefused: any ``CT_*`` code.
    """
    nrrd = path.name.lower().endswith(NRRD_SUFFIXES)
    header = read_nrrd_header(path) if nrrd else read_nifti_header(path)
    check_size(header.shape)
    _check_length(header)
    scaled = header.slope is not None or header.dtype.kind != "u"
    volume = _Volume(
        shape=header.shape,
        ijk_to_lps=header.ijk_to_lps,
        planes=lambda: _planes(header),
        trusted=scaled,
        slope=header.slope,
        intercept=header.intercept,
        has_step=header.has_step,
    )
    source = SourceIdentity(kind=header.kind, path=str(path))
    return _build(volume, source, header.warnings, store, on_progress, tilted_step_is_table_step)


def volume_from_array(
    array_kji: NDArray[np.generic], ijk_to_ras: NDArray[np.floating], store: Path | None = None
) -> HeadCT:
    """See :func:`HemoCAMLib.ct.head_ct_from_array`."""
    array = np.asarray(array_kji)
    if array.ndim == 2:
        array = array[None]
    affine = np.asarray(ijk_to_ras, dtype=np.float64)
    if array.ndim != 3 or array.dtype.kind not in "iuf" or affine.shape != (4, 4):
        raise InputRefused(
            "CT_UNREADABLE",
            "The volume is not a grid of numbers with three axes and a 4 x 4 matrix.",
            "Choose a scalar CT volume.",
            f"array {array.shape} {array.dtype}, matrix {affine.shape}",
        )
    shape = (int(array.shape[0]), int(array.shape[1]), int(array.shape[2]))
    check_size(shape)
    lps = np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine
    scaled = array.dtype.kind != "u"
    volume = _Volume(shape, lps, lambda: iter(array), scaled, None, None, True)
    return _build(volume, SourceIdentity(kind="array"), (), store, None, False)


def stored_voxels(header: VolumeHeader) -> NDArray[Any]:
    """The voxels as they are stored, [k, j, i, layer], scaled where the file says so.

    Raises:
        InputRefused: ``CT_SIZE``, ``CT_TRUNCATED``, ``CT_UNREADABLE``.
    """
    check_size(header.shape)
    _check_length(header)
    planes, rows, columns = header.shape
    wide = replace(header, shape=(planes, rows, columns * header.layers))
    voxels = np.stack(list(_planes(wide))).reshape(*header.shape, header.layers)
    if header.slope is None:
        return voxels
    scaled: NDArray[Any] = voxels * header.slope + (header.intercept or 0.0)
    return scaled


@dataclass(frozen=True, eq=False)
class _Volume:
    """Planes of a volume, wherever they come from.

    ``trusted`` says that the numbers are HU as they stand: they are signed, or the file gives a scaling.
    """

    shape: tuple[int, int, int]
    ijk_to_lps: Vector
    planes: Callable[[], Iterator[NDArray[Any]]]
    trusted: bool
    slope: float | None
    intercept: float | None
    has_step: bool


def _build(
    volume: _Volume,
    source: SourceIdentity,
    found: tuple[ScanWarning, ...],
    store: Path | None,
    on_progress: Progress | None,
    table_step: bool,
) -> HeadCT:
    geometry_warnings: list[ScanWarning] = []
    affine = _check_affine(volume.ijk_to_lps)
    grid = grid_from_affine(volume.shape, affine)
    turn = reorientation_of(grid)
    thickness = float(np.linalg.norm(grid.step_k_mm)) if volume.has_step else None
    if volume.shape[0] == 1 and thickness is None:
        geometry_warnings.append(
            ScanWarning(
                "CT_ASSUMED_THICKNESS",
                f"The slice does not give its thickness; {ASSUMED_THICKNESS_MM:g} mm is assumed for its volume.",
            )
        )
    geometry, stored_grid = canonical_geometry(grid, turn, thickness)
    if turn.keeps_planes:
        geometry, oblique = oblique_step(geometry, table_step)
        geometry_warnings += oblique
    else:
        geometry_warnings.append(
            ScanWarning("CT_REFORMATTED", "The scan is not stored as axial slices; it was turned to axial ones.")
        )
    check_spacing(geometry, turn.shape(volume.shape))
    sink = PlaneSink(volume.shape, turn, store)
    try:
        broken = _fill(volume, sink, on_progress)
        slices = sink.finish()
        repaired = _settle(slices, volume)
        check_head(slices, geometry)
    except BaseException:
        sink.discard()
        raise
    warnings = (*found, *geometry_warnings, *broken, *repaired)
    return HeadCT(slices, geometry, source, stored_grid, warnings)


def _check_affine(affine: Vector) -> Vector:
    if not usable_affine(affine):
        raise InputRefused(
            "CT_SPACING",
            "The volume's matrix does not say where its voxels lie, so volumes cannot be measured.",
            "Load the scan again from its DICOM files.",
        )
    return affine


def _check_length(header: VolumeHeader) -> None:
    """Compare the announced size with the file's before memory is taken."""
    wanted = int(np.prod(header.shape, dtype=np.int64)) * header.layers * header.dtype.itemsize
    have = header.data_path.stat().st_size
    with header.data_path.open("rb") as file:
        packed = header.packed_from is not None or file.read(2) == b"\x1f\x8b"
    if packed:
        have *= _PACKING
    elif have:
        have -= header.data_offset
    if have < wanted:
        raise cut_short(f"{wanted} bytes of voxels announced")


def _open_data(header: VolumeHeader) -> BinaryIO:
    if header.packed_from is None:
        stream = open_maybe_gzip(header.data_path)
        stream.seek(header.data_offset)
        return stream
    raw = header.data_path.open("rb")
    raw.seek(header.packed_from)
    return cast(BinaryIO, gzip.GzipFile(fileobj=raw))


def _planes(header: VolumeHeader) -> Iterator[NDArray[Any]]:
    """Stored planes one after the other."""
    planes, rows, columns = header.shape
    size = rows * columns * header.dtype.itemsize
    with _open_data(header) as stream:
        for _ in range(planes):
            data = _read_fully(stream, size)
            yield np.frombuffer(data, header.dtype).reshape(rows, columns)
        if _reads(stream, size):
            raise not_readable("the file holds more planes than its header says")


def _reads(stream: BinaryIO, size: int) -> bool:
    """Whether a whole plane more can be read."""
    try:
        _read_fully(stream, size)
    except InputRefused:
        return False
    return True


def _read_fully(stream: BinaryIO, size: int) -> bytes:
    parts, missing = [], size
    try:
        while missing and (part := stream.read(missing)):
            parts.append(part)
            missing -= len(part)
    except (OSError, EOFError, zlib.error) as error:
        raise cut_short(type(error).__name__) from error
    if missing:
        raise cut_short("voxels")
    return b"".join(parts)


def _fill(volume: _Volume, sink: PlaneSink, on_progress: Progress | None) -> tuple[ScanWarning, ...]:
    """Planes to HU into the sink; what is not a number becomes air."""
    total = volume.shape[0]
    broken = 0
    limit = _BROKEN_SHARE * float(np.prod(volume.shape, dtype=np.float64))
    if on_progress:
        on_progress(0, total)
    for index, plane in enumerate(volume.planes()):
        hu, bad = _to_hu(plane, volume)
        broken += bad
        sink.put(index, hu)
        if on_progress:
            on_progress(index + 1, total)
    if broken > limit:
        raise InputRefused(
            "CT_BROKEN_VOXELS",
            f"{broken} voxels of this scan are not numbers.",
            "Export the scan again; the file was damaged or computed wrongly.",
        )
    if not broken:
        return ()
    return (ScanWarning("CT_BROKEN_VOXELS", f"{broken} voxels that are not numbers were taken as air."),)


def _to_hu(plane: NDArray[Any], volume: _Volume) -> tuple[NDArray[np.int16], int]:
    """One plane as int16: HU where the file's numbers are trusted, otherwise 16-bit patterns to be settled later."""
    if plane.dtype.kind != "f" and volume.slope is None:
        if not volume.trusted:
            return np.clip(plane, 0, 65535).astype(np.uint16).view(np.int16), 0
        return np.clip(plane, AIR_HU, 32767).astype(np.int16), 0
    values = plane.astype(np.float64)
    with np.errstate(over="ignore", invalid="ignore"):
        if volume.slope is not None:
            values = values * volume.slope + (volume.intercept or 0.0)
        good = np.isfinite(values)
        bad = int(values.size - np.count_nonzero(good))
        if bad:
            values = np.where(good, values, AIR_HU)
        return np.clip(np.rint(values), AIR_HU, 32767).astype(np.int16), bad


def _settle(slices: Slices, volume: _Volume) -> tuple[ScanWarning, ...]:
    """Decide what numbers without a scaling mean, now that all of them have been seen; rewritten in place."""
    count = len(slices)
    chosen = sorted({count // 4, count // 2, 3 * count // 4})
    sample = [_numbers_of(slices[index][::2, ::2], volume) for index in chosen]
    if volume.trusted and min(int(numbers.min()) for numbers in sample) < 0:
        return ()
    reading = choose_reading(sample)
    if volume.trusted and reading is Reading.AS_TAGGED:
        return ()
    for index in range(count):
        hu = apply_reading(_numbers_of(slices[index], volume), reading)
        slices[index] = np.clip(hu, AIR_HU, 32767).astype(np.int16)
    return () if reading is Reading.AS_TAGGED else (reading_warning(reading),)


def _numbers_of(hu: NDArray[np.int16], volume: _Volume) -> NDArray[np.int32]:
    return (hu if volume.trusted else np.ascontiguousarray(hu).view(np.uint16)).astype(np.int32)


def oblique_step(geometry: SliceGeometry, table_step: bool) -> tuple[SliceGeometry, list[ScanWarning]]:
    """A tilted volume without shear may store the table's step as if it were the distance along the normal.

    Converters that keep only a rotation do that: 121 of the 192 volumes of BHSD are such, their true spacing along
    the normal is the stored one times the cosine of the tilt, and volumes come out too large by its inverse.
    """
    normal = geometry.normal
    cosine = min(1.0, abs(float(normal[2])))
    if geometry.slice_count < 2 or np.degrees(np.arccos(cosine)) < _OBLIQUE_DEG:
        return geometry, []
    step = geometry.positions_mm[1] - geometry.positions_mm[0]
    length = float(np.linalg.norm(step))
    if abs(float(step @ normal)) < 0.9999 * length:
        return geometry, [
            ScanWarning(
                "CT_TILTED",
                f"The gantry was tilted by {abs(geometry.tilt_deg):.1f} degrees; "
                "true distances between slices are used.",
            )
        ]
    excess = 100 * (1 / cosine - 1)
    if not table_step:
        return geometry, [
            ScanWarning(
                "CT_OBLIQUE_STEP",
                f"The slices are tilted by {abs(geometry.tilt_deg):.1f} degrees and the file does not say whether "
                f"their {length:.2f} mm step is that of the table; if it is, volumes are {excess:.1f} % too large.",
            )
        ]
    table = np.array([0.0, 0.0, length * np.sign(step[2])])
    positions = geometry.positions_mm[0] + np.arange(geometry.slice_count)[:, None] * table
    return replace(geometry, positions_mm=positions), [
        ScanWarning(
            "CT_OBLIQUE_STEP",
            f"The {length:.2f} mm step was taken as that of the table, as asked: slices lie {length * cosine:.2f} mm "
            f"apart along their normal, which makes volumes {100 * (1 - cosine):.1f} % smaller.",
        )
    ]
