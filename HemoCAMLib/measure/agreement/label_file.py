"""Label maps and segmentations from NIfTI, NRRD and 3D Slicer's ``.seg.nrrd``."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from HemoCAMLib.ct.geometry import SliceGeometry, Vector
from HemoCAMLib.ct.nifti_header import read_nifti_header
from HemoCAMLib.ct.nrrd_header import read_nrrd_header
from HemoCAMLib.ct.orientation import canonical_geometry, grid_from_affine, reorientation_of
from HemoCAMLib.ct.volume_file import NIFTI_SUFFIXES, NRRD_SUFFIXES, oblique_step, stored_voxels
from HemoCAMLib.ct.volume_header import VolumeHeader, not_readable
from HemoCAMLib.measure.agreement.mapping import SourceSegment

LABEL_SUFFIXES = NIFTI_SUFFIXES + NRRD_SUFFIXES

#: Highest label value that is looked up in a table.
_HIGHEST_VALUE = 65535


@dataclass(frozen=True, eq=False)
class LabelSource:
    """A segmentation as its file has it, before its labels mean anything here.

    Attributes:
        kind: ``nifti``, ``nrrd``, ``seg.nrrd`` or ``dicom-seg``.
        layers: [layer, slice, row, column] whole numbers, canonical order.
        geometry: where the slices lie.
        segments: its labels.
        named: whether they have names.
        extents_mm: [slice], where extents are not half-way to the neighbours.
        notes: what to know, one sentence each.
    """

    kind: str
    layers: NDArray[Any]
    geometry: SliceGeometry
    segments: tuple[SourceSegment, ...]
    named: bool
    extents_mm: Vector | None = None
    notes: tuple[str, ...] = ()


def read_label_file(path: Path) -> LabelSource:
    """A NIfTI or NRRD label map, or a Slicer segmentation.

    Raises:
        InputRefused: ``CT_UNREADABLE``, ``CT_TRUNCATED`` and the other codes of volume files.
    """
    nrrd = path.name.lower().endswith(NRRD_SUFFIXES)
    header = read_nrrd_header(path, layers=True) if nrrd else read_nifti_header(path)
    grid = grid_from_affine(header.shape, header.ijk_to_lps)
    turn = reorientation_of(grid)
    thickness_mm = float(np.linalg.norm(grid.step_k_mm)) if header.has_step else None
    geometry, _ = canonical_geometry(grid, turn, thickness_mm)
    notes = [warning.message for warning in header.warnings]
    if turn.keeps_planes:
        geometry, warnings = oblique_step(geometry, False)
        notes += [warning.message for warning in warnings if warning.code != "CT_TILTED"]
    stored = _whole_numbers(stored_voxels(header))
    layers = np.stack(
        [np.transpose(np.flip(stored[..., layer], turn.flips), turn.order) for layer in range(header.layers)]
    )
    segments = _slicer_segments(header)
    if segments:
        return LabelSource("seg.nrrd", layers, geometry, segments, True, notes=tuple(notes))
    if header.layers > 1:
        raise not_readable("several layers without the names of segments")
    values = _values_of(layers)
    plain = tuple(SourceSegment(str(value), value) for value in values)
    return LabelSource(header.kind, layers, geometry, plain, False, notes=tuple(notes))


def is_label_file(path: Path) -> bool:
    """Whether a file's name says that it is NIfTI or NRRD."""
    return path.name.lower().endswith(LABEL_SUFFIXES)


def dataset_of(path: Path) -> str | None:
    """The data set that a file's name or neighbours give away; None where nothing does.

    >>> dataset_of(Path("ground truths/ID_0237f3c9_ID_40015688b9.nii.gz"))
    'bhsd'
    """
    name = path.name.lower()
    if re.fullmatch(r"id_[0-9a-f]+_id_[0-9a-f]+\.nii(\.gz)?", name):
        return "bhsd"
    if re.fullmatch(r"intracerebral_hemorrhage\.nii(\.gz)?", name):
        return "totalsegmentator"
    companion = {"labels.nrrd": "result.json", "truth.nrrd": "truth.json"}.get(name)
    return "hemocam" if companion and path.with_name(companion).is_file() else None


def _whole_numbers(stored: NDArray[Any]) -> NDArray[Any]:
    if stored.dtype.kind == "f":
        rounded = np.rint(stored)
        if not np.isfinite(stored).all() or float(np.abs(stored - rounded).max()) > 1e-3:
            raise not_readable("values that are not whole numbers; this is no label map")
        stored = rounded.astype(np.int64)
    if stored.size and (int(stored.min()) < 0 or int(stored.max()) > _HIGHEST_VALUE):
        raise not_readable("values below 0 or above 65535; this is no label map")
    return stored


def _values_of(layers: NDArray[Any]) -> list[int]:
    counts = np.zeros(_HIGHEST_VALUE + 1, bool)
    for plane in layers.reshape(-1, *layers.shape[2:]):
        if plane.any():
            counts[np.unique(plane)] = True
    return [int(value) for value in np.flatnonzero(counts) if value]


def _slicer_segments(header: VolumeHeader) -> tuple[SourceSegment, ...]:
    """The segments that a Slicer header names (Slicer's developer guide, Segmentation labelmap file format)."""
    names: Mapping[str, str] = header.names
    numbers = sorted(int(match[1]) for key in names if (match := re.fullmatch(r"Segment(\d+)_ID", key)))
    segments = []
    for number in numbers:
        prefix = f"Segment{number}_"
        # Files of Slicer before 4.11 have one layer a segment and neither of the two keys.
        value, layer = names.get(prefix + "LabelValue", "1"), names.get(prefix + "Layer", str(number))
        if not (value.strip().isdigit() and layer.strip().isdigit() and int(layer) < header.layers):
            raise not_readable("label value or layer of a segment")
        name = names.get(prefix + "Name") or names[prefix + "ID"]
        segments.append(SourceSegment(name, int(value), int(layer), _region_code(names.get(prefix + "Tags", ""))))
    return tuple(segments)


def _region_code(tags: str) -> str:
    """SNOMED CT code of the anatomic region in a terminology entry: category, type, modifier, context, region."""
    entry = re.search(r"TerminologyEntry:([^|]*)", tags)
    parts = entry[1].split("~") if entry else []
    code = parts[5].split("^") if len(parts) > 5 else []
    return code[1] if len(code) > 1 and code[0] == "SCT" else ""
