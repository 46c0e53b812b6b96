"""A model's description: read back as written, and refused by the field's name where it is wrong."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from typing import Any

import pytest

from HemoCAMLib.errors import ModelRefused
from HemoCAMLib.model.metadata import BundleMetadata
from HemoCAMLib.model.strict_json import parse_json
from HemoCAMLib.subtypes import CLASS_NAMES, SUBTYPE_NAMES


def metadata() -> BundleMetadata:
    return BundleMetadata(
        name="demo-1",
        version="1.2.0",
        description="For tests.\nTwo lines, Größe.",
        intended_use="Research only.",
        architecture="lse-unet",
        arguments={"encoder": "test_resnet", "r": 3.0, "decoder_channels": [8, 8, 8, 8]},
        subtypes=CLASS_NAMES,
        input_size=(64, 96),
        map_layer="merge.0",
        class_thresholds=dict.fromkeys(CLASS_NAMES, 0.4),
        mask_thresholds={"absolute": dict.fromkeys(SUBTYPE_NAMES, 0.5)},
        training_data=({"name": "phantoms", "licence": "Apache-2.0", "scans": 100},),
        metrics={"auroc": {"IPH": 0.9}},
        training_range={"noise_hu": (1.0, 2.5)},
        weights_sha256="0" * 64,
        changelog={"1.2.0": "first"},
    )


def plain() -> dict[str, Any]:
    values: dict[str, Any] = json.loads(json.dumps(metadata().to_dict()))
    return values


def test_a_description_survives_writing_and_reading() -> None:
    assert BundleMetadata.from_dict(plain()) == metadata()


def test_a_description_has_the_fields_of_a_monai_bundle() -> None:
    values = plain()
    assert {"version", "task", "description", "authors", "copyright", "network_data_format"} <= set(values)
    assert values["network_data_format"]["outputs"]["pred"]["channel_def"]["0"] == "any"
    assert values["network_data_format"]["inputs"]["image"]["spatial_shape"] == [64, 96]


def test_fields_of_monai_that_mean_nothing_here_are_passed_over() -> None:
    assert BundleMetadata.from_dict({**plain(), "monai_version": "1.6", "schema": "https://…"}) == metadata()


def test_the_stack_settings_come_from_the_description() -> None:
    settings = metadata().stack_settings
    assert (settings.rows, settings.columns, settings.window_center_hu, settings.window_width_hu) == (64, 96, 25, 130)


def test_the_hemocam_fields_can_be_changed_without_changing_the_description() -> None:
    described = metadata()
    described.hemocam_fields()["class_thresholds"]["IPH"] = 0.9
    described.hemocam_fields()["architecture"]["arguments"]["decoder_channels"].append(1)
    assert described == metadata()


#: Fields that older bundles do not have.
OPTIONAL = {"training_range"}
REQUIRED = [name for name in metadata().hemocam_fields() if name not in OPTIONAL]


@pytest.mark.parametrize("name", REQUIRED)
def test_a_missing_field_is_named(name: str) -> None:
    values = plain()
    del values["hemocam"][name]
    with pytest.raises(ModelRefused) as caught:
        BundleMetadata.from_dict(values)
    assert caught.value.code == "MODEL_METADATA_MISSING"
    assert f"hemocam.{name}" in caught.value.message


@pytest.mark.parametrize("name", sorted(OPTIONAL))
def test_a_bundle_without_a_newer_field_is_still_read(name: str) -> None:
    values = plain()
    del values["hemocam"][name]
    assert BundleMetadata.from_dict(values).weights_sha256 == metadata().weights_sha256


@pytest.mark.parametrize("name", ["name", "version", "description", "hemocam"])
def test_a_missing_field_of_the_bundle_is_named(name: str) -> None:
    values = plain()
    del values[name]
    with pytest.raises(ModelRefused) as caught:
        BundleMetadata.from_dict(values)
    assert caught.value.code == "MODEL_METADATA_MISSING"
    assert name in caught.value.message


def change(path: str, value: object) -> Callable[[dict[str, Any]], None]:
    def apply(values: dict[str, Any]) -> None:
        *parents, last = path.split(".")
        for parent in parents:
            values = values[parent]
        values[last] = value

    return apply


@pytest.mark.parametrize(
    ("path", "value", "code"),
    [
        ("hemocam", [], "MODEL_METADATA_TYPE"),
        ("hemocam.schema", 2, "MODEL_METADATA_SCHEMA"),
        ("hemocam.schema", "1", "MODEL_METADATA_TYPE"),
        ("hemocam.training_range.noise_hu", [2.0, 1.0], "MODEL_METADATA_VALUE"),
        ("hemocam.training_range.noise_hu", [1.0], "MODEL_METADATA_VALUE"),
        ("hemocam.training_range.noise_hu", 1.0, "MODEL_METADATA_TYPE"),
        ("hemocam.surprise", 1, "MODEL_METADATA_UNKNOWN"),
        ("hemocam.window.level", 25, "MODEL_METADATA_UNKNOWN"),
        ("hemocam.window.width", 0, "MODEL_METADATA_VALUE"),
        ("hemocam.window.center", "25", "MODEL_METADATA_TYPE"),
        ("hemocam.window.center", True, "MODEL_METADATA_TYPE"),
        ("hemocam.normalisation.std", 0.0, "MODEL_METADATA_VALUE"),
        ("hemocam.normalisation.mean", float("nan"), "MODEL_METADATA_VALUE"),
        ("hemocam.input_size", [256], "MODEL_METADATA_VALUE"),
        ("hemocam.input_size", [256, 256.0], "MODEL_METADATA_TYPE"),
        ("hemocam.input_size", [256, 10**9], "MODEL_METADATA_VALUE"),
        ("hemocam.neighbours", 5, "MODEL_METADATA_VALUE"),
        ("hemocam.subtypes", [], "MODEL_METADATA_VALUE"),
        ("hemocam.subtypes", ["any"], "MODEL_METADATA_VALUE"),
        ("hemocam.subtypes", ["IPH", "IPH"], "MODEL_METADATA_VALUE"),
        ("hemocam.subtypes", ["IPH", "ICH"], "MODEL_METADATA_VALUE"),
        ("hemocam.subtypes", [["IPH"]], "MODEL_METADATA_VALUE"),
        ("hemocam.subtypes", "IPH", "MODEL_METADATA_TYPE"),
        ("hemocam.class_thresholds.IPH", 1.5, "MODEL_METADATA_VALUE"),
        ("hemocam.class_thresholds.ICH", 0.5, "MODEL_METADATA_UNKNOWN"),
        ("hemocam.mask_thresholds.relative", {}, "MODEL_METADATA_UNKNOWN"),
        ("hemocam.mask_thresholds.absolute.any", 0.5, "MODEL_METADATA_UNKNOWN"),
        ("hemocam.mask_thresholds.absolute.IPH", 75, "MODEL_METADATA_VALUE"),
        ("hemocam.mask_scale", "per_image", "MODEL_METADATA_VALUE"),
        ("hemocam.minimum_volume_ml", -1, "MODEL_METADATA_VALUE"),
        ("hemocam.training_data", {}, "MODEL_METADATA_TYPE"),
        ("hemocam.training_data", [{"name": "x"}], "MODEL_METADATA_MISSING"),
        ("hemocam.training_data", ["x"], "MODEL_METADATA_TYPE"),
        ("hemocam.metrics", 3, "MODEL_METADATA_TYPE"),
        ("hemocam.intended_use", "  ", "MODEL_METADATA_VALUE"),
        ("hemocam.weights_sha256", "0" * 63, "MODEL_METADATA_VALUE"),
        ("hemocam.map_layer", "a\nb", "MODEL_METADATA_VALUE"),
        ("hemocam.architecture", "lse-unet", "MODEL_METADATA_TYPE"),
        ("hemocam.architecture.name", "resnet", "MODEL_UNKNOWN_ARCHITECTURE"),
        ("hemocam.architecture.arguments", [], "MODEL_ARCHITECTURE_ARGUMENTS"),
        ("hemocam.architecture.arguments.pretrained", True, "MODEL_ARCHITECTURE_ARGUMENTS"),
        ("hemocam.architecture.target", "os.system", "MODEL_METADATA_UNKNOWN"),
        ("name", "../evil", "MODEL_METADATA_VALUE"),
        ("name", "\x1b[31m", "MODEL_METADATA_VALUE"),
        ("version", 1, "MODEL_METADATA_TYPE"),
        ("description", "x" * 30_000, "MODEL_METADATA_VALUE"),
        ("changelog", "first", "MODEL_METADATA_TYPE"),
    ],
)
def test_a_wrong_value_is_refused_with_its_code(path: str, value: object, code: str) -> None:
    values = copy.deepcopy(plain())
    change(path, value)(values)
    with pytest.raises(ModelRefused) as caught:
        BundleMetadata.from_dict(values)
    assert caught.value.code == code


@pytest.mark.parametrize("values", [None, [], 3, "text", True])
def test_something_that_is_no_description_is_refused(values: object) -> None:
    with pytest.raises(ModelRefused):
        BundleMetadata.from_dict(values)


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"\xff",
        b"{",
        b'{"a": NaN}',
        b'{"a": 1e999}',
        b'{"a": -Infinity}',
        b'{"a": 1, "a": 2}',
        b'{"a": "\\ud800"}',
        b"[" * 100_000,
        b"[" * 30 + b"]" * 30,
        b"9" * 10_000,
    ],
)
def test_json_that_would_surprise_later_is_not_read(text: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011  (any of its subclasses)
        parse_json(text)
