"""Losses, augmentation and batches by themselves."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from blob_slices import BlobSlices
from hemocam_training.learning.augmentation import NoiseBank, augment, draw, windowed
from hemocam_training.learning.batches import Batches, Share, ValidationBatches
from hemocam_training.learning.config import AugmentationConfig, DataConfig, LossConfig
from hemocam_training.learning.losses import classification_loss, consistency_loss, known_cross_entropy, mask_loss
from hemocam_training.learning.objectives import positive_weight
from hemocam_training.learning.scores import classification_scores
from scipy.ndimage import gaussian_filter
from sklearn.metrics import f1_score, log_loss, roc_auc_score
from torch.nn import functional

STILL = AugmentationConfig(
    mirror_share=0,
    rotation_deg=0,
    wide_share=0,
    scale=(1, 1),
    stretch=(1, 1),
    shift=0,
    blur_share=0,
    sharpen_share=0,
    noise_sd_hu=(0, 0),
    gain=(1, 1),
    offset_hu=(0, 0),
    slow_sd_hu=(0, 0),
    near_bone_hu=(0, 0),
)


def changed(**settings: object) -> AugmentationConfig:
    values = {name: getattr(STILL, name) for name in STILL.__dataclass_fields__}
    return AugmentationConfig(**{**values, **settings})  # type: ignore[arg-type]


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
        maps.append(functional.avg_pool2d(maps[-1], 2))
    assert float(consistency_loss(maps)) == pytest.approx(0, abs=1e-10)
    maps[1] = maps[1] + 1
    assert float(consistency_loss(maps)) == pytest.approx(0.5 + 0.25, rel=1e-4)
    assert float(consistency_loss(maps, beta=(0, 0, 0))) == 0


def test_positive_weights_count_as_so_many_positive_slices() -> None:
    source = BlobSlices(40)
    logits = torch.randn(40, 6)
    target, known = torch.from_numpy(source.target), torch.from_numpy(source.known)
    weight = positive_weight(LossConfig(positive_weight="balanced"), source)
    assert weight is not None
    positives = (target * known).sum(0)
    assert torch.allclose(weight * positives, known.sum(0) - positives)
    found = known_cross_entropy(logits, target, known, positive_weight=weight)
    per_label = functional.softplus(-logits) * target * weight + functional.softplus(logits) * (1 - target)
    assert float(found) == pytest.approx(float((per_label * known).sum() / known.sum()), rel=1e-5)
    assert positive_weight(LossConfig(), source) is None


def test_the_mask_loss_is_zero_for_certain_truth_and_leaves_absent_classes_out() -> None:
    masks = torch.zeros(2, 8, 8, dtype=torch.uint8)
    masks[:, 2:5, 2:5] = 3
    certain = 50 * functional.one_hot(masks.long(), 6).movedim(-1, 1).float()
    assert float(mask_loss(certain, masks)) == pytest.approx(0, abs=1e-6)
    even = torch.zeros(2, 6, 8, 8)
    share = 9 / 64
    dice = [2 * part / 6 / (part + 1 / 6) for part in (1 - share, share)]
    assert float(mask_loss(even, masks)) == pytest.approx(np.log(6) + 1 - np.mean(dice), rel=1e-5)


def test_no_change_is_the_window_alone() -> None:
    hu = torch.randn(3, 3, 32, 32) * 40
    draws = draw(STILL, 3, np.random.default_rng(0))
    x, _ = augment(hu, torch.zeros(3, dtype=torch.bool), draws, NoiseBank(32, 2), None)
    assert torch.allclose(x, windowed(hu), atol=1e-5)


def test_each_change_does_what_it_says() -> None:
    bank, same = NoiseBank(64, 3), torch.tensor([True, False])
    hu = torch.full((2, 3, 64, 64), 20.0)
    hu[:, :, 20:30, 8:20] = 60
    plain = windowed(hu)

    def with_change(settings: AugmentationConfig) -> torch.Tensor:
        return augment(hu, same, draw(settings, 2, np.random.default_rng(1)), bank)[0]

    assert torch.allclose(with_change(changed(mirror_share=1)), plain.flip(-1), atol=1e-5)
    assert torch.allclose(with_change(changed(offset_hu=(13, 13))), windowed(hu + 13), atol=1e-5)
    assert torch.allclose(with_change(changed(gain=(1.1, 1.1))), windowed(hu * 1.1), atol=1e-5)
    blurred = with_change(changed(blur_share=1, blur_sigma_px=(1, 1)))
    expected = gaussian_filter(hu[0, 0].numpy(), 1, mode="nearest", truncate=3)
    assert np.allclose(blurred[0, 0].numpy(), windowed(torch.from_numpy(expected)).numpy(), atol=2e-3)
    noisy = with_change(changed(noise_sd_hu=(4, 4))) - plain
    assert torch.equal(noisy[0, 0], noisy[0, 1])
    assert not torch.equal(noisy[1, 0], noisy[1, 1])
    # Averaged from 512 x 512, noise of 4 HU is finer than 4 HU at this size.
    assert 0.3 < float(noisy[1].std()) * 130 < 5


def test_masks_move_along_with_their_slices() -> None:
    hu = torch.full((4, 3, 64, 64), 20.0)
    hu[:, :, 20:40, 8:30] = 90
    masks = (hu[:, 1] > 50).to(torch.uint8) * 4
    moving = changed(rotation_deg=40, scale=(0.8, 1.2), shift=0.2, mirror_share=0.5)
    x, moved = augment(
        hu, torch.zeros(4, dtype=torch.bool), draw(moving, 4, np.random.default_rng(2)), NoiseBank(64, 2), masks
    )
    assert moved is not None
    assert set(moved.unique().tolist()) == {0, 4}
    bright = x[:, 1] > (55 + 40) / 130
    assert float(((moved == 4) == bright).float().mean()) > 0.985
    assert not torch.equal(moved, masks)


def test_the_parts_of_a_batch_are_the_batch_and_follow_from_its_number() -> None:
    source, data = BlobSlices(40), DataConfig(repeated_share=0.5)

    def batches(share: Share) -> Batches:
        return Batches(source, data, AugmentationConfig(), size=32, batch=8, seed=(3, 1), share=share)

    whole = batches(Share())
    assert torch.equal(whole[5]["x"], batches(Share())[5]["x"])
    assert not torch.equal(whole[5]["x"], whole[6]["x"])
    parts = [batches(Share(rank, 2, 2))[2 * 5 + part] for part in range(2) for rank in range(2)]
    rows = [np.arange(8)[part * 2 + rank :: 4] for part in range(2) for rank in range(2)]
    for part, places in zip(parts, rows, strict=True):
        assert torch.equal(part["x"], whole[5]["x"][torch.from_numpy(places)])
        assert float(part["known_count"]) == pytest.approx(float(whole[5]["known_count"]) / 4)


def test_an_epoch_takes_every_slice_once_and_the_next_in_another_order() -> None:
    source = BlobSlices(24)
    source.target[:, 0] = np.arange(24)
    batches = Batches(source, DataConfig(sampling="all"), None, size=32, batch=8, seed=(0, 1), share=Share())
    seen = [torch.cat([batches[step]["target"][:, 0] for step in range(3 * e, 3 * e + 3)]).tolist() for e in (0, 1)]
    assert sorted(seen[0]) == sorted(seen[1]) == list(range(24))
    assert seen[0] != seen[1]


def test_validation_is_dealt_out_evenly_and_its_noise_belongs_to_the_slice() -> None:
    source, data = BlobSlices(25), DataConfig(validation_noise_sd_hu=3)
    one = ValidationBatches(source, data, size=32, batch=4, share=Share())
    two = [ValidationBatches(source, data, size=32, batch=8, share=Share(rank, 2)) for rank in range(2)]
    assert len(two[0]) == len(two[1])
    everything = torch.cat([one[number]["x"] for number in range(len(one))])
    for part in two:
        for number in range(len(part)):
            made = part[number]
            assert torch.equal(made["x"], everything[made["indices"]])
    assert {int(i) for part in two for number in range(len(part)) for i in part[number]["indices"]} == set(range(25))


def test_scores_agree_with_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    target = (rng.random((60, 2)) < 0.4).astype(np.float32)
    found = np.clip(rng.normal(0.4 + 0.2 * target, 0.2), 0.01, 0.99)
    known = (rng.random((60, 2)) < 0.8).astype(np.float32)
    scores = classification_scores(found, target, known, ["one", "two"])
    for c, name in enumerate(("one", "two")):
        counted = known[:, c] > 0
        truth, chance = target[counted, c] > 0, found[counted, c]
        assert scores["auroc"][name] == pytest.approx(roc_auc_score(truth, chance), abs=1e-4)
        assert scores["f1"][name] == pytest.approx(f1_score(truth, chance >= 0.5), abs=1e-4)
    everything = known > 0
    assert scores["validation_loss"] == pytest.approx(log_loss(target[everything], found[everything]), abs=1e-4)
    absent = classification_scores(found[:, :1], np.zeros((60, 1), np.float32), known[:, :1], ["one"])
    assert absent["auroc"]["one"] is None
