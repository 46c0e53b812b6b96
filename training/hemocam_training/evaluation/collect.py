"""One pass over scans: probabilities of slices and counts of masks, every way to make them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hemocam_training.evaluation.mask_counts import Counts, MaskCounts, Way
from hemocam_training.mapped_scans import MappedScan, MapStore
from hemocam_training.scan_sources import ScanSource
from HemoCAMLib.subtypes import CLASS_NAMES


@dataclass(frozen=True, eq=False)
class WayCounts:
    """Pixels of one way over all slices, see :class:`MaskCounts`.

    Attributes:
        both, called, truth: [slice, class].
        false_any: [slice].
        seconds: [scan].
    """

    both: Counts
    called: Counts
    truth: Counts
    false_any: Counts
    seconds: NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Collected:
    """Everything that figures are made from.

    Attributes:
        patients: [scan] pseudonyms, for drawing patients.
        scan_of: [slice] number of its scan, from 0.
        logits, probabilities, target, known: [slice, class].
        voxel_ml: [slice] volume of a voxel; not a number where the dataset tells no geometry.
        judged: [scan, class] whether the true pixels of the class are known: from a mask, or because every slice of
            the scan is known to be without it.
        counts: by name of the way.
        ways: as given.
        left_out: why, by number of the scan in the source.
    """

    patients: list[str]
    scan_of: NDArray[np.int64]
    logits: NDArray[np.float32]
    probabilities: NDArray[np.float32]
    target: NDArray[np.float32]
    known: NDArray[np.float32]
    voxel_ml: NDArray[np.float64]
    judged: NDArray[np.bool_]
    counts: dict[str, WayCounts]
    ways: tuple[Way, ...]
    left_out: dict[int, str]

    @property
    def slice_patients(self) -> list[str]:
        """[slice] whose slice each is."""
        return [self.patients[scan] for scan in self.scan_of]

    def per_scan(self, of_slices: NDArray[np.generic]) -> NDArray[np.float64]:
        """[scan, ...] sums over the slices of each scan."""
        sums = np.zeros((len(self.patients), *of_slices.shape[1:]))
        np.add.at(sums, self.scan_of, of_slices)
        return sums


def collect(
    store: MapStore,
    source: ScanSource,
    ways: Sequence[Way],
    on_step: Callable[[int, int], None] = lambda done, total: None,
) -> Collected:
    """Run the bundle over the scans, make all masks, count.

    Args:
        store: of the bundle's maps.
        source: scans.
        ways: to make masks; their names differ.
        on_step: called as ``on_step(scans_done, scans)``.

    Raises:
        DataRefused: ``DATA_EMPTY``: no scan can be used.
    """
    calibration = store.bundle.metadata.calibration
    tallies = {way.name: MaskCounts() for way in ways}
    patients: list[str] = []
    kept: dict[str, list[NDArray[np.floating]]] = {
        name: [] for name in ("logits", "probabilities", "target", "known", "voxel_ml")
    }
    lengths, judged = [], []
    for done, scan in enumerate(store.scans(source), 1):
        for way in ways:
            tallies[way.name].add(scan, way, calibration)
        patients.append(scan.patient)
        lengths.append(len(scan.hu))
        judged.append(_judged(scan))
        kept["logits"].append(scan.logits)
        kept["probabilities"].append(scan.probabilities(calibration))
        kept["target"].append(scan.target)
        kept["known"].append(scan.known)
        kept["voxel_ml"].append(scan.voxel_ml if scan.has_geometry else np.full(len(scan.hu), np.nan))
        on_step(done, len(source))
    arrays = {name: np.concatenate(parts) for name, parts in kept.items()}
    return Collected(
        patients=patients,
        scan_of=np.repeat(np.arange(len(lengths)), lengths),
        logits=arrays["logits"].astype(np.float32),
        probabilities=arrays["probabilities"].astype(np.float32),
        target=arrays["target"].astype(np.float32),
        known=arrays["known"].astype(np.float32),
        voxel_ml=arrays["voxel_ml"].astype(np.float64),
        judged=np.stack(judged),
        counts={name: _joined(tally) for name, tally in tallies.items()},
        ways=tuple(ways),
        left_out=dict(store.left_out),
    )


def _joined(tally: MaskCounts) -> WayCounts:
    both, called, truth, false = (
        np.concatenate(one) for one in (tally.both, tally.called, tally.truth, tally.false_any)
    )
    return WayCounts(both, called, truth, false, np.array(tally.seconds))


def _judged(scan: MappedScan) -> NDArray[np.bool_]:
    """[class] whether true pixels are known."""
    if scan.truth is not None and scan.mask_kind == "subtypes":
        return np.ones(len(CLASS_NAMES), bool)
    clear: NDArray[np.bool_] = ((scan.known > 0) & (scan.target == 0)).all(axis=0)
    if scan.truth is not None:
        # A mask of any hemorrhage that marks nothing is one of every subtype too.
        clear = clear | (not scan.truth.any())
        clear[0] = True
    return clear
