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
from hemocam_training.painting.anatomies import RECORD, read_anatomies, write_anatomies
from hemocam_training.painting.source import PaintedSlices

from HemoCAMLib.errors import UsageError

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
