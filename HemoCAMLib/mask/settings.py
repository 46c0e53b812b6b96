"""What turns activation maps into a label map: gates, thresholds, scale, smallest lesion."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Literal, cast, get_args

from HemoCAMLib.errors import HemoCAMError, ModelRefused, UsageError
from HemoCAMLib.mask.refine.settings import RefinementSettings
from HemoCAMLib.mask.threshold_rule import FIXED, ThresholdRule
from HemoCAMLib.subtypes import ANY, SUBTYPE_NAMES

MaskScale = Literal["absolute", "per_image"]
MapValues = Literal["local-logit", "signed"]

#: Largest mask threshold that makes sense on each scale.
MASK_THRESHOLD_LIMIT: dict[str, float] = {"absolute": 1.0, "per_image": 255.0}

_BY_SUBTYPE = ("class_thresholds", "mask_thresholds")

#: A probability never exceeds it, so a subtype that the model does not know is never called.
NEVER_CALLED = 1.0


@dataclass(frozen=True)
class MaskSettings:
    """Everything that turns maps into a label map needs.

    Attributes:
        class_thresholds: [5] a subtype is called in a slice where its probability exceeds this, 0..1.
        mask_thresholds: [5] a pixel belongs to a called subtype where its score exceeds this. On the absolute
            scale the score is the sigmoid of the local logit, 0..1; on the per-image scale it is the map's
            positive part divided by its largest value, times 255, 0..255.
        scale: ``absolute`` (an empty slice can come out empty) or ``per_image`` (the paper's).
        minimum_volume_ml: connected lesions smaller than this are removed.
        refinement: how the image itself decides on outlines; None leaves them as the map gives them.
        rule: where thresholds come from; ``fixed`` takes ``mask_thresholds``, every other rule finds its own in each
            map and leaves them aside. The class gates act with each.
        map_values: ``local-logit``, whose sigmoid is a probability, or ``signed``: of any method on any scale, which
            only the per-image scale makes comparable.

    The order of both tuples is that of :data:`~HemoCAMLib.subtypes.SUBTYPES`.

    Raises:
        UsageError: ``USAGE_MASK_SETTINGS`` where a value is not a number in its range.

    >>> MaskSettings((0.5,) * 5, (0.5,) * 5).scale
    'absolute'
    """

    class_thresholds: tuple[float, ...]
    mask_thresholds: tuple[float, ...]
    scale: MaskScale = "absolute"
    minimum_volume_ml: float = 0.0
    refinement: RefinementSettings | None = None
    rule: ThresholdRule = FIXED
    map_values: MapValues = "local-logit"

    def __post_init__(self) -> None:
        if not isinstance(self.scale, str) or self.scale not in MASK_THRESHOLD_LIMIT:
            raise _refused(f"The mask scale must be 'absolute' or 'per_image', not {self.scale!r}.")
        _check_range("class threshold", self.class_thresholds, 1.0)
        limit = MASK_THRESHOLD_LIMIT[self.scale]
        _check_range(f"mask threshold on the {self.scale} scale", self.mask_thresholds, limit)
        if not _is_number(self.minimum_volume_ml) or not 0 <= self.minimum_volume_ml < math.inf:
            raise _refused(f"The smallest lesion volume must be 0 mL or more, not {self.minimum_volume_ml!r}.")
        if self.refinement is not None and not isinstance(self.refinement, RefinementSettings):
            raise _refused("The refinement must be RefinementSettings or None.")
        if not isinstance(self.rule, ThresholdRule):
            raise _refused("The rule must be a ThresholdRule.")
        if not isinstance(self.map_values, str) or self.map_values not in get_args(MapValues):
            raise _refused(f"The values of a map are 'local-logit' or 'signed', not {self.map_values!r}.")
        if self.scale == "absolute" and self.map_values != "local-logit":
            raise UsageError(
                "USAGE_MASK_SCALE",
                "Maps of this method are no probabilities, so the absolute scale means nothing for them.",
                "Use the per-image scale (--mask per_image).",
            )

    @classmethod
    def from_metadata(
        cls,
        fields: Mapping[str, object],
        *,
        scale: str | None = None,
        rule: object = None,
        map_values: MapValues = "local-logit",
    ) -> MaskSettings:
        """The settings that a model bundle recommends.

        Args:
            fields: plain values of the bundle's ``hemocam`` metadata: ``class_thresholds`` {name: value},
                ``mask_thresholds`` {scale: {name: value}}, ``mask_scale``, ``minimum_volume_ml``, ``refinement`` as
                :meth:`RefinementSettings.from_value` takes it, ``mask_rule`` as :meth:`ThresholdRule.from_value` takes
                it; others are ignored.
                A threshold for "any" is ignored too. A subtype that neither table names is never called.
            scale: use this scale instead of the recommended one.
            rule: use this rule, as :meth:`ThresholdRule.from_value` takes it, instead of the recommended one.
            map_values: of the maps; where they are ``signed`` the per-image scale stands in for the recommended one.

        Raises:
            UsageError: the model has no mask thresholds for the scale asked for, or the absolute scale is asked for
                maps that are no local logits.
            ModelRefused: ``MODEL_MASK_SETTINGS`` where the bundle's values make no sense.
        """
        tables = _table(fields, "mask_thresholds")
        asked_rule = None if rule is None else ThresholdRule.from_value(rule)
        if scale is None and map_values != "local-logit":
            scale = "per_image"
        chosen = scale if scale is not None else fields.get("mask_scale", "absolute")
        needs_table = asked_rule is None or asked_rule.is_fixed or scale not in MASK_THRESHOLD_LIMIT
        if scale is not None and scale not in tables and needs_table:
            raise _refused(f"This model has no mask thresholds on the scale {scale!r}; it has {', '.join(tables)}.")
        try:
            used_rule = asked_rule or ThresholdRule.from_value(fields.get("mask_rule"))
            gates = _by_subtype(_table(fields, "class_thresholds"))
            if str(chosen) in tables or used_rule.is_fixed:
                masks = _by_subtype(_table(tables, str(chosen)))
            else:
                masks = dict.fromkeys(gates, 0.0)
            if gates.keys() != masks.keys() or not gates:
                raise _model_refused(f"class thresholds for {sorted(gates)}, mask thresholds for {sorted(masks)}")
            recommended = cls(
                class_thresholds=tuple(gates.get(name, NEVER_CALLED) for name in SUBTYPE_NAMES),
                mask_thresholds=tuple(masks.get(name, 0.0) for name in SUBTYPE_NAMES),
                scale=cast(MaskScale, chosen),
                minimum_volume_ml=cast(float, fields.get("minimum_volume_ml", 0.0)),
                refinement=RefinementSettings.from_value(fields.get("refinement")),
                rule=used_rule,
            )
        except UsageError as error:
            raise _model_refused(error.message) from error
        return replace(recommended, map_values=map_values)

    def changed(self, changes: Mapping[str, object]) -> MaskSettings:
        """These settings with some replaced.

        Args:
            changes: by the names of :meth:`as_dict`; of ``class_thresholds`` and ``mask_thresholds`` some subtypes
                are enough, of ``refinement`` some parameters. ``scale`` is left to who knows the thresholds that go
                with another one.

        Raises:
            UsageError: a setting does not exist or is out of range (``USAGE_MASK_SETTINGS``).

        >>> MaskSettings((0.5,) * 5, (0.5,) * 5).changed({"class_thresholds": {"SAH": 0.3}}).class_thresholds
        (0.5, 0.5, 0.3, 0.5, 0.5)
        """
        fields = self.as_dict()
        unknown = set(changes) - set(fields)
        if unknown:
            raise UsageError(
                "USAGE_MASK_SETTINGS",
                f"There is no mask setting “{min(map(str, unknown))}”.",
                f"Choose one of {', '.join(fields)}.",
            )
        for name, value in changes.items():
            former = fields[name]
            fields[name] = {**former, **value} if _merges(name, former, value) else value  # type: ignore[dict-item]
        return MaskSettings.from_dict(fields)

    def calls_any(self, probabilities: Iterable[float]) -> bool:
        """Whether a slice with these probabilities [5] has a subtype above its gate; if not, it stays empty."""
        return any(p > gate for p, gate in zip(probabilities, self.class_thresholds, strict=True))

    def as_dict(self) -> dict[str, object]:
        """The settings as they stand in ``result.json``: thresholds by subtype name."""
        fields = asdict(self)
        for name in _BY_SUBTYPE:
            fields[name] = dict(zip(SUBTYPE_NAMES, fields[name], strict=True))
        fields["refinement"] = None if self.refinement is None else self.refinement.as_dict()
        fields["rule"] = self.rule.as_dict()
        return fields

    @classmethod
    def from_dict(cls, fields: Mapping[str, object]) -> MaskSettings:
        """The inverse of :meth:`as_dict`; raises UsageError where a subtype is missing or a value out of range."""
        thresholds = {}
        for key in _BY_SUBTYPE:
            table = fields.get(key)
            if not isinstance(table, Mapping) or set(table) != set(SUBTYPE_NAMES):
                raise _refused(f"The mask settings need one {key.replace('_', ' ')[:-1]} for every subtype.")
            thresholds[key] = tuple(cast(float, table[name]) for name in SUBTYPE_NAMES)
        return cls(
            **thresholds,
            scale=cast(MaskScale, fields.get("scale", "absolute")),
            minimum_volume_ml=cast(float, fields.get("minimum_volume_ml", 0.0)),
            refinement=RefinementSettings.from_value(fields.get("refinement")),
            rule=ThresholdRule.from_value(fields.get("rule")),
            map_values=cast(MapValues, fields.get("map_values", "local-logit")),
        )


def _merges(name: str, former: object, value: object) -> bool:
    """Whether a table replaces only what it names; another refinement starts from its own defaults instead."""
    if not isinstance(former, dict) or not isinstance(value, Mapping):
        return False
    return name in _BY_SUBTYPE or (name == "refinement" and value.get("name", former["name"]) == former["name"])


def _table(fields: Mapping[str, object], key: str) -> Mapping[str, object]:
    table = fields.get(key)
    if not isinstance(table, Mapping):
        raise _model_refused(f"no table {key!r}")
    return table


def _by_subtype(table: Mapping[str, object]) -> dict[str, float]:
    unknown = set(table) - set(SUBTYPE_NAMES) - {ANY}
    if unknown:
        raise _model_refused(f"unknown subtypes {sorted(unknown)}")
    return {name: cast(float, value) for name, value in table.items() if name != ANY}


def _check_range(what: str, values: tuple[float, ...], limit: float) -> None:
    if len(values) != len(SUBTYPE_NAMES):
        raise _refused(f"There must be one {what} for each of {', '.join(SUBTYPE_NAMES)}, not {len(values)}.")
    for name, value in zip(SUBTYPE_NAMES, values, strict=True):
        if not _is_number(value) or not 0 <= value <= limit:
            raise _refused(f"The {what} of {name} must lie between 0 and {limit:g}, not {value!r}.")


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and not math.isnan(value)


def _refused(message: str) -> UsageError:
    return UsageError("USAGE_MASK_SETTINGS", message, "Correct the mask settings and try again.")


def _model_refused(detail: str) -> HemoCAMError:
    return ModelRefused(
        "MODEL_MASK_SETTINGS",
        "The model's recommended thresholds are incomplete or out of range.",
        "Use another model, or ask its author for a corrected bundle.",
        detail,
    )
