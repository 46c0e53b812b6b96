"""What half precision was found to change about a model's results; part of its description. Host side."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

from HemoCAMLib.model.fields import Fields

DTYPES = ("bfloat16", "float16")
DEVICES = ("cpu", "cuda", "mps")
BACKENDS = ("torch", "openvino")

#: Largest changes that are accepted where nothing else is asked for.
DICE_BOUND = 0.02
VOLUME_BOUND_ML = 0.5


@dataclass(frozen=True)
class HalfPrecision:
    """A comparison of half precision with float32 on one kind of device, over whole scans.

    Attributes:
        dtype: ``bfloat16`` or ``float16``.
        device: ``cpu``, ``cuda`` or ``mps``.
        weights_sha256: of the weights that were compared; other weights need another comparison.
        scans: how many.
        largest_dice_change: over subtypes, 1 − Dice of the two label maps, pooled over all scans.
        largest_volume_change_ml: over scans and subtypes.
        largest_probability_change: over slices and classes.
        dice_bound: largest change of Dice that was accepted.
        volume_bound_ml: largest change of volume that was accepted.
        backend: ``torch`` or ``openvino``, what computed in half precision.
    """

    dtype: str
    device: str
    weights_sha256: str
    scans: int
    largest_dice_change: float
    largest_volume_change_ml: float
    largest_probability_change: float
    dice_bound: float = DICE_BOUND
    volume_bound_ml: float = VOLUME_BOUND_ML
    backend: str = "torch"

    @property
    def passed(self) -> bool:
        """Whether both changes stay within their bounds."""
        within_dice = self.largest_dice_change <= self.dice_bound
        return within_dice and self.largest_volume_change_ml <= self.volume_bound_ml

    def as_dict(self) -> dict[str, Any]:
        """Plain values, ``passed`` among them."""
        return {**asdict(self), "passed": self.passed}

    @classmethod
    def from_fields(cls, fields: Fields) -> HalfPrecision:
        """Reads a record strictly.

        Raises:
            ModelRefused: ``MODEL_METADATA_*``, also where ``passed`` says otherwise than the figures.
        """
        fields.only((*cls.__dataclass_fields__, "passed"))
        record = cls(
            dtype=_one_of(fields, "dtype", DTYPES),
            device=_one_of(fields, "device", DEVICES),
            weights_sha256=fields.text("weights_sha256", one_line=True),
            scans=fields.count("scans", 1, 10**6),
            largest_dice_change=fields.number("largest_dice_change", 0, 1),
            largest_volume_change_ml=fields.number("largest_volume_change_ml", 0, 1e5),
            largest_probability_change=fields.number("largest_probability_change", 0, 1),
            dice_bound=fields.number("dice_bound", 0, 1),
            volume_bound_ml=fields.number("volume_bound_ml", 0, 1e5),
            # Records from before there was a choice do not name it.
            backend=_one_of(fields, "backend", BACKENDS) if "backend" in fields.values else "torch",
        )
        if fields.raw("passed") is not record.passed:
            raise fields.wrong("passed", "does not follow from the figures beside it")
        return record


def is_checked(
    records: Iterable[HalfPrecision], dtype: str, device: str, weights_sha256: str, backend: str = "torch"
) -> bool:
    """Whether half precision was checked for these weights on this kind of device and back end, and passed."""
    asked = (dtype, device, weights_sha256, backend)
    return any(
        (each.dtype, each.device, each.weights_sha256, each.backend) == asked and each.passed for each in records
    )


def _one_of(fields: Fields, name: str, allowed: tuple[str, ...]) -> str:
    value = fields.text(name, one_line=True)
    if value not in allowed:
        raise fields.wrong(name, f"must be one of {', '.join(allowed)}")
    return value
