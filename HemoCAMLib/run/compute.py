"""On what a run computes: device, precision, batch size, threads, back end; and what to do when memory runs out."""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch

from HemoCAMLib.errors import UsageError
from HemoCAMLib.model import BundleMetadata
from HemoCAMLib.model.half_precision import is_checked
from HemoCAMLib.model.openvino_trunk import is_installed
from HemoCAMLib.run.job import AnalyzeJob

#: Batching beyond four slices gains nothing on a CPU and delays the first result.
CPU_BATCH = 4
ACCELERATOR_BATCH = 16


def ran_out_of_memory(error: RuntimeError) -> bool:
    """Whether an error of torch means that the device, or the computer, has no memory left.

    Accelerators have an exception of their own; the CPU allocator raises a plain RuntimeError.
    """
    return isinstance(error, torch.cuda.OutOfMemoryError) or "can't allocate memory" in str(error)


@dataclass(frozen=True)
class Compute:
    """The resolved choice, as kept in ``state.json`` and ``result.json``."""

    device: str
    precision: str
    batch_size: int
    threads: int
    backend: str = "torch"

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    def apply(self) -> None:
        """Sets torch's number of CPU threads."""
        torch.set_num_threads(self.threads)

    @property
    def half_type(self) -> torch.dtype | None:
        """The half-precision type, None for full precision."""
        return {"bfloat16": torch.bfloat16, "float16": torch.float16}.get(self.precision)

    def autocast(self) -> torch.autocast:
        """The context in which the network runs."""
        half = self.half_type
        return torch.autocast(self.device, dtype=half or torch.bfloat16, enabled=half is not None)

    def smaller(self) -> tuple[Compute, str] | None:
        """What to try after the device ran out of memory, and the sentence that says so; None if nothing is left."""
        name = self.device.upper()
        if self.batch_size > 1:
            half = self.batch_size // 2
            return replace(self, batch_size=half), f"The {name} ran out of memory; going on with batches of {half}."
        if self.device == "cpu":
            return None
        return (
            Compute("cpu", "float32", CPU_BATCH, self.threads),
            f"The {name} device ran out of memory; going on with the CPU, which is slower.",
        )


def choose_compute(
    job: AnalyzeJob, former: dict[str, Any] | None = None, metadata: BundleMetadata | None = None
) -> Compute:
    """What the job's wishes come to on this machine.

    Args:
        job: ``auto`` and 0 leave the choice open.
        former: what an unfinished run of the same job used; taken over where the job leaves the choice
            open, so that a resumed run gives the same numbers to the last bit.
        metadata: of the model; half precision is only taken by itself where it was checked on this model.

    Raises:
        UsageError: the device, precision or back end is not there (``USAGE_DEVICE``, ``USAGE_PRECISION``,
            ``USAGE_BACKEND``).
    """
    former = former or {}
    backend = _chosen_backend(job, former.get("backend"))
    device = job.device if job.device != "auto" else _still_there(former.get("device")) or _best_device()
    if backend == "openvino":
        device = "cpu"
    if not _available(device):
        raise UsageError(
            "USAGE_DEVICE", f"The device “{device}” is not available on this computer.", "Choose auto or cpu."
        )
    precision = job.precision
    if precision == "auto":
        precision = former.get("precision") or _best_precision(device, metadata)
    if device == "cpu" and precision == "float16":
        raise UsageError("USAGE_PRECISION", "A CPU does not compute in float16.", "Choose float32 or bfloat16.")
    batch = job.batch_size or former.get("batch_size") or (CPU_BATCH if device == "cpu" else ACCELERATOR_BATCH)
    threads = job.threads or former.get("threads") or _core_count()
    return Compute(device, precision, int(batch), int(threads), backend)


def _chosen_backend(job: AnalyzeJob, former: Any) -> str:
    if job.backend == "openvino" and not is_installed():
        raise UsageError(
            "USAGE_BACKEND", "OpenVINO is not installed.", 'Run: pip install "hemocam[openvino]", or choose torch.'
        )
    if job.backend != "auto":
        return job.backend
    goes_on = former == "openvino" and is_installed() and job.device in ("auto", "cpu")
    return "openvino" if goes_on else "torch"


def _core_count() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _available(device: str) -> bool:
    if device == "cuda":
        return bool(torch.cuda.is_available())
    if device == "mps":
        return bool(torch.backends.mps.is_available())
    return device == "cpu"


def _still_there(device: Any) -> str | None:
    return device if isinstance(device, str) and _available(device) else None


def _best_device() -> str:
    return next(device for device in ("cuda", "mps", "cpu") if _available(device))


def unchecked_precision(compute: Compute, metadata: BundleMetadata) -> str:
    """The sentence that a run must say aloud where its precision was not checked on its model; else empty."""
    if compute.precision == "float32" or _checked(compute.precision, compute.device, metadata, compute.backend):
        return ""
    where = compute.device.upper() + (" with OpenVINO" if compute.backend == "openvino" else "")
    return (
        f"{compute.precision} was not shown to leave this model's results unchanged on {where}; "
        "“hemocam models check-precision” compares them."
    )


def _checked(precision: str, device: str, metadata: BundleMetadata, backend: str = "torch") -> bool:
    return is_checked(metadata.half_precision, precision, device, metadata.weights_sha256, backend)


def _best_precision(device: str, metadata: BundleMetadata | None) -> str:
    """Half precision where it is fast and was checked, never by itself on a CPU.

    Only some CPUs have it, and the same scan must give the same millilitres on two desks.
    """
    fast = device == "cuda" and bool(torch.cuda.is_bf16_supported())
    checked = metadata is not None and _checked("bfloat16", device, metadata)
    return "bfloat16" if fast and checked else "float32"
