"""A finished run, read back from its folder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from HemoCAMLib.errors import WorkerFailed
from HemoCAMLib.run.brain_file import StoredBrain
from HemoCAMLib.run.folder import RunFolder

#: Version of ``result.json``; grows when a field changes its meaning or goes.
RESULT_SCHEMA = 2


@dataclass(frozen=True)
class Result:
    """What an analysis found; the arrays are read from the run folder when asked for.

    Attributes:
        folder: the run folder.
        fields: the content of ``result.json``.
    """

    folder: Path
    fields: dict[str, Any]

    @classmethod
    def load(cls, folder: str | Path) -> Result:
        """The result in a run folder.

        Raises:
            WorkerFailed: the run is not complete (``WORKER_INCOMPLETE``) or of an unknown version.
        """
        fields = RunFolder.read_json(RunFolder(folder).result_path)
        if not isinstance(fields, dict):
            raise WorkerFailed(
                "WORKER_INCOMPLETE", "The run folder holds no finished analysis.", "Run the analysis again."
            )
        if fields.get("schema") != RESULT_SCHEMA:
            raise WorkerFailed(
                "WORKER_SCHEMA", "The result was written by another version of HemoCAM.", "Run the analysis again."
            )
        return cls(Path(folder), fields)

    @property
    def volume_ml(self) -> dict[str, float]:
        """Millilitres by subtype name, and ``total``."""
        return dict(self.fields["volume_ml"])

    @property
    def slices(self) -> list[dict[str, Any]]:
        """One entry a slice: index, position_mm, extent_mm, probability, area_mm2."""
        return list(self.fields["slices"])

    @property
    def warnings(self) -> list[dict[str, str]]:
        """What was found odd about the scan and handled: code and message."""
        return list(self.fields["input"]["warnings"])

    @property
    def classes(self) -> list[str]:
        """Class names of the model, in the order of :attr:`probabilities` and :attr:`activation`."""
        return list(self.fields["model"]["classes"])

    @property
    def map_method(self) -> str:
        """How the maps were made."""
        return str(self.fields["settings"]["map"]["method"])

    @property
    def quality(self) -> dict[str, Any]:
        """How far the scan is from what the model was trained on: summary, findings, statistics."""
        return dict(self.fields["quality"])

    @property
    def labels(self) -> NDArray[np.uint8]:
        """uint8 label map [k, j, i] on the input's own grid; 0 none, 1 IPH, 2 IVH, 3 SAH, 4 SDH, 5 EDH."""
        image = sitk.ReadImage(str(RunFolder(self.folder).labels_path))
        array: NDArray[np.uint8] = sitk.GetArrayFromImage(image)
        return array

    @property
    def probabilities(self) -> NDArray[np.float32]:
        """float32 [class, slice] in the model's class order."""
        array: NDArray[np.float32] = np.load(RunFolder(self.folder).probabilities_path, allow_pickle=False)
        return array

    @property
    def activation(self) -> NDArray[np.floating[Any]]:
        """[class, slice, rows, columns] maps at the network's map size, not a number where none was made; not loaded.

        float16 local logits, or float32 of another method.
        """
        path = RunFolder(self.folder).activation_path
        array: NDArray[np.floating[Any]] = np.load(path, mmap_mode="r", allow_pickle=False)
        return array

    @property
    def brain(self) -> StoredBrain:
        """bool brain masks [rows, columns] by slice, rows front to back as the analysis saw them."""
        return StoredBrain(RunFolder(self.folder).brain_path, int(self.fields["input"]["columns"]))

    def __repr__(self) -> str:
        volumes = ", ".join(f"{name} {value:.1f} mL" for name, value in self.volume_ml.items())
        return f"Result({volumes})"
