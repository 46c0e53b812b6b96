"""What masks are judged on beside the tuning scans: slices of them alone, and real scans without hemorrhage."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from hemocam_training.scan_sources import NO, LabelledScan, ScanSource
from HemoCAMLib.ct import read_head_ct
from HemoCAMLib.subtypes import CLASS_NAMES


@dataclass(frozen=True)
class SlicesAlone:
    """Slices of another source's scans, each a scan of its own: what an analysis gets where a slice is all there is.

    Every second one shows blood, in scans that have any.

    Attributes:
        scans: where they come from.
        of_each: slices of a scan.
        seed: of the choice.
    """

    scans: ScanSource
    of_each: int
    seed: int = 0

    def __len__(self) -> int:
        return len(self.scans) * self.of_each

    def load(self, number: int) -> LabelledScan:
        """One slice.

        Raises:
            HemoCAMError: the scan that it comes from cannot be used.
        """
        which, place = divmod(number, self.of_each)
        scan = _kept(self.scans, which)
        rng = np.random.default_rng([self.seed, number])
        bleeding = np.flatnonzero(scan.labels[:, 0] > 0)
        pool = bleeding if bleeding.size and place % 2 == 0 else np.arange(len(scan.hu))
        return _slice_of(scan, int(rng.choice(pool)))

    def describe(self) -> dict[str, Any]:
        """See :class:`ScanSource`."""
        return {**self.scans.describe(), "slices_alone": self.of_each, "slices_seed": self.seed}


@lru_cache(maxsize=1)
def _kept(scans: ScanSource, number: int) -> LabelledScan:
    """A scan, which is asked for as often as slices of it are taken."""
    return scans.load(number)


def _slice_of(scan: LabelledScan, index: int) -> LabelledScan:
    one, geometry = slice(index, index + 1), scan.geometry
    if geometry is not None:
        extent_mm = float(geometry.extents_mm[index])
        geometry = replace(geometry, positions_mm=geometry.positions_mm[one], slice_thickness_mm=extent_mm)
    return replace(
        scan,
        slices=scan.slices[one],
        hu=scan.hu[one],
        geometry=geometry,
        labels=scan.labels[one],
        labels_from=scan.labels_from[one],
        mask=None if scan.mask is None else scan.mask[one],
    )


def negative_scan(path: Path) -> LabelledScan:
    """A head CT that is known to be without hemorrhage.

    Raises:
        InputRefused: it cannot be read, or is no head CT.
    """
    ct = read_head_ct(path)
    hu = np.asarray(ct.hu)
    count = len(hu)
    return LabelledScan(
        patient="negative",
        study="negative",
        series="negative",
        slices=tuple(map(str, range(count))),
        hu=hu,
        geometry=ct.geometry,
        labels=np.full((count, len(CLASS_NAMES)), NO, np.int8),
        labels_from=("scan",) * count,
    )
