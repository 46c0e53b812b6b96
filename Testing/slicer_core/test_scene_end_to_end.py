"""The sample scan through the engine and into a scene; and what scenes of usual size cost, printed."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from mrml_nodes import acquisition_transform, new_scene, segment_points_ras, volume_node
from numpy.typing import NDArray

from HemoCAMLib.ct import HeadCT, read_head_ct
from HemoCAMLib.measure.agreement import compare_label_maps, compare_segmentations
from HemoCAMLib.run.folder import RunFolder
from HemoCAMLib.run.job import AnalyzeJob
from HemoCAMLib.run.result import Result
from HemoCAMLib.sample import write_sample
from HemoCAMLib.scene import (
    HeatMaps,
    Placement,
    SceneResult,
    SegmentationWriter,
    VolumeGrid,
    analysis_input,
    corrected,
    measure,
    new_segmentation_node,
    read_segmentation_node,
)
from HemoCAMLib.subtypes import CLASS_NAMES, SUBTYPES

pytestmark = pytest.mark.slicer_core

ROOT = Path(__file__).resolve().parents[2]


def python_with_torch() -> Path:
    """The interpreter of the environment that `make test` makes: Slicer's own Python has no torch."""
    for place in (ROOT / ".venv/bin/python", ROOT / ".venv/Scripts/python.exe"):
        if place.is_file() and subprocess.run([place, "-c", "import torch"], capture_output=True).returncode == 0:
            return place
    pytest.skip("no .venv with torch beside this environment (make test makes one)")


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, HeadCT]:
    """Folder of the sample scan, and the scan."""
    written = write_sample(tmp_path_factory.mktemp("sample") / "sample")
    return Path(written.scan), read_head_ct(written.scan)


def loaded(folder: Path, ct: HeadCT) -> tuple[Any, dict[str, str]]:
    """The series as Slicer's DICOM reader shows it: one step for all slices, a transform for the rest."""
    paths = [plane.path for plane in ct.source.planes]
    database = {plane.sop_instance_uid: str(plane.path) for plane in ct.source.planes}
    headers = [pydicom.dcmread(path, stop_before_pixels=True) for path in paths]
    positions = np.array([[float(value) for value in header.ImagePositionPatient] for header in headers]) * [-1, -1, 1]
    matrix = np.eye(4)
    matrix[:3, :3] = np.diag([-1, -1, 1]) @ ct.grid.directions_lps_mm
    normal = np.cross(matrix[:3, 0], matrix[:3, 1])
    step = np.linalg.norm(positions[1] - positions[0])
    matrix[:3, 2] = normal / np.linalg.norm(normal) * step * np.sign(normal @ (positions[-1] - positions[0]))
    matrix[:3, 3] = positions[0]
    stored = np.ascontiguousarray(ct.grid.to_stored(ct.hu))
    node = volume_node(new_scene(), stored, matrix, name="Sample")
    node.SetAttribute("DICOM.instanceUIDs", " ".join(database))
    if np.abs(positions - (positions[0] + np.arange(len(paths))[:, None] * matrix[:3, 2])).max() > 1e-3:
        acquisition_transform(node, positions)
    return node, database


