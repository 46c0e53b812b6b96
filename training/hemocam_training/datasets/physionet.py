"""PhysioNet CT-ICH 1.3.1."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from hemocam_training.datasets.labels import Labels, contradict, labels_of
from hemocam_training.datasets.layout import base_folder, files_in, relative, stem_of, summed_up
from hemocam_training.datasets.masked_nifti import load_masked
from hemocam_training.datasets.nifti_files import NIFTI_SUFFIXES
from hemocam_training.datasets.records import Dataset, Finding, Found, Scan, ScanRecord
from hemocam_training.datasets.tables import read_table, whole_number, yes_or_no
from hemocam_training.errors import DataRefused

TABLE, IMAGES, MASKS = "hemorrhage_diagnosis_raw_ct.csv", "ct_scans", "masks"
_COLUMNS = {
    "Intraparenchymal": "IPH",
    "Intraventricular": "IVH",
    "Subarachnoid": "SAH",
    "Subdural": "SDH",
    "Epidural": "EDH",
}
_PATIENT, _SLICE, _NONE = "PatientNumber", "SliceNumber", "No_Hemorrhage"


@dataclass(frozen=True)
class PhysioNetCtIch(Dataset):
    """75 scans; labels of slices by subtype, masks of any hemorrhage.

    The table starts with a byte-order mark, counts slices from 1 in the order in which the file stores them, and
    names patients by a number where files have three digits. Masks hold 0 and 255 or 0 and 1: above 0 is blood.
    """

    name: ClassVar[str] = "physionet-ct-ich"
    title: ClassVar[str] = "PhysioNet CT-ICH 1.3.1"
    layout: ClassVar[str] = f"{TABLE}, {IMAGES}/049.nii, {MASKS}/049.nii"
    terms: ClassVar[str] = "PhysioNet restricted health data licence 1.5.0"
    identities: ClassVar[str] = name

    def find(self, root: Path, processes: int = 1) -> Found:
        base = base_folder(root, (TABLE, IMAGES), self.layout)
        labels, findings = _read_labels(base / TABLE)
        images = {stem_of(path): path for path in files_in(base / IMAGES, NIFTI_SUFFIXES)}
        masks = {stem_of(path): path for path in files_in(base / MASKS, NIFTI_SUFFIXES)}
        if not images:
            raise DataRefused("DATA_LAYOUT", f"No NIfTI file is in {IMAGES}.", f"Expected: {self.layout}")
        findings += summed_up("DATA_MISSING", "{count} scans have no mask; the first is {first}.",
                              set(images) - set(masks))  # fmt: skip
        numbers = {name: whole_number(name) for name in images}
        findings += summed_up("DATA_UNLABELLED", f"{{count}} scans are not in {TABLE}; the first is {{first}}.",
                              (name for name, number in numbers.items() if number not in labels))  # fmt: skip
        findings += summed_up("DATA_MISSING", f"{{count}} patients of {TABLE} have no scan; the first is {{first}}.",
                              (f"{number:03d}" for number in set(labels) - set(numbers.values())))  # fmt: skip
        records = []
        for name, path in sorted(images.items()):
            of_slices = labels.get(numbers[name] or 0, {})
            records.append(
                ScanRecord(
                    dataset=self.name,
                    identities=self.identities,
                    patient=name,
                    study=name,
                    series=name,
                    files=(relative(path, root),),
                    mask_files=(relative(masks[name], root),) if name in masks else (),
                    slice_labels=of_slices,
                )
            )
        return Found(tuple(records), tuple(findings))

    def load(self, record: ScanRecord, root: Path) -> Scan:
        return load_masked(record, root, mask_kind="any", codes=None)


def _read_labels(path: Path) -> tuple[dict[int, dict[str, Labels]], list[Finding]]:
    """Labels of slices, by patient and then by slice number."""
    table = read_table(path, (_PATIENT, _SLICE, *_COLUMNS, _NONE))
    found: dict[int, dict[str, Labels]] = {}
    odd, unread = [], []
    for row in table.to_dict("records"):
        patient, number = whole_number(row[_PATIENT]), whole_number(row[_SLICE])
        if patient is None or number is None:
            unread.append(f"{row[_PATIENT]}/{row[_SLICE]}")
            continue
        named = {name: yes_or_no(row[column]) for column, name in _COLUMNS.items()}
        none = yes_or_no(row[_NONE])
        named["any"] = None if none is None else not none
        if contradict(named):
            odd.append(f"{patient:03d}")
        found.setdefault(patient, {})[str(number)] = labels_of(named)
    findings = summed_up("DATA_LABELS", "{count} rows name no patient and slice; they were left out.", unread)
    findings += summed_up(
        "DATA_LABELS",
        "{count} slices have a subtype and No_Hemorrhage; they count as bleeding. The first is of {first}.",
        odd,
    )
    return found, findings
