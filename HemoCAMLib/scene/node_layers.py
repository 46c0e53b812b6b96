"""The label maps inside a segmentation or label map node, as arrays with their place."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from HemoCAMLib.errors import InputRefused
from HemoCAMLib.measure.agreement.label_file import dataset_of
from HemoCAMLib.measure.agreement.mapping import SourceSegment, guess_target
from HemoCAMLib.scene.bridge import (
    Matrix,
    Node,
    VtkObject,
    copy_of_segmentation,
    first_voxel,
    image_array_matrix,
    volume_matrix,
    voxels_of,
)
from HemoCAMLib.scene.segments import BINARY_LABELMAP, region_code_of
from HemoCAMLib.scene.steps import Steps

#: Label value of a segment without a voxel: no layer holds it.
_NO_VALUE = 65535

#: Planes that are looked through in one step.
_BATCH = 4


@dataclass(frozen=True, eq=False)
class Layer:
    """One label map.

    Attributes:
        voxels: [k, j, i] whole numbers, the node's own memory.
        to_ras: [4, 4] index into ``voxels``, from 0, to mm RAS in the node's own space.
        segments: its labels; their ``layer`` is always 0.
    """

    voxels: NDArray[Any]
    to_ras: Matrix
    segments: tuple[SourceSegment, ...]


@dataclass(frozen=True, eq=False)
class LabelNode:
    """What a node holds.

    Attributes:
        layers: label maps; overlapping segments lie in different ones.
        named: whether labels have names that mean something.
        dataset: the known data set that the node's file looks like, or None.
    """

    layers: tuple[Layer, ...]
    named: bool
    dataset: str | None = None

    @property
    def segments(self) -> tuple[SourceSegment, ...]:
        """Of all layers."""
        return tuple(segment for layer in self.layers for segment in layer.segments)

    def guessed(self) -> dict[str, str | None]:
        """By name of a segment: the subtype, ``any`` or ``none`` that it is taken for; None where that is unclear."""
        return {
            segment.name: guess_target(segment.name, segment.region_code) if self.named else None
            for segment in self.segments
        }


def read_label_node_steps(node: Node, reference_volume: Node | None = None, *, role: str = "truth") -> Steps[LabelNode]:
    """The label maps of a segmentation node or of a label map volume node.

    Slicer turns surfaces into voxels in a single step.

    Args:
        node: left as it is; surfaces are turned into voxels in a copy.
        reference_volume: gives the grid for that.
        role: ``truth`` or ``prediction``, for messages.

    Raises:
        InputRefused: ``TRUTH_NOT_SEGMENTATION``, or the same for ``PREDICTION``.
    """
    if node.IsA("vtkMRMLSegmentationNode"):
        return _of_segmentation(node, reference_volume, role)
    if node.IsA("vtkMRMLLabelMapVolumeNode") and node.GetImageData() is not None:
        return (yield from _of_label_map_steps(node))
    raise InputRefused(
        f"{role.upper()}_NOT_SEGMENTATION",
        f"The {role} is neither a segmentation nor a label map.",
        "Choose a segmentation, or convert the volume to a label map.",
    )


def _of_segmentation(node: Node, reference_volume: Node | None, role: str) -> LabelNode:
    segmentation = node.GetSegmentation()
    if segmentation.GetNumberOfSegments() and not segmentation.ContainsRepresentation(BINARY_LABELMAP):
        segmentation = _in_voxels(node, reference_volume, role)
    layers = []
    for index in range(segmentation.GetNumberOfLayers(BINARY_LABELMAP)):
        image = segmentation.GetLayerDataObject(index, BINARY_LABELMAP)
        ids = segmentation.GetSegmentIDsForLayer(index, BINARY_LABELMAP)
        segments = tuple(_segment(segmentation.GetSegment(name)) for name in ids)
        layers.append(_layer(image, segments))
    return LabelNode(tuple(layers), named=True)


def _segment(segment: VtkObject) -> SourceSegment:
    value = int(segment.GetLabelValue())
    return SourceSegment(segment.GetName() or "", value, 0, region_code_of(segment.GetTerminology() or ""))


def _layer(image: VtkObject | None, segments: tuple[SourceSegment, ...]) -> Layer:
    if image is None or image.IsEmpty() or image.GetPointData().GetScalars() is None:
        empty = tuple(SourceSegment(one.name, _NO_VALUE, 0, one.region_code) for one in segments)
        return Layer(np.zeros((1, 1, 1), np.uint8), np.eye(4), empty)
    return Layer(voxels_of(image), image_array_matrix(image), segments)


def _in_voxels(node: Node, reference_volume: Node | None, role: str) -> VtkObject:
    copy = copy_of_segmentation(node.GetSegmentation())
    if reference_volume is not None:
        matrix, extent = volume_matrix(reference_volume), reference_volume.GetImageData().GetExtent()
        numbers = [*matrix.ravel().tolist(), *extent]
        copy.SetConversionParameter("Reference image geometry", "".join(f"{number:.17g};" for number in numbers))
    if not copy.CreateRepresentation(BINARY_LABELMAP):
        raise InputRefused(
            f"{role.upper()}_NOT_SEGMENTATION",
            f"The {role}'s segments cannot be turned into voxels.",
            "Create their binary labelmap representation in the Segmentations module.",
        )
    return copy


def _of_label_map_steps(node: Node) -> Steps[LabelNode]:
    image = node.GetImageData()
    voxels, found = voxels_of(image), set[int]()
    for index, plane in enumerate(voxels):
        if plane.any():
            found.update(np.unique(plane).tolist())
        if index % _BATCH == _BATCH - 1:
            yield
    values = sorted(int(value) for value in found if value > 0)
    names = _color_names(node, values)
    segments = tuple(SourceSegment(names.get(value, str(value)), value) for value in values)
    layer = Layer(voxels, volume_matrix(node) @ first_voxel(image), segments)
    storage = node.GetStorageNode()
    file = storage.GetFileName() if storage is not None else None
    return LabelNode((layer,), named=bool(names), dataset=dataset_of(Path(file)) if file else None)


def _color_names(node: Node, values: list[int]) -> dict[int, str]:
    """Names of the label values by the node's colours, where every one of them says what it is; else none.

    Slicer gives a label map general colours whose names ("tissue", "bone") have nothing to do with it.
    """
    display = node.GetDisplayNode()
    colors = display.GetColorNode() if display is not None else None
    if colors is None:
        return {}
    names = {value: colors.GetColorName(value) or "" for value in values}
    return names if all(guess_target(name) is not None for name in names.values()) else {}
