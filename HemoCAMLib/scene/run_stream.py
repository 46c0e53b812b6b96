"""Slices of a run that is still going, read from its folder while the worker writes there."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from HemoCAMLib.run.folder import RunFolder


class RunStream:
    """Reads what the worker has finished; opens files for each reading, changes and keeps none.

    A slice is there once its event ``slices`` has come.

    Args:
        run: the folder.
        shape: (slices, rows, columns) from the event ``input``.
    """

    def __init__(self, run: RunFolder, shape: tuple[int, int, int]) -> None:
        self._run = run
        self._shape = shape

    def labels(self, first: int, count: int) -> NDArray[np.uint8] | None:
        """[slices, rows, columns] uint8 before small lesions are removed; None where they cannot be read (any more)."""
        _, rows, columns = self._shape
        try:
            with self._run.raw_labels_path.open("rb") as file:
                file.seek(first * rows * columns)
                data = file.read(count * rows * columns)
        except OSError:
            return None
        if len(data) < count * rows * columns:
            return None
        return np.frombuffer(data, np.uint8).reshape(count, rows, columns)

    def maps(self, first: int, count: int) -> NDArray[np.floating[Any]] | None:
        """[slices, class, h, w] activation maps; None where there are none."""
        try:
            with self._run.activation_path.open("rb") as file:
                if np.lib.format.read_magic(file) != (1, 0):
                    return None
                (classes, slices, *size), _, dtype = np.lib.format.read_array_header_1_0(file)
                start, pixels = file.tell(), int(np.prod(size))
                maps = np.empty((count, classes, *size), dtype)
                for index in range(classes):
                    file.seek(start + (index * slices + first) * pixels * dtype.itemsize)
                    data = file.read(count * pixels * dtype.itemsize)
                    maps[:, index] = np.frombuffer(data, dtype).reshape(count, *size)
        except (OSError, ValueError):
            return None
        return maps
