"""Brain masks of a run at one bit a pixel, so that thresholds can be tried without the scan."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from HemoCAMLib.run.folder import GrowingArray


class BrainFile:
    """``brain.npy`` while it is written: [1, slice, rows, bytes], eight columns a byte, the first in the highest bit.

    Args:
        path: file.
        shape: (slices, rows, columns) of the scan.
    """

    def __init__(self, path: Path, shape: tuple[int, int, int]) -> None:
        self._array = GrowingArray(path, (1, shape[0], shape[1], -(-shape[2] // 8)), "|u1")

    def write(self, index: int, brain: NDArray[np.bool_]) -> None:
        """Keeps the [rows, columns] mask of a slice."""
        self._array.write(index, np.packbits(brain, axis=1)[None])

    def close(self) -> None:
        self._array.close()


class StoredBrain:
    """The masks of a finished run, unpacked a slice at a time: what :func:`~HemoCAMLib.mask.label_scan` asks for.

    Args:
        path: ``brain.npy``.
        columns: of the scan.
    """

    def __init__(self, path: Path, columns: int) -> None:
        # Closed at once: a mapped file could not be replaced on Windows while it is looked at.
        self._packed: NDArray[np.uint8] = np.load(path, allow_pickle=False)[0]
        self._columns = columns

    def __len__(self) -> int:
        return len(self._packed)

    def __getitem__(self, index: int) -> NDArray[np.bool_]:
        return np.unpackbits(self._packed[index], axis=1, count=self._columns).view(np.bool_)
