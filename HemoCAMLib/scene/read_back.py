"""From the scene: a segmentation or a label map of whatever origin, as something that can be measured and compared."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from HemoCAMLib.ct import SliceGeometry
from HemoCAMLib.ct.orientation import canonical_geometry, grid_from_affine, reorientation_of
from HemoCAMLib.errors import InputRefused
from HemoCAMLib.measure.agreement import Segmentation
from HemoCAMLib.measure.agreement.label_file import LabelSource
from HemoCAMLib.measure.agreement.mapping import NONE, read_mapping, told_subtypes
from HemoCAMLib.measure.agreement.read import segmentation_of_source
from HemoCAMLib.measure.agreement.resample import resample_nearest
from HemoCAMLib.scene.bridge import Matrix, Node, linear_between
from HemoCAMLib.scene.label_map import box_on_grid
from HemoCAMLib.scene.node_layers import LabelNode, Layer, read_label_node_steps
from HemoCAMLib.scene.placement import Placement
from HemoCAMLib.scene.steps import Steps, finish, in_background
from HemoCAMLib.scene.volume_grid import RAS_TO_LPS

Mapped = Mapping[str, str] | str | None

#: Slices that are looked up in one step.
_BATCH = 8


def read_segmentation_node(
    node: Node,
    volume_node: Node,
    placement: Placement,
    geometry: SliceGeometry | None = None,
    mapping: Mapped = None,
    *,
    role: str = "truth",
    ignore_unknown: bool = False,
) -> Segmentation:
    """A segmentation or label map node for :func:`~HemoCAMLib.measure.agreement.compare_segmentations`.

    Where it lies on the CT's grid its voxels are taken as they are, with the true positions of the run's slices. Where
    it has a grid of its own it is given on that; the comparison then resamples it and says so.

    Args:
        node: ``vtkMRMLSegmentationNode`` or ``vtkMRMLLabelMapVolumeNode``.
        volume_node: the CT.
        placement: where the run's slices are in it (:attr:`SceneResult.placement`).
        geometry: true positions of the run's slices (:attr:`Record.geometry`); None takes those of the volume.
        mapping: what the labels mean: by name or value, or the name of a data set; None guesses.
        role: ``truth`` or ``prediction``, for messages.
        ignore_unknown: leave segments out whose meaning is not known, with a note, instead of refusing.

    Raises:
        InputRefused: ``TRUTH_LABELS``, ``TRUTH_LABELS_AMBIGUOUS``, ``TRUTH_NOT_SEGMENTATION``, ``TRUTH_TRANSFORM``, or
            the same for ``PREDICTION``.
        UsageError: ``USAGE_MAP``.
    """
    return finish(
        read_segmentation_node_steps(
            node, volume_node, placement, geometry, mapping, role=role, ignore_unknown=ignore_unknown
        )
    )


def read_segmentation_node_steps(
    node: Node,
    volume_node: Node,
    placement: Placement,
    geometry: SliceGeometry | None = None,
    mapping: Mapped = None,
    *,
    role: str = "truth",
    ignore_unknown: bool = False,
) -> Steps[Segmentation]:
    """The same in small steps."""
    labels = yield from read_label_node_steps(node, volume_node, role=role)
    table, ignored = _table(labels, mapping, ignore_unknown)
    true = placement.grid.geometry if geometry is None else geometry
    to_volume = _between(node, volume_node)
    on_grid = None if to_volume is None else (yield from _on_grid_steps(labels, to_volume, placement))
    source, parts = _Source(labels, table, role), []
    if on_grid is not None:
        for layer, voxels in on_grid:
            parts.append((yield from source.named_steps(layer, voxels, true)))
        found = yield from source.combined_steps(parts, true)
        local = placement.grid.local_geometry
        found = replace(found, file_geometry=_chosen(local, placement.places))
    else:
        to_frame = _to_frame(node, volume_node, placement, to_volume, role)
        layers, shared = _on_one_grid(labels.layers)
        for layer in layers:
            parts.append((yield from source.placed_steps(layer, to_frame)))
        found = yield from source.combined_steps(parts, true, None if shared else placement.run_shape)
    return replace(found, notes=(*found.notes, *ignored))


def guess_mapping(node: Node) -> dict[str, str | None]:
    """What the labels of a node are taken for, for a table that the user can correct; None where that is unclear."""
    return finish(guess_mapping_steps(node))


def guess_mapping_steps(node: Node) -> Steps[dict[str, str | None]]:
    """The same in small steps."""
    labels = yield from read_label_node_steps(node)
    return labels.guessed()


class _Source:
    """Gives the labels of one node their meaning, layer by layer."""

    def __init__(self, labels: LabelNode, table: Mapping[str, str] | None, role: str) -> None:
        self._labels = labels
        self._table = table
        self._role = role
        self._has_meaning = labels.named or bool(table)

    def named_steps(self, layer: Layer, canonical: NDArray[Any], geometry: SliceGeometry) -> Steps[Segmentation]:
        """A layer's [slice, row, column] voxels as a segmentation."""
        members, found = np.zeros(canonical.shape, np.uint8), None
        for first in range(0, len(canonical), _BATCH):
            # Most slices have no label; looking each voxel of a long scan up would take a second.
            held = [index for index, plane in enumerate(canonical[first : first + _BATCH], first) if plane.any()]
            if held:
                found = self._named(layer, canonical[held], geometry)
                members[held] = found.members
            yield
        return replace(found or self._named(layer, canonical[:0], geometry), members=members)

    def _named(self, layer: Layer, canonical: NDArray[Any], geometry: SliceGeometry) -> Segmentation:
        """Some slices; what the labels mean is the same for all."""
        dataset = self._labels.dataset if self._table is None and not self._labels.named else None
        source = LabelSource("segmentation-node", canonical[None], geometry, layer.segments, self._has_meaning)
        try:
            return segmentation_of_source(source, self._table, dataset, role=self._role)
        except InputRefused as error:
            if not error.code.endswith(("_LABELS", "_LABELS_AMBIGUOUS")):
                raise
            # The advice of the command line is of no use to someone who looks at a panel.
            raise InputRefused(
                error.code, error.message, "Say for each label which hemorrhage it is.", error.detail
            ) from error

    def placed_steps(self, layer: Layer, to_frame: Matrix) -> Steps[Segmentation]:
        """A layer on its own grid, in the space of the analysis."""
        shape = layer.voxels.shape
        grid = grid_from_affine((shape[0], shape[1], shape[2]), RAS_TO_LPS @ to_frame @ layer.to_ras)
        turn = reorientation_of(grid)
        geometry, own = canonical_geometry(grid, turn, float(np.linalg.norm(grid.step_k_mm)))
        return (yield from self.named_steps(layer, own.to_canonical(layer.voxels), geometry))

    def combined_steps(
        self, parts: list[Segmentation], geometry: SliceGeometry, shape: tuple[int, int, int] | None = None
    ) -> Steps[Segmentation]:
        """All layers in one; with a shape each is resampled to the run's slices first."""
        if not parts:
            rows_columns = (1, 1) if shape is None else shape[1:]
            return Segmentation(np.zeros((geometry.slice_count, *rows_columns), np.uint8), geometry)
        if shape is not None:
            members = []
            for part in parts:
                resampled = yield from in_background(resample_nearest, part, geometry, shape)
                members.append(resampled.members)
            note = "The segments lie on several grids: each was resampled to the scan's voxels, nearest neighbour."
            parts = [replace(part, members=one, geometry=geometry) for part, one in zip(parts, members, strict=True)]
            parts[0] = replace(parts[0], notes=(note, *parts[0].notes))
        first = parts[0]
        targets = {name: target for part in parts for name, target in part.mapping.items()}
        # What one layer holds says nothing about what the others tell apart.
        told = told_subtypes(set(targets.values())) if self._has_meaning else first.subtypes
        together = first.members
        for part in parts[1:]:
            for start in range(0, len(together), _BATCH):
                together[start : start + _BATCH] |= part.members[start : start + _BATCH]
                yield
        return replace(
            first,
            members=together,
            subtypes=told,
            mapping=targets,
            notes=tuple(dict.fromkeys(note for part in parts for note in part.notes)),
        )


