"""Damaged bundles: every one is refused with a code of its own, or is as good as the whole one."""

from __future__ import annotations

import json
import random
import shutil
import zipfile
from pathlib import Path
from typing import Any

import pytest

from HemoCAMLib.errors import ModelRefused
from HemoCAMLib.model import ModelBundle, write_bundle
from HemoCAMLib.model.bundle_source import METADATA_MEMBER, WEIGHTS_MEMBER
from HemoCAMLib.model.registry import load_network


def outcome(path: Path, whole: ModelBundle) -> str:
    """The code of the refusal, or ``same`` where the bundle reads as the whole one does."""
    refused = None
    try:
        found = ModelBundle.open(path)
        weights = found.read_weights()
        load_network(found, fold=False)
    except ModelRefused as error:
        refused = error
    if refused is not None:
        assert refused.code.startswith("MODEL_")
        assert refused.message
        return refused.code
    # Texts and thresholds may have changed into other legal ones; the weights may not.
    assert found.metadata.weights_sha256 == whole.metadata.weights_sha256
    assert set(weights) == set(whole.read_weights())
    return "same"


def flipped(data: bytes, rng: random.Random) -> bytes:
    damaged = bytearray(data)
    for _ in range(rng.randint(1, 8)):
        damaged[rng.randrange(len(damaged))] ^= 1 << rng.randrange(8)
    return bytes(damaged)


@pytest.mark.parametrize("seed", range(60))
def test_a_damaged_zip_is_refused(tiny_bundle: Path, tmp_path: Path, seed: int) -> None:
    rng = random.Random(seed)
    whole = ModelBundle.open(tiny_bundle)
    path = write_bundle(tmp_path / "model.zip", whole.metadata, whole.read_weights()).path
    data = path.read_bytes()
    # The description and the directory at the end are where damage is not caught by the checksum alone.
    directory = len(data) - 400
    damages = [
        lambda: flipped(data, rng),
        lambda: flipped(data[:3000], rng) + data[3000:],
        lambda: data[:directory] + flipped(data[directory:], rng),
        lambda: data[: rng.randrange(len(data))],
        lambda: data[rng.randrange(1, 4000) :],
        lambda: rng.randbytes(rng.randrange(5000)),
    ]
    path.write_bytes(damages[seed % len(damages)]())
    assert outcome(path, whole) is not None


@pytest.mark.parametrize("seed", range(40))
def test_a_damaged_folder_is_refused(tiny_bundle: Path, tmp_path: Path, seed: int) -> None:
    rng = random.Random(1000 + seed)
    whole = ModelBundle.open(tiny_bundle)
    folder = shutil.copytree(tiny_bundle, tmp_path / "model")
    member = folder / (METADATA_MEMBER if seed % 2 else WEIGHTS_MEMBER)
    data = member.read_bytes()
    member.write_bytes(flipped(data, rng) if seed % 4 < 2 else data[: rng.randrange(len(data))])
    result = outcome(folder, whole)
    if member.name == "model.safetensors":
        assert result == "MODEL_CHECKSUM"


def _paths(values: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    items = values.items() if isinstance(values, dict) else enumerate(values) if isinstance(values, list) else []
    return (
        [path, *(below for key, item in items for below in _paths(item, (*path, key)))]
        if path
        else [below for key, item in items for below in _paths(item, (key,))]
    )


@pytest.mark.parametrize("value", [None, -1, 0, 1e300, "", "\n", "x" * 50_000, [], {}, [[]], True, 2**70])
def test_a_value_of_any_kind_anywhere_in_the_description_is_refused_or_legal(
    tiny_bundle: Path, tmp_path: Path, value: Any
) -> None:
    whole = ModelBundle.open(tiny_bundle)
    folder = shutil.copytree(tiny_bundle, tmp_path / "model")
    text = (folder / METADATA_MEMBER).read_text()
    refused = 0
    for path in _paths(json.loads(text)["hemocam"]):
        values = json.loads(text)
        target = values["hemocam"]
        for key in path[:-1]:
            target = target[key]
        target[path[-1]] = value
        (folder / METADATA_MEMBER).write_text(json.dumps(values))
        try:
            assert ModelBundle.open(folder).metadata.weights_sha256 == whole.metadata.weights_sha256
        except ModelRefused:
            refused += 1
    assert refused > 20


@pytest.mark.parametrize("flag", [0x1, 0x20, 0x40])
def test_an_encrypted_or_patched_zip_is_refused(tiny_bundle: Path, tmp_path: Path, flag: int) -> None:
    whole = ModelBundle.open(tiny_bundle)
    path = write_bundle(tmp_path / "model.zip", whole.metadata, whole.read_weights()).path
    data = bytearray(path.read_bytes())
    for signature, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        start = data.find(signature)
        data[start + offset] |= flag
    path.write_bytes(bytes(data))
    assert outcome(path, whole) == "MODEL_UNREADABLE"


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_zip_packed_in_an_unusual_way_is_refused(tiny_bundle: Path, tmp_path: Path, method: int) -> None:
    path = tmp_path / "odd.zip"
    with zipfile.ZipFile(path, "w", method) as archive:
        for member in (METADATA_MEMBER, WEIGHTS_MEMBER):
            archive.write(tiny_bundle / member, member)
    assert outcome(path, ModelBundle.open(tiny_bundle)) == "MODEL_UNREADABLE"
