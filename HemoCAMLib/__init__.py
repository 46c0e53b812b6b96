"""HemoCAM: from slice labels to hemorrhage volumes.

Research software, not a medical device. Importing this package imports neither torch nor Slicer.
"""

from __future__ import annotations

from HemoCAMLib.errors import Cancelled, HemoCAMError, InputRefused, ModelRefused, UsageError, WorkerFailed

__version__ = "0.1.0"

__all__ = [
    "Cancelled",
    "HeadCT",
    "HemoCAMError",
    "InputRefused",
    "ModelRefused",
    "PlainWorker",
    "Result",
    "UsageError",
    "WorkerFailed",
    "__version__",
    "analyze",
    "compare",
    "export_dicom",
    "head_ct_from_array",
    "read_head_ct",
    "write_sample",
]

_HOMES = {
    "HeadCT": "HemoCAMLib.ct",
    "read_head_ct": "HemoCAMLib.ct",
    "head_ct_from_array": "HemoCAMLib.ct",
    "analyze": "HemoCAMLib.run.api",
    "PlainWorker": "HemoCAMLib.run.plain",
    "Result": "HemoCAMLib.run.result",
    "export_dicom": "HemoCAMLib.export",
    "compare": "HemoCAMLib.measure.agreement",
    "write_sample": "HemoCAMLib.sample",
}


def __getattr__(name: str) -> object:
    # Loaded on first use: the worker, the command line's --version and Slicer's start need none of it.
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOMES[name]), name)
