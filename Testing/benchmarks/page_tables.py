"""Fills the tables of ``docs`` that come from the results of benchmarks: exactness, and what maps cost.

    python Testing/benchmarks/page_tables.py [exactness] [cost]

What stands between ``<!-- begin NAME -->`` and ``<!-- end -->`` is replaced: ``exactness`` in ``docs/exactness.md`` by
``results/cam_exactness.json`` as a table, ``cost`` in ``docs/which-map.md`` by ``results/cam.json``.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).resolve().parents[1] / "fixtures"))

from exactness_table import exactness_table

ROOT = Path(__file__).resolve().parents[2]
RESULTS = Path(__file__).resolve().parent / "results"

#: The side that grad-cam's library is compared on: plainly, slice by slice and class by class.
SIDES = {"ours": "float32", "ours bf16": "bfloat16", "grad-cam": "grad-cam's library"}


def exactness(results: Mapping[str, Any]) -> str:
    """The exactness table and what it was made with."""
    versions = ", ".join(f"{name} {number}" for name, number in results["versions"].items())
    rows, columns = results["input"][-2:]
    return f"{exactness_table(results['rows'])}\n\nInput {rows}×{columns}, random weights and slices; {versions}."


def cost(results: Mapping[str, Any], network: str = "EfficientNetV2-S") -> str:
    """Milliseconds per slice for all classes, by method and layer, beside grad-cam's library."""
    values: dict[tuple[str, str], dict[str, float | None]] = {}
    scaled: set[tuple[str, str, str]] = set()
    for figure in results["figures"]:
        # NETWORK/LAYER/METHOD/SIDE/ms; the forward pass alone has no layer.
        parts = figure["name"].split("/")
        if parts[0] != network or parts[-1] != "ms" or parts[-2] not in SIDES:
            continue
        layer, method = ("", parts[1]) if len(parts) == 4 else (parts[1], parts[2])
        values.setdefault((layer, method), {})[parts[-2]] = figure["value"]
        if "scaled" in figure["note"]:
            scaled.add((layer, method, parts[-2]))
    sides = [side for side in SIDES if any(side in found for found in values.values())]
    forward = values.get(("", "forward"), {}).get("ours")
    lines = [["layer", "method", *(f"{SIDES[side]}, ms" for side in sides), "× forward pass", "library / ours"]]
    lines.append(["---", "---", *["---:"] * (len(sides) + 2)])
    for (layer, method), found in values.items():
        cells = [_milliseconds(found.get(side), approximate=(layer, method, side) in scaled) for side in sides]
        ours, theirs = found.get("ours"), found.get("grad-cam")
        cells.append(f"{ours / forward:.2f}" if ours and forward else "–")
        cells.append(f"{theirs / ours:.0f}" if ours and theirs else "–")
        lines.append([layer or "–", f"`{method}`" if layer else "forward pass alone", *cells])
    table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    machine = f"{results.get('device') or results['processor']}, {results['cores']} cores, torch {results['torch']}"
    return f"{table}\n\n{network}, 512×512, per slice for all five classes; {machine}. ≈ scaled up from a part."


#: Name of a table: its page, its results, and how it is made of them.
TABLES: dict[str, tuple[str, str, Callable[[Mapping[str, Any]], str]]] = {
    "exactness": ("exactness.md", "cam_exactness.json", exactness),
    "cost": ("which-map.md", "cam.json", cost),
}


def fill(name: str) -> None:
    """Replaces one of :data:`TABLES`.

    Raises:
        ValueError: the page has no mark for it.
    """
    page, results, make = TABLES[name]
    path = ROOT / "docs" / page
    table = make(json.loads((RESULTS / results).read_text(encoding="utf-8")))
    pattern = re.compile(rf"(<!-- begin {name} -->\n).*?(<!-- end -->)", re.DOTALL)
    text, count = pattern.subn(lambda match: f"{match[1]}{table}\n{match[2]}", path.read_text(encoding="utf-8"))
    if not count:
        raise ValueError(f"{path} has no mark <!-- begin {name} -->")
    path.write_text(text, encoding="utf-8")


def _milliseconds(value: float | None, *, approximate: bool) -> str:
    if value is None:
        return "–"
    return f"{'≈ ' if approximate else ''}{value:,.0f}" if value >= 10 else f"{value:.1f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tables", nargs="*", help=f"of {', '.join(TABLES)}; all of them where none is named")
    names = parser.parse_args().tables or list(TABLES)
    if set(names) - set(TABLES):
        parser.error(f"tables are {', '.join(TABLES)}")
    for name in names:
        fill(name)
        print(f"{name}: docs/{TABLES[name][0]}")


if __name__ == "__main__":
    main()
