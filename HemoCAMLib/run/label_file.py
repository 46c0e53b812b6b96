"""The label map on disk: unfiltered slices while a run is under way, NRRD when it is complete."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from HemoCAMLib.ct.head_ct import InputGrid

Labels = NDArray[np.uint8]

#: Low compression: label maps are mostly zero, so a higher level only costs time.
GZIP_LEVEL = 1


class RawLabels:
    """Label slices, uint8 [row, column], in a plain file; read and written one at a time."""

    def __init__(self, path: Path, shape: tuple[int, int, int]) -> None:
        self.shape = shape
        self._bytes = shape[1] * shape[2]
        size = shape[0] * self._bytes
        if not path.is_file() or path.stat().st_size != size:
            with path.open("wb") as file:
                file.truncate(size)
        self._file = path.open("r+b", buffering=0)

    def write(self, index: int, labels: Labels) -> None:
        self._file.seek(index * self._bytes)
        self._file.write(np.ascontiguousarray(labels, np.uint8).tobytes())

    def read(self, index: int) -> Labels:
        self._file.seek(index * self._bytes)
        return np.frombuffer(self._file.read(self._bytes), np.uint8).reshape(self.shape[1:])

    def close(self) -> None:
        self._file.close()


def write_labels_nrrd(
    path: Path, read_slice: Callable[[int], Labels], shape: tuple[int, int, int], grid: InputGrid
) -> None:
    """Writes a label map on the input's grid as NRRD (teem's NRRD 5 format, gzip), atomically.

    Where the input stores slices in our order they are streamed one by one; otherwise the label map, one
    byte a voxel, is turned in memory.

    Args:
        path: ``labels.nrrd``.
        read_slice: gives the labels [row, column] of a slice.
        shape: (slices, rows, columns).
        grid: the input's grid; its directions may be sheared (gantry tilt), which NRRD can say.
    """
    stored_shape = grid.to_stored(np.broadcast_to(np.uint8(0), shape)).shape
    temporary = path.with_name(path.name + ".tmp")
    with temporary.open("wb") as file:
        file.write(_header(stored_shape, grid))
        with gzip.GzipFile(filename="", fileobj=file, mode="wb", compresslevel=GZIP_LEVEL, mtime=0) as stream:
            if grid.is_canonical:
                for index in range(shape[0]):
                    stream.write(read_slice(index).tobytes())
            else:
                labels = np.stack([read_slice(index) for index in range(shape[0])])
                stream.write(np.ascontiguousarray(grid.to_stored(labels)).tobytes())
    temporary.replace(path)


def _header(stored_shape: tuple[int, ...], grid: InputGrid) -> bytes:
    sizes = " ".join(str(size) for size in reversed(stored_shape))
    directions = " ".join(_vector(grid.directions_lps_mm[:, axis]) for axis in range(3))
    lines = [
        "NRRD0005",
        "# Complete NRRD file format specification at: http://teem.sourceforge.net/nrrd/format.html",
        "type: unsigned char",
        "dimension: 3",
        "space: left-posterior-superior",
        f"sizes: {sizes}",
        f"space directions: {directions}",
        "kinds: domain domain domain",
        "encoding: gzip",
        f"space origin: {_vector(grid.origin_lps_mm)}",
    ]
    return ("\n".join(lines) + "\n\n").encode("ascii")


def _vector(values: NDArray[np.float64]) -> str:
    return "(" + ",".join(repr(float(value)) for value in values) + ")"
