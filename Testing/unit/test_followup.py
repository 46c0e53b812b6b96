"""Two scans of one head: laid over each other, and what changed between them."""

from __future__ import annotations

import copy
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from dicom_writer import write_series
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation
from synthetic_head import chest_hu, head_hu

from HemoCAMLib import analyze
from HemoCAMLib.ct import HeadCT, head_ct_from_array, read_head_ct
from HemoCAMLib.ct.geometry import SliceGeometry
from HemoCAMLib.errors import HemoCAMError, InputRefused
from HemoCAMLib.followup import (
    Change,
    FollowUp,
    RunScan,
    SubtypeChange,
    align,
    change_between,
    follow_up,
    write_followup,
)
from HemoCAMLib.followup.sampling import TrueSampler, slice_points
from HemoCAMLib.run.result import Result
from HemoCAMLib.run.source import scan_of_run
from HemoCAMLib.subtypes import SUBTYPE_NAMES


def moved(ct: HeadCT, angles_deg: tuple[float, float, float], shift_mm: tuple[float, float, float]) -> HeadCT:
    """The same voxels in another place: where a patient lies differently, and what an alignment must find."""
    geometry, turn = ct.geometry, Rotation.from_euler("xyz", angles_deg, degrees=True).as_matrix()
    return replace(
        ct,
        geometry=SliceGeometry(
            geometry.positions_mm @ turn.T + np.array(shift_mm),
            turn @ geometry.row_direction,
            turn @ geometry.column_direction,
            geometry.pixel_spacing_mm,
            geometry.slice_thickness_mm,
        ),
    )


@pytest.fixture(scope="module")
def head() -> HeadCT:
    affine = np.diag([2.3, 2.3, 5.0, 1.0])
    return head_ct_from_array(head_hu(slices=24, rows=96, columns=90, spacing_mm=2.3), affine)


@pytest.mark.parametrize(("angles_deg", "shift_mm"), [((3, -2, 6), (5, -7, 9)), ((6, 5, -18), (10, 20, -12))])
def test_a_known_motion_is_found_again(head: HeadCT, angles_deg: Any, shift_mm: Any) -> None:
    other = moved(head, angles_deg, shift_mm)
    found = align(head, other)
    points = np.concatenate([slice_points(head.geometry, index, 96, 90, step=20).reshape(-1, 3) for index in (4, 18)])
    turn = Rotation.from_euler("xyz", angles_deg, degrees=True)
    errors_mm = np.linalg.norm(found.to_second(points) - (turn.apply(points) + np.array(shift_mm)), axis=1)
    # This head is all smooth ellipses; on real skulls the error is a few tenths of a millimetre.
    assert errors_mm.max() < 1.5
    assert found.rotation_deg == pytest.approx(np.degrees(turn.magnitude()), abs=0.5)
    assert found.skull_overlap > 0.8
    assert np.allclose(found.to_first(found.to_second(points)), points)


def test_what_is_no_head_cannot_be_laid_over_one(head: HeadCT) -> None:
    chest = replace(head, slices=chest_hu(slices=24, rows=96, columns=90, spacing_mm=2.3))
    with pytest.raises(InputRefused) as caught:
        align(head, chest)
    assert caught.value.code == "CT_NOT_ALIGNED"


def tilted_and_uneven(tilt_deg: float, offsets_mm: list[float]) -> SliceGeometry:
    """Slices whose origins shift within the plane, as under gantry tilt."""
    tilt = np.radians(tilt_deg)
    column, normal = np.array([0, np.cos(tilt), np.sin(tilt)]), np.array([0, -np.sin(tilt), np.cos(tilt)])
    offsets = np.array(offsets_mm)
    positions = offsets[:, None] * normal + np.tan(tilt) * offsets[:, None] * column + np.array([-20.0, -30.0, 7.0])
    return SliceGeometry(positions, np.array([1.0, 0, 0]), column, (1.5, 1.2))


