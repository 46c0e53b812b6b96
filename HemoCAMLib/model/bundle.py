"""A model as it travels: a MONAI Bundle as folder or zip, of which nothing is ever executed. Host side.

::

    configs/metadata.json       what the model says about itself (HemoCAMLib.model.metadata)
    models/model.safetensors    its weights
    docs/README.md              the model card in Markdown, for people; optional

Scripts, configurations and pickled weights that a bundle may hold besides are never opened.
"""

from __future__ import annotations

import hashlib
import json
import os
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from HemoCAMLib.errors import ModelRefused, UsageError
from HemoCAMLib.model.bundle_source import CARD_MEMBER, METADATA_MEMBER, WEIGHTS_MEMBER, open_source
from HemoCAMLib.model.metadata import BundleMetadata
from HemoCAMLib.model.safetensors_file import read_header, read_tensors, write_tensors
from HemoCAMLib.model.strict_json import parse_json

_ZIP_TIME = (2020, 1, 1, 0, 0, 0)


@dataclass(frozen=True)
class ModelBundle:
    """A model on disk whose description was read and checked; its weights are read when asked for.

    Attributes:
        path: folder or zip.
        metadata: the checked description.
    """

    path: Path
    metadata: BundleMetadata

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> ModelBundle:
        """Reads and checks the description of the bundle at ``path``; the weights are not read yet.

        Raises:
            ModelRefused: ``MODEL_NOT_FOUND``, ``MODEL_UNREADABLE``, ``MODEL_PATH_ESCAPE``, ``MODEL_TOO_LARGE``,
                ``MODEL_METADATA_JSON``, and those of :meth:`BundleMetadata.from_dict`.
        """
        location = Path(path)
        source = open_source(location)
        try:
            values = parse_json(source.read(METADATA_MEMBER))
        except ValueError as error:
            raise ModelRefused(
                "MODEL_METADATA_JSON",
                "The model's description cannot be read.",
                "Get the model again from where it came from.",
                f"{METADATA_MEMBER}: {error}",
            ) from error
        metadata = BundleMetadata.from_dict(values)
        if not source.has(WEIGHTS_MEMBER):
            source.read(WEIGHTS_MEMBER)
        return cls(location, metadata)

    def verify(self) -> None:
        """Reads the weights file and checks its checksum and structure.

        Raises:
            ModelRefused: ``MODEL_CHECKSUM``, ``MODEL_WEIGHTS_DAMAGED``, and those of :meth:`open`.
        """
        read_header(self._weights_bytes())

    def read_weights(self) -> dict[str, NDArray[Any]]:
        """The weights by name as they are stored, from a file whose checksum was compared; read-only arrays.

        Raises:
            ModelRefused: as :meth:`verify`.
        """
        return read_tensors(self._weights_bytes())

    def read_card(self) -> str:
        """The model card in Markdown; empty where the bundle has none. Control characters are taken out.

        Raises:
            ModelRefused: ``MODEL_UNREADABLE``, ``MODEL_TOO_LARGE``, ``MODEL_PATH_ESCAPE``.
        """
        source = open_source(self.path)
        if not source.has(CARD_MEMBER):
            return ""
        text = source.read(CARD_MEMBER).decode("utf-8", errors="replace").replace("\r\n", "\n")
        return "".join(character for character in text if character.isprintable() or character in "\n\t")

    def described_by(self, metadata: BundleMetadata) -> ModelBundle:
        """The same bundle on disk with another description; its weights and all other files stay as they are.

        Raises:
            UsageError: ``USAGE_MODEL_ZIP``, the bundle is a zip.
            ModelRefused: the description breaks its own rules.
        """
        if not self.path.is_dir():
            raise UsageError("USAGE_MODEL_ZIP", "A zipped model cannot be changed.", "Unpack it and give its folder.")
        text = _metadata_text(replace(metadata, weights_sha256=self.metadata.weights_sha256))
        _replace_file(self.path / METADATA_MEMBER, text)
        return ModelBundle.open(self.path)

    def _weights_bytes(self) -> bytes:
        data = open_source(self.path).read(WEIGHTS_MEMBER)
        found = hashlib.sha256(data).hexdigest()
        if found != self.metadata.weights_sha256:
            raise ModelRefused(
                "MODEL_CHECKSUM",
                "The model's weights are not the ones that its description was made for.",
                "Get the model again from where it came from.",
                f"sha256 {found}, expected {self.metadata.weights_sha256}",
            )
        return data


