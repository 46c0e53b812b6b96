"""Two finished runs of one patient, brought together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from HemoCAMLib.ct import AIR_HU, HeadCT
from HemoCAMLib.errors import UsageError
from HemoCAMLib.followup.change import Change, change_between
from HemoCAMLib.followup.registration import Alignment, align
from HemoCAMLib.followup.sampling import TrueSampler, slice_points
from HemoCAMLib.run.result import Result

#: Version of ``followup.json``; grows when a field changes its meaning or goes.
FOLLOWUP_SCHEMA = 1


@dataclass(frozen=True, eq=False)
class RunScan:
    """A run with the scan it was made from.

    Attributes:
        result: the finished run.
        ct: its scan (:func:`~HemoCAMLib.run.source.scan_of_run`).
    """

    result: Result
    ct: HeadCT

    @property
    def labels(self) -> NDArray[np.uint8]:
        """[slice, row, column] label map in the scan's own order."""
        labels: NDArray[np.uint8] = self.ct.grid.to_canonical(self.result.labels)  # type: ignore[assignment]
        return labels


@dataclass(frozen=True, eq=False)
class FollowUp:
    """What two scans say together.

    Attributes:
        first: the earlier run.
        second: the later run.
        change: volumes, each measured in its own scan.
        alignment: where the first head lies in the second scan.
        notes: what to know about the comparison.
    """

    first: RunScan
    second: RunScan
    change: Change
    alignment: Alignment
    notes: tuple[str, ...] = field(default=())

    def second_on_first(self, indices: Sequence[int]) -> tuple[NDArray[np.int16], NDArray[np.uint8]]:
        """The later scan and its label map where slices of the first one lie.

        Args:
            indices: slices of the first scan.

        Returns:
            HU and labels, [slice, rows, columns] in the planes of the first scan; air and 0 where the second scan
            does not reach.
        """
        _, rows, columns = self.first.ct.shape
        hu_of = TrueSampler(self.second.ct.hu, self.second.ct.geometry)
        labels_of = TrueSampler(self.second.labels, self.second.ct.geometry)
        hu = np.empty((len(indices), rows, columns), np.int16)
        labels = np.empty((len(indices), rows, columns), np.uint8)
        for place, index in enumerate(indices):
            points = self.alignment.to_second(slice_points(self.first.ct.geometry, index, rows, columns))
            hu[place] = np.rint(hu_of.linear(points, outside=AIR_HU))
            labels[place] = labels_of.nearest(points)
        return hu, labels

    def to_dict(self) -> dict[str, Any]:
        """Content of ``followup.json``: plain values, nothing about the patient."""
        return {
            "schema": FOLLOWUP_SCHEMA,
            **self.change.to_dict(),
            "statements": self.change.sentences(),
            "alignment": {
                "first_to_second_lps": [[round(float(value), 6) for value in row] for row in self.alignment.matrix],
                "rotation_deg": round(self.alignment.rotation_deg, 3),
                "shift_mm": round(self.alignment.shift_mm, 3),
                "skull_overlap": round(self.alignment.skull_overlap, 4),
            },
            "models": [run.result.fields["model"]["name"] for run in (self.first, self.second)],
            "notes": list(self.notes),
        }


def follow_up(first: RunScan, second: RunScan) -> FollowUp:
    """Aligns two scans of a patient and says what changed.

    Volumes are compared as each scan's own true geometry gave them; the alignment serves the pictures and the check
    that both show the same head.

    Raises:
        UsageError: ``USAGE_SAME_SCAN``, both runs are of one scan; ``USAGE_OTHER_PATIENT``, the headers name two.
        InputRefused: ``CT_NOT_ALIGNED``.
    """
    uids = [run.ct.source.series_instance_uid for run in (first, second)]
    if uids[0] and uids[0] == uids[1]:
        raise UsageError(
            "USAGE_SAME_SCAN", "Both runs were made from the same scan.", "Choose the runs of two examinations."
        )
    notes = [*_patient_notes(first.ct, second.ct), *_model_notes(first.result, second.result)]
    change = change_between(first.result, second.result)
    return FollowUp(first, second, change, align(first.ct, second.ct), tuple(notes))


def _model_notes(first: Result, second: Result) -> list[str]:
    notes = []
    if first.fields["model"]["checksum"] != second.fields["model"]["checksum"]:
        notes.append("The two scans were analysed by different models, so part of the change may come from those.")
    elif first.fields["settings"]["mask"] != second.fields["settings"]["mask"]:
        notes.append("The two scans were analysed with different mask settings; part of the change may come from that.")
    return notes


def _patient_notes(first: HeadCT, second: HeadCT) -> list[str]:
    """Compares who the headers name and when the scans were made; nothing of it is kept."""
    if not (first.source.planes and second.source.planes):
        return ["Without two DICOM headers it could not be checked that both scans are of one patient."]
    from pydicom import dcmread

    headers = [dcmread(ct.source.planes[0].path, stop_before_pixels=True, force=True) for ct in (first, second)]
    identifiers = [str(header.get("PatientID", "") or "") for header in headers]
    if all(identifiers) and identifiers[0] != identifiers[1]:
        raise UsageError(
            "USAGE_OTHER_PATIENT",
            "The headers of the two scans name different patients.",
            "Choose two scans of the same patient.",
        )
    times = [str(header.get("StudyDate", "") or "") + str(header.get("StudyTime", "") or "") for header in headers]
    notes = [] if all(identifiers) else ["The headers do not say whether both scans are of one patient."]
    if all(times) and times[0] > times[1]:
        notes.append("By their headers the first scan is the later one: exchange the two runs.")
    return notes
