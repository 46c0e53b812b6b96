"""A finished run with other mask settings: the same as an analysis with them, and the old run stays."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from synthetic_head import head_hu

import HemoCAMLib as hc
from HemoCAMLib.cli.mask_option import parse_mask
from HemoCAMLib.cli.outcome import run_command
from HemoCAMLib.errors import HemoCAMError, UsageError
from HemoCAMLib.run.relabel_run import relabel

ALL_THE_SAME = ("probabilities.npy", "activation.npy", "brain.npy", "labels.nrrd")


@pytest.fixture(scope="module")
def worker():
    with hc.PlainWorker() as worker:
        yield worker


@pytest.fixture(scope="module")
def scan(tmp_path_factory) -> Path:
    image = sitk.GetImageFromArray(head_hu())
    image.SetSpacing((3.4, 3.4, 5.0))
    path = tmp_path_factory.mktemp("scan") / "head.nii.gz"
    sitk.WriteImage(image, str(path))
    return path


@pytest.fixture(scope="module")
def run(scan, tiny_bundle, worker, tmp_path_factory) -> hc.Result:
    out = tmp_path_factory.mktemp("run") / "run"
    return hc.analyze(scan, out, model=str(tiny_bundle), threads=1, worker=worker)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name != "run.lock"}


@pytest.mark.parametrize(
    "changes",
    [
        {"rule": "otsu"},
        {"rule": {"name": "percentile", "percentile": 90, "over": "brain"}, "class_thresholds": {"IPH": 0.1}},
        {"scale": "per_image", "minimum_volume_ml": 2.0},
        {"scale": "per_image", "rule": "adaptive:7", "refinement": "hysteresis"},
        {"mask_thresholds": {"SAH": 0.45}, "refinement": {"name": "hu-mixture", "smallest_height": 0.3}},
    ],
    ids=["otsu", "percentile", "scale", "adaptive and refined", "refined"],
)
def test_relabelling_gives_what_an_analysis_with_these_settings_gives(
    changes, scan, tiny_bundle, worker, run, tmp_path
):
    before = contents(run.folder)
    relabelled = relabel(run.folder, tmp_path / "relabelled", mask=changes)
    asked = hc.analyze(scan, tmp_path / "asked", model=str(tiny_bundle), threads=1, mask=changes, worker=worker)
    for name in ALL_THE_SAME:
        assert (relabelled.folder / name).read_bytes() == (asked.folder / name).read_bytes(), name
    assert relabelled.fields["relabelled_from"] == {"mask": run.fields["settings"]["mask"]}
    for name in asked.fields.keys() - {"timing_s", "quality"}:
        assert relabelled.fields[name] == asked.fields[name], name
    assert relabelled.quality == run.quality
    assert contents(run.folder) == before


def test_a_relabelled_run_can_be_relabelled_back(run, tmp_path):
    other = relabel(run.folder, tmp_path / "one", mask={"rule": "mean", "class_thresholds": {"EDH": 0.05}})
    mask = run.fields["settings"]["mask"]
    back = relabel(other.folder, tmp_path / "two", mask=mask)
    assert (back.folder / "labels.nrrd").read_bytes() == (run.folder / "labels.nrrd").read_bytes()
    assert back.volume_ml == run.volume_ml


def test_relabelling_sends_slices_and_does_not_judge_the_scan_again(run, tmp_path):
    events = []
    other = relabel(run.folder, tmp_path / "out", mask={"rule": "mean"}, on_event=events.append)
    kinds = [event["event"] for event in events]
    assert "slices" in kinds
    assert "quality" not in kinds
    assert other.quality == run.quality


def test_an_array_stays_with_its_run(tiny_bundle, worker, tmp_path):
    affine = np.diag([3.4, 3.4, 5.0, 1.0])
    run = hc.analyze(head_hu(), tmp_path / "run", ijk_to_ras=affine, model=str(tiny_bundle), threads=1, worker=worker)
    once = relabel(run.folder, tmp_path / "once", mask={"rule": "median"})
    twice = relabel(once.folder, tmp_path / "twice", mask={"rule": "median"})
    assert (once.folder / "labels.nrrd").read_bytes() == (twice.folder / "labels.nrrd").read_bytes()


def test_a_run_is_never_overwritten_by_its_own_relabelling(run):
    before = contents(run.folder)
    for overwrite in (False, True):
        with pytest.raises(UsageError) as refused:
            relabel(run.folder, run.folder, mask={"rule": "otsu"}, overwrite=overwrite)
        assert refused.value.code == "USAGE_OUT"
    assert contents(run.folder) == before


@pytest.mark.parametrize(
    ("mask", "code"),
    [
        ({"rule": "otsuu"}, "USAGE_MASK_SETTINGS"),
        ({"rule": {"name": "otsu", "percentile": 3}}, "USAGE_MASK_SETTINGS"),
        ({"scale": "relative"}, "USAGE_MASK_SETTINGS"),
        ({"thresholds": {}}, "USAGE_MASK_SETTINGS"),
        ({"map_values": "signed"}, "USAGE_MASK_SCALE"),
    ],
)
def test_settings_that_make_no_sense_leave_no_folder_behind(mask, code, run, tmp_path):
    with pytest.raises(HemoCAMError) as refused:
        relabel(run.folder, tmp_path / "out", mask=mask)
    assert refused.value.code == code
    assert not (tmp_path / "out").exists()


def test_another_scan_is_refused_and_leaves_no_folder_behind(run, tmp_path):
    image = sitk.GetImageFromArray(head_hu() + np.int16(1))
    image.SetSpacing((3.4, 3.4, 5.0))
    sitk.WriteImage(image, str(tmp_path / "other.nii.gz"))
    with pytest.raises(HemoCAMError) as refused:
        relabel(run.folder, tmp_path / "out", mask={}, source=tmp_path / "other.nii.gz")
    assert refused.value.code == "CT_OTHER_SERIES"
    assert not (tmp_path / "out").exists()


def test_the_command_line_relabels(run, tmp_path, capsys):
    out = tmp_path / "out"
    arguments = ["relabel", str(run.folder), "--out", str(out), "--threshold", "percentile:75@brain", "--json"]
    assert run_command([*arguments, "--mask", "gate=0.05"]) == 0
    fields = json.loads(capsys.readouterr().out)
    assert fields["settings"]["mask"]["rule"] == {"name": "percentile", "percentile": 75.0, "over": "brain"}
    assert set(fields["settings"]["mask"]["class_thresholds"].values()) == {0.05}
    assert fields["volume_ml"] == hc.Result.load(out).volume_ml
    assert run_command(["relabel", str(run.folder), "--out", str(tmp_path / "no"), "--threshold", "otsuu"]) == 2
    assert "otsuu" in capsys.readouterr().err


def test_the_threshold_option_is_the_rule_of_the_mask_option():
    rule = {"name": "multi-otsu", "classes": 4, "over": "image"}
    assert parse_mask(["rule=multi-otsu:4"]) == parse_mask([], "multi-otsu:4") == {"rule": rule}
    assert parse_mask(["rule=otsu,gate=0.2"], "multi-otsu:4")["rule"] == rule
