"""Draws slices of a finished run: the CT, the activation of the likeliest subtype, the label map.

    python docs/make_picture.py RUN_FOLDER OUT.png [--slices 8 12 16]

The pictures in this folder and in the README are made with it from the sample scan.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Patch
from numpy.typing import NDArray

import HemoCAMLib as hc
from HemoCAMLib.ct import HeadCT
from HemoCAMLib.model import find_model
from HemoCAMLib.run.folder import RunFolder
from HemoCAMLib.subtypes import ANY, SUBTYPES

WINDOW_HU = (-40, 90)


def load_scan(folder: RunFolder) -> HeadCT:
    """The scan that the run was made from."""
    job = folder.read_job()
    if job.ijk_to_ras is not None:
        return hc.head_ct_from_array(np.load(folder.input_array_path), np.array(job.ijk_to_ras))
    return hc.read_head_ct(job.input, series_uid=job.series_uid or None, allow_gaps=job.allow_gaps)


def draw(folder: Path, out: Path, slices: list[int] | None) -> None:
    """Writes the picture; without ``slices`` the four with the largest area, or the likeliest."""
    result = hc.Result.load(folder)
    scan = load_scan(RunFolder(folder))
    classes = find_model(RunFolder(folder).read_job().model).metadata.subtypes
    labels = np.transpose(np.flip(result.labels, scan.grid.flips), np.argsort(scan.grid.axes))
    chosen = slices if slices is not None else likeliest(result)
    figure, rows = plt.subplots(len(chosen), 3, figsize=(9, 3.1 * len(chosen)), squeeze=False, facecolor="black")
    for axes, index in zip(rows, chosen, strict=True):
        entry = result.slices[index]
        name = max((subtype.name for subtype in SUBTYPES), key=entry["probability"].__getitem__)
        for axis in axes:
            show(axis, scan.slices[index])
        logits = result.activation[classes.index(name), index].astype(float)
        rows_count, columns_count = scan.shape[1:]
        axes[1].imshow(
            1 / (1 + np.exp(-logits)), cmap="inferno", vmin=0, vmax=1, alpha=0.6, interpolation="bilinear",
            extent=(-0.5, columns_count - 0.5, rows_count - 0.5, -0.5),
        )  # fmt: skip
        axes[2].imshow(painted(labels[index]))
        called = ", ".join(f"{s.name} {entry['probability'][s.name]:.2f}" for s in SUBTYPES)
        title(axes[0], f"slice {index + 1}, {ANY} {entry['probability'][ANY]:.2f}")
        title(axes[1], f"activation: {name}")
        title(axes[2], called)
    handles = [Patch(color=np.array(s.color_rgb) / 255, label=s.name) for s in SUBTYPES]
    figure.legend(handles=handles, loc="lower center", ncol=5, frameon=False, labelcolor="white", fontsize=9)
    figure.tight_layout(rect=(0, 0.03, 1, 1))
    figure.savefig(out, dpi=110, facecolor="black")


def likeliest(result: hc.Result, count: int = 4) -> list[int]:
    """Slices with the largest marked area, then by probability, in scan order."""
    order = sorted(result.slices, key=lambda s: (s["area_mm2"][ANY], s["probability"][ANY]), reverse=True)
    return sorted(entry["index"] for entry in order[:count])


def show(axis: Axes, hu: NDArray[np.int16]) -> None:
    axis.imshow(hu, cmap="gray", vmin=WINDOW_HU[0], vmax=WINDOW_HU[1])
    axis.axis("off")


def title(axis: Axes, text: str) -> None:
    axis.set_title(text, color="white", fontsize=7)


def painted(labels: NDArray[np.uint8]) -> NDArray[np.float64]:
    """[rows, columns, RGBA] in the subtypes' colours."""
    image = np.zeros((*labels.shape, 4))
    for subtype in SUBTYPES:
        image[labels == subtype.label] = [*(np.array(subtype.color_rgb) / 255), 0.65]
    return image


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run_folder", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--slices", type=int, nargs="+", help="0-based")
    arguments = parser.parse_args()
    draw(arguments.run_folder, arguments.out, arguments.slices)


if __name__ == "__main__":
    main()
