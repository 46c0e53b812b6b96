"""What an analysis was asked to do."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from HemoCAMLib.errors import UsageError
from HemoCAMLib.run.map_settings import MapSettings

DEVICES = ("auto", "cpu", "cuda", "mps")
PRECISIONS = ("auto", "float32", "bfloat16", "float16")
BACKENDS = ("auto", "torch", "openvino")


@dataclass(frozen=True)
class AnalyzeJob:
    """One analysis, as written to ``job.json``; plain values only, so that any program can make one.

    Attributes:
        input: path of a DICOM folder or file, NIfTI or NRRD; empty where the scan is the array in the run folder.
        ijk_to_ras: 4x4 affine of the array in the run folder (``input.npy``), None for a path.
        series_uid: series to take from a folder that holds several; empty lets HemoCAM choose.
        allow_gaps: go on where slices are missing.
        model: name of a shipped model or path of a bundle; empty takes the default.
        device: one of :data:`DEVICES`.
        precision: one of :data:`PRECISIONS`; ``auto`` is bfloat16 on a CUDA device where the model's description says
            that it was checked there; else float32.
        batch_size: slices per forward pass; 0 chooses by device.
        threads: CPU threads of the network; 0 takes all cores.
        mask: settings of the mask that replace the bundle's own, by name.
        map: method and layers of the activation maps, as :class:`~HemoCAMLib.run.map_settings.MapSettings` has them.
        backend: one of :data:`BACKENDS`, what runs the network; ``auto`` is torch, so that every computer gives the
            same numbers. ``openvino`` computes on the CPU and makes the default maps only, which need no gradient.
    """

    input: str = ""
    ijk_to_ras: tuple[tuple[float, ...], ...] | None = None
    series_uid: str = ""
    allow_gaps: bool = False
    model: str = ""
    device: str = "auto"
    precision: str = "auto"
    batch_size: int = 0
    threads: int = 0
    mask: dict[str, Any] = field(default_factory=dict)
    map: dict[str, Any] = field(default_factory=dict)
    backend: str = "auto"

    def __post_init__(self) -> None:
        _one_of("device", self.device, DEVICES)
        _one_of("precision", self.precision, PRECISIONS)
        _one_of("backend", self.backend, BACKENDS)
        maps = MapSettings.from_dict(self.map)
        if self.backend == "openvino":
            _check_openvino(self.device, maps)
        if not 0 <= self.batch_size <= 1024:
            raise UsageError("USAGE_BATCH_SIZE", "The batch size must lie between 1 and 1024.", "0 lets us choose.")
        if not 0 <= self.threads <= 1024:
            raise UsageError("USAGE_THREADS", "The number of threads must lie between 1 and 1024.", "0 takes all.")

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, fields: dict[str, Any]) -> AnalyzeJob:
        """The job that ``job.json`` describes.

        Raises:
            UsageError: unknown field or impossible value.
        """
        unknown = set(fields) - set(cls.__dataclass_fields__)
        if unknown:
            raise UsageError("USAGE_JOB", f"The job has unknown settings: {', '.join(sorted(unknown))}.")
        values = dict(fields)
        if values.get("ijk_to_ras") is not None:
            values["ijk_to_ras"] = tuple(tuple(float(x) for x in row) for row in values["ijk_to_ras"])
        try:
            return cls(**values)
        except TypeError as error:
            raise UsageError("USAGE_JOB", "The job holds a value of the wrong kind.", detail=str(error)) from error


def _check_openvino(device: str, maps: MapSettings) -> None:
    if device not in ("auto", "cpu"):
        raise UsageError("USAGE_BACKEND", "OpenVINO is used on the CPU only.", "Choose device cpu, or backend torch.")
    if not maps.is_default:
        raise UsageError(
            "USAGE_BACKEND",
            f"OpenVINO gives no gradients and cannot make “{maps.method}” maps.",
            "Choose backend torch, or leave the map at its default.",
        )


def _one_of(name: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise UsageError(f"USAGE_{name.upper()}", f"Unknown {name} “{value}”.", f"Choose one of {', '.join(allowed)}.")
