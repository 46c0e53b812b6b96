"""The files of one shard: pixels, masks and a table of slices, with checksums in a record that is written last."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from hemocam_training.datasets.records import Finding
from hemocam_training.errors import DataRefused
from hemocam_training.scan_sources import LabelledScan
from hemocam_training.shards.preprocessing import Preprocessing
from HemoCAMLib.subtypes import CLASS_NAMES

AREAS = tuple(f"area_{name}_mm2" for name in CLASS_NAMES)

#: One row per slice. Unknown labels and lengths are null, never 0.
TABLE = pa.schema(
    [
        ("scan", pa.int32()),
        *((name, pa.string()) for name in ("patient", "study", "series", "slice")),
        *((name, pa.bool_()) for name in CLASS_NAMES),
        ("labels_from", pa.string()),
        *((name, pa.float32()) for name in AREAS),
        *((name, pa.float64()) for name in ("row_spacing_mm", "column_spacing_mm", "offset_mm", "extent_mm")),
        ("rows", pa.int32()),
        ("columns", pa.int32()),
        ("category", pa.string()),
        ("fold", pa.int32()),
        ("mask_kind", pa.string()),
    ]
)


@dataclass(frozen=True)
class ShardRecord:
    """What a shard holds.

    Attributes:
        name: stem of its files.
        scans: numbers of the scans in it, as the source counts them; those that could not be used are left out.
        slices: how many.
        mask_kinds: kinds of the masks beside the slices; empty where no scan has one.
        files: SHA-256 by file name.
        findings: what was left out.
    """

    name: str
    scans: tuple[int, ...]
    slices: int
    mask_kinds: tuple[str, ...]
    files: Mapping[str, str]
    findings: tuple[Finding, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> ShardRecord:
        """Raises KeyError or TypeError where it is no record."""
        return cls(
            name=str(values["name"]),
            scans=tuple(map(int, values["scans"])),
            slices=int(values["slices"]),
            mask_kinds=tuple(map(str, values["mask_kinds"])),
            files={str(name): str(checksum) for name, checksum in values["files"].items()},
            findings=tuple(Finding(**one) for one in values["findings"]),
        )


def pixel_file(name: str) -> str:
    return f"{name}.slices.npy"


def mask_file(name: str) -> str:
    return f"{name}.masks.npy"


def table_file(name: str) -> str:
    return f"{name}.slices.parquet"


def record_file(name: str) -> str:
    return f"{name}.json"


@dataclass(frozen=True, eq=False)
class CachedScan:
    """A scan as it goes into a shard; the full-size one can be let go of.

    Attributes:
        number: as the source counts it.
        pixels: uint8 [slice, size, size].
        masks: uint8 [slice, size, size] or None.
        mask_kind: of the masks.
        rows: of the table.
    """

    number: int
    pixels: NDArray[np.uint8]
    masks: NDArray[np.uint8] | None
    mask_kind: str
    rows: list[dict[str, Any]]

    @classmethod
    def of(cls, number: int, scan: LabelledScan, preprocessing: Preprocessing) -> CachedScan:
        """The scan, preprocessed."""
        masks = None if scan.mask is None else np.stack([preprocessing.stored_mask(mask) for mask in scan.mask])
        return cls(
            number=number,
            pixels=np.stack([preprocessing.stored(image, scan.modality) for image in scan.hu]),
            masks=masks,
            mask_kind="" if masks is None else scan.mask_kind,
            rows=_rows(number, scan, preprocessing.size),
        )


def write_shard(
    folder: Path, name: str, scans: Sequence[CachedScan], size: int, findings: Sequence[Finding] = ()
) -> ShardRecord:
    """Write the files of a shard; its record comes last, so a shard without one is unfinished.

    Masks are stored where any scan has them; those of the others are empty, which their ``mask_kind`` tells from a
    mask in which nothing is marked.
    """
    none = np.empty((0, size, size), np.uint8)
    pixels = np.concatenate([none, *(scan.pixels for scan in scans)])
    files = {pixel_file(name): _write_array(folder / pixel_file(name), pixels)}
    kinds = sorted({scan.mask_kind for scan in scans} - {""})
    if kinds:
        masks = [np.zeros(scan.pixels.shape, np.uint8) if scan.masks is None else scan.masks for scan in scans]
        files[mask_file(name)] = _write_array(folder / mask_file(name), np.concatenate(masks))
    rows = [row for scan in scans for row in scan.rows]
    files[table_file(name)] = _write_table(folder / table_file(name), pa.Table.from_pylist(rows, TABLE))
    record = ShardRecord(
        name=name,
        scans=tuple(scan.number for scan in scans),
        slices=len(pixels),
        mask_kinds=tuple(kinds),
        files=files,
        findings=tuple(findings),
    )
    write_json(folder / record_file(name), record.as_dict())
    return record


def read_record(folder: Path, name: str) -> ShardRecord | None:
    """The record of a finished shard; None where it is unfinished or its files are not as long as they were."""
    try:
        record = ShardRecord.from_dict(json.loads((folder / record_file(name)).read_text(encoding="utf-8")))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    return record if all((folder / file).is_file() for file in record.files) else None


def check_shard(folder: Path, record: ShardRecord) -> None:
    """Compare every file with its checksum.

    Raises:
        DataRefused: ``TRAIN_SHARD_DAMAGED``.
    """
    for name, wanted in record.files.items():
        path = folder / name
        if not path.is_file() or _checksum(path) != wanted:
            raise shard_damaged(name)


def shard_damaged(name: str) -> DataRefused:
    return DataRefused(
        "TRAIN_SHARD_DAMAGED",
        f"The cached file {name} is damaged or missing.",
        "Delete it and run hemocam-train cache again: only what is missing is made anew.",
    )


def write_json(path: Path, values: Any) -> None:
    """Written whole or not at all."""
    partial = path.with_name(path.name + ".partial")
    partial.write_text(json.dumps(values, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    partial.replace(path)


def _write_array(path: Path, values: NDArray[np.uint8]) -> str:
    partial = path.with_name(path.name + ".partial")
    with partial.open("wb") as file:
        np.save(file, values)
        # The record vouches for these bytes, so they must be on the disk before it is.
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)
    return _checksum(path)


def _write_table(path: Path, table: pa.Table) -> str:
    partial = path.with_name(path.name + ".partial")
    pq.write_table(table, partial, compression="zstd")
    partial.replace(path)
    return _checksum(path)


def _checksum(path: Path) -> str:
    with path.open("rb") as file:
        digest = hashlib.sha256()
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _rows(number: int, scan: LabelledScan, size: int) -> list[dict[str, Any]]:
    geometry, areas = scan.geometry, scan.areas_mm2
    rows, columns = scan.hu.shape[1:]
    common = {
        "scan": number,
        "patient": scan.patient,
        "study": scan.study,
        "series": scan.series,
        "rows": rows,
        "columns": columns,
        "category": scan.category,
        "fold": scan.fold,
        "mask_kind": "" if scan.mask is None else scan.mask_kind,
        # Of the cached pixels.
        "row_spacing_mm": geometry.pixel_spacing_mm[0] * rows / size if geometry else None,
        "column_spacing_mm": geometry.pixel_spacing_mm[1] * columns / size if geometry else None,
    }
    offsets = geometry.offsets_mm.tolist() if geometry else [None] * len(scan.hu)
    extents = geometry.extents_mm.tolist() if geometry else [None] * len(scan.hu)
    return [
        {
            **common,
            "slice": scan.slices[index],
            **{
                name: None if label < 0 else bool(label)
                for name, label in zip(CLASS_NAMES, scan.labels[index].tolist(), strict=True)
            },
            "labels_from": scan.labels_from[index],
            **{name: None if np.isnan(area) else area for name, area in zip(AREAS, areas[index].tolist(), strict=True)},
            "offset_mm": offsets[index],
            "extent_mm": extents[index],
        }
        for index in range(len(scan.hu))
    ]
