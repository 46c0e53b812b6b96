"""Pixels along the skull, where bone has a part in the HU, do not count as blood inside the brain."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from HemoCAMLib.mask.refine.candidate import FloatImage, Mask


def depth_mm(brain: Mask, pixel_spacing_mm: tuple[float, float]) -> FloatImage:
    """Distance of every pixel to the edge of the intracranial space.

    Holes of the mask (calcification, the falx where it is dense) are no edge.

    Args:
        brain: [rows, columns] the whole slice's mask.
        pixel_spacing_mm: (distance between rows, distance between columns).

    Returns:
        [rows, columns] float32 mm, 0 outside.

    >>> depth_mm(np.ones((1, 5), bool), (0.5, 0.5)).tolist()
    [[0.5, 0.5, 0.5, 0.5, 0.5]]
    """
    filled = np.pad(ndimage.binary_fill_holes(brain), 1)
    depth: FloatImage = ndimage.distance_transform_edt(filled, sampling=pixel_spacing_mm)[1:-1, 1:-1].astype(np.float32)
    return depth
