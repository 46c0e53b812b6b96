"""The structured report says what result.json says, and points at segments and images."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from dicom_writer import write_enhanced, write_series
from finished_run import finished_run, five_lesions
from synthetic_head import head_hu

from HemoCAMLib.export import ExportedFiles, export_dicom
from HemoCAMLib.run.result import Result
from HemoCAMLib.subtypes import SUBTYPES, subtype_named

highdicom = pytest.importorskip("highdicom")

HU = head_hu(slices=9)
VOLUME = ("118565006", "SCT")
PROBABILITY = ("122157", "DCM")
PRESENT, ABSENT = "52101004", "272519000"
SIDES = {"left": "7771000", "right": "24028007", "both": "51440002"}


def labels_without_epidural() -> np.ndarray:
    labels = five_lesions(HU.shape)
    labels[labels == subtype_named("EDH").label] = 0
    return labels


@pytest.fixture(scope="module")
def exported(tiny_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Result, Path, ExportedFiles]:
    folder = tmp_path_factory.mktemp("report")
    write_series(folder / "scan", HU, step_mm=5.0)
    result = finished_run(folder / "run", folder / "scan", tiny_bundle, labels_without_epidural())
    return result, folder / "scan", export_dicom(result.folder, folder / "scan", folder / "out")


@pytest.fixture(scope="module")
def groups(exported: tuple[Result, Path, ExportedFiles]) -> dict[str, pydicom.Dataset]:
    """Measurement groups by the subtype that they name; the whole scan's under "any"."""
    return groups_of(exported[2].report)


def groups_of(path: Path) -> dict[str, pydicom.Dataset]:
    root = pydicom.dcmread(path)
    container = next(item for item in root.ContentSequence if name_of(item) == ("126010", "DCM"))
    found = {}
    for group in container.ContentSequence:
        which = [item for item in group.ContentSequence if name_of(item) == ("subtype", "99HEMOCAM")]
        found[str(which[0].ConceptCodeSequence[0].CodeValue) if which else "any"] = group
    return found


def name_of(item: pydicom.Dataset) -> tuple[str, str]:
    code = item.ConceptNameCodeSequence[0]
    return str(code.CodeValue), str(code.CodingSchemeDesignator)


def items(group: pydicom.Dataset, name: tuple[str, str]) -> list[pydicom.Dataset]:
    return [item for item in group.ContentSequence if name_of(item) == name]


def number(group: pydicom.Dataset, name: tuple[str, str]) -> tuple[float, str] | None:
    found = items(group, name)
    if not found:
        return None
    value = found[0].MeasuredValueSequence[0]
    return float(value.NumericValue), str(value.MeasurementUnitsCodeSequence[0].CodeValue)


def coded(group: pydicom.Dataset, name: tuple[str, str]) -> list[str]:
    return [str(item.ConceptCodeSequence[0].CodeValue) for item in items(group, name)]


def test_there_is_a_group_for_the_scan_and_one_for_every_subtype(groups: dict[str, pydicom.Dataset]) -> None:
    assert list(groups) == ["any", *(subtype.name for subtype in SUBTYPES)]
    templates = {name: group.ContentTemplateSequence[0].TemplateIdentifier for name, group in groups.items()}
    assert templates == {"any": "1501", "IPH": "1411", "IVH": "1411", "SAH": "1411", "SDH": "1411", "EDH": "1501"}


def test_numbers_are_those_of_the_result(
    exported: tuple[Result, Path, ExportedFiles], groups: dict[str, pydicom.Dataset]
) -> None:
    result, fields = exported[0], exported[0].fields
    for name, group in groups.items():
        key = "total" if name == "any" else name
        assert number(group, VOLUME) == (pytest.approx(result.volume_ml[key]), "mL")
        shown = sum(entry["area_mm2"][name] > 0 for entry in result.slices)
        assert number(group, ("slice-count", "99HEMOCAM")) == (shown, "{slices}")
        largest = max(entry["probability"][name] for entry in result.slices)
        assert number(group, PROBABILITY) == (pytest.approx(largest), "1")
        derivation = items(group, PROBABILITY)[0].ContentSequence[0].ConceptCodeSequence[0]
        assert derivation.CodeMeaning == "Maximum"
    for name in ("IPH", "IVH", "SAH", "SDH"):
        assert number(groups[name], ("abc2-volume", "99HEMOCAM")) == (pytest.approx(fields["abc2_ml"][name]), "mL")
        assert number(groups[name], ("81827009", "SCT")) == (
            pytest.approx(fields["largest_diameter_mm"][name]),
            "mm",
        )
        assert number(groups[name], ("246206008", "SCT")) == (fields["components"][name], "{lesions}")


