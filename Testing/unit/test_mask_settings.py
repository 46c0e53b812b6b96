"""MaskSettings: ranges, and what comes out of a bundle's metadata."""

from __future__ import annotations

import json
import math

import pytest

from HemoCAMLib.errors import ModelRefused, UsageError
from HemoCAMLib.mask import MaskSettings
from HemoCAMLib.subtypes import SUBTYPE_NAMES

METADATA = {
    "architecture": {"name": "lse-unet"},
    "class_thresholds": {"any": 0.9, "IPH": 0.1, "IVH": 0.2, "SAH": 0.3, "SDH": 0.4, "EDH": 0.5},
    "mask_thresholds": {
        "absolute": dict.fromkeys(SUBTYPE_NAMES, 0.5),
        "per_image": {"IPH": 75, "IVH": 125, "SAH": 125, "SDH": 75, "EDH": 25},
    },
    "mask_scale": "absolute",
    "minimum_volume_ml": 0.1,
}


def test_metadata_gives_thresholds_in_the_order_of_the_subtypes() -> None:
    settings = MaskSettings.from_metadata(METADATA)
    assert settings == MaskSettings((0.1, 0.2, 0.3, 0.4, 0.5), (0.5,) * 5, "absolute", 0.1)


def test_another_scale_brings_its_own_thresholds() -> None:
    settings = MaskSettings.from_metadata(METADATA, scale="per_image")
    assert settings.scale == "per_image"
    assert settings.mask_thresholds == (75, 125, 125, 75, 25)


def test_settings_survive_a_result_file() -> None:
    settings = MaskSettings.from_metadata(METADATA, scale="per_image")
    assert MaskSettings.from_dict(json.loads(json.dumps(settings.as_dict()))) == settings


def test_a_subtype_that_the_model_does_not_know_is_never_called() -> None:
    known = {"class_thresholds": {"IPH": 0.3}, "mask_thresholds": {"absolute": {"IPH": 0.5}}}
    assert MaskSettings.from_metadata(known).class_thresholds == (0.3, 1.0, 1.0, 1.0, 1.0)


@pytest.mark.parametrize("scale", ["absolut", "sigmoid", ""])
def test_an_unknown_scale_is_a_usage_error(scale: str) -> None:
    with pytest.raises(UsageError) as refused:
        MaskSettings.from_metadata(METADATA, scale=scale)
    assert refused.value.code == "USAGE_MASK_SETTINGS"


@pytest.mark.parametrize("value", [-0.01, 1.01, math.nan, math.inf, "0.5", None, True])
def test_a_threshold_outside_its_range_is_refused_with_the_subtypes_name(value: object) -> None:
    with pytest.raises(UsageError, match="SAH"):
        MaskSettings((0.5, 0.5, value, 0.5, 0.5), (0.5,) * 5)  # type: ignore[arg-type]


def test_thresholds_of_255_belong_to_the_per_image_scale_only() -> None:
    assert MaskSettings((0.5,) * 5, (255.0,) * 5, "per_image").mask_thresholds[0] == 255
    with pytest.raises(UsageError):
        MaskSettings((0.5,) * 5, (75.0,) * 5, "absolute")


@pytest.mark.parametrize("volume", [-1.0, math.nan, math.inf, "1"])
def test_an_impossible_smallest_volume_is_refused(volume: object) -> None:
    with pytest.raises(UsageError):
        MaskSettings((0.5,) * 5, (0.5,) * 5, minimum_volume_ml=volume)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "damage",
    [
        {"class_thresholds": None},
        {"mask_thresholds": {}},
        {"mask_thresholds": {"absolute": {"IPH": 0.5}}},
        {"class_thresholds": {"IPHH": 0.5}},
        {"class_thresholds": {}, "mask_thresholds": {"absolute": {}}},
        {"class_thresholds": {"IPH": 7}, "mask_thresholds": {"absolute": {"IPH": 0.5}}},
        {"mask_scale": "other"},
        {"mask_scale": ["absolute"]},
        {"minimum_volume_ml": "much"},
    ],
)
def test_a_bundle_with_wrong_thresholds_is_refused_as_a_model(damage: dict[str, object]) -> None:
    with pytest.raises(ModelRefused) as refused:
        MaskSettings.from_metadata({**METADATA, **damage})
    assert refused.value.code == "MODEL_MASK_SETTINGS"


def test_stored_settings_that_miss_a_subtype_are_refused() -> None:
    stored = MaskSettings.from_metadata(METADATA).as_dict()
    del stored["class_thresholds"]["EDH"]  # type: ignore[attr-defined]
    with pytest.raises(UsageError):
        MaskSettings.from_dict(stored)


@pytest.mark.parametrize("scale", ["relative", ["absolute"], None, 3])
def test_stored_settings_with_an_impossible_scale_are_refused(scale: object) -> None:
    with pytest.raises(UsageError):
        MaskSettings.from_dict({**MaskSettings.from_metadata(METADATA).as_dict(), "scale": scale})


@pytest.mark.parametrize("stored", ["percentile:90@brain", {"name": "percentile", "percentile": 90.0, "over": "brain"}])
def test_a_bundle_may_recommend_a_rule_and_a_user_another(stored: object) -> None:
    recommended = MaskSettings.from_metadata({**METADATA, "mask_rule": stored})
    assert str(recommended.rule) == "percentile:90@brain"
    assert str(MaskSettings.from_metadata({**METADATA, "mask_rule": stored}, rule="otsu").rule) == "otsu"
    with pytest.raises(ModelRefused):
        MaskSettings.from_metadata({**METADATA, "mask_rule": "otsuu"})
    with pytest.raises(UsageError):
        MaskSettings.from_metadata(METADATA, rule="otsuu")


def test_maps_that_are_no_local_logits_take_the_per_image_scale() -> None:
    assert MaskSettings.from_metadata(METADATA, map_values="signed").scale == "per_image"
    with pytest.raises(UsageError) as refused:
        MaskSettings.from_metadata(METADATA, scale="absolute", map_values="signed")
    assert refused.value.code == "USAGE_MASK_SCALE"


def test_a_rule_needs_no_table_of_thresholds_for_its_scale() -> None:
    without = {**METADATA, "mask_thresholds": {"absolute": dict.fromkeys(SUBTYPE_NAMES, 0.5)}}
    assert MaskSettings.from_metadata(without, scale="per_image", rule="otsu").scale == "per_image"
    with pytest.raises(UsageError):
        MaskSettings.from_metadata(without, scale="per_image")
