"""Scales of activation maps. Without one, maps keep the method's own absolute scale, which slices can be compared on.

=========================  =====================================================================================
``none``                   as the method gives them
``per-image-min-max``      each slice and class: smallest value to 0, largest to 1; a faint map looks as hot as a
                           strong one
``per-volume-max``         each class: positive part over the largest value of all slices
``per-volume-percentile``  the same with a percentile of the positive values, cut at 1; one hot pixel does not
                           darken the rest
=========================  =====================================================================================

Values that are NaN or infinite take no part in a scale and are 0 on it; a constant map is 0 on ``per-image-min-max``,
and a map without a positive value is 0 on the others.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from HemoCAMLib.errors import UsageError

SCALINGS = ("none", "per-image-min-max", "per-volume-max", "per-volume-percentile")
DEFAULT_PERCENTILE = 99.0


def scaled(maps: Tensor, scaling: str | Mapping[str, Any] = "none") -> tuple[Tensor, dict[str, Any]]:
    """Maps on another scale, and the record that says which.

    Args:
        maps: [N, C, h, w]; for the scales of a volume, N are all its slices.
        scaling: a name, or ``{"how": name}`` and, for the percentile, ``{"percentile": 0..100}``.

    Returns:
        maps of the same shape, and ``{"how": …}``, with ``percentile`` where there is one.

    Raises:
        UsageError: ``USAGE_CAM_SCALING``.

    >>> maps = torch.tensor([[[[-1.0, 1.0]]], [[[0.0, 4.0]]]])
    >>> scaled(maps, "per-image-min-max")[0].flatten().tolist()
    [0.0, 1.0, 0.0, 1.0]
    >>> scaled(maps, "per-volume-max")[0].flatten().tolist()
    [0.0, 0.25, 0.0, 1.0]
    """
    record = _checked(scaling)
    if record["how"] == "none":
        return maps, record
    finite = torch.isfinite(maps)
    clean = torch.where(finite, maps, 0.0)
    if record["how"] == "per-image-min-max":
        lowest = torch.where(finite, maps, torch.inf).amin(dim=(-2, -1), keepdim=True)
        highest = torch.where(finite, maps, -torch.inf).amax(dim=(-2, -1), keepdim=True)
        share = (clean - lowest) / (highest - lowest)
        return torch.where(finite & (highest > lowest), share, 0.0), record
    positive = clean.clamp_min(0)
    if record["how"] == "per-volume-max":
        unit = positive.amax(dim=(0, 2, 3))
    else:
        unit = torch.stack([_percentile(positive[:, index], record["percentile"]) for index in range(maps.shape[1])])
    unit = unit[:, None, None]
    return torch.where(unit > 0, positive / unit, 0.0).clamp_max(1), record


def not_finite(maps: Tensor) -> int:
    """How many values are NaN or infinite."""
    return int((~torch.isfinite(maps)).sum())


def _percentile(values: Tensor, percentile: float) -> Tensor:
    positive = values[values > 0]
    if not len(positive):
        return values.new_zeros(())
    # torch.quantile refuses more than 16 million values; a volume's maps can have more.
    place = round(percentile / 100 * (len(positive) - 1))
    return positive.kthvalue(place + 1).values


def _checked(scaling: object) -> dict[str, Any]:
    fields = {"how": scaling} if isinstance(scaling, str) else dict(scaling) if isinstance(scaling, Mapping) else {}
    how = fields.get("how")
    allowed = {"how", "percentile"} if how == "per-volume-percentile" else {"how"}
    if how not in SCALINGS or set(fields) - allowed:
        raise _refused(f"Choose one of {', '.join(SCALINGS)}.")
    if how == "per-volume-percentile":
        percentile = fields.get("percentile", DEFAULT_PERCENTILE)
        if isinstance(percentile, bool) or not isinstance(percentile, int | float) or not 0 < percentile <= 100:
            raise _refused("The percentile is a number above 0 and up to 100.")
        return {"how": how, "percentile": float(percentile)}
    return {"how": how}


def _refused(advice: str) -> UsageError:
    return UsageError("USAGE_CAM_SCALING", "This scaling of activation maps does not exist.", advice)
