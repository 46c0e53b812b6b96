"""A table with typed cells, as CSV for machines and as Markdown, LaTeX and HTML for readers."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from hemocam_training.experiments.bootstrap import Estimate

#: Stands for a value that does not exist.
NO_VALUE = "–"


@dataclass(frozen=True)
class MeanSd:
    """Mean and sample standard deviation (n − 1) of runs, epochs or folds; the deviation of one value is NaN."""

    mean: float
    sd: float


def mean_sd(values: ArrayLike) -> MeanSd:
    """Of values that are numbers; NaN are left out.

    >>> mean_sd([1.0, 3.0])
    MeanSd(mean=2.0, sd=1.4142135623730951)
    """
    found = np.asarray(values, float).ravel()
    found = found[np.isfinite(found)]
    if not found.size:
        return MeanSd(math.nan, math.nan)
    return MeanSd(float(found.mean()), float(found.std(ddof=1)) if found.size > 1 else math.nan)


@dataclass(frozen=True, eq=False)
class Table:
    """One table of a report.

    Attributes:
        name: of its files, such as ``scores_by_layer``.
        title: above it.
        rows: by column name; cells are numbers, text, None, :class:`Estimate` or :class:`MeanSd`. A column that a
            row lacks is empty there.
        headings: of columns whose name is not what a reader should see.
        note: below it: what the numbers are.
        decimals: of numbers, by column where not 3.
        best: columns whose best cell is bold, and which end is best.
        on_page: whether the page shows it; one that is too long for that is a CSV file that the page links to.
    """

    name: str
    title: str
    rows: Sequence[Mapping[str, Any]]
    headings: Mapping[str, str] = field(default_factory=dict)
    note: str = ""
    decimals: Mapping[str, int] = field(default_factory=dict)
    best: Mapping[str, Literal["max", "min"]] = field(default_factory=dict)
    on_page: bool = True

    @property
    def columns(self) -> list[str]:
        return list(dict.fromkeys(name for row in self.rows for name in row))

    @property
    def heads(self) -> list[str]:
        """Of the columns, as a reader sees them."""
        return [self.headings.get(name, name.replace("_", " ")) for name in self.columns]

    def cells(self) -> list[list[str]]:
        """[row][column] as a reader sees them."""
        return [[_shown(row.get(name), self.decimals.get(name, 3)) for name in self.columns] for row in self.rows]

    def bold(self) -> list[list[bool]]:
        """[row][column] whether a cell is the best of its column as shown; none where all are equal."""
        marks = [[False] * len(self.columns) for _ in self.rows]
        for position, name in enumerate(self.columns):
            if name not in self.best:
                continue
            digits = self.decimals.get(name, 3)
            values = [round(_number(row.get(name)), digits) for row in self.rows]
            known = [value for value in values if not math.isnan(value)]
            if len(set(known)) < 2:
                continue
            best = max(known) if self.best[name] == "max" else min(known)
            for mark, value in zip(marks, values, strict=True):
                mark[position] = value == best
        return marks

    def numeric(self) -> list[bool]:
        """[column] whether it is set flush right."""
        return [
            not any(isinstance(row.get(name), str) for row in self.rows)
            and any(row.get(name) is not None for row in self.rows)
            for name in self.columns
        ]

    def frame(self) -> pd.DataFrame:
        """Every number in a column of its own: an estimate ``dice`` also has ``dice_low`` and ``dice_high``."""
        return pd.DataFrame([{k: v for name in row for k, v in _flat(name, row[name])} for row in self.rows])

    def markdown(self) -> str:
        """A pipe table, without its title."""
        bodies = [
            [f"**{text}**" if mark else text for text, mark in zip(texts, marks, strict=True)]
            for texts, marks in zip(self.cells(), self.bold(), strict=True)
        ]
        rule = ["---:" if numeric else "---" for numeric in self.numeric()]
        lines = [self.heads, rule, *bodies]
        return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)

    def latex(self) -> str:
        """A float with booktabs rules, label ``tab:NAME``; needs the packages booktabs and, for ± and ×, textcomp."""
        marks = np.array(self.bold(), bool).reshape(len(self.rows), len(self.columns))
        # Styler wants unique labels, but two columns may be called the same: numbered here, named below.
        shown = pd.DataFrame(self.cells(), columns=range(len(self.columns)))
        style = shown.style.hide(axis="index").format(escape="latex")
        style = style.apply(lambda _: np.where(marks, "textbf:--rwrap;", ""), axis=None)
        style = style.format_index(lambda number: _latex_text(self.heads[int(number)]), axis="columns")
        text = style.to_latex(
            hrules=True,
            caption=_latex_text(self.title),
            label=f"tab:{self.name}",
            position="htbp",
            position_float="centering",
            column_format="".join("r" if numeric else "l" for numeric in self.numeric()),
        )
        note = f"\\par\\footnotesize {_latex_text(self.note)}\n" if self.note else ""
        return str(text).replace("\\end{table}", f"{note}\\end{{table}}")

    def write(self, folder: Path) -> list[Path]:
        """``NAME.csv`` in a folder, and ``NAME.md`` and ``NAME.tex`` of one that a page can hold; gives them."""
        folder.mkdir(parents=True, exist_ok=True)
        files = [folder / f"{self.name}.{suffix}" for suffix in ("csv", *(("md", "tex") if self.on_page else ()))]
        self.frame().to_csv(files[0], index=False, float_format="%.6g", lineterminator="\n")
        if self.on_page:
            below = f"\n\n{self.note}" if self.note else ""
            files[1].write_text(f"### {self.title}\n\n{self.markdown()}{below}\n", encoding="utf-8")
            files[2].write_text(self.latex(), encoding="utf-8")
        return files


def _shown(value: Any, decimals: int) -> str:
    if isinstance(value, Estimate):
        if math.isnan(value.value):
            return NO_VALUE
        if math.isnan(value.low):
            return f"{value.value:.{decimals}f}"
        low, high = (f"{end:.{decimals}f}" for end in (value.low, value.high))
        # A dash between negative numbers reads as another sign.
        return f"{value.value:.{decimals}f} ({low}{' to ' if value.low < 0 else '–'}{high})"
    if isinstance(value, MeanSd):
        if math.isnan(value.mean):
            return NO_VALUE
        spread = NO_VALUE if math.isnan(value.sd) else f"{value.sd:.{decimals}f}"
        return f"{value.mean:.{decimals}f} ({spread})"
    if value is None:
        return NO_VALUE
    if isinstance(value, bool | np.bool_):
        return "yes" if value else "no"
    if isinstance(value, int | np.integer):
        return str(value)
    if isinstance(value, float | np.floating):
        return f"{value:.{decimals}f}" if math.isfinite(value) else NO_VALUE
    return str(value)


def _flat(name: str, value: Any) -> list[tuple[str, Any]]:
    if isinstance(value, Estimate):
        return [(name, value.value), (f"{name}_low", value.low), (f"{name}_high", value.high)]
    if isinstance(value, MeanSd):
        return [(f"{name}_mean", value.mean), (f"{name}_sd", value.sd)]
    return [(name, value)]


def _number(value: Any) -> float:
    if isinstance(value, Estimate):
        return value.value
    if isinstance(value, MeanSd):
        return value.mean
    return float(value) if isinstance(value, int | float | np.number) else math.nan


def _latex_text(text: str) -> str:
    for plain, escaped in (("\\", "\\textbackslash "), ("&", "\\&"), ("%", "\\%"), ("$", "\\$"), ("#", "\\#"),
                           ("_", "\\_"), ("{", "\\{"), ("}", "\\}"), ("~", "\\textasciitilde "),
                           ("^", "\\textasciicircum ")):  # fmt: skip
        text = text.replace(plain, escaped)
    return text