def _table(
    labels: LabelNode, mapping: Mapped, ignore_unknown: bool
) -> tuple[Mapping[str, str] | None, tuple[str, ...]]:
    """The mapping to use, and what to say about segments that are left out."""
    table = None if mapping is None else read_mapping(mapping)
    if not ignore_unknown or table is not None:
        return table, ()
    guessed = labels.guessed()
    unknown = [name for name, target in guessed.items() if target is None]
    if not unknown or not labels.named:
        return None, ()
    notes = tuple(f"The segment “{name}” is not counted: its name is that of no hemorrhage." for name in unknown)
    return read_mapping({name: target or NONE for name, target in guessed.items()}), notes


def _between(node: Node, volume_node: Node) -> Matrix | None:
    """[4, 4] from the node's own space to the volume's own; None where it is bent."""
    if node.GetTransformNodeID() == volume_node.GetTransformNodeID():
        return np.eye(4)
    return linear_between(node.GetParentTransformNode(), volume_node.GetParentTransformNode())


def _to_frame(node: Node, volume_node: Node, placement: Placement, to_volume: Matrix | None, role: str) -> Matrix:
    """[4, 4] from the node's own space to that of the analysis.

    Where the volume's transform bends, the analysis knows the true positions of slices, which are the world's.
    """
    bent_volume = linear_between(volume_node.GetParentTransformNode(), None) is None
    if not bent_volume and to_volume is not None:
        return placement.grid.frame @ np.linalg.inv(placement.grid.local) @ to_volume
    to_world = linear_between(node.GetParentTransformNode(), None)
    if to_world is None:
        raise InputRefused(
            f"{role.upper()}_TRANSFORM",
            f"The {role} has a grid of its own and is under a transform that bends it.",
            "Harden the transform on it first.",
        )
    return to_world


