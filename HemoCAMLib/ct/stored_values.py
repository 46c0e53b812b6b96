"""What stored numbers mean in Hounsfield units where the header is wrong or silent about it."""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum

import numpy as np
from numpy.typing import NDArray

from HemoCAMLib.ct.head_ct import ScanWarning


class Reading(Enum):
    """How integers become HU."""

    AS_TAGGED = "as tagged"
    #: 12-bit two's complement in an unsigned field, the RSNA 2019 defect: x = px + 1000; x[x >= 4096] -= 4096;
    #: HU = x - 1000.
    WRAPPED_12 = "12-bit numbers below zero were stored as large positive ones"
    #: The same in 16 bit.
    WRAPPED_16 = "16-bit numbers below zero were stored as large positive ones"
    #: HU + 1024 without the intercept that says so.
    SHIFTED_1024 = "the offset of -1024 that turns stored numbers into HU was missing"


def apply_reading(values: NDArray[np.int32], reading: Reading) -> NDArray[np.int32]:
    """Stored integers to HU under that reading."""
    if reading is Reading.WRAPPED_12:
        return np.where(values + 1000 >= 4096, values - 4096, values)
    if reading is Reading.WRAPPED_16:
        return np.where(values >= 32768, values - 65536, values)
    if reading is Reading.SHIFTED_1024:
        return values - 1024
    return values


def choose_reading(slices: Sequence[NDArray[np.int32]]) -> Reading:
    """The first reading under which a few slices [row, column] have air and soft tissue where HU have them.

    Where none does, the numbers are left as tagged: the checks that follow then refuse them.
    """
    readings = (Reading.AS_TAGGED, Reading.WRAPPED_12, Reading.WRAPPED_16, Reading.SHIFTED_1024)
    return next((reading for reading in readings if _plausible(slices, reading)), Reading.AS_TAGGED)


def _plausible(slices: Sequence[NDArray[np.int32]], reading: Reading) -> bool:
    """Most of the image border is air or padding, and a sixth of everything denser than fat is soft tissue."""
    hu = [apply_reading(numbers, reading) for numbers in slices]
    border = np.concatenate([np.concatenate([one[0], one[-1], one[:, 0], one[:, -1]]) for one in hu])
    everything = np.concatenate([one.ravel() for one in hu])
    dense = np.count_nonzero(everything > -200)
    soft = np.count_nonzero((everything >= -20) & (everything <= 90))
    return bool(np.mean((border <= -850) & (border >= -4096)) > 0.5) and soft * 6 >= max(dense, 1)


def reading_warning(reading: Reading) -> ScanWarning:
    """What the user is told where the header was not followed."""
    return ScanWarning(
        "CT_RESCALE_REPAIRED",
        f"The scan's header does not give Hounsfield units: {reading.value}; this was repaired, please compare "
        "the values with the original scan.",
    )
