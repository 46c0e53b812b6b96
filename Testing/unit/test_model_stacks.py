"""What the network sees of a scan."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from HemoCAMLib.model.stacks import SliceStacker, StackSettings, resize, window


class CountingSlices:
    """Slices that remember how often each was read."""

    def __init__(self, hu: NDArray[np.int16]) -> None:
        self.hu = hu
        self.reads: list[int] = []

    def __len__(self) -> int:
        return len(self.hu)

    def __getitem__(self, index: int) -> NDArray[np.int16]:
        self.reads.append(index)
        return self.hu[index]


def random_hu(count: int, rows: int, columns: int) -> NDArray[np.int16]:
    return np.random.default_rng(0).integers(-1024, 1500, (count, rows, columns)).astype(np.int16)


def test_the_window_runs_from_minus_40_to_90_hu() -> None:
    hu = np.array([-32768, -41, -40, 25, 90, 91, 32767], dtype=np.int16)
    np.testing.assert_allclose(window(hu, 25, 130), [0, 0, 0, 0.5, 1, 1, 1], atol=1e-7)
    assert window(hu, 25, 130).dtype == np.float32


def test_halving_is_the_mean_of_two_by_two_blocks() -> None:
    image = np.random.default_rng(1).random((64, 48), dtype=np.float32)
    blocks = image.reshape(32, 2, 24, 2).mean(axis=(1, 3))
    np.testing.assert_allclose(resize(image, 32, 24), blocks, atol=2e-7)


def test_shrinking_by_an_odd_ratio_agrees_with_opencv() -> None:
    cv2 = pytest.importorskip("cv2")
    image = np.random.default_rng(2).random((51, 70), dtype=np.float32)
    expected = cv2.resize(image, (32, 24), interpolation=cv2.INTER_AREA)
    np.testing.assert_allclose(resize(image, 24, 32), expected, atol=2e-6)


def test_growing_agrees_with_torch() -> None:
    image = np.random.default_rng(3).random((20, 30), dtype=np.float32)
    expected = torch.nn.functional.interpolate(
        torch.from_numpy(image)[None, None], size=(32, 64), mode="bilinear", align_corners=False
    )
    np.testing.assert_allclose(resize(image, 32, 64), expected[0, 0].numpy(), atol=1e-6)


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 40), st.integers(1, 40))
def test_a_flat_image_stays_flat_and_a_mean_is_kept_when_shrinking(r: int, c: int, rows: int, columns: int) -> None:
    np.testing.assert_allclose(resize(np.full((r, c), 0.3, dtype=np.float32), rows, columns), 0.3, atol=1e-6)
    image = np.random.default_rng(r * c).random((r, c), dtype=np.float32)
    if rows <= r and columns <= c:
        assert resize(image, rows, columns).mean() == pytest.approx(image.mean(), abs=1e-5)


def test_a_stack_holds_the_slice_between_its_neighbours() -> None:
    hu = random_hu(4, 32, 32)
    stack = SliceStacker(hu, StackSettings(32, 32))[2]
    for channel, index in enumerate((1, 2, 3)):
        np.testing.assert_array_equal(stack[channel], window(hu[index], 25, 130))
    assert stack.shape == (3, 32, 32)
    assert stack.dtype == np.float32


def test_slices_at_the_ends_repeat() -> None:
    stacker = SliceStacker(random_hu(3, 16, 16), StackSettings(16, 16))
    np.testing.assert_array_equal(stacker[0][0], stacker[0][1])
    np.testing.assert_array_equal(stacker[2][2], stacker[2][1])


def test_a_single_slice_is_its_own_neighbour() -> None:
    stack = SliceStacker(random_hu(1, 16, 16), StackSettings(16, 16))[0]
    np.testing.assert_array_equal(stack[0], stack[1])
    np.testing.assert_array_equal(stack[2], stack[1])


def test_going_in_order_reads_each_slice_once() -> None:
    slices = CountingSlices(random_hu(9, 16, 16))
    stacker = SliceStacker(slices, StackSettings(8, 8))
    stacker.stacks(range(4))
    stacker.stacks(range(4, 9))
    assert slices.reads == list(range(9))


def test_any_order_gives_the_same_stacks() -> None:
    hu = random_hu(7, 16, 16)
    in_order = SliceStacker(hu, StackSettings(8, 8)).stacks(range(7))
    jumping = SliceStacker(hu, StackSettings(8, 8))
    for index in (6, 0, 3, 2, 5, 1, 4, 4):
        np.testing.assert_array_equal(jumping[index], in_order[index])


def test_normalisation_comes_after_the_window() -> None:
    hu = random_hu(1, 8, 8)
    stack = SliceStacker(hu, StackSettings(8, 8, mean=0.25, std=0.5))[0]
    np.testing.assert_allclose(stack[1], (window(hu[0], 25, 130) - 0.25) / 0.5, atol=1e-6)


def test_an_image_that_is_not_square_is_used_whole() -> None:
    hu = np.full((1, 40, 20), -1024, dtype=np.int16)
    hu[0, :20, :] = 90
    stack = SliceStacker(hu, StackSettings(16, 16))[0]
    np.testing.assert_allclose(stack[1, :8], 1, atol=1e-6)
    np.testing.assert_allclose(stack[1, 8:], 0, atol=1e-6)


def test_a_slice_that_does_not_exist_is_an_error() -> None:
    stacker = SliceStacker(random_hu(2, 8, 8), StackSettings(8, 8))
    for index in (-1, 2):
        with pytest.raises(IndexError):
            stacker[index]
