"""The index of a prepared dataset: one row per slice, in one Parquet file."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq
from numpy.typing import NDArray

from hemocam_training.datasets.labels import UNKNOWN, Labels
from hemocam_training.datasets.records import Dataset, Finding, ScanRecord
from hemocam_training.datasets.registry import dataset_named
from hemocam_training.errors import DataRefused
from HemoCAMLib.errors import UsageError
from HemoCAMLib.subtypes import CLASS_NAMES

VERSION = 1
_METADATA = b"hemocam_index"
SCAN_LABELS = tuple(f"scan_{name}" for name in CLASS_NAMES)

#: Columns by meaning. A slice: where it lies, what it shows, where it is in the patient, what it looks like.
SCHEMA = pa.schema(
    [
        *((name, pa.string()) for name in ("dataset", "identities", "patient", "study", "series", "slice")),
        ("slice_index", pa.int32()),
        ("file", pa.string()),
        ("plane", pa.int32()),
        ("sha256", pa.string()),
        ("mask_file", pa.string()),
        ("mask_sha256", pa.string()),
        ("mask_kind", pa.string()),
        *((name, pa.bool_()) for name in CLASS_NAMES),
        ("labels_from", pa.string()),
        *((name, pa.bool_()) for name in SCAN_LABELS),
        ("category", pa.string()),
        ("fold", pa.int32()),
        ("modality", pa.string()),
        ("rows", pa.int32()),
        ("columns", pa.int32()),
        *((name, pa.float64()) for name in ("row_spacing_mm", "column_spacing_mm")),
        *((name, pa.float64()) for name in ("offset_mm", "extent_mm", "tilt_deg")),
        ("fingerprint", pa.binary()),
        ("warnings", pa.string()),
    ]
)
_CONTENT = [
    *("dataset", "identities", "patient", "study", "series", "slice", "slice_index", "file", "plane", "sha256"),
    *("mask_sha256", *CLASS_NAMES, *SCAN_LABELS, "category", "fold"),
]


@dataclass(frozen=True, eq=False)
class ScanIndex:
    """A prepared dataset, or a part of one.

    Attributes:
        table: rows with the columns of :data:`SCHEMA`, slices of a series together and from feet to head.
        options: of the dataset, so that it is read as it was prepared.
        findings: what was missing or damaged.
    """

    table: pa.Table
    options: Mapping[str, str] = field(default_factory=dict)
    findings: tuple[Finding, ...] = ()

    def __len__(self) -> int:
        return int(self.table.num_rows)

    @property
    def dataset_name(self) -> str:
        return str(self.table.column("dataset")[0])

    @property
    def checksum(self) -> str:
        """SHA-256 of what the rows say of identity, files and labels; the same whoever wrote the file."""
        text = io.BytesIO()
        pa_csv.write_csv(self.table.select(_CONTENT).combine_chunks(), text)
        return hashlib.sha256(text.getvalue()).hexdigest()

    @property
    def frame(self) -> pd.DataFrame:
        """As a data frame; labels that are not known are ``<NA>``."""
        types = {pa.bool_(): pd.BooleanDtype(), pa.int32(): pd.Int32Dtype()}
        return self.table.to_pandas(types_mapper=types.get)

    def strings(self, column: str) -> list[str]:
        return [str(value) for value in self.table.column(column).to_pylist()]

    @property
    def patient_keys(self) -> list[str]:
        """Of every row: patient and whose pseudonym that is, so that datasets from the same patients agree."""
        return [f"{own}/{one}" for own, one in zip(self.strings("identities"), self.strings("patient"), strict=True)]

    @property
    def scan_keys(self) -> list[tuple[str, str, str]]:
        """Of every row: dataset, study, series."""
        columns = (self.strings("dataset"), self.strings("study"), self.strings("series"))
        return list(zip(*columns, strict=True))

    def where(self, kept: Sequence[bool] | NDArray[np.bool_]) -> ScanIndex:
        """The rows that are marked."""
        return ScanIndex(self.table.filter(pa.array(np.asarray(kept, bool))), self.options, self.findings)

    def records(self) -> Iterator[ScanRecord]:
        """The scans, to be read with :meth:`open_dataset` and ``load``."""
        start = 0
        for _, rows in groupby(self.scan_keys):
            count = sum(1 for _ in rows)
            yield _record(self.table.slice(start, count).to_pylist())
            start += count

    def open_dataset(self) -> Dataset:
        """The dataset that reads these records, with the options it was prepared with."""
        return dataset_named(self.dataset_name, self.options)

    def write(self, path: Path) -> None:
        """Write the Parquet file; it is there complete or not at all.

        Raises:
            UsageError: ``USAGE_CANNOT_WRITE``.
        """
        about = {
            "version": VERSION,
            "options": dict(self.options),
            "findings": [asdict(finding) for finding in self.findings],
            "checksum": self.checksum,
        }
        partial = path.with_name(path.name + ".partial")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            table = self.table.replace_schema_metadata({_METADATA: json.dumps(about, sort_keys=True)})
            pq.write_table(table, partial, compression="zstd")
            partial.replace(path)
        except OSError as error:
            raise UsageError(
                "USAGE_CANNOT_WRITE", "The index cannot be written.", "Choose a folder that can be written to."
            ) from error

    @classmethod
    def read(cls, path: Path) -> ScanIndex:
        """An index from its file, its content checked against the checksum in it.

        Raises:
            DataRefused: ``DATA_INDEX``.
        """
        try:
            table = pq.read_table(path)
            about: dict[str, Any] = json.loads((table.schema.metadata or {})[_METADATA])
            table = table.select(SCHEMA.names).cast(SCHEMA)
            findings = tuple(Finding(**one) for one in about["findings"])
            found = cls(table, {str(key): str(value) for key, value in about["options"].items()}, findings)
            version, checksum = about["version"], about["checksum"]
        except (OSError, pa.ArrowException, KeyError, ValueError, TypeError, AttributeError) as error:
            raise DataRefused(
                "DATA_INDEX",
                f"{path.name} is not an index of a prepared dataset.",
                "Write one with hemocam-train prepare.",
                type(error).__name__,
            ) from error
        if version != VERSION:
            raise DataRefused("DATA_INDEX", f"{path.name} was written by another version.", "Prepare it again.")
        if checksum != found.checksum:
            raise DataRefused(
                "DATA_INDEX", f"{path.name} was changed after it was written.", "Prepare the dataset again."
            )
        return found


def index_of_tables(
    tables: Sequence[pa.Table], dataset: Dataset, options: Mapping[str, str], findings: Sequence[Finding]
) -> ScanIndex:
    """An index of the rows of scans, in their order.

    Args:
        tables: one per scan, with the columns of :data:`SCHEMA`.

    Raises:
        DataRefused: ``DATA_EMPTY``: there is no row.
    """
    if not tables:
        told = " ".join(sorted({finding.sentence for finding in findings})[:3])
        raise DataRefused("DATA_EMPTY", f"No scan of {dataset.title} can be used. {told}".strip(), "Copy it again.")
    order = [(column, "ascending") for column in ("patient", "study", "series", "slice_index")]
    return ScanIndex(pa.concat_tables(tables).sort_by(order), dict(options), tuple(findings))


def joined(indexes: Sequence[ScanIndex]) -> ScanIndex:
    """Several as one, for comparing; it cannot be opened as a dataset."""
    return ScanIndex(pa.concat_tables([index.table for index in indexes]))


def scan_labels(index: ScanIndex) -> dict[tuple[str, str, str], Labels]:
    """Labels of the scans, by dataset, study and series."""
    columns = [index.table.column(name).to_pylist() for name in SCAN_LABELS]
    return dict(zip(index.scan_keys, zip(*columns, strict=True), strict=True))


def _record(rows: list[dict[str, Any]]) -> ScanRecord:
    first = rows[0]
    # One file may hold all slices or one; Hemorica's masks go along with its files.
    files = list(dict.fromkeys(row["file"] for row in rows if row["file"]))
    masks = [row["mask_file"] for row in rows]
    per_file = len(files) == len(rows) and len(set(masks)) > 1
    return ScanRecord(
        dataset=first["dataset"],
        identities=first["identities"],
        patient=first["patient"],
        study=first["study"],
        series=first["series"],
        files=tuple(files),
        mask_files=tuple(masks) if per_file else tuple(sorted({mask for mask in masks if mask})),
        labels=tuple(first[name] for name in SCAN_LABELS),
        slice_labels={
            row["slice"]: tuple(row[name] for name in CLASS_NAMES) if row["labels_from"] == "reader" else UNKNOWN
            for row in rows
        },
        category=first["category"],
        fold=first["fold"],
    )
