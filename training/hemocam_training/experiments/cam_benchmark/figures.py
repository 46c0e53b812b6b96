"""Pictures of maps and masks over slices, in colours that most colour-blind readers can tell apart."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Patch
from numpy.typing import NDArray

from hemocam_training.experiments.cam_benchmark.masks import score_image

WINDOW_HU = (-20, 90)

#: Of Okabe and Ito's palette: what only the map marks, what only the truth marks, what both do.
MAP_ONLY, TRUTH_ONLY, BOTH = (213, 94, 0), (0, 158, 115), (240, 228, 66)


#: Width of a panel, height of its title, height of the line below all panels.
PANEL_INCH, TITLE_INCH, NOTE_INCH = 1.6, 0.24, 0.4


@dataclass(frozen=True, eq=False)
class Panel:
    """One picture of a figure.

    Attributes:
        title: above it.
        activation_map: [h, w] to be shown in colour, or None; its positive part over ``largest``.
        largest: value of the hottest colour; the map's own largest value where None (the per-image scale).
        mask: [row, column] to be shown against the truth, or None.
        blank: leave the place empty.
    """

    title: str
    activation_map: NDArray[np.float32] | None = None
    largest: float | None = None
    mask: NDArray[np.bool_] | None = None
    blank: bool = False


def draw_panels(
    hu: NDArray[np.int16],
    truth: NDArray[np.bool_] | None,
    panels: Sequence[Panel],
    out: Path,
    *,
    columns: int = 6,
    note: str = "",
    colours: int = 256,
) -> None:
    """Writes a figure: the same slice in every panel, the truth outlined.

    Args:
        hu: [row, column].
        truth: [row, column], or None where nothing is to be found.
        panels: left to right, top to bottom.
        out: PNG.
        columns: panels in a row.
        note: below the panels.
        colours: of the palette that the file is reduced to; 0 for full colour.
    """
    crop = _head_box(hu)
    rows = -(-len(panels) // columns)
    tall = hu[crop].shape[0] / hu[crop].shape[1]
    height = rows * (PANEL_INCH * tall + TITLE_INCH) + NOTE_INCH
    figure, axes = plt.subplots(rows, columns, figsize=(PANEL_INCH * columns, height), squeeze=False, facecolor="white")
    for axis in axes.flat:
        axis.axis("off")
    for axis, panel in zip(axes.flat, panels, strict=False):
        if not panel.blank:
            _draw(axis, hu, truth, panel, crop)
    handles = []
    if any(panel.mask is not None for panel in panels):
        names = ("map only", "truth only", "both")
        handles = [
            Patch(color=(r / 255, g / 255, b / 255), label=name)
            for name, (r, g, b) in zip(names, (MAP_ONLY, TRUTH_ONLY, BOTH), strict=True)
        ]
        figure.legend(handles=handles, loc="lower right", ncol=3, frameon=False, fontsize=8)
    figure.text(0.01, 0.012, note, fontsize=8, va="bottom")
    figure.tight_layout(rect=(0, NOTE_INCH / height, 1, 1), pad=0.3, w_pad=0.2, h_pad=0.3)
    figure.savefig(out, dpi=110)
    plt.close(figure)
    if colours:
        _reduce(out, colours)


def overlap_image(mask: NDArray[np.bool_], truth: NDArray[np.bool_]) -> NDArray[np.float64]:
    """[row, column, RGBA] of a mask against the truth."""
    image = np.zeros((*mask.shape, 4))
    for pixels, colour in ((mask & ~truth, MAP_ONLY), (truth & ~mask, TRUTH_ONLY), (mask & truth, BOTH)):
        image[pixels] = [*(np.array(colour) / 255), 0.75]
    return image


def _draw(
    axis: Axes, hu: NDArray[np.int16], truth: NDArray[np.bool_] | None, panel: Panel, crop: tuple[slice, slice]
) -> None:
    axis.imshow(hu[crop], cmap="gray", vmin=WINDOW_HU[0], vmax=WINDOW_HU[1])
    if panel.activation_map is not None:
        peak = float(np.nan_to_num(panel.activation_map).max())
        largest = peak if panel.largest is None else panel.largest
        share = score_image(panel.activation_map, hu.shape) / 255 * (max(peak, 0) / largest if largest > 0 else 0)
        # A value near zero leaves the slice as it is.
        axis.imshow(share[crop], cmap="inferno", vmin=0, vmax=1, alpha=np.clip(share[crop] * 1.6, 0, 0.65))
    if panel.mask is not None and truth is not None:
        axis.imshow(overlap_image(panel.mask, truth)[crop])
    elif truth is not None and truth.any():
        axis.contour(truth[crop], levels=[0.5], colors=["#56b4e9"], linewidths=0.9)
    axis.set_title(panel.title, fontsize=7.5, pad=2)


def _head_box(hu: NDArray[np.int16]) -> tuple[slice, slice]:
    """The part of the slice that holds the head, with a little air around it."""
    inside = hu > 0
    wide = inside.sum(axis=1) > 0.08 * hu.shape[1], inside.sum(axis=0) > 0.08 * hu.shape[0]
    box = []
    for used, length in zip(wide, hu.shape, strict=True):
        at = np.flatnonzero(used)
        box.append(slice(max(at[0] - 6, 0), min(at[-1] + 7, length)) if at.size else slice(0, length))
    return box[0], box[1]


def _reduce(path: Path, colours: int) -> None:
    """Fewer colours make a file a third of its size."""
    from PIL import Image

    with Image.open(path) as picture:
        small = picture.convert("RGB").quantize(colours, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE)
    small.save(path, optimize=True)
