"""The DICOM files that a volume node was loaded from: only they have every slice's true position."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from HemoCAMLib.ct import AIR_HU, read_head_ct
from HemoCAMLib.ct.reader import quiet_pydicom
from HemoCAMLib.errors import HemoCAMError
from HemoCAMLib.scene.bridge import Node, voxels_of
from HemoCAMLib.scene.steps import Steps, finish, in_background
from HemoCAMLib.scene.volume_grid import VolumeGrid

#: Where Slicer's DICOM reader notes the SOP instance UIDs of a volume, slice by slice.
INSTANCE_UIDS = "DICOM.instanceUIDs"

#: This share of a slice's pixels above air must be the file's for the volume to count as unchanged.
_SAME_PIXELS = 0.99

#: Files that the database is asked for in one step.
_BATCH = 8

#: Path of a file by SOP instance UID, empty or None where the database has none (``dicomDatabase.fileForInstance``).
FileOfUid = Callable[[str], "str | None"]


@dataclass(frozen=True)
class SeriesFiles:
    """The files of one series.

    Attributes:
        paths: one a slice, in the node's order; a single one where it holds all slices.
        series_instance_uid: what they share.
    """

    paths: tuple[Path, ...]
    series_instance_uid: str

    @property
    def folder(self) -> Path | None:
        """The folder that holds them all; None where they lie in several."""
        folders = {path.parent for path in self.paths}
        return folders.pop() if len(folders) == 1 else None

    def gathered(self, folder: Path) -> Path:
        """One folder with all of them: where they are, or links (copies where links cannot be made) in ``folder``."""
        return finish(self.gathered_steps(folder))

    def gathered_steps(self, folder: Path) -> Steps[Path]:
        """The same in small steps."""
        if self.folder is not None:
            return self.folder
        folder.mkdir(parents=True, exist_ok=True)
        for index, path in enumerate(self.paths):
            # Numbered: names of files may be those of patients.
            target = folder / f"{index:05d}.dcm"
            target.unlink(missing_ok=True)
            try:
                os.link(path, target)
            except OSError:
                shutil.copyfile(path, target)
            yield
        return folder


def files_of_volume_steps(volume_node: Node, file_of_uid: FileOfUid) -> Steps[SeriesFiles | None]:
    """The files of a volume node; None where it is not from DICOM or one of them is gone.

    Args:
        volume_node: a scalar volume.
        file_of_uid: asks the DICOM database.
    """
    uids, found = instance_uids(volume_node), []
    for index, uid in enumerate(uids):
        path = file_of_uid(uid)
        if not path or not Path(path).is_file():
            return None
        found.append(path)
        if index % _BATCH == _BATCH - 1:
            yield
    if not found:
        return None
    paths = tuple(dict.fromkeys(Path(path).absolute() for path in found))
    series_uid = yield from in_background(_series_uid, paths[0])
    return SeriesFiles(paths, series_uid) if series_uid else None


def instance_uids(volume_node: Node) -> Sequence[str]:
    """SOP instance UIDs of a volume's slices; none where it is not from DICOM."""
    return (volume_node.GetAttribute(INSTANCE_UIDS) or "").split()


def shows_files_steps(volume_node: Node, files: SeriesFiles) -> Steps[bool]:
    """Whether a node still has the voxels of its files: a copy that was cropped, filtered or resampled has not.

    The middle slice is looked at; a file that cannot be read by itself says nothing and counts as the same.
    """
    slices, rows, columns = VolumeGrid.of_node(volume_node).canonical_shape
    if len(files.paths) == 1:
        return True
    stored = voxels_of(volume_node.GetImageData())
    if len(files.paths) != stored.shape[0]:
        return False
    middle = stored.shape[0] // 2
    try:
        ct = yield from in_background(read_head_ct, files.paths[middle])
    except HemoCAMError:
        return True
    grid = VolumeGrid.of_node(volume_node)
    if slices != stored.shape[0] or ct.shape[1:] != (rows, columns):
        return False
    # The node's slices in its own order, each turned as the reader turns the file.
    order = grid.to_canonical(np.broadcast_to(np.arange(slices)[:, None, None], stored.shape))[:, 0, 0]
    shown = grid.to_canonical(stored)[int(np.flatnonzero(order == middle)[0])]
    above_air = (ct.hu[0] > AIR_HU) & (shown > AIR_HU)
    return bool(np.mean(np.abs(ct.hu[0][above_air] - shown[above_air]) <= 1) >= _SAME_PIXELS)


def _series_uid(path: Path) -> str:
    import pydicom

    try:
        with quiet_pydicom():
            header = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=["SeriesInstanceUID"])
        return str(header.get("SeriesInstanceUID", ""))
    except (OSError, pydicom.errors.InvalidDicomError):
        return ""
