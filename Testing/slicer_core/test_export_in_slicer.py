"""The segmentation object on its way into Slicer's own nodes.

slicer-core has no reader for DICOM SEG: in the application that is the work of an extension, which calls dcmqi and
imports the label maps it writes. The same way is gone here, with dcmqi's program and Slicer's own classes.
"""

from __future__ import annotations

import shutil
import subprocess
import sysconfig
from pathlib import Path

import numpy as np
import pytest
from dicom_writer import write_series
from finished_run import five_lesions, run_without_network
from synthetic_head import head_hu

from HemoCAMLib.export import export_dicom
from HemoCAMLib.subtypes import SUBTYPES

slicer = pytest.importorskip("slicer", reason="slicer-core is not installed")
pytest.importorskip("highdicom")
pytestmark = pytest.mark.slicer_core

HU = head_hu(slices=9)


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> tuple[np.ndarray, Path]:
    """The labels on the scan's grid, and the segmentation object."""
    folder = tmp_path_factory.mktemp("slicer")
    write_series(folder / "scan", HU, step_mm=5.0)
    result = run_without_network(folder / "run", folder / "scan", five_lesions(HU.shape))
    files = export_dicom(result.folder, folder / "scan", folder / "out")
    assert files.segmentation is not None
    return result.labels, files.segmentation


def read_volume(scene: object, path: Path, kind: str) -> object:
    """A volume node with the content of a file."""
    node, storage = scene.AddNewNodeByClass(kind), slicer.vtkMRMLVolumeArchetypeStorageNode()  # type: ignore[attr-defined]
    scene.AddNode(storage)  # type: ignore[attr-defined]
    storage.SetFileName(str(path))
    storage.SetSingleFile(True)
    assert storage.ReadData(node) == 1
    return node


def array_of(image: object) -> np.ndarray:
    from vtk.util.numpy_support import vtk_to_numpy

    columns, rows, slices = image.GetDimensions()  # type: ignore[attr-defined]
    array: np.ndarray = vtk_to_numpy(image.GetPointData().GetScalars()).reshape(slices, rows, columns)  # type: ignore[attr-defined]
    return array


def test_slicer_opens_the_object_as_a_stack_of_frames(exported: tuple[np.ndarray, Path]) -> None:
    labels, segmentation = exported
    node = read_volume(slicer.vtkMRMLScene(), segmentation, "vtkMRMLLabelMapVolumeNode")
    assert np.count_nonzero(array_of(node.GetImageData())) == np.count_nonzero(labels)


def test_every_segment_arrives_in_a_segmentation_node_at_its_place(
    exported: tuple[np.ndarray, Path], tmp_path: Path
) -> None:
    labels, path = exported
    program = shutil.which("segimage2itkimage") or shutil.which("segimage2itkimage", path=sysconfig.get_path("scripts"))
    if program is None:
        pytest.skip("dcmqi is not installed")
    arguments = ["--inputDICOM", path, "--outputDirectory", tmp_path, "-t", "nrrd", "--prefix", "s"]
    subprocess.run([program, *map(str, arguments)], check=True, capture_output=True, timeout=60)
    scene = slicer.vtkMRMLScene()
    logic = slicer.vtkSlicerSegmentationsModuleLogic()
    logic.SetMRMLScene(scene)
    node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode")
    for subtype in SUBTYPES:
        volume = read_volume(scene, tmp_path / f"s-{subtype.label}.nrrd", "vtkMRMLLabelMapVolumeNode")
        assert logic.ImportLabelmapToSegmentationNode(volume, node)
    segmentation = node.GetSegmentation()
    assert segmentation.GetNumberOfSegments() == len(SUBTYPES)
    for index, subtype in enumerate(SUBTYPES):
        image = slicer.vtkOrientedImageData()
        assert node.GetBinaryLabelmapRepresentation(segmentation.GetNthSegmentID(index), image)
        assert voxels_ras_mm(image) == voxels_of_scan_ras_mm(labels == subtype.label), subtype.name


def voxels_ras_mm(image: object) -> set[tuple[float, float, float]]:
    """Centres of all set voxels of an oriented image, in RAS to 0.1 mm."""
    import vtk

    matrix = vtk.vtkMatrix4x4()
    image.GetImageToWorldMatrix(matrix)  # type: ignore[attr-defined]
    to_ras = np.array([[matrix.GetElement(row, column) for column in range(4)] for row in range(3)])
    first_i, _, first_j, _, first_k, _ = image.GetExtent()  # type: ignore[attr-defined]
    kji = np.add(np.argwhere(array_of(image) > 0), [first_k, first_j, first_i])
    return as_set(kji[:, ::-1] @ to_ras[:, :3].T + to_ras[:, 3])


def voxels_of_scan_ras_mm(mask: np.ndarray) -> set[tuple[float, float, float]]:
    """The same for a mask on the grid of the scan, from what the scan was written with."""
    kji = np.argwhere(mask)
    corner_lps = np.array([-(HU.shape[2] - 1) / 2 * 3.4, -(HU.shape[1] - 1) / 2 * 3.4, 20.0])
    lps = kji[:, ::-1] * [3.4, 3.4, 5.0] + corner_lps
    return as_set(lps * [-1, -1, 1])


def as_set(points_mm: np.ndarray) -> set[tuple[float, float, float]]:
    return {(float(x), float(y), float(z)) for x, y, z in np.round(points_mm, 1) + 0.0}