def test_presence_side_and_site_are_said(
    exported: tuple[Result, Path, ExportedFiles], groups: dict[str, pydicom.Dataset]
) -> None:
    sides = exported[0].fields["side"]
    for subtype in SUBTYPES:
        group = groups[subtype.name]
        found = exported[0].volume_ml[subtype.name] > 0
        assert coded(group, ("121071", "DCM")) == ["50960005"]
        assert coded(group, ("121052", "DCM")) == [PRESENT if found else ABSENT]
        assert coded(group, ("272741003", "SCT")) == ([SIDES[sides[subtype.name]]] if found else [])
        assert coded(group, ("363698007", "SCT")) == ([subtype.region[0]] if subtype.region else [])
    assert coded(groups["any"], ("121052", "DCM")) == [PRESENT]


def test_a_found_subtype_points_at_its_segment_and_at_the_images_that_show_it(
    exported: tuple[Result, Path, ExportedFiles], groups: dict[str, pydicom.Dataset]
) -> None:
    _, scan, files = exported
    segmentation = pydicom.dcmread(files.segmentation)
    shown: dict[int, set[str]] = {}
    for frame in segmentation.PerFrameFunctionalGroupsSequence:
        image = frame.DerivationImageSequence[0].SourceImageSequence[0]
        segment = int(frame.SegmentIdentificationSequence[0].ReferencedSegmentNumber)
        shown.setdefault(segment, set()).add(str(image.ReferencedSOPInstanceUID))
    tracked = {int(item.SegmentNumber): (item.TrackingID, item.TrackingUID) for item in segmentation.SegmentSequence}
    for name in ("IPH", "IVH", "SAH", "SDH"):
        reference = items(groups[name], ("121191", "DCM"))[0].ReferencedSOPSequence[0]
        assert reference.ReferencedSOPInstanceUID == segmentation.SOPInstanceUID
        segment = int(reference.ReferencedSegmentNumber)
        assert segmentation.SegmentSequence[segment - 1].SegmentLabel == subtype_named(name).title
        images = items(groups[name], ("121233", "DCM"))
        assert {str(item.ReferencedSOPSequence[0].ReferencedSOPInstanceUID) for item in images} == shown[segment]
        tracking = items(groups[name], ("112039", "DCM"))[0].TextValue, items(groups[name], ("112040", "DCM"))[0].UID
        assert tracking == tracked[segment]
    evidence = {
        str(instance.ReferencedSOPInstanceUID)
        for study in pydicom.dcmread(files.report).CurrentRequestedProcedureEvidenceSequence
        for series in study.ReferencedSeriesSequence
        for instance in series.ReferencedSOPSequence
    }
    originals = {str(pydicom.dcmread(path).SOPInstanceUID) for path in scan.iterdir()}
    assert evidence == originals | {str(segmentation.SOPInstanceUID)}


def test_algorithm_observer_and_research_use_are_named(exported: tuple[Result, Path, ExportedFiles]) -> None:
    result, _, files = exported
    report = pydicom.dcmread(files.report)
    texts = {name_of(item): item for item in report.ContentSequence}
    assert texts["121005", "DCM"].ConceptCodeSequence[0].CodeMeaning == "Device"
    comments = [str(item.TextValue) for item in report.ContentSequence if name_of(item) == ("121106", "DCM")]
    assert any("not a medical device" in comment for comment in comments)
    assert any("Hemorrhage was found" in comment for comment in comments)
    handled = [warning["message"] for warning in result.warnings]
    handled += [finding["message"] for finding in result.quality["findings"]]
    assert handled
    assert set(handled) <= set(comments)
    assert (report.VerificationFlag, report.PreliminaryFlag) == ("UNVERIFIED", "PRELIMINARY")
    for group in groups_of(files.report).values():
        assert items(group, ("111001", "DCM"))[0].TextValue == "tiny"
        assert items(group, ("111003", "DCM"))[0].TextValue == "0.0.1"
        parameters = [str(item.TextValue) for item in items(group, ("111002", "DCM"))]
        assert f"weights SHA-256={result.fields['model']['checksum']}" in parameters


