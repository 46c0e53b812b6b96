"""Bundles on disk: written, found, loaded into networks, and refused where they are wrong or unsafe."""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import shutil
import stat
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from HemoCAMLib.errors import ModelRefused
from HemoCAMLib.model import BundleMetadata, ModelBundle, find_model, shipped_models, write_bundle
from HemoCAMLib.model.bundle_source import METADATA_MEMBER, WEIGHTS_MEMBER
from HemoCAMLib.model.registry import build_network, load_network


@pytest.fixture
def bundle(tiny_bundle: Path, tmp_path: Path) -> ModelBundle:
    """A bundle that the test may spoil."""
    shutil.copytree(tiny_bundle, tmp_path / "bundle")
    return ModelBundle.open(tmp_path / "bundle")


def zipped(bundle: ModelBundle, path: Path, prefix: str = "") -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for member in (METADATA_MEMBER, WEIGHTS_MEMBER):
            archive.write(bundle.path / member, prefix + member)
    return path


def rewritten(bundle: ModelBundle, path: Path, weights: dict[str, Any], **fields: Any) -> ModelBundle:
    return write_bundle(path, replace(bundle.metadata, **fields), weights)


def refusal(path: Path | str) -> str:
    with pytest.raises(ModelRefused) as caught:
        load_network(ModelBundle.open(path))
    return caught.value.code


def test_a_bundle_is_a_description_and_its_weights(bundle: ModelBundle) -> None:
    files = sorted(str(path.relative_to(bundle.path)) for path in bundle.path.rglob("*") if path.is_file())
    assert files == [METADATA_MEMBER, WEIGHTS_MEMBER]
    data = (bundle.path / WEIGHTS_MEMBER).read_bytes()
    assert bundle.metadata.weights_sha256 == hashlib.sha256(data).hexdigest()
    bundle.verify()


@pytest.mark.parametrize("name", ["model", "model.zip"])
def test_what_was_written_is_read_back(bundle: ModelBundle, tmp_path: Path, name: str) -> None:
    weights = bundle.read_weights()
    again = write_bundle(tmp_path / name, bundle.metadata, weights)
    assert again.metadata == bundle.metadata
    found = again.read_weights()
    assert set(found) == set(weights)
    for key, array in weights.items():
        np.testing.assert_array_equal(found[key], array)
    assert not list(tmp_path.rglob("*.part"))


def test_equal_bundles_are_equal_files(bundle: ModelBundle, tmp_path: Path) -> None:
    for name in ("a.zip", "b.zip"):
        write_bundle(tmp_path / name, bundle.metadata, bundle.read_weights())
    assert (tmp_path / "a.zip").read_bytes() == (tmp_path / "b.zip").read_bytes()


def test_half_precision_halves_the_file_and_keeps_vectors_exact(bundle: ModelBundle, tmp_path: Path) -> None:
    weights = bundle.read_weights()
    half = write_bundle(tmp_path / "half", bundle.metadata, weights, half=True)
    sizes = [(item.path / WEIGHTS_MEMBER).stat().st_size for item in (half, bundle)]
    assert sizes[0] < 0.6 * sizes[1]
    for key, array in half.read_weights().items():
        exact = weights[key].astype(np.float16) if weights[key].ndim >= 2 else weights[key]
        np.testing.assert_array_equal(array, exact)
    network = load_network(half)
    assert {parameter.dtype for parameter in network.parameters()} == {torch.float32}
    stacks = torch.rand(1, 3, 64, 64)
    torch.testing.assert_close(network(stacks), load_network(bundle)(stacks), rtol=1e-2, atol=1e-2)


def test_a_number_too_large_for_half_precision_stays_single(bundle: ModelBundle, tmp_path: Path) -> None:
    weights = {key: np.array(array) for key, array in bundle.read_weights().items()}
    weights["score.0.weight"][0, 0] = 1e6
    half = write_bundle(tmp_path / "half", bundle.metadata, weights, half=True)
    assert half.read_weights()["score.0.weight"][0, 0] == 1e6


