"""Shards from a source of scans: planned once, written by several processes, continued after a kill."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from hemocam_training.datasets.records import Finding
from hemocam_training.errors import DataRefused
from hemocam_training.scan_sources import ScanSource, source_differences
from hemocam_training.shards.preprocessing import Preprocessing
from hemocam_training.shards.shard_files import (
    CachedScan,
    ShardRecord,
    check_shard,
    read_record,
    write_json,
    write_shard,
)
from HemoCAMLib.errors import HemoCAMError, UsageError, WorkerFailed

VERSION = 1
PLAN, MANIFEST = "plan.json", "manifest.json"

#: Scans in a shard: enough that files are few, few enough that little is lost by a kill.
SCANS_PER_SHARD = 8


@dataclass(frozen=True)
class ShardPlan:
    """Which scans go into which shard, and how slices are cached.

    Attributes:
        source: what the scans are.
        preprocessing: how they are cached.
        scans: how many.
        scans_per_shard: how many go into each.
    """

    source: dict[str, Any]
    preprocessing: Preprocessing
    scans: int
    scans_per_shard: int

    def shard(self, number: int) -> tuple[str, range]:
        """Name and scans of a shard."""
        first = number * self.scans_per_shard
        return f"shard-{number:05d}", range(first, min(first + self.scans_per_shard, self.scans))

    @property
    def shard_count(self) -> int:
        return -(-self.scans // self.scans_per_shard)

    def as_dict(self) -> dict[str, Any]:
        return {
            "hemocam_shards": VERSION,
            "source": self.source,
            "preprocessing": self.preprocessing.as_dict(),
            "scans": self.scans,
            "scans_per_shard": self.scans_per_shard,
        }

    @classmethod
    def read(cls, folder: Path) -> ShardPlan | None:
        """The plan in a folder; None where there is none.

        Raises:
            DataRefused: ``TRAIN_SHARDS``.
        """
        try:
            values = json.loads((folder / PLAN).read_text(encoding="utf-8"))
            if values["hemocam_shards"] != VERSION:
                raise ValueError("another version")
            preprocessing = Preprocessing(**values["preprocessing"])
            return cls(values["source"], preprocessing, int(values["scans"]), int(values["scans_per_shard"]))
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise DataRefused(
                "TRAIN_SHARDS", "The folder's plan of shards cannot be read.", "Make the cache in a new folder."
            ) from error


def write_shards(
    source: ScanSource,
    folder: Path,
    *,
    size: int = 256,
    workers: int = 1,
    scans_per_shard: int = SCANS_PER_SHARD,
    on_progress: Callable[[int, int], None] | None = None,
) -> list[ShardRecord]:
    """Cache a source. What a former call finished is kept, so a call that was killed can be repeated.

    A scan that cannot be used is told in the manifest and left out. Labels that are unknown stay unknown. The
    manifest is written last: its presence means complete.

    Args:
        source: of scans.
        folder: for the shards of this source alone.
        size: rows and columns.
        workers: processes that decode.
        scans_per_shard: a shard is the unit of work.
        on_progress: called as ``on_progress(scans_done, scans)``.

    Raises:
        UsageError: ``USAGE_SHARDS_OTHER``: the folder holds another source, or was made in another way;
            ``USAGE_CANNOT_WRITE``.
        WorkerFailed: ``TRAIN_CACHE_PROCESS``: a process was killed.
        DataRefused: ``TRAIN_SHARDS``, or ``DATA_EMPTY``: no scan could be used.
    """
    plan = ShardPlan(json.loads(json.dumps(source.describe())), Preprocessing(size), len(source), scans_per_shard)
    _adopt(plan, folder)
    records: dict[int, ShardRecord] = {}
    for number in range(plan.shard_count):
        found = read_record(folder, plan.shard(number)[0])
        if found is not None:
            records[number] = found
    missing = [number for number in range(plan.shard_count) if number not in records]

    def tell() -> None:
        if on_progress:
            on_progress(sum(len(plan.shard(number)[1]) for number in records), plan.scans)

    tell()
    try:
        for number, record in _made(source, folder, plan, missing, workers):
            records[number] = record
            tell()
    except OSError as error:
        raise UsageError(
            "USAGE_CANNOT_WRITE",
            "The cache cannot be written.",
            "Check that the disk has room; the same command goes on where it stopped.",
            str(error),
        ) from error
    except BrokenProcessPool as error:
        raise WorkerFailed(
            "TRAIN_CACHE_PROCESS",
            "A process that prepares slices was ended from outside, perhaps for lack of memory.",
            "Use fewer --workers; the same command goes on where it stopped.",
        ) from error
    ordered = [records[number] for number in range(plan.shard_count)]
    if not any(record.slices for record in ordered):
        told = " ".join(sorted({finding.sentence for record in ordered for finding in record.findings})[:3])
        raise DataRefused("DATA_EMPTY", f"No scan of the source can be used. {told}".strip(), "Check the dataset.")
    write_json(folder / MANIFEST, manifest(plan, ordered))
    return ordered


def manifest(plan: ShardPlan, records: list[ShardRecord]) -> dict[str, Any]:
    """What the folder holds, for people and programs."""
    return {
        **plan.as_dict(),
        "slices": sum(record.slices for record in records),
        "scans_used": sum(len(record.scans) for record in records),
        "mask_kinds": sorted({kind for record in records for kind in record.mask_kinds}),
        "findings": [vars(finding) for record in records for finding in record.findings],
        "shards": [record.as_dict() for record in records],
    }


def verify_shards(folder: Path) -> int:
    """Compare every file of a folder with its checksum; the number of shards.

    Raises:
        DataRefused: ``TRAIN_SHARDS``, ``TRAIN_SHARD_DAMAGED``.
    """
    plan = ShardPlan.read(folder)
    records = [read_record(folder, plan.shard(number)[0]) for number in range(plan.shard_count)] if plan else []
    if plan is None or None in records:
        raise DataRefused("TRAIN_SHARDS", "The folder holds no complete cache.", "Run hemocam-train cache again.")
    for record in records:
        if record is not None:
            check_shard(folder, record)
    return len(records)


def _adopt(plan: ShardPlan, folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        former = ShardPlan.read(folder)
        if former is None:
            write_json(folder / PLAN, plan.as_dict())
    except OSError as error:
        raise UsageError(
            "USAGE_CANNOT_WRITE", "The folder cannot be written to.", "Choose a folder that can be written to."
        ) from error
    if former is not None and former != plan:
        differing = source_differences(former.as_dict(), plan.as_dict())
        if "source" in differing:
            differing += source_differences(former.source, plan.source)
        raise UsageError(
            "USAGE_SHARDS_OTHER",
            f"The folder holds a cache of something else ({', '.join(differing)} differ).",
            "Choose an empty folder.",
        )


def _made(
    source: ScanSource, folder: Path, plan: ShardPlan, missing: list[int], workers: int
) -> Iterator[tuple[int, ShardRecord]]:
    """Numbers and records of shards as they are finished."""
    if workers <= 1 or len(missing) <= 1:
        for number in missing:
            yield number, make_shard(source, folder, plan, number)
        return
    # Forked copies of a process with threads may hang.
    pool = ProcessPoolExecutor(min(workers, len(missing)), get_context("spawn"), _end_with_parent, (os.getpid(),))
    waiting: dict[Future[ShardRecord], int] = {
        pool.submit(make_shard, source, folder, plan, number): number for number in missing
    }
    try:
        while waiting:
            done, _ = wait(waiting, return_when=FIRST_COMPLETED)
            for future in done:
                yield waiting.pop(future), future.result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def make_shard(source: ScanSource, folder: Path, plan: ShardPlan, number: int) -> ShardRecord:
    """Decode the scans of a shard and write it."""
    name, numbers = plan.shard(number)
    scans: list[CachedScan] = []
    findings: list[Finding] = []
    for one in numbers:
        try:
            scan = source.load(one)
            scans.append(CachedScan.of(one, scan, plan.preprocessing))
            findings += scan.findings
        except HemoCAMError as error:
            findings.append(Finding(error.code, f"Scan {one}: {error.message} It was left out."))
        except MemoryError:
            raise
        except Exception as error:  # a file broken in a way no reader foresaw must not end the caching of the rest
            sentence = f"Scan {one} cannot be read ({type(error).__name__}) and was left out."
            findings.append(Finding("DATA_DAMAGED", sentence))
    return write_shard(folder, name, scans, plan.preprocessing.size, findings)


def _end_with_parent(parent: int) -> None:
    """In a worker process: a parent that was killed must not leave it waiting for work for ever."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
