"""What a run was resolved to, and whether an unfinished one may go on from there."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from HemoCAMLib.ct import HeadCT
from HemoCAMLib.run.folder import RunFolder


def scan_fingerprint(ct: HeadCT) -> str:
    """SHA-256 over the geometry and every voxel: two scans with the same one give the same result."""
    geometry = ct.geometry
    digest = hashlib.sha256(repr((ct.shape, geometry.pixel_spacing_mm, geometry.slice_thickness_mm)).encode())
    for array in (geometry.positions_mm, geometry.row_direction, geometry.column_direction):
        digest.update(np.ascontiguousarray(array, np.float64).tobytes())
    for index in range(ct.shape[0]):
        digest.update(np.ascontiguousarray(ct.slices[index]).data)
    return digest.hexdigest()


@dataclass(frozen=True)
class RunState:
    """Content of ``state.json``.

    Attributes:
        scan: fingerprint of the scan.
        weights: checksum of the model's weights.
        question: everything else that changes the result: thresholds, map method, window.
        compute: device, precision, batch size, threads; changes only the last digits.
    """

    scan: str
    weights: str
    question: dict[str, Any] = field(default_factory=dict)
    compute: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def load(cls, folder: RunFolder) -> RunState | None:
        """The state in a run folder, None where there is no readable one."""
        fields = folder.read_json(folder.state_path)
        if not isinstance(fields, dict) or set(fields) != set(cls.__dataclass_fields__):
            return None
        return cls(**fields)

    def save(self, folder: RunFolder) -> None:
        folder.write_json(
            folder.state_path,
            {"scan": self.scan, "weights": self.weights, "question": self.question, "compute": self.compute},
        )

    def same_answer(self, other: RunState | None) -> bool:
        """Whether slices analysed under the other state can be kept."""
        return other is not None and (self.scan, self.weights, self.question) == (
            other.scan,
            other.weights,
            other.question,
        )
