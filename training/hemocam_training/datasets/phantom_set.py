"""The phantoms, computed from seeds."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

from hemocam_training.datasets.labels import labels_of, union
from hemocam_training.datasets.records import Dataset, Found, Scan, ScanRecord, SliceRecord
from hemocam_training.errors import DataRefused
from hemocam_training.phantoms import make_phantom
from hemocam_training.phantoms.phantom import SLICE_LABEL_NAMES
from hemocam_training.seeds import TRAINING_SEED


@dataclass(frozen=True)
class Phantoms(Dataset):
    """Synthetic head CTs with exact masks; nothing lies on disk.

    Attributes:
        first_seed: of the set; training, validation and test sets start at fixed seeds.
        count: number of heads.
        size: rows and columns, a divisor of 512.
    """

    first_seed: int = TRAINING_SEED
    count: int = 100
    size: int = 512

    name: ClassVar[str] = "phantoms"
    title: ClassVar[str] = "Phantoms of this package"
    layout: ClassVar[str] = "nothing; any folder will do"
    terms: ClassVar[str] = "Apache-2.0"
    identities: ClassVar[str] = name

    def find(self, root: Path, processes: int = 1) -> Found:
        if self.count < 1 or self.size < 16 or 512 % self.size:
            raise DataRefused(
                "DATA_OPTION", "There is no such set of phantoms.", "Give count ≥ 1 and a size that divides 512."
            )
        seeds = range(self.first_seed, self.first_seed + self.count)
        return Found(tuple(ScanRecord(self.name, self.identities, str(s), str(s), str(s)) for s in seeds))

    def load(self, record: ScanRecord, root: Path) -> Scan:
        phantom = make_phantom(int(record.series), rows=self.size, columns=self.size)
        labels = [labels_of(dict(zip(SLICE_LABEL_NAMES, map(bool, row), strict=True))) for row in phantom.slice_labels]
        slices = tuple(SliceRecord(str(index), "", index, one, "mask") for index, one in enumerate(labels))
        return Scan(
            replace(record, labels=union(labels)), slices, phantom.hu, phantom.geometry, phantom.labels, "subtypes"
        )
