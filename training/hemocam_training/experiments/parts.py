"""Cached slices for learning, for tuning and for the test: phantoms of fixed seeds, or a dataset split by patient."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from pydantic.dataclasses import dataclass

from hemocam_training.experiments.catalogue import STRICT, DataSource
from hemocam_training.experiments.truth_scans import phantoms
from hemocam_training.learning.config import Count
from hemocam_training.scan_sources import IndexSource, ScanSource
from hemocam_training.seeds import TEST_SEED, TRAINING_SEED, TUNING_SEED
from hemocam_training.shards import SliceShards, write_shards
from hemocam_training.splits import split_by_fractions

Told = Callable[[str], None]


@dataclass(frozen=True, config=STRICT)
class PhantomCounts:
    """How many phantoms where no dataset is given; every mixture of subtypes in turn.

    Attributes:
        train, tune, test: heads.
        matrix: rows and columns that they are drawn at, a divisor of 512.
    """

    train: Count = 400
    tune: Count = 40
    test: Count = 60
    matrix: Count = 512


def phantom_parts(counts: PhantomCounts, work: Path, size: int, told: Told) -> dict[str, SliceShards]:
    """``train``, ``tune`` and ``test``; what is learned from is stored without noise, which augmentation draws anew."""
    sources = {
        "train": phantoms(TRAINING_SEED, counts.train, counts.matrix, noise=False),
        "tune": phantoms(TUNING_SEED, counts.tune, counts.matrix),
        "test": phantoms(TEST_SEED, counts.test, counts.matrix),
    }
    return {part: cached(source, work / part, size, told) for part, source in sources.items()}


def dataset_parts(
    source: DataSource, fractions: Mapping[str, float], work: Path, size: int, told: Told, *, workers: int = 1
) -> dict[str, SliceShards]:
    """Parts of a dataset by patient, stratified by subtype; the same ones in every run."""
    split = split_by_fractions([source.index], fractions)
    return {
        part: cached(
            IndexSource(split.rows(source.index, part), source.root), work / f"{source.name}-{part}", size, told,
            workers=workers,
        )
        for part in fractions
    }  # fmt: skip


def cached(source: ScanSource, folder: Path, size: int, told: Told, *, workers: int = 1) -> SliceShards:
    """The slices of a source; what is in the folder already is not made again."""
    write_shards(
        source,
        folder,
        size=size,
        workers=workers,
        on_progress=lambda done, of: told(f"{folder.name}: {done} of {of} scans"),
    )
    return SliceShards(folder)
