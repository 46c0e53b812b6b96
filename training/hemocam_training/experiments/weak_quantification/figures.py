"""Dice by subtype, masks of the same slices by every network, heat maps with and without the consistency loss."""

from __future__ import annotations

from collections.abc import Sequence
from textwrap import fill

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.patches import Patch
from numpy.typing import NDArray

from hemocam_training.experiments.reporting import Figure, Table, figure_of
from hemocam_training.experiments.reporting.figures import COLOURS, styled
from hemocam_training.experiments.weak_quantification.masks import labels_of
from hemocam_training.experiments.weak_quantification.models import Judged, Parts
from hemocam_training.experiments.weak_quantification.tables import gates_of
from hemocam_training.learning.augmentation import windowed
from hemocam_training.shards import SliceShards
from HemoCAMLib.mask.upsample import upsample_box
from HemoCAMLib.subtypes import CLASS_NAMES, SUBTYPE_NAMES, SUBTYPES, Subtype

PICTURE = 1.55


def dice_figure(by_classifier: Table, by_truth: Table) -> Figure:
    """Dice of every network by subtype, with both kinds of gates."""
    with styled():
        canvas, axes = plt.subplots(1, 2, figsize=(9, 3.2), sharey=True, layout="constrained")
        for axis, table, title in zip(
            axes, (by_classifier, by_truth), ("classifier's gates", "true labels as gates"), strict=True
        ):
            wide = 0.8 / len(table.rows)
            for number, row in enumerate(table.rows):
                at = np.arange(len(SUBTYPE_NAMES)) + (number - (len(table.rows) - 1) / 2) * wide
                found = [row[name] for name in SUBTYPE_NAMES]
                values = np.nan_to_num([one.value for one in found])
                ends = np.abs(np.nan_to_num([[one.low, one.high] for one in found], nan=0.0).T - values)
                ends[:, ~np.isfinite([one.low for one in found])] = 0
                axis.bar(at, values, wide * 0.92, color=COLOURS[number % len(COLOURS)], label=row["model"])
                axis.errorbar(at, values, ends, fmt="none", ecolor="#1c2733", elinewidth=0.8)
            axis.set_xticks(range(len(SUBTYPE_NAMES)), SUBTYPE_NAMES)
            axis.set_title(title)
            axis.grid(axis="x", visible=False)
        axes[0].set_ylabel("Dice, pooled")
        handles, labels = axes[0].get_legend_handles_labels()
        canvas.legend(handles, labels, loc="outside lower center", ncols=len(labels))
        return figure_of(
            canvas,
            "dice",
            "Dice by subtype",
            "Pooled Dice of the tuned masks with 95 % intervals of a bootstrap over patients.",
            "Bar charts of Dice by subtype and network; the figures are in the tables.",
        )


def mask_figure(models: Sequence[Judged], parts: Parts) -> Figure:
    """One slice of each subtype: the truth, and the masks of every network with true labels as gates."""
    slices = parts.test_masks
    positions = _largest_of_each(slices)
    with styled():
        columns = 1 + len(models)
        canvas, grid = plt.subplots(
            len(positions), columns, figsize=(PICTURE * columns, PICTURE * len(positions) + 0.7), squeeze=False
        )
        for row, position in zip(grid, positions, strict=True):
            image, box = _image(slices, position)
            truth = slices.masks(np.array([position]))[0]
            masks = [labels_of(one.test, slices, gates_of(one, True), one.mask_thresholds, position) for one in models]
            for axis, labels in zip(row, (truth, *masks), strict=True):
                axis.axis("off")
                axis.imshow(image[box], cmap="gray", vmin=0, vmax=1)
                axis.imshow(_coloured(labels)[box], interpolation="nearest")
        for axis, title in zip(grid[0], ("truth", *(one.title for one in models)), strict=True):
            axis.set_title(fill(title, 18), fontsize=8)
        handles = [Patch(color=_rgb(one), label=one.name) for one in SUBTYPES]
        canvas.legend(handles=handles, loc="lower center", ncols=len(handles))
        canvas.tight_layout(rect=(0, 0.35 / (PICTURE * len(positions) + 0.7), 1, 1), pad=0.3, w_pad=0.25, h_pad=0.25)
        return figure_of(
            canvas,
            "masks",
            "Masks of the same slices",
            "For each subtype the test slice with its largest area; true labels as gates, tuned thresholds.",
            "Slices with true masks and the masks of every network in the colours of the subtypes.",
            colours=256,
        )


