"""BHSD, the brain hemorrhage segmentation dataset."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from hemocam_training.datasets.labels import NEGATIVE, UNKNOWN, Labels, labels_of
from hemocam_training.datasets.layout import base_folder, files_in, relative, stem_of, summed_up
from hemocam_training.datasets.masked_nifti import load_masked
from hemocam_training.datasets.nifti_files import NIFTI_SUFFIXES
from hemocam_training.datasets.records import Dataset, Finding, Found, Scan, ScanRecord
from hemocam_training.datasets.rsna import IDENTITIES
from HemoCAMLib.subtypes import subtype_named

IMAGES, MASKS = "label_192/images", "label_192/ground truths"
UNLABELLED = "unlabel_2000"
#: Value in the masks to our label.
CODES = {value: subtype_named(name).label for value, name in {1: "EDH", 2: "IPH", 3: "IVH", 4: "SAH", 5: "SDH"}.items()}
_NAME = re.compile(r"(ID_[0-9a-zA-Z]+)_(ID_[0-9a-zA-Z]+)")


@dataclass(frozen=True)
class Bhsd(Dataset):
    """192 scans with masks by subtype, 2000 with a label of the scan. They are studies of RSNA 2019.

    - Tilted scans are stored as a pure rotation with the table's step as slice distance; their true distance is that
      step times the cosine of the tilt (0.94 of it on average in tilted scans, at least 0.87).
    - The slope of the scaling is not a number, which means none.
    - Names tell patient and study by their pseudonyms in RSNA 2019; one patient has two studies.

    Attributes:
        tilted_step_is_table_step: correct the slice distance of tilted scans.
    """

    tilted_step_is_table_step: bool = True

    name: ClassVar[str] = "bhsd"
    title: ClassVar[str] = "BHSD, brain hemorrhage segmentation dataset"
    layout: ClassVar[str] = f"{IMAGES}/ID_*_ID_*.nii.gz, {MASKS} with the same names; {UNLABELLED}/anybleed, nobleed"
    terms: ClassVar[str] = "that of the repository it comes from, and RSNA's rules for the scans"
    identities: ClassVar[str] = IDENTITIES

    def find(self, root: Path, processes: int = 1) -> Found:
        base = base_folder(root, ("label_192", UNLABELLED), self.layout)
        images = {stem_of(path): path for path in files_in(base / IMAGES, NIFTI_SUFFIXES)}
        masks = {stem_of(path): path for path in files_in(base / MASKS, NIFTI_SUFFIXES)}
        findings = summed_up(
            "DATA_MISSING", "{count} scans have no mask; their slices are unlabelled. The first is {first}.",
            set(images) - set(masks),
        )  # fmt: skip
        findings += summed_up(
            "DATA_MISSING", "{count} masks have no scan; the first is {first}.", set(masks) - set(images)
        )
        found = [(path, masks.get(name), UNKNOWN) for name, path in images.items()]
        parts: tuple[tuple[str, Labels], ...] = (("anybleed", labels_of({"any": True})), ("nobleed", NEGATIVE))
        for part, labels in parts:
            scans = files_in(base / UNLABELLED / part, NIFTI_SUFFIXES)
            found += [(path, None, labels) for path in scans]
            if not scans:
                findings.append(Finding("DATA_MISSING", f"No scan is in {UNLABELLED}/{part}."))
        if not images:
            findings.append(Finding("DATA_MISSING", f"No scan is in {IMAGES}."))
        records = []
        for path, mask, labels in sorted(found, key=lambda one: one[0]):
            match = _NAME.fullmatch(stem_of(path))
            if match is None:
                sentence = "The name does not tell patient and study (ID_…_ID_….nii.gz); the scan was left out."
                findings.append(Finding("DATA_NAME", sentence, relative(path, root)))
                continue
            records.append(
                ScanRecord(
                    dataset=self.name,
                    identities=self.identities,
                    patient=match[1],
                    study=match[2],
                    series=stem_of(path),
                    files=(relative(path, root),),
                    mask_files=(relative(mask, root),) if mask else (),
                    labels=labels,
                )
            )
        return Found(tuple(records), tuple(findings))

    def load(self, record: ScanRecord, root: Path) -> Scan:
        return load_masked(record, root, mask_kind="subtypes", codes=CODES, table_step=self.tilted_step_is_table_step)