def test_the_loaded_network_computes_what_the_written_one_did(bundle: ModelBundle, tmp_path: Path) -> None:
    arguments = {"encoder": "test_resnet", "decoder_channels": [8, 8, 8, 8]}
    network = build_network("lse-unet", arguments, 6)
    for _ in range(3):
        network(torch.rand(4, 3, 64, 64))
    network.eval()
    weights = {name: tensor.numpy() for name, tensor in network.state_dict().items()}
    written = rewritten(bundle, tmp_path / "again.zip", weights, arguments=arguments)
    stacks = torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        expected = network(stacks)
    for fold, tolerance in ((False, 0.0), (True, 1e-5)):
        loaded = load_network(written, fold=fold)
        assert not loaded.training
        assert not any(parameter.requires_grad for parameter in loaded.parameters())
        torch.testing.assert_close(loaded(stacks), expected, rtol=tolerance, atol=max(tolerance, 1e-6))


def test_a_timm_classifier_travels_as_a_bundle(bundle: ModelBundle, tmp_path: Path) -> None:
    network = build_network("timm-classifier", {"encoder": "test_efficientnet"}, 6).eval()
    written = rewritten(
        bundle,
        tmp_path / "classifier",
        {name: tensor.numpy() for name, tensor in network.state_dict().items()},
        architecture="timm-classifier",
        arguments={"encoder": "test_efficientnet"},
        map_layer=network.map_layer,
    )
    stacks = torch.rand(2, 3, 64, 64)
    torch.testing.assert_close(load_network(written)(stacks), network(stacks), rtol=1e-4, atol=1e-5)


def test_a_zip_may_hold_its_bundle_in_one_folder(bundle: ModelBundle, tmp_path: Path) -> None:
    found = ModelBundle.open(zipped(bundle, tmp_path / "nested.zip", "demo/"))
    found.verify()
    assert found.metadata == bundle.metadata


def test_paths_that_are_long_or_not_ascii_work(bundle: ModelBundle, tmp_path: Path) -> None:
    folder = tmp_path / "Modell für Köpfe 脳" / ("x" * 100) / ("y" * 100)
    write_bundle(folder, bundle.metadata, bundle.read_weights()).verify()


def test_scripts_and_pickles_beside_the_weights_are_never_opened(bundle: ModelBundle, tmp_path: Path) -> None:
    trap = tmp_path / "sprung"

    class Trap:
        def __reduce__(self) -> tuple[Any, ...]:
            return (Path.touch, (trap,))

    (bundle.path / "models" / "model.pt").write_bytes(pickle.dumps(Trap()))
    (bundle.path / "scripts").mkdir()
    (bundle.path / "scripts" / "__init__.py").write_text(f"open({str(trap)!r}, 'w')")
    (bundle.path / "configs" / "inference.json").write_text('{"network_def": "$__import__(\'os\').abort()"}')
    load_network(ModelBundle.open(bundle.path))
    assert not trap.exists()


def test_weights_that_are_a_pickle_are_refused(bundle: ModelBundle) -> None:
    data = pickle.dumps({"a": 1})
    (bundle.path / WEIGHTS_MEMBER).write_bytes(data)
    values = json.loads((bundle.path / METADATA_MEMBER).read_text())
    values["hemocam"]["weights_sha256"] = hashlib.sha256(data).hexdigest()
    (bundle.path / METADATA_MEMBER).write_text(json.dumps(values))
    assert refusal(bundle.path) == "MODEL_WEIGHTS_DAMAGED"


def test_other_weights_than_the_described_ones_are_refused(bundle: ModelBundle, tmp_path: Path) -> None:
    weights = {key: np.array(array) for key, array in bundle.read_weights().items()}
    weights["score.0.bias"] = weights["score.0.bias"] + 1
    other = write_bundle(tmp_path / "other", bundle.metadata, weights)
    shutil.copy(other.path / WEIGHTS_MEMBER, bundle.path / WEIGHTS_MEMBER)
    assert refusal(bundle.path) == "MODEL_CHECKSUM"


