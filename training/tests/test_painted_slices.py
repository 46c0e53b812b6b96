"""Heads without blood on disk, and trainings on what is painted on them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hemocam_training.errors import DataRefused
from hemocam_training.learning.batches import Batches, Share
from hemocam_training.learning.config import AugmentationConfig, DataConfig
from hemocam_training.learning.config_file import checked_config
from hemocam_training.learning.fit import fit
from hemocam_training.painting.anatomies import RECORD, depth_mm, read_anatomies, write_anatomies
from hemocam_training.painting.source import PaintedSlices
from hemocam_training.phantoms import make_phantom
from hemocam_training.scan_sources import MINIMAL_AREA_MM2

from HemoCAMLib.errors import UsageError
from HemoCAMLib.subtypes import SUBTYPES

SIZE = 64


@pytest.fixture(scope="module")
def heads(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("heads")
    write_anatomies(folder, 7, 2, size=SIZE)
    return folder


def test_a_head_has_bone_around_brain_and_ventricles_inside(heads: Path) -> None:
    found, preprocessing = read_anatomies(heads)
    assert len(found) == 2
    for head in found:
        source = PaintedSlices([heads], SIZE)
        hu, depth = head.fields[:, 0].astype(float) * preprocessing.hu_per_step - 60, head.fields[:, 1] / 4.0 - 5
        assert 20 < np.median(hu[depth > 20]) < 45
        assert np.median(hu[(depth > -3) & (depth < -1)]) > 80
        ventricle = head.fields[:, 3] > 200
        assert ventricle.any()
        assert (depth[ventricle] > 3).all()
        assert 2.0 < head.pixel_mm < 5.0
        assert source.scan_count == 2


def test_drawing_again_keeps_what_is_there(heads: Path) -> None:
    before = {path.name: path.stat().st_mtime_ns for path in heads.glob("*.npy")}
    write_anatomies(heads, 7, 2, size=SIZE)
    assert {path.name: path.stat().st_mtime_ns for path in heads.glob("*.npy")} == before


def test_the_same_seed_paints_the_same_and_a_clean_index_stays_without_blood(heads: Path) -> None:
    source = PaintedSlices([heads], SIZE)
    rng = np.random.default_rng(1)
    indices = source.balanced_indices(rng, 12)
    called = 0
    for index in indices.tolist():
        first, second = (source.painted(index, False, (3, index)) for _ in range(2))
        assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
        if index < len(source):
            assert first.target.sum() == 0
        called += int(first.target[0])
    assert called >= 3
    assert (indices >= len(source)).sum() == 6


def test_a_batch_is_the_same_whether_one_process_makes_it_or_two(heads: Path) -> None:
    source = PaintedSlices([heads], SIZE)
    options: dict[str, Any] = {"size": SIZE, "batch": 4, "seed": (5, 1)}
    arguments = (source, DataConfig(repeated_share=0.5), AugmentationConfig())
    whole = Batches(*arguments, share=Share(), **options)[3]
    parts = [Batches(*arguments, share=Share(rank, 2), **options)[3] for rank in range(2)]
    for rank, part in enumerate(parts):
        assert torch.equal(part["x"], whole["x"][rank::2])
        assert torch.equal(part["target"], whole["target"][rank::2])
    assert "masks" not in whole


@pytest.fixture(scope="module")
def bleeding(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bleeding")
    write_anatomies(folder, 0, 3, size=SIZE, bleeding=True)
    return folder


def test_a_bleeding_head_is_the_phantom_of_its_seed(bleeding: Path) -> None:
    heads, preprocessing = read_anatomies(bleeding)
    for seed, head in enumerate(heads):
        phantom = make_phantom(seed, 512, 512, noise=False)
        assert head.bleeds
        kept = np.stack([preprocessing.stored(image) for image in phantom.noise_free])
        # The phantom is kept in whole HU.
        assert np.abs(head.fields[:, 0].astype(int) - kept).max() <= 1
        small = make_phantom(seed, SIZE, SIZE, noise=False).labels
        # Only those forget labels on bone.
        assert np.isin(head.fields[:, 4][small > 0], small[small > 0]).all()
        assert (head.fields[:, 4][small > 0] == small[small > 0]).all()
    assert any(head.fields[:, 4].any() for head in heads)


def test_blood_that_is_there_is_labelled_by_its_area_and_stays_as_it_is(bleeding: Path) -> None:
    source = PaintedSlices([bleeding], SIZE)
    head = read_anatomies(bleeding)[0]
    labels = np.concatenate([each.fields[:, 4] for each in head])
    pixel_mm2 = np.concatenate([[each.pixel_mm**2] * len(each.fields) for each in head])
    bled = 0
    for number, image in enumerate(labels):
        stack = source.painted(number, True, (1, number))
        assert torch.equal(stack.labels, torch.from_numpy(image))
        for subtype in SUBTYPES:
            area_mm2 = float((image == subtype.label).sum() * pixel_mm2[number])
            assert stack.target[subtype.label] == float(area_mm2 >= MINIMAL_AREA_MM2)
            assert stack.known[subtype.label] == float(area_mm2 == 0 or area_mm2 >= MINIMAL_AREA_MM2)
        deep = torch.from_numpy(
            (image > 0) & (source.stacks_hu(np.array([number]), np.array([True]))[0, 1].numpy() < 60)
        )
        deep &= torch.from_numpy(depth_mm(np.concatenate([each.fields[:, 1] for each in head])[number])) > 20
        before = source.stacks_hu(np.array([number]), np.array([True]))[0, 1][deep]
        # Bone brightens what is near it, old infarcts would darken it.
        assert (stack.hu[1][deep] >= before - 1e-4).all()
        bled += int(deep.any())
    assert bled > 5


def test_of_the_bloody_half_about_a_third_has_its_own_blood(heads: Path, bleeding: Path) -> None:
    source = PaintedSlices([heads, bleeding], SIZE)
    indices = source.balanced_indices(np.random.default_rng(3), 2000)
    as_they_are = indices[indices < len(source)]
    own = source.target[as_they_are].any(axis=1).sum()
    assert (indices >= len(source)).sum() + own == 1000
    assert 300 < own < 400
    painted_on = indices[indices >= len(source)] - len(source)
    first_bleeding = sum(len(head.fields) for head in read_anatomies(heads)[0])
    assert (painted_on < first_bleeding).all()


def test_bleeding_heads_alone_are_learned_from_and_nothing_is_painted(bleeding: Path) -> None:
    source = PaintedSlices([bleeding], SIZE)
    indices = source.balanced_indices(np.random.default_rng(0), 40)
    assert (indices < len(source)).all()
    assert source.target[indices].any(axis=1).sum() == 20


def test_a_training_learns_from_painted_slices(heads: Path, tmp_path: Path) -> None:
    values = {
        "data": {"painted": [str(heads)], "repeated_share": 0.3},
        "network": {"architecture": "timm-classifier", "arguments": {"encoder": "test_resnet"}},
        "stages": [{"input_size": SIZE, "batch": 8, "steps": 3, "check_steps": 3}],
        "augmentation": {},
        "trainer": {"log": "none", "accelerator": "cpu", "threads": 1},
    }
    result = fit(checked_config(values), tmp_path / "run")
    assert result.history[-1]["step"] == 3
    assert result.history[-1]["scans"] == 2
    assert np.isfinite(result.history[-1]["loss"])


def test_painted_slices_are_not_mixed_with_others(heads: Path, tmp_path: Path) -> None:
    values = {
        "data": {"painted": [str(heads)], "train": [str(heads)]},
        "network": {"architecture": "timm-classifier", "arguments": {"encoder": "test_resnet"}},
        "stages": [{"input_size": SIZE, "batch": 8, "steps": 1}],
        "trainer": {"log": "none"},
    }
    with pytest.raises(UsageError) as refused:
        fit(checked_config(values), tmp_path / "run")
    assert refused.value.code == "USAGE_PAINTED"


def test_a_folder_without_heads_or_with_a_damaged_one_is_refused(heads: Path, tmp_path: Path) -> None:
    with pytest.raises(DataRefused) as refused:
        PaintedSlices([tmp_path], SIZE)
    assert refused.value.code == "TRAIN_ANATOMIES"
    for path in heads.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    next(tmp_path.glob("*.npy")).write_bytes(b"not an array")
    assert (tmp_path / RECORD).exists()
    with pytest.raises(DataRefused):
        PaintedSlices([tmp_path], SIZE)
    with pytest.raises(UsageError):
        PaintedSlices([heads], 48)
