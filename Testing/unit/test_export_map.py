"""Parametric maps hold the run's activation maps, at their size and where they belong in the patient."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pydicom
import pytest
from dicom_writer import slice_dataset, tilted, write_series
from finished_run import finished_run
from hypothesis import given, settings
from hypothesis import strategies as st
from synthetic_head import head_hu

from HemoCAMLib.ct import SliceGeometry, read_head_ct
from HemoCAMLib.export import export_dicom
from HemoCAMLib.export.parametric_map import map_geometry
from HemoCAMLib.model.stacks import resize
from HemoCAMLib.run.folder import RunFolder
from HemoCAMLib.run.result import Result
from HemoCAMLib.subtypes import SUBTYPES

pytest.importorskip("highdicom")

#: Not square, so that rows and columns are stretched differently.
HU = head_hu(slices=9, rows=72, columns=60)


def write_tilted(folder: Path) -> Path:
    folder.mkdir(parents=True)
    steps = np.cumsum([0, 4, 4, 4, 4, 1.2, 7, 7, 7])
    for index, image in enumerate(HU):
        position = (-100.0, -110.0, 20.0 + float(steps[index]))
        data = slice_dataset(image, position, orientation=tilted(-21.0), spacing_mm=(3.0, 3.4))
        data.save_as(folder / f"{index}.dcm", enforce_file_format=True)
    return folder


@pytest.fixture(scope="module")
def exported(tiny_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Result, Path, dict[str, Path]]:
    folder = tmp_path_factory.mktemp("map")
    scan = write_tilted(folder / "scan")
    result = finished_run(folder / "run", scan, tiny_bundle)
    return result, scan, export_dicom(result.folder, scan, folder / "out", heat_maps=True).maps


def frames_by_height(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Frames [slice, row, column] from feet to head, and the positions [slice, 3] of their first pixels."""
    data = pydicom.dcmread(path)
    groups = data.PerFrameFunctionalGroupsSequence
    positions = np.array([[float(x) for x in g.PlanePositionSequence[0].ImagePositionPatient] for g in groups])
    pixels = np.frombuffer(data.FloatPixelData, "<f4").reshape(-1, data.Rows, data.Columns)
    order = np.argsort(positions[:, 2])
    return pixels[order], positions[order]


def test_every_subtype_has_a_map_with_the_numbers_of_the_run(exported: tuple[Result, Path, dict[str, Path]]) -> None:
    result, _, maps = exported
    assert list(maps) == [subtype.name for subtype in SUBTYPES]
    classes = result.fields["model"]["classes"]
    for name, path in maps.items():
        assert path.name == f"map-{name}.dcm"
        local_logits = result.activation[classes.index(name)].astype(np.float64)
        pixels, _ = frames_by_height(path)
        assert np.allclose(pixels, 1 / (1 + np.exp(-local_logits)), atol=1e-6)


def test_map_pixels_lie_where_the_image_they_come_from_lies(exported: tuple[Result, Path, dict[str, Path]]) -> None:
    _, scan, maps = exported
    geometry = read_head_ct(scan).geometry
    data = pydicom.dcmread(maps["IPH"])
    shared = data.SharedFunctionalGroupsSequence[0]
    row_mm, column_mm = (float(value) for value in shared.PixelMeasuresSequence[0].PixelSpacing)
    assert row_mm * data.Rows == pytest.approx(3.0 * HU.shape[1])
    assert column_mm * data.Columns == pytest.approx(3.4 * HU.shape[2])
    cosines = np.array([float(x) for x in shared.PlaneOrientationSequence[0].ImageOrientationPatient])
    assert np.allclose(cosines, [*geometry.row_direction, *geometry.column_direction], atol=1e-6)
    _, positions = frames_by_height(maps["IPH"])
    corner = positions - cosines[3:] * row_mm / 2 - cosines[:3] * column_mm / 2
    image_corner = geometry.positions_mm - cosines[3:] * 3.0 / 2 - cosines[:3] * 3.4 / 2
    assert np.allclose(corner, image_corner, atol=1e-4)


@settings(max_examples=25, deadline=None)
@given(
    rows=st.integers(24, 96),
    columns=st.integers(24, 96),
    map_rows=st.integers(4, 16),
    map_columns=st.integers(4, 16),
    top=st.floats(0.2, 0.8),
    left=st.floats(0.2, 0.8),
    degrees=st.floats(-30, 30),
)
def test_a_spot_keeps_its_place_in_the_patient_when_the_image_becomes_a_map(
    rows: int, columns: int, map_rows: int, map_columns: int, top: float, left: float, degrees: float
) -> None:
    directions = np.array(tilted(degrees))
    geometry = SliceGeometry(np.array([[-90.0, -80.0, 12.0]]), directions[:3], directions[3:], (3.0, 2.5), 5.0)
    image = np.zeros((rows, columns), np.float32)
    image[int(top * rows) - 2 : int(top * rows) + 3, int(left * columns) - 2 : int(left * columns) + 3] = 1
    activation = resize(image, map_rows, map_columns)
    coarse = map_geometry(geometry, image.shape, activation.shape)
    # Area averaging keeps the centre of mass only to within a map pixel; a missing half pixel would show in the mean.
    difference = centre_of_mass_mm(activation, coarse) - centre_of_mass_mm(image, geometry)
    assert np.abs(difference @ geometry.row_direction) <= coarse.pixel_spacing_mm[1] / 2 + 1e-3
    assert np.abs(difference @ geometry.column_direction) <= coarse.pixel_spacing_mm[0] / 2 + 1e-3


