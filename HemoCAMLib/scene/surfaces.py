"""Surfaces of the segments, which 3-D views draw, made one after the other."""

from __future__ import annotations

from HemoCAMLib.scene.bridge import Node, new_segment, new_segmentation
from HemoCAMLib.scene.segments import BINARY_LABELMAP
from HemoCAMLib.scene.steps import Steps

#: Name of the representation (``vtkSegmentationConverter``).
CLOSED_SURFACE = "Closed surface"

#: Smoothing doubles the time and does little for slices that are far apart.
_SMOOTHING = "0.0"


def surface_steps(segmentation_node: Node) -> Steps[int]:
    """Gives every segment that has none a closed surface; a step makes one of them.

    A surface goes by itself when its voxels change.

    Returns:
        how many were made.
    """
    made = 0
    segmentation = segmentation_node.GetSegmentation()
    for segment_id in [segmentation.GetNthSegmentID(number) for number in range(segmentation.GetNumberOfSegments())]:
        if segmentation_node.GetScene() is None:
            return made
        segment = segmentation.GetSegment(segment_id)
        if segment is None or segment.GetRepresentation(CLOSED_SURFACE) is not None:
            continue
        alone, copy = new_segmentation(), new_segment()
        copy.DeepCopy(segment)
        alone.SetSourceRepresentationName(BINARY_LABELMAP)
        alone.SetConversionParameter("Smoothing factor", _SMOOTHING)
        alone.AddSegment(copy, segment_id)
        if alone.CreateRepresentation(CLOSED_SURFACE, True):
            segment.AddRepresentation(CLOSED_SURFACE, copy.GetRepresentation(CLOSED_SURFACE))
            made += 1
        yield
    if made:
        segmentation_node.GetDisplayNode().Modified()
    return made


def drop_surfaces(segmentation_node: Node) -> None:
    """Takes all surfaces away."""
    segmentation_node.GetSegmentation().RemoveRepresentation(CLOSED_SURFACE)
