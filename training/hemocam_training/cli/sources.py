"""Options that say which scans are meant: phantoms by seed, or a part of a prepared dataset."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from hemocam_training.datasets import ScanIndex
from hemocam_training.scan_sources import IndexSource, PhantomSource
from hemocam_training.splits import Split
from HemoCAMLib.errors import UsageError

PhantomSeeds = Annotated[
    str, typer.Option("--phantoms", metavar="FIRST:COUNT", help="Phantoms from this seed on, so many.")
]
Templates = Annotated[
    Path | None,
    typer.Option(help="Folder of head templates that phantoms are warped from.", show_default="heads from formulas"),
]
Index = Annotated[Path | None, typer.Option("--index", help="Index of a prepared dataset.", show_default=False)]
Root = Annotated[
    Path | None, typer.Option("--root", "-r", help="Folder of that dataset.", show_default="the folder of the index")
]
SplitFile = Annotated[Path | None, typer.Option("--split", help="Split that the index belongs to.", show_default=False)]
Parts = Annotated[list[str] | None, typer.Option("--part", help="Part of the split; may be repeated.")]


def phantom_range(text: str) -> tuple[int, int]:
    """First seed and number of ``FIRST:COUNT``.

    Raises:
        UsageError: ``USAGE_PHANTOMS``.

    >>> phantom_range("3000000:40")
    (3000000, 40)
    """
    first, colon, count = text.partition(":")
    if not colon or not first.isdigit() or not count.isdigit() or int(count) < 1:
        raise UsageError("USAGE_PHANTOMS", f"“{text}” does not name phantoms.", "Write FIRST:COUNT, as 3000000:40.")
    return int(first), int(count)


def dataset_part(index: Path, root: Path | None, split: Path | None, parts: Sequence[str]) -> IndexSource:
    """The scans of an index, or of parts of its split.

    Raises:
        UsageError: ``USAGE_SPLIT_PART``: a split without a part, or a part without a split.
        DataRefused: what reading them refuses.
    """
    if (split is None) != (not parts):
        raise UsageError("USAGE_SPLIT_PART", "--split and --part go together.", "Give both or neither.")
    rows = ScanIndex.read(index)
    if split is not None:
        rows = Split.read(split).rows(rows, *parts)
    if len(rows) == 0:
        raise UsageError("USAGE_SPLIT_PART", "No scan of the index is in this part.", "Name another part.")
    return IndexSource(rows, root or index.parent)


@dataclass(frozen=True)
class SourceOptions:
    """What the options say of the scans that are meant; see :func:`one_source`."""

    phantoms: str
    index: Path | None
    root: Path | None
    split: Path | None
    parts: tuple[str, ...]
    templates: Path | None = None


def one_source(options: SourceOptions, *, noise: bool) -> PhantomSource | IndexSource:
    """The one source that the options name.

    Args:
        options: of the command line.
        noise: whether phantoms get scanner noise.

    Raises:
        UsageError: ``USAGE_SOURCE``: none or both are named.
    """
    if bool(options.phantoms) == (options.index is not None):
        raise UsageError("USAGE_SOURCE", "Which scans are meant is not clear.", "Give --phantoms or --index.")
    if options.index is not None:
        return dataset_part(options.index, options.root, options.split, options.parts)
    if options.templates is not None and not options.templates.is_dir():
        raise UsageError("USAGE_TEMPLATES", "The folder of head templates is not there.", "Check its path.")
    return PhantomSource(*phantom_range(options.phantoms), noise=noise, templates=options.templates)
