"""``--mask``: how a user says which mask settings to change."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from HemoCAMLib.errors import UsageError
from HemoCAMLib.mask.refine.settings import BY_SUBTYPE, OFF, REFINEMENT_NAMES
from HemoCAMLib.mask.threshold_rule import ThresholdRule
from HemoCAMLib.subtypes import SUBTYPE_NAMES

SCALES = ("absolute", "per_image")

#: What a user writes, and the field of :class:`~HemoCAMLib.mask.settings.MaskSettings` it changes.
TABLES = {"threshold": "mask_thresholds", "gate": "class_thresholds"}


def parse_mask(values: Iterable[str], rule: str = "") -> dict[str, Any]:
    """The changes of mask settings that a command line asks for, as an analysis job takes them.

    Args:
        values: what was given to ``--mask``, each one setting or several joined by commas:
            a scale, ``threshold=X`` or ``threshold.SUBTYPE=X`` (a pixel belongs to the hemorrhage above it,
            0-1 on the absolute scale, 0-255 on the per-image scale), ``gate=X`` or ``gate.SUBTYPE=X``
            (a slice shows the subtype above this probability), ``minimum_volume_ml=X``, ``refinement=NAME`` or
            ``refinement=off`` (whether the image decides on outlines), ``refinement.FIELD=X`` (a parameter of it),
            ``rule=RULE`` (how thresholds are found, as
            :meth:`~HemoCAMLib.mask.threshold_rule.ThresholdRule.from_value` takes it). Later settings win.
        rule: what was given to ``--threshold``, the same as ``rule=RULE`` at the end; empty for nothing.

    Raises:
        UsageError: a setting that does not exist, or no number where one belongs (``USAGE_MASK_SETTINGS``).

    >>> parse_mask(["per_image", "threshold.SAH=100,gate.SAH=0.3"])
    {'scale': 'per_image', 'mask_thresholds': {'SAH': 100.0}, 'class_thresholds': {'SAH': 0.3}}
    """
    settings: dict[str, Any] = {}
    for item in (part.strip() for value in values for part in value.split(",") if part.strip()):
        key, equals, value = (part.strip() for part in item.partition("="))
        if not equals or key == "scale":
            settings["scale"] = _scale(value if equals else key)
        elif key == "minimum_volume_ml":
            settings[key] = _number(key, value)
        elif key == "rule":
            settings[key] = ThresholdRule.from_value(value).as_dict()
        elif key == "refinement":
            settings[key] = _refinement(value)
        elif key.startswith("refinement."):
            _change_refinement(settings, key.partition(".")[2], value)
        else:
            table, names = _target(key)
            settings.setdefault(table, {}).update(dict.fromkeys(names, _number(key, value)))
    if rule:
        settings["rule"] = ThresholdRule.from_value(rule).as_dict()
    return settings


def _scale(value: str) -> str:
    if value not in SCALES:
        raise _refused(f"There is no mask setting “{value}”.")
    return value


def _refinement(value: str) -> dict[str, Any] | str:
    if value == OFF:
        return OFF
    if value not in REFINEMENT_NAMES:
        raise _refused(f"There is no refinement “{value}”; there are {', '.join(REFINEMENT_NAMES)} and {OFF}.")
    return {"name": value}


def _change_refinement(settings: dict[str, Any], field: str, value: str) -> None:
    if settings.get("refinement") == OFF:
        raise _refused("A refinement that is off has no settings.")
    refinement = settings.setdefault("refinement", {})
    field, _, subtype = field.partition(".")
    plain: float | str = value if field == "where_empty" else _number(f"refinement.{field}", value)
    if not subtype:
        refinement[field] = plain
        return
    if field not in BY_SUBTYPE:
        raise _refused(f"The refinement's {field} is the same for all subtypes.")
    table = refinement.setdefault(field, {})
    if not isinstance(table, dict):
        raise _refused(f"The refinement's {field} is given for all subtypes and for {subtype}.")
    table[_subtype(subtype, f"refinement.{field}.{subtype}")] = plain


def _target(key: str) -> tuple[str, tuple[str, ...]]:
    """The table that a key changes, and for which subtypes."""
    table, _, subtype = key.partition(".")
    if table not in TABLES:
        raise _refused(f"There is no mask setting “{key}”.")
    return TABLES[table], (_subtype(subtype, key),) if subtype else SUBTYPE_NAMES


def _subtype(written: str, key: str) -> str:
    names = {name.upper(): name for name in SUBTYPE_NAMES}
    if written.upper() not in names:
        raise _refused(f"There is no mask setting “{key}”.")
    return names[written.upper()]


def _number(key: str, value: str) -> float:
    try:
        return float(value)
    except ValueError as error:
        raise _refused(f"The mask setting {key} needs a number, not “{value}”.") from error


def _refused(message: str) -> UsageError:
    return UsageError(
        "USAGE_MASK_SETTINGS",
        message,
        "Use absolute, per_image, threshold=0.4, threshold.SAH=0.3, gate=0.5, gate.EDH=0.7, minimum_volume_ml=0.2, "
        "rule=percentile:90, refinement=hysteresis or refinement=off.",
    )
