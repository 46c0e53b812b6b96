"""Figures as PNG files of a modest size, drawn without a display."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
from cycler import cycler
from matplotlib.figure import Figure as Canvas

#: Of Okabe and Ito, in an order in which neighbours differ most; readable by most colour-blind readers.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000", "#f0e442")
#: Colours that a file is reduced to: a third of the size, and no banding in greys that matters.
PALETTE = 256
DPI = 130

STYLE: dict[Any, Any] = {
    "figure.facecolor": "white",
    "axes.prop_cycle": cycler(color=COLOURS),
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#e5e5e5",
    "grid.linewidth": 0.6,
    "axes.axisbelow": True,
    "font.size": 9,
    "axes.titlesize": 9.5,
    "axes.labelsize": 9,
    "legend.fontsize": 8,
    "legend.frameon": False,
    "savefig.dpi": DPI,
}


@dataclass(frozen=True, eq=False)
class Figure:
    """One figure of a report.

    Attributes:
        name: of its file.
        title: above it.
        png: the picture.
        caption: below it: what is to be seen, in what units.
        alternative: the same in a sentence for those who do not see it.
    """

    name: str
    title: str
    png: bytes
    caption: str = ""
    alternative: str = ""

    def write(self, folder: Path) -> Path:
        """``NAME.png`` in a folder."""
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{self.name}.png"
        path.write_bytes(self.png)
        return path


@contextmanager
def styled() -> Iterator[None]:
    """matplotlib with the look of these reports."""
    with plt.rc_context(STYLE):
        yield


def figure_of(
    canvas: Canvas, name: str, title: str, caption: str = "", alternative: str = "", *, colours: int = PALETTE
) -> Figure:
    """A drawn matplotlib figure as one of a report; the canvas is closed.

    Args:
        canvas: drawn within :func:`styled`.
        name, title, caption, alternative: see :class:`Figure`.
        colours: of the palette that the picture is reduced to; 0 for full colour.
    """
    from PIL import Image

    stored = io.BytesIO()
    canvas.savefig(stored, format="png", dpi=DPI, bbox_inches="tight", pad_inches=0.08, metadata={"Software": None})
    plt.close(canvas)
    if not colours:
        return Figure(name, title, stored.getvalue(), caption, alternative)
    with Image.open(stored) as picture:
        small = picture.convert("RGB").quantize(colours, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE)
    reduced = io.BytesIO()
    small.save(reduced, "PNG", optimize=True)
    return Figure(name, title, reduced.getvalue(), caption, alternative)
