"""Only the series that was analysed is taken; odd headers are completed or refused, and no patient data leaks."""

from __future__ import annotations

import json
import logging
import shutil
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from dicom_writer import edit, write_enhanced, write_series
from finished_run import finished_run, five_lesions
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom.valuerep import PersonName
from synthetic_head import head_hu

from HemoCAMLib.cli.outcome import run_command
from HemoCAMLib.errors import HemoCAMError
from HemoCAMLib.export import ExportedFiles, export_dicom
from HemoCAMLib.run.folder import RunFolder
from HemoCAMLib.run.result import Result

pytest.importorskip("highdicom")

HU = head_hu(slices=9)

#: Everything about the patient that the test series carry.
SECRETS = ("Secret", "Person", "SECRET-4711", "19440317", "ACC-998877", "Dr^House")


@pytest.fixture(scope="module")
def scan(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("scan") / "scan"
    write_series(
        folder,
        HU,
        PatientBirthDate="19440317",
        PatientSex="M",
        AccessionNumber="ACC-998877",
        ReferringPhysicianName="Dr^House",
        StudyDate="20200102",
        StudyTime="101112",
        StudyID="7",
        FrameOfReferenceUID="1.2.3.5",
    )
    return folder


@pytest.fixture(scope="module")
def result(scan: Path, tiny_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Result:
    return finished_run(tmp_path_factory.mktemp("run") / "run", scan, tiny_bundle, five_lesions(HU.shape))


def refusal(run: Path, source: Path, out: Path, **options: Any) -> HemoCAMError:
    with pytest.raises(HemoCAMError) as caught:
        export_dicom(run, source, out, **options)
    assert not out.exists() or not list(out.glob("*.tmp"))
    return caught.value


def copy_of(scan: Path, folder: Path) -> Path:
    return Path(shutil.copytree(scan, folder))


def export_edited(
    scan: Path, bundle: Path, folder: Path, every_file: dict[str, Any], heat_maps: bool = False
) -> ExportedFiles:
    """An export of a copy of the series whose headers were changed before the analysis."""
    changed = copy_of(scan, folder / "scan")
    for path in changed.iterdir():
        edit(path, **every_file)
    run = finished_run(folder / "run", changed, bundle, five_lesions(HU.shape))
    return export_dicom(run.folder, changed, folder / "out", heat_maps)


def all_files(files: ExportedFiles) -> list[Path]:
    return [path for path in (files.segmentation, files.report, *files.maps.values()) if path is not None]


def test_patient_and_study_come_from_the_series(result: Result, scan: Path, tmp_path: Path) -> None:
    files = export_dicom(result.folder, scan, tmp_path / "out", heat_maps=True)
    assert files.notices[0].code == "EXPORT_NO_REGION"
    for path in all_files(files):
        data = pydicom.dcmread(path)
        assert (data.PatientName, data.PatientID, data.PatientSex) == ("Secret^Person", "SECRET-4711", "M")
        assert (data.PatientBirthDate, data.AccessionNumber) == ("19440317", "ACC-998877")
        assert (data.StudyInstanceUID, data.StudyDate, data.StudyTime, data.StudyID) == (
            "1.2.3.1",
            "20200102",
            "101112",
            "7",
        )
        assert "Research use only" in data.SeriesDescription
    series = [str(pydicom.dcmread(path).SeriesInstanceUID) for path in all_files(files)]
    assert len(set(series)) == 3, "segmentation, report and all maps"


def test_nothing_about_the_patient_leaves_but_inside_the_objects(
    result: Result, scan: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        code = run_command(
            ["export-dicom", str(result.folder), "--source", str(scan), "--out", str(tmp_path / "out"), "--heat-maps"]
        )
    assert code == 0
    printed = capfd.readouterr()
    names = " ".join(path.name for path in (tmp_path / "out").iterdir())
    told = " ".join([printed.out, printed.err, caplog.text, names, *(str(warning.message) for warning in caught)])
    assert [secret for secret in SECRETS if secret in told.replace(str(tmp_path), "")] == []
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "seg.dcm",
        "sr.dcm",
        *(f"map-{name}.dcm" for name in ("IPH", "IVH", "SAH", "SDH", "EDH")),
    }
    # The report's text is not a way out either.
    report = pydicom.dcmread(tmp_path / "out" / "sr.dcm")
    for keyword in ("PatientName", "PatientID", "PatientBirthDate", "AccessionNumber", "ReferringPhysicianName"):
        delattr(report, keyword)
    assert [secret for secret in SECRETS if secret in str(report)] == []


@pytest.mark.parametrize(
    ("charset", "name"),
    [
        ("ISO_IR 192", "Lékař^Žofie"),
        ("ISO_IR 101", "Lékař^Žofie"),
        ("ISO_IR 100", "Müller^Jürgen"),
        (["", "ISO 2022 IR 87"], "Yamada^Tarou=山田^太郎=やまだ^たろう"),
    ],
)
def test_names_in_any_character_set_arrive_as_they_were(
    charset: Any, name: str, scan: Path, tiny_bundle: Path, tmp_path: Path
) -> None:
    files = export_edited(scan, tiny_bundle, tmp_path, {"SpecificCharacterSet": charset, "PatientName": name})
    for path in all_files(files):
        data = pydicom.dcmread(path)
        assert data.SpecificCharacterSet == "ISO_IR 192"
        assert str(data.PatientName).rstrip("=") == str(PersonName(name))


#: As in the RSNA 2019 challenge: no file meta class, dates, names, numbers, thickness, frame of reference.
RSNA_LACKS = (
    "PatientName",
    "PatientBirthDate",
    "PatientSex",
    "StudyDate",
    "StudyTime",
    "AccessionNumber",
    "ReferringPhysicianName",
    "FrameOfReferenceUID",
    "SliceThickness",
    "InstanceNumber",
    "ImageType",
    "SOPClassUID",
    "StudyID",
)


def test_a_series_with_as_little_as_a_challenge_gives_is_exported(
    scan: Path, tiny_bundle: Path, tmp_path: Path
) -> None:
    files = export_edited(scan, tiny_bundle, tmp_path, dict.fromkeys(RSNA_LACKS), heat_maps=True)
    assert "CT_NO_FRAME_OF_REFERENCE" in [notice.code for notice in files.notices]
    frames = set()
    for path in all_files(files):
        data = pydicom.dcmread(path)
        for keyword in ("PatientName", "PatientBirthDate", "PatientSex", "StudyDate", "StudyID", "AccessionNumber"):
            assert keyword in data
            assert not data[keyword].value
        frames.add(data.get("FrameOfReferenceUID"))
    assert len(frames - {None}) == 1
    measures = pydicom.dcmread(files.segmentation).SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0]
    assert float(measures.SliceThickness) == 5.0


ODD_VALUES: dict[str, dict[str, Any]] = {
    "dates that are none": {"PatientBirthDate": "unknown", "StudyDate": "2020-01-02x", "StudyTime": "noon"},
    "a sex that DICOM does not know": {"PatientSex": "X"},
    "values that are far too long": {"AccessionNumber": "9" * 80, "StudyID": "8" * 90, "PatientAge": "seventy"},
    "several windows and patients": {"WindowCenter": ["40", "500", "30"], "PatientID": ["A1", "B2"]},
    "empty values": {"SliceThickness": "", "StudyID": "", "PatientName": "", "FrameOfReferenceUID": ""},
    "a step that is not the true one": {"SpacingBetweenSlices": "99"},
    "an unknown character set": {"SpecificCharacterSet": "KLINGON"},
    "a de-identified series without method": {"PatientIdentityRemoved": "YES", "DeidentificationMethod": ""},
    "old private habits": {"PatientComments": "x" * 20000, "OtherPatientIDs": ["1", "2"]},
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", ODD_VALUES)
def test_odd_header_values_never_stop_an_export(kind: str, scan: Path, tiny_bundle: Path, tmp_path: Path) -> None:
    files = export_edited(scan, tiny_bundle, tmp_path, ODD_VALUES[kind])
    for path in all_files(files):
        data = pydicom.dcmread(path)
        assert data.StudyInstanceUID == "1.2.3.1"
        if kind == "a sex that DICOM does not know":
            assert data.PatientSex == ""
        if kind == "dates that are none":
            assert (data.PatientBirthDate, data.StudyDate) == ("", "")
        if kind == "a step that is not the true one" and path.name == "seg.dcm":
            measures = data.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0]
            assert float(measures.SpacingBetweenSlices) == pytest.approx(5.0)
    broken = kind in ("dates that are none", "a sex that DICOM does not know", "values that are far too long")
    assert ("CT_HEADER_VALUES" in [notice.code for notice in files.notices]) >= broken


def test_bytes_that_are_no_value_of_their_type_are_left_out(scan: Path, tiny_bundle: Path, tmp_path: Path) -> None:
    changed = copy_of(scan, tmp_path / "scan")
    for path in changed.iterdir():
        edit(path, PatientWeight="77.5", AdditionalPatientHistory="plain words")
        written = path.read_bytes()
        assert written.count(b"77.5") == 1
        path.write_bytes(written.replace(b"77.5", b"7-x5").replace(b"plain words", b"plain w\xff\xfe\0s"))
    run = finished_run(tmp_path / "run", changed, tiny_bundle, five_lesions(HU.shape))
    files = export_dicom(run.folder, changed, tmp_path / "out")
    assert "CT_HEADER_VALUES" in [notice.code for notice in files.notices]
    assert "PatientWeight" not in pydicom.dcmread(files.report)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(place=st.floats(0, 1), values=st.binary(min_size=1, max_size=6), chosen=st.integers(0, 8))
def test_damaged_headers_end_in_an_export_or_a_sentence(
    place: float, values: bytes, chosen: int, result: Result, scan: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("damaged")
    changed = copy_of(scan, folder / "scan")
    path = sorted(changed.iterdir())[chosen]
    written = bytearray(path.read_bytes())
    header = len(written) - HU[0].size * 2
    at = 132 + int(place * (header - 140))
    written[at : at + len(values)] = values
    path.write_bytes(written)
    try:
        files = export_dicom(result.folder, changed, folder / "out")
    except HemoCAMError as error:
        assert error.code.startswith("CT_")
        assert not (folder / "out").exists()
    else:
        segmentation = pydicom.dcmread(files.segmentation)
        assert np.count_nonzero(segmentation.pixel_array) == np.count_nonzero(result.labels)
    finally:
        shutil.rmtree(folder)


def test_a_file_without_identifiers_is_refused(scan: Path, tiny_bundle: Path, tmp_path: Path) -> None:
    for number, keyword in enumerate(("SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID")):
        changed = copy_of(scan, tmp_path / f"scan{number}")
        for path in changed.iterdir():
            edit(path, **{keyword: None})
        run = finished_run(tmp_path / f"run{number}", changed, tiny_bundle)
        assert refusal(run.folder, changed, tmp_path / "out").code == "CT_NO_IDENTIFIERS"


def test_files_that_share_an_identifier_are_refused(scan: Path, tiny_bundle: Path, tmp_path: Path) -> None:
    changed = copy_of(scan, tmp_path / "scan")
    for path in changed.iterdir():
        edit(path, SOPInstanceUID="1.2.3.4.5")
    run = finished_run(tmp_path / "run", changed, tiny_bundle)
    assert refusal(run.folder, changed, tmp_path / "out").code == "CT_NO_IDENTIFIERS"


def test_a_lone_slice_without_a_place_is_refused(tiny_bundle: Path, tmp_path: Path) -> None:
    write_series(tmp_path / "scan", HU[5:6], ImagePositionPatient=None, ImageOrientationPatient=None)
    run = finished_run(tmp_path / "run", tmp_path / "scan", tiny_bundle)
    assert refusal(run.folder, tmp_path / "scan", tmp_path / "out").code == "CT_NO_POSITIONS"


def test_several_multi_frame_files_are_refused(tiny_bundle: Path, tmp_path: Path) -> None:
    write_enhanced(tmp_path / "scan" / "one.dcm", HU[:5])
    write_enhanced(tmp_path / "scan" / "two.dcm", HU[5:])
    for index, groups in enumerate(
        (data := pydicom.dcmread(tmp_path / "scan" / "two.dcm")).PerFrameFunctionalGroupsSequence
    ):
        groups.PlanePositionSequence[0].ImagePositionPatient = [-100.3, -107.1, 45.0 + 5 * index]
    data.save_as(tmp_path / "scan" / "two.dcm")
    run = finished_run(tmp_path / "run", tmp_path / "scan", tiny_bundle)
    assert refusal(run.folder, tmp_path / "scan", tmp_path / "out").code == "CT_SEVERAL_FILES"


def test_a_run_without_dicom_is_refused(scan: Path, tiny_bundle: Path, tmp_path: Path) -> None:
    image = sitk.GetImageFromArray(HU)
    image.SetSpacing((3.4, 3.4, 5.0))
    sitk.WriteImage(image, str(tmp_path / "head.nii.gz"))
    run = finished_run(tmp_path / "run", tmp_path / "head.nii.gz", tiny_bundle)
    assert refusal(run.folder, scan, tmp_path / "out").code == "USAGE_NOT_DICOM"


@pytest.mark.parametrize("change", ["series", "voxel", "position", "missing", "one more", "nifti", "nothing"])
def test_another_source_than_the_one_analysed_is_refused(
    change: str, result: Result, scan: Path, tmp_path: Path
) -> None:
    other = copy_of(scan, tmp_path / "other")
    paths = sorted(other.iterdir())
    if change == "series":
        for path in paths:
            edit(path, SeriesInstanceUID="1.2.3.999")
    elif change == "voxel":
        data = pydicom.dcmread(paths[4])
        pixels = data.pixel_array.copy()
        pixels[30, 30] += 1
        data.PixelData = pixels.tobytes()
        data.save_as(paths[4])
    elif change == "position":
        for path in paths:
            x, y, z = pydicom.dcmread(path).ImagePositionPatient
            edit(path, ImagePositionPatient=[x, y, float(z) + 1])
    elif change == "missing":
        paths[-1].unlink()
    elif change == "one more":
        extra = pydicom.dcmread(paths[-1])
        extra.SOPInstanceUID = extra.file_meta.MediaStorageSOPInstanceUID = "1.2.3.4.99"
        x, y, z = extra.ImagePositionPatient
        extra.ImagePositionPatient = [x, y, float(z) + 5]
        extra.save_as(other / "extra.dcm")
    else:
        shutil.rmtree(other)
        other.mkdir()
        if change == "nifti":
            image = sitk.GetImageFromArray(HU)
            image.SetSpacing((3.4, 3.4, 5.0))
            sitk.WriteImage(image, str(other / "head.nii.gz"))
    error = refusal(result.folder, other, tmp_path / "out")
    assert error.code == ("CT_EMPTY_FOLDER" if change == "nothing" else "CT_OTHER_SERIES")
    assert not (tmp_path / "out").exists()


def test_a_copy_of_the_series_elsewhere_is_the_series(result: Result, scan: Path, tmp_path: Path) -> None:
    moved = copy_of(scan, tmp_path / "elsewhere" / "deeper")
    for number, path in enumerate(sorted(moved.iterdir())):
        path.rename(moved / f"IM{900 - number}")
    assert export_dicom(result.folder, tmp_path / "elsewhere", tmp_path / "out").segmentation is not None


def test_labels_that_were_changed_after_measuring_are_refused(result: Result, scan: Path, tmp_path: Path) -> None:
    run = copy_of(result.folder, tmp_path / "run")
    labels = sitk.ReadImage(str(run / "labels.nrrd"))
    labels[30, 30, 4] = 5
    sitk.WriteImage(labels, str(run / "labels.nrrd"))
    assert refusal(run, scan, tmp_path / "out").code == "WORKER_RUN_DAMAGED"
    (run / "labels.nrrd").write_bytes(b"NRRD0005\nnonsense")
    assert refusal(run, scan, tmp_path / "out").code == "WORKER_RUN_DAMAGED"
    (run / "labels.nrrd").unlink()
    assert refusal(run, scan, tmp_path / "out").code == "WORKER_RUN_DAMAGED"


def test_maps_that_are_missing_or_of_another_scan_are_refused(result: Result, scan: Path, tmp_path: Path) -> None:
    run = RunFolder(copy_of(result.folder, tmp_path / "run"))
    np.save(run.activation_path, result.activation[:, :-1])
    assert refusal(run.path, scan, tmp_path / "out", heat_maps=True).code == "WORKER_RUN_DAMAGED"
    run.activation_path.write_bytes(b"\x93NUMPY")
    assert refusal(run.path, scan, tmp_path / "out", heat_maps=True).code == "WORKER_RUN_DAMAGED"
    run.activation_path.unlink()
    assert refusal(run.path, scan, tmp_path / "out", heat_maps=True).code == "WORKER_RUN_DAMAGED"
    assert export_dicom(run.path, scan, tmp_path / "out").maps == {}


def test_a_run_that_does_not_tell_its_classes_asks_the_model(
    result: Result, scan: Path, tiny_bundle: Path, other_tiny_bundle: Path, tmp_path: Path
) -> None:
    run = RunFolder(copy_of(result.folder, tmp_path / "run"))
    fields = json.loads(run.result_path.read_text())
    del fields["model"]["classes"]
    run.write_json(run.result_path, fields)
    assert len(export_dicom(run.path, scan, tmp_path / "out", heat_maps=True).maps) == 5
    job = json.loads(run.job_path.read_text())
    run.write_json(run.job_path, {**job, "model": str(other_tiny_bundle)})
    error = refusal(run.path, scan, tmp_path / "other", heat_maps=True)
    assert error.code == "WORKER_RUN_DAMAGED"
    assert not (tmp_path / "other").exists()


def test_a_former_export_is_replaced_only_when_allowed(result: Result, scan: Path, tmp_path: Path) -> None:
    export_dicom(result.folder, scan, tmp_path / "out", heat_maps=True)
    (tmp_path / "out" / "notes.txt").write_text("mine")
    assert refusal(result.folder, scan, tmp_path / "out").code == "USAGE_OUT_IN_USE"
    export_dicom(result.folder, scan, tmp_path / "out", overwrite=True)
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"seg.dcm", "sr.dcm", "notes.txt"}


def test_a_folder_that_cannot_be_written_is_refused(result: Result, scan: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    assert refusal(result.folder, scan, tmp_path / "file" / "out").code == "USAGE_OUT"


def test_a_failure_inside_the_writer_tells_no_patient_data(
    result: Result, scan: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*args: Any, **options: Any) -> None:
        raise ValueError("Secret^Person is no valid name")

    monkeypatch.setattr("HemoCAMLib.export.api.build_report", fail)
    error = refusal(result.folder, scan, tmp_path / "out")
    assert error.code == "CT_HEADER"
    assert error.__cause__ is None
    assert error.__suppress_context__
    assert "Secret" not in json.dumps(error.as_dict())


def test_the_command_line_answers_in_json(
    result: Result, scan: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    code = run_command(["export-dicom", str(result.folder), "-s", str(scan), "-o", str(out), "--json"])
    answer = json.loads(capsys.readouterr().out)
    assert code == 0
    assert (answer["segmentation"], answer["report"]) == (str(out / "seg.dcm"), str(out / "sr.dcm"))
    assert answer["maps"] == {}
    assert [notice["code"] for notice in answer["notices"]] == ["EXPORT_NO_REGION"]
    code = run_command(["export-dicom", str(result.folder), "-s", str(tmp_path), "-o", str(out), "--json"])
    assert code == 2
    assert json.loads(capsys.readouterr().out)["error"]["code"] == "USAGE_OUT_IN_USE"


def test_without_highdicom_one_sentence_says_what_to_install(result: Result, scan: Path, tmp_path: Path) -> None:
    script = (
        "import sys\n"
        "sys.modules['highdicom'] = None\n"
        "from HemoCAMLib.cli.outcome import run_command\n"
        "sys.exit(run_command(sys.argv[1:]))\n"
    )
    arguments = ["export-dicom", str(result.folder), "--source", str(scan), "--out", str(tmp_path / "out")]
    answer = subprocess.run([sys.executable, "-c", script, *arguments], capture_output=True, text=True, timeout=60)
    assert answer.returncode == 2
    assert "USAGE_NO_HIGHDICOM" in answer.stderr
    assert "Traceback" not in answer.stderr


def test_importing_the_library_does_not_import_highdicom() -> None:
    script = "import sys, HemoCAMLib.export, HemoCAMLib.cli.app; sys.exit('highdicom' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], timeout=60).returncode == 0


def test_labels_keep_their_order_under_every_turn_of_the_grid() -> None:
    from itertools import permutations

    from HemoCAMLib.ct import InputGrid

    canonical = np.arange(2 * 3 * 4).reshape(2, 3, 4)
    for axes in permutations(range(3)):
        for flips in ((), (0,), (1, 2), (0, 1, 2)):
            grid = InputGrid((axes[0], axes[1], axes[2]), flips, np.zeros(3), np.eye(3))
            assert np.array_equal(grid.to_canonical(grid.to_stored(canonical)), canonical)
