"""What every model must beat: smoothed HU above a threshold inside the brain."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

BASELINE_HU, BASELINE_SIGMA_MM, BASELINE_EROSION_MM = 46.0, 1.0, 4.0

BASELINE_RULE = (
    f"HU smoothed by {BASELINE_SIGMA_MM:g} mm above {BASELINE_HU:g}, {BASELINE_EROSION_MM:g} mm inside the brain mask"
)


def baseline_labels(
    hu_slices: NDArray[np.int16], brain: Iterable[NDArray[np.bool_]], spacing_mm: float
) -> NDArray[np.bool_]:
    """[slice, row, column] smoothed HU above 46 in the eroded brain mask.

    Args:
        hu_slices: [slice, row, column].
        brain: [row, column] masks, one per slice.
        spacing_mm: distance between pixels.
    """
    found = np.zeros(hu_slices.shape, bool)
    for index, (hu, inside) in enumerate(zip(hu_slices, brain, strict=True)):
        if inside.any():
            depth = ndimage.distance_transform_edt(inside) * spacing_mm
            smooth = ndimage.gaussian_filter(np.clip(hu, -50, 150).astype(np.float32), BASELINE_SIGMA_MM / spacing_mm)
            found[index] = (smooth > BASELINE_HU) & (depth > BASELINE_EROSION_MM)
    return found
