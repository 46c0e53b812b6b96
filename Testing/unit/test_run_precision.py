"""Half precision: taken only where it was checked on the model at hand, and how that is checked."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from HemoCAMLib.cli.app import app
from HemoCAMLib.errors import ModelRefused, UsageError
from HemoCAMLib.model import BundleMetadata, ModelBundle, find_model
from HemoCAMLib.model.half_precision import HalfPrecision, is_checked
from HemoCAMLib.run import compute
from HemoCAMLib.run.compute import choose_compute, unchecked_precision
from HemoCAMLib.run.job import AnalyzeJob
from HemoCAMLib.run.precision_check import _Tally, check_half_precision
from HemoCAMLib.run.result import Result
from HemoCAMLib.sample import write_sample

GOOD = {"largest_dice_change": 0.001, "largest_volume_change_ml": 0.1, "largest_probability_change": 0.01}


@pytest.fixture(scope="module")
def metadata() -> BundleMetadata:
    return replace(find_model().metadata, half_precision=())


def record(metadata: BundleMetadata, **changes: object) -> HalfPrecision:
    fields = {"dtype": "bfloat16", "device": "cpu", "weights_sha256": metadata.weights_sha256, "scans": 3, **GOOD}
    return HalfPrecision(**{**fields, **changes})  # type: ignore[arg-type]


def read_back(metadata: BundleMetadata, **changes: object) -> BundleMetadata:
    values = metadata.to_dict()
    values["hemocam"]["half_precision"][0].update(changes)
    return BundleMetadata.from_dict(json.loads(json.dumps(values)))


def test_a_description_with_records_is_read_back_equal(metadata: BundleMetadata) -> None:
    described = replace(metadata, half_precision=(record(metadata), record(metadata, dtype="float16", device="cuda")))
    assert BundleMetadata.from_dict(described.to_dict()) == described


def test_a_description_without_records_stays_valid_and_gains_no_field(metadata: BundleMetadata) -> None:
    assert "half_precision" not in metadata.hemocam_fields()
    assert BundleMetadata.from_dict(metadata.to_dict()).half_precision == ()


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("dtype", "float8"),
        ("device", "tpu"),
        ("scans", 0),
        ("largest_dice_change", 1.5),
        ("largest_volume_change_ml", -1),
        ("largest_dice_change", float("nan")),
        ("passed", False),
        ("passed", 1),
        ("surprise", 1),
    ],
)
def test_a_record_that_makes_no_sense_is_refused(metadata: BundleMetadata, field: str, value: object) -> None:
    described = replace(metadata, half_precision=(record(metadata),))
    with pytest.raises(ModelRefused) as caught:
        read_back(described, **{field: value})
    assert caught.value.code.startswith("MODEL_METADATA")


@pytest.mark.parametrize("change", [{"largest_dice_change": 0.021}, {"largest_volume_change_ml": 0.51}])
def test_a_change_beyond_its_bound_does_not_pass(metadata: BundleMetadata, change: dict[str, float]) -> None:
    assert record(metadata).passed
    assert not record(metadata, **change).passed


def test_a_record_counts_for_its_own_weights_type_and_device_only(metadata: BundleMetadata) -> None:
    records, weights = [record(metadata)], metadata.weights_sha256
    assert is_checked(records, "bfloat16", "cpu", weights)
    assert not is_checked(records, "float16", "cpu", weights)
    assert not is_checked(records, "bfloat16", "cuda", weights)
    assert not is_checked(records, "bfloat16", "cpu", "0" * 64)


@pytest.mark.parametrize(
    ("fast", "passed", "expected"),
    [(True, True, "bfloat16"), (False, True, "float32"), (True, False, "float32")],
)
def test_auto_takes_half_precision_only_where_it_passed_and_is_fast(
    metadata: BundleMetadata, monkeypatch: pytest.MonkeyPatch, fast: bool, passed: bool, expected: str
) -> None:
    monkeypatch.setattr(compute, "_available", lambda device: device in ("cpu", "cuda"))
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: fast)
    checked = record(metadata, device="cuda", largest_dice_change=0.0 if passed else 0.5)
    assert choose_compute(AnalyzeJob("a"), None, replace(metadata, half_precision=(checked,))).precision == expected
    assert choose_compute(AnalyzeJob("a"), None, metadata).precision == "float32"


def test_a_cpu_stays_with_full_precision_so_that_two_computers_give_the_same(metadata: BundleMetadata) -> None:
    described = replace(metadata, half_precision=(record(metadata),))
    assert choose_compute(AnalyzeJob("a", device="cpu"), None, described).precision == "float32"


def test_an_explicit_choice_is_followed_and_said_aloud_where_it_was_not_checked(metadata: BundleMetadata) -> None:
    chosen = choose_compute(AnalyzeJob("a", device="cpu", precision="bfloat16"), None, metadata)
    assert chosen.precision == "bfloat16"
    assert "check-precision" in unchecked_precision(chosen, metadata)
    assert unchecked_precision(chosen, replace(metadata, half_precision=(record(metadata),))) == ""
    assert unchecked_precision(replace(chosen, precision="float32"), metadata) == ""


class FakeResult:
    """The three fields that are compared."""

    def __init__(self, labels: list[int], volume_ml: dict[str, float], probability: float) -> None:
        self.labels = np.array(labels, np.uint8)
        self.volume_ml = volume_ml
        self.probabilities = np.array([[probability]], np.float32)


def test_changes_are_those_of_the_subtype_the_scan_and_the_slice_that_changed_most() -> None:
    tally = _Tally()
    full: Result = FakeResult([0, 1, 1, 1, 2], {"IPH": 3.0, "total": 4.0}, 0.5)  # type: ignore[assignment]
    half: Result = FakeResult([0, 0, 1, 1, 2], {"IPH": 2.0, "total": 3.5}, 0.75)  # type: ignore[assignment]
    tally.add(full, half)
    tally.add(full, full)
    # IPH over both scans: 6 pixels, 5 pixels, 5 in both.
    assert tally.largest_dice_change == pytest.approx(1 - 2 * 5 / 11)
    assert tally.largest_volume_change_ml == pytest.approx(1.0)
    assert tally.largest_probability_change == pytest.approx(0.25)


def test_scans_that_show_nothing_in_either_precision_change_nothing() -> None:
    tally = _Tally()
    empty: Result = FakeResult([0, 0], {"IPH": 0.0}, 0.1)  # type: ignore[assignment]
    tally.add(empty, empty)
    assert tally.largest_dice_change == 0


def test_a_check_without_scans_is_refused(metadata: BundleMetadata) -> None:
    with pytest.raises(UsageError, match="No scan"):
        check_half_precision(find_model(), [])


def test_the_command_compares_and_writes_the_outcome_into_the_models_description(tmp_path: Path) -> None:
    model = tmp_path / "model"
    shutil.copytree(find_model().path, model)
    opened = ModelBundle.open(model)
    opened.described_by(replace(opened.metadata, half_precision=()))
    (model / "notes.txt").write_text("stays")
    scan = write_sample(tmp_path / "sample").scan
    arguments = ["models", "check-precision", str(model), "--scans", str(scan), "--write", "--json"]
    answer = CliRunner().invoke(app, arguments)
    assert answer.exit_code == 0, answer.output
    found = json.loads(answer.stdout[answer.stdout.index("{") :])["half_precision"]
    # bfloat16 has eight bits: some probability moves, none by much.
    assert 0 < found["largest_probability_change"] < 0.2
    assert found["scans"] == 1
    (written,) = ModelBundle.open(model).metadata.half_precision
    assert written.as_dict() == found
    assert (model / "notes.txt").read_text() == "stays"
    ModelBundle.open(model).verify()


def test_a_zipped_model_is_not_changed(tmp_path: Path, metadata: BundleMetadata) -> None:
    packed = shutil.make_archive(str(tmp_path / "model"), "zip", find_model().path)
    with pytest.raises(UsageError, match="zipped"):
        ModelBundle.open(packed).described_by(metadata)
