"""DICOM slices of one series, given as files, to a head CT; damaged files are left out and told."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from HemoCAMLib.ct.dicom_folder import FolderContents
from HemoCAMLib.ct.dicom_header import DamagedDicomError, SliceHeader
from HemoCAMLib.ct.dicom_parse import looks_like_dicom, read_slice_headers
from HemoCAMLib.ct.dicom_reader import read_dicom
from HemoCAMLib.ct.head_ct import HeadCT
from HemoCAMLib.ct.reader import quiet_pydicom
from HemoCAMLib.errors import InputRefused


@dataclass(frozen=True, eq=False)
class DicomScan:
    """A head CT from DICOM files.

    Attributes:
        head: HU and true geometry.
        files: one per slice of ``head``.
        damaged: files that cannot be read, with the reason.
        left_out: files that belong to the series but not to the scan: copies, another orientation or size.
    """

    head: HeadCT
    files: tuple[Path, ...]
    damaged: tuple[tuple[Path, str], ...]
    left_out: tuple[Path, ...]


def read_headers(files: Sequence[Path]) -> tuple[list[SliceHeader], list[tuple[Path, str]]]:
    """Headers of the slices that can be decoded, and the other files with the reason why not."""
    headers: list[SliceHeader] = []
    damaged: list[tuple[Path, str]] = []
    with quiet_pydicom():
        for path in files:
            try:
                found = read_slice_headers(path) if looks_like_dicom(path) else []
            except (DamagedDicomError, OSError) as error:
                damaged.append((path, f"its header cannot be read ({type(error).__name__})"))
                continue
            if not found:
                damaged.append((path, "it is not a DICOM image"))
            elif not all(_is_complete(header) for header in found):
                damaged.append((path, "its image is cut short"))
            else:
                headers.extend(found)
    return headers, damaged


def read_dicom_files(files: Sequence[Path], series_uid: str | None = None) -> DicomScan:
    """The scan that these files hold; missing slices are allowed and warned of.

    Raises:
        InputRefused: ``CT_UNREADABLE`` where no file can be read, and what
            :func:`HemoCAMLib.ct.read_head_ct` raises.
    """
    headers, damaged = read_headers(files)
    if not headers:
        raise InputRefused(
            "CT_UNREADABLE", "None of the files of this scan can be read.", "Copy the dataset's images again."
        )
    with quiet_pydicom():
        head = read_dicom(
            FolderContents(headers=headers),
            files[0].parent,
            series_uid=series_uid,
            allow_gaps=True,
            store=None,
            on_progress=None,
        )
    if len(head.source.sop_instance_uids) != head.shape[0]:
        raise InputRefused(
            "CT_ORIENTATION", "The scan is stored as coronal or sagittal images.", "Only axial series carry labels."
        )
    by_uid = {plane.sop_instance_uid: plane.path for plane in head.source.planes}
    used = tuple(by_uid[uid] for uid in head.source.sop_instance_uids)
    unusable = {path for path, _ in damaged}
    left_out = tuple(path for path in files if path not in unusable and path not in set(used))
    return DicomScan(head, used, tuple(damaged), left_out)


def _is_complete(header: SliceHeader) -> bool:
    """Whether uncompressed pixel data are as long as the header announces, in the element and in the file."""
    if header.payload is None:
        return True
    offset, length = header.payload
    wanted = header.rows * header.columns * header.samples * (header.bits_allocated // 8) * (header.frame + 1)
    return wanted <= length and offset + wanted <= header.path.stat().st_size
