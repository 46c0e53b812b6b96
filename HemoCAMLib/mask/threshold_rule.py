"""Names and parameters of the rules that say above which score a pixel belongs to a hemorrhage."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

from HemoCAMLib.errors import UsageError

RuleName = Literal["fixed", "mean", "percentile", "otsu", "multi-otsu", "adaptive"]
StatisticsOver = Literal["image", "brain"]
AdaptiveMethod = Literal["gaussian", "mean"]

#: The parameters that each rule has, in the order in which its text form gives them.
RULES: dict[str, tuple[str, ...]] = {
    "fixed": (),
    "mean": ("over",),
    "percentile": ("percentile", "over"),
    "otsu": ("over",),
    "multi-otsu": ("classes", "over"),
    "adaptive": ("block", "offset", "method"),
}

#: Lowest and highest value of each number. Multi-Otsu over 256 bins takes seconds a map beyond four classes.
_RANGES = {"percentile": (0, 100), "classes": (2, 4), "block": (3, 1025), "offset": (-255, 255)}
_WHOLE = ("classes", "block")
_CHOICES = {"over": get_args(StatisticsOver), "method": get_args(AdaptiveMethod)}


@dataclass(frozen=True)
class ThresholdRule:
    """How the threshold of a map is found; :mod:`HemoCAMLib.mask.threshold` applies it.

    Attributes:
        name: ``fixed`` (one threshold per subtype, Algorithm 1; on the absolute scale a probability), or found anew
            for every map: ``mean``, ``percentile``, ``otsu``, ``multi-otsu`` (what lies in the highest class) or
            ``adaptive`` (what exceeds its own neighbourhood).
        percentile: share of the cells, in percent, that stay below; 50 is the median.
        classes: of multi-Otsu.
        block: edge of the neighbourhood in cells of the map, odd.
        offset: taken off the neighbourhood's mean, in units of the score; a negative one asks for more contrast.
        method: weights of the neighbourhood.
        over: which cells of the map the statistics are taken on: the whole ``image``, as in the literature, or only
            cells whose centre lies in the ``brain`` mask, so that the size of the field of view does not matter.

    Parameters that a rule does not have keep their defaults.

    Raises:
        UsageError: ``USAGE_MASK_SETTINGS`` for an unknown name or a value out of range.

    >>> ThresholdRule.from_value("percentile:90@brain")
    ThresholdRule('percentile:90@brain')
    >>> str(ThresholdRule("adaptive", block=21, offset=-5))
    'adaptive:21:-5'
    """

    name: RuleName = "fixed"
    percentile: float = 95.0
    classes: int = 3
    block: int = 35
    offset: float = 0.0
    method: AdaptiveMethod = "gaussian"
    over: StatisticsOver = "image"

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or self.name not in RULES:
            raise _refused(f"There is no threshold rule “{self.name}”.")
        for parameter in _PARAMETERS:
            value = getattr(self, parameter)
            if parameter not in RULES[self.name]:
                if value != getattr(ThresholdRule, parameter):
                    raise _refused(f"The threshold rule {self.name} has no {parameter}.")
            elif parameter in _CHOICES:
                if not isinstance(value, str) or value not in _CHOICES[parameter]:
                    raise _refused(f"The {parameter} of a threshold rule is one of {', '.join(_CHOICES[parameter])}.")
            else:
                _check_number(parameter, value)
        if self.block % 2 == 0:
            raise _refused(f"The block of a threshold rule must be odd, not {self.block}.")

    @property
    def is_fixed(self) -> bool:
        return self.name == "fixed"

    def as_dict(self) -> dict[str, Any]:
        """Name and own parameters; :meth:`from_value` reads them back."""
        return {"name": self.name, **{parameter: getattr(self, parameter) for parameter in RULES[self.name]}}

    @classmethod
    def from_value(cls, value: object) -> ThresholdRule:
        """The rule that a user, a model bundle or a result file gives.

        Args:
            value: a table with ``name`` and parameters; or text, ``NAME[:PARAMETER...][@OVER]`` with parameters in
                the order of :data:`RULES`, such as ``otsu``, ``median``, ``percentile:90``, ``multi-otsu:3@brain``,
                ``adaptive:35:-10:mean``; or None for ``fixed``.

        Raises:
            UsageError: ``USAGE_MASK_SETTINGS``.
        """
        if isinstance(value, ThresholdRule):
            return value
        if value is None:
            return cls()
        if isinstance(value, str):
            return cls(**_from_text(value))
        if not isinstance(value, Mapping) or "name" not in value:
            raise _refused("A threshold rule is text such as percentile:90, or a table with a name.")
        unknown = set(value) - {"name", *_PARAMETERS}
        if unknown:
            raise _refused(f"A threshold rule has no {', '.join(sorted(map(str, unknown)))}.")
        return cls(**{str(key): _plain_number(item) for key, item in value.items()})

    def __str__(self) -> str:
        values = [(p, getattr(self, p)) for p in RULES[self.name] if p != "over"]
        while values and self.name == "adaptive" and values[-1][1] == getattr(ThresholdRule, values[-1][0]):
            values.pop()
        text = ":".join(
            [self.name, *(f"{value:g}" if isinstance(value, (int, float)) else value for _, value in values)]
        )
        return text if self.over == ThresholdRule.over else f"{text}@{self.over}"

    def __repr__(self) -> str:
        return f"ThresholdRule({str(self)!r})"


_PARAMETERS = ("percentile", "classes", "block", "offset", "method", "over")

#: Today's rule of Algorithm 1: one threshold per subtype.
FIXED = ThresholdRule()


def _from_text(text: str) -> dict[str, Any]:
    head, at, over = text.strip().partition("@")
    name, *values = (part.strip() for part in head.split(":"))
    if name == "median" and not values:
        name, values = "percentile", ["50"]
    parameters = [parameter for parameter in RULES.get(name, ()) if parameter != "over"]
    if len(values) > len(parameters):
        raise _refused(f"The threshold rule “{text}” has too many parameters." if name in RULES else _unknown(name))
    fields: dict[str, Any] = {"name": name}
    for parameter, value in zip(parameters, values, strict=False):
        fields[parameter] = value if parameter in _CHOICES else _number(parameter, value)
    if at:
        fields["over"] = over.strip()
    return fields


def _number(parameter: str, text: str) -> float | int:
    try:
        return int(text) if parameter in _WHOLE else float(text)
    except ValueError as error:
        raise _refused(f"The {parameter} of a threshold rule is a number, not “{text}”.") from error


def _plain_number(value: object) -> Any:
    """JSON does not tell 3 from 3.0."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _check_number(parameter: str, value: object) -> None:
    lowest, highest = _RANGES[parameter]
    kinds: tuple[type, ...] = (int,) if parameter in _WHOLE else (int, float)
    if not isinstance(value, kinds) or isinstance(value, bool) or not lowest <= float(value) <= highest:  # type: ignore[arg-type]
        whole = "a whole number" if parameter in _WHOLE else "a number"
        raise _refused(f"The {parameter} of a threshold rule is {whole} from {lowest} to {highest}, not {value!r}.")


def _unknown(name: str) -> str:
    return f"There is no threshold rule “{name}”."


def _refused(message: str) -> UsageError:
    names = ", ".join(RULES)
    return UsageError(
        "USAGE_MASK_SETTINGS", message, f"Rules: {names}; for example percentile:90, otsu@brain, adaptive:35."
    )
