"""Every slice of one or more caches, mapped into memory: stacks, masks, labels, whose they are."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from hemocam_training.errors import DataRefused
from hemocam_training.scan_sources import MINIMAL_AREA_MM2, UNKNOWN, target_and_known
from hemocam_training.shards.preprocessing import Preprocessing
from hemocam_training.shards.shard_files import (
    AREAS,
    ShardRecord,
    mask_file,
    pixel_file,
    read_record,
    shard_damaged,
    table_file,
)
from hemocam_training.shards.writing import ShardPlan
from HemoCAMLib.errors import UsageError
from HemoCAMLib.model.stacks import STACK_DEPTH
from HemoCAMLib.subtypes import CLASS_NAMES

if TYPE_CHECKING:
    from torch import Tensor

Indices = NDArray[np.int64]


@dataclass(frozen=True)
class _Piece:
    """One shard on disk."""

    folder: Path
    record: ShardRecord


class SliceShards:
    """Slices of finished shards, in the order in which they were written.

    The arrays stay on disk; what is asked for is read. An object may be sent to another process: the files are opened
    again there.

    Args:
        folders: one cache or several, made with the same preprocessing.
        size: rows and columns of stacks and masks; smaller than cached, a divisor, averages; larger interpolates (a
            network with coarse maps gets more positions, not more detail). None takes the cached size.
        incomplete: take the shards that are finished of caches that are still being written.
        minimal_area_mm2: see :func:`~hemocam_training.scan_sources.target_and_known`.

    Attributes:
        target, known: float32 [slice, class any + 5], 0 or 1.
        areas_mm2: float32 [slice, class], not a number where unknown.
        patients: [slice] keys as in :attr:`ScanIndex.patient_keys`.
        studies, series: [slice] pseudonyms.
        seeds: int64 [slice] of phantoms, -1 for other scans.
        scans: int64 [slice] number of the scan that a slice belongs to, from 0.
        spacing_mm: [slice, 2] distance between rows and columns of the stacks' pixels; not a number where unknown.
        extents_mm: [slice] tissue that a slice stands for; not a number where unknown.
        categories: [slice] other classes, such as the kind of a tumour; folds: [slice] that a dataset supplies, else 0.
        mask_kinds: [slice] ``subtypes``, ``any``, ``tumour``, or empty where a slice has no mask.

    Raises:
        DataRefused: ``TRAIN_SHARDS``, ``TRAIN_SHARD_DAMAGED``.
        UsageError: ``USAGE_SHARDS_SIZE``, ``USAGE_SHARDS_OTHER``.
    """

    def __init__(
        self,
        folders: Path | Sequence[Path],
        *,
        size: int | None = None,
        incomplete: bool = False,
        minimal_area_mm2: float = MINIMAL_AREA_MM2,
    ) -> None:
        places = [folders] if isinstance(folders, Path) else list(folders)
        plans = [_plan_of(folder) for folder in places]
        self.preprocessing: Preprocessing = plans[0].preprocessing
        if any(plan.preprocessing != self.preprocessing for plan in plans):
            raise UsageError(
                "USAGE_SHARDS_OTHER", "The caches were preprocessed in different ways.", "Make them with equal sizes."
            )
        self.size = size or self.preprocessing.size
        if self.size < self.preprocessing.size and self.preprocessing.size % self.size:
            raise UsageError(
                "USAGE_SHARDS_SIZE",
                f"Slices cached at {self.preprocessing.size} cannot be averaged to {self.size}.",
                "Give a divisor of the cached size, or a larger size.",
            )
        self._pieces = [
            piece
            for folder, plan in zip(places, plans, strict=True)
            for piece in _pieces(folder, plan, incomplete=incomplete)
        ]
        if not self._pieces:
            raise DataRefused("TRAIN_SHARDS", "No shard of the cache is finished.", "Wait for it, or make it anew.")
        self._read_tables(minimal_area_mm2)
        self._all = np.arange(len(self._shard))

    def _read_tables(self, minimal_area_mm2: float) -> None:
        tables = [_table(piece) for piece in self._pieces]
        counts = [table.num_rows for table in tables]
        table = pa.concat_tables(tables)
        self._shard = np.repeat(np.arange(len(counts)), counts)
        self._row = np.concatenate([np.arange(count) for count in counts])
        labels = np.stack([_whole(table, name, UNKNOWN).astype(np.int8) for name in CLASS_NAMES], axis=1)
        self.areas_mm2 = np.stack([_real(table, name) for name in AREAS], axis=1).astype(np.float32)
        from_mask = np.array(table.column("labels_from").to_pylist()) == "mask"
        self.target, self.known = target_and_known(labels, self.areas_mm2, from_mask, minimal_area_mm2)
        self.patients, self.studies, self.series, self.categories, self.mask_kinds = (
            np.array(table.column(name).to_pylist(), str)
            for name in ("patient", "study", "series", "category", "mask_kind")
        )
        self.folds = _whole(table, "fold", 0)
        phantom = np.char.startswith(self.patients, "phantoms/")
        self.seeds = np.full(len(table), -1, np.int64)
        self.seeds[phantom] = self.series[phantom].astype(np.int64)
        scale = self.preprocessing.size / self.size
        self.spacing_mm = scale * np.stack(
            [_real(table, name) for name in ("row_spacing_mm", "column_spacing_mm")], axis=1
        )
        self.extents_mm = _real(table, "extent_mm")
        # A scan is whole within its shard; its number there starts anew in every cache.
        new = np.ones(len(table), bool)
        number = _whole(table, "scan", 0)
        new[1:] = (self._shard[1:] != self._shard[:-1]) | (number[1:] != number[:-1])
        self.scans = np.cumsum(new) - 1
        starts = np.flatnonzero(new)
        ends = np.append(starts[1:], len(table)) - 1
        self._first, self._last = starts[self.scans], ends[self.scans]

    def __len__(self) -> int:
        return len(self._all)

    def __getstate__(self) -> dict[str, Any]:
        # A mapped array travels as its content; the other process maps the file itself.
        return {name: value for name, value in self.__dict__.items() if name not in ("_pixels", "_masks")}

    @property
    def scan_count(self) -> int:
        """Number of scans."""
        return int(np.unique(self.scans).size)

    @property
    def has_masks(self) -> bool:
        """Whether any slice has a mask."""
        return bool((self.mask_kinds != "").any())

    @cached_property
    def _pixels(self) -> list[NDArray[np.uint8]]:
        return [_mapped(piece, pixel_file(piece.record.name)) for piece in self._pieces]

    @cached_property
    def _masks(self) -> list[NDArray[np.uint8] | None]:
        names = [mask_file(piece.record.name) if piece.record.mask_kinds else None for piece in self._pieces]
        return [_mapped(piece, name) if name else None for piece, name in zip(self._pieces, names, strict=True)]

    def stacks_hu(self, indices: NDArray[np.integer[Any]], repeated: NDArray[np.bool_] | None = None) -> Tensor:
        """[N, 3, size, size] float32 HU: the slice before, the slice, the one after.

        At the ends of a scan the slice itself stands in for a neighbour that is missing.

        Args:
            indices: [N] of slices.
            repeated: [N] where all three are the slice itself, as for a single slice as input; None for nowhere.
        """
        # Processes that write shards import this package too, and torch takes them seconds.
        import torch
        from torch.nn import functional

        chosen = self._all[np.asarray(indices)]
        alone = np.zeros(chosen.size, bool) if repeated is None else repeated
        before = np.where(alone, chosen, np.maximum(chosen - 1, self._first[chosen]))
        after = np.where(alone, chosen, np.minimum(chosen + 1, self._last[chosen]))
        wanted = np.stack([before, chosen, after], axis=1).ravel()
        values = torch.from_numpy(self._gather(self._pixels, wanted)).float()
        size, cached = self.size, self.preprocessing.size
        hu = values.mul_(self.preprocessing.hu_per_step).add_(self.preprocessing.low_hu)
        hu = hu.view(-1, STACK_DEPTH, cached, cached)
        if size < cached:
            return functional.avg_pool2d(hu, cached // size)
        if size > cached:
            return functional.interpolate(hu, (size, size), mode="bilinear", align_corners=False)
        return hu

    def masks(self, indices: NDArray[np.integer[Any]]) -> NDArray[np.uint8]:
        """[N, size, size] labels, 0 for none; what the labels mean says :attr:`mask_kinds`, empty where there is none.

        Another size than the cached one takes the nearest pixel.

        Raises:
            DataRefused: ``TRAIN_NO_MASKS``: none of the slices of this cache has a mask.
        """
        if not self.has_masks:
            raise DataRefused("TRAIN_NO_MASKS", "The cache has no masks.", "Use a dataset that comes with masks.")
        found = self._gather(self._masks, self._all[np.asarray(indices)])
        cached = self.preprocessing.size
        if self.size == cached:
            return found
        nearest = ((np.arange(self.size) + 0.5) * cached / self.size).astype(np.intp)
        return found[:, nearest[:, None], nearest]

    def balanced_indices(self, rng: np.random.Generator, count: int) -> Indices:
        """[count] half of them any slices, half of them positive for a subtype drawn evenly."""
        positives = [found for found in self._positives if found.size]
        some = count // 2 if positives else 0
        anywhere = rng.integers(len(self), size=count - some)
        picked = [rng.choice(positives[rng.integers(len(positives))]) for _ in range(some)]
        return np.concatenate([anywhere, np.array(picked, dtype=np.int64)])

    def subset(self, patients: Collection[str]) -> SliceShards:
        """The slices of some patients; neighbours stay their scans' own."""
        return self.where(np.isin(self.patients, list(patients)))

    def where(self, kept: NDArray[np.bool_]) -> SliceShards:
        """The slices that are marked, [slice].

        Raises:
            DataRefused: ``TRAIN_SHARDS``: none is.
        """
        if not kept.any():
            raise DataRefused("TRAIN_SHARDS", "None of the cached slices is wanted.", "Check the split and its part.")
        part = object.__new__(SliceShards)
        part.__dict__.update(self.__getstate__())
        for name in _PER_SLICE:
            setattr(part, name, getattr(self, name)[kept])
        part.__dict__.pop("_positives", None)
        return part

    @cached_property
    def _positives(self) -> list[Indices]:
        return [np.flatnonzero(self.target[:, c] > 0) for c in range(1, self.target.shape[1])]

    def _gather(self, arrays: Sequence[NDArray[np.uint8] | None], wanted: Indices) -> NDArray[np.uint8]:
        """[N, cached, cached] pixels of slices by their number in the whole cache."""
        cached = self.preprocessing.size
        found = np.zeros((wanted.size, cached, cached), np.uint8)
        for position, (shard, row) in enumerate(zip(self._shard[wanted], self._row[wanted], strict=True)):
            array = arrays[shard]
            if array is not None:
                found[position] = array[row]
        return found


