"""Whole scans whose hemorrhage is outlined: what masks and volumes are held against."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from hemocam_training.errors import DataRefused
from hemocam_training.experiments.catalogue import DataSource
from hemocam_training.phantoms.plan import MIXTURES
from hemocam_training.scan_sources import LabelledScan, PhantomSource, ScanSource
from HemoCAMLib.ct.geometry import SliceGeometry
from HemoCAMLib.errors import HemoCAMError

#: Every mixture of subtypes once, in an order in which the first few hold all subtypes.
ALL_MIXTURES = tuple(subtypes for first in (1, 2, 3, 4, 0) for _, subtypes in MIXTURES[first::5])


def phantoms(first_seed: int, count: int, size: int, *, noise: bool = True) -> PhantomSource:
    """Phantoms of consecutive seeds, size × size, every mixture of subtypes in turn."""
    return PhantomSource(first_seed, count, noise, size, ALL_MIXTURES)


def with_masks(source: DataSource, *kinds: str) -> DataSource:
    """The scans of a dataset that have masks of these kinds, ``subtypes`` or ``any``; most datasets have others too.

    Raises:
        DataRefused: ``DATA_NO_MASKS``.
    """
    kept = [kind in kinds for kind in source.index.table.column("mask_kind").to_pylist()]
    if not any(kept):
        raise DataRefused(
            "DATA_NO_MASKS",
            f"No scan of {source.name} has an outline of hemorrhage{' by subtype' if 'any' not in kinds else ''}.",
            "Give a dataset with masks, such as bhsd, or none for phantoms.",
        )
    return DataSource(source.index.where(kept), source.root)


def outlined_scans(source: ScanSource, told: Callable[[str], None] = lambda _: None) -> Iterator[LabelledScan]:
    """The scans that have a mask of hemorrhage and true positions.

    Args:
        source: of scans; one that cannot be read is passed over.
        told: which scan was passed over and why, by its number.
    """
    for number in range(len(source)):
        try:
            scan = source.load(number)
        except HemoCAMError as error:
            told(f"scan {number + 1} left out: {error.message}")
            continue
        if scan.mask is not None and scan.geometry is not None and scan.mask_kind in ("subtypes", "any"):
            yield scan
        else:
            told(f"scan {number + 1} left out: it has no outline of hemorrhage or no true positions")


def truth_of(scan: LabelledScan) -> tuple[NDArray[np.uint8], SliceGeometry]:
    """Mask and geometry of a scan that :func:`outlined_scans` gave."""
    assert scan.mask is not None
    assert scan.geometry is not None
    return scan.mask, scan.geometry
