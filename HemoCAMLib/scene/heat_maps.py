"""Activation maps as volumes over the CT, at the maps' own resolution."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from HemoCAMLib.run.map_settings import LOCAL_LOGIT
from HemoCAMLib.scene.bridge import Node, Scene, announce, blank_image, matrix_of_array, voxels_of
from HemoCAMLib.scene.placement import Placement
from HemoCAMLib.scene.result_folder import belongings_of, remove_unused
from HemoCAMLib.scene.steps import Steps, finish
from HemoCAMLib.subtypes import subtype_named

#: Shown from here on where nothing else is said: less is no evidence.
LOWEST_SHOWN = 0.05

#: Dark to bright with steadily growing lightness, so that it also reads without colour: (value, red, green, blue).
_HEAT_STOPS = np.array(
    [(0.0, 40, 11, 84), (0.25, 120, 28, 109), (0.5, 188, 55, 84), (0.75, 237, 105, 37), (1.0, 252, 230, 140)]
)
_COLORS = 256

#: Values that are written at once: some milliseconds.
_BATCH_VALUES = 1 << 20


class HeatMaps:
    """One volume a subtype, made when the subtype is first asked for, under one colour node.

    Local logits are shown as the probability of the place, 0 to 1. Maps of other methods have no scale of their own:
    their positive part is divided by the largest value of that subtype so far, so that the colours mean the same.

    Args:
        volume_node: the CT; its parent transform is shared, so slices lie where those of the CT are.
        placement: where the run's slices are.
        classes: class names of the model, in the order of the maps.
        method: name of the map method (``settings.map.method`` of a run).
        thresholds: by subtype: a map is shown above this, 0 to 1; :data:`LOWEST_SHOWN` where none is given.
    """

    def __init__(
        self,
        volume_node: Node,
        placement: Placement,
        classes: Sequence[str],
        method: str = LOCAL_LOGIT,
        thresholds: Mapping[str, float] | None = None,
    ) -> None:
        self._volume_node = volume_node
        self._placement = placement
        self._rows = {name: row for row, name in enumerate(classes)}
        self._is_logit = method == LOCAL_LOGIT
        self._thresholds = dict(thresholds or {})
        self._maps: dict[str, NDArray[np.float32]] = {}
        self._nodes: dict[str, Node] = {}
        self._color_node: Node | None = None
        #: By subtype: the largest value so far, and the slices that the node does not show yet, first to one past last.
        self._largest: dict[str, float] = {}
        self._changed: dict[str, tuple[int, int]] = {}

    @property
    def nodes(self) -> dict[str, Node]:
        """Volume nodes by subtype; one that the user deleted is not made again."""
        return {name: node for name, node in self._nodes.items() if node.GetScene() is not None}

    @property
    def color_node(self) -> Node | None:
        """The colours of all maps; None while there is no map."""
        return self._color_node

    @property
    def is_open(self) -> bool:
        """Whether the CT is still in its scene."""
        return self._volume_node.GetScene() is not None

    def put(self, first: int, maps: NDArray[np.floating[Any]], names: Iterable[str]) -> bool:
        """Takes maps of slices that follow each other; they show with the next :meth:`update`.

        Args:
            first: index of the first slice in the run.
            maps: [slices, class, h, w] as a run folder holds them; not a number where no map was made.
            names: subtypes to keep; others are left aside.

        Returns:
            whether the CT is still there.
        """
        if not self.is_open:
            return False
        for name in names:
            if name not in self._rows:
                continue
            if name not in self._maps:
                self._maps[name] = np.zeros((self._placement.run_shape[0], *maps.shape[2:]), np.float32)
            values = np.asarray(maps[:, self._rows[name]], np.float32)
            missing = ~np.isfinite(values)
            shown = expit(values) if self._is_logit else np.maximum(values, 0)
            shown[missing] = 0
            last = first + len(maps)
            self._maps[name][first:last] = shown
            begin, end = self._changed.get(name, (first, last))
            largest = float(shown.max(initial=0.0))
            if not self._is_logit and largest > self._largest.get(name, 0.0):
                self._largest[name] = largest
                begin, end = 0, len(self._maps[name])
            self._changed[name] = min(begin, first), max(end, last)
        return True

    def update(self) -> bool:
        """Shows what was put since the last update.

        Returns:
            whether the CT is still there.
        """
        return finish(self.update_steps())

    def update_steps(self) -> Steps[bool]:
        """The same in small steps; a map is drawn anew once all of it is written."""
        for name in sorted(self._changed):
            if not self.is_open:
                return False
            yield from self._show_steps(name, *self._changed.pop(name))
        return self.is_open

    def keep_only(self, names: Collection[str]) -> None:
        """Takes the maps of all other subtypes out of the scene."""
        for name, node in self.nodes.items():
            if name not in names:
                scene, belongings = node.GetScene(), belongings_of(node)
                scene.RemoveNode(node)
                remove_unused(scene, belongings)
                self._nodes.pop(name)
                self._maps.pop(name)
                self._changed.pop(name, None)

    def _show_steps(self, name: str, begin: int, end: int) -> Steps[None]:
        values, largest = self._maps[name], np.float32(self._largest.get(name, 0.0) or 1.0)
        placement = self._placement
        if name not in self._nodes:
            self._nodes[name] = self._new_node(name, values.shape[1:])
        node, count = self._nodes[name], max(1, _BATCH_VALUES // values[0].size)
        for first in range(begin, end, count):
            if node.GetScene() is None:
                return
            last = min(first + count, end)
            shown = placement.grid.to_canonical(voxels_of(node.GetImageData()))
            shown[placement.places[first:last]] = values[first:last] / largest
            if last < end:
                yield
        announce(node.GetImageData())

    def _new_node(self, name: str, map_shape: tuple[int, ...]) -> Node:
        scene: Scene = self._volume_node.GetScene()
        if self._color_node is None or self._color_node.GetScene() is None:
            self._color_node = _heat_colors(scene)
        grid = self._placement.grid
        blank = np.broadcast_to(np.uint8(0), (grid.canonical_shape[0], *map_shape))
        node = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", f"{name} activation")
        node.SetAndObserveTransformNodeID(self._volume_node.GetTransformNodeID())
        node.SetIJKToRASMatrix(matrix_of_array(grid.coarse_to_local((map_shape[0], map_shape[1]))))
        node.SetDescription(f"Where the network sees {subtype_named(name).title.lower()}, 0 to 1.")
        # Before it has an image, of which Slicer would work a window out at once.
        node.CreateDefaultDisplayNodes()
        display = node.GetDisplayNode()
        display.AutoWindowLevelOff()
        node.SetAndObserveImageData(blank_image(grid.to_stored(blank).shape))
        display.SetAndObserveColorNodeID(self._color_node.GetID())
        display.SetWindowLevelMinMax(0.0, 1.0)
        display.SetInterpolate(True)
        show_above(node, self._thresholds.get(name, LOWEST_SHOWN))
        return node


def show_above(heat_map_node: Node, threshold: float) -> None:
    """Leaves out of the picture what a map has below a value, 0 to 1; voxels stay as they are."""
    display = heat_map_node.GetDisplayNode()
    display.AutoThresholdOff()
    display.SetThreshold(float(threshold), 1.0)
    display.ApplyThresholdOn()


def _heat_colors(scene: Scene) -> Node:
    node = scene.AddNewNodeByClass("vtkMRMLColorTableNode", "HemoCAM heat")
    node.SetTypeToUser()
    node.SetNumberOfColors(_COLORS)
    node.HideFromEditorsOff()
    values = np.linspace(0, 1, _COLORS)
    channels = [np.interp(values, _HEAT_STOPS[:, 0], _HEAT_STOPS[:, column]) / 255 for column in (1, 2, 3)]
    for index, color in enumerate(np.stack(channels, axis=1).tolist()):
        node.SetColor(index, f"{values[index]:.2f}", *color, 1.0)
    return node
