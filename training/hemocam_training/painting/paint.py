"""One painted stack and the labels of its middle slice."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import NamedTuple

import torch
from torch import Tensor

from hemocam_training.painting.canvas import Canvas
from hemocam_training.painting.clots import Clot, intraparenchymal, intraventricular, subarachnoid
from hemocam_training.painting.extra_axial import epidural, subdural
from hemocam_training.painting.look_alikes import brighten_rim, close_rim, draw_look_alikes
from HemoCAMLib.subtypes import CLASS_NAMES, SUBTYPES

#: In this order; the last takes the pixel.
_PAINTERS: dict[str, Callable[[Canvas], Clot | None]] = {
    "SAH": subarachnoid,
    "IVH": intraventricular,
    "SDH": subdural,
    "EDH": epidural,
    "IPH": intraparenchymal,
}

#: A pixel is labelled where blood fills at least this share of it.
_LABEL_SHARE = 0.5
#: Seen is what changes a pixel that it fills to this share by so many HU.
_SEEN_SHARE, _SEEN_HU = 0.4, 7.0
#: From this seen area on a reader calls the slice; below it the label does not count, and below the second nothing is
#: there.
_CALLED_MM2, _TRACE_MM2 = 25.0, 1.5
#: One that is nearly as dense as brain is called by its size alone.
_CALLED_BY_SIZE_MM2 = 150.0


class PaintedStack(NamedTuple):
    """A stack with its labels.

    Attributes:
        hu: [3, H, W] noise-free HU.
        target: [class] 0 or 1, any hemorrhage first.
        known: [class] 1 where the label counts.
        labels: [H, W] uint8 of the middle slice, 0 none, else the subtype's label. No training needs them.
    """

    hu: Tensor
    target: Tensor
    known: Tensor
    labels: Tensor


def paint(canvas: Canvas, subtypes: Collection[str] = ()) -> PaintedStack:
    """Paint the subtypes that the slice has room for, and what is not blood.

    Args:
        canvas: is painted on.
        subtypes: names; none for a negative stack, which gets look-alikes all the same.

    Blood that the canvas has already stays; the labels speak of painted blood alone.
    """
    before = canvas.hu
    close_rim(canvas)
    draw_look_alikes(canvas)
    if canvas.labels is not None:
        canvas.hu = torch.where(canvas.labels > 0, before, canvas.hu)
    shares: dict[str, Tensor] = {}
    seen: dict[str, Tensor] = {}
    evident: dict[str, bool] = {}
    for name, painter in _PAINTERS.items():
        clot = painter(canvas) if name in subtypes else None
        if clot is None:
            continue
        before = canvas.hu
        canvas.mix(clot.share, clot.hu)
        changed = (canvas.hu[1] - before[1]).abs() > _SEEN_HU
        shares = {other: share * (1 - clot.share[1]) for other, share in shares.items()}
        shares[name] = clot.share[1]
        seen[name], evident[name] = changed & (clot.share[1] > _SEEN_SHARE), clot.evident
    brighten_rim(canvas)
    area_mm2 = canvas.pixel_mm**2
    target, known = torch.zeros(len(CLASS_NAMES)), torch.ones(len(CLASS_NAMES))
    for place, subtype in enumerate(SUBTYPES, start=1):
        if subtype.name not in shares:
            continue
        share = shares[subtype.name]
        visible = float((seen[subtype.name] & (share > _SEEN_SHARE)).sum()) * area_mm2
        target[place] = float(visible >= _CALLED_MM2)
        if visible < _CALLED_MM2 and float(share.sum()) * area_mm2 > _TRACE_MM2:
            known[place] = 0
        if not evident[subtype.name] and 0 < visible < _CALLED_BY_SIZE_MM2:
            known[place] = 0
    target[0] = target[1:].max()
    sure = bool(((target[1:] > 0) & (known[1:] > 0)).any())
    known[0] = float(sure or bool((known[1:] > 0).all()))
    return PaintedStack(canvas.hu, target, known, _labels(shares, canvas))


def _labels(shares: dict[str, Tensor], canvas: Canvas) -> Tensor:
    labels = torch.zeros(canvas.hu.shape[-2:], dtype=torch.uint8)
    best, total = torch.zeros(labels.shape), torch.zeros(labels.shape)
    for subtype in SUBTYPES:
        if subtype.name in shares:
            share = shares[subtype.name]
            labels[share > best] = subtype.label
            best, total = torch.maximum(best, share), total + share
    labels[total < _LABEL_SHARE] = 0
    return labels
