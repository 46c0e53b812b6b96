"""Threshold rules: against numpy, scikit-image and OpenCV, and against label maps made by hand."""

from __future__ import annotations

import json
import math
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import ndimage

from HemoCAMLib.errors import UsageError
from HemoCAMLib.mask import MaskSettings, label_slice
from HemoCAMLib.mask.threshold import cells_in, map_threshold
from HemoCAMLib.mask.threshold_rule import RULES, ThresholdRule

filters = pytest.importorskip("skimage.filters")

RULE_TEXTS = (
    "mean", "median", "percentile:75", "percentile:90", "percentile:95", "otsu", "multi-otsu:3", "multi-otsu:4@brain",
    "adaptive:7", "adaptive:5:-0.1:mean", "percentile:90@brain", "otsu@brain",
)  # fmt: skip
FOUND_RULES = [ThresholdRule.from_value(text) for text in RULE_TEXTS]
ALL = np.ones(5)

finite = st.floats(0, 255, width=32)
score_maps = hnp.arrays(np.float64, st.tuples(st.integers(2, 12), st.integers(2, 12)), elements=finite).filter(
    lambda a: a.min() < a.max()
)


def wanted(rule: str | ThresholdRule, scale: str = "per_image") -> MaskSettings:
    return MaskSettings((0.5,) * 5, (0.5,) * 5, scale, rule=ThresholdRule.from_value(rule))  # type: ignore[arg-type]


def blobs(seed: int = 0, size: int = 32) -> np.ndarray:
    """[5, size, size] smooth maps from about -4 to 4."""
    rng = np.random.default_rng(seed)
    smooth = ndimage.gaussian_filter(rng.normal(size=(5, size, size)), (0, 3, 3))
    return (4 * smooth / np.abs(smooth).max(axis=(1, 2), keepdims=True)).astype(np.float32)


@given(score_maps, st.floats(0, 100))
def test_percentiles_and_mean_are_numpys(scores: np.ndarray, percentile: float) -> None:
    rule = ThresholdRule("percentile", percentile=percentile)
    assert map_threshold(scores, rule) == np.percentile(scores, percentile)
    assert map_threshold(scores, ThresholdRule.from_value("median")) == np.median(scores)
    assert map_threshold(scores, ThresholdRule("mean")) == scores.mean()


@settings(max_examples=50, deadline=None)
@given(score_maps)
def test_otsu_is_scikit_images(scores: np.ndarray) -> None:
    assert map_threshold(scores, ThresholdRule("otsu")) == filters.threshold_otsu(scores)


@pytest.mark.parametrize("classes", [2, 3, 4])
def test_multi_otsu_is_the_highest_of_scikit_images(classes: int) -> None:
    scores = blobs()[0].astype(np.float64)
    found = map_threshold(scores, ThresholdRule("multi-otsu", classes=classes))
    assert found == pytest.approx(filters.threshold_multiotsu(scores, classes=classes)[-1])


def test_otsu_is_opencvs_on_eight_bit_values() -> None:
    cv2 = pytest.importorskip("cv2")
    image = np.uint8(np.round(np.interp(blobs(3, 64)[0], (-4, 4), (0, 255))))
    image.flat[:2] = 0, 255
    reference, mask = cv2.threshold(image, 0, 255, cv2.THRESH_BINARY + cv2.THRESH_OTSU)
    found = map_threshold(image.astype(np.float64), ThresholdRule("otsu"))
    # OpenCV gives the level, scikit-image the centre of the level's bin of 255/256, which may lie below the level.
    assert found == pytest.approx(reference, abs=1)
    assert set(image[(image > found) != (mask > 0)]) <= {reference}


@pytest.mark.parametrize("rule", ["adaptive:7", "adaptive:9:-2", "adaptive:5:3:mean"])
def test_the_adaptive_rule_is_scikit_images(rule: str) -> None:
    scores = blobs()[1].astype(np.float64)
    parsed = ThresholdRule.from_value(rule)
    reference = filters.threshold_local(scores, parsed.block, method=parsed.method, offset=parsed.offset)
    np.testing.assert_allclose(map_threshold(scores, parsed), reference, rtol=0, atol=1e-8 * np.ptp(scores))


