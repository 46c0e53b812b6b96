"""What a model says about itself: ``configs/metadata.json`` of a MONAI Bundle, strictly read. Host side.

The bundle's own fields (name, version, description …) stand where MONAI expects them; everything that HemoCAM
needs stands under ``hemocam``. Fields of MONAI that HemoCAM does not use are passed over; under ``hemocam``
nothing unknown is accepted.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from HemoCAMLib.errors import ModelRefused
from HemoCAMLib.model.architecture import check_architecture
from HemoCAMLib.model.fields import Fields
from HemoCAMLib.model.half_precision import HalfPrecision
from HemoCAMLib.model.stacks import STACK_DEPTH, StackSettings
from HemoCAMLib.subtypes import ANY, CLASS_NAMES, SUBTYPE_NAMES

#: Version of the ``hemocam`` table; a bundle with a higher one is refused.
SCHEMA = 1

#: Highest mask threshold on each scale: a probability, or the paper's 0-255.
MASK_SCALES: dict[str, float] = {"absolute": 1.0, "per_image": 255.0}

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,79}")
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class BundleMetadata:
    """A model's description.

    Attributes:
        name: short name, letters, digits, dot, dash and underscore.
        version: the model's version, such as ``1.0.0``.
        description: what it is, for a person.
        intended_use: what it is for and what it must not be used for.
        architecture: name in the registry of networks.
        arguments: of that architecture.
        subtypes: class names in the order of the logits, from "any" and the five subtypes.
        input_size: rows and columns of the network's input.
        window_center_hu: window of the input in HU.
        window_width_hu: see above.
        neighbours: slices in a stack; 3.
        mean: of the 0..1 windowed value, subtracted.
        std: of the 0..1 windowed value, divided by.
        map_layer: module whose activations the maps are made from.
        class_thresholds: by class name, a slice is called positive above it, 0..1.
        mask_thresholds: by scale (``absolute`` 0..1, ``per_image`` 0..255), then by subtype name.
        mask_scale: the recommended scale.
        minimum_volume_ml: lesions smaller than this are removed.
        mask_rule: recommended way to find thresholds, text or a table as
            :class:`~HemoCAMLib.mask.threshold_rule.ThresholdRule` takes it; None for ``mask_thresholds``.
        refinement: recommended use of the image for outlines, a name or a table as
            :meth:`HemoCAMLib.mask.refine.RefinementSettings.from_value` takes it; None for none.
        training_data: data sets with ``name`` and ``licence`` each, and whatever else is worth saying.
        metrics: measured figures by name, as plain values.
        training_range: by statistic of :mod:`HemoCAMLib.quality` the lowest and the highest value of the training
            scans; empty where it was not measured.
        half_precision: what half precision was found to change, one record for each type and kind of device.
        weights_sha256: of the weights file, lower-case hexadecimal; empty only before the bundle is written.
        authors: who made it.
        copyright: and under which licence it may be used.
        changelog: by version.
    """

    name: str
    version: str
    description: str
    intended_use: str
    architecture: str
    arguments: Mapping[str, Any]
    subtypes: tuple[str, ...]
    input_size: tuple[int, int]
    map_layer: str
    class_thresholds: Mapping[str, float]
    mask_thresholds: Mapping[str, Mapping[str, float]]
    training_data: tuple[Mapping[str, Any], ...]
    mask_scale: str = "absolute"
    minimum_volume_ml: float = 0.1
    mask_rule: str | Mapping[str, Any] | None = None
    refinement: str | Mapping[str, Any] | None = None
    window_center_hu: float = 25.0
    window_width_hu: float = 130.0
    neighbours: int = STACK_DEPTH
    mean: float = 0.0
    std: float = 1.0
    metrics: Mapping[str, Any] = field(default_factory=dict)
    training_range: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    half_precision: tuple[HalfPrecision, ...] = ()
    weights_sha256: str = ""
    authors: str = ""
    copyright: str = ""
    changelog: Mapping[str, str] = field(default_factory=dict)

    @property
    def stack_settings(self) -> StackSettings:
        """How slices become this network's input."""
        rows, columns = self.input_size
        return StackSettings(rows, columns, self.window_center_hu, self.window_width_hu, self.mean, self.std)

    def hemocam_fields(self) -> dict[str, Any]:
        """The table ``hemocam`` as plain values, new at each call."""
        return {
            "schema": SCHEMA,
            "architecture": {"name": self.architecture, "arguments": _plain(self.arguments)},
            "subtypes": list(self.subtypes),
            "input_size": list(self.input_size),
            "window": {"center": self.window_center_hu, "width": self.window_width_hu},
            "neighbours": self.neighbours,
            "normalisation": {"mean": self.mean, "std": self.std},
            "map_layer": self.map_layer,
            "class_thresholds": dict(self.class_thresholds),
            "mask_thresholds": {scale: dict(table) for scale, table in self.mask_thresholds.items()},
            "mask_scale": self.mask_scale,
            "minimum_volume_ml": self.minimum_volume_ml,
            **({} if self.mask_rule is None else {"mask_rule": _plain(self.mask_rule)}),
            **({} if self.refinement is None else {"refinement": _plain(self.refinement)}),
            "training_data": _plain(self.training_data),
            "metrics": _plain(self.metrics),
            "training_range": _plain(self.training_range),
            **({"half_precision": [each.as_dict() for each in self.half_precision]} if self.half_precision else {}),
            "intended_use": self.intended_use,
            "weights_sha256": self.weights_sha256,
        }

    def to_dict(self) -> dict[str, Any]:
        """The whole of ``metadata.json`` as plain values; :meth:`from_dict` reads it back to an equal object."""
        rows, columns = self.input_size
        return {
            "name": self.name,
            "version": self.version,
            "changelog": dict(self.changelog),
            "task": "Slice-wise intracranial hemorrhage subtype classification and weakly supervised localization",
            "description": self.description,
            "authors": self.authors,
            "copyright": self.copyright,
            "intended_use": self.intended_use,
            "network_data_format": {
                "inputs": {
                    "image": {
                        "type": "image",
                        "format": "hounsfield",
                        "modality": "CT",
                        "num_channels": self.neighbours,
                        "spatial_shape": [rows, columns],
                        "dtype": "float32",
                        "value_range": [(0 - self.mean) / self.std, (1 - self.mean) / self.std],
                        "is_patch_data": False,
                        "channel_def": {"0": "slice before", "1": "slice", "2": "slice after"},
                    }
                },
                "outputs": {
                    "pred": {
                        "type": "probabilities",
                        "format": "classes",
                        "num_channels": len(self.subtypes),
                        "spatial_shape": [],
                        "dtype": "float32",
                        "value_range": [],
                        "is_patch_data": False,
                        "channel_def": {str(index): name for index, name in enumerate(self.subtypes)},
                    }
                },
            },
            "hemocam": self.hemocam_fields(),
        }

    @classmethod
    def from_dict(cls, values: object) -> BundleMetadata:
        """Reads ``metadata.json``.

        Raises:
            ModelRefused: ``MODEL_METADATA_MISSING``, ``MODEL_METADATA_TYPE``, ``MODEL_METADATA_VALUE``,
                ``MODEL_METADATA_UNKNOWN`` with the field's full name, ``MODEL_METADATA_SCHEMA`` for a newer
                schema, ``MODEL_UNKNOWN_ARCHITECTURE``, ``MODEL_ARCHITECTURE_ARGUMENTS``.
        """
        top = Fields({"metadata.json": values}).table("metadata.json").values
        bundle = Fields(top)
        return _read(bundle, bundle.table("hemocam"))


