"""From class logits to probabilities that mean what they say: a line per class before the sigmoid. Host side."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from HemoCAMLib.model.fields import Fields

#: Largest slope and offset that make sense; beyond them something was divided by nothing.
LARGEST_SCALE, LARGEST_OFFSET = 100.0, 100.0


@dataclass(frozen=True)
class Calibration:
    """p = σ(scale · logit + offset) for every class.

    With offsets of 0 this is temperature scaling with temperature 1/scale (Guo et al., On Calibration of Modern Neural
    Networks, ICML 2017), otherwise Platt scaling (Platt, Probabilistic Outputs for Support Vector Machines, 1999). A
    positive scale never changes which of two slices is the more likely one, so no ROC curve changes.

    Attributes:
        scale: by class name, above 0.
        offset: by class name.

    >>> Calibration({"any": 0.5}, {"any": 1.0}).probabilities(np.array([[-2.0]]), ["any"]).tolist()
    [[0.5]]
    """

    scale: Mapping[str, float]
    offset: Mapping[str, float]

    def probabilities(self, logits: NDArray[np.floating[Any]], classes: Sequence[str]) -> NDArray[np.float32]:
        """Calibrated probabilities of [..., class] logits; a class that is not named keeps its own."""
        scale = np.array([self.scale.get(name, 1.0) for name in classes])
        offset = np.array([self.offset.get(name, 0.0) for name in classes])
        return sigmoid(logits.astype(np.float64) * scale + offset)

    def uncalibrated(self, name: str, probability: float) -> float:
        """The probability before calibration that becomes this one: a gate for the network's own logits.

        >>> round(Calibration({"any": 0.5}, {"any": 1.0}).uncalibrated("any", 0.5), 4)
        0.1192
        """
        if not 0 < probability < 1:
            return probability
        logit = (math.log(probability / (1 - probability)) - self.offset.get(name, 0.0)) / self.scale.get(name, 1.0)
        return float(sigmoid(np.array(logit)))

    def as_dict(self) -> dict[str, Any]:
        """Plain values, as a bundle holds them."""
        return {"scale": dict(self.scale), "offset": dict(self.offset)}

    @classmethod
    def from_fields(cls, fields: Fields, classes: Sequence[str]) -> Calibration:
        """Reads it strictly: one scale and one offset for every class of the model.

        Raises:
            ModelRefused: ``MODEL_METADATA_*``.
        """
        fields.only(("scale", "offset"))
        scale, offset = fields.table("scale"), fields.table("offset")
        scale.only(classes)
        offset.only(classes)
        return cls(
            {name: scale.number(name, 1 / LARGEST_SCALE, LARGEST_SCALE) for name in classes},
            {name: offset.number(name, -LARGEST_OFFSET, LARGEST_OFFSET) for name in classes},
        )


def class_probabilities(
    logits: NDArray[np.floating[Any]], classes: Sequence[str], calibration: Calibration | None
) -> NDArray[np.float32]:
    """[..., class] logits of a network to probabilities, calibrated where the model says how."""
    return sigmoid(logits.astype(np.float64)) if calibration is None else calibration.probabilities(logits, classes)


def sigmoid(values: NDArray[np.float64]) -> NDArray[np.float32]:
    """1 / (1 + e^-x), computed in double precision; a logit too large for it is 0 or 1, without a warning."""
    with np.errstate(over="ignore"):
        single: NDArray[np.float32] = (1 / (1 + np.exp(-values))).astype(np.float32)
    return single
