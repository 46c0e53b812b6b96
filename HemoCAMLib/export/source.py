"""The series that a run was made from: found again, checked, and brought together with the run's label map."""

from __future__ import annotations

import os
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from HemoCAMLib.ct import HeadCT, ScanWarning
from HemoCAMLib.errors import InputRefused, UsageError, WorkerFailed
from HemoCAMLib.export.headers import read_headers
from HemoCAMLib.run.result import Result
from HemoCAMLib.run.source import other_scan, scan_of_run, series_uid_of
from HemoCAMLib.subtypes import SUBTYPES

#: ``result.json`` gives volumes to 0.0001 mL.
_SAME_VOLUME_ML = 1e-3


@dataclass(frozen=True, eq=False)
class SourceSeries:
    """The original series of a run, beside the run's labels.

    Attributes:
        ct: the scan as the engine reads it.
        headers: one dataset a file, without pixels, completed for an export; in the order of ``ct.source.planes``.
        labels: uint8 [plane, row, column] label map in the files' own rows and columns; plane n belongs to
            ``ct.source.planes[n]``, which names file, frame and SOP instance. Copies of slices that the reader left
            out have no plane, and neither have slices that are missing.
        notices: what had to be completed or left empty.
    """

    ct: HeadCT
    headers: tuple[Dataset, ...]
    labels: NDArray[np.uint8]
    notices: tuple[ScanWarning, ...]

    @property
    def is_multi_frame(self) -> bool:
        """Whether the planes are frames of one file with functional groups (Enhanced CT, DICOM PS3.3 A.38)."""
        return "PerFrameFunctionalGroupsSequence" in self.headers[0]


def open_source(result: Result, source: str | os.PathLike[str]) -> SourceSeries:
    """Reads the series that a run was made from and refuses every other one.

    The series must have the run's SeriesInstanceUID, number of slices, positions and, where the run folder still
    tells it, the very same voxels.

    Args:
        result: a finished run.
        source: folder or file with the original DICOM series.

    Raises:
        UsageError: ``USAGE_NOT_DICOM``, the run was not made from DICOM.
        InputRefused: ``CT_OTHER_SERIES``, the source is not what was analysed; ``CT_NO_IDENTIFIERS`` or
            ``CT_HEADER``, its headers cannot be referred to; or any refusal of
            :func:`~HemoCAMLib.ct.read_head_ct`.
        WorkerFailed: ``WORKER_RUN_DAMAGED``, label map and measurements of the run do not belong together.
    """
    if result.fields["input"]["kind"] != "dicom":
        raise UsageError(
            "USAGE_NOT_DICOM",
            "This run was made from a volume without DICOM headers, so there is no series that a DICOM result could "
            "belong to.",
            "Analyse the original DICOM series and export that run.",
        )
    if not series_uid_of(result):
        raise InputRefused(
            "CT_NO_IDENTIFIERS",
            "The files of this scan carry no series identifier, so no DICOM result can refer to them.",
            "Export the original series from the archive and analyse it.",
        )
    ct = _read(result, source)
    labels = _labels(result, ct)
    headers, notices = read_headers(ct)
    return SourceSeries(ct, headers, labels, notices)


def _read(result: Result, source: str | os.PathLike[str]) -> HeadCT:
    try:
        ct = scan_of_run(result, source)
    except InputRefused as error:
        if error.code == "CT_SERIES_NOT_FOUND":
            raise other_scan("The source holds other series but not the one that was analysed.") from None
        raise
    if ct.source.kind != "dicom":
        raise other_scan("The source is not DICOM.")
    return ct


def _labels(result: Result, ct: HeadCT) -> NDArray[np.uint8]:
    """The label map, if it is the one that was measured."""
    try:
        labels = result.labels
    except RuntimeError:  # SimpleITK's own, whose text holds the path
        raise damaged_run("The label map of this run is missing or cannot be read.") from None
    planes = (len(ct.source.planes), *labels.shape[1:])
    if labels.dtype != np.uint8 or labels.ndim != 3 or labels.shape != planes:
        raise damaged_run("The label map of this run has another shape than its scan.")
    canonical = ct.grid.to_canonical(labels)
    if canonical.shape != ct.shape or labels.max() > SUBTYPES[-1].label:
        raise damaged_run("The label map of this run does not fit its scan.")
    measured = volumes_ml(canonical, ct)  # type: ignore[arg-type]
    if any(abs(measured[name] - result.volume_ml[name]) > _SAME_VOLUME_ML for name in measured):
        raise damaged_run("The label map of this run was changed after it was measured.")
    return labels


def volumes_ml(labels: NDArray[np.uint8], ct: HeadCT) -> dict[str, float]:
    """Volume of every subtype in mL: pixels × pixel area × each slice's own extent along the normal.

    Args:
        labels: uint8 [slice, row, column] in the order of the scan.
        ct: the scan.
    """
    pixels = np.stack([np.bincount(plane.ravel(), minlength=256)[: len(SUBTYPES) + 1] for plane in labels])
    by_label = ct.geometry.extents_mm @ pixels * ct.geometry.pixel_area_mm2 / 1000
    return {subtype.name: float(by_label[subtype.label]) for subtype in SUBTYPES}


def damaged_run(message: str) -> WorkerFailed:
    """The refusal of a run whose files do not belong together."""
    return WorkerFailed("WORKER_RUN_DAMAGED", message, "Run the analysis again.")
