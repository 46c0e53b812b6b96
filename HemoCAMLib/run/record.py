"""The pieces of ``result.json`` and of the events that carry the same values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from HemoCAMLib.ct import HeadCT, SliceGeometry
from HemoCAMLib.mask import MaskSettings
from HemoCAMLib.measure import Measurements, MidlinePlane
from HemoCAMLib.model import ModelBundle
from HemoCAMLib.quality import Assessment
from HemoCAMLib.run.result import RESULT_SCHEMA
from HemoCAMLib.subtypes import ANY, SUBTYPE_NAMES

#: Local logit of a subtype that the model does not know: a probability of zero for every purpose.
UNKNOWN_LOGIT = -1e4


class ClassOrder:
    """Finds the five subtypes, and "any", among the classes of a model.

    Args:
        classes: class names in the order of the network's outputs.

    >>> ClassOrder(["any", "IPH"]).probabilities(np.array([0.9, 0.25]))
    {'IPH': 0.25, 'IVH': 0.0, 'SAH': 0.0, 'SDH': 0.0, 'EDH': 0.0, 'any': 0.9}
    """

    def __init__(self, classes: Sequence[str]) -> None:
        self._rows = {name: row for row, name in enumerate(classes)}

    @property
    def count(self) -> int:
        """Number of classes of the model."""
        return len(self._rows)

    def subtype_probabilities(self, probabilities: NDArray[np.floating[Any]]) -> NDArray[np.float32]:
        """[class] probabilities to those of the five subtypes; 0 where the model does not know one."""
        return np.array([probabilities[self._rows[n]] if n in self._rows else 0 for n in SUBTYPE_NAMES], np.float32)

    def subtype_maps(self, maps_of_classes: NDArray[np.floating[Any]]) -> NDArray[np.float32]:
        """[class, rows, columns] local logits to those of the five subtypes."""
        maps = np.full((len(SUBTYPE_NAMES), *maps_of_classes.shape[1:]), UNKNOWN_LOGIT, np.float32)
        for index, name in enumerate(SUBTYPE_NAMES):
            if name in self._rows:
                maps[index] = maps_of_classes[self._rows[name]]
        return maps

    def probabilities(self, probabilities: NDArray[np.floating[Any]]) -> dict[str, float]:
        """By subtype name and ``any``; a model without that class gives the probability of at least one subtype."""
        subtypes = self.subtype_probabilities(probabilities)
        named = {name: _rounded(value) for name, value in zip(SUBTYPE_NAMES, subtypes, strict=True)}
        any_ = probabilities[self._rows[ANY]] if ANY in self._rows else 1 - np.prod(1 - subtypes)
        return {**named, ANY: _rounded(any_)}


def input_record(ct: HeadCT) -> dict[str, Any]:
    """What was read: kind, slices, spacing, tilt, warnings; no names, no dates, and no path, which may hold both."""
    geometry = ct.geometry
    return {
        "kind": ct.source.kind,
        "series_instance_uid": ct.source.series_instance_uid,
        "choice": ct.source.choice,
        "slices": ct.shape[0],
        "rows": ct.shape[1],
        "columns": ct.shape[2],
        "spacing": {
            "row_mm": geometry.pixel_spacing_mm[0],
            "column_mm": geometry.pixel_spacing_mm[1],
            "slice_mm": round(float(np.median(geometry.extents_mm)), 4),
            "smallest_slice_mm": round(float(geometry.extents_mm.min()), 4),
            "largest_slice_mm": round(float(geometry.extents_mm.max()), 4),
            "uniform_step_mm": round(geometry.uniform_step_mm, 4),
        },
        "tilt_deg": round(geometry.tilt_deg, 3),
        "warnings": [{"code": warning.code, "message": warning.message} for warning in ct.warnings],
    }


def model_record(bundle: ModelBundle) -> dict[str, Any]:
    """Which model: name, version, checksum of its weights, class order of its arrays, what it is meant for."""
    metadata = bundle.metadata
    return {
        "name": metadata.name,
        "version": metadata.version,
        "checksum": metadata.weights_sha256,
        "classes": list(metadata.subtypes),
        "intended_use": metadata.intended_use,
    }


def slice_record(
    geometry: SliceGeometry, index: int, probability: Mapping[str, float], area_mm2: Mapping[str, float]
) -> dict[str, Any]:
    """One slice: where it is, how likely each subtype, how much of each.

    ``position_mm`` is measured along the normal, ``origin_lps_mm`` is the centre of the first pixel.
    """
    return {
        "index": index,
        "position_mm": round(float(geometry.offsets_mm[index]), 4),
        "extent_mm": round(float(geometry.extents_mm[index]), 4),
        "origin_lps_mm": [round(float(value), 4) for value in geometry.positions_mm[index]],
        "probability": dict(probability),
        "area_mm2": {name: round(value, 3) for name, value in area_mm2.items()},
    }


def result_record(
    ct: HeadCT,
    bundle: ModelBundle,
    settings: MaskSettings,
    maps: Mapping[str, Any],
    compute: Mapping[str, Any],
    slices: list[dict[str, Any]],
    measurements: Measurements,
    quality: Assessment,
    midline: MidlinePlane | None,
) -> dict[str, Any]:
    """``result.json`` without its timing."""
    return {
        "schema": RESULT_SCHEMA,
        "input": input_record(ct),
        "quality": quality.as_dict(),
        "model": model_record(bundle),
        "settings": {"mask": settings.as_dict(), "map": dict(maps), **compute},
        "slices": slices,
        # What sides are told by: without it a slider for thresholds would have to find it anew in the scan.
        "midline": midline.as_dict() if midline is not None else None,
        **measurement_record(measurements),
    }


def measurement_record(measurements: Measurements) -> dict[str, Any]:
    """What was measured over the whole scan, by subtype name."""
    return {
        "volume_ml": _rounded_values(measurements.volume_ml),
        "abc2_ml": _rounded_values(measurements.abc2_ml),
        "largest_diameter_mm": _rounded_values(measurements.largest_diameter_mm),
        "side": dict(measurements.side),
        "components": dict(measurements.components),
    }


def _rounded(value: float | np.floating[Any]) -> float:
    return round(float(value), 6)


def _rounded_values(values: Mapping[str, float]) -> dict[str, float]:
    return {name: round(value, 4) for name, value in values.items()}