@pytest.mark.parametrize(
    ("spoil", "code"),
    [
        (lambda weights: weights.pop("score.0.bias"), "MODEL_MISSING_KEY"),
        (lambda weights: weights.update(extra=np.zeros(1, np.float32)), "MODEL_UNEXPECTED_KEY"),
        (lambda weights: weights.update({"score.0.bias": np.zeros(7, np.float32)}), "MODEL_SHAPE"),
        (lambda weights: weights.update({"score.0.bias": np.zeros(6, np.int64)}), "MODEL_SHAPE"),
    ],
)
def test_weights_that_do_not_fit_the_network_are_refused(
    bundle: ModelBundle, tmp_path: Path, spoil: Any, code: str
) -> None:
    weights = bundle.read_weights()
    spoil(weights)
    written = write_bundle(tmp_path / "spoilt", bundle.metadata, weights)
    with pytest.raises(ModelRefused) as caught:
        load_network(written)
    assert caught.value.code == code


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_weights_that_are_not_numbers_are_neither_written_nor_loaded(
    bundle: ModelBundle, tmp_path: Path, value: float
) -> None:
    weights = bundle.read_weights()
    weights["score.0.bias"] = np.full(6, value, np.float32)
    with pytest.raises(ModelRefused) as caught:
        write_bundle(tmp_path / "spoilt", bundle.metadata, weights)
    assert caught.value.code == "MODEL_NOT_FINITE"
    from safetensors.numpy import save

    with pytest.raises(ModelRefused) as caught:
        load_network(write_bundle(tmp_path / "spoilt", bundle.metadata, save(weights)))
    assert caught.value.code == "MODEL_NOT_FINITE"


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"map_layer": "merge.1"}, "MODEL_UNKNOWN_MAP_LAYER"),
        ({"input_size": (100, 100)}, "MODEL_METADATA_VALUE"),
        ({"arguments": {"encoder": "no_such_network"}}, "MODEL_UNKNOWN_ARCHITECTURE"),
        ({"arguments": {"encoder": "test_resnet", "decoder_channels": [8, 8, 12, 24]}}, "MODEL_SHAPE"),
    ],
)
def test_a_description_that_does_not_fit_its_network_is_refused(
    bundle: ModelBundle, tmp_path: Path, fields: dict[str, Any], code: str
) -> None:
    written = rewritten(bundle, tmp_path / "odd", bundle.read_weights(), **fields)
    with pytest.raises(ModelRefused) as caught:
        load_network(written)
    assert caught.value.code == code


def test_a_description_that_breaks_its_own_rules_is_not_written(bundle: ModelBundle, tmp_path: Path) -> None:
    with pytest.raises(ModelRefused):
        rewritten(bundle, tmp_path / "odd", bundle.read_weights(), mask_scale="relative")
    assert not (tmp_path / "odd").exists()


@pytest.mark.parametrize("name", ["../evil.py", "/etc/evil", "a/../../evil", "..\\evil", "C:/evil", "configs/../../x"])
def test_a_zip_with_a_member_that_points_outside_is_refused(bundle: ModelBundle, tmp_path: Path, name: str) -> None:
    path = zipped(bundle, tmp_path / "evil.zip")
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(zipfile.ZipInfo(name), b"x")
    assert refusal(path) == "MODEL_PATH_ESCAPE"


def test_a_zip_with_a_link_is_refused(bundle: ModelBundle, tmp_path: Path) -> None:
    path = zipped(bundle, tmp_path / "link.zip")
    link = zipfile.ZipInfo("docs/link")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(link, "/etc/passwd")
    assert refusal(path) == "MODEL_PATH_ESCAPE"