def ablation_figure(with_loss: Judged, without: Judged, parts: Parts) -> Figure:
    """Heat maps of the largest lesion of each subtype, with the consistency loss and without."""
    slices = parts.test_masks
    positions = _largest_of_each(slices)
    with styled():
        columns = ("truth", with_loss.title, without.title)
        canvas, grid = plt.subplots(
            3, len(positions), figsize=(PICTURE * len(positions) + 0.3, 3 * PICTURE + 0.2), squeeze=False
        )
        for place, position in enumerate(positions):
            image, box = _image(slices, position)
            truth = slices.masks(np.array([position]))[0]
            subtype = _largest_subtype(truth)
            for row, axis in enumerate(grid[:, place]):
                axis.axis("off")
                axis.imshow(image[box], cmap="gray", vmin=0, vmax=1)
                if row == 0:
                    axis.set_title(SUBTYPES[subtype - 1].name)
                    axis.imshow(_coloured(truth)[box], interpolation="nearest")
                else:
                    heat = _heat((with_loss, without)[row - 1], position, subtype, slices.size)[box]
                    axis.imshow(heat, cmap="inferno", vmin=0, vmax=1, alpha=np.clip(1.6 * heat, 0, 0.75))
        for axis, title in zip(grid[:, 0], columns, strict=True):
            axis.text(
                -0.06, 0.5, fill(title, 18), transform=axis.transAxes, rotation=90, va="center", ha="right", fontsize=8
            )
        canvas.tight_layout(pad=0.3, w_pad=0.2, h_pad=0.2)
        return figure_of(
            canvas,
            "heat_maps",
            "Heat maps with and without the consistency loss",
            "The map of the subtype with the largest area, its positive part over its own largest value.",
            "Heat maps over slices, with the consistency loss above and without it below.",
            colours=256,
        )


def _largest_of_each(slices: SliceShards) -> list[int]:
    """The slice with the largest area of each subtype; no slice twice."""
    first = len(CLASS_NAMES) - len(SUBTYPE_NAMES)
    found: list[int] = []
    for place in range(len(SUBTYPE_NAMES)):
        areas = np.nan_to_num(slices.areas_mm2[:, first + place]).copy()
        areas[found] = 0
        if areas.max() > 0:
            found.append(int(np.argmax(areas)))
    return found


def _largest_subtype(truth: NDArray[np.uint8]) -> int:
    return 1 + int(np.argmax(np.bincount(truth.ravel(), minlength=len(SUBTYPES) + 1)[1:]))


def _heat(one: Judged, position: int, subtype: int, size: int) -> NDArray[np.float32]:
    positive = np.maximum(one.test.maps[position, subtype - 1].astype(np.float32), 0)
    peak = float(positive.max())
    heat: NDArray[np.float32] = upsample_box(
        positive / peak if peak > 0 else positive, (size, size), (0, size, 0, size)
    )
    return heat


def _image(slices: SliceShards, position: int) -> tuple[NDArray[np.float32], tuple[slice, slice]]:
    """A windowed slice, and the part of it that holds the head."""
    image: NDArray[np.float32] = windowed(slices.stacks_hu(np.array([position])))[0, 1].numpy()
    box = []
    for used in ((image > 0.05).mean(axis=1) > 0.06, (image > 0.05).mean(axis=0) > 0.06):
        at = np.flatnonzero(used)
        box.append(slice(max(int(at[0]) - 3, 0), int(at[-1]) + 4) if at.size else slice(None))
    return image, (box[0], box[1])


def _coloured(labels: NDArray[np.uint8]) -> NDArray[np.float64]:
    """[row, column, RGBA] the subtypes in their colours."""
    colours = np.zeros((len(SUBTYPES) + 1, 4))
    for one in SUBTYPES:
        colours[one.label] = [*_rgb(one), 0.6]
    picture: NDArray[np.float64] = colours[labels]
    return picture


def _rgb(one: Subtype) -> tuple[float, float, float]:
    red, green, blue = one.color_rgb
    return red / 255, green / 255, blue / 255
