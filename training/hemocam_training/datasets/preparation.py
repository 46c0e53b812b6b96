"""From a dataset's folder to its index: what is there, what is damaged, checksums, fingerprints."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa

from hemocam_training.datasets.fingerprint import slice_fingerprint
from hemocam_training.datasets.index import SCAN_LABELS, SCHEMA, ScanIndex, index_of_tables
from hemocam_training.datasets.layout import in_processes
from hemocam_training.datasets.records import Dataset, Finding, Scan, ScanRecord
from hemocam_training.datasets.registry import options_of
from HemoCAMLib.errors import HemoCAMError
from HemoCAMLib.subtypes import CLASS_NAMES


def prepare(
    dataset: Dataset, root: Path, processes: int = 1, on_progress: Callable[[int, int], None] | None = None
) -> ScanIndex:
    """The index of a dataset. Every scan is decoded once; one that cannot be used is told and left out.

    Args:
        dataset: with its options.
        root: its folder.
        processes: how many decode at once.
        on_progress: called as ``on_progress(scans_done, scans)``.

    Raises:
        DataRefused: ``DATA_LAYOUT``, ``DATA_TABLE``, ``DATA_EMPTY``: there is nothing to go by or to use.
    """
    found = dataset.find(root, processes)
    findings = list(found.findings)
    tables: list[pa.Table] = []
    total = len(found.records)
    if on_progress:
        on_progress(0, total)
    work = partial(prepare_scan, dataset=dataset, root=root)
    for done, (rows, told) in enumerate(in_processes(work, found.records, processes), 1):
        tables += [rows] if rows.num_rows else []
        findings += told
        if on_progress:
            on_progress(done, total)
    return index_of_tables(tables, dataset, options_of(dataset), findings)


def prepare_scan(record: ScanRecord, dataset: Dataset, root: Path) -> tuple[pa.Table, list[Finding]]:
    """Rows of one scan, none where it cannot be used, and what was wrong with it."""
    place = record.files[0] if record.files else ""
    try:
        scan = dataset.load(record, root)
        return pa.Table.from_pylist(_rows(scan, root), SCHEMA), list(scan.findings)
    except HemoCAMError as error:
        return SCHEMA.empty_table(), [Finding("DATA_DAMAGED", f"{error.message} The scan was left out.", place)]
    except MemoryError:
        raise
    except Exception as error:  # a file broken in a way no reader foresaw must not end the preparation of the rest
        sentence = f"The scan cannot be read ({type(error).__name__}) and was left out."
        return SCHEMA.empty_table(), [Finding("DATA_DAMAGED", sentence, place)]


def _rows(scan: Scan, root: Path) -> list[dict[str, Any]]:
    record, geometry = scan.record, scan.geometry
    sums: dict[str, str] = {"": ""}
    for name in {*record.mask_files, *(one.file for one in scan.slices)} - {""}:
        sums[name] = file_sha256(root / name)
    masks = _mask_files(scan)
    offsets = geometry.offsets_mm.tolist() if geometry else [None] * len(scan.slices)
    extents = geometry.extents_mm.tolist() if geometry else [None] * len(scan.slices)
    spacing = geometry.pixel_spacing_mm if geometry else (1.0, 1.0)
    common = {
        "dataset": record.dataset,
        "identities": record.identities,
        "patient": record.patient,
        "study": record.study,
        "series": record.series,
        "mask_kind": scan.mask_kind,
        **dict(zip(SCAN_LABELS, record.labels, strict=True)),
        "category": record.category,
        "fold": record.fold,
        "modality": scan.modality,
        "rows": scan.hu.shape[1],
        "columns": scan.hu.shape[2],
        "row_spacing_mm": spacing[0] if geometry else None,
        "column_spacing_mm": spacing[1] if geometry else None,
        "tilt_deg": geometry.tilt_deg if geometry else None,
        "warnings": " ".join(sorted({warning.code for warning in scan.warnings})),
    }
    return [
        {
            **common,
            "slice": one.identity,
            "slice_index": index,
            "file": one.file,
            "plane": one.plane,
            # A computed slice has no file; its values stand in.
            "sha256": sums[one.file] or hashlib.sha256(scan.hu[index].astype("<i2").tobytes()).hexdigest(),
            "mask_file": masks[index],
            "mask_sha256": sums[masks[index]],
            **dict(zip(CLASS_NAMES, one.labels, strict=True)),
            "labels_from": one.labels_from,
            "offset_mm": offsets[index],
            "extent_mm": extents[index],
            "fingerprint": slice_fingerprint(scan.hu[index], spacing, scan.modality),
        }
        for index, one in enumerate(scan.slices)
    ]


def _mask_files(scan: Scan) -> list[str]:
    """Mask file of every slice."""
    record = scan.record
    if scan.mask is None or not record.mask_files:
        return [""] * len(scan.slices)
    if len(record.mask_files) == 1:
        return [record.mask_files[0]] * len(scan.slices)
    by_file = dict(zip(record.files, record.mask_files, strict=True))
    return [by_file[one.file] for one in scan.slices]


def file_sha256(path: Path) -> str:
    """Checksum of a file."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
