"""A finished run folder put into the scene, beside the CT that it was made from."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import slicer
from numpy.typing import ArrayLike

from HemoCAMLib.ct import read_head_ct
from HemoCAMLib.errors import InputRefused
from HemoCAMLib.panel.analysis_result import AnalysisResult
from HemoCAMLib.run.folder import RunFolder
from HemoCAMLib.run.result import Result
from HemoCAMLib.run.source import series_uid_of
from HemoCAMLib.scene import SceneResult, VolumeGrid, frame_in_job
from HemoCAMLib.scene.bridge import Node, matrix_of_array
from HemoCAMLib.scene.volume_grid import RAS_TO_LPS

CT_NAME = "HemoCAM CT"


def open_run(folder: str | Path, volume_node: Node | None = None) -> AnalysisResult:
    """Shows a finished run; needs neither network nor torch.

    Args:
        folder: of the run.
        volume_node: the CT that it was made from; None reads the scan anew, from the run folder or from where it was.

    Raises:
        WorkerFailed: the folder holds no finished run (``WORKER_INCOMPLETE``), or one of another version.
        InputRefused: the volume is another scan (``CT_OTHER_SERIES``), or the scan is gone (``CT_SOURCE_GONE``).
    """
    result = Result.load(folder)
    run = RunFolder(result.folder)
    made = None
    if volume_node is None:
        volume_node = made = add_scan(result)
    try:
        grid = VolumeGrid.of_node(volume_node, None if made is not None else frame_in_job(run, volume_node))
        return AnalysisResult(SceneResult.open_run(volume_node, grid, result))
    except BaseException:
        if made is not None:
            slicer.mrmlScene.RemoveNode(made)
        raise


def add_scan(result: Result) -> Node:
    """The scan of a run as a new volume node.

    A node has one step for all slices: where the scan's differ, it is shown with their mean.
    """
    run = RunFolder(result.folder)
    job = run.read_job()
    if job.ijk_to_ras is not None:
        if not run.input_array_path.is_file():
            raise _gone()
        return _volume(np.load(run.input_array_path, allow_pickle=False), np.array(job.ijk_to_ras))
    if not Path(job.input).exists():
        raise _gone()
    ct = read_head_ct(job.input, series_uid=series_uid_of(result), allow_gaps=True)
    to_lps = np.eye(4)
    to_lps[:3, :3] = ct.grid.directions_lps_mm
    to_lps[:3, 3] = ct.grid.origin_lps_mm
    return _volume(np.ascontiguousarray(ct.grid.to_stored(ct.hu)), RAS_TO_LPS @ to_lps)


def _volume(voxels: ArrayLike, ijk_to_ras: ArrayLike) -> Node:
    return slicer.util.addVolumeFromArray(np.asarray(voxels), matrix_of_array(ijk_to_ras), CT_NAME)


def _gone() -> InputRefused:
    return InputRefused(
        "CT_SOURCE_GONE", "The scan is no longer where it was when it was analysed.", "Load it and choose its volume."
    )
