"""Thresholds to start from, and what a widget with few digits says about them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from slicer.i18n import tr as _

from HemoCAMLib.mask import MaskSettings
from HemoCAMLib.mask.settings import MapValues
from HemoCAMLib.model import BundleMetadata
from HemoCAMLib.subtypes import SUBTYPE_NAMES

#: Mask thresholds of the LSE-UNet, table 4 of Chen and Kuo, Beyond Classification, on the per-image scale.
PAPER_MASK_THRESHOLDS = {"IPH": 75.0, "IVH": 125.0, "SAH": 125.0, "SDH": 75.0, "EDH": 25.0}

#: Rules that the panel offers, each with its usual parameters.
RULES = ("fixed", "mean", "percentile", "otsu", "multi-otsu", "adaptive")


def own_settings(metadata: BundleMetadata | None, map_values: MapValues = "local-logit") -> MaskSettings:
    """What a model recommends for maps of a kind; 0.5 for everything without a model.

    Raises:
        ModelRefused: its thresholds make no sense.
    """
    if metadata is None:
        return MaskSettings((0.5,) * len(SUBTYPE_NAMES), (0.5,) * len(SUBTYPE_NAMES))
    return MaskSettings.from_metadata(metadata.hemocam_fields(), map_values=map_values)


def own_thresholds(metadata: BundleMetadata | None, scale: str) -> dict[str, float]:
    """Mask thresholds of a model on a scale, by subtype; those of the paper, or 0.5, where it has none."""
    table: Mapping[str, float] = {} if metadata is None else metadata.mask_thresholds.get(scale, {})
    fallback = PAPER_MASK_THRESHOLDS if scale == "per_image" else dict.fromkeys(SUBTYPE_NAMES, 0.5)
    return {name: float(table.get(name, fallback[name])) for name in SUBTYPE_NAMES}


def as_shown(widgets: Mapping[str, Any], former: Mapping[str, float]) -> dict[str, float]:
    """Values of widgets by name; the exact former ones where a widget shows just these, rounded."""
    return {name: unless_rounded(widget, former.get(name)) for name, widget in widgets.items()}


def unless_rounded(widget: Any, former: float | None) -> float:
    """The value of a widget, or the exact value that it shows rounded to its decimals.

    Without this a model's gate of 0.5355, shown as 0.54, would be another one just because it was looked at.
    """
    value = float(widget.value)
    if former is not None and abs(value - former) <= 0.501 * 10.0 ** -int(widget.decimals):
        return float(former)
    return value


def rule_title(rule: str) -> str:
    """A rule in words."""
    titles: dict[str, str] = {
        "fixed": _("Fixed (the sliders)"),
        "mean": _("Mean of the map"),
        "percentile": _("95th percentile of the map"),
        "otsu": _("Otsu"),
        "multi-otsu": _("Multi-Otsu, highest of three"),
        "adaptive": _("Local adaptive"),
    }
    return titles[rule]
