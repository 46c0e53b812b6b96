"""What can be said about a volume at once, before anything is analysed: tilt, steps, gaps, not a head, not HU."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from HemoCAMLib.ct import AIR_HU, SliceGeometry
from HemoCAMLib.ct.checks import check_head, check_size, check_spacing
from HemoCAMLib.ct.steps import missing_steps
from HemoCAMLib.ct.stored_values import apply_reading, choose_reading
from HemoCAMLib.errors import InputRefused
from HemoCAMLib.scene.volume_grid import VolumeGrid

#: As in the reader of DICOM series: smaller ones are rounding.
_TILT_WORTH_SAYING_DEG, _UNEVEN = 0.5, 0.02
#: Slices that are looked at: as many as the check for a head takes.
_LOOKED_AT = 12


@dataclass(frozen=True)
class InputNote:
    """One thing to know about a volume.

    Attributes:
        code: stable identifier, those of :class:`~HemoCAMLib.ct.ScanWarning` where the analysis says the same.
        message: one sentence: what was found, and what will be done about it.
        refused: whether the analysis would refuse the volume for it.
    """

    code: str
    message: str
    refused: bool = False


def notes_on_positions(geometry: SliceGeometry) -> list[InputNote]:
    """Tilt, uneven steps and gaps of slices at their true positions."""
    notes = []
    cosine = float(np.abs(geometry.normal).max())
    angle = float(np.degrees(np.arccos(min(1.0, cosine))))
    if angle >= _TILT_WORTH_SAYING_DEG:
        notes.append(
            InputNote(
                "CT_TILTED", f"The slices are tilted by {angle:.1f} degrees; distances along their normal will be used."
            )
        )
    steps = np.diff(geometry.offsets_mm)
    if steps.size == 0:
        return notes
    if steps.min() <= 0:
        return [*notes, InputNote("CT_DUPLICATES", "Slices are stored twice; copies will be left out.")]
    holes = missing_steps(steps)
    if holes:
        message = f"Slices are missing at {len(holes)} place{'s' if len(holes) > 1 else ''}; allow gaps to analyse it."
        notes.append(InputNote("CT_MISSING_SLICES", message, refused=True))
    regular = np.delete(steps, holes)
    if regular.size and regular.max() - regular.min() > _UNEVEN * regular.max():
        notes.append(
            InputNote(
                "CT_UNEVEN_STEPS",
                f"Slices are {regular.min():.2f} to {regular.max():.2f} mm apart; each will be measured with its own "
                "extent.",
            )
        )
    return notes


def notes_on_voxels(stored: NDArray[Any], grid: VolumeGrid) -> list[InputNote]:
    """Why the analysis would refuse the voxels: sizes, not HU, not a head. A dozen slices are looked at.

    Args:
        stored: [k, j, i] as the node has them; not copied.
        grid: of the node.
    """
    canonical = grid.to_canonical(stored)
    chosen = np.unique(np.linspace(0, len(canonical) - 1, min(len(canonical), _LOOKED_AT)).round().astype(int))
    try:
        check_size(grid.canonical_shape)
        check_spacing(grid.geometry, grid.canonical_shape)
        check_head(_in_hu([canonical[index] for index in chosen]), grid.geometry)
    except InputRefused as error:
        return [InputNote(error.code, f"{error.message} {error.advice}", refused=True)]
    return []


def _in_hu(planes: list[NDArray[Any]]) -> list[NDArray[np.int16]]:
    """Planes as the analysis will read them: numbers without a negative one may be stored values without an offset."""
    numbers = [np.rint(np.nan_to_num(plane)).astype(np.int32) for plane in planes]
    if min(int(plane.min()) for plane in numbers) >= 0:
        reading = choose_reading(numbers)
        numbers = [np.asarray(apply_reading(plane, reading)) for plane in numbers]
    return [np.clip(plane, AIR_HU, 32767).astype(np.int16) for plane in numbers]
