"""What tuning found, as it goes into a bundle and as it lies in a file until then."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from hemocam_training.errors import DataRefused
from HemoCAMLib.errors import ModelRefused, UsageError
from HemoCAMLib.model.calibration import Calibration
from HemoCAMLib.model.fields import Fields
from HemoCAMLib.model.metadata import BundleMetadata

VERSION = 1


@dataclass(frozen=True)
class Tuning:
    """Settings of a bundle, and on what they were chosen.

    Attributes:
        weights_sha256: of the weights that they were chosen for.
        class_thresholds: by class name, on the calibrated scale where there is a calibration.
        mask_thresholds: by scale, then by subtype.
        mask_scale: recommended scale.
        minimum_volume_ml: smallest lesion.
        refinement: as :meth:`RefinementSettings.as_dict`, or None.
        calibration: or None.
        source: what scans they were chosen on, as :meth:`ScanSource.describe` says it, and ``used``, how many could be.
        leak_check: in words, why these scans are not those that the model learned from.
        figures: what every choice came to, by name.
    """

    weights_sha256: str
    class_thresholds: Mapping[str, float]
    mask_thresholds: Mapping[str, Mapping[str, float]]
    mask_scale: str
    minimum_volume_ml: float
    refinement: Mapping[str, Any] | None
    calibration: Calibration | None
    source: Mapping[str, Any]
    leak_check: str
    figures: Mapping[str, Any] = field(default_factory=dict)

    def applied(self, metadata: BundleMetadata) -> BundleMetadata:
        """A description with these settings.

        Raises:
            UsageError: ``USAGE_TUNING_OTHER``: they were chosen for other weights.
        """
        if metadata.weights_sha256 and metadata.weights_sha256 != self.weights_sha256:
            raise UsageError(
                "USAGE_TUNING_OTHER", "The settings were tuned for other weights.", "Tune the bundle at hand."
            )
        return replace(
            metadata,
            class_thresholds=dict(self.class_thresholds),
            mask_thresholds={scale: dict(table) for scale, table in self.mask_thresholds.items()},
            mask_scale=self.mask_scale,
            minimum_volume_ml=self.minimum_volume_ml,
            refinement=self.refinement,
            calibration=self.calibration,
        )

    def as_dict(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "hemocam_tuning": VERSION,
            "weights_sha256": self.weights_sha256,
            "source": dict(self.source),
            "leak_check": self.leak_check,
            "class_thresholds": dict(self.class_thresholds),
            "mask_thresholds": {scale: dict(table) for scale, table in self.mask_thresholds.items()},
            "mask_scale": self.mask_scale,
            "minimum_volume_ml": self.minimum_volume_ml,
            "refinement": None if self.refinement is None else dict(self.refinement),
            "calibration": None if self.calibration is None else self.calibration.as_dict(),
            "figures": dict(self.figures),
        }

    def write(self, path: Path) -> None:
        """Raises UsageError ``USAGE_CANNOT_WRITE``."""
        partial = path.with_name(path.name + ".partial")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            partial.write_text(json.dumps(self.as_dict(), indent=1, allow_nan=False) + "\n", encoding="utf-8")
            partial.replace(path)
        except OSError as error:
            raise UsageError(
                "USAGE_CANNOT_WRITE", "The tuning cannot be written.", "Choose a folder that can be written to."
            ) from error

    @classmethod
    def read(cls, path: Path) -> Tuning:
        """Raises DataRefused ``TRAIN_TUNING``."""
        try:
            values = json.loads(path.read_text(encoding="utf-8"))
            if values["hemocam_tuning"] != VERSION:
                raise ValueError("another version")
            line = values["calibration"]
            classes = tuple(values["class_thresholds"])
            return cls(
                weights_sha256=str(values["weights_sha256"]),
                class_thresholds=dict(values["class_thresholds"]),
                mask_thresholds=dict(values["mask_thresholds"]),
                mask_scale=str(values["mask_scale"]),
                minimum_volume_ml=float(values["minimum_volume_ml"]),
                refinement=values["refinement"],
                calibration=None if line is None else Calibration.from_fields(Fields(line, "calibration"), classes),
                source=dict(values["source"]),
                leak_check=str(values["leak_check"]),
                figures=dict(values["figures"]),
            )
        except (OSError, ValueError, KeyError, TypeError, AttributeError, ModelRefused) as error:
            raise DataRefused(
                "TRAIN_TUNING", f"{path.name} is not the outcome of a tuning.", "Write one with hemocam-train tune."
            ) from error
