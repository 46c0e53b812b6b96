"""The phantom in Slicer's Sample Data module: made on this computer, nothing is downloaded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import slicer
from numpy.typing import NDArray

from HemoCAMLib.resources import resource_folder
from HemoCAMLib.sample.recipe import SampleRecipe
from HemoCAMLib.scene import SegmentationWriter, VolumeGrid, new_segmentation_node, place_run
from HemoCAMLib.scene.bridge import Matrix, Node, matrix_of_array
from HemoCAMLib.scene.volume_grid import RAS_TO_LPS

CATEGORY, SAMPLE_NAME = "HemoCAM", "HemoCAMPhantom"

VOLUME_NAME, TRUTH_NAME = "HemoCAM phantom", "HemoCAM phantom truth"


def register_sample_data(thumbnail: str | Path | None = None) -> bool:
    """Offers the phantom in the Sample Data module; call it once the application has started.

    Args:
        thumbnail: picture on its button.

    Returns:
        False where the application has no Sample Data module.
    """
    try:
        import SampleData  # type: ignore[import-not-found]
    except ImportError:
        return False
    SampleData.SampleDataLogic.registerCustomSampleDataSource(
        category=CATEGORY,
        sampleName=SAMPLE_NAME,
        # No address: the button calls the function below, and nothing is fetched.
        uris=[],
        fileNames=[],
        nodeNames=[],
        customDownloader=load_phantom,
        thumbnailFileName=str(thumbnail) if thumbnail is not None else None,
    )
    return True


def load_phantom(source: Any = None) -> list[Node]:
    """Puts the phantom and its truth into the scene.

    The slices of the phantom are tilted and not evenly spaced; a volume node has one step, so their mean is shown and
    analysed. ``hemocam sample`` writes the series with its true positions.

    Args:
        source: what the Sample Data module hands over; not looked at.

    Returns:
        the CT, a segmentation with its true hemorrhage.
    """
    recipe = SampleRecipe.load(resource_folder("sample"))
    volume, truth = add_phantom(recipe, recipe.noisy_hu())
    if slicer.util.mainWindow() is not None:
        slicer.util.setSliceViewerLayers(background=volume, fit=True)
    return [volume, truth]


def add_phantom(recipe: SampleRecipe, voxels_hu: NDArray[np.int16]) -> tuple[Node, Node]:
    """A volume node with [slice, row, column] voxels of a recipe, and a hidden segmentation with its truth."""
    volume = slicer.util.addVolumeFromArray(voxels_hu, matrix_of_array(_ijk_to_ras(recipe)), VOLUME_NAME)
    display = volume.GetDisplayNode()
    display.SetAutoWindowLevel(False)
    display.SetWindowLevel(80, 40)
    truth = new_segmentation_node(volume, TRUTH_NAME)
    slices, rows, columns = recipe.labels.shape
    writer = SegmentationWriter(truth, place_run(volume, VolumeGrid.of_node(volume), (slices, rows, columns)))
    writer.put(0, recipe.labels)
    writer.update()
    truth.SetDisplayVisibility(False)
    return volume, truth


def _ijk_to_ras(recipe: SampleRecipe) -> Matrix:
    geometry = recipe.geometry
    row_mm, column_mm = geometry.pixel_spacing_mm
    first, last = geometry.positions_mm[0], geometry.positions_mm[-1]
    to_lps = np.eye(4)
    to_lps[:3, 0] = geometry.row_direction * column_mm
    to_lps[:3, 1] = geometry.column_direction * row_mm
    to_lps[:3, 2] = (last - first) / (geometry.slice_count - 1)
    to_lps[:3, 3] = first
    return RAS_TO_LPS @ to_lps
