"""Batches as a function of their number: the same ones after an interruption, in any number of processes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from hemocam_training.errors import ConfigRefused, DataRefused
from hemocam_training.learning.augmentation import NoiseBank, augment, draw, windowed
from hemocam_training.learning.config import AugmentationConfig, DataConfig
from hemocam_training.learning.slices import SliceSource
from hemocam_training.painting.source import PaintedSlices

# Streams of chance that must not meet.
_BATCHES, _ORDER, _PAINT, _VALIDATION_NOISE = 11, 13, 15, 99


@dataclass(frozen=True)
class Share:
    """Which part of every batch this process works on.

    Attributes:
        rank, processes: this process among all.
        accumulate: parts that one process takes one after another.
    """

    rank: int = 0
    processes: int = 1
    accumulate: int = 1

    def of(self, count: int, part: int) -> NDArray[np.int64]:
        """Places 0..count-1 of this process's part. Strided, so that every part is as balanced as the batch."""
        return np.arange(part * self.processes + self.rank, count, self.processes * self.accumulate)

    def check(self, batch: int) -> None:
        """Parts of unequal size would not count equally.

        Raises:
            ConfigRefused: ``TRAIN_BATCH``.
        """
        parts = self.processes * self.accumulate
        if batch % parts:
            raise ConfigRefused(
                "TRAIN_BATCH",
                f"A batch of {batch} slices cannot be shared by {parts} equal parts.",
                "Choose a multiple of processes times accumulate.",
            )


