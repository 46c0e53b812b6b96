"""JSON as strangers send it: everything that Python's reader lets through and that would surprise later is refused.

Host side.
"""

from __future__ import annotations

import json
import math
from typing import Any, NoReturn

MAXIMUM_DEPTH = 24


def parse_json(data: bytes) -> Any:
    """The value of a JSON text.

    Raises:
        ValueError: not UTF-8 or not JSON, a name twice in one table, NaN or an infinite number, text that is not
            valid Unicode, nesting deeper than 24.

    >>> parse_json(b'{"r": 3, "r": 4}')
    Traceback (most recent call last):
        ...
    ValueError: the name 'r' stands twice
    """
    try:
        value = json.loads(data.decode("utf-8"), parse_constant=_no_constant, object_pairs_hook=_table)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    _check(value, 0)
    return value


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a number")


def _table(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    table: dict[str, Any] = {}
    for name, value in pairs:
        if name in table:
            raise ValueError(f"the name {name[:80]!r} stands twice")
        table[name] = value
    return table


def _check(value: Any, depth: int) -> None:
    if depth > MAXIMUM_DEPTH:
        raise ValueError("nested too deeply")
    if isinstance(value, str):
        # A lone surrogate passes the reader and fails at the first print.
        value.encode("utf-8")
    elif isinstance(value, float) and not math.isfinite(value):
        raise ValueError("a number is too large")
    elif isinstance(value, list):
        for item in value:
            _check(item, depth + 1)
    elif isinstance(value, dict):
        for name, item in value.items():
            _check(name, depth + 1)
            _check(item, depth + 1)