def _on_grid_steps(
    labels: LabelNode, to_volume: Matrix, placement: Placement
) -> Steps[list[tuple[Layer, NDArray[Any]]] | None]:
    """Every layer with its voxels in the run's [slice, row, column]; None where one has a grid of its own."""
    grid = placement.grid
    found = []
    for layer in labels.layers:
        whole, has_label = layer.voxels, bool(layer.voxels.any())
        boxes = box_on_grid(to_volume @ layer.to_ras, layer.voxels.shape, grid) if has_label else None
        if has_label and boxes is None:
            return None
        if boxes is None or layer.voxels.shape != grid.shape or boxes[0] != boxes[1]:
            whole = np.zeros(grid.shape, layer.voxels.dtype)
        if boxes is not None and whole is not layer.voxels:
            whole[boxes[1]] = layer.voxels[boxes[0]]
            if not whole.any():
                # It lies elsewhere: no truth without hemorrhage, but one of another place.
                return None
        found.append((layer, placement.run_slices(grid.to_canonical(whole))))
        yield
    return found


def _on_one_grid(layers: tuple[Layer, ...]) -> tuple[list[Layer], bool]:
    """The layers that hold a voxel, brought to one extent where they lie on one grid; and whether they do."""
    held = [layer for layer in layers if layer.voxels.any()]
    if len(held) < 2:
        return held or list(layers[:1]), True
    first, offsets = held[0], []
    for layer in held:
        index = np.linalg.inv(first.to_ras) @ layer.to_ras
        offset = np.rint(index[:3, 3]).astype(int)
        if np.abs(index[:3, :3] - np.eye(3)).max() > 1e-4 or np.abs(index[:3, 3] - offset).max() > 1e-2:
            return held, False
        offsets.append(offset)
    low = np.min(offsets, axis=0)
    high = np.max([offset + layer.voxels.shape[::-1] for offset, layer in zip(offsets, held, strict=True)], axis=0)
    to_ras = first.to_ras.copy()
    to_ras[:3, 3] += first.to_ras[:3, :3] @ low
    shape = tuple((high - low)[::-1].tolist())
    return [_widened(layer, shape, offset - low, to_ras) for layer, offset in zip(held, offsets, strict=True)], True


def _widened(layer: Layer, shape: tuple[int, ...], offset: NDArray[np.int_], to_ras: Matrix) -> Layer:
    voxels = np.zeros(shape, layer.voxels.dtype)
    box = tuple(
        slice(start, start + count) for start, count in zip(offset[::-1].tolist(), layer.voxels.shape, strict=True)
    )
    voxels[box] = layer.voxels
    return Layer(voxels, to_ras, layer.segments)


def _chosen(geometry: SliceGeometry, places: NDArray[np.intp]) -> SliceGeometry:
    return replace(geometry, positions_mm=geometry.positions_mm[places])
