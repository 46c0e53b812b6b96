"""Algorithm 1 on one slice, against a literal reading of the paper."""

from __future__ import annotations

import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from HemoCAMLib.mask import MaskSettings, label_slice

torch = pytest.importorskip("torch")

PAPER = MaskSettings((0.5,) * 5, (75, 125, 125, 75, 25), "per_image")
ABSOLUTE = MaskSettings((0.5,) * 5, (0.5,) * 5)
ALL = np.ones(5)


def plain_algorithm(maps: np.ndarray, probabilities: np.ndarray, brain: np.ndarray, wanted: MaskSettings) -> np.ndarray:
    """Algorithm 1 as printed: all classes, whole image, np.where and np.argmax over six planes."""
    planes = np.zeros((6, *brain.shape))
    for index in range(5):
        if probabilities[index] <= wanted.class_thresholds[index]:
            continue
        score = maps[index].astype(np.float32)
        if wanted.scale == "per_image":
            score = np.maximum(score, 0)
            score = score / score.max() * 255 if score.max() > 0 else score
        tensor = torch.from_numpy(score)[None, None]
        score = torch.nn.functional.interpolate(tensor, brain.shape, mode="bilinear")[0, 0].numpy()
        if wanted.scale == "absolute":
            score = 1 / (1 + np.exp(-score.astype(np.float64)))
        planes[index + 1] = np.where(score > wanted.mask_thresholds[index], score, 0)
    return np.argmax(planes, axis=0) * brain


@settings(max_examples=50, deadline=None)
@given(
    st.integers(1, 12),
    st.integers(1, 12),
    st.integers(1, 40),
    st.integers(1, 40),
    st.integers(0, 2**32 - 1),
    st.sampled_from([PAPER, ABSOLUTE]),
)
def test_labels_equal_the_printed_algorithm(
    h: int, w: int, rows: int, columns: int, seed: int, wanted: MaskSettings
) -> None:
    rng = np.random.default_rng(seed)
    maps = rng.normal(size=(5, h, w)).astype(np.float32)
    probabilities = rng.random(5)
    brain = rng.random((rows, columns)) < 0.8
    found = label_slice(maps, probabilities, brain, wanted)
    expected = plain_algorithm(maps, probabilities, brain, wanted)
    assert found.dtype == np.uint8
    # Rounding may decide a pixel that lies on a threshold or between two equal scores.
    assert np.count_nonzero(found != expected) <= 0.01 * brain.size


@pytest.mark.parametrize("wanted", [PAPER, ABSOLUTE])
def test_no_subtype_above_its_class_threshold_leaves_the_slice_empty(wanted: MaskSettings) -> None:
    assert not label_slice(np.full((5, 4, 4), 9.0), np.full(5, 0.5), np.ones((32, 32), bool), wanted).any()


def test_only_called_subtypes_appear_although_others_score_higher() -> None:
    maps = np.full((5, 4, 4), 9.0)
    maps[3] = 1.0
    for wanted in (PAPER, ABSOLUTE):
        labels = label_slice(maps, [0, 0, 0, 0.9, 0], np.ones((32, 32), bool), wanted)
        assert set(labels.flat) == {4}


def test_a_called_slice_can_come_out_empty_on_the_absolute_scale_only() -> None:
    faint = np.full((5, 4, 4), -3.0)
    faint[0, 1, 1] = -2.0
    shifted = faint + 2.5
    assert not label_slice(faint, ALL, np.ones((32, 32), bool), ABSOLUTE).any()
    assert label_slice(shifted, ALL, np.ones((32, 32), bool), PAPER).any()


def test_an_all_negative_map_is_empty_on_both_scales() -> None:
    for wanted in (PAPER, ABSOLUTE):
        assert not label_slice(np.full((5, 4, 4), -0.5), ALL, np.ones((16, 16), bool), wanted).any()


def test_a_constant_positive_map_marks_the_whole_brain_and_nothing_else() -> None:
    brain = np.zeros((20, 30), bool)
    brain[3:9, 10:22] = True
    maps = np.full((5, 4, 4), -1.0)
    maps[4] = 0.25
    for wanted in (PAPER, ABSOLUTE):
        np.testing.assert_array_equal(label_slice(maps, ALL, brain, wanted), np.where(brain, 5, 0))


def test_equal_scores_go_to_the_first_subtype() -> None:
    labels = label_slice(np.full((5, 3, 3), 2.0), ALL, np.ones((9, 9), bool), ABSOLUTE)
    assert set(labels.flat) == {1}


@pytest.mark.parametrize("wanted", [PAPER, ABSOLUTE])
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_count_as_no_evidence(wanted: MaskSettings, bad: float) -> None:
    maps = np.full((5, 8, 8), -5.0)
    maps[2, 2:6, 2:6] = 4.0
    maps[2, 0, :] = bad
    maps[1] = bad
    labels = label_slice(maps, ALL, np.ones((64, 64), bool), wanted)
    assert set(labels.flat) == {0, 3}
    assert not labels[:8].any()
    assert labels[32, 32] == 3


def test_a_probability_that_is_not_a_number_closes_the_gate() -> None:
    assert not label_slice(np.full((5, 4, 4), 9.0), np.full(5, np.nan), np.ones((8, 8), bool), ABSOLUTE).any()


@pytest.mark.parametrize("peak", [6e-8, 65504.0])
def test_the_extremes_of_stored_half_precision_maps_do_not_overflow(peak: float) -> None:
    maps = np.zeros((5, 4, 4), np.float16)
    maps[0, 1, 1] = peak
    with np.errstate(all="raise"):
        labels = label_slice(maps, ALL, np.ones((16, 16), bool), PAPER)
    assert labels[6, 6] == 1


def test_a_threshold_of_zero_takes_everything_that_has_any_evidence() -> None:
    everything = MaskSettings((0.0,) * 5, (0.0,) * 5)
    maps = np.full((5, 2, 2), -50.0)
    maps[1:] = -np.inf
    assert set(label_slice(maps, ALL, np.ones((4, 4), bool), everything).flat) == {1}


def test_a_threshold_of_one_takes_nothing() -> None:
    nothing = MaskSettings((0.0,) * 5, (1.0,) * 5)
    assert not label_slice(np.full((5, 2, 2), 80.0), ALL, np.ones((4, 4), bool), nothing).any()


def test_arrays_of_the_wrong_shape_are_a_programming_error() -> None:
    with pytest.raises(ValueError, match="expected"):
        label_slice(np.zeros((6, 4, 4)), np.zeros(6), np.ones((8, 8), bool), ABSOLUTE)


def test_work_grows_with_what_is_called_not_with_the_image() -> None:
    rng = np.random.default_rng(0)
    maps = rng.normal(size=(5, 128, 128)).astype(np.float32)
    brain = np.ones((512, 512), bool)

    def best_s(probabilities: np.ndarray) -> float:
        times = []
        for _ in range(5):
            start = time.process_time()
            label_slice(maps, probabilities, brain, ABSOLUTE)
            times.append(time.process_time() - start)
        return min(times)

    assert best_s(np.zeros(5)) < best_s(ALL) / 5
