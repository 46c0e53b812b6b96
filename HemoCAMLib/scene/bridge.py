"""The few places where arrays and VTK's own objects meet; the only file of this room that imports vtk and slicer.

They are imported when a function is called, so that the room can be imported where Slicer is not.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray

#: An MRML node, a MRML scene or another VTK object: none of them has types that Python knows.
Node = Any
Scene = Any
VtkObject = Any

Matrix = NDArray[np.float64]


def array_of_matrix(matrix: VtkObject) -> Matrix:
    """[4, 4] of a ``vtkMatrix4x4``."""
    return np.array([[matrix.GetElement(row, column) for column in range(4)] for row in range(4)])


def matrix_of_array(array: ArrayLike) -> VtkObject:
    """A new ``vtkMatrix4x4`` with the numbers of a [4, 4] array."""
    import vtk

    matrix = vtk.vtkMatrix4x4()
    matrix.DeepCopy(np.asarray(array, np.float64).ravel().tolist())
    return matrix


def voxels_of(image: VtkObject) -> NDArray[Any]:
    """The scalars of a ``vtkImageData`` as [k, j, i]: VTK's own memory, not a copy.

    The view is valid as long as the image keeps its scalars; hold the image while it is used.
    """
    from vtk.util.numpy_support import vtk_to_numpy

    columns, rows, slices = image.GetDimensions()
    voxels: NDArray[Any] = vtk_to_numpy(image.GetPointData().GetScalars()).reshape(slices, rows, columns)
    return voxels


def blank_image(shape: tuple[int, ...]) -> VtkObject:
    """A new ``vtkImageData`` of float32 zeros, [k, j, i], indices from 0."""
    import vtk

    return _with_zeros(vtk.vtkImageData(), shape, np.float32, (0, 0, 0))


def blank_oriented_image(shape: tuple[int, ...], ijk_to_ras: Matrix, first_ijk: tuple[int, int, int]) -> VtkObject:
    """A new ``vtkOrientedImageData`` of uint8 zeros: what a segment's binary label map is kept in.

    Args:
        shape: (k, j, i).
        ijk_to_ras: [4, 4] index to mm RAS; may shear.
        first_ijk: index of the first voxel.
    """
    import slicer

    image = _with_zeros(slicer.vtkOrientedImageData(), shape, np.uint8, first_ijk)
    image.SetGeometryFromImageToWorldMatrix(matrix_of_array(ijk_to_ras))
    return image


def image_array_matrix(image: VtkObject) -> Matrix:
    """[4, 4] index into the voxels of a ``vtkOrientedImageData``, from 0, to mm RAS."""
    import vtk

    matrix = vtk.vtkMatrix4x4()
    image.GetImageToWorldMatrix(matrix)
    return array_of_matrix(matrix) @ first_voxel(image)


def first_voxel(image: VtkObject) -> Matrix:
    """[4, 4] index from 0 to the index that an image gives its voxels."""
    i, _, j, _, k, _ = image.GetExtent()
    shift = np.eye(4)
    shift[:3, 3] = (i, j, k)
    return shift


def volume_matrix(volume_node: Node) -> Matrix:
    """[4, 4] index to mm RAS of a volume node, without its parent transform."""
    import vtk

    matrix = vtk.vtkMatrix4x4()
    volume_node.GetIJKToRASMatrix(matrix)
    return array_of_matrix(matrix)


def announce(image: VtkObject) -> None:
    """Says that voxels were changed in place, so that everything that shows them is drawn anew, once."""
    image.GetPointData().GetScalars().Modified()
    image.Modified()


def new_segment() -> VtkObject:
    """An empty ``vtkSegment``."""
    import slicer

    return slicer.vtkSegment()


def new_segmentation() -> VtkObject:
    """An empty ``vtkSegmentation``, of no node."""
    import slicer

    return slicer.vtkSegmentation()


def copy_of_segmentation(segmentation: VtkObject) -> VtkObject:
    """A ``vtkSegmentation`` of its own, to convert without touching the user's."""
    import slicer

    copy = slicer.vtkSegmentation()
    copy.DeepCopy(segmentation)
    return copy


def linear_between(source: Node | None, target: Node | None) -> Matrix | None:
    """[4, 4] mm to mm from one transform node's space to another's; None stands for the world.

    Returns:
        None where it bends space.
    """
    import slicer
    import vtk

    general, linear = vtk.vtkGeneralTransform(), vtk.vtkTransform()
    slicer.vtkMRMLTransformNode.GetTransformBetweenNodes(source, target, general)
    if not slicer.vtkMRMLTransformNode.IsGeneralTransformLinear(general, linear):
        return None
    return array_of_matrix(linear.GetMatrix())


def transform_to_world(transform_node: Node | None, points_ras: NDArray[np.float64]) -> NDArray[np.float64]:
    """[n, 3] points in mm RAS taken from a transform node's space to the world, however it bends."""
    import slicer
    import vtk

    transform = vtk.vtkGeneralTransform()
    slicer.vtkMRMLTransformNode.GetTransformBetweenNodes(transform_node, None, transform)
    return np.array([transform.TransformPoint(*point) for point in points_ras.tolist()]).reshape(-1, 3)


def column_of(values: ArrayLike, name: str) -> VtkObject:
    """A named column of a ``vtkTable``: text, whole numbers or floating point as the values are."""
    import vtk
    from vtk.util.numpy_support import numpy_to_vtk

    array = np.asarray(values)
    if array.dtype.kind == "U":
        column = vtk.vtkStringArray()
        for text in array.tolist():
            column.InsertNextValue(text)
    else:
        number = array.astype(np.int32 if array.dtype.kind in "iub" else np.float64)
        column = numpy_to_vtk(number, deep=True)
    column.SetName(name)
    return column


def nodes_of(collection_filler: Callable[[VtkObject], object]) -> list[Node]:
    """The nodes that a MRML call puts into a ``vtkCollection``."""
    import vtk

    collection = vtk.vtkCollection()
    collection_filler(collection)
    return [collection.GetItemAsObject(index) for index in range(collection.GetNumberOfItems())]


def observe_nodes(scene: Scene, event: int, owner: object, method: str) -> int:
    """Calls a method of an object with every node that a scene's event is about.

    The scene does not keep the object alive, and an object that is gone is not called: a cycle of the two would be
    taken apart in any order when Python collects it.

    Returns:
        tag of the observer.
    """
    import vtk

    there = weakref.ref(owner)

    def observer(caller: VtkObject, event: str, node: Node) -> None:
        alive = there()
        if alive is not None:
            getattr(alive, method)(node)

    cast(Any, observer).CallDataType = vtk.VTK_OBJECT
    return int(scene.AddObserver(event, observer))


def _with_zeros(image: VtkObject, shape: tuple[int, ...], dtype: type, first_ijk: tuple[int, int, int]) -> VtkObject:
    from vtk.util.numpy_support import numpy_to_vtk

    slices, rows, columns = shape
    i, j, k = first_ijk
    image.SetExtent(i, i + columns - 1, j, j + rows - 1, k, k + slices - 1)
    # numpy's zeros are pages that the system gives when they are first written: 79 MB cost nothing now.
    image.GetPointData().SetScalars(numpy_to_vtk(np.zeros(slices * rows * columns, dtype), deep=False))
    return image