class Batches(Dataset[dict[str, Any]]):
    """Part k % accumulate of batch k // accumulate, by k.

    Each is a table: ``position``, ``target`` and ``known`` [n, class], ``known_count`` (the whole batch's number of
    known labels over the number of its parts), and ``x`` [n, 3, H, W] 0..1 or, where the changes are made on the
    device, ``hu``, ``same`` and ``draws``; ``masks`` [n, H, W] where they are asked for.

    Args:
        source: slices.
        data: how they are drawn.
        augmentation: chance changes.
        size: rows and columns.
        batch: slices in a step.
        seed: numbers that make this training's and this stage's chance its own.
        share: what of it this process gets.
        masked: masks too.
        on_device: leave the chance changes to :func:`finished`.
    """

    def __init__(
        self,
        source: SliceSource,
        data: DataConfig,
        augmentation: AugmentationConfig | None,
        *,
        size: int,
        batch: int,
        seed: tuple[int, int],
        share: Share,
        masked: bool = False,
        on_device: bool = False,
    ) -> None:
        share.check(batch)
        if len(source) < batch and data.sampling == "all":
            raise DataRefused(
                "TRAIN_DATA_FEW",
                f"There are {len(source)} slices, fewer than a batch of {batch}.",
                "Use a smaller one.",
            )
        self.source = source
        self.bank = NoiseBank(size, seed=seed[0])
        self._data, self._augmentation = data, augmentation
        self._batch, self._seed, self._share, self._masked, self._on_device = batch, seed, share, masked, on_device
        self._order: tuple[int, NDArray[np.int64]] | None = None

    def __getitem__(self, position: int) -> dict[str, Any]:
        step, part = divmod(position, self._share.accumulate)
        rng = np.random.default_rng([*self._seed, _BATCHES, step])
        everything = self._indices(step, rng)
        repeated = rng.random(everything.size) < self._data.repeated_share
        draws = draw(self._augmentation, everything.size, rng) if self._augmentation is not None else None
        mine = self._share.of(everything.size, part)
        if isinstance(self.source, PaintedSlices):
            made = _painted(self.source, everything[mine], repeated[mine], [*self._seed, _PAINT, step], mine)
            if not self._masked:
                del made["masks"]
        else:
            made = self._taken(self.source, everything, mine, repeated)
        made |= {
            "position": position,
            "same": torch.from_numpy(repeated[mine]),
            "draws": draws.part(mine) if draws is not None else None,
        }
        return made if self._on_device else finished(made, self.bank)

    def _taken(
        self,
        source: SliceSource,
        everything: NDArray[np.int64],
        mine: NDArray[np.int64],
        repeated: NDArray[np.bool_],
    ) -> dict[str, Any]:
        """Stacks and labels of slices as they are."""
        indices = everything[mine]
        parts = self._share.processes * self._share.accumulate
        made: dict[str, Any] = {
            "target": torch.from_numpy(source.target[indices]),
            "known": torch.from_numpy(source.known[indices]),
            "known_count": torch.tensor(float(max(1.0, source.known[everything].sum())) / parts),
            "hu": source.stacks_hu(indices, repeated[mine]),
        }
        if self._masked:
            masks: Any = source
            made["masks"] = torch.from_numpy(masks.masks(indices))
        return made

    def _indices(self, step: int, rng: np.random.Generator) -> NDArray[np.int64]:
        if self._data.sampling == "balanced":
            return self.source.balanced_indices(rng, self._batch)
        epoch, place = divmod(step, max(1, len(self.source) // self._batch))
        if self._order is None or self._order[0] != epoch:
            order = np.random.default_rng([*self._seed, _ORDER, epoch]).permutation(len(self.source))
            self._order = (epoch, order)
        return self._order[1][place * self._batch : (place + 1) * self._batch]


def _painted(
    source: PaintedSlices,
    indices: NDArray[np.int64],
    repeated: NDArray[np.bool_],
    seed: list[int],
    places: NDArray[np.int64],
) -> dict[str, Any]:
    """Stacks that are painted now, with their labels; what is painted follows from the place in the whole batch.

    Other processes' labels are not known here, so each part is weighted by its own number of known labels.
    """
    stacks = [
        source.painted(int(index), bool(alone), [*seed, int(place)])
        for index, alone, place in zip(indices, repeated, places, strict=True)
    ]
    known = torch.stack([stack.known for stack in stacks])
    return {
        "target": torch.stack([stack.target for stack in stacks]),
        "known": known,
        "known_count": known.sum().clamp(min=1),
        "hu": torch.stack([stack.hu for stack in stacks]),
        "masks": torch.stack([stack.labels for stack in stacks]),
    }


def finished(made: dict[str, Any], bank: NoiseBank) -> dict[str, Any]:
    """A batch with its network input, from its HU and what chance decided."""
    if "hu" not in made:
        return made
    rest = {key: value for key, value in made.items() if key not in ("hu", "same", "draws")}
    if made["draws"] is None:
        return {**rest, "x": windowed(made["hu"])}
    x, masks = augment(made["hu"], made["same"], made["draws"], bank, made.get("masks"))
    return {**rest, "x": x} if masks is None else {**rest, "x": x, "masks": masks}


class _Positions(Sampler[int]):
    """From where the training stands to its next check."""

    def __init__(self, start: Callable[[], int], over: Callable[[int], bool], accumulate: int) -> None:
        self._start, self._over, self._accumulate = start, over, accumulate

    def __iter__(self) -> Iterator[int]:
        step = self._start()
        while True:
            for part in range(self._accumulate):
                yield step * self._accumulate + part
            step += 1
            if self._over(step):
                return


def training_loader(
    batches: Batches, *, start: Callable[[], int], over: Callable[[int], bool], accumulate: int, workers: int, pin: bool
) -> DataLoader[dict[str, Any]]:
    """Batches from step ``start()`` on, until ``over`` says that a check comes after so many steps."""
    return DataLoader(
        batches,
        batch_size=None,
        sampler=_Positions(start, over, accumulate),
        num_workers=workers,
        pin_memory=pin,
    )


class ValidationBatches(Dataset[dict[str, Any]]):
    """Every slice once, unchanged but for noise of one strength, dealt out to the processes.

    The last ones are given twice where they would not come out even: all processes have to run equally often.

    Args:
        source: slices.
        data: strength of the noise.
        size: rows and columns.
        batch: slices at once.
        share: of this process.
        masked: masks too.
    """

    def __init__(
        self, source: SliceSource, data: DataConfig, *, size: int, batch: int, share: Share, masked: bool = False
    ) -> None:
        self.source = source
        self._sd_hu, self._masked = data.validation_noise_sd_hu, masked
        self._bank = NoiseBank(size, 8, seed=_VALIDATION_NOISE) if self._sd_hu else None
        groups = [np.arange(first, min(first + batch, len(source))) for first in range(0, len(source), batch)]
        groups += [groups[-1]] * (-len(groups) % share.processes)
        self._groups = groups[share.rank :: share.processes]

    def __len__(self) -> int:
        return len(self._groups)

    def __getitem__(self, number: int) -> dict[str, Any]:
        indices = self._groups[number]
        hu = self.source.stacks_hu(indices, np.zeros(indices.size, bool))
        if self._bank is not None:
            hu = hu + self._sd_hu * self._noise(indices)
        made: dict[str, Any] = {"indices": torch.from_numpy(indices), "x": windowed(hu)}
        if self._masked:
            masks: Any = self.source
            made["masks"] = torch.from_numpy(masks.masks(indices))
        return made

    def _noise(self, indices: NDArray[np.int64]) -> Tensor:
        assert self._bank is not None
        # By slice, not by group: another batch size is no other noise.
        chance = np.stack([np.random.default_rng([_VALIDATION_NOISE, int(i)]).random((3, 3)) for i in indices])
        drawn = torch.from_numpy(chance.astype(np.float32))
        return self._bank.take(drawn[..., 0], drawn[..., 1:])
