"""The run folder: the contract between worker, Slicer, command line, cohort runs and reports.

========================  ==========================================================================
``job.json``              what was asked (:class:`~HemoCAMLib.run.job.AnalyzeJob`)
``state.json``            what it was resolved to; a resumed run must agree with it
``events.jsonl``          every event of the run, one JSON object a line
``probabilities.npy``     float32 [class, slice]; a slice whose column is NaN has not been analysed
``activation.npy``        float16 [class, slice, rows, columns] local logits at the network's map size
``brain.npy``             brain masks, one bit a pixel (:mod:`HemoCAMLib.run.brain_file`)
``result.json``           written last and atomically: where it is, the run is complete
``labels.nrrd``           label map on the input's grid
``worker.log``            everything else that the worker printed
========================  ==========================================================================
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from HemoCAMLib.errors import UsageError, WorkerFailed
from HemoCAMLib.run.job import AnalyzeJob


class RunFolder:
    """Names of the files of a run, and the small ones read and written."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.job_path = self.path / "job.json"
        self.state_path = self.path / "state.json"
        self.events_path = self.path / "events.jsonl"
        self.probabilities_path = self.path / "probabilities.npy"
        self.activation_path = self.path / "activation.npy"
        self.brain_path = self.path / "brain.npy"
        self.result_path = self.path / "result.json"
        self.labels_path = self.path / "labels.nrrd"
        self.log_path = self.path / "worker.log"
        self.input_array_path = self.path / "input.npy"
        #: Scratch files of a run under way, removed when it is complete.
        self.hu_path = self.path / "hu.part"
        self.raw_labels_path = self.path / "labels.part"
        self.refinement_path = self.path / "refinement.part"

    @property
    def is_complete(self) -> bool:
        return self.result_path.is_file()

    def prepare(self, job: AnalyzeJob, *, overwrite: bool = False) -> None:
        """Makes the folder and writes ``job.json``; an unfinished run of the same job is kept for resuming.

        Raises:
            UsageError: the folder holds another analysis (``USAGE_OUT_IN_USE``) or cannot be written.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            same = self.job_path.is_file() and _same_question(self.read_json(self.job_path), job)
            if self.job_path.is_file() and not (same or overwrite):
                raise UsageError(
                    "USAGE_OUT_IN_USE",
                    "The output folder holds the analysis of another scan or with other settings.",
                    "Choose an empty folder, or allow overwriting.",
                )
            if overwrite or self.is_complete:
                self.clear()
            self.write_json(self.job_path, job.to_dict())
        except OSError as error:
            raise UsageError(
                "USAGE_OUT", "The output folder cannot be written.", "Choose a folder on a disk with room.", str(error)
            ) from error

    def clear(self) -> None:
        """Removes what a former run left, so that nothing of it can be taken for the new one's."""
        for path in (
            self.result_path,
            self.state_path,
            self.probabilities_path,
            self.activation_path,
            self.brain_path,
            self.labels_path,
            self.events_path,
            self.log_path,
            self.hu_path,
            self.raw_labels_path,
            self.refinement_path,
        ):
            path.unlink(missing_ok=True)

    def remove_scratch(self) -> None:
        for path in (self.hu_path, self.raw_labels_path, self.refinement_path):
            path.unlink(missing_ok=True)

    def read_job(self) -> AnalyzeJob:
        """The job of this folder.

        Raises:
            UsageError: ``job.json`` is missing or damaged.
        """
        fields = self.read_json(self.job_path)
        if not isinstance(fields, dict):
            raise UsageError("USAGE_JOB", "The run folder holds no readable job.json.", "Start the analysis again.")
        return AnalyzeJob.from_dict(fields)

    @staticmethod
    def read_json(path: Path) -> Any:
        """The JSON value in a file, or None where the file is missing or damaged."""
        try:
            return json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None

    @staticmethod
    def write_json(path: Path, value: Any) -> None:
        """Writes JSON atomically: a reader finds the old file or the whole new one."""
        temporary = path.with_name(path.name + ".tmp")
        with temporary.open("w", encoding="utf-8") as file:
            json.dump(value, file, indent=1, allow_nan=False, ensure_ascii=False)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)

    def lock(self) -> IO[bytes]:
        """Takes the folder for this process; the system lets go of it when the process ends, however it ends.

        Raises:
            WorkerFailed: another process is writing here (``WORKER_FOLDER_LOCKED``).
        """
        file = (self.path / "run.lock").open("ab")
        try:
            if os.name == "nt":
                import msvcrt

                msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined]
            else:
                import fcntl

                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            file.close()
            raise WorkerFailed(
                "WORKER_FOLDER_LOCKED",
                "Another analysis is writing to this folder.",
                "Wait for it to end, or choose another folder.",
            ) from error
        return file


def _same_question(old: Any, job: AnalyzeJob) -> bool:
    """Whether a former job asks for the same scan, model and settings; how it is computed may differ."""
    new = job.to_dict()
    if not isinstance(old, dict):
        return False
    return all(old.get(name) == _as_json(new[name]) for name in ("input", "ijk_to_ras", "series_uid", "model", "mask"))


def _as_json(value: Any) -> Any:
    return json.loads(json.dumps(value))


class GrowingArray:
    """A ``.npy`` file that is filled slice by slice with plain writes, never mapped into memory.

    A map of the whole file would count as memory of the worker and grow with the scan; plain writes do not.

    Args:
        path: file; made with every value missing unless it already has this shape and type.
        shape: whole shape; ``axis`` is the one that runs over slices.
        dtype: type of the values.
    """

    def __init__(self, path: Path, shape: tuple[int, ...], dtype: str, fill: float | None = None) -> None:
        self.shape = shape
        self.dtype = np.dtype(dtype)
        self._path = path
        if not self._matches():
            self._create(fill)
        with path.open("rb") as file:
            np.lib.format.read_magic(file)
            np.lib.format.read_array_header_1_0(file)
            self._data_start = file.tell()
        self._file = path.open("r+b", buffering=0)

    def _matches(self) -> bool:
        try:
            array = np.load(self._path, mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError, EOFError):
            return False
        return bool(array.shape == self.shape and array.dtype == self.dtype)

    def _create(self, fill: float | None) -> None:
        with self._path.open("wb") as file:
            header = {"descr": self.dtype.str, "fortran_order": False, "shape": self.shape}
            np.lib.format.write_array_header_1_0(file, header)
            count = int(np.prod(self.shape))
            if fill is None:
                file.truncate(file.tell() + count * self.dtype.itemsize)
            else:
                file.write(np.full(count, fill, self.dtype).tobytes())

    def write(self, slice_index: int, values: NDArray[Any]) -> None:
        """Writes [class, ...] values of one slice of an array [class, slice, ...]."""
        classes, slices = self.shape[:2]
        block = int(np.prod(self.shape[2:])) * self.dtype.itemsize
        for class_index in range(classes):
            data = np.ascontiguousarray(values[class_index], self.dtype).tobytes()
            self._file.seek(self._data_start + (class_index * slices + slice_index) * block)
            self._file.write(data)

    def read(self, slice_index: int) -> NDArray[Any]:
        """[class, ...] values of one slice."""
        classes, slices = self.shape[:2]
        count = int(np.prod(self.shape[2:]))
        values = np.empty((classes, count), self.dtype)
        for class_index in range(classes):
            self._file.seek(self._data_start + (class_index * slices + slice_index) * count * self.dtype.itemsize)
            values[class_index] = np.frombuffer(self._file.read(count * self.dtype.itemsize), self.dtype)
        return values.reshape(classes, *self.shape[2:])

    def close(self) -> None:
        self._file.close()
