from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from dataset_writers import patient_head, write_lines, write_nifti
from hemocam_training.datasets import dataset_named, prepare
from hemocam_training.errors import DataRefused, LeakFound
from hemocam_training.learning.batches import Batches, Share, training_loader
from hemocam_training.learning.config import AugmentationConfig, DataConfig
from hemocam_training.scan_sources import IndexSource
from hemocam_training.seeds import refuse_other_parts, refuse_seen_seeds, seed_part
from hemocam_training.shards import SliceShards, write_shards

from HemoCAMLib.errors import UsageError

SLICES = 9


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three scans of nine slices: SAH in slice 2 of the first, EDH in slice 5 of the second, nothing in the third."""
    root = tmp_path_factory.mktemp("folder")
    lines = ["file,patient,slice,any,IPH,IVH,SAH,SDH,EDH"]
    for number, bleeding in enumerate(({2: "SAH"}, {5: "EDH"}, {})):
        write_nifti(root / f"{number}.nii.gz", patient_head(number, rows=64, columns=64))
        for index in range(SLICES):
            shown = [int(bleeding.get(index) == name) for name in ("IPH", "IVH", "SAH", "SDH", "EDH")]
            lines.append(f"{number}.nii.gz,patient{number},{index + 1},{int(any(shown))},{','.join(map(str, shown))}")
    write_lines(root / "labels.csv", lines)
    write_shards(IndexSource(prepare(dataset_named("nifti-folder"), root), root), root / "cache", size=32,
                 scans_per_shard=2)  # fmt: skip
    return root / "cache"


def test_neighbours_end_where_their_scan_ends(cache: Path) -> None:
    shards = SliceShards(cache)
    stacks = shards.stacks_hu(np.array([0, 4, 8, 9, 4]), np.array([False] * 4 + [True]))
    assert stacks.shape == (5, 3, 32, 32)
    assert torch.equal(stacks[0, 0], stacks[0, 1])
    assert torch.equal(stacks[2, 2], stacks[2, 1])
    assert torch.equal(stacks[3, 0], stacks[3, 1])
    assert torch.equal(stacks[1, 1], stacks[4, 0])
    assert torch.equal(stacks[4, 0], stacks[4, 2])
    assert not torch.equal(stacks[1, 0], stacks[1, 1])


def test_a_smaller_size_averages_and_a_larger_one_interpolates(cache: Path) -> None:
    whole = SliceShards(cache).stacks_hu(np.array([3]))
    half, double = SliceShards(cache, size=16), SliceShards(cache, size=64)
    torch.testing.assert_close(half.stacks_hu(np.array([3])), torch.nn.functional.avg_pool2d(whole, 2))
    assert double.stacks_hu(np.array([3])).shape == (1, 3, 64, 64)
    np.testing.assert_allclose(double.spacing_mm * 4, half.spacing_mm)
    with pytest.raises(UsageError, match="cannot be averaged"):
        SliceShards(cache, size=12)


def test_half_of_a_balanced_batch_is_positive_for_subtypes_drawn_evenly(cache: Path) -> None:
    shards = SliceShards(cache)
    drawn = shards.balanced_indices(np.random.default_rng(0), 2000)
    positives = drawn[1000:]
    bleeding = np.flatnonzero(shards.target[:, 0])
    assert bleeding.size == 2
    assert set(positives.tolist()) == set(bleeding.tolist())
    assert 400 < int((positives == bleeding[0]).sum()) < 600
    assert np.unique(drawn[:1000]).size == len(shards)


def test_a_subset_keeps_its_patients_and_their_neighbours(cache: Path) -> None:
    shards = SliceShards(cache)
    with_edh = int(np.flatnonzero(shards.target[:, 5])[0])
    first = with_edh - 5
    part = shards.subset([shards.patients[with_edh]])
    assert (len(part), part.scan_count) == (SLICES, 1)
    assert part.target[5].tolist() == [1, 0, 0, 0, 0, 1]
    torch.testing.assert_close(part.stacks_hu(np.array([0, 5])), shards.stacks_hu(np.array([first, with_edh])))
    assert set(part.balanced_indices(np.random.default_rng(0), 40)[20:].tolist()) == {5}
    with pytest.raises(DataRefused, match="None of the cached slices"):
        shards.subset(["nobody"])


def test_several_caches_are_one_after_the_other(cache: Path) -> None:
    both = SliceShards([cache, cache])
    assert (len(both), both.scan_count) == (6 * SLICES, 6)
    torch.testing.assert_close(both.stacks_hu(np.array([3 * SLICES + 1])), both.stacks_hu(np.array([1])))


def test_pixels_do_not_travel_to_other_processes(cache: Path) -> None:
    shards = SliceShards(cache)
    stacks = shards.stacks_hu(np.array([1]))
    sent = pickle.dumps(shards)
    assert len(sent) < 3 * SLICES * 32 * 32
    assert torch.equal(pickle.loads(sent).stacks_hu(np.array([1])), stacks)


def test_a_process_that_prepares_batches_gives_those_of_this_one(cache: Path) -> None:
    batches = Batches(
        SliceShards(cache),
        DataConfig(repeated_share=0.5),
        AugmentationConfig(),
        size=32,
        batch=6,
        seed=(3, 1),
        share=Share(),
    )
    loader = training_loader(batches, start=lambda: 0, over=lambda step: step == 3, accumulate=1, workers=1, pin=False)
    there = list(loader)
    assert len(there) == 3
    for number, batch in enumerate(there):
        assert torch.equal(batch["x"], batches[number]["x"])
        assert torch.equal(batch["target"], batches[number]["target"])


def test_seeds_are_for_one_thing_only() -> None:
    assert [seed_part(seed) for seed in (0, 1_000_000, 2_000_001, 2_010_000, 3_000_000, 4_000_000)] == [
        *("", "training", "validation", "tuning", "test", "sample"),
    ]
    refuse_other_parts(range(3_000_000, 3_000_040), "test")
    with pytest.raises(LeakFound, match="is for training, not for test"):
        refuse_other_parts([3_000_000, 1_000_004], "test")
    data = [{"name": "phantoms", "first_seed": 1_000_000, "scans": 10}, {"name": "rsna-2019", "scans": 5}]
    refuse_seen_seeds(data, range(1_000_010, 1_000_020))
    with pytest.raises(LeakFound, match="1 of the phantoms"):
        refuse_seen_seeds(data, range(1_000_009, 1_000_019))
