"""Where decoded planes go: canonical slices in memory or in a file, whatever order they arrive in."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from HemoCAMLib.ct.orientation import Reorientation
from HemoCAMLib.ct.slice_file import SliceFile
from HemoCAMLib.errors import UsageError

Slices = NDArray[np.int16] | SliceFile

#: Memory that turning a coronal or sagittal file may take, bytes.
_TURN_BYTES = 16 * 1024 * 1024


class PlaneSink:
    """Takes stored planes of HU and keeps canonical slices.

    Planes may be put from several threads. With a store only one plane is held in memory, also where
    axial slices run across the stored planes: those pass through a second file that is removed again.

    Args:
        stored_shape: (planes, j, i).
        turn: how stored planes become canonical slices.
        store: file for the slices, or None to keep them in memory.

    Raises:
        UsageError: ``USAGE_CANNOT_WRITE`` where the store cannot be written.
    """

    def __init__(self, stored_shape: tuple[int, int, int], turn: Reorientation, store: Path | None) -> None:
        self._stored_shape = stored_shape
        self._turn = turn
        self._file: SliceFile | None = None
        self._staged: SliceFile | None = None
        shape = turn.shape(stored_shape)
        self._array: NDArray[np.int16] | None = None
        if store is None:
            self._array = np.empty(shape, np.int16)
            self._stored_view = np.flip(np.transpose(self._array, turn.axes), turn.flips)
            return
        with writing():
            self._file = SliceFile.create(store, shape)
            if not turn.keeps_planes:
                self._staged = SliceFile.create(store.with_name(store.name + ".stored"), stored_shape)

    def put(self, plane: int, hu: NDArray[np.int16]) -> None:
        """Keep the stored plane of that index, int16 HU [j, i]."""
        if self._file is None:
            self._stored_view[plane] = hu
            return
        with writing():
            if self._staged is not None:
                self._staged[plane] = hu
            else:
                self._file[self._turn.slice_index(plane, self._stored_shape[0])] = self._turn.slice_of(hu)

    def finish(self) -> Slices:
        """The canonical slices, once every plane has been put."""
        if self._array is not None:
            return self._array
        assert self._file is not None
        if self._staged is not None:
            with writing():
                self._turn_staged(self._staged, self._file)
            self._remove_staged()
        return self._file

    def discard(self) -> None:
        """Leave nothing behind after a refusal."""
        self._remove_staged()
        if self._file is not None:
            self._file.close()
            with contextlib.suppress(OSError):
                self._file.path.unlink()

    def _turn_staged(self, staged: SliceFile, file: SliceFile) -> None:
        """Blocks of canonical slices, each gathered by one pass over the stored planes."""
        slice_axis = self._turn.order[0]
        count, rows, columns = file.shape
        block = max(1, _TURN_BYTES // (rows * columns * 2))
        for first in range(0, count, block):
            wanted = np.arange(first, min(first + block, count))
            stored = count - 1 - wanted if slice_axis in self._turn.flips else wanted
            part = list(staged.shape)
            part[slice_axis] = len(wanted)
            gathered = np.empty(part, np.int16)
            for number, plane in enumerate(staged):
                np.take(plane, stored, axis=slice_axis - 1, out=gathered[number])
            other_flips = tuple(axis for axis in self._turn.flips if axis != slice_axis)
            turned = np.transpose(np.flip(gathered, other_flips), self._turn.order)
            for index, hu in zip(wanted, turned, strict=True):
                file[int(index)] = hu

    def _remove_staged(self) -> None:
        if self._staged is not None:
            self._staged.close()
            with contextlib.suppress(OSError):
                self._staged.path.unlink()
            self._staged = None


@contextlib.contextmanager
def writing() -> Iterator[None]:
    """Says in words that the store cannot be written."""
    try:
        yield
    except OSError as error:
        raise UsageError(
            "USAGE_CANNOT_WRITE",
            "The slices of the scan could not be written to the working folder.",
            "Check that the disk is not full and that the folder may be written.",
            str(error),
        ) from error
