"""What others make of the exported objects: dciodvfy, DCMTK, SimpleITK and dcmqi."""

from __future__ import annotations

import json
import shutil
import subprocess
import sysconfig
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from dicom_writer import slice_dataset, tilted, write_enhanced, write_series
from finished_run import finished_run, five_lesions
from synthetic_head import head_hu

from HemoCAMLib.export import ExportedFiles, export_dicom
from HemoCAMLib.run.result import Result
from HemoCAMLib.subtypes import SUBTYPES

pytest.importorskip("highdicom")

HU = head_hu(slices=9)
IDENTITY = {"PatientSex": "O", "StudyID": "1", "StudyDate": "20200102", "StudyTime": "101112"}

#: What dciodvfy says about correct objects: its tables end before the private scheme and the newest defined terms.
HARMLESS = ("99HEMOCAM", "<QUANTITY>", "PersonName", "Retired Person Name form", "needed to build DICOMDIR")


def tool(name: str) -> str:
    """Path of a program, from the system or from the environment that runs the tests."""
    found = shutil.which(name) or shutil.which(name, path=sysconfig.get_path("scripts"))
    if found is None:
        pytest.skip(f"{name} is not installed")
    return found


def output_of(program: str, *arguments: object) -> str:
    answer = subprocess.run([tool(program), *map(str, arguments)], capture_output=True, text=True, timeout=60)
    assert answer.returncode == 0, answer.stderr[-2000:] + answer.stdout[-2000:]
    return answer.stdout + answer.stderr


def write_scan(kind: str, folder: Path) -> Path:
    if kind == "multi-frame":
        write_enhanced(folder / "enhanced.dcm", HU, order=[3, 0, 8, 5, 1, 7, 2, 6, 4])
    elif kind == "tilted":
        folder.mkdir(parents=True)
        for index, image in enumerate(HU):
            position = (-100.0, -110.0, 20.0 + 4.0 * index + 3.0 * max(index - 4, 0))
            thickness = 7.0 if index > 4 else 4.0
            data = slice_dataset(image, position, orientation=tilted(18.5), thickness_mm=thickness, **IDENTITY)
            data.save_as(folder / f"{index}.dcm", enforce_file_format=True)
    else:
        write_series(folder, HU, step_mm=5.0, **IDENTITY)
    return folder


