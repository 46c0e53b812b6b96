"""The scan of a finished run, found again and checked: what pictures, relabelling and DICOM results are made from."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from HemoCAMLib.ct import HeadCT, head_ct_from_array, read_head_ct
from HemoCAMLib.errors import InputRefused
from HemoCAMLib.run.folder import RunFolder
from HemoCAMLib.run.result import Result
from HemoCAMLib.run.state import RunState, scan_fingerprint

#: ``result.json`` gives positions to 0.1 micrometre.
_SAME_POSITION_MM = 1e-3


def scan_of_run(result: Result, source: str | os.PathLike[str] | None = None) -> HeadCT:
    """Reads the scan that a run was made from and refuses every other one.

    Args:
        result: a finished run.
        source: where the scan lies now; None looks where it was when it was analysed.

    Raises:
        InputRefused: ``CT_SOURCE_GONE``, it is no longer there; ``CT_OTHER_SERIES``, what is there is another scan;
            or any refusal of :func:`~HemoCAMLib.ct.read_head_ct`.
    """
    folder = RunFolder(result.folder)
    job = folder.read_job()
    if source is None and job.ijk_to_ras is not None:
        if not folder.input_array_path.is_file():
            raise _gone()
        array = np.load(folder.input_array_path, mmap_mode="r", allow_pickle=False)
        ct = head_ct_from_array(array, np.array(job.ijk_to_ras), allow_gaps=True)
    else:
        path = Path(source) if source is not None else Path(job.input)
        if source is None and not path.exists():
            raise _gone()
        # Gaps were allowed or refused when the run was made; the comparison finds any new one.
        ct = read_head_ct(path, series_uid=series_uid_of(result), allow_gaps=True)
    check_same_scan(result, ct)
    return ct


def series_uid_of(result: Result) -> str | None:
    """SeriesInstanceUID of the analysed scan, None where it had none."""
    return str(result.fields["input"]["series_instance_uid"]) or None


def check_same_scan(result: Result, ct: HeadCT) -> None:
    """Refuses a scan that is not the one that was analysed, to the voxel where the run folder still tells it.

    Raises:
        InputRefused: ``CT_OTHER_SERIES``.
    """
    fields = result.fields["input"]
    shape = (fields["slices"], fields["rows"], fields["columns"])
    if ct.shape != shape:
        raise other_scan(f"The source has {_size(ct.shape)}, but {_size(shape)} were analysed.")
    origins = np.array([entry["origin_lps_mm"] for entry in result.slices])
    if np.abs(origins - ct.geometry.positions_mm).max() > _SAME_POSITION_MM:
        raise other_scan("The slices of the source lie elsewhere than those that were analysed.")
    state = RunState.load(RunFolder(result.folder))
    if state is not None and state.scan != scan_fingerprint(ct):
        raise other_scan("The images of the source are not those that were analysed.")


def other_scan(message: str) -> InputRefused:
    """The refusal of a source that is another scan."""
    return InputRefused("CT_OTHER_SERIES", message, "Choose the scan that this run was made from.")


def _gone() -> InputRefused:
    return InputRefused(
        "CT_SOURCE_GONE",
        "The scan is no longer where it was when it was analysed.",
        "Say where it is now.",
    )


def _size(shape: tuple[int, int, int]) -> str:
    return f"{shape[0]} slice{'s' if shape[0] != 1 else ''} of {shape[1]} x {shape[2]} pixels"
