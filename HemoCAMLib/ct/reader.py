"""One way in for every kind of scan."""

from __future__ import annotations

import contextlib
import logging
import os
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from HemoCAMLib.ct.dicom_folder import FolderContents, is_regular, list_files, read_folder
from HemoCAMLib.ct.dicom_reader import read_dicom
from HemoCAMLib.ct.dicom_series import no_image
from HemoCAMLib.ct.head_ct import HeadCT
from HemoCAMLib.ct.volume_file import NIFTI_SUFFIXES, NRRD_SUFFIXES, read_volume, volume_from_array
from HemoCAMLib.ct.volume_header import not_readable
from HemoCAMLib.errors import InputRefused

VOLUME_SUFFIXES = NIFTI_SUFFIXES + NRRD_SUFFIXES


def read_head_ct(
    path: str | os.PathLike[str],
    *,
    series_uid: str | None = None,
    allow_gaps: bool = False,
    store: Path | None = None,
    on_progress: Callable[[int, int], None] | None = None,
    tilted_step_is_table_step: bool = False,
) -> HeadCT:
    """A head CT from disk, in HU, axial, feet to head, with every slice's true position.

    Args:
        path: a folder with DICOM files (searched with its sub-folders; the best series is chosen and the reason
            given in ``source.choice``) or with one volume file; a DICOM file, read alone; a NIfTI or NRRD file.
        series_uid: read this series of a folder.
        allow_gaps: measure a series with missing slices or with unreadable files beside it, and warn.
        store: write the slices to this file while decoding, as raw int16, and read them from there one by one;
            memory then does not grow with the number of slices. The file belongs to the caller.
        on_progress: called as ``on_progress(slices_done, slices)`` from the calling thread; what it raises ends
            the reading.
        tilted_step_is_table_step: for a volume file with tilted slices and no shear, take the stored step as that of
            the table (see the warning ``CT_OBLIQUE_STEP``).

    Returns:
        The scan; ``warnings`` tells what was found and handled.

    Raises:
        InputRefused: the scan cannot be measured honestly. Codes: ``CT_NOT_FOUND``, ``CT_EMPTY_FOLDER``,
            ``CT_TOO_MANY_FILES``, ``CT_UNKNOWN_FORMAT``, ``CT_NO_IMAGE``, ``CT_SEVERAL_VOLUMES``,
            ``CT_SERIES_NOT_FOUND``, ``CT_NOT_CT``, ``CT_NOT_HU``, ``CT_NOT_HEAD``, ``CT_MISSING_SLICES``,
            ``CT_MIXED_SERIES``, ``CT_NO_POSITIONS``, ``CT_SPACING``, ``CT_ORIENTATION``, ``CT_SIZE``,
            ``CT_NOT_ONE_VOLUME``, ``CT_BROKEN_VOXELS``, ``CT_TRUNCATED``, ``CT_UNREADABLE``.
        UsageError: ``USAGE_CANNOT_WRITE``, the store cannot be written.
    """
    place = existing_path(path)
    with quiet_pydicom():
        if place.is_dir() or place.name.upper() == "DICOMDIR":
            folder = place if place.is_dir() else place.parent
            contents = _contents(folder)
            if contents.headers or contents.damaged or not contents.volumes:
                return _dicom(contents, folder, series_uid, allow_gaps, store, on_progress)
            place = _only_volume(contents)
        if place.name.lower().endswith(VOLUME_SUFFIXES):
            return _volume(place, store, on_progress, tilted_step_is_table_step)
        contents = read_folder([place], VOLUME_SUFFIXES)
        if contents.ignored and not contents.headers:
            raise _unknown_format()
        return _dicom(contents, place, series_uid, allow_gaps, store, on_progress)


def head_ct_from_array(
    array_kji: NDArray[np.generic],
    ijk_to_ras: NDArray[np.floating],
    *,
    allow_gaps: bool = False,
    store: Path | None = None,
) -> HeadCT:
    """A head CT from a volume in memory, as ``slicer.util.arrayFromVolume`` and ``GetIJKToRASMatrix`` give it.

    Args:
        array_kji: [slice, row, column] or [row, column], integers or floats, HU.
        ijk_to_ras: [4, 4] voxel index (i, j, k) to patient coordinates RAS in mm; may shear.
        allow_gaps: accepted for symmetry; a volume with one matrix has no gaps.
        store: as for :func:`read_head_ct`; with a memory-mapped array nothing is ever held as a whole.

    Raises:
        InputRefused: as :func:`read_head_ct`.
    """
    del allow_gaps
    return volume_from_array(array_kji, ijk_to_ras, store)


@contextlib.contextmanager
def quiet_pydicom() -> Iterator[None]:
    """pydicom warns about odd values and puts them into the text and the log; they may be a patient's."""
    logger = logging.getLogger("pydicom")

    def drop(record: logging.LogRecord) -> bool:
        return False

    logger.addFilter(drop)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.removeFilter(drop)


def existing_path(path: str | os.PathLike[str]) -> Path:
    """The path of a scan that is there and may be read.

    Raises:
        InputRefused: ``CT_NOT_FOUND``, ``CT_UNREADABLE``.
    """
    place = Path(path)
    try:
        present = bool(os.fspath(path)) and place.exists()
        listed = not present or not place.is_dir() or os.access(place, os.R_OK | os.X_OK)
    except (OSError, ValueError):
        present, listed = False, True
    if not present:
        raise InputRefused(
            "CT_NOT_FOUND", "The scan was not found at the given path.", "Check the path for a typing error."
        )
    if not listed or not (place.is_dir() or (is_regular(place) and os.access(place, os.R_OK))):
        raise not_readable("neither a readable file nor a readable folder")
    return place


def _contents(folder: Path) -> FolderContents:
    files = list_files(folder)
    if not files:
        raise InputRefused("CT_EMPTY_FOLDER", "The folder is empty.", "Choose the folder that holds the head CT.")
    return read_folder(files, VOLUME_SUFFIXES)


def _only_volume(contents: FolderContents) -> Path:
    if len(contents.volumes) > 1:
        raise InputRefused(
            "CT_SEVERAL_VOLUMES",
            f"The folder holds {len(contents.volumes)} volume files and none can be preferred.",
            "Choose one of the files.",
        )
    return contents.volumes[0]


def _dicom(
    contents: FolderContents,
    path: Path,
    series_uid: str | None,
    allow_gaps: bool,
    store: Path | None,
    on_progress: Callable[[int, int], None] | None,
) -> HeadCT:
    if not contents.headers:
        if contents.damaged:
            raise not_readable("no DICOM header could be parsed")
        raise no_image()
    try:
        return read_dicom(
            contents, path, series_uid=series_uid, allow_gaps=allow_gaps, store=store, on_progress=on_progress
        )
    except OSError as error:
        raise not_readable(str(error.strerror)) from error


def _volume(
    path: Path,
    store: Path | None,
    on_progress: Callable[[int, int], None] | None,
    tilted_step_is_table_step: bool,
) -> HeadCT:
    try:
        return read_volume(
            path, store=store, on_progress=on_progress, tilted_step_is_table_step=tilted_step_is_table_step
        )
    except OSError as error:
        raise not_readable(str(error.strerror)) from error


def _unknown_format() -> InputRefused:
    return InputRefused(
        "CT_UNKNOWN_FORMAT",
        "The file is not DICOM, NIfTI or NRRD.",
        "Unpack archives first; convert other formats to one of these.",
    )
