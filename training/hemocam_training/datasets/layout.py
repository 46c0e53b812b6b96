"""Finding a dataset's parts below its root, and saying in words what is not there."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import TypeVar

from hemocam_training.datasets.records import Finding
from hemocam_training.errors import DataRefused

Item = TypeVar("Item")
Result = TypeVar("Result")


def base_folder(root: Path, landmarks: Sequence[str], layout: str) -> Path:
    """The root, or the one folder in it, that holds one of the landmarks (archives unpack with a folder around).

    Raises:
        DataRefused: ``DATA_LAYOUT``.
    """
    if not root.is_dir():
        raise DataRefused("DATA_LAYOUT", "The dataset's folder was not found.", "Check the path for a typing error.")
    inner = sorted(path for path in root.iterdir() if path.is_dir() and not path.name.startswith("."))
    for folder in (root, *inner):
        if any((folder / landmark).exists() for landmark in landmarks):
            return folder
    raise DataRefused(
        "DATA_LAYOUT",
        f"None of {', '.join(landmarks)} is in the folder or in a folder directly below it.",
        f"Expected: {layout}",
    )


def relative(path: Path, root: Path) -> str:
    """A path as it stands in records and indexes."""
    return path.relative_to(root).as_posix()


def inside(root: Path, name: str) -> Path | None:
    """The file that a table names, or None where the name leads out of the root."""
    path = (root / name).resolve()
    return root / name if path.is_relative_to(root.resolve()) else None


def files_in(folder: Path, suffixes: tuple[str, ...]) -> list[Path]:
    """Files directly in a folder, by name; hidden ones are left out. Empty where there is no such folder."""
    if not folder.is_dir():
        return []
    with os.scandir(folder) as entries:
        names = [entry.name for entry in entries if not entry.name.startswith(".") and entry.is_file()]
    return [folder / name for name in sorted(names) if name.lower().endswith(suffixes)]


def stem_of(path: Path) -> str:
    """File name without .nii, .nii.gz, .npy or another single suffix."""
    name = path.name[:-3] if path.name.lower().endswith(".gz") else path.name
    return Path(name).stem


def summed_up(code: str, sentence: str, names: Iterable[str]) -> list[Finding]:
    """One finding about many files: their number and the first of them; none where there are none.

    Args:
        sentence: with ``{count}`` and ``{first}``.
    """
    ordered = sorted(names)
    if not ordered:
        return []
    return [Finding(code, sentence.format(count=len(ordered), first=ordered[0]), ordered[0])]


def pseudonym(identities: str, name: str) -> str:
    """A stable stand-in for an identifier that may name a person: 12 hexadecimal digits, the same every time."""
    return "P" + hashlib.sha256(f"{identities}/{name.strip()}".encode()).hexdigest()[:12]


def in_processes(
    function: Callable[[Item], Result], items: Sequence[Item], processes: int, chunk: int = 1
) -> Iterator[Result]:
    """The results in order, computed in several processes where more than one is asked for."""
    if processes <= 1 or len(items) <= chunk:
        yield from map(function, items)
        return
    # Forked copies of a process with threads may hang.
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        yield from pool.map(function, items, chunksize=chunk)
