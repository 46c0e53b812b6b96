"""Lesions found slice by slice, held against labelling in one piece."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import ndimage

from HemoCAMLib.ct.geometry import SliceGeometry
from HemoCAMLib.mask import ComponentAccumulator
from HemoCAMLib.mask.components import LesionForest, slice_regions

volumes = hnp.arrays(
    np.uint8,
    hnp.array_shapes(min_dims=3, max_dims=3, min_side=1, max_side=7),
    elements=st.sampled_from([0, 0, 0, 0, 1, 1, 4]),
)


def geometry(slice_count: int, extents_of: tuple[float, ...] | None = None) -> SliceGeometry:
    """Unit pixels of 2 mm by 0.5 mm; uneven steps where positions are given."""
    offsets = np.arange(slice_count, dtype=float) if extents_of is None else np.asarray(extents_of)
    positions = np.stack([np.zeros(slice_count), np.zeros(slice_count), offsets], axis=1)
    return SliceGeometry(positions, np.eye(3)[0], np.eye(3)[1], (2.0, 0.5), 1.0)


def in_one_piece(volume: np.ndarray, stack: SliceGeometry, minimum_ml: float) -> tuple[np.ndarray, int]:
    voxel_ml = stack.pixel_area_mm2 * stack.extents_mm / 1000
    kept, lesions = np.zeros_like(volume), 0
    for label in np.unique(volume[volume > 0]):
        numbered, count = ndimage.label(volume == label, structure=np.ones((3, 3, 3)))
        for number in range(1, count + 1):
            lesion = numbered == number
            if (lesion.sum(axis=(1, 2)) * voxel_ml).sum() >= minimum_ml - 1e-12:
                kept[lesion] = label
                lesions += 1
    return kept, lesions


def streamed(volume: np.ndarray, stack: SliceGeometry, minimum_ml: float) -> tuple[np.ndarray, int]:
    accumulator = ComponentAccumulator(stack, minimum_ml)
    for index, labels in enumerate(volume):
        accumulator.add(index, labels)
    lesions = accumulator.finish()
    return np.stack([accumulator.filter(index, labels) for index, labels in enumerate(volume)]), lesions


@settings(max_examples=150, deadline=None)
@given(volumes, st.sampled_from([0.0, 0.0011, 0.002, 0.0035, 0.01]))
def test_streaming_equals_labelling_the_whole_volume(volume: np.ndarray, minimum_ml: float) -> None:
    stack = geometry(len(volume))
    expected, count = in_one_piece(volume, stack, minimum_ml)
    found, lesions = streamed(volume, stack, minimum_ml)
    np.testing.assert_array_equal(found, expected)
    assert lesions == count


@settings(max_examples=60, deadline=None)
@given(volumes)
def test_uneven_steps_are_weighed_by_each_slices_own_extent(volume: np.ndarray) -> None:
    offsets = tuple(np.cumsum([1.0, 4.0, 0.5, 7.0, 1.0, 2.0, 3.0])[: len(volume)])
    stack = geometry(len(volume), offsets)
    expected, _ = in_one_piece(volume, stack, 0.006)
    np.testing.assert_array_equal(streamed(volume, stack, 0.006)[0], expected)


@settings(max_examples=150, deadline=None)
@given(hnp.arrays(np.uint8, hnp.array_shapes(min_dims=2, max_dims=2, max_side=12), elements=st.integers(0, 2)))
def test_regions_of_a_slice_are_those_of_the_reference_in_its_order(image: np.ndarray) -> None:
    regions = slice_regions(image)
    whole = np.zeros(image.shape, np.int32)
    bottom, right = regions.top + regions.map.shape[0], regions.left + regions.map.shape[1]
    whole[regions.top : bottom, regions.left : right] = regions.map
    expected, count = np.zeros_like(whole), 0
    for label in (1, 2):
        numbered, found = ndimage.label(image == label, structure=np.ones((3, 3)))
        expected += np.where(numbered > 0, numbered + count, 0).astype(np.int32)
        count += found
    np.testing.assert_array_equal(whole, expected)
    assert regions.pixel_counts.tolist() == np.bincount(expected.ravel(), minlength=count + 1)[1:].tolist()


def test_lesions_that_meet_only_later_are_one() -> None:
    volume = np.zeros((3, 5, 9), np.uint8)
    volume[0, 2, 1] = volume[0, 2, 7] = 1
    volume[1, 2, 1] = volume[1, 2, 7] = 1
    volume[2, 2, 1:8] = 1
    assert streamed(volume, geometry(3), 0.0)[1] == 1


def test_a_touching_corner_in_the_next_slice_connects() -> None:
    volume = np.zeros((2, 4, 4), np.uint8)
    volume[0, 1, 1] = volume[1, 2, 2] = 3
    assert streamed(volume, geometry(2), 0.0)[1] == 1


def test_subtypes_do_not_hold_each_other_up() -> None:
    volume = np.zeros((1, 4, 8), np.uint8)
    volume[0, 1, :6] = 1
    volume[0, 1, 6] = 2
    filtered, lesions = streamed(volume, geometry(1), 0.005)
    assert lesions == 1
    assert set(filtered.flat) == {0, 1}


def test_a_lesion_of_exactly_the_limit_stays() -> None:
    volume = np.zeros((3, 4, 4), np.uint8)
    volume[:, 1, 1] = 5
    assert streamed(volume, geometry(3), 0.003)[1] == 1
    assert streamed(volume, geometry(3), 0.0030001)[1] == 0


def test_slices_without_labels_may_be_left_out() -> None:
    volume = np.zeros((4, 4, 4), np.uint8)
    volume[1, 1, 1] = volume[3, 1, 1] = 1
    accumulator = ComponentAccumulator(geometry(4), 0.0)
    accumulator.add(1, volume[1])
    accumulator.add(3, volume[3])
    assert accumulator.finish() == 2
    assert not accumulator.filter(2, volume[2]).any()
    assert accumulator.filter(3, volume[3]).any()


def test_filtering_works_in_any_order_and_leaves_its_input_alone() -> None:
    rng = np.random.default_rng(2)
    volume = (rng.random((6, 12, 12)) < 0.2).astype(np.uint8) * 2
    before = volume.copy()
    expected = streamed(volume, geometry(6), 0.003)[0]
    accumulator = ComponentAccumulator(geometry(6), 0.003)
    for index, labels in enumerate(volume):
        accumulator.add(index, labels)
    accumulator.finish()
    for index in (5, 0, 3, 3):
        np.testing.assert_array_equal(accumulator.filter(index, volume[index]), expected[index])
    np.testing.assert_array_equal(volume, before)


def test_slices_out_of_order_are_a_programming_error() -> None:
    forest = LesionForest()
    regions = slice_regions(np.ones((2, 2), np.uint8))
    forest.add(3, regions)
    with pytest.raises(ValueError, match="out of order"):
        forest.add(3, regions)


def test_only_one_slice_of_pixels_is_held() -> None:
    forest = LesionForest()
    image = np.ones((64, 64), np.uint8)
    for index in range(200):
        forest.add(index, slice_regions(image))
    held = [value for value in vars(forest).values() if isinstance(value, tuple)]
    assert len(held) == 1
    assert forest.lesions().shape == (200,)
    assert set(forest.lesions()) == {0}
