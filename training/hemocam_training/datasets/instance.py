"""INSTANCE 2022."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from hemocam_training.datasets.layout import base_folder, files_in, relative, stem_of, summed_up
from hemocam_training.datasets.masked_nifti import load_masked
from hemocam_training.datasets.nifti_files import NIFTI_SUFFIXES
from hemocam_training.datasets.records import Dataset, Found, Scan, ScanRecord
from hemocam_training.errors import DataRefused


@dataclass(frozen=True)
class Instance2022(Dataset):
    """100 training scans with masks of one class, any hemorrhage; scans of the evaluation have none.

    Attributes:
        images: folder of the scans, below the root.
        masks: folder of the masks, with the same file names.
        evaluation: folder of scans without masks.
    """

    images: str = "train_2/data"
    masks: str = "train_2/label"
    evaluation: str = "evaluation"

    name: ClassVar[str] = "instance-2022"
    title: ClassVar[str] = "INSTANCE 2022, intracranial hemorrhage segmentation challenge"
    layout: ClassVar[str] = "train_2/data/*.nii.gz, train_2/label/*.nii.gz, evaluation/*.nii.gz; options name others"
    terms: ClassVar[str] = "the challenge's data agreement"
    identities: ClassVar[str] = name

    def find(self, root: Path, processes: int = 1) -> Found:
        base = base_folder(root, (self.images,), f"{self.images}/*.nii.gz and {self.masks}/*.nii.gz")
        images = {stem_of(path): path for path in files_in(base / self.images, NIFTI_SUFFIXES)}
        masks = {stem_of(path): path for path in files_in(base / self.masks, NIFTI_SUFFIXES)}
        if not images:
            raise DataRefused("DATA_LAYOUT", f"No NIfTI file is in {self.images}.", f"Expected: {self.layout}")
        findings = summed_up("DATA_MISSING", "{count} scans have no mask; the first is {first}.",
                             set(images) - set(masks))  # fmt: skip
        findings += summed_up("DATA_MISSING", "{count} masks have no scan; the first is {first}.",
                              set(masks) - set(images))  # fmt: skip
        # Scans of both parts count from 001, so the part belongs to the pseudonym.
        parts = [("train", name, path) for name, path in sorted(images.items())]
        parts += [("evaluation", stem_of(path), path) for path in files_in(base / self.evaluation, NIFTI_SUFFIXES)]
        records = []
        for part, name, path in parts:
            mask = masks.get(name) if part == "train" else None
            records.append(
                ScanRecord(
                    dataset=self.name,
                    identities=self.identities,
                    patient=f"{part}-{name}",
                    study=f"{part}-{name}",
                    series=name,
                    files=(relative(path, root),),
                    mask_files=(relative(mask, root),) if mask else (),
                )
            )
        return Found(tuple(records), tuple(findings))

    def load(self, record: ScanRecord, root: Path) -> Scan:
        return load_masked(record, root, mask_kind="any", codes=None)
