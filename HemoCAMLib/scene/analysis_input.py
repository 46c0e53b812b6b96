"""From a volume node to what the analysis takes: the DICOM files where there are any, else voxels and a matrix."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from HemoCAMLib.errors import InputRefused
from HemoCAMLib.run.folder import RunFolder
from HemoCAMLib.run.job import AnalyzeJob
from HemoCAMLib.scene.bridge import Matrix, Node, voxels_of
from HemoCAMLib.scene.dicom_files import (
    FileOfUid,
    SeriesFiles,
    files_of_volume_steps,
    instance_uids,
    shows_files_steps,
)
from HemoCAMLib.scene.input_notes import InputNote, notes_on_positions, notes_on_voxels
from HemoCAMLib.scene.parent_transform import frame_of, true_geometry
from HemoCAMLib.scene.steps import Steps, finish, in_background
from HemoCAMLib.scene.volume_grid import VolumeGrid

#: Planes that are written in one step.
_BATCH = 16


@dataclass(frozen=True, eq=False)
class AnalysisInput:
    """What is handed to :func:`HemoCAMLib.analyze`.

    Attributes:
        grid: of the volume node, in the order of the analysis.
        files: of the DICOM series; None where the voxels themselves are analysed.
        voxels: [k, j, i] the node's own memory; None where the files are analysed.
        notes: what the panel says about the volume before anything runs.
    """

    grid: VolumeGrid
    files: SeriesFiles | None = None
    voxels: NDArray[Any] | None = None
    notes: tuple[InputNote, ...] = field(default=())

    @property
    def refusal(self) -> InputNote | None:
        """Why the analysis would be refused, None where nothing speaks against it."""
        return next((note for note in self.notes if note.refused), None)

    def arguments(self, gather_in: Path) -> dict[str, Any]:
        """Keyword arguments of :func:`HemoCAMLib.analyze`: ``scan`` and what belongs to it.

        Args:
            gather_in: where links to the files are put if they lie in several folders; it must stay as long as the run
                may be read again.
        """
        return finish(self._arguments_steps(gather_in))

    def _arguments_steps(self, gather_in: Path) -> Steps[dict[str, Any]]:
        if self.files is not None:
            scan = yield from self.files.gathered_steps(gather_in)
            return {"scan": scan, "series_uid": self.files.series_instance_uid}
        return {"scan": self.voxels, "ijk_to_ras": self.grid.array_to_frame}

    def prepare(
        self, folder: str | Path, settings: Mapping[str, Any] | None = None, *, overwrite: bool = False
    ) -> RunFolder:
        """Makes a run folder that a worker can be told to analyse: ``job.json``, and the voxels where they are used.

        Args:
            folder: of the run, made if absent.
            settings: fields of :class:`~HemoCAMLib.run.job.AnalyzeJob`: ``model``, ``device``, ``mask``, ``map``, ...
            overwrite: allow it to hold another analysis.

        Raises:
            UsageError: a setting makes no sense, or the folder is in use or cannot be written.
        """
        return finish(self.prepare_steps(folder, settings, overwrite=overwrite))

    def prepare_steps(
        self, folder: str | Path, settings: Mapping[str, Any] | None = None, *, overwrite: bool = False
    ) -> Steps[RunFolder]:
        """The same in small steps."""
        run = RunFolder(folder)
        arguments = yield from self._arguments_steps(run.path / "series")
        scan = arguments.pop("scan")
        fields = {**(settings or {}), **arguments}
        if self.files is not None:
            job = AnalyzeJob.from_dict({**fields, "input": str(scan)})
        else:
            job = AnalyzeJob.from_dict({**fields, "ijk_to_ras": self.grid.array_to_frame.tolist()})
        run.prepare(job, overwrite=overwrite)
        if self.voxels is not None:
            yield from _save_steps(run.input_array_path, self.voxels)
        return run


def analysis_input(volume_node: Node, file_of_uid: FileOfUid | None = None, modality: str = "") -> AnalysisInput:
    """What to analyse for a volume node, with notes for the user.

    DICOM files are preferred where the database still has all of them and the node shows them unchanged: Slicer keeps
    one step for all slices of a volume, and puts tilted and uneven series right with a transform. Without the files a
    parent transform is taken into the matrix.

    Args:
        volume_node: a scalar volume with an image, in HU.
        file_of_uid: path of a DICOM file by SOP instance UID; None where there is no database.
        modality: of the DICOM series, where it is known; anything but CT is refused.

    Raises:
        InputRefused: ``CT_NO_IMAGE``, ``CT_NOT_CT``, ``CT_NOT_ONE_VOLUME``, ``CT_BENT``, ``CT_ORIENTATION``.
    """
    return finish(analysis_input_steps(volume_node, file_of_uid, modality))


def analysis_input_steps(
    volume_node: Node, file_of_uid: FileOfUid | None = None, modality: str = ""
) -> Steps[AnalysisInput]:
    """The same in small steps."""
    _check_kind(volume_node, modality)
    voxels = voxels_of(volume_node.GetImageData())
    files = (yield from files_of_volume_steps(volume_node, file_of_uid)) if file_of_uid else None
    notes: list[InputNote] = []
    if files is not None and not (yield from shows_files_steps(volume_node, files)):
        files = None
        notes.append(
            InputNote("CT_CHANGED", "The volume was changed after it was loaded, so it is analysed as it is now.")
        )
    elif files is None and instance_uids(volume_node):
        notes.append(
            InputNote(
                "CT_FILES_GONE",
                "The DICOM files of this volume are not in the database, so it is analysed as it was loaded.",
            )
        )
    if files is not None:
        grid = VolumeGrid.of_node(volume_node)
        notes += notes_on_positions(true_geometry(volume_node))
        notes += yield from in_background(notes_on_voxels, voxels, grid)
        return AnalysisInput(grid, files, None, tuple(notes))
    grid = VolumeGrid.of_node(volume_node, frame_of(volume_node))
    notes += notes_on_positions(grid.geometry)
    notes += yield from in_background(notes_on_voxels, voxels, grid)
    return AnalysisInput(grid, None, voxels, tuple(notes))


def frame_in_job(run: RunFolder, volume_node: Node) -> Matrix | None:
    """The ``frame`` of a run's grid: the node's index to mm RAS in the space of the analysis.

    Returns:
        None for the node's own space: the run was made from files.
    """
    matrix = run.read_job().ijk_to_ras
    if matrix is None:
        return None
    i, _, j, _, k, _ = volume_node.GetImageData().GetExtent()
    to_array = np.eye(4)
    to_array[:3, 3] = (-i, -j, -k)
    return np.array(matrix) @ to_array


def _save_steps(path: Path, voxels: NDArray[Any]) -> Steps[None]:
    """What ``numpy.save`` writes, a few planes at a time."""
    with path.open("wb") as file:
        header = {"descr": np.lib.format.dtype_to_descr(voxels.dtype), "fortran_order": False, "shape": voxels.shape}
        np.lib.format.write_array_header_1_0(file, header)
        for first in range(0, len(voxels), _BATCH):
            file.write(np.ascontiguousarray(voxels[first : first + _BATCH]).data)
            yield


def _check_kind(volume_node: Node, modality: str) -> None:
    image = volume_node.GetImageData()
    if image is None or image.GetPointData().GetScalars() is None or 0 in image.GetDimensions():
        raise InputRefused("CT_NO_IMAGE", "The volume holds no image.", "Choose a head CT.")
    scalar = volume_node.IsA("vtkMRMLScalarVolumeNode") and not volume_node.IsA("vtkMRMLLabelMapVolumeNode")
    if not scalar or modality not in ("", "CT"):
        raise InputRefused("CT_NOT_CT", "The volume is no CT.", "Choose a head CT.")
    if image.GetNumberOfScalarComponents() != 1:
        raise InputRefused(
            "CT_NOT_ONE_VOLUME", "The volume has several values at every voxel, as a colour image.", "Choose a head CT."
        )
