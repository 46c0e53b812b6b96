"""A finished analysis as a script sees it: references to nodes, and numbers."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from HemoCAMLib.measure.measurements import TOTAL
from HemoCAMLib.run.result import Result
from HemoCAMLib.scene import SceneResult, restore_run
from HemoCAMLib.scene.bridge import Node
from HemoCAMLib.subtypes import ANY, SUBTYPE_NAMES


@dataclass(frozen=True, eq=False)
class AnalysisResult:
    """What was found in one CT. Numbers are those of the scene now: they follow thresholds and edits.

    Attributes:
        shown: the nodes (:class:`~HemoCAMLib.scene.SceneResult`).

    >>> result = logic.analyze(volumeNode)  # doctest: +SKIP
    >>> result.volume_ml["SDH"], result.probability["SDH"], result.side["SDH"]  # doctest: +SKIP
    (31.4, 0.98, 'left')
    """

    shown: SceneResult

    @property
    def fields(self) -> dict[str, Any]:
        """Everything that is known, as in ``result.json``."""
        return dict(self.shown.record.result)

    @property
    def volume_ml(self) -> dict[str, float]:
        """Millilitres by subtype name, and ``total``."""
        return dict(self.fields["volume_ml"])

    @property
    def total_ml(self) -> float:
        """Millilitres of all hemorrhage."""
        return float(self.volume_ml[TOTAL])

    @property
    def abc2_ml(self) -> dict[str, float]:
        """A × B × C / 2 of each subtype's largest lesion."""
        return dict(self.fields["abc2_ml"])

    @property
    def side(self) -> dict[str, str]:
        """By subtype name: patient's ``left``, ``right``, ``both`` or ``none``."""
        return dict(self.fields["side"])

    @property
    def probability(self) -> dict[str, float]:
        """By class name, ``any`` first: that of the slice where it is greatest."""
        slices = self.slices
        return {name: max(float(entry["probability"][name]) for entry in slices) for name in (ANY, *SUBTYPE_NAMES)}

    @property
    def slices(self) -> list[dict[str, Any]]:
        """One entry a slice: index, position_mm, extent_mm, probability, area_mm2."""
        return list(self.fields["slices"])

    @property
    def found(self) -> list[str]:
        """Names of the subtypes that have a volume; empty where no hemorrhage was found, which is a result too."""
        volumes = self.volume_ml
        return [name for name in SUBTYPE_NAMES if volumes[name] > 0]

    @property
    def warnings(self) -> list[dict[str, str]]:
        """What was odd about the scan and was handled: code and message."""
        return list(self.fields["input"]["warnings"])

    @property
    def settings(self) -> dict[str, Any]:
        """Mask, map, device and the rest, as they were used."""
        return dict(self.fields["settings"])

    @property
    def volume(self) -> Node:
        """The CT."""
        return self.shown.volume

    @property
    def segmentation(self) -> Node:
        """Segmentation node with a segment for each subtype that was found."""
        return self.shown.segmentation

    @property
    def heat_maps(self) -> dict[str, Node]:
        """Volume nodes by subtype, at the resolution of the maps."""
        return self.shown.heat_maps

    @property
    def volume_table(self) -> Node:
        """Table node with a row for each subtype and one for all."""
        return self.shown.volume_table

    @property
    def slice_table(self) -> Node:
        """Table node with a row for each slice."""
        return self.shown.slice_table

    @property
    def chart(self) -> Node:
        """Plot chart node: probabilities by slice."""
        return self.shown.chart

    @property
    def folder(self) -> int | None:
        """Item of the result's folder in the subject hierarchy; None once it is gone."""
        return self.shown.folder

    @property
    def run_folder(self) -> Path | None:
        """Folder with everything that the engine wrote; None where it cannot be found any more."""
        return self.shown.find_run_folder()

    @property
    def run(self) -> Result:
        """The run as the engine wrote it, with maps and label map as arrays; unpacked where only the scene holds it.

        Raises:
            WorkerFailed: ``WORKER_INCOMPLETE``, the run folder is gone or damaged.
        """
        from HemoCAMLib.panel.application import runs_folder

        return Result.load(restore_run(self.shown, runs_folder()) or self.shown.record.run_folder)

    def remove(self) -> None:
        """Takes everything out of the scene; the run folder stays."""
        self.shown.remove()

    def __repr__(self) -> str:
        volumes = ", ".join(f"{name} {value:.1f} mL" for name, value in self.volume_ml.items())
        return f"AnalysisResult({volumes})"
