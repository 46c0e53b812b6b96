"""Where two segmentations agree and where not, as three segments over the CT."""

from __future__ import annotations

import numpy as np

from HemoCAMLib.measure.agreement import Segmentation
from HemoCAMLib.measure.agreement.compare import truth_on_grid
from HemoCAMLib.measure.agreement.structures import mask_of
from HemoCAMLib.scene.bridge import Node, voxels_of
from HemoCAMLib.scene.label_map import blank_label_map
from HemoCAMLib.scene.placement import Placement
from HemoCAMLib.scene.segmentation_writer import new_segmentation_node
from HemoCAMLib.scene.segments import plain_segment
from HemoCAMLib.scene.steps import Steps, finish, in_background
from HemoCAMLib.subtypes import ANY

#: By label value: ID of the segment, name, colour. Names say what colours mean to those who cannot tell them apart.
OVERLAP_SEGMENTS = (
    (1, "both", "Both (true positive)", (46, 178, 80)),
    (2, "prediction", "HemoCAM only (false positive)", (222, 45, 38)),
    (3, "truth", "Truth only (missed)", (250, 210, 40)),
)

#: Label value where neither, the prediction alone, the truth alone, both mark a voxel.
_CODE_OF = np.array([0, 2, 3, 1], np.uint8)

#: Slices of one step.
_BATCH = 8


def add_overlap(
    volume_node: Node,
    placement: Placement,
    prediction: Segmentation,
    truth: Segmentation,
    structure: str = ANY,
    name: str = "Overlap",
) -> Node:
    """A segmentation node: green where both mark hemorrhage, red where only HemoCAM does, yellow where it missed some.

    Args:
        volume_node: the CT.
        placement: where the run's slices are in it.
        prediction: on the run's slices, such as :func:`~HemoCAMLib.scene.edited.corrected`.
        truth: of whatever grid; resampled as :func:`~HemoCAMLib.measure.agreement.compare_segmentations` does.
        structure: a subtype, or ``any``.
        name: of the node.

    Returns:
        ``vtkMRMLSegmentationNode``; segments without a voxel are not made.

    Raises:
        InputRefused: ``TRUTH_NO_OVERLAP``, the truth lies elsewhere in space.
    """
    return finish(add_overlap_steps(volume_node, placement, prediction, truth, structure, name))


def add_overlap_steps(
    volume_node: Node,
    placement: Placement,
    prediction: Segmentation,
    truth: Segmentation,
    structure: str = ANY,
    name: str = "Overlap",
) -> Steps[Node]:
    """The same in small steps; the node is added with the last."""
    true_members = yield from in_background(truth_on_grid, prediction, truth)
    image = blank_label_map(placement.grid)
    canonical = placement.grid.to_canonical(voxels_of(image))
    counts = np.zeros(4, np.int64)
    for index, place in enumerate(placement.places):
        found, true = mask_of(prediction.members[index], structure), mask_of(true_members[index], structure)
        if found.any() or true.any():
            codes = _CODE_OF[found.astype(np.uint8) + 2 * true.astype(np.uint8)]
            canonical[place] = codes
            counts += np.bincount(codes.ravel(), minlength=4)
        if index % _BATCH == _BATCH - 1:
            yield
    node = new_segmentation_node(volume_node, name)
    for label, segment_id, title, color in OVERLAP_SEGMENTS:
        if counts[label]:
            node.GetSegmentation().AddSegment(plain_segment(title, color, label, image), segment_id)
    return node