def test_the_sample_scan_goes_through_the_engine_and_into_a_scene(
    sample: tuple[Path, HeadCT], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    python = python_with_torch()
    folder, ct = sample
    node, database = loaded(folder, ct)
    chosen = analysis_input(node, database.get)
    assert chosen.files is not None
    assert chosen.refusal is None
    run = chosen.prepare(tmp_path / "run", {"threads": 1, "device": "cpu"})
    script = "import sys, HemoCAMLib as hc\nwith hc.PlainWorker() as worker:\n    worker.run(sys.argv[1])"
    subprocess.run([python, "-c", script, str(run.path)], capture_output=True, cwd=ROOT, timeout=300, check=True)
    result = Result.load(run.path)
    shown = SceneResult.start(node, chosen.grid, run, ct.shape, classes=result.classes)
    longest_s, started = 0.0, time.perf_counter()
    for _ in shown.completing(result):
        longest_s, started = max(longest_s, time.perf_counter() - started), time.perf_counter()
    with capsys.disabled():
        print(f"\nlongest step of completing {ct.shape[0]} slices: {1000 * longest_s:.1f} ms")
    labels = ct.grid.to_canonical(result.labels)
    for subtype in SUBTYPES:
        mask = labels == subtype.label
        if not mask.any():
            assert subtype.name not in shown.heat_maps
            continue
        found = np.array(sorted(segment_points_ras(shown.segmentation, subtype.name, world=True)))
        expected = np.array(sorted(map(tuple, np.round(world_ras(ct, mask), 1) + 0.0)))
        # Positions that end in a five may be rounded either way.
        assert found.shape == expected.shape
        np.testing.assert_allclose(found, expected, atol=0.11)
        row = [s.name for s in SUBTYPES].index(subtype.name)
        volume = shown.volume_table.GetTable().GetColumnByName("Volume").GetValue(row)
        assert volume == pytest.approx(result.volume_ml[subtype.name])
    assert shown.segmentation.GetSegmentation().GetNumberOfSegments() > 0
    measured = measure(corrected(shown))
    assert measured.volume_ml == pytest.approx(result.volume_ml, abs=1e-3)
    assert measured.components == result.fields["components"]


def test_the_samples_truth_compares_through_the_scene_as_it_does_on_disk(
    sample: tuple[Path, HeadCT], tmp_path: Path
) -> None:
    folder, ct = sample
    node, _ = loaded(folder, ct)
    import SimpleITK as sitk

    path = next(folder.parent.glob("**/truth.nrrd"))
    truth = sitk.GetArrayFromImage(sitk.ReadImage(str(path)))
    label_map = volume_node(node.GetScene(), truth, _local(node), kind="vtkMRMLLabelMapVolumeNode", name="truth")
    label_map.SetAndObserveTransformNodeID(node.GetTransformNodeID())
    placement = Placement(VolumeGrid.of_node(node), np.arange(ct.shape[0]))
    found = read_segmentation_node(label_map, node, placement, ct.geometry, "hemocam")
    canonical = ct.grid.to_canonical(truth)
    expected = compare_label_maps(canonical, canonical, ct.geometry)
    agreement = compare_segmentations(found, found)
    for name in expected.structures:
        assert agreement[name].dice == expected[name].dice
        assert agreement[name].volume.truth_ml == pytest.approx(expected[name].volume.truth_ml)


def _local(node: Any) -> NDArray[np.float64]:
    return VolumeGrid.of_node(node).local


def world_ras(ct: HeadCT, mask: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Centres of canonical voxels where the slices truly lie."""
    geometry, (row_mm, column_mm) = ct.geometry, ct.geometry.pixel_spacing_mm
    index, row, column = np.nonzero(mask)
    points = geometry.positions_mm[index] + row[:, None] * row_mm * geometry.column_direction
    return (points + column[:, None] * column_mm * geometry.row_direction) * [-1, -1, 1]


@pytest.mark.parametrize("slices", [40, 300])
def test_what_a_scan_of_usual_size_costs(slices: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shape = (slices, 512, 512)
    matrix = np.diag([-0.45, -0.45, 200 / slices, 1.0])
    node = volume_node(new_scene(), np.zeros(shape, np.int16), matrix)
    grid = VolumeGrid.of_node(node)
    placement = Placement(grid, np.arange(slices))
    labels = np.zeros(shape, np.uint8)
    for subtype in SUBTYPES:
        labels[slices // 4 : slices // 2, 60 * subtype.label : 60 * subtype.label + 50, 150:300] = subtype.label
    lines: list[str] = []

    def timed(what: str, call: Callable[[], Any]) -> Any:
        started = time.perf_counter()
        answer = call()
        lines.append(f"{what}: {1000 * (time.perf_counter() - started):.1f} ms")
        return answer

    writer = timed("new writer", lambda: SegmentationWriter(new_segmentation_node(node, "s"), placement))
    middle = slices // 4
    timed("put 8 slices", lambda: writer.put(middle, labels[middle : middle + 8]))
    timed("first update, 5 segments made", writer.update)
    timed("put 8 slices again", lambda: writer.put(middle, labels[middle : middle + 8]))
    timed("update", writer.update)
    timed("put all slices", lambda: writer.put(0, labels))
    timed("update of all", writer.update)
    maps = HeatMaps(node, placement, CLASS_NAMES)
    logits = np.zeros((slices, 6, 64, 64), np.float16)
    timed("put maps of 5 subtypes, all slices", lambda: maps.put(0, logits, CLASS_NAMES[1:]))
    timed("show them, first", maps.update)
    maps.put(0, logits[:8], ["IPH"])
    timed("show one again", maps.update)
    again = timed("read back", lambda: read_segmentation_node(writer._node, node, placement, None))
    timed("measure", lambda: measure(again))
    run = RunFolder(tmp_path / "run")
    run.prepare(AnalyzeJob(ijk_to_ras=tuple(map(tuple, matrix.tolist()))))
    timed("empty result with tables and chart", lambda: SceneResult.start(node, grid, run, shape))
    with capsys.disabled():
        print(f"\n512 x 512 x {slices}: " + "; ".join(lines))
    assert writer.found == tuple(subtype.name for subtype in SUBTYPES)
    assert len(maps.nodes) == 5
