"""What lies in a folder: DICOM slices, volume files and everything else."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from HemoCAMLib.ct.dicom_header import DamagedDicomError, SliceHeader
from HemoCAMLib.ct.dicom_parse import looks_like_dicom, read_slice_headers
from HemoCAMLib.errors import InputRefused

#: More files than any examination has: the path is probably that of a whole disk.
_MAX_FILES = 50_000

THREADS = min(8, os.cpu_count() or 1)


@dataclass
class FolderContents:
    """What lies in a folder and below it.

    Attributes:
        headers: every slice of every DICOM image.
        damaged: folders of files that are DICOM but cannot be parsed, one entry a file.
        volumes: NIfTI and NRRD files.
        ignored: number of other files.
    """

    headers: list[SliceHeader] = field(default_factory=list)
    damaged: list[Path] = field(default_factory=list)
    volumes: list[Path] = field(default_factory=list)
    ignored: int = 0


def list_files(folder: Path) -> list[Path]:
    """Regular files in a folder and its sub-folders, sorted; hidden ones and links to folders are left out.

    Raises:
        InputRefused: ``CT_TOO_MANY_FILES``.
    """
    found: list[Path] = []
    for parent, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith(".") and name != "__MACOSX")
        for name in sorted(names):
            path = Path(parent, name)
            if not name.startswith(".") and is_regular(path):
                found.append(path)
        if len(found) > _MAX_FILES:
            raise InputRefused(
                "CT_TOO_MANY_FILES",
                f"The folder holds more than {_MAX_FILES} files, so it is not the folder of one scan.",
                "Choose the folder that holds the head CT.",
            )
    return found


def is_regular(path: Path) -> bool:
    """A file that can be read to its end: a pipe or a device would make the reader wait for ever."""
    try:
        return stat.S_ISREG(path.stat().st_mode)
    except (OSError, ValueError):
        return False


def read_folder(files: Iterable[Path], volume_suffixes: tuple[str, ...]) -> FolderContents:
    """Headers of every DICOM file, in parallel; every file is opened once."""
    contents = FolderContents()
    with ThreadPoolExecutor(THREADS) as pool:
        for path, found in pool.map(_read_one, files):
            if found is None:
                if path.name.lower().endswith(volume_suffixes):
                    contents.volumes.append(path)
                else:
                    contents.ignored += 1
            elif isinstance(found, DamagedDicomError):
                contents.damaged.append(path.parent)
            else:
                contents.headers.extend(found)
                contents.ignored += not found and path.name.upper() != "DICOMDIR"
    return contents


def _read_one(path: Path) -> tuple[Path, list[SliceHeader] | DamagedDicomError | None]:
    try:
        if not looks_like_dicom(path):
            named_dicom = path.suffix.lower() in (".dcm", ".dicom", ".ima")
            return path, DamagedDicomError("named like DICOM but is not") if named_dicom else None
        return path, read_slice_headers(path)
    except DamagedDicomError as error:
        return path, error
    except OSError as error:
        return path, DamagedDicomError(str(error.strerror))
