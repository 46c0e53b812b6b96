"""One way in for every segmentation: a run folder, a label map, a Slicer segmentation, a DICOM SEG."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from HemoCAMLib.ct.geometry import SliceGeometry
from HemoCAMLib.errors import InputRefused
from HemoCAMLib.measure.agreement.dicom_seg import is_dicom_seg, read_dicom_seg
from HemoCAMLib.measure.agreement.label_file import LabelSource, dataset_of, is_label_file, read_label_file
from HemoCAMLib.measure.agreement.mapping import KNOWN_MAPPINGS, NONE, read_mapping, resolve, told_subtypes
from HemoCAMLib.measure.agreement.segmentation import Segmentation
from HemoCAMLib.measure.agreement.structures import BIT, STRUCTURES, UNSPECIFIED
from HemoCAMLib.subtypes import ANY, SUBTYPE_NAMES

#: Files of a run folder that are read here, and the versions of the first that mean the same here.
_RESULT, _LABELS, _RESULT_SCHEMAS = "result.json", "labels.nrrd", (1, 2)

Map = str | Path | Mapping[str, str] | None


def read_segmentation(path: str | Path, mapping: Map = None, *, role: str = "truth") -> Segmentation:
    """A segmentation from disk.

    Args:
        path: run folder, NIfTI, NRRD, Slicer's ``.seg.nrrd``, DICOM SEG or a folder with one.
        mapping: what its labels mean (:func:`~HemoCAMLib.measure.agreement.mapping.read_mapping`); None takes the
            names of its segments, or the data set that its name gives away.
        role: ``truth`` or ``prediction``, for messages; plain values of a prediction are HemoCAM's own.

    Raises:
        InputRefused: ``TRUTH_NOT_FOUND``, ``TRUTH_UNREADABLE``, ``TRUTH_NOT_SEGMENTATION``, ``TRUTH_LABELS``,
            ``TRUTH_LABELS_AMBIGUOUS``, or the same for ``PREDICTION``; ``PREDICTION_INCOMPLETE``.
        UsageError: ``USAGE_MAP``.
    """
    table = None if mapping is None else read_mapping(mapping)
    place = Path(path)
    code = role.upper()
    try:
        if not place.exists():
            raise InputRefused(f"{code}_NOT_FOUND", f"The {role} was not found at the given path.", "Check the path.")
        if (place / _RESULT).is_file():
            return _read_run(place, role)
        if (place / "job.json").is_file():
            raise InputRefused(
                f"{code}_INCOMPLETE", "The run folder holds no finished analysis.", "Run the analysis to its end."
            )
        file = _file_in(place, role) if place.is_dir() else place
        source = read_label_file(file) if is_label_file(file) else _dicom(file, role)
    except InputRefused as error:
        if not error.code.startswith("CT_"):
            raise
        raise InputRefused(
            f"{code}_UNREADABLE", f"The {role} cannot be read. {error.message}", error.advice, error.detail
        ) from error
    except (OSError, ValueError) as error:
        raise InputRefused(
            f"{code}_UNREADABLE", f"The {role} cannot be read.", "Check the path and its rights.", type(error).__name__
        ) from error
    guessed = None
    if table is None and not source.named:
        guessed = dataset_of(file) or ("hemocam" if role == "prediction" else None)
    return segmentation_of_source(source, table, guessed, role=role)


def segmentation_of_source(
    source: LabelSource, mapping: Mapping[str, str] | None, dataset: str | None = None, *, role: str = "truth"
) -> Segmentation:
    """Gives the labels of a source their meaning.

    Args:
        source: as read from disk.
        mapping: asked for by the user, or None.
        dataset: the known data set that the source looks like, used where no mapping was asked for.
        role: for messages.
    """
    table = mapping if mapping is not None else KNOWN_MAPPINGS[dataset] if dataset else None
    targets = resolve(source.segments, table, named=source.named, role=role)
    members = np.zeros(source.layers.shape[1:], np.uint8)
    for layer in range(len(source.layers)):
        lookup = np.zeros(_table_size(source.layers[layer]), np.uint8)
        for segment, target in targets.items():
            if segment.layer == layer and segment.value < len(lookup):
                lookup[segment.value] |= _bit(target)
        if lookup.any():
            members |= lookup[source.layers[layer]]
    notes = list(source.notes)
    if mapping is None and dataset and (role, dataset) != ("prediction", "hemocam"):
        notes.append(f"The {role}'s label values were read as those of {dataset}.")
    if mapping is None and not dataset and not source.named and len(targets) == 1:
        notes.append(
            f"The {role} has one label value, {source.segments[0].name}, and no name for it: "
            "it was taken as hemorrhage of any kind."
        )
    return Segmentation(
        members=members,
        geometry=source.geometry,
        subtypes=told_subtypes(set(targets.values()), None if source.named else table),
        kind=source.kind,
        extents_mm=source.extents_mm,
        mapping={segment.name: target for segment, target in targets.items()},
        notes=tuple(notes),
    )


def _table_size(layer: NDArray[Any]) -> int:
    return int(layer.max()) + 1 if layer.size else 1


def _bit(target: str) -> int:
    return 0 if target == NONE else UNSPECIFIED if target == ANY else BIT[target]


def _file_in(folder: Path, role: str) -> Path:
    """The one segmentation in a folder."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    found = [path for path in files if is_label_file(path) or is_dicom_seg(path)]
    if len(found) != 1:
        raise InputRefused(
            f"{role.upper()}_NOT_SEGMENTATION",
            f"The folder holds {len(found) or 'no'} segmentations, not one.",
            "Choose a run folder or one file: NIfTI, NRRD, .seg.nrrd or DICOM SEG.",
        )
    return found[0]


