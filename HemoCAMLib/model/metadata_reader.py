"""``configs/metadata.json`` field by field: every value has its type and its range, and is refused by its full name."""

from __future__ import annotations

import re
from typing import Any

from HemoCAMLib.errors import ModelRefused
from HemoCAMLib.model.architecture import check_architecture
from HemoCAMLib.model.calibration import Calibration
from HemoCAMLib.model.fields import Fields
from HemoCAMLib.model.half_precision import HalfPrecision
from HemoCAMLib.model.stacks import STACK_DEPTH
from HemoCAMLib.subtypes import ANY, CLASS_NAMES, SUBTYPE_NAMES

#: Version of the ``hemocam`` table; a bundle with a higher one is refused.
SCHEMA = 1

#: Highest mask threshold on each scale: a probability, or the paper's 0-255.
MASK_SCALES: dict[str, float] = {"absolute": 1.0, "per_image": 255.0}

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,79}")
_SHA256 = re.compile(r"[0-9a-f]{64}")


def read_fields(values: object) -> dict[str, Any]:
    """The arguments of :class:`~HemoCAMLib.model.metadata.BundleMetadata` from ``metadata.json``.

    Raises:
        ModelRefused: as :meth:`~HemoCAMLib.model.metadata.BundleMetadata.from_dict`.
    """
    bundle = Fields(Fields({"metadata.json": values}).table("metadata.json").values)
    ours = bundle.table("hemocam")
    if ours.count("schema", 1, 10**6) > SCHEMA:
        raise ModelRefused(
            "MODEL_METADATA_SCHEMA", "The model was made for a newer version of HemoCAM.", "Update HemoCAM."
        )
    ours.only(_HEMOCAM_FIELDS)
    architecture = ours.table("architecture")
    architecture.only(("name", "arguments"))
    window, normalisation = ours.table("window"), ours.table("normalisation")
    window.only(("center", "width"))
    normalisation.only(("mean", "std"))
    subtypes = _subtypes(ours)
    return {
        "name": _matching(bundle, "name", _NAME, "must be letters, digits, dots, dashes and underscores, up to 80"),
        "version": _matching(bundle, "version", _NAME, "must be a plain version such as 1.0.0"),
        "description": bundle.text("description"),
        "intended_use": ours.text("intended_use"),
        "architecture": architecture.text("name", one_line=True),
        "arguments": check_architecture(architecture.raw("name"), architecture.raw("arguments")),
        "subtypes": subtypes,
        "input_size": _input_size(ours),
        "map_layer": ours.text("map_layer", one_line=True),
        "class_thresholds": _thresholds(ours.table("class_thresholds"), subtypes, 1.0),
        "mask_thresholds": _mask_thresholds(ours, subtypes),
        "training_data": _training_data(ours),
        "mask_scale": _mask_scale(ours),
        "minimum_volume_ml": ours.number("minimum_volume_ml", 0, 1000),
        "mask_rule": _name_or_table(ours, "mask_rule"),
        "refinement": _name_or_table(ours, "refinement"),
        "window_center_hu": window.number("center", -1024, 3072),
        "window_width_hu": window.number("width", 1, 4096),
        "neighbours": ours.count("neighbours", STACK_DEPTH, STACK_DEPTH),
        "mean": normalisation.number("mean", -100, 100),
        "std": normalisation.number("std", 1e-3, 1e3),
        "metrics": dict(ours.table("metrics").values),
        "training_range": _training_range(ours),
        "half_precision": _half_precision(ours),
        "calibration": _calibration(ours, subtypes),
        "weights_sha256": _matching(ours, "weights_sha256", _SHA256, "must be 64 lower-case hexadecimal digits"),
        "authors": bundle.text("authors", optional=True),
        "copyright": bundle.text("copyright", optional=True),
        "changelog": _changelog(bundle),
    }


_HEMOCAM_FIELDS = (
    "schema",
    "architecture",
    "subtypes",
    "input_size",
    "window",
    "neighbours",
    "normalisation",
    "map_layer",
    "class_thresholds",
    "mask_thresholds",
    "mask_scale",
    "minimum_volume_ml",
    "mask_rule",
    "refinement",
    "training_data",
    "metrics",
    "training_range",
    "half_precision",
    "calibration",
    "intended_use",
    "weights_sha256",
)


