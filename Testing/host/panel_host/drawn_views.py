"""Slicer's own slice and 3-D views drawn to arrays, without a window: its slice logics and displayable managers."""

from __future__ import annotations

from typing import Any

import numpy as np
import slicer
import vtk
from numpy.typing import NDArray
from vtk.util.numpy_support import vtk_to_numpy

Picture = NDArray[np.uint8]


class _Drawn:
    """A render window off the screen with the displayable managers of a view."""

    def __init__(self, factory: Any, managers: tuple[str, ...], application_logic: Any, size: tuple[int, int]) -> None:
        self.size = size
        self.renderer = vtk.vtkRenderer()
        self.window = vtk.vtkRenderWindow()
        self.window.SetShowWindow(False)
        self.window.SetOffScreenRendering(1)
        self.window.SetMultiSamples(0)
        self.window.SetSize(*size)
        self.window.AddRenderer(self.renderer)
        self.interactor = vtk.vtkRenderWindowInteractor()
        self.interactor.SetRenderWindow(self.window)
        instance = factory.GetInstance()
        instance.SetMRMLApplicationLogic(application_logic)
        for manager in managers:
            if not instance.IsDisplayableManagerRegistered(manager):
                instance.RegisterDisplayableManager(manager)
        self.group = slicer.vtkMRMLDisplayableManagerGroup()
        self.group.SetRenderer(self.renderer)
        self.group.Initialize(instance, self.renderer)

    def picture(self) -> Picture:
        """[row, column, RGB], drawn now."""
        self.window.Render()
        grabber = vtk.vtkWindowToImageFilter()
        grabber.SetInput(self.window)
        grabber.ReadFrontBufferOff()
        grabber.Update()
        image = grabber.GetOutput()
        columns, rows, _ = image.GetDimensions()
        pixels = vtk_to_numpy(image.GetPointData().GetScalars()).reshape(rows, columns, 3)
        return np.ascontiguousarray(pixels[::-1])

    def close(self) -> None:
        """Before the scene is."""
        self.group.SetMRMLDisplayableNode(None)
        self.window.Finalize()


class DrawnSlice(_Drawn):
    """One of the application's slice views, as it is set now.

    Args:
        logic: ``vtkMRMLSliceLogic`` of the view.
        application_logic: of the application.
        size: (width, height) in pixels.
    """

    def __init__(self, logic: Any, application_logic: Any, size: tuple[int, int] = (480, 480)) -> None:
        managers = ("vtkMRMLSegmentationsDisplayableManager2D", "vtkMRMLModelSliceDisplayableManager")
        super().__init__(slicer.vtkMRMLSliceViewDisplayableManagerFactory, managers, application_logic, size)
        self.logic = logic
        self.renderer.GetActiveCamera().ParallelProjectionOn()
        node = logic.GetSliceNode()
        node.SetDimensions(*size, 1)
        logic.ResizeSliceNode(*size)
        mapper = vtk.vtkImageMapper()
        mapper.SetColorWindow(255)
        mapper.SetColorLevel(127.5)
        mapper.SetInputConnection(logic.GetImageDataConnection())
        actor = vtk.vtkActor2D()
        actor.SetMapper(mapper)
        actor.GetProperty().SetDisplayLocationToBackground()
        self.renderer.AddViewProp(actor)
        self.group.SetMRMLDisplayableNode(node)

    def fit(self, zoom: float = 1.0) -> None:
        """Shows the whole volume, or a part of it larger."""
        self.logic.FitSliceToAll(*self.size)
        node = self.logic.GetSliceNode()
        view = node.GetFieldOfView()
        node.SetFieldOfView(view[0] / zoom, view[1] / zoom, view[2])


class DrawnSpace(_Drawn):
    """A 3-D view of what the scene shows in 3-D."""

    def __init__(self, scene: Any, application_logic: Any, size: tuple[int, int] = (480, 480)) -> None:
        managers = (
            "vtkMRMLCameraDisplayableManager",
            "vtkMRMLViewDisplayableManager",
            "vtkMRMLModelDisplayableManager",
            "vtkMRMLSegmentationsDisplayableManager3D",
        )
        self.node = scene.AddNewNodeByClass("vtkMRMLViewNode", "View1")
        self.node.SetLayoutName("1")
        self.node.SetBoxVisible(False)
        self.node.SetAxisLabelsVisible(False)
        super().__init__(slicer.vtkMRMLThreeDViewDisplayableManagerFactory, managers, application_logic, size)
        self.group.SetMRMLDisplayableNode(self.node)

    def look_from(self, azimuth_deg: float, elevation_deg: float, zoom: float = 1.0) -> None:
        """Turns the camera around what is shown, seen from the front at 0 degrees."""
        camera = self.renderer.GetActiveCamera()
        camera.SetFocalPoint(0, 0, 0)
        camera.SetPosition(0, 500, 0)
        camera.SetViewUp(0, 0, 1)
        camera.Azimuth(azimuth_deg)
        camera.Elevation(elevation_deg)
        self.renderer.ResetCamera()
        camera.Zoom(zoom)
        self.renderer.ResetCameraClippingRange()
