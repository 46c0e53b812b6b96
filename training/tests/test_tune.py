from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hemocam_training.bundle_tuning import TuneOptions, Tuning, tune
from hemocam_training.bundle_tuning.calibrate import calibration_scores, fit_calibration
from hemocam_training.bundle_tuning.class_thresholds import at_sensitivity, gate_candidates
from hemocam_training.cli import main
from hemocam_training.errors import DataRefused
from hypothesis import given
from hypothesis import strategies as st
from mapped_heads import DrawnBundle, DrawnStore, head, labels, metadata
from sklearn.linear_model import LogisticRegression

from HemoCAMLib.errors import UsageError
from HemoCAMLib.subtypes import CLASS_NAMES, SUBTYPE_NAMES

BOX = (slice(8, 20), slice(8, 20))
SMALL = (slice(8, 20), slice(8, 14))
BLEEDING = slice(3, 7)


def drawn_scans(mask_level: float = 2.0) -> list[Any]:
    """Four bleeding heads whose maps reach ``mask_level`` over the truth and 0.6 over a rim, four healthy ones."""
    rng = np.random.default_rng(0)
    scans = []
    for number in range(8):
        truth = labels(10)
        if number < 4:
            truth[(BLEEDING, *SMALL)] = 1
        one = head(f"p{number}", truth, truth, rng.normal(-2, 0.4, (10, 6)))
        if number < 4:
            one.logits[BLEEDING, :2] += 4.0
            one.local_logits[0, BLEEDING] = -4.0
            one.local_logits[(0, BLEEDING, *BOX)] = 0.6
            one.local_logits[(0, BLEEDING, *SMALL)] = mask_level
        scans.append(one)
    return scans


@pytest.fixture(scope="module")
def tuned() -> Tuning:
    store = DrawnStore(drawn_scans())
    return tune(store, store, "told", TuneOptions(refinement=False))  # type: ignore[arg-type]


def test_mask_thresholds_leave_the_rim_and_keep_the_lesion(tuned: Tuning) -> None:
    assert 1 / (1 + np.exp(-0.6)) <= tuned.mask_thresholds["absolute"]["IPH"] < 1 / (1 + np.exp(-2.0))
    # On the per-image scale the rim is at 0.6 / 2 of 255.
    assert 76 < tuned.mask_thresholds["per_image"]["IPH"] < 255
    assert tuned.figures["mask_thresholds"]["absolute"]["IPH"]["pooled_dice"] > 0.85


def test_class_thresholds_lie_between_bleeding_and_healthy_slices(tuned: Tuning) -> None:
    found = tuned.figures["classification"]
    assert (found["IPH"]["auroc"], found["IPH"]["sensitivity"], found["IPH"]["specificity"]) == (1.0, 1.0, 1.0)
    assert set(found) == {"any", "IPH"}


def test_a_class_without_a_positive_slice_is_never_called(tuned: Tuning) -> None:
    assert tuned.class_thresholds["EDH"] == 1.0


def test_the_outcome_survives_its_file_and_goes_into_a_description(tuned: Tuning, tmp_path: Path) -> None:
    tuned.write(tmp_path / "tuning.json")
    back = Tuning.read(tmp_path / "tuning.json")
    assert back.as_dict() == json.loads(json.dumps(tuned.as_dict()))
    described = back.applied(metadata())
    assert described.class_thresholds == tuned.class_thresholds
    assert described.calibration == tuned.calibration
    with pytest.raises(UsageError, match="other weights"):
        back.applied(metadata(weights_sha256="1" * 64))


def test_a_file_that_is_no_tuning_is_refused(tmp_path: Path) -> None:
    for content in ("", "{}", '{"hemocam_tuning": 1, "calibration": {"scale": 3}}'):
        (tmp_path / "x.json").write_text(content, encoding="utf-8")
        with pytest.raises(DataRefused, match="not the outcome of a tuning"):
            Tuning.read(tmp_path / "x.json")


def test_refinement_is_chosen_by_finished_masks() -> None:
    """Maps that reach over brain: growing on HU from them gives the truth, the maps alone do not."""
    scans = [one for one in drawn_scans() if one.truth.any()]
    wide = (slice(6, 22), slice(6, 22))
    for one in scans:
        one.local_logits[(0, BLEEDING, *wide)] = 2.0
    store = DrawnStore(scans + drawn_scans()[4:])
    found = tune(store, store, "told", TuneOptions(calibration="none"))  # type: ignore[arg-type]
    tried = found.figures["masks"]["refinement"]
    assert found.refinement is not None
    assert tried["off"] < 0.6
    assert found.figures["masks"]["goal"] > tried["off"] + 0.2


