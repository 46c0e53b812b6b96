"""One call from a scan to its hemorrhage volumes."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from HemoCAMLib.errors import UsageError
from HemoCAMLib.run.folder import RunFolder
from HemoCAMLib.run.job import AnalyzeJob
from HemoCAMLib.run.plain import PlainWorker
from HemoCAMLib.run.protocol import Message
from HemoCAMLib.run.result import Result


def analyze(
    scan: str | Path | ArrayLike,
    out: str | Path | None = None,
    *,
    ijk_to_ras: ArrayLike | None = None,
    worker: PlainWorker | None = None,
    on_event: Callable[[Message], None] = lambda event: None,
    cancelled: Callable[[], bool] = lambda: False,
    overwrite: bool = False,
    **settings: Any,
) -> Result:
    """Analyses a head CT in a process of its own and waits for the result.

    An unfinished run of the same scan and settings in ``out`` goes on where it stopped.

    Args:
        scan: DICOM folder or file, NIfTI or NRRD; or an array [slice, row, column] in HU.
        out: run folder, made if absent; None takes a new folder in the system's temporary place.
        ijk_to_ras: 4x4 affine from (column, row, slice) to mm RAS, needed with an array
            (as ``vtkMRMLVolumeNode.GetIJKToRASMatrix``).
        worker: a worker to use and leave warm; None starts one and ends it.
        on_event: called with every event of :mod:`HemoCAMLib.run.protocol`.
        cancelled: asked about every 0.1 s; True cancels.
        overwrite: allow ``out`` to hold another analysis.
        settings: fields of :class:`~HemoCAMLib.run.job.AnalyzeJob`: ``model``, ``device``, ``batch_size``, ...

    Returns:
        the result; its ``folder`` is the run folder.

    Raises:
        HemoCAMError: InputRefused, ModelRefused, WorkerFailed, Cancelled or UsageError.

    >>> import HemoCAMLib as hc
    >>> scan = hc.write_sample(getfixture("tmp_path") / "sample").scan
    >>> result = hc.analyze(scan, threads=1)
    >>> sorted(result.volume_ml)
    ['EDH', 'IPH', 'IVH', 'SAH', 'SDH', 'total']
    >>> result.labels.shape == (len(result.slices), 512, 512)
    True
    """
    folder = RunFolder(out if out is not None else tempfile.mkdtemp(prefix="hemocam-"))
    job, array = _job(scan, ijk_to_ras, settings)
    folder.prepare(job, overwrite=overwrite)
    if array is not None:
        np.save(folder.input_array_path, array, allow_pickle=False)
    if worker is not None:
        worker.run(folder.path, on_event, cancelled)
    else:
        with PlainWorker() as own:
            own.run(folder.path, on_event, cancelled)
    return Result.load(folder.path)


def _job(
    scan: str | Path | ArrayLike, ijk_to_ras: ArrayLike | None, settings: dict[str, Any]
) -> tuple[AnalyzeJob, np.ndarray[Any, Any] | None]:
    if isinstance(scan, str | Path):
        # Relative paths would mean something else in the worker's own folder.
        return AnalyzeJob.from_dict({**settings, "input": str(Path(scan).expanduser().absolute())}), None
    if ijk_to_ras is None:
        raise UsageError("USAGE_AFFINE", "An array needs its position in the patient.", "Pass ijk_to_ras, 4x4 in mm.")
    affine = np.asarray(ijk_to_ras, dtype=float)
    if affine.shape != (4, 4) or not np.isfinite(affine).all():
        raise UsageError("USAGE_AFFINE", "ijk_to_ras must be a 4x4 matrix of finite numbers.")
    array = np.asarray(scan)
    if array.dtype.kind not in "iuf":
        raise UsageError("USAGE_ARRAY", "The array must hold Hounsfield units as numbers.")
    return AnalyzeJob.from_dict({**settings, "ijk_to_ras": affine.tolist()}), array