def centre_of_mass_mm(values: np.ndarray, geometry: SliceGeometry) -> np.ndarray:
    row, column = (np.average(index, weights=values) for index in np.indices(values.shape))
    return (
        geometry.positions_mm[0]
        + geometry.column_direction * row * geometry.pixel_spacing_mm[0]
        + geometry.row_direction * column * geometry.pixel_spacing_mm[1]
    )


def test_a_gradient_over_the_image_is_the_same_gradient_over_the_map() -> None:
    directions = np.array(tilted(18.5))
    geometry = SliceGeometry(np.array([[-90.0, -80.0, 12.0]]), directions[:3], directions[3:], (0.5, 0.4), 5.0)
    rows, columns = np.indices((512, 448))
    image = (rows * 0.5 * 2 + columns * 0.4 * 3).astype(np.float32)
    activation = resize(image, 64, 56)
    coarse = map_geometry(geometry, image.shape, activation.shape)
    shift = coarse.positions_mm[0] - geometry.positions_mm[0]
    row_mm, column_mm = coarse.pixel_spacing_mm
    down = shift @ geometry.column_direction + np.arange(64)[:, None] * row_mm
    across = shift @ geometry.row_direction + np.arange(56) * column_mm
    assert np.allclose(activation, down * 2 + across * 3, atol=1e-2)


def test_frames_name_the_image_that_they_were_made_from(exported: tuple[Result, Path, dict[str, Path]]) -> None:
    _, scan, maps = exported
    position = {}
    for path in scan.iterdir():
        header = pydicom.dcmread(path, stop_before_pixels=True)
        position[str(header.SOPInstanceUID)] = float(header.ImagePositionPatient[2])
    data = pydicom.dcmread(maps["SAH"])
    named = [
        position[str(groups.DerivationImageSequence[0].SourceImageSequence[0].ReferencedSOPInstanceUID)]
        for groups in data.PerFrameFunctionalGroupsSequence
    ]
    assert sorted(named) == sorted(position.values())
    frame_heights = [
        float(groups.PlanePositionSequence[0].ImagePositionPatient[2])
        for groups in data.PerFrameFunctionalGroupsSequence
    ]
    # The first pixel of a map lies beside that of its image, by the same shift in every frame.
    assert np.ptp(np.subtract(frame_heights, named)) < 1e-3


def test_the_quantity_is_a_probability_without_unit_and_for_research(
    exported: tuple[Result, Path, dict[str, Path]],
) -> None:
    data = pydicom.dcmread(exported[2]["EDH"])
    mapping = data.SharedFunctionalGroupsSequence[0].RealWorldValueMappingSequence[0]
    assert mapping.MeasurementUnitsCodeSequence[0].CodeValue == "1"
    quantity = mapping.QuantityDefinitionSequence[0].ConceptCodeSequence[0]
    assert (quantity.CodeValue, quantity.CodingSchemeDesignator) == ("122157", "DCM")
    assert (mapping.RealWorldValueSlope, mapping.RealWorldValueIntercept) == (1, 0)
    assert data.ContentQualification == "RESEARCH"


def test_maps_of_another_method_keep_their_own_scale(tiny_bundle: Path, tmp_path: Path) -> None:
    scan = tmp_path / "scan"
    write_series(scan, HU, step_mm=5.0)
    result = finished_run(tmp_path / "run", scan, tiny_bundle)
    result.fields["settings"]["map"]["method"] = "grad-cam"
    RunFolder.write_json(RunFolder(result.folder).result_path, result.fields)
    maps = export_dicom(result.folder, scan, tmp_path / "out", heat_maps=True).maps
    classes = result.fields["model"]["classes"]
    pixels, _ = frames_by_height(maps["IPH"])
    assert np.array_equal(pixels, result.activation[classes.index("IPH")].astype(np.float32))
    data = pydicom.dcmread(maps["IPH"])
    mapping = data.SharedFunctionalGroupsSequence[0].RealWorldValueMappingSequence[0]
    quantity = mapping.QuantityDefinitionSequence[0].ConceptCodeSequence[0]
    assert (quantity.CodeValue, quantity.CodingSchemeDesignator) == ("class-activation", "99HEMOCAM")
    assert data.CodingSchemeIdentificationSequence[0].CodingSchemeDesignator == "99HEMOCAM"
