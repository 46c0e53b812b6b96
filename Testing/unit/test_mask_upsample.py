"""Interpolation from map to image, held against torch."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from HemoCAMLib.mask.upsample import box_where_above, interpolation_matrix, upsample_box

torch = pytest.importorskip("torch")

sizes = st.integers(1, 24)


def reference(source: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    tensor = torch.from_numpy(source)[None, None]
    return torch.nn.functional.interpolate(tensor, shape, mode="bilinear", align_corners=False)[0, 0].numpy()


@settings(max_examples=60, deadline=None)
@given(sizes, sizes, st.integers(1, 70), st.integers(1, 70), st.integers(0, 2**32 - 1), st.data())
def test_any_box_equals_torch_interpolation(h: int, w: int, rows: int, columns: int, seed: int, data) -> None:
    source = np.random.default_rng(seed).normal(size=(h, w)).astype(np.float32)
    top = data.draw(st.integers(0, rows - 1))
    bottom = data.draw(st.integers(top + 1, rows))
    left = data.draw(st.integers(0, columns - 1))
    right = data.draw(st.integers(left + 1, columns))
    found = upsample_box(source, (rows, columns), (top, bottom, left, right))
    np.testing.assert_allclose(found, reference(source, (rows, columns))[top:bottom, left:right], atol=2e-5)


@settings(max_examples=60, deadline=None)
@given(sizes, sizes, st.integers(1, 70), st.integers(1, 70), st.integers(0, 2**32 - 1))
def test_nothing_exceeds_the_threshold_outside_the_box(h: int, w: int, rows: int, columns: int, seed: int) -> None:
    source = np.random.default_rng(seed).normal(size=(h, w)).astype(np.float32)
    above = reference(source, (rows, columns)) > 1.5 + 1e-5
    box = box_where_above(source, 1.5, (rows, columns))
    if box is not None:
        above[box[0] : box[1], box[2] : box[3]] = False
    assert not above.any()


def test_rows_of_the_matrix_sum_to_one() -> None:
    np.testing.assert_allclose(interpolation_matrix(13, 512).sum(axis=1), 1, atol=1e-6)
