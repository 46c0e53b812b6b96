"""Batches of stacks by torch's DataLoader, prepared in processes of their own."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from hemocam_training.shards.slice_shards import SliceShards


@dataclass(frozen=True, eq=False)
class StackBatch:
    """What a step learns from.

    Attributes:
        stacks_hu: [N, 3, H, W].
        target, known: [N, class].
        repeated: [N] bool, the three slices are one.
        masks: [N, H, W] uint8, or None where the cache has none.
        indices: [N] of the slices.
    """

    stacks_hu: Tensor
    target: Tensor
    known: Tensor
    repeated: Tensor
    masks: Tensor | None
    indices: Tensor


class StackDataset(Dataset[StackBatch]):
    """Whole batches by the indices of their slices: one item of this data set is a batch.

    Args:
        shards: the slices.
        repeated_share: share of stacks whose neighbours are missing.
        seed: which ones: drawn from it and the batch's indices, so the number of processes does not matter.
    """

    def __init__(self, shards: SliceShards, repeated_share: float = 0.0, seed: int = 0) -> None:
        self._shards, self._share, self._seed = shards, repeated_share, seed

    def __len__(self) -> int:
        return len(self._shards)

    def __getitem__(self, indices: list[int]) -> StackBatch:
        chosen = np.asarray(indices, np.int64)
        rng = np.random.default_rng([self._seed, *chosen.tolist()])
        repeated = rng.random(chosen.size) < self._share
        return StackBatch(
            self._shards.stacks_hu(chosen, repeated),
            torch.from_numpy(self._shards.target[chosen]),
            torch.from_numpy(self._shards.known[chosen]),
            torch.from_numpy(repeated),
            torch.from_numpy(self._shards.masks(chosen)) if self._shards.has_masks else None,
            torch.from_numpy(chosen),
        )


class BatchesOf(Sampler[list[int]]):
    """Indices of batch after batch.

    Args:
        shards: the slices.
        batch: slices in a batch.
        batches: how many; None for as many as make one round over all slices.
        sampling: ``balanced`` as :meth:`SliceShards.balanced_indices` draws, ``all`` every slice once a round in an
            order drawn anew, ``ordered`` without chance.
        seed: of the order.
    """

    def __init__(
        self,
        shards: SliceShards,
        batch: int,
        batches: int | None = None,
        sampling: Literal["balanced", "all", "ordered"] = "balanced",
        seed: int = 0,
    ) -> None:
        self._shards, self._batch, self._sampling, self._seed = shards, batch, sampling, seed
        self._batches = batches if batches is not None else -(-len(shards) // batch)

    def __len__(self) -> int:
        return self._batches

    def __iter__(self) -> Iterator[list[int]]:
        rng = np.random.default_rng([self._seed, 17])
        order, at = np.empty(0, np.int64), 0
        for _ in range(self._batches):
            if self._sampling == "balanced":
                yield self._shards.balanced_indices(rng, self._batch).tolist()
                continue
            if at >= order.size:
                count = len(self._shards)
                order, at = np.arange(count) if self._sampling == "ordered" else rng.permutation(count), 0
            yield order[at : at + self._batch].tolist()
            at += self._batch


def stack_loader(
    shards: SliceShards,
    batch: int,
    *,
    batches: int | None = None,
    sampling: Literal["balanced", "all", "ordered"] = "balanced",
    repeated_share: float = 0.0,
    workers: int = 0,
    seed: int = 0,
) -> DataLoader[StackBatch]:
    """A DataLoader that gives :class:`StackBatch` after batch.

    Args:
        workers: processes beside this one; 0 reads here.
    """
    return DataLoader(
        StackDataset(shards, repeated_share, seed),
        batch_size=None,
        sampler=BatchesOf(shards, batch, batches, sampling, seed),
        num_workers=workers,
        # Forked copies of a process with threads may hang.
        multiprocessing_context="spawn" if workers else None,
        persistent_workers=workers > 0,
        prefetch_factor=4 if workers else None,
    )
