"""Examples, deletion and insertion curves, and paired differences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from hemocam_training.experiments.reporting import Figure, figure_of
from hemocam_training.experiments.reporting.figures import COLOURS, styled
from hemocam_training.experiments.segmentation_explained.explain import (
    CHANCE,
    HIRES,
    METHODS,
    PIXELS,
    REFERENCES,
    SEG,
    Explained,
)
from hemocam_training.experiments.segmentation_explained.tables import HEADS, differences
from hemocam_training.learning.augmentation import windowed
from hemocam_training.shards import SliceShards

SHOWN = 4
TRUTH, MASK = "#56b4e9", "#f0e442"
LOOKS = {SEG: (COLOURS[0], "-"), HIRES: (COLOURS[1], "-"), CHANCE: ("#8a949e", ":"), PIXELS: ("#1c2733", "--")}


def example_figure(
    explained: Sequence[Explained], slices: SliceShards, names: Mapping[int, str], layers: Mapping[str, str]
) -> Figure:
    """A few slices, the largest first: truth and prediction, then both methods at every layer."""
    chosen = _examples(explained)
    columns = ["truth and mask", *(f"{METHODS[method]}\n{title}" for title in layers.values() for method in METHODS)]
    with styled():
        size = 1.32
        canvas, grid = plt.subplots(
            len(chosen), len(columns), figsize=(size * len(columns), size * len(chosen) + 0.4), squeeze=False
        )
        for row, one in zip(grid, chosen, strict=True):
            image = windowed(slices.stacks_hu(np.array([one.position])))[0, 1].numpy()
            box = _box(image)
            keys = [(method, layer) for layer in layers for method in METHODS]
            for axis, key in zip(row, [None, *keys], strict=True):
                axis.axis("off")
                axis.imshow(image[box], cmap="gray", vmin=0, vmax=1)
                if key is not None:
                    _overlay(axis, one.maps[key], box)
                axis.contour(one.truth[box], levels=[0.5], colors=[TRUTH], linewidths=0.8)
            row[0].contour(one.explained[box], levels=[0.5], colors=[MASK], linewidths=0.8, linestyles="--")
            row[0].text(0.03, 0.03, names[one.number], transform=row[0].transAxes, color="white", fontsize=8)
        for axis, title in zip(grid[0], columns, strict=True):
            axis.set_title(title, fontsize=7, pad=3)
        canvas.tight_layout(pad=0.3, w_pad=0.25, h_pad=0.25)
        return figure_of(
            canvas,
            "examples",
            "The same slices by both methods at every layer",
            "Blue: true outline. Yellow dashes: the explained pixels, which the network gave to the class. Colours: "
            "the map's positive part over its own largest value; a map without one stays grey.",
            "Slices with hemorrhage overlaid with Seg-Grad-CAM and Seg-HiRes-Grad-CAM maps at each layer.",
            colours=256,
        )


def curve_figure(explained: Sequence[Explained], layers: Mapping[str, str], shares: Sequence[float]) -> Figure:
    """Mean deletion and insertion curves, one column a layer."""
    nodes = np.asarray(shares)
    with styled():
        canvas, grid = plt.subplots(
            2, len(layers), figsize=(2.35 * len(layers) + 0.6, 4.4), sharex=True, sharey="row", squeeze=False,
            layout="constrained",
        )  # fmt: skip
        for column, (layer, title) in enumerate(layers.items()):
            for row in range(2):
                axis = grid[row, column]
                for key in ((SEG, layer), (HIRES, layer), (CHANCE, ""), (PIXELS, "")):
                    curves = [one.curves[key][row] for one in explained]
                    mean = np.mean([np.interp(nodes, curve.shares, curve.answers) for curve in curves], axis=0)
                    colour, dashes = LOOKS[key[0]]
                    label = {**METHODS, **REFERENCES}[key[0]]
                    axis.plot(nodes, mean, dashes, color=colour, linewidth=1.5, label=label)
                axis.set_xscale("function", functions=(np.sqrt, np.square))
                axis.set_xlim(0, 1)
                axis.set_xticks([0, 0.04, 0.2, 0.5, 1], ["0", "4 %", "20 %", "50 %", "100 %"])
            grid[0, column].set_title(title)
        grid[0, 0].set_ylabel("deletion:\nprobability left")
        grid[1, 0].set_ylabel("insertion:\nprobability reached")
        handles, labels = grid[0, 0].get_legend_handles_labels()
        canvas.legend(handles, labels, loc="outside lower center", ncols=4)
        return figure_of(
            canvas,
            "curves",
            "Deletion and insertion",
            "Mean over maps of the class's probability in the explained pixels, over the share of the head that was "
            "deleted or inserted in the map's order (root scale). Best: low for deletion, high for insertion.",
            "Deletion and insertion curves of both methods, chance and the explained pixels, by layer.",
        )


def difference_figure(explained: Sequence[Explained], layers: Mapping[str, str], draws: int) -> Figure:
    """Paired differences with their intervals, by layer."""
    measures = ("energy_truth", "pointing_truth", "deletion", "insertion")
    with styled():
        canvas, axes = plt.subplots(
            1, len(measures), figsize=(8.6, 0.42 * len(layers) + 1.1), sharey=True, layout="constrained"
        )
        for place, layer in enumerate(layers):
            found = differences(explained, layer, draws)
            for axis, measure in zip(axes, measures, strict=True):
                one = found[measure]
                axis.plot([one.low, one.high], [place, place], color=COLOURS[0], linewidth=2)
                axis.plot(one.value, place, "o", color=COLOURS[0], markersize=5)
        for axis, measure in zip(axes, measures, strict=True):
            axis.axvline(0, color="#1c2733", linewidth=0.8)
            axis.set_title(HEADS[measure])
            better = "←" if measure == "deletion" else "→"
            axis.set_xlabel(f"HiRes better {better}" if better == "→" else f"{better} HiRes better")
            axis.margins(y=0.2)
        axes[0].set_yticks(range(len(layers)), list(layers.values()))
        axes[0].invert_yaxis()
        return figure_of(
            canvas,
            "differences",
            "Seg-HiRes-Grad-CAM minus Seg-Grad-CAM",
            "Mean paired difference by layer with its 95 % interval of a bootstrap over patients.",
            "Paired differences of four measures by layer; the figures are in the table above.",
        )


def _examples(explained: Sequence[Explained]) -> list[Explained]:
    """The largest of each patient first, each patient once before any twice."""
    ranked = sorted(explained, key=lambda one: -int(one.truth.sum()))
    firsts = list({one.patient: one for one in reversed(ranked)}.values())[::-1]
    rest = [one for one in ranked if not any(one is first for first in firsts)]
    return [*firsts, *rest][:SHOWN]


def _overlay(axis: Axes, saliency: NDArray[np.float32], box: tuple[slice, slice]) -> None:
    positive = np.maximum(saliency, 0)
    if positive.max() > 0:
        share = (positive / positive.max())[box]
        axis.imshow(share, cmap="inferno", vmin=0, vmax=1, alpha=np.clip(1.6 * share, 0, 0.7))


def _box(image: NDArray[np.float32]) -> tuple[slice, slice]:
    """The part of the slice that holds the head, with a little air around it."""
    box = []
    for used in ((image > 0.05).mean(axis=1) > 0.06, (image > 0.05).mean(axis=0) > 0.06):
        at = np.flatnonzero(used)
        box.append(slice(max(at[0] - 3, 0), at[-1] + 4) if at.size else slice(None))
    return box[0], box[1]
