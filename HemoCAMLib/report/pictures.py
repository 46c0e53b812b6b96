"""Pictures of single slices: in two windows, with the outline of the label map, with the activation map."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from HemoCAMLib.ct import HeadCT
from HemoCAMLib.mask.upsample import Box, upsample_box
from HemoCAMLib.report.windows import BRAIN, SUBDURAL, Grey, Rgb, Window, heat_colors
from HemoCAMLib.subtypes import SUBTYPES

#: Height of a picture in its own pixels; sharp on paper at 5 cm.
PICTURE_ROWS = 400

#: What belongs to the head when the pictures are cropped, and how much is left around it.
HEAD_HU, MARGIN_MM = -300, 8.0

#: Activation below this is not tinted at all, above it the tint grows to this opacity.
FAINTEST_ACTIVATION, STRONGEST_TINT = 0.1, 0.75


@dataclass(frozen=True)
class SlicePictures:
    """Three views of a slice, [rows, columns, 3] each."""

    brain: Rgb
    outlined: Rgb
    heat: Rgb


class Illustrator:
    """Draws slices of one scan, all cropped to the head and with square pixels.

    Args:
        ct: the scan; rows of the pictures run from front to back, columns from the patient's right to left.
    """

    def __init__(self, ct: HeadCT) -> None:
        self._box = _head_box(ct)
        rows_mm = (self._box[1] - self._box[0]) * ct.geometry.pixel_spacing_mm[0]
        columns_mm = (self._box[3] - self._box[2]) * ct.geometry.pixel_spacing_mm[1]
        self._shape = (PICTURE_ROWS, max(1, round(PICTURE_ROWS * columns_mm / rows_mm)))

    def pictures(
        self, hu: NDArray[np.int16], labels: NDArray[np.uint8], activation: NDArray[np.float32] | None
    ) -> SlicePictures:
        """The views of one slice.

        Args:
            hu: [rows, columns] of the slice, or of another scan in the same plane.
            labels: [rows, columns] label map of the slice.
            activation: [h, w] 0..1, covers the whole slice; None leaves the heat map away.
        """
        brain = self._grey(hu, BRAIN)
        outlined = _with_outlines(_rgb(self._grey(hu, SUBDURAL)), self._enlarged_labels(labels))
        heat = _rgb(brain)
        if activation is not None:
            heat = _tinted(brain, self._enlarged(upsample_box(activation, labels.shape, self._box)))
        return SlicePictures(_rgb(brain), outlined, heat)

    def _grey(self, hu: NDArray[np.int16], window: Window) -> Grey:
        top, bottom, left, right = self._box
        grey = window.grey(hu[top:bottom, left:right])
        return np.rint(self._enlarged(grey.astype(np.float32))).astype(np.uint8)

    def _enlarged(self, cropped: NDArray[np.float32]) -> NDArray[np.float32]:
        return upsample_box(cropped, self._shape, (0, self._shape[0], 0, self._shape[1]))

    def _enlarged_labels(self, labels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        top, bottom, left, right = self._box
        rows = (np.arange(self._shape[0]) * (bottom - top) // self._shape[0]) + top
        columns = (np.arange(self._shape[1]) * (right - left) // self._shape[1]) + left
        return labels[np.ix_(rows, columns)]


def _head_box(ct: HeadCT) -> Box:
    """Pixels of the head in a handful of slices, with a margin; the whole slice where there is no head."""
    count, rows, columns = ct.shape
    chosen = np.unique(np.linspace(0, count - 1, min(count, 7)).round().astype(int))
    seen = np.zeros((rows, columns), bool)
    for index in chosen:
        seen |= ct.slices[int(index)] > HEAD_HU
    # A table or a cable is thin: only rows and columns that are well filled count.
    filled_rows = np.flatnonzero(np.count_nonzero(seen, axis=1) > columns // 8)
    filled_columns = np.flatnonzero(np.count_nonzero(seen, axis=0) > rows // 8)
    if filled_rows.size == 0 or filled_columns.size == 0:
        return 0, rows, 0, columns
    around = [round(MARGIN_MM / spacing) for spacing in ct.geometry.pixel_spacing_mm]
    return (
        max(int(filled_rows[0]) - around[0], 0),
        min(int(filled_rows[-1]) + 1 + around[0], rows),
        max(int(filled_columns[0]) - around[1], 0),
        min(int(filled_columns[-1]) + 1 + around[1], columns),
    )


def _rgb(grey: Grey) -> Rgb:
    return np.repeat(grey[..., None], 3, axis=2)


def _with_outlines(picture: Rgb, labels: NDArray[np.uint8]) -> Rgb:
    """A line three pixels wide just inside every labelled region, in the subtype's colour."""
    for subtype in SUBTYPES:
        mask = labels == subtype.label
        if mask.any():
            picture[mask & ~_eroded(_eroded(_eroded(mask)))] = subtype.color_rgb
    return picture


def _eroded(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    padded = np.pad(mask, 1)
    inner: NDArray[np.bool_] = mask & padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    return inner


def _tinted(grey: Grey, activation: NDArray[np.float32]) -> Rgb:
    value = np.clip(activation, 0, 1)
    opacity = np.clip((value - FAINTEST_ACTIVATION) / (1 - FAINTEST_ACTIVATION), 0, 1) * np.float32(STRONGEST_TINT)
    opacity[value > FAINTEST_ACTIVATION] += np.float32(0.1)
    mixed = grey[..., None] * (1 - opacity[..., None]) + heat_colors(value) * opacity[..., None]
    tinted: Rgb = np.rint(np.clip(mixed, 0, 255)).astype(np.uint8)
    return tinted
