"""Figures, the table beside those of last time, and the results file; the same for every benchmark."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table

from HemoCAMLib.cli.machine import examine_machine

RESULTS = Path(__file__).parent / "results"


@dataclass(frozen=True)
class Figure:
    """One measured number.

    Attributes:
        name: stable key of the results file.
        title: for the table.
        value: the number; None where it could not be had, and ``note`` says why.
        unit: of the value.
        goal: smallest or largest value wished for, with its sign; empty where there is none.
        note: what has to be known to read the number, such as that it was scaled up from a part.
    """

    name: str
    title: str
    value: float | None
    unit: str
    goal: str = ""
    note: str = ""

    @property
    def met(self) -> bool | None:
        if not self.goal or self.value is None:
            return None
        bound = float(self.goal[1:])
        return self.value >= bound if self.goal[0] == "≥" else self.value <= bound


def console() -> Console:
    """Wide enough for the tables where the output is no terminal."""
    return Console(width=None if sys.stdout.isatty() else 140)


def report(title: str, name: str, figures: list[Figure], out: Console, *, keep: bool = True, device: str = "") -> None:
    """Prints the table and writes ``results/NAME.json``.

    Args:
        title: of the table.
        name: of the results file.
        figures: in the order of the table.
        out: where to print.
        keep: replace the results file; a quick run, whose figures are no truth, does not.
        device: name of the accelerator, where one was measured.
    """
    path = RESULTS / f"{name}.json"
    former = _former(path)
    noted = any(figure.note for figure in figures)
    table = Table(title=title)
    for column in ("Figure", "Now", "Last time", "Unit", "Goal", *(["Note"] if noted else [])):
        table.add_column(column, justify="left" if column in ("Figure", "Unit", "Note") else "right")
    for figure in figures:
        mark = {True: " [green]met[/]", False: " [red]missed[/]", None: ""}[figure.met]
        row = [figure.title, _short(figure.value), _short(former.get(figure.name)), figure.unit, figure.goal + mark]
        table.add_row(*row, *([figure.note] if noted else []))
    out.print(table)
    if not keep:
        out.print("A quick run: shortened, and not written to the results.")
        return
    machine = examine_machine()
    content = {
        "processor": machine.processor,
        "cores": machine.cores,
        **({"device": device} if device else {}),
        "torch": torch.__version__,
        "load_average": [round(load, 2) for load in os.getloadavg()] if hasattr(os, "getloadavg") else None,
        "figures": [{**asdict(figure), "met": figure.met} for figure in figures],
    }
    RESULTS.mkdir(exist_ok=True)
    path.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    out.print(f"Written to {path}")


def _former(path: Path) -> dict[str, float | None]:
    try:
        return {f["name"]: f["value"] for f in json.loads(path.read_text(encoding="utf-8"))["figures"]}
    except (OSError, ValueError):
        return {}


def _short(value: float | None) -> str:
    return "–" if value is None else f"{value:.4g}"