@pytest.fixture(scope="module", params=["plain", "tilted", "multi-frame"])
def exported(
    request: pytest.FixtureRequest, tiny_bundle: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[str, Result, ExportedFiles]:
    folder = tmp_path_factory.mktemp("validators")
    scan = write_scan(request.param, folder / "scan")
    result = finished_run(folder / "run", scan, tiny_bundle, five_lesions(HU.shape))
    return request.param, result, export_dicom(result.folder, scan, folder / "out", heat_maps=True)


def objects(files: ExportedFiles) -> list[Path]:
    assert files.segmentation is not None
    return [files.segmentation, files.report, files.maps["SAH"]]


def complaints(path: Path) -> list[str]:
    """What dciodvfy finds wrong; it always ends with 0, so its text is what counts."""
    answer = subprocess.run([tool("dciodvfy"), "-new", str(path)], capture_output=True, text=True, timeout=60)
    lines = (answer.stdout + answer.stderr).splitlines()
    return [
        line for line in lines if line.startswith(("Error", "Warning")) and not any(word in line for word in HARMLESS)
    ]


def test_dciodvfy_finds_nothing_wrong(exported: tuple[str, Result, ExportedFiles]) -> None:
    for path in objects(exported[2]):
        assert complaints(path) == [], path.name


def test_a_report_without_hemorrhage_is_valid_too(tiny_bundle: Path, tmp_path: Path) -> None:
    scan = write_scan("plain", tmp_path / "scan")
    result = finished_run(tmp_path / "run", scan, tiny_bundle, np.zeros(HU.shape, np.uint8))
    files = export_dicom(result.folder, scan, tmp_path / "out")
    assert complaints(files.report) == []
    assert "No hemorrhage was found by the algorithm." in output_of("dsrdump", "+Pl", files.report)


def test_dcmtk_parses_every_object(exported: tuple[str, Result, ExportedFiles]) -> None:
    for path in objects(exported[2]):
        assert "SOPInstanceUID" in output_of("dcmdump", path)


def test_dcmtk_reads_the_tree_of_the_report(exported: tuple[str, Result, ExportedFiles]) -> None:
    _, result, files = exported
    tree = output_of("dsrdump", "+Pl", "+Pc", files.report)
    assert tree.count("Measurement Group") == 6
    volumes = [line.split("=")[1].split('"')[1] for line in tree.splitlines() if '"Volume"' in line]
    expected = [result.volume_ml[name] for name in ("total", *(subtype.name for subtype in SUBTYPES))]
    assert [float(volume) for volume in volumes] == pytest.approx(expected, abs=1e-4)


def test_simpleitk_opens_the_segmentation_and_counts_the_same_voxels(
    exported: tuple[str, Result, ExportedFiles],
) -> None:
    _, result, files = exported
    frames = sitk.GetArrayFromImage(sitk.ReadImage(str(files.segmentation)))
    assert np.count_nonzero(frames) == np.count_nonzero(result.labels)
    assert frames.shape[1:] == HU.shape[1:]


def test_dcmqi_gives_every_segment_back_where_it_was(
    exported: tuple[str, Result, ExportedFiles], tmp_path: Path
) -> None:
    kind, result, files = exported
    program = tool("segimage2itkimage")
    if kind == "tilted":
        pytest.skip("dcmqi makes ITK images, which can hold neither the shear of a tilted scan nor uneven steps")
    arguments = ["--inputDICOM", str(files.segmentation), "--outputDirectory", str(tmp_path), "-t", "nrrd", "--prefix"]
    subprocess.run([program, *arguments, "s"], check=True, capture_output=True, timeout=60)
    # The run's own grid, stored from feet to head: dcmqi's images are smaller and may lie elsewhere.
    labels = sitk.ReadImage(str(result.folder / "labels.nrrd"))
    for subtype in SUBTYPES:
        segment = sitk.ReadImage(str(tmp_path / f"s-{subtype.label}.nrrd"))
        placed = sitk.Resample(segment, labels, sitk.Transform(), sitk.sitkNearestNeighbor, 0)
        assert np.array_equal(sitk.GetArrayFromImage(placed) > 0, result.labels == subtype.label), subtype.name
    described = json.loads((tmp_path / "s-meta.json").read_text())["segmentAttributes"]
    colors = {item["SegmentLabel"]: tuple(item["recommendedDisplayRGBValue"]) for group in described for item in group}
    for subtype in SUBTYPES:
        assert np.allclose(colors[subtype.title], subtype.color_rgb, atol=1)


def test_dcmqi_reads_the_map(exported: tuple[str, Result, ExportedFiles], tmp_path: Path) -> None:
    kind, result, files = exported
    program = tool("paramap2itkimage")
    arguments = ["--inputDICOM", str(files.maps["SAH"]), "--outputDirectory", str(tmp_path), "-t", "nrrd"]
    subprocess.run([program, *arguments, "--prefix", "m"], check=True, capture_output=True, timeout=60)
    if kind == "tilted":
        return
    values = sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / "m-pmap.nrrd")))
    row = result.fields["model"]["classes"].index("SAH")
    assert np.allclose(
        np.sort(values, axis=None),
        np.sort(1 / (1 + np.exp(-result.activation[row].astype(float))), axis=None),
        atol=1e-5,
    )


def test_dcmqi_reads_the_report(exported: tuple[str, Result, ExportedFiles], tmp_path: Path) -> None:
    _, result, files = exported
    program = tool("tid1500reader")
    out = tmp_path / "sr.json"
    subprocess.run(
        [program, "--inputDICOM", str(files.report), "--outputMetadata", str(out)],
        check=True,
        capture_output=True,
        timeout=60,
    )
    found = {
        group["TrackingIdentifier"]: item["value"]
        for group in json.loads(out.read_text())["Measurements"]
        for item in group["measurementItems"]
        if item["quantity"]["CodeMeaning"] == "Volume"
    }
    for subtype in SUBTYPES:
        assert float(found[f"HemoCAM {subtype.name}"]) == pytest.approx(result.volume_ml[subtype.name], abs=1e-4)
