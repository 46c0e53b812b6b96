"""A phantom slice under each refinement, as ``docs/images/refinement.png`` shows it.

python -m hemocam_training.draw_refinements --model ../Resources/models/hemocam-phantom --out refinement.png
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from hemocam_training.evaluation.mask_counts import Way, labels_by
from hemocam_training.mapped_scans import MapStore
from hemocam_training.scan_sources import PhantomSource
from HemoCAMLib.mask.refine import RefinementSettings
from HemoCAMLib.mask.settings import MaskSettings
from HemoCAMLib.model.bundle import ModelBundle
from HemoCAMLib.subtypes import SUBTYPES

#: Test phantoms and slices (from 0) that show different subtypes.
SHOWN = ((3000003, 13), (3000011, 14), (3000006, 18))

WINDOW_HU = (0, 80)
COLUMNS = ("none", "hysteresis", "hu-mixture", "random-walker")

#: Rows and columns around the head that are left out.
BORDER_PX = 36


def draw(bundle: ModelBundle, shown: list[tuple[int, int]], store: Path | None, out: Path) -> None:
    """Writes the picture: a row a slice; CT, truth, then the labels without and with each refinement."""
    maps = MapStore(bundle, store)
    settings = MaskSettings.from_metadata(bundle.metadata.hemocam_fields())
    figure, rows = plt.subplots(len(shown), len(COLUMNS) + 2, figsize=(13, 2.5 * len(shown)), squeeze=False)
    figure.patch.set_facecolor("black")
    for axes, (seed, index) in zip(rows, shown, strict=True):
        scan = maps.scan(PhantomSource(seed, 1), 0)
        assert scan.truth is not None
        pictures = {"CT": np.zeros_like(scan.truth[index]), "truth": scan.truth[index]}
        for name in COLUMNS:
            refinement = None if name == "none" else RefinementSettings.from_value(name)
            way = Way(name, replace(settings, refinement=refinement))
            # The whole scan is labelled, since small and flat lesions depend on all slices.
            pictures[name] = labels_by(scan, way, bundle.metadata.calibration)[index]
        for axis, (name, labels) in zip(axes, pictures.items(), strict=True):
            show(axis, scan.hu[index], labels, name)
    figure.tight_layout(pad=0.4)
    figure.savefig(out, dpi=64, facecolor="black")


def show(axis: Axes, hu: NDArray[np.int16], labels: NDArray[np.uint8], title: str) -> None:
    view = np.s_[BORDER_PX:-BORDER_PX, BORDER_PX:-BORDER_PX]
    axis.imshow(hu[view], cmap="gray", vmin=WINDOW_HU[0], vmax=WINDOW_HU[1])
    paint = np.zeros((*labels.shape, 4))
    for subtype in SUBTYPES:
        paint[labels == subtype.label] = [*(np.array(subtype.color_rgb) / 255), 0.55]
    axis.imshow(paint[view])
    axis.set_title(title, color="white", fontsize=9)
    axis.axis("off")


def main() -> None:
    parser = argparse.ArgumentParser(description="Draw phantom slices under each refinement")
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--store", type=Path, help="folder that keeps maps between calls")
    parser.add_argument("--slices", nargs="+", metavar="SEED:INDEX", help="other slices than those of the page")
    chosen = parser.parse_args()
    shown = [tuple(map(int, text.split(":"))) for text in chosen.slices] if chosen.slices else list(SHOWN)
    draw(ModelBundle.open(chosen.model), shown, chosen.store, chosen.out)


if __name__ == "__main__":
    main()
