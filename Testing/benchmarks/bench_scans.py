"""Scans for the benchmarks: the sample, resampled to any number of slices, as real DICOM series."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from HemoCAMLib.ct import SliceGeometry, read_head_ct
from HemoCAMLib.sample import write_sample
from HemoCAMLib.sample.dicom_series import write_ct_series


def write_scan(folder: Path, slice_count: int, step_mm: float) -> Path:
    """Writes the sample with ``slice_count`` slices ``step_mm`` apart, nearest original slice each.

    Every slice gets its own faint noise: no two are the same, as in a real scan.
    """
    sample = read_head_ct(write_sample(folder / "sample").scan)
    hu, geometry = sample.hu, sample.geometry
    rng = np.random.default_rng(slice_count)
    nearest = np.rint(np.linspace(0, hu.shape[0] - 1, slice_count)).astype(int)
    slices = hu[nearest] + rng.integers(-1, 2, (slice_count, *hu.shape[1:]), dtype=np.int16)
    along = (geometry.positions_mm[-1] - geometry.positions_mm[0]) / (geometry.offsets_mm[-1] - geometry.offsets_mm[0])
    positions = geometry.positions_mm[0] + np.arange(slice_count)[:, None] * step_mm * along
    resampled = SliceGeometry(
        positions, geometry.row_direction, geometry.column_direction, geometry.pixel_spacing_mm, step_mm
    )
    series = folder / f"{slice_count}"
    write_ct_series(series, slices.astype(np.int16), resampled, name=f"benchmark {slice_count}")
    return series
