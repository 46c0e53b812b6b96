"""What the application's views show of a result, and where. Does nothing where there is no window."""

from __future__ import annotations

from typing import Any

import numpy as np
import slicer

from HemoCAMLib.scene import SceneResult, VolumeGrid
from HemoCAMLib.scene.bridge import Node, array_of_matrix, linear_between
from HemoCAMLib.scene.placement import Placement
from HemoCAMLib.scene.volume_grid import RAS_TO_LPS

#: The slice view that follows the strip.
STRIP_VIEW = "Red"

#: Slices tilted by more than this are shown in their own plane.
_TILTED_DEG = 0.5


class Views:
    """Slice views, 3-D view and layout of the application."""

    @property
    def _manager(self) -> Any:
        return slicer.app.layoutManager()

    @property
    def there(self) -> bool:
        """Whether the application has views at all."""
        return self._manager is not None

    @property
    def has_space(self) -> bool:
        """Whether a 3-D view is shown."""
        return self.there and int(self._manager.threeDViewCount) > 0

    def use_layout(self) -> None:
        """Slices and 3-D side by side, unless the present layout has both."""
        if not self.there:
            return
        node = slicer.vtkMRMLLayoutNode
        fitting = (
            node.SlicerLayoutConventionalView,
            node.SlicerLayoutFourUpView,
            node.SlicerLayoutConventionalWidescreenView,
            node.SlicerLayoutConventionalPlotView,
            node.SlicerLayoutFourUpPlotView,
            node.SlicerLayoutFourUpTableView,
        )
        if self._manager.layout not in fitting:
            self._manager.setLayout(node.SlicerLayoutFourUpView)

    def show_volume(self, volume: Node, heat_map: Node | None, opacity: float, *, fit: bool = False) -> None:
        """The CT behind, a heat map over it."""
        if self.there and self._manager.sliceViewNames():
            slicer.util.setSliceViewerLayers(
                background=volume,
                foreground=heat_map,
                foregroundOpacity=opacity if heat_map is not None else 0.0,
                fit=fit,
            )

    def set_opacity(self, opacity: float) -> None:
        """Of the heat map."""
        if self.there:
            slicer.util.setSliceViewerLayers(foregroundOpacity=opacity)

    def jump(self, ras: tuple[float, float, float]) -> None:
        """Brings a place into all slice views."""
        slicer.vtkMRMLSliceNode.JumpAllSlices(slicer.mrmlScene, *ras, slicer.vtkMRMLSliceNode.CenteredJumpSlice)

    def go_to_slice(self, ras: tuple[float, float, float]) -> None:
        """Moves the view that follows the strip to a place, and leaves the others."""
        node = self.strip_node()
        if node is not None:
            node.JumpSliceByOffsetting(*ras)

    def align(self, volume: Node) -> None:
        """Shows tilted slices as they were taken: in the plane of the scan."""
        node = self.strip_node()
        if node is not None:
            node.RotateToVolumePlane(volume)

    def look_at(self, ras: tuple[float, float, float]) -> None:
        """Turns the 3-D views to a place."""
        if not self.there:
            return
        for number in range(self._manager.threeDViewCount):
            view = self._manager.threeDWidget(number).threeDView()
            view.resetFocalPoint()
            camera = view.cameraNode()
            if camera is not None:
                camera.SetFocalPoint(*ras)

    def strip_node(self) -> Node | None:
        """Slice node of the view that follows the strip."""
        scene = slicer.mrmlScene
        nodes = (
            scene.GetNthNodeByClass(n, "vtkMRMLSliceNode")
            for n in range(scene.GetNumberOfNodesByClass("vtkMRMLSliceNode"))
        )
        return next((node for node in nodes if node.GetLayoutName() == STRIP_VIEW), None)


class SlicePosition:
    """Which slice of a result a slice view is at.

    Args:
        shown: the result; its placement is read once.
    """

    def __init__(self, shown: SceneResult) -> None:
        self.placement: Placement = shown.placement
        grid: VolumeGrid = self.placement.grid
        geometry = grid.local_geometry
        self._offsets_mm = geometry.offsets_mm[self.placement.places]
        self._normal = geometry.normal
        self._from_world = linear_between(None, shown.volume.GetParentTransformNode())

    def index_of(self, slice_node: Node) -> int | None:
        """The slice nearest to the middle of the view; None where a transform bends the scan."""
        if self._from_world is None or self._offsets_mm.size == 0:
            return None
        middle = array_of_matrix(slice_node.GetSliceToRAS())[:, 3]
        local = (RAS_TO_LPS @ self._from_world @ middle)[:3]
        offset = float(local @ self._normal)
        return int(np.abs(self._offsets_mm - offset).argmin())
