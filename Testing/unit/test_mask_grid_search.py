"""Grid search: every cell of the table against label maps made one by one."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from HemoCAMLib.mask import MaskSettings, label_slice
from HemoCAMLib.mask.grid_search import PAPER_GRID, TuningScan, grid_search
from HemoCAMLib.subtypes import SUBTYPE_NAMES

GATES = (0.2, 0.5, 0.8)
ABSOLUTE = (0.1, 0.35, 0.5, 0.72, 0.9, 1.0)


def tuning_scan(seed: int, slices: int = 4) -> TuningScan:
    rng = np.random.default_rng(seed)
    maps = 12 * ndimage.gaussian_filter(rng.normal(size=(5, slices, 12, 10)), (0, 0, 2, 2))
    labels = rng.integers(0, 6, (slices, 3, 3), np.uint8).repeat(10, axis=1).repeat(12, axis=2)
    probabilities = rng.random((5, slices)).astype(np.float32)
    probabilities[:, 0] = np.nan
    return TuningScan(maps.astype(np.float16), probabilities, rng.random(labels.shape) < 0.8, labels)


def called_alone(scan: TuningScan, k: int, gate: float, threshold: float, scale: str) -> np.ndarray:
    """[slice, rows, columns] pixels of one subtype, the others never called."""
    gates = tuple(gate if other == k else 1.0 for other in range(5))
    wanted = MaskSettings(gates, (threshold,) * 5, scale)  # type: ignore[arg-type]
    slices = range(scan.labels.shape[0])
    maps, probabilities = scan.maps, scan.probabilities
    return np.stack([label_slice(maps[:, i], probabilities[:, i], scan.brain[i], wanted) > 0 for i in slices])


@settings(max_examples=12, deadline=None)
@given(
    st.lists(st.integers(0, 2**32 - 1), min_size=1, max_size=3),
    st.sampled_from([("absolute", ABSOLUTE), ("per_image", PAPER_GRID)]),
    st.integers(0, 4),
)
def test_every_value_of_the_grid_is_that_of_its_own_label_map(
    seeds: list[int], how: tuple[str, tuple[float, ...]], k: int
) -> None:
    scale, thresholds = how
    scans = [tuning_scan(seed) for seed in seeds]
    grid = grid_search(scans, GATES, thresholds, scale)[SUBTYPE_NAMES[k]]  # type: ignore[arg-type]
    truths = [scan.labels == k + 1 for scan in scans]
    for g, gate in enumerate(GATES):
        for t, threshold in enumerate(thresholds):
            masks = [called_alone(scan, k, gate, threshold, scale) for scan in scans]
            assert grid.called[:, g, t].tolist() == [mask.sum() for mask in masks]
            assert grid.hits[:, g, t].tolist() == [(m & y).sum() for m, y in zip(masks, truths, strict=True)]
    both = grid.called.sum(axis=0) + sum(truth.sum() for truth in truths)
    np.testing.assert_allclose(grid.pooled_dice, 2 * grid.hits.sum(axis=0) / both)


def test_the_best_pair_is_the_largest_of_the_table() -> None:
    grid = grid_search([tuning_scan(1), tuning_scan(2)], GATES)["SDH"]
    table = list(grid.rows())
    assert len(table) == len(GATES) * len(PAPER_GRID)
    for over in ("pooled", "mean"):
        gate, threshold, dice = grid.best(over)
        assert dice == max(row[f"{over}_dice"] for row in table)
        row = next(row for row in table if (row["gate"], row["threshold"]) == (gate, threshold))
        assert row[f"{over}_dice"] == dice
    assert grid.best(gates=[0.8])[0] == 0.8


def test_gates_may_differ_from_subtype_to_subtype() -> None:
    gates = {name: [0.1 * (k + 1), 0.9] for k, name in enumerate(SUBTYPE_NAMES)}
    grids = grid_search([tuning_scan(3)], gates)
    assert [grids[name].gates[0] for name in SUBTYPE_NAMES] == pytest.approx([0.1, 0.2, 0.3, 0.4, 0.5])


def test_the_mean_leaves_out_scans_without_the_subtype_and_the_pool_does_not() -> None:
    having, healthy = tuning_scan(4), tuning_scan(5)
    healthy.labels[:] = 0
    alone, both = (grid_search(scans, GATES)["IPH"] for scans in ([having], [having, healthy]))
    np.testing.assert_array_equal(alone.mean_dice, alone.pooled_dice)
    np.testing.assert_array_equal(both.mean_dice, alone.mean_dice)
    assert (both.pooled_dice <= alone.pooled_dice).all()
    assert (both.pooled_dice < alone.pooled_dice).any()


def test_no_scan_and_no_hemorrhage_give_a_table_of_zeros() -> None:
    assert not grid_search([], GATES)["IPH"].pooled_dice.any()
    healthy = tuning_scan(6)
    healthy.labels[:] = 0
    grid = grid_search([healthy], GATES)["EDH"]
    assert grid.best()[2] == grid.best("mean")[2] == 0