def test_the_adaptive_rule_is_opencvs_away_from_the_border() -> None:
    cv2 = pytest.importorskip("cv2")
    image = np.uint8(np.round(np.interp(blobs(4, 64)[0], (-4, 4), (0, 255))))
    reference = cv2.adaptiveThreshold(image, 255, cv2.ADAPTIVE_THRESH_MEAN_C, cv2.THRESH_BINARY, 11, 4) > 0
    found = image > map_threshold(
        image.astype(np.float64), ThresholdRule("adaptive", block=11, offset=4, method="mean")
    )
    differ = (found != reference)[5:-5, 5:-5]
    # OpenCV rounds the mean to a whole number before it compares.
    mean = ndimage.uniform_filter(image.astype(float), 11)[5:-5, 5:-5]
    assert (np.abs(image[5:-5, 5:-5] - (mean - 4))[differ] <= 1).all()
    assert differ.mean() < 0.05


@settings(max_examples=40, deadline=None)
@given(st.sampled_from(FOUND_RULES), st.integers(0, 2**32 - 1), st.sampled_from(["absolute", "per_image"]))
def test_a_label_map_at_the_maps_own_size_is_the_rule_on_the_scores(rule: ThresholdRule, seed: int, scale: str) -> None:
    maps = blobs(seed, 24)
    brain = np.hypot(*(np.mgrid[:24, :24] - 11.5)) < 10
    logits = maps.astype(np.float64)
    scores = 1 / (1 + np.exp(-logits)) if scale == "absolute" else np.maximum(maps, 0)
    if scale == "per_image":
        scores = (scores / scores.max(axis=(1, 2), keepdims=True) * np.float32(255)).astype(np.float64)
    over = brain if rule.over == "brain" else None
    passes = np.stack([s > map_threshold(s, rule, over) for s in scores])
    best = np.where(passes, scores, -1)
    expected = np.where(passes.any(axis=0) & brain, best.argmax(axis=0) + 1, 0)
    found = label_slice(maps, ALL, brain, wanted(rule, scale))
    # Rounding to single precision may decide a cell that lies on its threshold.
    assert np.count_nonzero(found != expected) <= 2


@pytest.mark.parametrize("rule", FOUND_RULES, ids=str)
@pytest.mark.parametrize("scale", ["absolute", "per_image"])
@pytest.mark.parametrize("value", [0.0, 2.0, 30.0, -3.0, np.nan, np.inf, -np.inf])
def test_a_constant_map_comes_out_empty(rule: ThresholdRule, scale: str, value: float) -> None:
    maps = np.full((5, 9, 9), value)
    assert not label_slice(maps, ALL, np.ones((40, 40), bool), wanted(rule, scale)).any()


@pytest.mark.parametrize("rule", FOUND_RULES, ids=str)
@pytest.mark.parametrize("scale", ["absolute", "per_image"])
def test_values_that_are_not_finite_are_no_evidence(rule: ThresholdRule, scale: str) -> None:
    maps = np.full((5, 16, 16), -8.0)
    maps[1, 6:9, 6:9] = 4.0
    maps[1, 0] = np.nan
    maps[1, 1] = np.inf
    maps[3] = np.nan
    with np.errstate(all="raise", under="ignore"):
        labels = label_slice(maps, ALL, np.ones((64, 64), bool), wanted(rule, scale))
    assert labels[30, 30] == 2
    assert not labels[:3].any()
    assert 4 not in labels


@pytest.mark.parametrize("rule", FOUND_RULES, ids=str)
def test_the_gate_acts_the_same_with_each_rule(rule: ThresholdRule) -> None:
    maps, brain = blobs(), np.ones((50, 60), bool)
    assert not label_slice(maps, np.full(5, 0.5), brain, wanted(rule)).any()
    only = label_slice(maps, [0, 0, 0.51, 0, 0], brain, wanted(rule))
    assert set(only.flat) == {0, 3}


@settings(max_examples=30, deadline=None)
@given(st.sampled_from(FOUND_RULES), st.floats(1e-3, 1e3), st.integers(0, 1000))
def test_maps_of_any_method_give_the_same_whatever_their_unit(rule: ThresholdRule, factor: float, seed: int) -> None:
    maps, brain = blobs(seed), np.ones((64, 64), bool)
    signed = MaskSettings((0.5,) * 5, (0.5,) * 5, "per_image", rule=rule, map_values="signed")
    one, other = (label_slice(m, ALL, brain, signed) for m in (maps, maps.astype(np.float64) * factor))
    # Otsu's bins and cells on the threshold may round the other way.
    assert np.count_nonzero(one != other) <= 0.02 * one.size