def _matching(fields: Fields, name: str, pattern: re.Pattern[str], why: str) -> str:
    value = fields.text(name, one_line=True)
    if not pattern.fullmatch(value):
        raise fields.wrong(name, why)
    return value


def _subtypes(ours: Fields) -> tuple[str, ...]:
    names = ours.items("subtypes")
    known = all(isinstance(name, str) and name in CLASS_NAMES for name in names)
    if not known or len(set(names)) != len(names) or not set(names) & set(SUBTYPE_NAMES):
        raise ours.wrong("subtypes", f"must list some of {', '.join(CLASS_NAMES)}, each once")
    return tuple(names)


def _input_size(ours: Fields) -> tuple[int, int]:
    size = Fields(dict(_by_index(ours.items("input_size"))), ours.name_of("input_size"))
    if len(size.values) != 2:
        raise ours.wrong("input_size", "must be rows and columns")
    return size.count("0", 32, 2048), size.count("1", 32, 2048)


def _by_index(items: list[Any]) -> list[tuple[str, Any]]:
    """List items with their index as a name, so that a refusal can say which one."""
    return [(str(index), item) for index, item in enumerate(items)]


def _thresholds(table: Fields, names: tuple[str, ...], highest: float) -> dict[str, float]:
    table.only(names)
    return {name: table.number(name, 0, highest) for name in names}


def _mask_thresholds(ours: Fields, subtypes: tuple[str, ...]) -> dict[str, dict[str, float]]:
    scales = ours.table("mask_thresholds")
    scales.only(MASK_SCALES)
    names = tuple(name for name in subtypes if name != ANY)
    return {scale: _thresholds(scales.table(scale), names, MASK_SCALES[scale]) for scale in scales.values}


def _mask_scale(ours: Fields) -> str:
    scale = ours.text("mask_scale", one_line=True)
    if scale not in ours.table("mask_thresholds").values:
        raise ours.wrong("mask_scale", "must be one of the scales that mask_thresholds has")
    return scale


def _name_or_table(ours: Fields, name: str) -> str | dict[str, Any] | None:
    """A name or a table; what it may hold is checked where it is used, with the masks' other settings."""
    if ours.values.get(name) is None:
        return None
    if isinstance(ours.raw(name), str):
        return ours.text(name, one_line=True)
    return dict(ours.table(name).values)


def _half_precision(ours: Fields) -> tuple[HalfPrecision, ...]:
    if "half_precision" not in ours.values:
        return ()
    records = Fields(dict(_by_index(ours.items("half_precision"))), ours.name_of("half_precision"))
    return tuple(HalfPrecision.from_fields(records.table(index)) for index in records.values)


def _calibration(ours: Fields, classes: tuple[str, ...]) -> Calibration | None:
    if ours.values.get("calibration") is None:
        return None
    return Calibration.from_fields(ours.table("calibration"), classes)


def _training_data(ours: Fields) -> tuple[dict[str, Any], ...]:
    sets = Fields(dict(_by_index(ours.items("training_data"))), ours.name_of("training_data"))
    for index in sets.values:
        sets.table(index).text("name")
        sets.table(index).text("licence")
    return tuple(dict(sets.table(index).values) for index in sets.values)


def _training_range(ours: Fields) -> dict[str, tuple[float, float]]:
    if "training_range" not in ours.values:
        return {}
    table = ours.table("training_range")
    return {str(name)[:80]: _ascending(table, str(name)) for name in table.values}


def _ascending(table: Fields, name: str) -> tuple[float, float]:
    ends = Fields(dict(_by_index(table.items(name))), table.name_of(name))
    if len(ends.values) != 2 or ends.number("0", -1e6, 1e6) > ends.number("1", -1e6, 1e6):
        raise table.wrong(name, "must be the lowest and the highest value")
    return ends.number("0", -1e6, 1e6), ends.number("1", -1e6, 1e6)


def _changelog(bundle: Fields) -> dict[str, str]:
    if "changelog" not in bundle.values:
        return {}
    table = bundle.table("changelog")
    return {str(name)[:80]: table.text(name) for name in table.values}
