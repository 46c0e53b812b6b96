"""Files of a bundle, from a folder or a zip, that cannot reach outside it or swell beyond reason. Host side."""

from __future__ import annotations

import stat
import zipfile
import zlib
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from HemoCAMLib.errors import ModelRefused

METADATA_MEMBER = "configs/metadata.json"
WEIGHTS_MEMBER = "models/model.safetensors"
#: The model card, where MONAI bundles have theirs.
CARD_MEMBER = "docs/README.md"

#: Most bytes that each file may have once unpacked.
LIMITS_BYTES = {METADATA_MEMBER: 2**20, WEIGHTS_MEMBER: 2 * 2**30, CARD_MEMBER: 2**18}

MAXIMUM_MEMBERS = 1000

#: Trained weights hardly compress; a file that shrinks more than this was made to fill the memory.
MAXIMUM_COMPRESSION = 50

_ZIP_ERRORS = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, ValueError, OverflowError)


class BundleSource(ABC):
    """Reads the files of a bundle by their name inside it."""

    @abstractmethod
    def read(self, member: str) -> bytes:
        """The content of a file.

        Raises:
            ModelRefused: ``MODEL_NOT_FOUND``, ``MODEL_PATH_ESCAPE``, ``MODEL_TOO_LARGE``, ``MODEL_UNREADABLE``.
        """

    @abstractmethod
    def has(self, member: str) -> bool:
        """True if the bundle holds that file."""


def open_source(path: Path) -> BundleSource:
    """The bundle at that path, a folder or a zip.

    Raises:
        ModelRefused: ``MODEL_NOT_FOUND``, ``MODEL_UNREADABLE``, ``MODEL_PATH_ESCAPE``.
    """
    try:
        if path.is_dir():
            return FolderSource(path)
        mode = path.stat().st_mode
    except (OSError, ValueError) as error:
        raise _not_found(f"There is no model at the path {path.name[:80]!r}.") from error
    if not stat.S_ISREG(mode) or not _looks_like_zip(path):
        raise _unreadable("neither a folder nor a zip file")
    return ZipSource(path)


class FolderSource(BundleSource):
    """A bundle that lies unpacked.

    Args:
        root: the folder that holds ``configs`` and ``models``.
    """

    def __init__(self, root: Path) -> None:
        self._root = root.resolve()

    def has(self, member: str) -> bool:
        return (self._root / member).is_file()

    def read(self, member: str) -> bytes:
        path = self._root / member
        try:
            # A link may lead to another file of the same bundle, never out of it.
            if self._root not in path.resolve().parents:
                raise _escape(member)
            status = path.stat()
            if not stat.S_ISREG(status.st_mode):
                raise _unreadable(f"{member} is not a file")
            _check_size(member, status.st_size)
            return path.read_bytes()
        except FileNotFoundError as error:
            raise _not_found(f"The model lacks its file {member}.") from error
        except (OSError, RuntimeError, ValueError) as error:
            raise _unreadable(f"{member}: {type(error).__name__}") from error


class ZipSource(BundleSource):
    """A bundle in a zip, at its root or inside one folder as MONAI's own bundles are packed.

    Every member's name is checked, also those that are never read: a zip that tries to write elsewhere when
    somebody unpacks it is not trusted with anything.

    Args:
        path: the zip file.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        with _zip_errors(), zipfile.ZipFile(path) as archive:
            members = archive.infolist()
        if len(members) > MAXIMUM_MEMBERS:
            raise _too_large(f"{len(members)} members")
        for member in members:
            _check_member_name(member)
        names = [member.filename for member in members]
        if len(set(names)) != len(names):
            raise _unreadable("a member stands twice in the zip")
        self._members = {member.filename: member for member in members if not member.is_dir()}
        self._prefix = self._find_prefix()

    def has(self, member: str) -> bool:
        return self._prefix + member in self._members

    def read(self, member: str) -> bytes:
        entry = self._members.get(self._prefix + member)
        if entry is None:
            raise _not_found(f"The model lacks its file {member}.")
        _check_size(member, entry.file_size)
        if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise _unreadable(f"{member} is packed by method {entry.compress_type}")
        if entry.file_size > 2**20 and entry.file_size > MAXIMUM_COMPRESSION * entry.compress_size:
            raise _too_large(f"{member} is packed {entry.compress_size} to {entry.file_size} bytes")
        with _zip_errors(), zipfile.ZipFile(self._path) as archive, archive.open(entry) as file:
            # One byte more than promised would show that the directory lies about the size.
            data = file.read(entry.file_size + 1)
            if len(data) != entry.file_size:
                raise _unreadable(f"{member} has another size than the zip says")
            return data

    def _find_prefix(self) -> str:
        if METADATA_MEMBER in self._members:
            return ""
        depth = len(PurePosixPath(METADATA_MEMBER).parts) + 1
        nested = [name for name in self._members if name.endswith("/" + METADATA_MEMBER) and name.count("/") < depth]
        return nested[0][: -len(METADATA_MEMBER)] if len(nested) == 1 else ""


def _check_member_name(member: zipfile.ZipInfo) -> None:
    name = member.orig_filename
    parts = name.split("/")
    is_link = stat.S_ISLNK(member.external_attr >> 16)
    if is_link or name.startswith("/") or "\\" in name or ".." in parts or ":" in parts[0] or "\0" in name:
        raise _escape(name)


def _check_size(member: str, size: int) -> None:
    if size > LIMITS_BYTES.get(member, 0):
        raise _too_large(f"{member} has {size} bytes")


def _looks_like_zip(path: Path) -> bool:
    try:
        return zipfile.is_zipfile(path)
    except OSError:
        return False


@contextmanager
def _zip_errors() -> Iterator[None]:
    try:
        yield
    except (OSError, *_ZIP_ERRORS) as error:
        raise _unreadable(f"zip: {type(error).__name__}: {error}") from error


def _not_found(message: str) -> ModelRefused:
    return ModelRefused("MODEL_NOT_FOUND", message, "Check the path, or list the models that ship with HemoCAM.")


def _unreadable(detail: str) -> ModelRefused:
    return ModelRefused(
        "MODEL_UNREADABLE",
        "The model cannot be read: it must be a model bundle, as a folder or a zip file.",
        "Get the model again from where it came from.",
        detail,
    )


def _escape(name: str) -> ModelRefused:
    return ModelRefused(
        "MODEL_PATH_ESCAPE",
        "The model holds a file that points outside of it, so it is not safe to use.",
        "Do not use this file; get the model from a source that you trust.",
        f"member {name[:120]!r}",
    )


def _too_large(detail: str) -> ModelRefused:
    return ModelRefused(
        "MODEL_TOO_LARGE",
        "The model is larger than any model that HemoCAM can use.",
        "Do not use this file; get the model from a source that you trust.",
        detail,
    )
