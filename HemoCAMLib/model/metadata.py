"""What a model says about itself: ``configs/metadata.json`` of a MONAI Bundle, strictly read. Host side.

The bundle's own fields (name, version, description …) stand where MONAI expects them; everything that HemoCAM
needs stands under ``hemocam``. Fields of MONAI that HemoCAM does not use are passed over; under ``hemocam``
nothing unknown is accepted.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from HemoCAMLib.model.calibration import Calibration
from HemoCAMLib.model.half_precision import HalfPrecision
from HemoCAMLib.model.metadata_reader import SCHEMA, read_fields
from HemoCAMLib.model.stacks import STACK_DEPTH, StackSettings


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
        calibration: how class logits become probabilities; None for their sigmoid alone.
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
    calibration: Calibration | None = None
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
            **({} if self.calibration is None else {"calibration": self.calibration.as_dict()}),
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
        return cls(**read_fields(values))


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _plain(item) for name, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value
