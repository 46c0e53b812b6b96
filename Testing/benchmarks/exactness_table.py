"""The exactness table: methods by networks, the largest difference over layers, slices and classes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from gradcam_reference import REFERENCES


def exactness_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Markdown.

    Args:
        rows: of ``cam_exactness.json``.
    """
    columns = list(dict.fromkeys(row["column"] for row in rows))
    head = ["method", *(f"{column}, {bits}" for column in columns for bits in ("float32", "float64"))]
    lines = [[*head, "made equal", "as it comes"]]
    lines.append(["---"] + ["---:"] * (len(head) - 1) + ["---", "---:"])
    for method in (name for name in REFERENCES if any(row["method"] == name for row in rows)):
        here = [row for row in rows if row["method"] == method]
        cells = [
            _number([row["difference"] for row in here if (row["column"], row["precision"]) == (column, bits)])
            for column in columns
            for bits in ("float32", "float64")
        ]
        as_it_comes = [row["as_it_comes"] for row in here if row["as_it_comes"] is not None]
        plain = f"{max(as_it_comes):.1e}" if as_it_comes else "–" if REFERENCES[method].made_equal else "the same"
        lines.append([f"`{method}`", *cells, REFERENCES[method].made_equal or "nothing", plain])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _number(values: Sequence[float]) -> str:
    return f"{max(values):.0e}" if values else "–"
