"""Calibration: stored in a bundle, checked, and used by every run of the model."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from synthetic_head import head_hu

from HemoCAMLib.errors import ModelRefused
from HemoCAMLib.model import BundleMetadata, ModelBundle, find_model, write_bundle
from HemoCAMLib.model.calibration import Calibration, class_probabilities
from HemoCAMLib.run.folder import RunFolder
from HemoCAMLib.run.job import AnalyzeJob
from HemoCAMLib.run.networks import NetworkCache
from HemoCAMLib.run.pipeline import run_analysis
from HemoCAMLib.run.result import Result
from HemoCAMLib.subtypes import CLASS_NAMES

IJK_TO_RAS = np.diag([3.4, 3.4, 5.0, 1.0])

PLATT = Calibration(
    {name: 0.5 + number / 4 for number, name in enumerate(CLASS_NAMES)},
    {name: number / 3 - 1 for number, name in enumerate(CLASS_NAMES)},
)


@pytest.fixture(scope="module")
def calibrated(tiny_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> ModelBundle:
    plain = find_model(str(tiny_bundle))
    weights = (tiny_bundle / "models" / "model.safetensors").read_bytes()
    return write_bundle(tmp_path_factory.mktemp("calibrated"), replace(plain.metadata, calibration=PLATT), weights)


def analysed(model: Path, out: Path, **settings: Any) -> Result:
    folder = RunFolder(out)
    folder.prepare(AnalyzeJob(model=str(model), ijk_to_ras=tuple(map(tuple, IJK_TO_RAS)), threads=1, **settings))
    np.save(folder.input_array_path, head_hu())
    run_analysis(folder, folder.read_job(), NetworkCache(), lambda event: None)
    return Result.load(out)


def test_a_calibration_survives_writing_and_reading(calibrated: ModelBundle) -> None:
    assert calibrated.metadata.calibration == PLATT
    assert BundleMetadata.from_dict(calibrated.metadata.to_dict()) == calibrated.metadata


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (lambda table: table["scale"].pop("SAH"), "MODEL_METADATA_MISSING"),
        (lambda table: table["scale"].update(SAH=0.0), "MODEL_METADATA_VALUE"),
        (lambda table: table["offset"].update(SAH=float("nan")), "MODEL_METADATA_VALUE"),
        (lambda table: table["offset"].update(XYZ=1.0), "MODEL_METADATA_UNKNOWN"),
        (lambda table: table.update(method="isotonic"), "MODEL_METADATA_UNKNOWN"),
    ],
)
def test_a_calibration_that_makes_no_sense_is_refused(calibrated: ModelBundle, change: Any, code: str) -> None:
    values = calibrated.metadata.to_dict()
    change(values["hemocam"]["calibration"])
    with pytest.raises(ModelRefused) as caught:
        BundleMetadata.from_dict(values)
    assert caught.value.code == code


def test_a_run_gives_calibrated_probabilities_and_the_same_maps(
    calibrated: ModelBundle, tiny_bundle: Path, tmp_path: Path
) -> None:
    plain = analysed(tiny_bundle, tmp_path / "plain")
    other = analysed(calibrated.path, tmp_path / "calibrated")
    p = plain.probabilities.astype(np.float64)
    expected = PLATT.probabilities(np.log(p / (1 - p)).T, CLASS_NAMES).T
    np.testing.assert_allclose(other.probabilities, expected, atol=1e-5)
    assert np.abs(other.probabilities - plain.probabilities).max() > 0.05
    np.testing.assert_array_equal(other.activation, plain.activation)


def test_gates_of_maps_that_cost_are_those_of_calibrated_probabilities(calibrated: ModelBundle, tmp_path: Path) -> None:
    free = analysed(calibrated.path, tmp_path / "free")
    gate = float(np.median(free.probabilities[1:]))
    result = analysed(
        calibrated.path,
        tmp_path / "run",
        map={"method": "hires-cam", "layers": ["[-2]"]},
        mask={"class_thresholds": dict.fromkeys(CLASS_NAMES[1:], gate)},
    )
    called = result.probabilities[1:] > gate
    assert called.any()
    assert not called.all()
    has_map = ~np.isnan(result.activation[1:]).any(axis=(2, 3))
    assert (has_map | ~called).all()
    assert (has_map == called).mean() > 0.95


@given(st.floats(-8, 8), st.floats(0.05, 20), st.floats(-4, 4))
def test_uncalibrated_is_the_inverse(logit: float, scale: float, offset: float) -> None:
    one = Calibration({"any": scale}, {"any": offset})
    p = float(1 / (1 + np.exp(-(scale * logit + offset))))
    if 1e-6 < p < 1 - 1e-6:
        assert one.uncalibrated("any", p) == pytest.approx(1 / (1 + np.exp(-logit)), rel=1e-5, abs=1e-7)
    assert (one.uncalibrated("any", 0.0), one.uncalibrated("any", 1.0)) == (0.0, 1.0)


def test_without_calibration_probabilities_are_the_sigmoid_to_the_last_bit() -> None:
    logits = np.linspace(-30, 30, 601, dtype=np.float32)[:, None]
    expected = (1 / (1 + np.exp(-logits.astype(np.float64)))).astype(np.float32)
    assert np.array_equal(class_probabilities(logits, ["any"], None), expected)
