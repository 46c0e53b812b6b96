"""A plain folder of NIfTI files and a CSV table."""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import pandas as pd

from hemocam_training.datasets.hemorica import parse_codes
from hemocam_training.datasets.labels import UNKNOWN, Labels, contradict, labels_of
from hemocam_training.datasets.layout import inside, pseudonym, relative, stem_of, summed_up
from hemocam_training.datasets.masked_nifti import load_masked
from hemocam_training.datasets.nifti_files import NIFTI_SUFFIXES
from hemocam_training.datasets.records import Dataset, Found, Scan, ScanRecord
from hemocam_training.datasets.tables import read_table, whole_number, yes_or_no
from hemocam_training.errors import DataRefused
from HemoCAMLib.subtypes import CLASS_NAMES, SUBTYPES

_UID = re.compile(r"\d+(\.\d+){3,}|ID_[0-9a-zA-Z]+")


@dataclass(frozen=True)
class NiftiFolder(Dataset):
    """One's own scans. The table has a column ``file`` and any of these:

    ``patient``, ``study``, ``series``: identifiers; patients, and studies that are no UID, are replaced by pseudonyms.
    ``slice``: the number, from 1 in the stored order, that the row's labels are of; empty for the whole scan.
    ``any``, ``IPH``, ``IVH``, ``SAH``, ``SDH``, ``EDH``: 1, 0 or empty for unknown.
    ``mask``: NIfTI file on the scan's grid.

    Attributes:
        table: CSV file below the root.
        collection: folders with the same name here share their patients; name them when they do not.
        mask_codes: values in masks, such as ``EDH=1,IPH=2``; ``any`` for masks of any hemorrhage; empty for the
            labels that HemoCAM writes.
        tilted_step_is_table_step: see :func:`HemoCAMLib.ct.read_head_ct`.
    """

    table: str = "labels.csv"
    collection: str = ""
    mask_codes: str = ""
    tilted_step_is_table_step: bool = False

    name: ClassVar[str] = "nifti-folder"
    title: ClassVar[str] = "A folder of NIfTI files and a CSV table"
    layout: ClassVar[str] = "labels.csv with the columns file, patient, slice, any, IPH, IVH, SAH, SDH, EDH, mask"
    terms: ClassVar[str] = "your own"
    identities: ClassVar[str] = name

    def find(self, root: Path, processes: int = 1) -> Found:
        table = read_table(root / self.table, ("file",))
        for column in ("patient", "study", "series", "slice", "mask", *CLASS_NAMES):
            if column not in table.columns:
                table[column] = ""
        records, missing, outside, odd, torn = [], [], [], [], []
        for name, rows in table.groupby("file", sort=True):
            path = inside(root, str(name))
            if path is None or not str(name).lower().endswith(NIFTI_SUFFIXES):
                outside.append(str(name))
            elif not path.is_file():
                missing.append(str(name))
            else:
                record, odd_here, torn_here = self._record(path, rows, root)
                records.append(record)
                odd += odd_here
                torn += torn_here
        listed = {record.files[0] for record in records}
        others = {relative(path, root) for path in root.rglob("*") if path.name.lower().endswith(NIFTI_SUFFIXES)}
        others -= listed | {name for record in records for name in record.mask_files}
        findings = summed_up("DATA_NAME", "{count} names in the table are no NIfTI files in the folder.", outside)
        findings += summed_up("DATA_MISSING", "{count} files of the table are not there; the first is {first}.",
                              missing)  # fmt: skip
        findings += summed_up("DATA_UNLABELLED", "{count} NIfTI files are not in the table and were left out.",
                              others)  # fmt: skip
        findings += summed_up("DATA_LABELS", "{count} rows have a subtype but no hemorrhage; they count as bleeding.",
                              odd)  # fmt: skip
        findings += summed_up("DATA_LABELS", "{count} slices or scans are labelled twice and differently; they count"
                              " as unknown.", torn)  # fmt: skip
        return Found(tuple(records), tuple(findings))

    def _record(self, path: Path, rows: pd.DataFrame, root: Path) -> tuple[ScanRecord, list[str], list[str]]:
        where = relative(path, root)
        several: defaultdict[str, set[Labels]] = defaultdict(set)
        odd = []
        for row in rows.to_dict("records"):
            number = whole_number(row["slice"])
            named = {name: yes_or_no(row[name]) for name in CLASS_NAMES}
            odd += [where] if contradict(named) else []
            several["" if number is None else str(number)].add(labels_of(named))
        torn = [where for labels in several.values() if len(labels) > 1]
        settled = {key: next(iter(labels)) if len(labels) == 1 else UNKNOWN for key, labels in several.items()}
        of_scan = settled.pop("", UNKNOWN)
        identities = f"{self.identities}/{self.collection}" if self.collection else self.identities
        patient = _only(rows["patient"]) or stem_of(path)
        study = _only(rows["study"]) or stem_of(path)
        mask = inside(root, _only(rows["mask"]))
        record = ScanRecord(
            dataset=self.name,
            identities=identities,
            patient=pseudonym(identities, patient),
            study=study if _UID.fullmatch(study) else pseudonym(identities, study),
            series=_only(rows["series"]) or pseudonym(identities, where),
            files=(where,),
            mask_files=(relative(mask, root),) if mask is not None and mask.is_file() else (),
            labels=of_scan,
            slice_labels=settled,
        )
        return record, odd, torn

    def load(self, record: ScanRecord, root: Path) -> Scan:
        if self.mask_codes.strip() == "any":
            codes = None
        else:
            codes = parse_codes(self.mask_codes) or {subtype.label: subtype.label for subtype in SUBTYPES}
        kind = "any" if codes is None else "subtypes"
        return load_masked(record, root, mask_kind=kind, codes=codes, table_step=self.tilted_step_is_table_step)


def _only(cells: pd.Series) -> str:
    """The one identifier in the rows of a file.

    Raises:
        DataRefused: ``DATA_TABLE``: there are several.
    """
    values = sorted({str(cell) for cell in cells if str(cell)})
    if len(values) > 1:
        raise DataRefused(
            "DATA_TABLE",
            f"The table's column {cells.name} has several values for one file.",
            "One file is one series of one patient.",
        )
    return values[0] if values else ""
