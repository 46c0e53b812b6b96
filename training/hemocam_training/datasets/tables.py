"""CSV files with labels."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from hemocam_training.errors import DataRefused

_YES = frozenset({"1", "1.0", "true", "yes", "y", "t"})
_NO = frozenset({"0", "0.0", "false", "no", "n", "f"})


def read_table(path: Path, columns: Iterable[str]) -> pd.DataFrame:
    """A CSV file as text, a byte-order mark and spaces around names and cells taken off.

    Raises:
        DataRefused: ``DATA_TABLE``: the file is not there, is not a table, or lacks a column.
    """
    try:
        table = pd.read_csv(path, dtype=str, encoding="utf-8-sig", keep_default_na=False, skipinitialspace=True)
    except FileNotFoundError as error:
        raise DataRefused(
            "DATA_TABLE", f"The table {path.name} is not there.", "Copy it beside the images, as it was published."
        ) from error
    except (OSError, ValueError) as error:
        raise DataRefused(
            "DATA_TABLE",
            f"The table {path.name} cannot be read.",
            "Copy it again, as CSV in UTF-8.",
            type(error).__name__,
        ) from error
    table.columns = [str(name).strip() for name in table.columns]
    missing = [name for name in columns if name not in table.columns]
    if missing:
        raise DataRefused(
            "DATA_TABLE",
            f"The table {path.name} has no column {', '.join(missing)}.",
            f"It has: {', '.join(table.columns)}.",
        )
    return table.apply(lambda column: column.str.strip())


def yes_or_no(cell: str) -> bool | None:
    """A cell of a label column; None where it is empty or neither.

    >>> [yes_or_no(cell) for cell in ("1", "0.0", "TRUE", "", "?")]
    [True, False, True, None, None]
    """
    word = cell.lower()
    return True if word in _YES else False if word in _NO else None


def whole_number(cell: str) -> int | None:
    """A number such as a slice's, also where a spreadsheet made 7.0 of 7."""
    try:
        number = float(cell)
    except ValueError:
        return None
    return int(number) if number.is_integer() else None
