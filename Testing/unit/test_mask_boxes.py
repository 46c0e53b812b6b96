"""Bounding boxes: against scikit-image, against counted pixels, and the matching against every other matching."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from HemoCAMLib.ct.geometry import SliceGeometry
from HemoCAMLib.mask.boxes import Box, box_dice, box_intersection, box_iou, boxes_of, score_boxes

measure = pytest.importorskip("skimage.measure")

masks = st.one_of(
    hnp.arrays(bool, st.tuples(st.integers(1, 14), st.integers(1, 14))),
    hnp.arrays(bool, st.tuples(st.integers(1, 5), st.integers(1, 7), st.integers(1, 7))),
)


@st.composite
def boxes(draw: st.DrawFn, ndim: int = 2) -> Box:
    start = tuple(draw(st.integers(0, 8)) for _ in range(ndim))
    return Box(start, tuple(a + draw(st.integers(1, 6)) for a in start))


def filled(box: Box) -> np.ndarray:
    canvas = np.zeros((16,) * len(box.start), bool)
    canvas[box.view] = True
    return canvas


@settings(max_examples=80, deadline=None)
@given(masks, st.integers(1, 4))
def test_boxes_are_those_of_the_reference_library(mask: np.ndarray, smallest: int) -> None:
    regions = measure.regionprops(measure.label(mask, connectivity=mask.ndim))
    n = mask.ndim
    expected = {(r.bbox[:n], r.bbox[n:]) for r in regions if r.num_pixels >= smallest}
    assert {(box.start, box.stop) for box in boxes_of(mask, smallest=smallest)} == expected


@settings(max_examples=80, deadline=None)
@given(masks)
def test_every_marked_pixel_lies_in_a_box_and_no_side_of_a_box_is_empty(mask: np.ndarray) -> None:
    rest = mask.copy()
    for box in boxes_of(mask):
        rest[box.view] = False
        for axis in range(mask.ndim):
            part = np.moveaxis(mask[box.view], axis, 0)
            assert part[0].any()
            assert part[-1].any()
    assert not rest.any()


@settings(max_examples=100, deadline=None)
@given(st.integers(2, 3).flatmap(lambda n: st.tuples(boxes(n), boxes(n))))
def test_overlap_scores_are_those_of_the_filled_pixels(pair: tuple[Box, Box]) -> None:
    a, b = pair
    inside = np.count_nonzero(filled(a) & filled(b))
    either = np.count_nonzero(filled(a) | filled(b))
    assert box_intersection(a, b) == inside
    assert box_iou(a, b) == box_iou(b, a) == pytest.approx(inside / either)
    assert box_dice(a, b) == pytest.approx(2 * box_iou(a, b) / (1 + box_iou(a, b)))
    assert box_iou(a, a) == box_dice(a, a) == 1


@settings(max_examples=60, deadline=None)
@given(st.lists(boxes(), max_size=4), st.lists(boxes(), max_size=4))
def test_no_other_matching_has_a_larger_sum(found: list[Box], true: list[Box]) -> None:
    score = score_boxes(found, true)
    few, many = sorted((found, true), key=len)
    best = max(
        sum(box_iou(a, b) for a, b in zip(few, order, strict=True)) for order in itertools.permutations(many, len(few))
    )
    assert sum(score.matched_iou) == pytest.approx(best)
    assert score.hits(0.5) <= len(score.matched_iou) <= min(len(found), len(true))
    assert score.overlap_hits >= score.hits(1e-9)


@settings(max_examples=60, deadline=None)
@given(st.lists(boxes(), max_size=4), st.lists(boxes(), min_size=1, max_size=4))
def test_covered_pixels_are_counted_once(found: list[Box], true: list[Box]) -> None:
    covers = [
        np.logical_or.reduce([filled(box) for box in group] or [np.zeros((16, 16), bool)]) for group in (found, true)
    ]
    score = score_boxes(found, true)
    assert score.covered_iou == pytest.approx((covers[0] & covers[1]).sum() / (covers[0] | covers[1]).sum())
    assert score.covered_dice == pytest.approx(2 * (covers[0] & covers[1]).sum() / (covers[0].sum() + covers[1].sum()))


def test_one_box_around_two_lesions_hits_both_loosely_but_matches_one() -> None:
    true = [Box((0, 0), (4, 4)), Box((0, 6), (4, 10))]
    score = score_boxes([Box((0, 0), (4, 10))], true)
    assert score.overlap_hits == score.centre_hits == 2
    assert score.matched_iou == (0.4,)
    assert score.mean_iou == 0.2
    assert score.hits() == 0


def test_nothing_found_and_nothing_true() -> None:
    assert boxes_of(np.zeros((4, 4), bool)) == ()
    nothing = score_boxes([], [])
    assert math.isnan(nothing.mean_iou)
    assert math.isnan(nothing.covered_dice)
    missed = score_boxes([], [Box((0, 0), (1, 1))])
    assert (missed.mean_iou, missed.covered_iou, missed.overlap_hits) == (0, 0, 0)


def test_sizes_in_mm_use_each_slices_own_extent() -> None:
    positions = np.array([0.0, 4.0, 8.0, 15.0])[:, None] * np.array([0, 0, 1.0])
    geometry = SliceGeometry(positions, np.eye(3)[0], np.eye(3)[1], (0.5, 0.4))
    thickness, height, width = Box((2, 1, 1), (4, 11, 6)).size_mm(geometry)
    assert thickness == pytest.approx(geometry.extents_mm[2:].sum())
    assert (height, width) == pytest.approx((5.0, 2.0))
    assert Box((1, 1), (11, 6)).size_mm(geometry) == pytest.approx((5.0, 2.0))


def test_an_empty_box_is_a_programming_error() -> None:
    with pytest.raises(ValueError, match="no box"):
        Box((3, 3), (3, 5))