def write_bundle(
    path: str | os.PathLike[str],
    metadata: BundleMetadata,
    weights: Mapping[str, NDArray[Any]] | bytes,
    *,
    half: bool = False,
    card: str = "",
) -> ModelBundle:
    """Writes a bundle: a zip where the path ends in ``.zip``, else a folder. Equal input gives equal bytes.

    Args:
        path: where to write; a bundle that is there already is replaced.
        metadata: its checksum is filled in here.
        weights: by name (a network's ``state_dict`` as numpy arrays), or the bytes of a safetensors file.
        half: store matrices and kernels as float16, half the size; loading turns them back to float32. Vectors
            (norms, biases, running statistics) stay as they are, and so does a tensor too large for float16.
        card: the model card in Markdown; empty for none.

    Returns:
        The bundle, opened again from where it was written.

    Raises:
        ModelRefused: the metadata breaks its own rules, or a weight is not finite (``MODEL_NOT_FINITE``).
        ValueError: a weight's type cannot be stored.
    """
    data = weights if isinstance(weights, bytes) else write_tensors(_stored(weights, half))
    read_header(data)
    text = _metadata_text(replace(metadata, weights_sha256=hashlib.sha256(data).hexdigest()))
    location = Path(path)
    members = {**({CARD_MEMBER: card.encode()} if card else {}), WEIGHTS_MEMBER: data, METADATA_MEMBER: text}
    if location.suffix.lower() == ".zip":
        _write_zip(location, members)
    else:
        if not card:
            # A card of the bundle that was there would speak of another model.
            (location / CARD_MEMBER).unlink(missing_ok=True)
        for member, content in members.items():
            _replace_file(location / member, content)
    return ModelBundle.open(location)


def _metadata_text(metadata: BundleMetadata) -> bytes:
    text = json.dumps(metadata.to_dict(), indent=2, ensure_ascii=False, allow_nan=False).encode() + b"\n"
    BundleMetadata.from_dict(parse_json(text))
    return text


def _stored(weights: Mapping[str, NDArray[Any]], half: bool) -> dict[str, NDArray[Any]]:
    stored: dict[str, NDArray[Any]] = {}
    for name, value in weights.items():
        array = np.asarray(value)
        if array.dtype.kind == "f":
            if not np.isfinite(array).all():
                raise not_finite(name)
            if half and array.ndim >= 2 and np.abs(array).max(initial=0) <= np.finfo(np.float16).max:
                array = array.astype(np.float16)
        stored[name] = array
    return stored


def not_finite(name: str) -> ModelRefused:
    """The refusal of a model whose weights hold NaN or infinity."""
    return ModelRefused(
        "MODEL_NOT_FINITE",
        "The model's weights hold values that are not numbers.",
        "Use another model; this one was damaged or its training failed.",
        f"tensor {name[:120]!r}",
    )


def _write_zip(path: Path, members: Mapping[str, bytes]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(path.name + ".part")
    with zipfile.ZipFile(unfinished, "w") as archive:
        for member, content in sorted(members.items()):
            entry = zipfile.ZipInfo(member, _ZIP_TIME)
            entry.external_attr = 0o644 << 16
            archive.writestr(entry, content)
    unfinished.replace(path)


def _replace_file(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(path.name + ".part")
    unfinished.write_bytes(content)
    unfinished.replace(path)
