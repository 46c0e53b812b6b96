"""HU slices on disk, one read per access, so that memory does not grow with the length of a scan."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import overload

import numpy as np
from numpy.typing import NDArray

_HU = np.dtype("<i2")


class SliceFile(Sequence[NDArray[np.int16]]):
    """A raw file of int16 HU slices [slice, row, column], little endian, read and written one slice at a time.

    Nothing is mapped into memory: a mapped file counts towards a process's resident memory page by page,
    a read does not. Several threads may read and write different slices at once.

    Args:
        path: the file; it exists already unless made by :meth:`create`.
        shape: (slices, rows, columns).

    Raises:
        ValueError: the file's length is not that of ``shape``.
    """

    def __init__(self, path: Path, shape: tuple[int, int, int]) -> None:
        self.path = Path(path)
        self.shape = shape
        self._bytes_per_slice = shape[1] * shape[2] * _HU.itemsize
        self._lock = threading.Lock()
        self._descriptor: int | None = None
        if self.path.stat().st_size != self._bytes_per_slice * shape[0]:
            raise ValueError(f"file length does not fit {shape[0]} slices of {shape[1]} x {shape[2]}")

    @classmethod
    def create(cls, path: Path, shape: tuple[int, int, int]) -> SliceFile:
        """A new file of that shape whose slices are yet to be written; an existing file is replaced."""
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as file:
            file.truncate(shape[0] * shape[1] * shape[2] * _HU.itemsize)
        return cls(path, shape)

    def __len__(self) -> int:
        return self.shape[0]

    @overload
    def __getitem__(self, index: int) -> NDArray[np.int16]: ...
    @overload
    def __getitem__(self, index: slice) -> list[NDArray[np.int16]]: ...
    def __getitem__(self, index: int | slice) -> NDArray[np.int16] | list[NDArray[np.int16]]:
        if isinstance(index, slice):
            return [self[position] for position in range(*index.indices(len(self)))]
        data = self._read(self._bytes_per_slice, self._offset(index))
        return np.frombuffer(data, _HU).reshape(self.shape[1:]).astype(np.int16)

    def __setitem__(self, index: int, hu: NDArray[np.int16]) -> None:
        if hu.shape != self.shape[1:]:
            raise ValueError(f"slice of {hu.shape} does not fit {self.shape[1:]}")
        self._write(np.ascontiguousarray(hu, _HU).tobytes(), self._offset(index))

    def __iter__(self) -> Iterator[NDArray[np.int16]]:
        return (self[index] for index in range(len(self)))

    def __reduce__(self) -> tuple[type[SliceFile], tuple[Path, tuple[int, int, int]]]:
        return SliceFile, (self.path, self.shape)

    def close(self) -> None:
        """Let go of the file; the next access opens it again."""
        with self._lock:
            if self._descriptor is not None:
                os.close(self._descriptor)
                self._descriptor = None

    def __del__(self) -> None:
        with contextlib.suppress(Exception):
            self.close()

    def _offset(self, index: int) -> int:
        position = index + len(self) if index < 0 else index
        if not 0 <= position < len(self):
            raise IndexError(f"slice {index} of {len(self)}")
        return position * self._bytes_per_slice

    def _open(self) -> int:
        with self._lock:
            if self._descriptor is None:
                # O_BINARY exists on Windows only, where text mode would change the bytes.
                self._descriptor = os.open(self.path, _access_of(self.path) | getattr(os, "O_BINARY", 0))
            return self._descriptor

    def _read(self, count: int, offset: int) -> bytes:
        descriptor = self._open()
        if hasattr(os, "pread"):
            data = os.pread(descriptor, count, offset)
        else:
            with self._lock:
                os.lseek(descriptor, offset, os.SEEK_SET)
                data = os.read(descriptor, count)
        if len(data) != count:
            raise OSError(f"slice file ends at byte {offset + len(data)}")
        return data

    def _write(self, data: bytes, offset: int) -> None:
        descriptor = self._open()
        if hasattr(os, "pwrite"):
            written = os.pwrite(descriptor, data, offset)
        else:
            with self._lock:
                os.lseek(descriptor, offset, os.SEEK_SET)
                written = os.write(descriptor, data)
        if written != len(data):
            raise OSError("disk full while writing slices")


def _access_of(path: Path) -> int:
    return os.O_RDWR if os.access(path, os.W_OK) else os.O_RDONLY