_PER_SLICE = (
    "_all",
    "target",
    "known",
    "areas_mm2",
    "patients",
    "studies",
    "series",
    "seeds",
    "scans",
    "spacing_mm",
    "extents_mm",
    "categories",
    "folds",
    "mask_kinds",
)


def _plan_of(folder: Path) -> ShardPlan:
    plan = ShardPlan.read(folder)
    if plan is None:
        raise DataRefused(
            "TRAIN_SHARDS", f"{folder.name} holds no cached slices.", "Make them with hemocam-train cache."
        )
    return plan


def _pieces(folder: Path, plan: ShardPlan, *, incomplete: bool) -> list[_Piece]:
    found = [(plan.shard(number)[0], read_record(folder, plan.shard(number)[0])) for number in range(plan.shard_count)]
    missing = [name for name, record in found if record is None]
    if missing and not incomplete:
        raise DataRefused(
            "TRAIN_SHARDS",
            f"{len(missing)} of {len(found)} shards of {folder.name} are not finished.",
            "Run hemocam-train cache again: it goes on where it stopped.",
        )
    return [_Piece(folder, record) for _, record in found if record is not None and record.slices]


def _table(piece: _Piece) -> pa.Table:
    name = table_file(piece.record.name)
    try:
        table = pq.read_table(piece.folder / name)
    except (OSError, pa.ArrowException) as error:
        raise shard_damaged(name) from error
    if table.num_rows != piece.record.slices:
        raise shard_damaged(name)
    return table


def _mapped(piece: _Piece, name: str) -> NDArray[np.uint8]:
    try:
        array: NDArray[np.uint8] = np.load(piece.folder / name, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError) as error:
        raise shard_damaged(name) from error
    if array.dtype != np.uint8 or array.ndim != 3 or len(array) != piece.record.slices:
        raise shard_damaged(name)
    return array


def _whole(table: pa.Table, name: str, missing: int) -> NDArray[np.int64]:
    values = table.column(name).cast(pa.int32()).fill_null(missing)
    return np.asarray(values.to_numpy(), np.int64)


def _real(table: pa.Table, name: str) -> NDArray[np.float64]:
    return np.asarray(table.column(name).cast(pa.float64()).fill_null(float("nan")).to_numpy(), np.float64)
