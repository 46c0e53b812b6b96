"""Whether half precision changes what a model finds: the same scans analysed in both, whole results compared."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from HemoCAMLib.errors import UsageError
from HemoCAMLib.model import ModelBundle
from HemoCAMLib.model.half_precision import BACKENDS, DEVICES, DICE_BOUND, DTYPES, VOLUME_BOUND_ML, HalfPrecision
from HemoCAMLib.run.api import analyze
from HemoCAMLib.run.plain import PlainWorker
from HemoCAMLib.run.result import Result
from HemoCAMLib.subtypes import SUBTYPES


def check_half_precision(
    bundle: ModelBundle,
    scans: Sequence[str | Path],
    *,
    dtype: str = "bfloat16",
    device: str = "cpu",
    backend: str = "torch",
    dice_bound: float = DICE_BOUND,
    volume_bound_ml: float = VOLUME_BOUND_ML,
    on_scan: Callable[[int, int], None] = lambda done, total: None,
) -> HalfPrecision:
    """Analyses every scan in float32 and in half precision, as a user's run would, and compares the results.

    Args:
        bundle: the model, with the thresholds that it recommends.
        scans: DICOM folders or files, NIfTI or NRRD; the more lesions near a threshold, the more it says.
        dtype: ``bfloat16`` or ``float16``.
        device: ``cpu``, ``cuda`` or ``mps``; there must be one.
        backend: ``torch`` or ``openvino``, for half precision; it is held against torch in float32.
        dice_bound: largest change of Dice to accept, 0..1.
        volume_bound_ml: largest change of a subtype's volume in a scan to accept, in mL.
        on_scan: called with the number of scans compared, and of all.

    Raises:
        HemoCAMError: a scan or the model is refused, or the device fails.
        UsageError: ``USAGE_PRECISION_CHECK``: no scans, or a bound or name that makes no sense.
    """
    _check_request(scans, dtype, device, backend, dice_bound, volume_bound_ml)
    tally = _Tally()
    with PlainWorker() as worker, tempfile.TemporaryDirectory(prefix="hemocam-precision-") as scratch:
        for number, scan in enumerate(scans, start=1):
            full, half = (
                analyze(
                    scan,
                    Path(scratch) / precision,
                    worker=worker,
                    overwrite=True,
                    model=str(bundle.path.absolute()),
                    device=device,
                    precision=precision,
                    backend=runs_on,
                )
                for precision, runs_on in (("float32", "torch"), (dtype, backend))
            )
            tally.add(full, half)
            on_scan(number, len(scans))
    return HalfPrecision(
        dtype=dtype,
        device=device,
        weights_sha256=bundle.metadata.weights_sha256,
        scans=len(scans),
        largest_dice_change=round(tally.largest_dice_change, 6),
        largest_volume_change_ml=round(tally.largest_volume_change_ml, 4),
        largest_probability_change=round(tally.largest_probability_change, 6),
        dice_bound=dice_bound,
        volume_bound_ml=volume_bound_ml,
        backend=backend,
    )


class _Tally:
    """Pixels of each label in either label map and in both, and the largest changes so far."""

    def __init__(self) -> None:
        self._counts: NDArray[np.int64] = np.zeros((3, len(SUBTYPES)), np.int64)
        self.largest_volume_change_ml = 0.0
        self.largest_probability_change = 0.0

    def add(self, full: Result, half: Result) -> None:
        """One scan in both precisions."""
        one, other = full.labels, half.labels
        length = len(SUBTYPES) + 1
        for row, labels in enumerate((one, other, one[one == other])):
            self._counts[row] += np.bincount(labels.ravel(), minlength=length)[[s.label for s in SUBTYPES]]
        volumes = [abs(half.volume_ml[name] - value) for name, value in full.volume_ml.items()]
        self.largest_volume_change_ml = max(self.largest_volume_change_ml, *volumes)
        change = float(np.abs(full.probabilities - half.probabilities).max())
        self.largest_probability_change = max(self.largest_probability_change, change)

    @property
    def largest_dice_change(self) -> float:
        """1 − Dice of the subtype that changed most; a subtype in neither label map did not change."""
        one, other, both = self._counts
        return max(1 - 2 * b / (a + c) if a + c else 0.0 for a, c, b in zip(one, other, both, strict=True))


def _check_request(
    scans: Sequence[str | Path], dtype: str, device: str, backend: str, dice_bound: float, volume_bound_ml: float
) -> None:
    problem = ""
    if not scans:
        problem = "No scan was given."
    elif dtype not in DTYPES or device not in DEVICES:
        problem = f"There is no half precision “{dtype}” on “{device}”."
    elif backend not in BACKENDS:
        problem = f"There is no back end “{backend}”."
    elif not (0 <= dice_bound <= 1 and 0 <= volume_bound_ml <= 1e5):
        problem = "A bound is out of range."
    if problem:
        raise UsageError(
            "USAGE_PRECISION_CHECK",
            problem,
            f"Give scans, one of {', '.join(DTYPES)}, one of {', '.join(DEVICES)}, and bounds of 0 or more.",
        )
