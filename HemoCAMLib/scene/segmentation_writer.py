"""The label map of a run as one segmentation node, slice range by slice range."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from HemoCAMLib.scene.bridge import Node, VtkObject, announce, voxels_of
from HemoCAMLib.scene.label_map import blank_label_map, copy_label, covers
from HemoCAMLib.scene.placement import Placement
from HemoCAMLib.scene.segments import BINARY_LABELMAP, segment_of
from HemoCAMLib.subtypes import SUBTYPES


class SegmentationWriter:
    """Keeps a segmentation node in step with a label map that grows or changes.

    All segments share one label map on the volume's own grid, which is written in place: what an update costs depends
    on the slices that changed and not on the scan. :meth:`put` as often as slices arrive, :meth:`update` a few times a
    second: each makes everything that shows the node draw it anew.

    Once the node is gone from its scene nothing is written any more; nothing is ever added to a scene again.

    Args:
        node: ``vtkMRMLSegmentationNode`` in a scene, made by :func:`new_segmentation_node`.
        placement: where the run's slices are.
    """

    def __init__(self, node: Node, placement: Placement) -> None:
        self._node = node
        self._placement = placement
        self._image = blank_label_map(placement.grid)
        self._counts = np.zeros((placement.run_shape[0], len(SUBTYPES) + 1), np.int64)
        self._changed = False

    @property
    def is_open(self) -> bool:
        """Whether the node is still in its scene."""
        return self._node.GetScene() is not None

    @property
    def found(self) -> tuple[str, ...]:
        """Names of the subtypes that have a voxel."""
        totals = self._counts.sum(axis=0)
        return tuple(subtype.name for subtype in SUBTYPES if totals[subtype.label])

    def put(self, first: int, labels: NDArray[np.uint8]) -> bool:
        """Takes the labels of slices that follow each other; they show with the next :meth:`update`.

        Args:
            first: index of the first of them in the run.
            labels: [slices, rows, columns], 0 none, 1 IPH, 2 IVH, 3 SAH, 4 SDH, 5 EDH.

        Returns:
            whether the node is still there.

        Raises:
            ValueError: the labels are none of this run.
        """
        count, *size = labels.shape
        if (
            labels.ndim != 3
            or tuple(size) != self._placement.run_shape[1:]
            or not 0 <= first <= first + count <= len(self._counts)
        ):
            raise ValueError(f"labels {labels.shape} from slice {first} of a run of {self._placement.run_shape}")
        if not self.is_open:
            return False
        counts = np.stack([self._count(plane) for plane in labels]) if count else self._counts[:0]
        canonical = self._placement.grid.to_canonical(voxels_of(self._whole_image()))
        for index in range(first, first + count):
            shown = canonical[self._placement.places[index]]
            # Most slices are empty and stay so. What is there is looked at: an editor may have drawn in it.
            if counts[index - first, 1:].any() or shown.any():
                shown[...] = labels[index - first]
                self._changed = True
        self._counts[first : first + count] = counts
        return True

    def update(self, *, drop_empty: bool = False) -> bool:
        """Shows what was put since the last update.

        Args:
            drop_empty: remove segments that have lost their last voxel, as when a run is complete; else they stay,
                empty, for the next change of a threshold.

        Returns:
            whether the node is still there.
        """
        if not self.is_open:
            return False
        segmentation, found = self._node.GetSegmentation(), self.found
        was_modifying = self._node.StartModify()
        try:
            for subtype in SUBTYPES:
                present = segmentation.GetSegment(subtype.name) is not None
                if subtype.name in found and not present:
                    segmentation.AddSegment(segment_of(subtype, self._whole_image()), subtype.name)
                elif present and drop_empty and subtype.name not in found:
                    segmentation.RemoveSegment(subtype.name)
            if self._changed and segmentation.GetNumberOfSegments():
                announce(self._whole_image())
            self._changed = False
        finally:
            self._node.EndModify(was_modifying)
        return True

    def _count(self, plane: NDArray[np.uint8]) -> NDArray[np.int64]:
        """Voxels of a slice by label."""
        values = self._counts.shape[1]
        counts = np.bincount(plane.ravel(), minlength=values) if plane.any() else np.zeros(values, np.int64)
        if len(counts) > values:
            raise ValueError("labels above those of the subtypes")
        return counts

    def _whole_image(self) -> VtkObject:
        """The label map that the segments share, over the whole volume, also after an editor made another of it."""
        segmentation = self._node.GetSegmentation()
        segments = {subtype.label: segmentation.GetSegment(subtype.name) for subtype in SUBTYPES}
        present = {label: segment for label, segment in segments.items() if segment is not None}
        images = [segment.GetRepresentation(BINARY_LABELMAP) for segment in present.values()]
        if any(image is not self._image for image in images) or not covers(self._image, self._placement.grid):
            self._take_over(present)
        return self._image

    def _take_over(self, segments: dict[int, VtkObject]) -> None:
        """Brings segments by label into one label map over the whole volume again."""
        whole = blank_label_map(self._placement.grid)
        for label, segment in segments.items():
            copy_label(segment, whole, label, self._placement.grid)
        for label, segment in segments.items():
            segment.SetLabelValue(label)
            segment.AddRepresentation(BINARY_LABELMAP, whole)
        self._image = whole


def new_segmentation_node(volume_node: Node, name: str) -> Node:
    """An empty segmentation node beside a volume: its geometry, its parent transform, its scene."""
    node = volume_node.GetScene().AddNewNodeByClass("vtkMRMLSegmentationNode", name)
    node.SetAndObserveTransformNodeID(volume_node.GetTransformNodeID())
    node.SetReferenceImageGeometryParameterFromVolumeNode(volume_node)
    node.CreateDefaultDisplayNodes()
    return node
