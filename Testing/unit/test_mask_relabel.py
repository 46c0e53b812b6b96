"""Relabelling a scan from stored maps."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from HemoCAMLib.ct.geometry import SliceGeometry
from HemoCAMLib.mask import (
    ComponentAccumulator,
    KeptSlices,
    MaskSettings,
    PackedMasks,
    label_scan,
    label_slice,
    relabel,
)

COUNT = 6
GEOMETRY = SliceGeometry(np.arange(COUNT)[:, None] * np.array([0, 0, 5.0]), np.eye(3)[0], np.eye(3)[1], (0.5, 0.7))


@pytest.fixture
def stored(tmp_path: Path) -> tuple[np.ndarray, np.ndarray, PackedMasks]:
    rng = np.random.default_rng(5)
    np.save(tmp_path / "activation.npy", rng.normal(0, 2, (5, COUNT, 8, 8)).astype(np.float16))
    brain = PackedMasks()
    for _ in range(COUNT):
        brain.append(rng.random((41, 37)) < 0.9)
    maps = np.load(tmp_path / "activation.npy", mmap_mode="r")
    return maps, rng.random((5, COUNT)).astype(np.float32), brain


@pytest.mark.parametrize("minimum_ml", [0.0, 0.05])
@pytest.mark.parametrize("scale", ["absolute", "per_image"])
def test_new_settings_give_what_an_analysis_with_them_gives(stored, scale: str, minimum_ml: float) -> None:  # type: ignore[no-untyped-def]
    maps, probabilities, brain = stored
    thresholds = (0.6,) * 5 if scale == "absolute" else (75, 125, 125, 75, 25)
    settings = MaskSettings((0.4,) * 5, thresholds, scale, minimum_ml)  # type: ignore[arg-type]
    labels = [label_slice(maps[:, i], probabilities[:, i], brain[i], settings) for i in range(COUNT)]
    components = ComponentAccumulator(GEOMETRY, minimum_ml)
    for index, slice_labels in enumerate(labels):
        components.add(index, slice_labels)
    components.finish()
    expected = np.stack([components.filter(index, slice_labels) for index, slice_labels in enumerate(labels)])
    found = np.stack(list(label_scan(maps, probabilities, brain, GEOMETRY, settings)))
    np.testing.assert_array_equal(found, expected)
    assert found.any()


def test_slices_that_are_kept_give_what_a_fresh_start_gives(stored, monkeypatch: pytest.MonkeyPatch) -> None:  # type: ignore[no-untyped-def]
    maps, probabilities, brain = stored
    made: list[int] = []

    def counted(*arguments: Any) -> NDArray[np.uint8]:
        made.append(1)
        return label_slice(*arguments)

    monkeypatch.setattr(relabel, "label_slice", counted)
    kept, rng = KeptSlices(), np.random.default_rng(3)
    gates, thresholds = [0.4] * 5, [0.6] * 5
    for turn in range(40):
        if turn % 2:
            gates[int(rng.integers(5))] = float(rng.random())
        else:
            thresholds[int(rng.integers(5))] = float(rng.random())
        settings = MaskSettings(tuple(gates), tuple(thresholds), "absolute", float(rng.choice([0.0, 0.05])))
        fresh = list(label_scan(maps, probabilities, brain, GEOMETRY, settings))
        made.clear()
        again = list(label_scan(maps, probabilities, brain, GEOMETRY, settings, kept=kept))
        np.testing.assert_array_equal(again, fresh)
    made.clear()
    same = list(label_scan(maps, probabilities, brain, GEOMETRY, settings, kept=kept))
    np.testing.assert_array_equal(same, fresh)
    assert len(made) <= sum(not labels.any() for labels in fresh)


def test_slices_that_were_not_analysed_come_out_empty(stored) -> None:  # type: ignore[no-untyped-def]
    maps, probabilities, brain = stored
    probabilities[:, 2] = np.nan
    settings = MaskSettings((0.0,) * 5, (0.0,) * 5)
    labels = list(label_scan(maps, probabilities, brain, GEOMETRY, settings))
    assert [bool(slice_labels.any()) for slice_labels in labels] == [True, True, False, True, True, True]


def test_packed_masks_give_back_what_was_put_in() -> None:
    masks = PackedMasks()
    originals = [np.random.default_rng(seed).random((seed + 1, 9)) < 0.5 for seed in range(5)]
    for mask in originals:
        masks.append(mask)
    assert len(masks) == 5
    for index, mask in enumerate(originals):
        np.testing.assert_array_equal(masks[index], mask)
