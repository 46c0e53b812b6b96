"""Surfaces of segments: one after the other, gone when voxels change, made again when asked for."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

pytestmark = pytest.mark.slicer_core


@pytest.fixture
def segmentation() -> Any:
    """Two cubes of 4 x 4 x 4 voxels of 1 mm."""
    pytest.importorskip("slicer", reason="slicer-core is not installed")
    from mrml_nodes import new_scene, volume_node

    from HemoCAMLib.scene import SegmentationWriter, VolumeGrid, new_segmentation_node, place_run

    scene = new_scene()
    volume = volume_node(scene, np.zeros((12, 16, 16), np.int16), np.eye(4))
    node = new_segmentation_node(volume, "cubes")
    grid = VolumeGrid.of_node(volume)
    writer = SegmentationWriter(node, place_run(volume, grid, grid.canonical_shape))
    labels = np.zeros(grid.canonical_shape, np.uint8)
    labels[3:7, 3:7, 3:7], labels[3:7, 10:14, 10:14] = 1, 4
    writer.put(0, labels)
    writer.update()
    node.writer, node.labels, node.scene = writer, labels, scene
    return node


def surface_volume_mm3(segment: Any) -> float:
    import vtk

    mass = vtk.vtkMassProperties()
    triangles = vtk.vtkTriangleFilter()
    triangles.SetInputData(segment.GetRepresentation("Closed surface"))
    mass.SetInputConnection(triangles.GetOutputPort())
    return float(mass.GetVolume())


def test_every_segment_gets_a_surface_around_its_voxels_in_a_step_of_its_own(segmentation: Any) -> None:
    from HemoCAMLib.scene.surfaces import surface_steps

    steps = surface_steps(segmentation)
    next(steps)
    made = [
        segmentation.GetSegmentation().GetSegment(name).GetRepresentation("Closed surface") for name in ("IPH", "SDH")
    ]
    assert made[0] is not None
    assert made[1] is None
    assert sum(1 for _ in steps) == 1
    for name in ("IPH", "SDH"):
        # The corners of a cube of voxels are cut off.
        assert 45 < surface_volume_mm3(segmentation.GetSegmentation().GetSegment(name)) <= 64


def test_a_surface_goes_when_its_voxels_change(segmentation: Any) -> None:
    from HemoCAMLib.scene import finish
    from HemoCAMLib.scene.surfaces import drop_surfaces, surface_steps

    assert finish(surface_steps(segmentation)) == 2
    assert finish(surface_steps(segmentation)) == 0
    segmentation.writer.put(0, np.where(segmentation.labels == 4, 0, segmentation.labels).astype(np.uint8))
    segmentation.writer.update()
    first = segmentation.GetSegmentation().GetSegment("IPH")
    assert first.GetRepresentation("Closed surface") is None
    finish(surface_steps(segmentation))
    assert first.GetRepresentation("Closed surface") is not None
    drop_surfaces(segmentation)
    assert first.GetRepresentation("Closed surface") is None
    assert first.GetRepresentation("Binary labelmap") is not None
