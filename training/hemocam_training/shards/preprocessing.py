"""From slices as they are to slices as they are cached: cut to a range of HU, resized, one byte a pixel."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from HemoCAMLib.model.stacks import resize

#: Share of the pixels of an MR slice that may lie above the range that is kept.
MR_PERCENTILE = 99.5


@dataclass(frozen=True)
class Preprocessing:
    """How slices are cached.

    HU are cut to a range before they are averaged to the small size, as inference windows before it resizes: bone
    must not bleed into the rim of the brain. The range is wider than the brain window, so that noise and offsets can
    be added later. The whole image is resized whatever its shape, as at inference.

    MR intensities have no unit: 0 to their 99.5th percentile is spread over the brain window, so that a network sees
    all of it through the window that it has.

    Attributes:
        size: rows and columns.
        low_hu, high_hu: range that 0..255 stands for.
    """

    size: int = 256
    low_hu: float = -60.0
    high_hu: float = 110.0
    window_low_hu: float = -40.0
    window_high_hu: float = 90.0

    @property
    def hu_per_step(self) -> float:
        """HU between neighbouring values."""
        return (self.high_hu - self.low_hu) / 255

    def stored(self, image: NDArray[np.generic], modality: str = "CT") -> NDArray[np.uint8]:
        """One slice [row, column] as it is cached, uint8 [size, size]."""
        values = image.astype(np.float32)
        if modality != "CT":
            values = self._spread(values)
        np.clip(values, self.low_hu, self.high_hu, out=values)
        small = resize(values, self.size, self.size)
        steps: NDArray[np.float32] = np.rint((small - np.float32(self.low_hu)) * np.float32(1 / self.hu_per_step))
        return steps.astype(np.uint8)

    def stored_mask(self, mask: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """A mask [row, column] at the cached size: the label that fills most of a pixel, where labels fill half."""
        if mask.shape == (self.size, self.size):
            return mask
        found = np.zeros((self.size, self.size), np.uint8)
        if not mask.any():
            return found
        best, total = np.zeros(found.shape, np.float32), np.zeros(found.shape, np.float32)
        for label in np.unique(mask[mask > 0]).tolist():
            share = resize((mask == label).astype(np.float32), self.size, self.size)
            found[share > best] = label
            np.maximum(best, share, out=best)
            total += share
        # A sum of shares that are exactly a half together must not fall below it by rounding.
        found[total < 0.5 - 1e-4] = 0
        return found

    def as_dict(self) -> dict[str, Any]:
        """Plain values, as the manifest holds them."""
        return asdict(self)

    def _spread(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        highest = max(float(np.percentile(values, MR_PERCENTILE)), 1.0)
        scale = np.float32((self.window_high_hu - self.window_low_hu) / highest)
        spread: NDArray[np.float32] = values * scale + np.float32(self.window_low_hu)
        return spread