def test_highdicom_reads_the_report_back(exported: tuple[Result, Path, ExportedFiles]) -> None:
    result, _, files = exported
    content = highdicom.sr.srread(files.report).content
    segmentation = pydicom.dcmread(files.segmentation)
    for number_, name in enumerate(("IPH", "IVH", "SAH", "SDH"), start=1):
        (group,) = content.get_volumetric_roi_measurement_groups(
            tracking_uid=segmentation.SegmentSequence[number_ - 1].TrackingUID
        )
        (volume,) = group.get_measurements(name=highdicom.sr.CodedConcept(*VOLUME, "Volume"))
        assert volume.value == pytest.approx(result.volume_ml[name])


def test_private_codes_are_described_and_dicom_knows_the_others(exported: tuple[Result, Path, ExportedFiles]) -> None:
    from pydicom.sr._concepts_dict import concepts

    known = {(scheme, code) for scheme in ("SCT", "DCM") for entry in concepts[scheme].values() for code in entry}
    # Subdural space: a SNOMED CT code that none of the context groups in pydicom holds.
    known.add(("SCT", "54214006"))
    for path in (exported[2].report, exported[2].segmentation):
        data = pydicom.dcmread(path)
        codes = codes_in(data)
        assert {(scheme, code) for code, scheme in codes if scheme in ("SCT", "DCM")} <= known
        described = [str(item.CodingSchemeDesignator) for item in data.get("CodingSchemeIdentificationSequence", [])]
        assert ("99HEMOCAM" in described) == any(scheme == "99HEMOCAM" for _, scheme in codes)


def codes_in(data: pydicom.Dataset) -> set[tuple[str, str]]:
    found: set[tuple[str, str]] = set()

    def visit(dataset: pydicom.Dataset, element: Any) -> None:
        if element.keyword == "CodeValue":
            found.add((str(element.value), str(dataset.CodingSchemeDesignator)))

    data.walk(visit)
    return found


def test_a_scan_without_hemorrhage_gives_a_report_that_says_so(tiny_bundle: Path, tmp_path: Path) -> None:
    write_series(tmp_path / "scan", HU, step_mm=5.0)
    result = finished_run(tmp_path / "run", tmp_path / "scan", tiny_bundle, np.zeros(HU.shape, np.uint8))
    files = export_dicom(result.folder, tmp_path / "scan", tmp_path / "out")
    found = groups_of(files.report)
    assert list(found) == ["any", *(subtype.name for subtype in SUBTYPES)]
    for group in found.values():
        assert coded(group, ("121052", "DCM")) == [ABSENT]
        assert number(group, VOLUME) == (0.0, "mL")
        assert not items(group, ("121191", "DCM"))
    report = pydicom.dcmread(files.report)
    comments = [str(item.TextValue) for item in report.ContentSequence if name_of(item) == ("121106", "DCM")]
    assert "No hemorrhage was found by the algorithm." in comments


def test_a_multi_frame_source_is_referred_to_by_frame(tiny_bundle: Path, tmp_path: Path) -> None:
    order = [3, 0, 8, 5, 1, 7, 2, 6, 4]
    write_enhanced(tmp_path / "scan" / "enhanced.dcm", HU, order=order)
    labels = labels_without_epidural()
    result = finished_run(tmp_path / "run", tmp_path / "scan", tiny_bundle, labels)
    files = export_dicom(result.folder, tmp_path / "scan", tmp_path / "out")
    for name in ("IPH", "SDH"):
        (image,) = items(groups_of(files.report)[name], ("121233", "DCM"))
        frames = [int(frame) for frame in np.atleast_1d(image.ReferencedSOPSequence[0].ReferencedFrameNumber)]
        slices = np.flatnonzero((labels == subtype_named(name).label).any(axis=(1, 2)))
        assert frames == sorted(order.index(int(index)) + 1 for index in slices)


def test_identifiers_are_new_every_time_and_of_the_documented_root(
    exported: tuple[Result, Path, ExportedFiles], tmp_path: Path
) -> None:
    result, scan, files = exported
    again = export_dicom(result.folder, scan, tmp_path / "again")
    for one, other in ((files.segmentation, again.segmentation), (files.report, again.report)):
        first, second = pydicom.dcmread(one), pydicom.dcmread(other)
        for keyword in ("SOPInstanceUID", "SeriesInstanceUID"):
            assert first[keyword].value != second[keyword].value
            assert re.fullmatch(r"2\.25\.\d{1,39}", str(first[keyword].value))
        assert first.StudyInstanceUID == second.StudyInstanceUID == "1.2.3.1"
