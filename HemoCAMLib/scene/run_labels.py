"""The label map and the true geometry of a finished run, a few slices at a time."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from dataclasses import replace
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from HemoCAMLib.ct import SliceGeometry
from HemoCAMLib.ct.nrrd_header import read_nrrd_header
from HemoCAMLib.ct.orientation import Reorientation, canonical_geometry, grid_from_affine, reorientation_of
from HemoCAMLib.errors import InputRefused, WorkerFailed
from HemoCAMLib.run.folder import RunFolder
from HemoCAMLib.run.result import Result

#: Slices that are read at once: a hundredth of a second.
_BATCH = 8


class RunLabels:
    """Reads ``labels.nrrd`` as the run wrote it.

    Args:
        result: a finished run.

    Raises:
        WorkerFailed: ``WORKER_INCOMPLETE``, the label map is missing or damaged.
    """

    def __init__(self, result: Result) -> None:
        self._path = RunFolder(result.folder).labels_path
        try:
            header = read_nrrd_header(self._path)
        except (InputRefused, OSError) as error:
            raise _damaged(str(error)) from error
        self._shape = header.shape
        grid = grid_from_affine(header.shape, header.ijk_to_lps)
        self._turn: Reorientation = reorientation_of(grid)
        scan, slices = result.fields["input"], result.slices
        stored, _ = canonical_geometry(grid, self._turn, float(slices[0]["extent_mm"]))
        #: True positions of the slices, which one matrix cannot hold.
        self.geometry: SliceGeometry = replace(
            stored,
            positions_mm=np.array([entry["origin_lps_mm"] for entry in slices]),
            pixel_spacing_mm=(float(scan["spacing"]["row_mm"]), float(scan["spacing"]["column_mm"])),
        )

    def batches(self) -> Iterator[tuple[int, NDArray[np.uint8]]]:
        """(first slice, [slices, rows, columns] labels) until every slice was given once, in any order.

        Slices that are stored as planes come a few at a time; a scan that is stored otherwise comes as a whole.
        """
        planes = self._shape[0]
        with self._path.open("rb") as file:
            while file.readline().strip():
                pass
            with gzip.open(file) as stream:
                if not self._turn.keeps_planes:
                    stored = self._read(stream, planes)
                    yield 0, np.transpose(np.flip(stored, self._turn.flips), self._turn.order)
                    return
                for first in range(0, planes, _BATCH):
                    count = min(_BATCH, planes - first)
                    yield self._canonical(first, self._read(stream, count))

    def _canonical(self, first: int, stored: NDArray[np.uint8]) -> tuple[int, NDArray[np.uint8]]:
        turned = np.transpose(np.flip(stored, self._turn.flips), self._turn.order)
        last = first + len(stored) - 1
        return min(self._turn.slice_index(plane, self._shape[0]) for plane in (first, last)), turned

    def _read(self, stream: gzip.GzipFile | BinaryIO, count: int) -> NDArray[np.uint8]:
        _, rows, columns = self._shape
        try:
            data = stream.read(count * rows * columns)
            return np.frombuffer(data, np.uint8).reshape(count, rows, columns)
        except (OSError, EOFError, ValueError) as error:
            raise _damaged(str(error)) from error


def _damaged(detail: str) -> WorkerFailed:
    return WorkerFailed(
        "WORKER_INCOMPLETE", "The run folder's label map is missing or damaged.", "Run the analysis again.", detail
    )
