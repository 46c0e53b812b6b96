"""How far the image itself decides on the outline of a lesion."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

from HemoCAMLib.errors import UsageError
from HemoCAMLib.subtypes import SUBTYPE_NAMES

RefinementName = Literal["map-only", "hysteresis", "hu-mixture", "random-walker"]
WhereEmpty = Literal["keep", "clear"]

REFINEMENT_NAMES: tuple[str, ...] = get_args(RefinementName)

#: How a user says that there is to be no refinement.
OFF = "off"

#: Lowest and highest value of each number.
_RANGES: dict[str, tuple[float, float]] = {
    "reach_mm": (0, 100),
    "lowest_hu": (0, 100),
    "seed_hu": (0, 100),
    "above_brain_hu": (0, 100),
    "highest_hu": (1, 1000),
    "smoothing_mm": (0, 10),
    "separation_hu": (1, 100),
    "separation_sd": (0, 10),
    "edge_hu": (0.5, 100),
    "smallest_height": (0, 1),
}

#: Fields that may be given by subtype, with what holds for a subtype that a table does not name.
BY_SUBTYPE: dict[str, Any] = {"skull_mm": 0.0, "where_empty": "clear"}


@dataclass(frozen=True)
class RefinementSettings:
    """Parameters of one refinement; each is used by the methods that its text names.

    Attributes:
        name: ``hysteresis`` (region growing inside fixed HU limits), ``hu-mixture`` (limits found from the HU around
            each lesion), ``random-walker`` (outline along edges of HU), or ``map-only`` (the outline stays the map's;
            only what follows is done).
        reach_mm: how far outside of the map's region a lesion may grow; 0 only lets it shrink.
        lowest_hu: smoothed HU that blood exceeds (hysteresis; the random walker's background lies ``edge_hu`` below).
        seed_hu: smoothed HU that a region of the map must exceed somewhere to count as blood, and from which it
            grows (hysteresis, random walker).
        above_brain_hu: ``seed_hu`` exceeds the median of the slice's brain by at least this, and ``lowest_hu`` is
            raised with it: a scanner that reads high or a beam-hardened slice does not turn brain into blood
            (hysteresis, random walker).
        highest_hu: smoothed HU that blood stays below.
        smoothing_mm: standard deviation of the Gaussian that HU are smoothed with, inside the brain mask only, before
            they are held against limits.
        separation_hu: least difference between the means of blood and brain (mixture).
        separation_sd: least difference of these means in standard deviations (mixture).
        edge_hu: step of HU between neighbouring pixels that holds the walker back by a factor e (random walker).
        skull_mm: [5] in the order of the subtypes, pixels nearer than this to the edge of the intracranial space
            are removed: bone has a part in them. 0 for blood that lies there.
        smallest_height: lesions whose height along the normal is less than this share of their largest diameter in a
            slice are removed as flat, an artefact of too few slices; 0 keeps all. Lesions on the first or the last
            slice stay: they may go on outside the scan. See :class:`~HemoCAMLib.mask.components.ComponentAccumulator`.
        where_empty: [5] in the order of the subtypes, or one for all: what happens to a region of the map in which the
            method finds no blood: ``keep`` it as the map drew it, or ``clear`` it. Either is recorded. Old subdural
            blood is no denser than brain, so no limit of HU outlines it.

    Raises:
        UsageError: ``USAGE_MASK_SETTINGS`` where a value is out of range.
    """

    name: RefinementName = "hysteresis"
    reach_mm: float = 8.0
    lowest_hu: float = 42.0
    seed_hu: float = 42.0
    above_brain_hu: float = 12.0
    highest_hu: float = 100.0
    smoothing_mm: float = 0.7
    separation_hu: float = 8.0
    separation_sd: float = 2.0
    edge_hu: float = 3.0
    skull_mm: tuple[float, ...] = (0.0,) * len(SUBTYPE_NAMES)
    smallest_height: float = 0.3
    where_empty: WhereEmpty | tuple[WhereEmpty, ...] = "clear"

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or self.name not in REFINEMENT_NAMES:
            raise _refused(f"There is no refinement “{self.name}”; there are {', '.join(REFINEMENT_NAMES)} and {OFF}.")
        for name, (lowest, highest) in _RANGES.items():
            _check(name, getattr(self, name), lowest, highest)
        if len(self.skull_mm) != len(SUBTYPE_NAMES):
            raise _refused("The refinement's skull_mm needs one distance for every subtype.")
        for value in self.skull_mm:
            _check("skull_mm", value, 0, 50)
        if isinstance(self.where_empty, str):
            object.__setattr__(self, "where_empty", (self.where_empty,) * len(SUBTYPE_NAMES))
        if len(self.where_empty) != len(SUBTYPE_NAMES):
            raise _refused("The refinement's where_empty needs keep or clear for every subtype.")
        for word in self.where_empty:
            if not isinstance(word, str) or word not in get_args(WhereEmpty):
                raise _refused(f"The refinement's where_empty must be keep or clear, not {word!r}.")
        if not self.lowest_hu <= self.seed_hu < self.highest_hu:
            raise _refused("The refinement's limits must rise: lowest_hu, seed_hu, highest_hu.")

    def as_dict(self) -> dict[str, Any]:
        """Plain values; :meth:`from_value` reads them back."""
        fields = asdict(self)
        for name in BY_SUBTYPE:
            fields[name] = dict(zip(SUBTYPE_NAMES, fields[name], strict=True))
        return fields

    @classmethod
    def from_value(cls, value: object) -> RefinementSettings | None:
        """The settings that a user, a model bundle or a result file gives.

        Args:
            value: None or ``off`` for no refinement; a name for its defaults; or a table with ``name`` and what
                differs from the defaults. ``skull_mm`` is one distance for all subtypes or a table by name, and
                ``where_empty`` one word or a table.

        Raises:
            UsageError: ``USAGE_MASK_SETTINGS`` for an unknown name or field, or a value out of range.

        >>> RefinementSettings.from_value({"name": "hysteresis", "reach_mm": 5}).reach_mm
        5.0
        >>> RefinementSettings.from_value("off") is None
        True
        """
        if value is None or value == OFF:
            return None
        fields = {"name": value} if isinstance(value, str) else value
        if not isinstance(fields, Mapping) or "name" not in fields:
            raise _refused(f"A refinement is a name ({', '.join(REFINEMENT_NAMES)}) or a table with one.")
        unknown = set(fields) - set(cls.__dataclass_fields__)
        if unknown:
            raise _refused(f"A refinement has no setting {', '.join(sorted(map(str, unknown)))}.")
        plain = {name: _number(item) for name, item in fields.items() if name not in BY_SUBTYPE}
        tables: dict[str, Any] = {name: _by_subtype(name, fields[name]) for name in BY_SUBTYPE if name in fields}
        return cls(**plain, **tables)


def _number(value: object) -> Any:
    return float(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _by_subtype(field: str, value: object) -> tuple[Any, ...]:
    if not isinstance(value, Mapping):
        return (_number(value),) * len(SUBTYPE_NAMES)
    unknown = set(value) - set(SUBTYPE_NAMES)
    if unknown:
        raise _refused(f"The refinement's {field} names unknown subtypes: {', '.join(sorted(map(str, unknown)))}.")
    return tuple(_number(value.get(name, BY_SUBTYPE[field])) for name in SUBTYPE_NAMES)


def _check(name: str, value: object, lowest: float, highest: float) -> None:
    number = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
    if not number or not lowest <= value <= highest:  # type: ignore[operator]
        raise _refused(f"The refinement's {name} must lie between {lowest:g} and {highest:g}, not {value!r}.")


def _refused(message: str) -> UsageError:
    return UsageError("USAGE_MASK_SETTINGS", message, "Correct the refinement's settings and try again.")
