"""What datasets of NIfTI scans with masks share: one scan, its mask, and labels of its slices."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hemocam_training.datasets.labels import UNKNOWN, Labels, labels_of_mask, of_every_slice, union
from hemocam_training.datasets.nifti_files import read_mask, stored_planes
from hemocam_training.datasets.records import Finding, Scan, ScanRecord, SliceRecord
from hemocam_training.errors import DataRefused
from HemoCAMLib.ct.reader import read_head_ct


def load_masked(
    record: ScanRecord,
    root: Path,
    *,
    mask_kind: str,
    codes: Mapping[int, int] | None,
    table_step: bool = False,
    first_number: int = 1,
) -> Scan:
    """A NIfTI scan with its mask. Slices are named by their number in the stored order.

    A slice has the reader's labels where there are any, else those of its mask, else what the scan's labels imply.
    A mask that cannot be used is told and left out; the scan stays.

    Args:
        record: with one file.
        root: the dataset's folder.
        mask_kind: ``subtypes`` or ``any``.
        codes: value in the mask file to label; None makes 1 of everything above 0.
        table_step: see :func:`HemoCAMLib.ct.read_head_ct`.
        first_number: number of the first stored slice.

    Raises:
        HemoCAMError: the scan itself cannot be used.
    """
    head = read_head_ct(root / record.files[0], tilted_step_is_table_step=table_step)
    planes = stored_planes(head)
    findings: list[Finding] = []
    mask: NDArray[np.uint8] | None = None
    if record.mask_files:
        try:
            mask = read_mask(root / record.mask_files[0], head, codes)
        except DataRefused as error:
            sentence = f"{error.message} The scan has no mask now."
            findings.append(Finding("DATA_MASK", sentence, record.mask_files[0]))
    slices, against = [], 0
    for index, plane in enumerate(planes):
        identity = str(plane + first_number)
        seen = UNKNOWN if mask is None else labels_of_mask(mask[index], mask_kind)
        read = record.slice_labels.get(identity, UNKNOWN)
        against += read[0] is not None and seen[0] is not None and read[0] != seen[0]
        labels, origin = _best(read, seen, record.labels)
        slices.append(SliceRecord(identity, record.files[0], plane, labels, origin))
    if against:
        sentence = f"In {against} slices the reader's label and the mask disagree about hemorrhage; the label counts."
        findings.append(Finding("DATA_LABELS", sentence, record.files[0]))
    beyond = set(record.slice_labels) - {one.identity for one in slices}
    if beyond:
        sentence = f"{len(beyond)} labelled slices are not in the scan, which has {len(slices)}."
        findings.append(Finding("DATA_LABELS", sentence, record.files[0]))
    if record.labels == UNKNOWN:
        record = replace(record, labels=union(one.labels for one in slices))
    return Scan(
        record,
        tuple(slices),
        head.hu,
        head.geometry,
        mask,
        mask_kind if mask is not None else "",
        warnings=tuple(head.warnings),
        findings=tuple(findings),
    )


def _best(read: Labels, seen: Labels, scan: Labels) -> tuple[Labels, str]:
    if read != UNKNOWN:
        return read, "reader"
    if seen != UNKNOWN:
        return seen, "mask"
    implied = of_every_slice(scan)
    return implied, "scan" if implied != UNKNOWN else ""
