"""Tables in a page that is written by hand: what stands between two marks is replaced, the rest is left alone."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hemocam_training.experiments.cam_benchmark.compare import Row
from hemocam_training.experiments.cam_benchmark.tables import (
    agreement_table,
    best_layer_table,
    layer_table,
    read_csv,
    rule_table,
    subset_table,
    subtype_table,
)


def report_parts(rows: Sequence[Row], settings: Mapping[str, Any]) -> dict[str, str]:
    """The tables as Markdown by name, and one sentence of what they were made from."""
    return {
        "data": data_sentence(settings),
        "layers": layer_table(rows),
        "best": best_layer_table(rows),
        "subtypes": subtype_table(rows),
        "rules": rule_table(rows),
        "subset": subset_table(rows),
    }


def data_sentence(settings: Mapping[str, Any]) -> str:
    """What was compared on what."""
    model, options = settings["model"], settings["options"]
    architecture = model["architecture"]
    rows, columns = model["input_size"]
    return (
        f"{architecture['name']} on {architecture['encoder']}, {rows}×{columns}: {settings['slices']} slices with "
        f"hemorrhage of {settings['scans']} held-out phantoms; thresholds chosen on {options['tuning_scans']} others. "
        f"In brackets: 95 % interval of a bootstrap over phantoms ({options['comparison']['draws']} draws). † scored "
        f"on every {_ordinal(options['comparison']['slow_step'])} slice. ‡ takes every layer at once."
    )


def fill_page(page: Path, name: str, folder: Path) -> None:
    """Replace every part ``<!-- begin NAME PART -->`` … ``<!-- end -->`` of a page by the tables of a folder.

    Args:
        page: Markdown.
        name: of the model in the marks.
        folder: with ``scores.csv`` and ``settings.json``, and ``agreement.json`` for the part ``agreement``.

    Raises:
        ValueError: the page has no mark of that name, or a mark for which there is no part.
    """
    parts = report_parts(
        read_csv(folder / "scores.csv"), json.loads((folder / "settings.json").read_text(encoding="utf-8"))
    )
    if (folder / "agreement.json").exists():
        parts["agreement"] = agreement_table(json.loads((folder / "agreement.json").read_text(encoding="utf-8")))
    pattern = re.compile(rf"(<!-- begin {re.escape(name)} (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)
    text = page.read_text(encoding="utf-8")
    wanted = [match.group(2) for match in pattern.finditer(text)]
    if not wanted or set(wanted) - set(parts):
        raise ValueError(f"{page} has marks {wanted} for {name}; parts are {', '.join(parts)}")
    page.write_text(
        pattern.sub(lambda match: f"{match.group(1)}{parts[match.group(2)]}\n{match.group(3)}", text), encoding="utf-8"
    )


def _ordinal(number: int) -> str:
    return {2: "second", 3: "third", 4: "fourth", 5: "fifth"}.get(number, f"{number}th")
