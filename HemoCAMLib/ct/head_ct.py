"""A head CT: Hounsfield units, slice by slice, with true geometry and identity."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from HemoCAMLib.ct.geometry import SliceGeometry

#: What padding and everything below is set to.
AIR_HU = -1024


@dataclass(frozen=True)
class ScanWarning:
    """Something about the scan that the user should know although it could be handled.

    Attributes:
        code: stable identifier such as ``CT_UNEVEN_STEPS``.
        message: one sentence without patient data.
    """

    code: str
    message: str


@dataclass(frozen=True)
class SourcePlane:
    """One plane of the input's grid, where a DICOM file stores it.

    Attributes:
        path: the file.
        frame: which of its frames, from 0; always 0 in a file of one image.
        sop_instance_uid: of the file.
    """

    path: Path
    frame: int
    sop_instance_uid: str


@dataclass(frozen=True)
class SourceIdentity:
    """Where the scan came from; nothing here names a patient.

    Attributes:
        kind: ``dicom``, ``nifti``, ``nrrd`` or ``array``.
        path: file or folder, empty for an array.
        choice: why this series was chosen where a folder held several; empty otherwise.
        study_instance_uid: empty where the source has none, as the next two.
        series_instance_uid: see above.
        sop_instance_uids: one per slice, in slice order.
        planes: one per plane of the input's grid, in the order of its slowest axis; empty where the source is
            not DICOM. Copies that were left out are not among them.
    """

    kind: str
    path: str = ""
    choice: str = ""
    study_instance_uid: str = ""
    series_instance_uid: str = ""
    sop_instance_uids: tuple[str, ...] = ()
    planes: tuple[SourcePlane, ...] = ()


@dataclass(frozen=True, eq=False)
class InputGrid:
    """The voxel grid as the input stores it, so that label maps can be written on it.

    ``stored = np.flip(np.transpose(canonical, axes), flips)`` takes a [slice, row, column] array of a
    HeadCT to the stored order [k, j, i] (slowest axis first, as numpy and SimpleITK show it).

    Attributes:
        axes: argument of ``np.transpose``.
        flips: stored axes that run the other way.
        origin_lps_mm: [3] centre of the first stored voxel.
        directions_lps_mm: [3, 3], column n is the step from one voxel to the next along stored axis i, j, k.
    """

    axes: tuple[int, int, int]
    flips: tuple[int, ...]
    origin_lps_mm: NDArray[np.float64]
    directions_lps_mm: NDArray[np.float64]

    @property
    def is_canonical(self) -> bool:
        """Whether slices can be written one after the other as they are."""
        return self.axes == (0, 1, 2) and not self.flips

    def to_stored(self, canonical: NDArray[np.generic]) -> NDArray[np.generic]:
        """[slice, row, column] to the input's own [k, j, i]; a view."""
        return np.flip(np.transpose(canonical, self.axes), self.flips)

    def to_canonical(self, stored: NDArray[np.generic]) -> NDArray[np.generic]:
        """The input's own [k, j, i] to [slice, row, column]; a view, and the inverse of :meth:`to_stored`."""
        back = sorted(range(3), key=lambda axis: self.axes[axis])
        return np.transpose(np.flip(stored, self.flips), back)


@dataclass(frozen=True, eq=False)
class HeadCT:
    """One head CT in Hounsfield units.

    Slices are ordered along the normal from feet to head; rows run from front to back and columns from
    the patient's right to left wherever the source's axes allow it. Padding has become ``AIR_HU``.

    Attributes:
        slices: sequence of int16 arrays [row, column] in HU; an array [slice, row, column], or a
            :class:`~HemoCAMLib.ct.slice_file.SliceFile` that holds them on disk.
        geometry: true positions, normal, spacing.
        source: identity.
        grid: the input's own voxel grid.
        warnings: what was found and handled.
    """

    slices: Sequence[NDArray[np.int16]] | NDArray[np.int16]
    geometry: SliceGeometry
    source: SourceIdentity
    grid: InputGrid
    warnings: tuple[ScanWarning, ...] = field(default=())

    @property
    def shape(self) -> tuple[int, int, int]:
        """(slices, rows, columns)."""
        rows, columns = self.slices[0].shape
        return len(self.slices), int(rows), int(columns)

    @property
    def hu(self) -> NDArray[np.int16]:
        """[slice, row, column] int16 in HU; loads everything where the slices lie on disk."""
        if isinstance(self.slices, np.ndarray):
            return self.slices
        return np.stack([self.slices[index] for index in range(len(self.slices))])
