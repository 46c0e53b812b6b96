"""The scan of a result as the volume node has it, for when its files are not at hand."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from HemoCAMLib.ct import AIR_HU
from HemoCAMLib.errors import InputRefused
from HemoCAMLib.scene.bridge import voxels_of
from HemoCAMLib.scene.result_nodes import ResultNodes


def hu_of_node(shown: ResultNodes) -> NDArray[np.int16]:
    """[slice, row, column] HU of a result's slices; the node's own memory where that holds int16.

    Raises:
        InputRefused: ``CT_SOURCE_GONE``, the node holds no Hounsfield units.
    """
    placement = shown.placement
    voxels: NDArray[Any] = placement.run_slices(placement.grid.to_canonical(voxels_of(shown.volume.GetImageData())))
    middle = voxels[len(voxels) // 2]
    if middle.size == 0 or middle.min() >= 0:
        raise InputRefused(
            "CT_SOURCE_GONE",
            "The scan is no longer where it was when it was analysed.",
            "Switch off that outlines follow Hounsfield units.",
        )
    if voxels.dtype == np.int16:
        return voxels
    whole: NDArray[np.int16] = np.clip(np.rint(voxels), AIR_HU, np.iinfo(np.int16).max).astype(np.int16)
    return whole
