"""Scans that a bundle may be tuned or evaluated on: none that it learned from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from hemocam_training.datasets.index import ScanIndex
from hemocam_training.errors import LeakFound
from hemocam_training.leak_check import check_leak
from hemocam_training.scan_sources import IndexSource, PhantomSource
from hemocam_training.seeds import refuse_other_parts, refuse_seen_seeds
from hemocam_training.splits import Split

Purpose = Literal["tuning", "test"]


def refuse_seen(
    training_data: Sequence[Mapping[str, Any]],
    source: PhantomSource | IndexSource,
    seen: Sequence[ScanIndex],
    purpose: Purpose,
    *,
    unchecked: bool = False,
) -> str:
    """Refuse scans that a bundle was made with, and say how that was found out.

    Phantoms are told apart by their seeds. Scans of a dataset are compared with what the bundle learned from, which
    has to be given, unless the bundle says that it learned from phantoms alone.

    Args:
        training_data: entries of the bundle.
        source: what it is to be tuned or evaluated on.
        seen: rows of the indexes that it was made with.
        purpose: phantoms have seeds for either.
        unchecked: take the scans although nothing is known; what comes of it says so.

    Raises:
        LeakFound: ``TRAIN_LEAK``, ``TRAIN_SEED_PART``, or ``TRAIN_LEAK_UNKNOWN``: what the bundle learned from is not
            given.
    """
    seeds = _seeds(source)
    if seeds is not None:
        refuse_other_parts(seeds, purpose)
        refuse_seen_seeds(training_data, seeds)
        return f"Synthetic scans with seeds {seeds[0]} to {seeds[-1]}, none of which was used before."
    assert isinstance(source, IndexSource)
    missing = _not_given(training_data, seen)
    if unchecked:
        return "Not checked: the model may have learned from these scans."
    if missing:
        raise LeakFound(
            "TRAIN_LEAK_UNKNOWN",
            f"Whether the model learned from these scans cannot be told: {missing}.",
            "Give the index that it was trained on (--training), or --unchecked, which every result will say.",
        )
    if not seen:
        return "The model learned from synthetic scans only."
    report = check_leak(seen, source.index)
    report.refuse()
    return report.sentence


def rows_seen(paths: Sequence[Path], split: Path | None, parts: Sequence[str]) -> list[ScanIndex]:
    """Rows of the indexes that a bundle was made with.

    Args:
        paths: of the indexes.
        split: that those of them belong to which it names; None takes whole indexes.
        parts: of the split.
    """
    indexes = [ScanIndex.read(path) for path in paths]
    if split is None:
        return indexes
    parted = Split.read(split)
    named = {checksum for _, checksum in parted.indexes}
    wanted = [part for part in parts if part in parted.parts]
    return [parted.rows(index, *wanted) if index.checksum in named else index for index in indexes]


def _seeds(source: PhantomSource | IndexSource) -> list[int] | None:
    """Of phantoms, also where they were prepared as a dataset; None for other scans."""
    if isinstance(source, PhantomSource):
        return list(source.seeds)
    if source.index.dataset_name == "phantoms":
        return sorted({int(series) for series in source.index.strings("series")})
    return None


def _not_given(training_data: Sequence[Mapping[str, Any]], seen: Sequence[ScanIndex]) -> str:
    """What of the bundle's data is neither phantoms nor among the given indexes; empty where all is known."""
    given = {index.dataset_name for index in seen if len(index)}
    for entry in training_data:
        if "first_seed" in entry:
            continue
        name = str(entry.get("name", "")).strip()
        if not given:
            return f"it learned from {name or 'data that it does not name'}"
        dataset = entry.get("dataset")
        if dataset is not None and dataset not in given:
            return f"the index of {name} is missing"
    return "" if training_data else ("" if given else "the model does not say what it learned from")