def test_without_masks_of_subtypes_the_mask_settings_stay() -> None:
    scans = [replace(one, truth=None, mask_kind="") for one in drawn_scans()]
    bundle = DrawnBundle(metadata(mask_thresholds={"absolute": dict.fromkeys(SUBTYPE_NAMES, 0.37)}))
    store = DrawnStore(scans, bundle)
    found = tune(store, store, "told")  # type: ignore[arg-type]
    assert set(found.mask_thresholds["absolute"].values()) == {0.37}
    assert found.class_thresholds["IPH"] < 1


def test_the_roc_alone_is_used_where_asked_and_sensitivity_is_kept() -> None:
    store = DrawnStore(drawn_scans())
    options = TuneOptions(sensitivity=1.0, joint_gates=False, calibration="none", refinement=False)
    found = tune(store, store, "told", options)  # type: ignore[arg-type]
    lowest = min(float(one.probabilities(None)[BLEEDING, 1].min()) for one in store.drawn[:4])
    assert found.class_thresholds["IPH"] < lowest
    assert found.figures["classification"]["IPH"]["sensitivity"] == 1.0


@given(
    st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=2, max_size=60).filter(
        lambda rows: 0 < sum(positive for _, positive in rows) < len(rows)
    ),
    st.floats(0.01, 1),
)
def test_a_required_sensitivity_is_reached_by_the_highest_threshold(rows: list[Any], wanted: float) -> None:
    scores, positive = np.array([row[0] for row in rows]), np.array([row[1] for row in rows])
    threshold = at_sensitivity(scores, positive, wanted)
    reached = (scores > threshold)[positive].mean()
    lowest_called = np.sort(scores[positive])[::-1][int(np.ceil(wanted * positive.sum() - 1e-9)) - 1]
    # A score of 0 cannot exceed any threshold.
    if lowest_called > 0:
        assert reached >= wanted - 1e-9
    assert threshold <= lowest_called


def test_no_gate_is_looser_than_what_was_asked_for() -> None:
    rng = np.random.default_rng(1)
    positive = rng.random(400) < 0.2
    scores = np.clip(rng.normal(0.3, 0.1, 400) + 0.3 * positive, 0, 1)
    found = gate_candidates(scores, positive)
    assert all(one >= found.asked for one in found.stricter)
    assert not (scores[~positive] > found.cleanest).any()


def test_platt_scaling_agrees_with_logistic_regression() -> None:
    rng = np.random.default_rng(2)
    truth = rng.normal(0, 2, 20_000)
    positive = rng.random(truth.size) < 1 / (1 + np.exp(-truth))
    logits = np.full((truth.size, 6), np.nan)
    logits[:, 0] = 3 * truth + 1
    target, known = np.zeros((truth.size, 6)), np.zeros((truth.size, 6))
    target[:, 0], known[:, 0] = positive, 1
    line = fit_calibration(logits, target, known, "platt")
    assert line is not None
    reference = LogisticRegression(C=1e9, tol=1e-8).fit(logits[:, :1], positive)
    assert line.scale["any"] == pytest.approx(float(reference.coef_[0, 0]), rel=0.01)
    assert line.offset["any"] == pytest.approx(float(reference.intercept_[0]), abs=0.01)
    assert line.scale["any"] == pytest.approx(1 / 3, rel=0.05)
    assert (line.scale["IPH"], line.offset["IPH"]) == (1.0, 0.0)
    before = calibration_scores(1 / (1 + np.exp(-logits[:, 0])), positive)
    after = calibration_scores(line.probabilities(logits[:, :1], CLASS_NAMES[:1])[:, 0], positive)
    assert after.log_loss < before.log_loss
    assert after.expected_error < 0.02 < before.expected_error


def test_a_temperature_has_no_offset_and_separable_classes_stay_finite() -> None:
    logits = np.repeat(np.linspace(-1, 1, 40)[:, None], 6, axis=1)
    target = (logits > 0).astype(float)
    line = fit_calibration(logits, target, np.ones_like(target), "temperature")
    assert line is not None
    assert set(line.offset.values()) == {0.0}
    assert 1 < line.scale["any"] < 100
    assert fit_calibration(logits, target, np.ones_like(target), "none") is None


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["--phantoms", "1000000:2"], 6),
        (["--phantoms", "3000000:2"], 6),
        ([], 2),
        (["--phantoms", "2010000:2", "--sensitivity", "1.5"], 2),
        (["--phantoms", "2010000:2", "--calibration", "isotonic"], 2),
        (["--phantoms", "2010000:2", "--mask-scale", "relative"], 2),
    ],
)
def test_tuning_on_anything_but_tuning_scans_is_refused(
    arguments: list[str], code: int, small_bundle: Path, tmp_path: Path
) -> None:
    assert main(["tune", str(small_bundle), "--out", str(tmp_path / "t.json"), *arguments]) == code
    assert not (tmp_path / "t.json").exists()