def _read(bundle: Fields, ours: Fields) -> BundleMetadata:
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
    return BundleMetadata(
        name=_matching(bundle, "name", _NAME, "must be letters, digits, dots, dashes and underscores, up to 80"),
        version=_matching(bundle, "version", _NAME, "must be a plain version such as 1.0.0"),
        description=bundle.text("description"),
        intended_use=ours.text("intended_use"),
        architecture=architecture.text("name", one_line=True),
        arguments=check_architecture(architecture.raw("name"), architecture.raw("arguments")),
        subtypes=subtypes,
        input_size=_input_size(ours),
        map_layer=ours.text("map_layer", one_line=True),
        class_thresholds=_thresholds(ours.table("class_thresholds"), subtypes, 1.0),
        mask_thresholds=_mask_thresholds(ours, subtypes),
        training_data=_training_data(ours),
        mask_scale=_mask_scale(ours),
        minimum_volume_ml=ours.number("minimum_volume_ml", 0, 1000),
        mask_rule=_name_or_table(ours, "mask_rule"),
        refinement=_name_or_table(ours, "refinement"),
        window_center_hu=window.number("center", -1024, 3072),
        window_width_hu=window.number("width", 1, 4096),
        neighbours=ours.count("neighbours", STACK_DEPTH, STACK_DEPTH),
        mean=normalisation.number("mean", -100, 100),
        std=normalisation.number("std", 1e-3, 1e3),
        metrics=dict(ours.table("metrics").values),
        training_range=_training_range(ours),
        half_precision=_half_precision(ours),
        weights_sha256=_matching(ours, "weights_sha256", _SHA256, "must be 64 lower-case hexadecimal digits"),
        authors=bundle.text("authors", optional=True),
        copyright=bundle.text("copyright", optional=True),
        changelog=_changelog(bundle),
    )


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


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _plain(item) for name, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value
