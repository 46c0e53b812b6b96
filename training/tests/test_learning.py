from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hemocam_training.augmentation import NoiseBank, augment
from hemocam_training.cache import cached_hu, render_to, small_slices
from hemocam_training.fitting import training_step
from hemocam_training.losses import classification_loss, consistency_loss
from hemocam_training.metrics import auroc, dice, youden_threshold
from hemocam_training.stacks import CachedStacks, labels_from_areas
from hemocam_training.train_shipped import lse_loss, new_network


def test_a_few_steps_on_a_tiny_set_lower_the_loss() -> None:
    torch.manual_seed(0)
    network = new_network(0).train()
    optimiser = torch.optim.AdamW(network.parameters(), lr=1e-3)
    x = torch.rand(4, 3, 64, 64) * 0.3
    x[2:, :, 20:36, 20:36] = 0.9
    target = torch.zeros(4, 6)
    target[2:, :2] = 1
    losses = [training_step(network, lse_loss, optimiser, x, target, torch.ones_like(target)) for _ in range(16)]
    assert losses[-1] < 0.75 * losses[0]


def test_classification_loss_is_the_weighted_sum_over_scales() -> None:
    logits = [torch.full((2, 6), value) for value in (0.0, 1.0, -1.0, 2.0)]
    target, known = torch.ones(2, 6), torch.ones(2, 6)
    expected = sum(
        weight * np.log1p(np.exp(-value)) for weight, value in zip((2, 0.5, 0.25, 0.125), (0, 1, -1, 2), strict=True)
    )
    assert float(classification_loss(logits, target, known)) == pytest.approx(expected, rel=1e-6)
    known[:, 1:] = 0
    assert float(classification_loss(logits, target, known)) == pytest.approx(expected, rel=1e-6)


def test_consistency_loss_vanishes_for_maps_that_are_averages_of_each_other() -> None:
    fine = torch.randn(1, 6, 16, 16)
    maps = [fine]
    for _ in range(3):
        maps.append(torch.nn.functional.avg_pool2d(maps[-1], 2))
    assert float(consistency_loss(maps)) == pytest.approx(0, abs=1e-10)
    maps[1] = maps[1] + 1
    assert float(consistency_loss(maps)) == pytest.approx(0.5 + 0.25, rel=1e-4)


def test_lesions_too_small_to_be_called_do_not_count() -> None:
    target, known = labels_from_areas(np.array([[0, 0, 0, 0, 0], [5, 0, 0, 0, 0], [30, 0, 5, 0, 0]], np.float32))
    assert target.tolist() == [[0] * 6, [0] * 6, [1, 1, 0, 0, 0, 0]]
    assert known.tolist() == [[1] * 6, [0, 0, 1, 1, 1, 1], [1, 1, 1, 0, 1, 1]]


def test_cached_values_keep_hu_within_half_a_step() -> None:
    hu = np.random.default_rng(0).integers(-50, 100, (1, 1, 1)).repeat(512, 1).repeat(512, 2).astype(np.int16)
    assert np.abs(cached_hu(small_slices(hu)) - hu[0, 0, 0]).max() <= 1 / 3 + 1e-4


def test_a_cached_phantom_gives_stacks_and_repeats_slices_where_neighbours_miss(tmp_path: Path) -> None:
    render_to(tmp_path, 12)
    data = CachedStacks(tmp_path)
    stacks = data.stacks_hu(np.array([0, 10, 10]), np.array([False, False, True]))
    assert stacks.shape == (3, 3, 256, 256)
    assert torch.equal(stacks[0, 0], stacks[0, 1])
    assert not torch.equal(stacks[1, 0], stacks[1, 1])
    assert torch.equal(stacks[2, 0], stacks[2, 2])
    x = augment(stacks, torch.tensor([False, False, True]), NoiseBank(256, 2), torch.Generator().manual_seed(0))
    assert float(x.min()) >= 0
    assert float(x.max()) <= 1
    assert torch.equal(x[2, 0], x[2, 1])
    assert not torch.equal(x[1, 0], x[1, 1])


def test_scores_agree_with_their_definitions() -> None:
    scores = np.array([0.1, 0.2, 0.3, 0.9, 0.8])
    positive = np.array([False, False, False, True, True])
    assert auroc(scores, positive) == 1.0
    assert 0.3 <= youden_threshold(scores, positive) < 0.8
    assert dice(2, 4, 4) == 0.5
