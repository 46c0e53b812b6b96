"""The range of a model's training scans, for the comparison with a scan at hand; part of its bundle."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import asdict

from hemocam_training.scan_sources import ScanSource
from HemoCAMLib.errors import HemoCAMError
from HemoCAMLib.mask import find_brain
from HemoCAMLib.quality import COMPARED, ScanStatistics, measure_scan


def training_range(scans: Iterable[ScanStatistics]) -> dict[str, tuple[float, float]]:
    """By statistic the lowest and the highest value of the training scans; statistics that no scan has are left out."""
    by_name: dict[str, list[float]] = {name: [] for name in COMPARED}
    for statistics in scans:
        for name, value in asdict(statistics).items():
            if name in by_name and value is not None:
                by_name[name].append(value)
    return {name: (round(min(values), 3), round(max(values), 3)) for name, values in by_name.items() if values}


def measured(source: ScanSource, count: int) -> Iterator[ScanStatistics]:
    """Statistics of so many scans, evenly over the source, at full size; scans without geometry are passed over."""
    steps = max(1, len(source) // max(count, 1))
    for number in range(0, len(source), steps)[:count]:
        try:
            scan = source.load(number)
        except HemoCAMError:
            # Left out of the training too, and told there.
            continue
        if scan.geometry is not None and scan.modality == "CT":
            yield measure_scan(scan.hu, scan.geometry, find_brain(scan.hu, scan.geometry))
