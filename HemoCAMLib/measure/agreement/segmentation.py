"""A segmentation of a head: which voxels are which hemorrhage, where they lie, and which subtypes it can tell."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from HemoCAMLib.ct.geometry import SliceGeometry, Vector
from HemoCAMLib.errors import UsageError
from HemoCAMLib.measure.agreement.structures import (
    STRUCTURES,
    UNSPECIFIED,
    Members,
    mask_of,
    members_of_labels,
)
from HemoCAMLib.subtypes import SUBTYPE_NAMES


@dataclass(frozen=True, eq=False)
class Segmentation:
    """One segmentation in canonical order: slices from feet to head, rows front to back, columns right to left.

    Attributes:
        members: uint8 [slice, row, column], one bit a subtype (:mod:`~HemoCAMLib.measure.agreement.structures`).
        geometry: true positions of the slices.
        subtypes: those that the source tells apart; empty for a binary mask.
        kind: ``run``, ``nifti``, ``nrrd``, ``seg.nrrd``, ``dicom-seg`` or ``array``.
        extents_mm: [slice] extent of each slice, where it is not half-way to its neighbours (a DICOM SEG leaves
            empty slices out); None where it is.
        file_geometry: what the label file's own header says where that is not the truth (a header has one step).
        probability: by structure, [slice] of the classifier; empty without one.
        mapping: what the source's labels were taken for.
        notes: what to know, one sentence each.
    """

    members: Members
    geometry: SliceGeometry
    subtypes: tuple[str, ...] = SUBTYPE_NAMES
    kind: str = "array"
    extents_mm: Vector | None = None
    file_geometry: SliceGeometry | None = None
    probability: dict[str, NDArray[np.float64]] = field(default_factory=dict)
    mapping: dict[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def slice_extents_mm(self) -> Vector:
        """[slice] thickness of tissue that each slice stands for."""
        return self.geometry.extents_mm if self.extents_mm is None else self.extents_mm

    @property
    def volume_ml(self) -> dict[str, float]:
        """Volumes on the segmentation's own grid, by structure."""
        slice_ml = self.slice_extents_mm * self.geometry.pixel_area_mm2 / 1000
        volumes = {}
        for structure in STRUCTURES:
            counts = np.array([np.count_nonzero(mask_of(plane, structure)) for plane in self.members])
            volumes[structure] = float(slice_ml @ counts)
        return volumes


def segmentation_of_labels(
    labels: NDArray[Any], geometry: SliceGeometry, *, subtypes: Collection[str] = SUBTYPE_NAMES
) -> Segmentation:
    """A segmentation from a label map in memory.

    Args:
        labels: [slice, row, column] integers, 0 none, 1 IPH, 2 IVH, 3 SAH, 4 SDH, 5 EDH.
        geometry: of its slices.
        subtypes: those that the labels tell apart. An empty collection says that the map is binary: everything that
            is not 0 is hemorrhage of an unknown subtype. A label of a subtype that is not among them counts so too.

    Raises:
        UsageError: shape or values make no label map (``USAGE_LABELS``).
    """
    array = np.asarray(labels)
    if array.ndim != 3 or array.shape[0] != geometry.slice_count:
        raise UsageError(
            "USAGE_LABELS",
            f"The label map is {'×'.join(map(str, array.shape))}; the scan has {geometry.slice_count} slices.",
            "Pass an array [slice, row, column] of this scan.",
        )
    if unknown := set(subtypes) - set(SUBTYPE_NAMES):
        raise UsageError("USAGE_LABELS", f"{', '.join(sorted(unknown))} is no subtype.", "Choose from IPH to EDH.")
    known = tuple(name for name in SUBTYPE_NAMES if name in subtypes)
    members = members_of_labels(array if known else array != 0)
    if len(known) < len(SUBTYPE_NAMES):
        unknown_bits = [1 << SUBTYPE_NAMES.index(name) for name in SUBTYPE_NAMES if name not in known]
        members[np.isin(members, unknown_bits)] = UNSPECIFIED
    return Segmentation(members, geometry, known)