def test_statistics_over_the_brain_do_not_depend_on_the_air_around() -> None:
    maps = blobs(7, 32)
    brain = np.zeros((128, 128), bool)
    brain[32:96, 32:96] = True
    wider = np.zeros((5, 64, 64), np.float32)
    wider[:, 16:48, 16:48] = maps
    around = np.zeros((256, 256), bool)
    around[64:192, 64:192] = brain
    for rule in ("percentile:90@brain", "otsu@brain", "mean@brain"):
        one = label_slice(maps, ALL, brain, wanted(rule))
        other = label_slice(wider, ALL, around, wanted(rule))
        np.testing.assert_array_equal(one, other[64:192, 64:192])
    whole = label_slice(maps, ALL, brain, wanted("percentile:90"))
    assert (label_slice(wider, ALL, around, wanted("percentile:90"))[64:192, 64:192] != whole).any()


def test_a_cell_belongs_to_the_brain_where_its_centre_does() -> None:
    brain = np.zeros((8, 12), bool)
    brain[:5, 3:] = True
    np.testing.assert_array_equal(
        cells_in(brain, (4, 4)), [[False, True, True, True], [False, True, True, True], [False] * 4, [False] * 4]
    )
    assert cells_in(brain, (16, 24)).sum() == 4 * brain.sum()


def test_a_brain_that_no_cell_lies_in_gives_no_label() -> None:
    brain = np.zeros((64, 64), bool)
    brain[0, 0] = True
    assert not label_slice(blobs(), ALL, brain, wanted("otsu@brain")).any()


def test_the_absolute_scale_is_refused_for_maps_that_are_no_local_logits() -> None:
    with pytest.raises(UsageError, match="no probabilities") as refused:
        MaskSettings((0.5,) * 5, (0.5,) * 5, "absolute", map_values="signed")
    assert refused.value.code == "USAGE_MASK_SCALE"


@pytest.mark.parametrize("rule", [ThresholdRule(), *FOUND_RULES], ids=str)
def test_a_rule_survives_text_json_and_settings(rule: ThresholdRule) -> None:
    assert ThresholdRule.from_value(str(rule)) == rule
    assert ThresholdRule.from_value(json.loads(json.dumps(rule.as_dict()))) == rule
    stored = MaskSettings((0.5,) * 5, (0.5,) * 5, rule=rule)
    assert MaskSettings.from_dict(json.loads(json.dumps(stored.as_dict()))) == stored


@pytest.mark.parametrize(
    "value",
    [
        "otsuu", "", ":", "percentile:", "percentile:101", "percentile:nan", "percentile:-1", "percentile:90:3",
        "mean:5", "multi-otsu:1", "multi-otsu:5", "multi-otsu:2.5", "adaptive:4", "adaptive:1", "adaptive:7:x",
        "adaptive:7:0:cubic",
        "otsu@skull", "fixed@brain", "adaptive:7@brain", "fixed:3", "otsu:3", 7, [], {"percentile": 90}, {"name": None},
        {"name": "otsu", "percentile": 90}, {"name": "percentile", "percentile": True}, {"name": "percentile", "p": 9},
        {"name": "percentile", "percentile": "90"}, {"name": "multi-otsu", "classes": 2.5}, {"name": ["otsu"]},
        {"name": "otsu", "over": None}, {"name": "percentile", "percentile": math.inf},
    ],
)  # fmt: skip
def test_a_rule_that_makes_no_sense_is_a_usage_error(value: object) -> None:
    with pytest.raises(UsageError) as refused:
        ThresholdRule.from_value(value)
    assert refused.value.code == "USAGE_MASK_SETTINGS"


def test_every_rule_has_a_text_of_its_name_alone() -> None:
    assert {ThresholdRule.from_value(name).name for name in RULES} == set(RULES)


def test_nothing_imports_scikit_image_before_a_rule_needs_it() -> None:
    script = "import sys, HemoCAMLib.mask, HemoCAMLib.mask.threshold; print('skimage' in sys.modules)"
    answer = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60)
    assert answer.stdout.strip() == "False"