def test_a_folder_whose_weights_lie_elsewhere_is_refused(bundle: ModelBundle, tmp_path: Path) -> None:
    outside = tmp_path / "outside.safetensors"
    (bundle.path / WEIGHTS_MEMBER).rename(outside)
    (bundle.path / WEIGHTS_MEMBER).symlink_to(outside)
    assert refusal(bundle.path) == "MODEL_PATH_ESCAPE"


def test_a_zip_that_swells_is_refused_without_being_unpacked(bundle: ModelBundle, tmp_path: Path) -> None:
    path = tmp_path / "bomb.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.write(bundle.path / METADATA_MEMBER, METADATA_MEMBER)
        with archive.open(WEIGHTS_MEMBER, "w", force_zip64=True) as member:
            for _ in range(64):
                member.write(bytes(2**20))
    assert path.stat().st_size < 10**6
    assert refusal(path) == "MODEL_TOO_LARGE"


def test_a_description_of_megabytes_is_refused(bundle: ModelBundle, tmp_path: Path) -> None:
    (bundle.path / METADATA_MEMBER).write_bytes(b" " * (2**20 + 1))
    assert refusal(bundle.path) == "MODEL_TOO_LARGE"
    assert refusal(zipped(bundle, tmp_path / "large.zip")) == "MODEL_TOO_LARGE"


def test_a_zip_of_countless_members_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "many.zip", "w") as archive:
        for index in range(1001):
            archive.writestr(f"{index}", b"")
    assert refusal(tmp_path / "many.zip") == "MODEL_TOO_LARGE"


def test_what_is_no_bundle_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "text.zip").write_text("not a zip")
    with zipfile.ZipFile(tmp_path / "hollow.zip", "w"):
        pass
    assert refusal(tmp_path / "missing") == "MODEL_NOT_FOUND"
    assert refusal(tmp_path / "empty") == "MODEL_NOT_FOUND"
    assert refusal(tmp_path / "hollow.zip") == "MODEL_NOT_FOUND"
    assert refusal(tmp_path / "text.zip") == "MODEL_UNREADABLE"
    assert refusal("nul\0byte/x") == "MODEL_NOT_FOUND"


def test_a_bundle_without_weights_is_refused(bundle: ModelBundle) -> None:
    (bundle.path / WEIGHTS_MEMBER).unlink()
    assert refusal(bundle.path) == "MODEL_NOT_FOUND"


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes on this system")
def test_a_pipe_instead_of_weights_is_refused_without_waiting(bundle: ModelBundle) -> None:
    (bundle.path / WEIGHTS_MEMBER).unlink()
    os.mkfifo(bundle.path / WEIGHTS_MEMBER)
    assert refusal(bundle.path) == "MODEL_UNREADABLE"


def test_a_model_is_found_by_path(bundle: ModelBundle) -> None:
    assert find_model(bundle.path) == bundle
    assert find_model(str(bundle.path)) == bundle


def test_an_unknown_name_is_refused_with_the_names_that_ship() -> None:
    with pytest.raises(ModelRefused) as caught:
        find_model("no-such-model")
    assert caught.value.code == "MODEL_NOT_FOUND"
    assert "no-such-model" in caught.value.message


def test_every_model_that_ships_is_whole_small_and_says_what_it_is_for() -> None:
    models = shipped_models()
    if not models:
        pytest.skip("no model ships with this checkout yet")
    for model in models:
        model.verify()
        load_network(model)
        assert find_model(model.path.name.removesuffix(".zip")) == model
        assert "not for clinical use" in model.metadata.intended_use.lower()
        size = sum(path.stat().st_size for path in [model.path, *model.path.rglob("*")] if path.is_file())
        assert size <= 20 * 2**20
    assert find_model() == models[0]


def test_a_description_reads_the_same_from_folder_and_zip(bundle: ModelBundle, tmp_path: Path) -> None:
    assert ModelBundle.open(zipped(bundle, tmp_path / "b.zip")).metadata == bundle.metadata
    assert isinstance(bundle.metadata, BundleMetadata)
