"""Scales and fusion of maps: against numpy, and for maps that are empty, constant or broken."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from HemoCAMLib.cam.fusion import fuse
from HemoCAMLib.cam.scaling import SCALINGS, scaled
from HemoCAMLib.errors import UsageError

ANY_MAPS = arrays(np.float32, (3, 2, 4, 5), elements=st.floats(-(2.0**20), 2.0**20, width=32))


@given(ANY_MAPS)
def test_per_image_scaling_is_min_max_of_each_image(values: Any) -> None:
    found = scaled(torch.from_numpy(values.copy()), "per-image-min-max")[0].numpy()
    low, high = values.min(axis=(2, 3), keepdims=True), values.max(axis=(2, 3), keepdims=True)
    with np.errstate(invalid="ignore", divide="ignore"):
        expected = np.where(high > low, (values - low) / (high - low), 0)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


@given(ANY_MAPS)
def test_per_volume_scaling_has_one_unit_for_all_slices_of_a_class(values: Any) -> None:
    positive = np.maximum(values, 0)
    unit = positive.max(axis=(0, 2, 3), keepdims=True)
    found = scaled(torch.from_numpy(values.copy()), "per-volume-max")[0].numpy()
    np.testing.assert_allclose(found, np.divide(positive, unit, out=np.zeros_like(positive), where=unit > 0), rtol=1e-5)


def test_a_percentile_is_that_of_the_positive_values_of_the_volume() -> None:
    values = torch.arange(-50.0, 101.0).view(1, 1, 1, -1)
    found, record = scaled(values, {"how": "per-volume-percentile", "percentile": 50})
    assert record == {"how": "per-volume-percentile", "percentile": 50.0}
    unit = np.percentile(np.arange(1, 101), 50, method="nearest")
    torch.testing.assert_close(found, (values.clamp_min(0) / unit).clamp_max(1))


@pytest.mark.parametrize("scaling", SCALINGS)
@pytest.mark.parametrize("value", [0.0, 3.0, -3.0, float("nan"), float("inf")])
def test_constant_and_broken_maps_have_a_defined_scale(scaling: str, value: float) -> None:
    maps = torch.full((2, 1, 3, 3), value)
    found = scaled(maps, scaling)[0]
    assert found.shape == maps.shape
    if scaling != "none":
        assert torch.isfinite(found).all()
        assert found.min() >= 0
        assert found.max() <= 1


def test_a_broken_pixel_does_not_spoil_the_others() -> None:
    maps = torch.tensor([[[[float("nan"), 1.0, float("inf"), 2.0, 3.0]]]])
    for scaling, expected in (
        ("per-image-min-max", [0, 0, 0, 0.5, 1]),
        ("per-volume-max", [0, 1 / 3, 0, 2 / 3, 1]),
    ):
        torch.testing.assert_close(scaled(maps, scaling)[0].flatten(), torch.tensor(expected))


@pytest.mark.parametrize(
    "scaling",
    ["sigmoid", {"how": "none", "percentile": 3}, {"how": "per-volume-percentile", "percentile": 0}, {}, 3, None],
)
def test_a_scaling_that_does_not_exist_is_refused(scaling: Any) -> None:
    with pytest.raises(UsageError) as caught:
        scaled(torch.zeros(1, 1, 2, 2), scaling)
    assert caught.value.code == "USAGE_CAM_SCALING"


def test_layers_are_fused_at_the_finest_size_on_a_common_scale() -> None:
    fine = torch.tensor([[[[4.0, 0.0], [2.0, -4.0]]]])
    coarse = torch.tensor([[[[100.0]]]])
    assert fuse([coarse, fine], "mean").flatten().tolist() == [1.0, 0.5, 0.75, 0.5]
    assert fuse([coarse, fine], "max").flatten().tolist() == [1.0, 1.0, 1.0, 1.0]
    assert fuse([coarse, fine], "product").flatten().tolist() == [1.0, 0.0, 0.5, 0.0]


def test_without_a_common_scale_means_stay_signed_and_products_do_not_turn_negatives_around() -> None:
    one, two = torch.tensor([[[[-2.0, 3.0]]]]), torch.tensor([[[[-4.0, 5.0]]]])
    assert fuse([one, two], "mean", "none").flatten().tolist() == [-3.0, 4.0]
    assert fuse([one, two], "max", "none").flatten().tolist() == [-2.0, 5.0]
    assert fuse([one, two], "product", "none").flatten().tolist() == [0.0, 15.0]


def test_a_map_without_a_positive_value_is_fused_as_nothing() -> None:
    assert fuse([torch.zeros(1, 1, 2, 2), -torch.ones(1, 1, 2, 2)], "max").abs().sum() == 0


@pytest.mark.parametrize(("how", "scale"), [("sum", "none"), ("mean", "per-volume")])
def test_a_fusion_that_does_not_exist_is_refused(how: str, scale: str) -> None:
    with pytest.raises(UsageError):
        fuse([torch.zeros(1, 1, 2, 2)], how, scale)
