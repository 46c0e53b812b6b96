"""The statistics of the volumes experiment, against other libraries and closed forms."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hemocam_training.datasets import dataset_named, prepare
from hemocam_training.errors import DataRefused, LeakFound
from hemocam_training.experiments.catalogue import DataSource, run_experiment
from hemocam_training.experiments.patient_draws import patient_weights, weighted_estimate
from hemocam_training.experiments.truth_scans import with_masks
from hemocam_training.experiments.volumes.agreement import volume_agreement
from hemocam_training.experiments.volumes.decision import kappa, rate, volume_decision
from hemocam_training.experiments.volumes.measure import METHODS, ScanVolumes, scan_volumes
from hemocam_training.experiments.volumes.moments import Moments, weighted_median
from hemocam_training.experiments.volumes.strata import strata
from hemocam_training.scan_sources import LabelledScan
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import cohen_kappa_score
from sklearn.utils import check_random_state

from HemoCAMLib.ct.geometry import SliceGeometry
from HemoCAMLib.measure.agreement.statistics import bland_altman, concordance, icc_2_1

#: Ten volumes in mL, measured twice.
TRUTH = np.array([2.1, 5.4, 9.0, 12.3, 18.7, 24.9, 33.0, 41.2, 58.6, 72.4])
FOUND = np.array([2.9, 4.8, 10.1, 14.0, 17.2, 27.5, 30.4, 44.9, 55.0, 80.3])
#: pingouin 0.7.0, intraclass_corr of these, type ICC(A,1).
PINGOUIN_ICC_A1 = 0.9906147417

volumes = st.lists(
    st.tuples(st.floats(0, 300, allow_nan=False), st.floats(0, 300, allow_nan=False)), min_size=3, max_size=12
)


def test_the_icc_is_that_of_pingouin_and_of_the_library() -> None:
    moments = Moments.of(FOUND, TRUTH, np.ones((1, TRUTH.size)))
    assert moments.icc[0] == pytest.approx(PINGOUIN_ICC_A1, abs=1e-9)
    assert moments.icc[0] == pytest.approx(icc_2_1(np.stack([FOUND, TRUTH], axis=1)).value)


@settings(max_examples=60, deadline=None)
@given(volumes, st.integers(0, 2**16))
def test_statistics_of_weights_are_those_of_the_rows_that_were_drawn(
    pairs: list[tuple[float, float]], seed: int
) -> None:
    found, truth = np.array(pairs).T
    drawn = np.random.default_rng(seed).integers(0, truth.size, truth.size)
    weights = np.bincount(drawn, minlength=truth.size)[None].astype(float)
    moments = Moments.of(found, truth, weights)
    expected = bland_altman(found[drawn], truth[drawn])
    assert moments.bias[0] == pytest.approx(expected.bias.value, rel=1e-6, abs=1e-6)
    assert moments.sd[0] == pytest.approx(expected.sd, rel=1e-5, abs=1e-4)
    assert moments.limits[0][0] == pytest.approx(expected.lower_limit.value, rel=1e-5, abs=1e-3)
    assert weighted_median(found, weights)[0] == pytest.approx(np.median(found[drawn]))
    if np.ptp(np.concatenate([found[drawn], truth[drawn]])) > 1e-3:
        icc = icc_2_1(np.stack([found[drawn], truth[drawn]], axis=1)).value
        assert moments.icc[0] == pytest.approx(icc, rel=1e-5, abs=1e-5)
        assert moments.concordance[0] == pytest.approx(
            concordance(found[drawn], truth[drawn]).value, rel=1e-5, abs=1e-5
        )


def test_rows_of_one_patient_are_drawn_together() -> None:
    weights = patient_weights(["a", "b", "b", "c"], draws=50)
    assert (weights[0] == 1).all()
    assert (weights[:, 1] == weights[:, 2]).all()
    assert (weights[1:, [0, 1, 3]].sum(axis=1) == 3).all()
    assert len(patient_weights(["a", "a"], draws=50)) == 1


def test_the_interval_of_a_mean_is_as_wide_as_theory_says() -> None:
    values = np.random.default_rng(0).normal(10, 2, 400)
    weights = patient_weights(range(400), draws=4000)
    found = weighted_estimate(lambda drawn: drawn @ values / drawn.sum(axis=1), weights)
    around = 1.96 * values.std() / np.sqrt(values.size)
    assert (found.low, found.high) == pytest.approx((values.mean() - around, values.mean() + around), abs=0.02)


def test_kappa_is_that_of_scikit_learn() -> None:
    rng = check_random_state(3)
    first, second = rng.rand(2, 60) < 0.4
    cells = np.array(
        [[(first & second).sum(), (first & ~second).sum(), (~first & second).sum(), (~first & ~second).sum()]]
    )
    assert kappa(cells.astype(float))[0] == pytest.approx(cohen_kappa_score(first, second))
    assert np.isnan(kappa(np.array([[5.0, 0, 0, 0]])))


def test_a_rate_has_wilsons_interval() -> None:
    # Closed form at a share of 1: n / (n + z²).
    assert rate(12, 12).low == pytest.approx(12 / (12 + 1.959963984540054**2))
    assert rate(12, 12).high == 1
    assert np.isnan(rate(0, 0).value)


def test_the_volume_on_the_threshold_decides_yes() -> None:
    found = volume_decision([30.0, 29.9, 45.0], [30.0, 30.0, 10.0], ["a", "b", "c"], draws=100)
    assert (found.both, found.only_truth, found.only_prediction, found.neither) == (1, 1, 1, 0)
    assert found.sensitivity.value == 0.5
    assert found.specificity.value == 0


def test_a_tilted_scan_has_its_true_volume_and_one_step_inflates_it() -> None:
    tilt = np.radians(20)
    column, normal = np.array([0, np.cos(tilt), np.sin(tilt)]), np.array([0, -np.sin(tilt), np.cos(tilt)])
    # The table moves 5 mm along the body: positions differ by 5 mm, planes by 5 cos(20°).
    positions = 5.0 * np.arange(6)[:, None] * np.array([0.0, 0.0, 1.0])
    geometry = SliceGeometry(positions, np.array([1.0, 0, 0]), column, (0.5, 0.5))
    assert geometry.normal == pytest.approx(normal)
    labels = np.zeros((6, 40, 40), np.uint8)
    labels[2:4, 10:30, 10:20] = 1
    scan = LabelledScan("p", "s", "s", (), np.zeros(labels.shape, np.int16), geometry, np.zeros((6, 6), np.int8), (),
                        labels, "subtypes")  # fmt: skip
    rows = {row.structure: row for row in scan_volumes(1, scan, labels)}
    true_ml = 2 * 200 * 0.25 * 5 * np.cos(tilt) / 1000
    assert rows["IPH"].truth_ml == pytest.approx(true_ml)
    assert rows["any"].by_method["mask_ml"] == pytest.approx(true_ml)
    assert rows["IPH"].by_method["truth_one_step_ml"] / true_ml == pytest.approx(1 / np.cos(tilt))
    assert rows["SDH"].truth_ml == 0
    assert rows["any"].tilt_deg == pytest.approx(20)
    assert tuple(rows["any"].by_method) == tuple(METHODS)


def test_scans_without_the_structure_count_as_false_volume_and_not_as_error() -> None:
    rows = [_row(n, truth, found) for n, (truth, found) in enumerate([(10.0, 12.0), (20.0, 21.0), (0.0, 3.0)], start=1)]
    found = volume_agreement(rows, "mask_ml", draws=200)
    assert (found.scans, found.absent) == (2, 1)
    assert found.bias_ml.value == pytest.approx(1.5)
    assert found.error_ml.value == pytest.approx(1.5)
    assert found.within_limit.value == pytest.approx(0.5)
    assert found.false_ml.value == 3
    assert np.isnan(volume_agreement(rows[2:], "mask_ml", draws=200).icc.value)


def test_every_scan_is_in_one_stratum_of_each_kind() -> None:
    rows = [_row(n, 1.0, 1.0, tilt, extent) for n, (tilt, extent) in enumerate([(0, 2.5), (1, 3.5), (15, 5), (29, 5)])]
    found = strata(rows, (1.0, 15.0), (3.5,))
    assert {name: len(each) for name, each in found.items()} == {
        "tilt below 1°": 1,
        "tilt 1° to 15°": 1,
        "tilt 15° or more": 2,
        "slices below 3.5 mm": 1,
        "slices 3.5 mm or more": 3,
        "even steps": 4,
    }


def _row(number: int, truth_ml: float, found_ml: float, tilt_deg: float = 0.0, extent_mm: float = 5.0) -> ScanVolumes:
    return ScanVolumes(
        number, f"p{number}", "any", tilt_deg, extent_mm, False, truth_ml, dict.fromkeys(METHODS, found_ml)
    )


def test_the_experiment_measures_the_model_that_ships(tmp_path: Path) -> None:
    config = tmp_path / "config.yaml"
    config.write_text("{scans: 2, size: 128, draws: 100}", encoding="utf-8")
    page = run_experiment("volumes", tmp_path / "out", config=config, quick=True)
    assert "Not a result" in page.read_text(encoding="utf-8")
    scans = pd.read_csv(tmp_path / "out" / "tables" / "volume_scans.csv")
    error = pd.read_csv(tmp_path / "out" / "tables" / "volume_error.csv").set_index("structure")
    assert error.loc["any", "bias_ml"] == pytest.approx((scans["mask_ml"] - scans["truth_ml"]).mean(), abs=1e-3)


def test_a_prepared_dataset_is_measured_where_it_has_masks(tmp_path: Path) -> None:
    phantoms = dataset_named("phantoms", {"first_seed": "3000000", "count": "1", "size": "64"})
    source = DataSource(prepare(phantoms, tmp_path, 1), tmp_path)
    with pytest.raises(DataRefused, match="outline of hemorrhage"):
        with_masks(source, "any")
    page = run_experiment("volumes", tmp_path / "out", sources=[source])
    text = page.read_text(encoding="utf-8")
    assert "1 scans of 1 patients from phantoms" in text
    assert "Not a result" not in text


def test_phantoms_that_the_model_learned_from_are_refused(tmp_path: Path) -> None:
    config = tmp_path / "config.yaml"
    config.write_text("{scans: 1, size: 128, first_seed: 1000000}", encoding="utf-8")
    with pytest.raises(LeakFound):
        run_experiment("volumes", tmp_path / "out", config=config, quick=True)


@pytest.mark.slow
def test_the_quick_configuration_is_small(tmp_path: Path) -> None:
    page = run_experiment("volumes", tmp_path, quick=True)
    files = [*page.parent.glob("*.*"), *page.parent.glob("tables/*"), *page.parent.glob("figures/*")]
    assert sum(file.stat().st_size for file in files) < 1e6
