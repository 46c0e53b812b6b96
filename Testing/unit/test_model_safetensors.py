"""Our reader and writer of safetensors against the format's own library, and against damage."""

from __future__ import annotations

import json
import struct
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import load, save
from safetensors.torch import save as save_torch

from HemoCAMLib.errors import ModelRefused
from HemoCAMLib.model.safetensors_file import read_header, read_tensors, write_tensors


def tensors() -> dict[str, np.ndarray[Any, Any]]:
    rng = np.random.default_rng(0)
    return {
        "kernel": rng.normal(size=(4, 3, 3, 3)).astype(np.float32),
        "half": rng.normal(size=(5, 7)).astype(np.float16),
        "wide": rng.normal(size=3),
        "count": np.array(7, dtype=np.int64),
        "flags": np.array([True, False, True]),
        "empty": np.zeros((0, 4), dtype=np.float32),
        "größe": np.arange(6, dtype=np.uint8).reshape(2, 3),
    }


def file_with(header: object, body: bytes = b"") -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + body


def test_the_library_reads_what_we_write() -> None:
    for name, array in load(write_tensors(tensors())).items():
        np.testing.assert_array_equal(array, tensors()[name])
        assert array.dtype == tensors()[name].dtype


def test_we_read_what_the_library_writes() -> None:
    found = read_tensors(save(tensors(), metadata={"format": "pt"}))
    assert set(found) == set(tensors())
    for name, array in tensors().items():
        np.testing.assert_array_equal(found[name], array)
        assert found[name].dtype == array.dtype


def test_bfloat16_comes_as_float32() -> None:
    values = torch.randn(5, 3).to(torch.bfloat16)
    found = read_tensors(save_torch({"a": values}))["a"]
    np.testing.assert_array_equal(found, values.float().numpy())


def test_tensors_in_memory_order_other_than_c_are_stored_right() -> None:
    array = np.arange(12, dtype=np.float32).reshape(3, 4).T
    np.testing.assert_array_equal(read_tensors(write_tensors({"a": array}))["a"], array)


def test_the_same_tensors_give_the_same_bytes() -> None:
    turned = dict(reversed(list(tensors().items())))
    assert write_tensors(tensors()) == write_tensors(turned)


def test_a_type_that_the_format_lacks_is_not_written() -> None:
    with pytest.raises(ValueError, match="safetensors cannot hold"):
        write_tensors({"a": np.array([1 + 2j])})


FOUR = {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x00" * 7,
        struct.pack("<Q", 2**63) + b"{}",
        struct.pack("<Q", 50) + b"{}",
        file_with(b"not json"),
        file_with([]),
        file_with({}),
        file_with({"a": FOUR}),
        file_with({"a": FOUR}, b"\0" * 5),
        file_with({"a": {**FOUR, "data_offsets": [4, 8]}}, b"\0" * 8),
        file_with({"a": {**FOUR, "data_offsets": [4, 0]}}, b"\0" * 4),
        file_with({"a": {**FOUR, "data_offsets": [-4, 0]}}, b"\0" * 4),
        file_with({"a": {**FOUR, "data_offsets": [0, 4, 8]}}, b"\0" * 4),
        file_with({"a": {**FOUR, "shape": [2]}}, b"\0" * 4),
        file_with({"a": {**FOUR, "shape": [-1]}}, b"\0" * 4),
        file_with({"a": {**FOUR, "shape": [1.0]}}, b"\0" * 4),
        file_with({"a": {**FOUR, "shape": [2**40, 2**40]}}, b"\0" * 4),
        file_with({"a": {**FOUR, "shape": [1] * 9}}, b"\0" * 4),
        file_with({"a": {**FOUR, "dtype": "O"}}, b"\0" * 4),
        file_with({"a": {**FOUR, "dtype": ["F32"]}}, b"\0" * 4),
        file_with({"a": {**FOUR, "pickle": "x"}}, b"\0" * 4),
        file_with({"a": FOUR, "b": FOUR}, b"\0" * 4),
        file_with({"a": FOUR, "b": {**FOUR, "data_offsets": [2, 6]}}, b"\0" * 6),
        file_with({"a": 3}, b"\0" * 4),
    ],
)
def test_a_header_that_does_not_fit_its_file_is_refused(data: bytes) -> None:
    with pytest.raises(ModelRefused) as caught:
        read_header(data)
    assert caught.value.code == "MODEL_WEIGHTS_DAMAGED"


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_damage_is_refused_or_gives_arrays_of_the_promised_shapes(data: st.DataObject) -> None:
    damaged = bytearray(write_tensors(tensors()))
    for _ in range(data.draw(st.integers(1, 4))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    cut = bytes(damaged[: data.draw(st.integers(0, len(damaged)))]) if data.draw(st.booleans()) else bytes(damaged)
    try:
        entries, _ = read_header(cut)
        found = read_tensors(cut)
    except ModelRefused:
        return
    assert {name: array.shape for name, array in found.items()} == {name: e.shape for name, e in entries.items()}
