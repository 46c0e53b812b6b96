"""What a training asks of the slices it learns from, and how they are opened."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from hemocam_training.errors import DataRefused
from hemocam_training.learning.config import DataConfig
from hemocam_training.painting.source import PaintedSlices
from hemocam_training.phantoms.plan import has_hidden_subdural
from hemocam_training.shards import SliceShards
from hemocam_training.splits import Split
from HemoCAMLib.errors import UsageError
from HemoCAMLib.subtypes import CLASS_NAMES


class SliceSource(Protocol):
    """Slices with class labels: :class:`hemocam_training.shards.SliceShards`, or anything with these members.

    A source of other classes than ours has their names in ``class_names``; one of a segmentation has ``masks``.
    """

    @property
    def target(self) -> NDArray[np.float32]:
        """[slice, class] 0 or 1; any hemorrhage first where the classes are ours."""

    @property
    def known(self) -> NDArray[np.float32]:
        """[slice, class] 1 where the label counts."""

    def __len__(self) -> int:
        """Number of slices."""

    def stacks_hu(self, indices: NDArray[np.int64], repeated: NDArray[np.bool_]) -> Tensor:
        """[N, 3, H, W] HU: before, the slice, after; all the slice itself where ``repeated``."""

    def balanced_indices(self, rng: np.random.Generator, count: int) -> NDArray[np.int64]:
        """Half of them any slices, half of them positive for a class drawn evenly."""


class MaskedSlices(SliceSource, Protocol):
    """Slices that have masks too."""

    def masks(self, indices: NDArray[np.int64]) -> NDArray[np.uint8]:
        """[N, H, W] labels, 0 none."""


def class_names(source: SliceSource) -> list[str]:
    """Names of a source's classes."""
    count = source.target.shape[1]
    own = getattr(source, "class_names", None)
    if own is not None:
        return [str(name) for name in own]
    return list(CLASS_NAMES) if count == len(CLASS_NAMES) else [f"class {number}" for number in range(count)]


@dataclass(frozen=True, eq=False)
class CategorySlices:
    """Cached slices whose classes are a dataset's own, of which each slice has one.

    Attributes:
        shards: slices, all of them with a category.
        class_names: in the order of the target's columns.
    """

    shards: SliceShards
    class_names: list[str]

    @cached_property
    def target(self) -> NDArray[np.float32]:
        """[slice, class] 1 in one column."""
        return np.asarray(self.shards.categories[:, None] == np.array(self.class_names), np.float32)

    @cached_property
    def known(self) -> NDArray[np.float32]:
        """[slice, class] all 1."""
        return np.ones((len(self.shards), len(self.class_names)), np.float32)

    def __len__(self) -> int:
        return len(self.shards)

    def stacks_hu(self, indices: NDArray[np.int64], repeated: NDArray[np.bool_]) -> Tensor:
        """See :class:`SliceSource`."""
        return self.shards.stacks_hu(indices, repeated)

    def masks(self, indices: NDArray[np.int64]) -> NDArray[np.uint8]:
        """See :class:`MaskedSlices`."""
        return self.shards.masks(indices)

    def balanced_indices(self, rng: np.random.Generator, count: int) -> NDArray[np.int64]:
        """Half of them any slices, half of them of a class drawn evenly."""
        own = rng.integers(len(self.class_names), size=count // 2)
        chosen = [rng.choice(np.flatnonzero(self.shards.categories == self.class_names[c])) for c in own]
        return np.concatenate([rng.integers(len(self), size=count - count // 2), np.array(chosen, np.int64)])


def open_slices(data: DataConfig, size: int, *, validation: bool = False) -> SliceSource | None:
    """The slices that settings name; None for validation where they name none.

    Args:
        data: settings.
        size: rows and columns of the stacks.
        validation: those to look at instead of those to learn from.

    Raises:
        DataRefused, UsageError: the cache or the split cannot be used.
    """
    if data.painted and not validation:
        if data.train or data.labels != "subtypes":
            raise UsageError(
                "USAGE_PAINTED",
                "Painted slices have the labels of our subtypes, and are not mixed with others.",
                "Leave data.train and data.labels out.",
            )
        return PaintedSlices(data.painted, size)
    folders: tuple[Path, ...] = data.validation if validation else data.train
    if validation and not folders:
        if data.split is None:
            return None
        folders = data.train
    if not folders:
        raise UsageError("USAGE_NO_DATA", "The configuration names no slices to learn from.", "Set data.train.")
    shards = SliceShards(list(folders), size=size, incomplete=data.reload and not validation)
    if data.split is not None and (not validation or not data.validation):
        shards = _of_parts(shards, data.split, data.validation_parts if validation else data.train_parts)
    if data.without_hidden and not validation:
        hidden = {int(seed) for seed in np.unique(shards.seeds) if seed >= 0 and has_hidden_subdural(int(seed))}
        shards = shards.where(~np.isin(shards.seeds, list(hidden)))
    if data.labels == "subtypes":
        return shards
    named = shards.where(shards.categories != "")
    return CategorySlices(named, sorted(set(named.categories.tolist())))


def _of_parts(shards: SliceShards, split: Path, parts: tuple[str, ...]) -> SliceShards:
    known = Split.read(split)
    unknown = [part for part in parts if part not in known.parts]
    if unknown:
        raise UsageError(
            "USAGE_SPLIT_PART", f"The split has no part {unknown[0]}.", f"It has: {', '.join(known.parts)}."
        )
    wanted = {patient for part in parts for patient in known.parts[part]}
    if not wanted & set(shards.patients.tolist()):
        raise DataRefused(
            "TRAIN_SPLIT_OTHER_INDEX", "None of the split's patients is in the cache.", "Make the split of its index."
        )
    return shards.subset(wanted)