def _dicom(file: Path, role: str) -> LabelSource:
    if not is_dicom_seg(file):
        raise InputRefused(
            f"{role.upper()}_NOT_SEGMENTATION",
            f"The {role} is neither a label map nor a DICOM Segmentation.",
            "Choose a run folder, NIfTI, NRRD, .seg.nrrd or DICOM SEG.",
        )
    return read_dicom_seg(file)


def _read_run(folder: Path, role: str) -> Segmentation:
    """The label map of a run with the scan's true positions, which ``result.json`` holds slice by slice."""
    try:
        result = json.loads((folder / _RESULT).read_text(encoding="utf-8"))
        if result["schema"] not in _RESULT_SCHEMAS:
            raise InputRefused(
                f"{role.upper()}_SCHEMA",
                "The result was written by another version of HemoCAM.",
                "Run the analysis again.",
            )
        slices = result["slices"]
        positions = np.array([entry["origin_lps_mm"] for entry in slices], np.float64)
        extents = np.array([entry["extent_mm"] for entry in slices], np.float64)
        probability = {name: np.array([entry["probability"][name] for entry in slices]) for name in STRUCTURES}
        classes = result["model"].get("classes", SUBTYPE_NAMES)
        subtypes = tuple(name for name in SUBTYPE_NAMES if name in classes)
        spacing = result["input"]["spacing"]
        pixel_mm = (float(spacing["row_mm"]), float(spacing["column_mm"]))
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise InputRefused(
            f"{role.upper()}_UNREADABLE", "The run folder's result is damaged.", "Run the analysis again.", str(error)
        ) from error
    source = read_label_file(folder / _LABELS)
    header = source.geometry
    if positions.shape != header.positions_mm.shape:
        raise InputRefused(
            f"{role.upper()}_UNREADABLE", "The run's label map and result do not fit.", "Run the analysis again."
        )
    true = replace(header, positions_mm=positions, pixel_spacing_mm=pixel_mm)
    segmentation = segmentation_of_source(source, KNOWN_MAPPINGS["hemocam"], role=role)
    return replace(
        segmentation,
        kind="run",
        geometry=_single_slice(true, extents),
        subtypes=subtypes,
        file_geometry=header,
        probability=probability,
        mapping={},
        notes=(),
    )


def _single_slice(geometry: SliceGeometry, extents_mm: NDArray[np.float64]) -> SliceGeometry:
    """A lone slice has no neighbours to take its extent from."""
    if geometry.slice_count > 1:
        return geometry
    return replace(geometry, slice_thickness_mm=float(extents_mm[0]))
