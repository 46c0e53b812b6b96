"""Is it CT in Hounsfield units, is it a head, are its sizes those of a head."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from HemoCAMLib.ct.geometry import SliceGeometry, Vector
from HemoCAMLib.errors import InputRefused

#: Most voxels of one scan: 2000 slices of 512 x 512. Sizes are checked before memory is taken.
MAX_VOXELS = 2000 * 512 * 512
_MAX_SIDE = 4096
_MAX_SLICES = 8192

_PIXEL_SPACING_MM = (0.05, 5.0)
_STEP_MM = (0.05, 25.0)
_FIELD_MM = (60.0, 700.0)
_LENGTH_MM = 700.0

#: Slices that are looked at; a head is recognised on a dozen as well as on all.
_LOOKED_AT = 12
_LOOK_SPACING_MM = 1.8
_BONE_HU = 200
#: Directions, seen from the middle of all bone, in which a skull must show bone.
_DIRECTIONS = 48
_RING_SHARE = 0.85
#: Area within the outermost bone, cm2.
_RING_CM2 = (50.0, 420.0)
#: Outermost bone of a skull runs smoothly: from one direction to the next its distance changes by less than this.
_RING_ROUGHNESS = 0.15
#: More of the inside than this at the density of lung makes it a chest.
_LUNG_SHARE = 0.25
_HEAD_WIDTH_MM = 320.0
#: Neighbouring pixels of a CT differ by less than this in the median, even with a bone kernel.
_NOISE_HU = 200.0


def check_size(shape: tuple[int, int, int]) -> None:
    """Refuse sizes that no head CT has before anything is allocated.

    Args:
        shape: (slices, rows, columns) in any order.

    Raises:
        InputRefused: ``CT_SIZE``.
    """
    slices, rows, columns = shape
    voxels = slices * rows * columns
    if min(shape) < 1 or max(shape) > _MAX_SLICES or sorted(shape)[1] > _MAX_SIDE or voxels > MAX_VOXELS:
        raise InputRefused(
            "CT_SIZE",
            f"The scan claims {slices} x {rows} x {columns} voxels, which no head CT has.",
            "The file is probably damaged; export it again.",
        )


def check_spacing(geometry: SliceGeometry, shape: tuple[int, int, int]) -> None:
    """Refuse pixel sizes, steps and fields of view that no head CT has.

    Raises:
        InputRefused: ``CT_SPACING``.
    """
    row_mm, column_mm = geometry.pixel_spacing_mm
    extents = geometry.extents_mm
    numbers = np.concatenate([geometry.positions_mm.ravel(), extents, [row_mm, column_mm]])
    if not np.isfinite(numbers).all() or np.abs(numbers).max() > 1e5:
        raise refused_spacing("positions that are not numbers of millimetres")
    low, high = _PIXEL_SPACING_MM
    if not (low <= row_mm <= high * 5 and low <= column_mm <= high * 5) or min(row_mm, column_mm) > high:
        raise refused_spacing(f"pixels of {row_mm:.3g} x {column_mm:.3g} mm")
    typical = float(np.median(extents))
    if not _STEP_MM[0] <= typical <= _STEP_MM[1]:
        raise refused_spacing(f"slices {typical:.3g} mm apart")
    for size, spacing in ((shape[1], row_mm), (shape[2], column_mm)):
        if not _FIELD_MM[0] <= size * spacing <= _FIELD_MM[1]:
            raise refused_spacing(f"an image {size * spacing:.0f} mm wide")
    if float(extents.sum()) > _LENGTH_MM:
        raise InputRefused(
            "CT_NOT_HEAD",
            f"The scan is {extents.sum():.0f} mm long: this is not a scan of the head alone.",
            "Choose the head series of the examination.",
        )


def refused_spacing(found: str) -> InputRefused:
    return InputRefused(
        "CT_SPACING",
        f"The scan's header gives {found}, so volumes cannot be measured.",
        "Export the scan again from the scanner or archive.",
    )


@dataclass(frozen=True)
class _Look:
    """What one slice shows at coarse resolution."""

    air: float
    tissue: float
    width_mm: float
    noise_hu: float
    ring_share: float
    ring_cm2: float
    ring_roughness: float
    lung_share: float

    @property
    def has_skull(self) -> bool:
        return (
            self.ring_share >= _RING_SHARE
            and _RING_CM2[0] <= self.ring_cm2 <= _RING_CM2[1]
            and self.ring_roughness < _RING_ROUGHNESS
            and self.lung_share < _LUNG_SHARE
            and self.noise_hu < _NOISE_HU
        )


def check_head(slices: Sequence[NDArray[np.int16]] | NDArray[np.int16], geometry: SliceGeometry) -> None:
    """Refuse what is not in HU and what is not a head, on a dozen slices spread over the scan.

    HU: there is air around the patient. Head: at least one slice in seven has bone in nearly every direction from
    its middle, at a distance that changes smoothly and encloses 50-420 cm2, and no lung inside. That holds from
    the jaw to the vertex, for an empty plastic skull and for most slices after a craniectomy; ribs, a pelvis or
    a knee do not pass. The body must not be wider than a head.

    Raises:
        InputRefused: ``CT_NOT_HU`` or ``CT_NOT_HEAD``.
    """
    count = len(slices)
    chosen = np.unique(np.linspace(0, count - 1, min(count, _LOOKED_AT)).round().astype(int))
    looks = [_look(slices[int(index)], geometry.pixel_spacing_mm) for index in chosen]
    tissue = max(look.tissue for look in looks)
    if max(look.air for look in looks) < 0.005 and tissue > 0:
        raise InputRefused(
            "CT_NOT_HU",
            "The scan's values are not Hounsfield units: nothing has the value of air.",
            "Use the original CT, not one that was windowed, normalised or stripped of its surroundings.",
        )
    wide = float(np.median([look.width_mm for look in looks])) > _HEAD_WIDTH_MM
    if wide or sum(look.has_skull for look in looks) < max(1.0, len(looks) / 7):
        raise InputRefused(
            "CT_NOT_HEAD",
            "No skull is found in this scan, so it is not taken for a CT of the head.",
            "Choose the head series of the examination.",
        )


def _look(hu: NDArray[np.int16], spacing_mm: tuple[float, float]) -> _Look:
    factors = [max(1, round(_LOOK_SPACING_MM / spacing)) for spacing in spacing_mm]
    small = _block_mean(hu, factors[0], factors[1])
    spacing = np.array([spacing_mm[0] * factors[0], spacing_mm[1] * factors[1]])
    columns = np.flatnonzero(_largest(small > -300).any(axis=0))
    share, area, roughness, lung = _ring(small, spacing)
    return _Look(
        air=float(np.mean(hu < -700)),
        tissue=float(np.mean(hu > -200)),
        width_mm=float((columns[-1] - columns[0] + 1) * spacing[1]) if columns.size else 0.0,
        noise_hu=float(np.median(np.abs(np.diff(hu[::3].astype(np.int32), axis=1)))) if hu.shape[1] > 1 else 0.0,
        ring_share=share,
        ring_cm2=area,
        ring_roughness=roughness,
        lung_share=lung,
    )


def _block_mean(hu: NDArray[np.int16], row_factor: int, column_factor: int) -> Vector:
    rows, columns = hu.shape[0] // row_factor, hu.shape[1] // column_factor
    cropped = hu[: rows * row_factor, : columns * column_factor].astype(np.float64)
    means: Vector = cropped.reshape(rows, row_factor, columns, column_factor).mean(axis=(1, 3))
    return means


def _ring(small: Vector, spacing_mm: Vector) -> tuple[float, float, float, float]:
    """Outermost bone by direction: share of directions with bone, area within (cm2), roughness, share of lung."""
    bone = np.argwhere(small > _BONE_HU) * spacing_mm
    if len(bone) < _DIRECTIONS // 2:
        return 0.0, 0.0, 0.0, 0.0
    middle = (bone.min(axis=0) + bone.max(axis=0)) / 2
    outermost = np.zeros(_DIRECTIONS)
    np.maximum.at(outermost, _direction(bone - middle), np.hypot(*(bone - middle).T))
    found = outermost > 0
    radii = outermost[found]
    share = float(found.mean())
    area = float((radii**2).sum() * np.pi / _DIRECTIONS / 100 / share)
    roughness = float(np.median(np.abs(np.diff(radii))) / np.median(radii)) if radii.size > 1 else 1.0
    places = np.indices(small.shape).reshape(2, -1).T * spacing_mm - middle
    inside = np.hypot(*places.T) < outermost[_direction(places)]
    values = small.ravel()[inside]
    lung = float(np.mean((values > -930) & (values < -400))) if values.size else 0.0
    return share, area, roughness, lung


def _direction(places: Vector) -> NDArray[np.intp]:
    angles = (np.arctan2(places[:, 0], places[:, 1]) + np.pi) / (2 * np.pi)
    return (angles * _DIRECTIONS).astype(np.intp) % _DIRECTIONS


def _largest(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    regions, count = ndimage.label(mask)
    if count == 0:
        return mask
    sizes = np.bincount(regions.ravel())
    sizes[0] = 0
    return np.asarray(regions == sizes.argmax())
