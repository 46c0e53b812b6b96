"""NIfTI scans with masks, brought to one canonical order together."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hemocam_training.errors import DataRefused
from HemoCAMLib.ct.head_ct import HeadCT
from HemoCAMLib.ct.nifti_header import read_nifti_header
from HemoCAMLib.ct.volume_file import stored_voxels
from HemoCAMLib.errors import HemoCAMError

NIFTI_SUFFIXES = (".nii", ".nii.gz")


def stored_planes(head: HeadCT) -> list[int]:
    """For every slice the plane of the file that it is, from 0.

    Raises:
        DataRefused: ``DATA_ORIENTATION`` where slices run across the stored planes.
    """
    if head.grid.axes[0] != 0:
        raise DataRefused(
            "DATA_ORIENTATION",
            "The scan is not stored as axial slices, so slice numbers do not say which slice is meant.",
            "Store it as axial slices.",
        )
    planes = list(range(head.shape[0]))
    return planes[::-1] if 0 in head.grid.flips else planes


def read_mask(path: Path, head: HeadCT, codes: Mapping[int, int] | None) -> NDArray[np.uint8]:
    """A mask on the grid of a scan, [slice, row, column].

    Masks of these datasets lie voxel by voxel on the scan; their own headers are not always right and are not used.

    Args:
        path: NIfTI file.
        head: the scan, as it was read from its file.
        codes: value in the file to label; None makes 1 of everything above 0.

    Raises:
        DataRefused: ``DATA_MASK``: unreadable, another size, or values that mean nothing.
    """
    try:
        stored = stored_voxels(read_nifti_header(path))[..., 0]
    except (HemoCAMError, OSError) as error:
        raise mask_refused("cannot be read", str(error)) from error
    wanted = head.grid.to_stored(np.empty(head.shape, np.bool_)).shape
    if stored.shape != wanted:
        raise mask_refused(f"is {_size(stored.shape)} where the scan is {_size(wanted)}")
    return np.ascontiguousarray(head.grid.to_canonical(recoded(stored, codes)))


def recoded(stored: NDArray[np.generic], codes: Mapping[int, int] | None) -> NDArray[np.uint8]:
    """A dataset's mask values as labels.

    Raises:
        DataRefused: ``DATA_MASK``: a value has no meaning.
    """
    if stored.dtype.kind == "f" and not np.isfinite(stored).all():
        raise mask_refused("holds values that are not numbers")
    if codes is None:
        return (stored > 0).astype(np.uint8)
    unknown = sorted({float(value) for value in np.unique(stored)} - {0.0, *map(float, codes)})
    if unknown:
        raise mask_refused(f"holds the value {unknown[0]:g}, which stands for nothing in this dataset")
    labels = np.zeros(stored.shape, np.uint8)
    for value, label in codes.items():
        labels[stored == value] = label
    return labels


def mask_refused(what: str, detail: str = "") -> DataRefused:
    return DataRefused("DATA_MASK", f"The mask {what}.", "Copy it again from the dataset.", detail)


def _size(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape[::-1]))
