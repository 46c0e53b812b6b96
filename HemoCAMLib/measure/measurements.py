"""What is measured on a label map."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Literal

from HemoCAMLib.subtypes import ANY, SUBTYPE_NAMES

Side = Literal["left", "right", "both", "none"]

#: Key of the sum over all subtypes.
TOTAL = "total"


@dataclass(frozen=True)
class Measurements:
    """Volumes, areas and sizes of the hemorrhage in one scan.

    Attributes:
        volume_ml: by subtype name and ``total``.
        area_mm2: one per slice, each by subtype name and ``any``.
        largest_diameter_mm: by subtype name: greatest in-plane distance across one connected region of one slice.
        abc2_ml: by subtype name: A × B × C / 2 of the subtype's largest lesion.
        side: by subtype name: patient's ``left``, ``right``, ``both`` or ``none``.
        components: by subtype name: number of 26-connected lesions.
    """

    volume_ml: dict[str, float]
    area_mm2: tuple[dict[str, float], ...]
    largest_diameter_mm: dict[str, float]
    abc2_ml: dict[str, float]
    side: dict[str, Side]
    components: dict[str, int]

    @classmethod
    def empty(cls, slice_count: int) -> Measurements:
        """Those of a scan without hemorrhage."""
        zeros = dict.fromkeys(SUBTYPE_NAMES, 0.0)
        sides: dict[str, Side] = dict.fromkeys(SUBTYPE_NAMES, "none")
        return cls(
            volume_ml={**zeros, TOTAL: 0.0},
            area_mm2=tuple({ANY: 0.0, **zeros} for _ in range(slice_count)),
            largest_diameter_mm=dict(zeros),
            abc2_ml=dict(zeros),
            side=sides,
            components=dict.fromkeys(SUBTYPE_NAMES, 0),
        )

    def as_dict(self) -> dict[str, object]:
        """Plain values for ``result.json``."""
        return asdict(self)