@settings(max_examples=25, deadline=None)
@given(
    tilt_deg=st.floats(-29, 29),
    steps_mm=st.lists(st.floats(1.0, 7.0), min_size=3, max_size=6),
    reduction=st.sampled_from([1, 2, 4]),
)
def test_a_linear_field_is_sampled_exactly_under_tilt_and_uneven_steps(
    tilt_deg: float, steps_mm: list[float], reduction: int
) -> None:
    geometry = tilted_and_uneven(tilt_deg, list(np.cumsum([0.0, *steps_mm])))
    rows = columns = 16
    field = np.array([0.3, -0.7, 0.5])
    volume = np.stack([slice_points(geometry, n, rows, columns) @ field for n in range(geometry.slice_count)])
    shape = (geometry.slice_count, rows // reduction, reduction, columns // reduction, reduction)
    reduced = volume.reshape(shape).mean(axis=(2, 4))
    inner = slice_points(geometry, 1, rows, columns)[4:12, 4:12]
    between = inner + 0.3 * (geometry.positions_mm[2] - geometry.positions_mm[1])
    for points in (inner, between):
        sampled = TrueSampler(reduced, geometry, reduction).linear(points, outside=np.nan)
        assert np.allclose(sampled, points @ field, atol=1e-3)


def test_points_beyond_the_scan_are_outside(head: HeadCT) -> None:
    sampler = TrueSampler(head.hu, head.geometry)
    below = head.geometry.positions_mm[0] - 20 * head.geometry.normal
    assert sampler.linear(below[None], outside=-1024.0)[0] == -1024
    assert sampler.nearest(below[None])[0] == 0


def change(**volumes_ml: tuple[float, float]) -> Change:
    names = (*SUBTYPE_NAMES, "total")
    return Change({name: SubtypeChange(*volumes_ml.get(name, (0.0, 0.0))) for name in names})


@pytest.mark.parametrize(
    ("first_ml", "second_ml", "expanded"),
    [
        (40.0, 46.0, True),
        (40.0, 45.9, False),
        (9.0, 11.97, True),
        (9.0, 11.9, False),
        (9.0, 4.0, False),
        (0.0, 12.0, None),
    ],
)
def test_expansion_is_six_millilitres_or_a_third(first_ml: float, second_ml: float, expanded: bool | None) -> None:
    assert change(IPH=(first_ml, second_ml)).iph_expanded is expanded


def test_new_blood_in_the_ventricles_is_stated() -> None:
    new, grown, same = change(IVH=(0, 0.4)), change(IVH=(2.0, 3.0)), change(IVH=(2.0, 2.9))
    assert (new.new_ivh, new.ivh_grew) == (True, False)
    assert (grown.new_ivh, grown.ivh_grew, same.ivh_grew) == (False, True, False)
    assert any("Intraventricular blood is new" in sentence for sentence in new.sentences())


def test_nothing_in_either_scan_gives_no_sentence_and_no_percentage() -> None:
    none = change()
    assert none.sentences() == []
    assert none["IPH"].change_percent is None
    assert json.dumps(none.to_dict(), allow_nan=False)


@given(st.floats(0, 300), st.floats(0, 300))
def test_a_change_and_its_reverse_cancel(first_ml: float, second_ml: float) -> None:
    forth, back = SubtypeChange(first_ml, second_ml), SubtypeChange(second_ml, first_ml)
    assert forth.change_ml == -back.change_ml
    assert forth.is_new == back.is_gone


@pytest.fixture(scope="module")
def runs(tiny_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[RunScan, RunScan]:
    """The same head twice: the second time turned, with a larger label map and volumes to match."""
    folder = tmp_path_factory.mktemp("runs")
    hu = head_hu(slices=24, rows=96, columns=90, spacing_mm=2.3)
    affine = np.diag([2.3, 2.3, 5.0, 1.0])
    turned = np.eye(4)
    turned[:3, :3] = Rotation.from_euler("z", 7, degrees=True).as_matrix()
    found = []
    for name, pose in (("first", affine), ("second", turned @ affine)):
        result = analyze(hu, folder / name, ijk_to_ras=pose, model=str(tiny_bundle), threads=1)
        found.append(RunScan(result, scan_of_run(result)))
    return found[0], found[1]


@pytest.fixture(scope="module")
def found(runs: tuple[RunScan, RunScan]) -> FollowUp:
    return follow_up(*runs)


def test_the_same_two_scans_are_aligned_the_same_way_to_a_micrometre(
    runs: tuple[RunScan, RunScan], found: FollowUp
) -> None:
    assert np.allclose(align(runs[0].ct, runs[1].ct).matrix, found.alignment.matrix, rtol=0, atol=1e-3)


def test_a_followup_is_written_with_pictures_and_numbers(found: FollowUp, tmp_path: Path) -> None:
    files = write_followup(found, tmp_path, count=2)
    assert [file.name for file in files] == ["followup.json", "followup.html"]
    numbers = json.loads(files[0].read_text())
    assert numbers["alignment"]["rotation_deg"] == pytest.approx(7, abs=0.5)
    assert numbers["subtypes"]["total"]["change_ml"] == pytest.approx(0, abs=0.5)
    page = files[1].read_text(encoding="utf-8")
    assert page.count("data:image/jpeg;base64,") >= 4
    assert "no patient data" in page


def test_the_second_scan_is_shown_in_the_planes_of_the_first(found: FollowUp) -> None:
    hu, labels = found.second_on_first([12])
    inside = found.first.ct.slices[12] > -500
    assert np.abs(hu[0][inside] - found.first.ct.slices[12][inside]).mean() < 60
    assert labels.shape == hu.shape


def test_different_models_are_noted(runs: tuple[RunScan, RunScan], found: FollowUp) -> None:
    first, second = runs
    fields = copy.deepcopy(second.result.fields)
    fields["model"]["checksum"] = "0" * 64
    other = RunScan(Result(second.result.folder, fields), second.ct)
    assert any("different models" in note for note in follow_up(first, other).notes)
    assert any("one patient" in note for note in found.notes)


def with_series(run: RunScan, uid: str) -> RunScan:
    return RunScan(run.result, replace(run.ct, source=replace(run.ct.source, series_instance_uid=uid)))


def test_a_scan_is_no_followup_of_itself(runs: tuple[RunScan, RunScan]) -> None:
    with pytest.raises(HemoCAMError) as caught:
        follow_up(with_series(runs[0], "1.2.3"), with_series(runs[0], "1.2.3"))
    assert caught.value.code == "USAGE_SAME_SCAN"


def test_volumes_are_taken_from_each_result(runs: tuple[RunScan, RunScan]) -> None:
    found = change_between(runs[0].result, runs[1].result)
    for name in (*SUBTYPE_NAMES, "total"):
        assert found[name].first_ml == runs[0].result.volume_ml[name]
        assert found[name].second_ml == runs[1].result.volume_ml[name]


def test_two_patients_are_refused_and_neither_is_named(tmp_path: Path, runs: tuple[RunScan, RunScan]) -> None:
    scans = []
    for number, patient in enumerate(("AB-1", "AB-2")):
        folder = tmp_path / str(number)
        write_series(folder, head_hu())
        for file in folder.iterdir():
            dataset = pydicom.dcmread(file)
            dataset.PatientID = patient
            dataset.save_as(file)
        scans.append(RunScan(runs[number].result, read_head_ct(folder)))
    with pytest.raises(HemoCAMError) as caught:
        follow_up(with_series(scans[0], "1.2"), with_series(scans[1], "1.3"))
    assert caught.value.code == "USAGE_OTHER_PATIENT"
    assert "AB-" not in f"{caught.value} {caught.value.detail}"
