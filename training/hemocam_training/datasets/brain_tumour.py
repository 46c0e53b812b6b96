"""Cheng's brain tumours, the set of the study that compares activation maps with masks."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import h5py
import numpy as np
from numpy.typing import NDArray

from hemocam_training.datasets.labels import UNKNOWN
from hemocam_training.datasets.layout import relative, summed_up
from hemocam_training.datasets.records import Dataset, Finding, Found, Scan, ScanRecord, SliceRecord
from hemocam_training.datasets.tables import whole_number
from hemocam_training.errors import DataRefused

CATEGORIES = {1: "meningioma", 2: "glioma", 3: "pituitary"}
_FOLDS = "cvind.mat"


@dataclass(frozen=True)
class BrainTumours(Dataset):
    """3064 contrast-enhanced T1 slices of 233 patients with one tumour each, its class and its mask.

    Files are MATLAB v7.3, which is HDF5: arrays come out transposed and text as numbers of characters. The set
    supplies the folds of a five-fold cross validation in ``cvind.mat``.
    """

    name: ClassVar[str] = "brain-tumours"
    title: ClassVar[str] = "Brain tumours in T1 images (Cheng, figshare 1512427)"
    layout: ClassVar[str] = "1.mat … 3064.mat in one folder or in several, cvind.mat"
    terms: ClassVar[str] = "CC BY 4.0"
    identities: ClassVar[str] = name

    def find(self, root: Path, processes: int = 1) -> Found:
        files = [path for path in sorted(root.rglob("*.mat")) if whole_number(path.stem) is not None]
        if not files:
            raise DataRefused("DATA_LAYOUT", "No numbered .mat file was found.", f"Expected: {self.layout}")
        folds, findings = _supplied_folds(root)
        records = []
        for path in sorted(files, key=lambda one: (int(one.stem), one)):
            try:
                with _opened(path) as data:
                    patient, label = _text(data["PID"]), int(np.ravel(data["label"][()])[0])
            except DataRefused as error:
                findings.append(Finding("DATA_DAMAGED", f"{error.message} It was left out.", relative(path, root)))
                continue
            except (OSError, KeyError, ValueError, IndexError, TypeError, AttributeError):
                sentence = "The file has no patient and class (cjdata/PID, cjdata/label). It was left out."
                findings.append(Finding("DATA_DAMAGED", sentence, relative(path, root)))
                continue
            if label not in CATEGORIES or not patient:
                sentence = "The file's class is none of 1, 2 and 3, or its patient is empty. It was left out."
                findings.append(Finding("DATA_LABELS", sentence, relative(path, root)))
                continue
            records.append(
                ScanRecord(
                    dataset=self.name,
                    identities=self.identities,
                    patient=patient,
                    study=patient,
                    series=path.stem,
                    files=(relative(path, root),),
                    mask_files=(relative(path, root),),
                    category=CATEGORIES[label],
                    fold=folds.get(int(path.stem)),
                )
            )
        findings += summed_up("DATA_MISSING", f"{{count}} files that {_FOLDS} counts are not there.",
                              (str(one) for one in set(folds) - {int(path.stem) for path in files}))  # fmt: skip
        return Found(tuple(records), tuple(findings))

    def load(self, record: ScanRecord, root: Path) -> Scan:
        try:
            with _opened(root / record.files[0]) as data:
                image, mask = _plane(data["image"]), _plane(data["tumorMask"])
        except (OSError, KeyError, ValueError, TypeError) as error:
            raise DataRefused(
                "DATA_DAMAGED", "The file's image or mask cannot be read.", "Copy it again.", type(error).__name__
            ) from error
        if image.shape != mask.shape:
            raise DataRefused("DATA_DAMAGED", "The file's image and mask have different sizes.", "Copy it again.")
        values = np.clip(np.rint(image.astype(np.float64)), -32768, 32767).astype(np.int16)
        one = SliceRecord(record.series, record.files[0], 0, UNKNOWN)
        return Scan(record, (one,), values[None], None, (mask > 0).astype(np.uint8)[None], "tumour", modality="MR")


@contextmanager
def _opened(path: Path) -> Iterator[h5py.Group]:
    """The struct ``cjdata`` of a file.

    Raises:
        DataRefused: ``DATA_DAMAGED``: not HDF5, or without the struct.
    """
    try:
        file = h5py.File(path, "r")
    except OSError as error:
        raise DataRefused(
            "DATA_DAMAGED", "The file is not a MATLAB v7.3 file.", "Copy it again.", type(error).__name__
        ) from error
    with file:
        data = file.get("cjdata")
        if not isinstance(data, h5py.Group):
            raise DataRefused("DATA_DAMAGED", "The file holds no struct cjdata.", "Copy it again.")
        yield data


def _plane(data: h5py.Dataset) -> NDArray[np.generic]:
    """A MATLAB matrix as [row, column]: HDF5 holds it column by column."""
    values = np.asarray(data[()])
    if values.ndim != 2 or values.dtype.kind not in "biuf":
        raise ValueError("not a matrix of numbers")
    return values.T


def _text(data: h5py.Dataset) -> str:
    """MATLAB text, or a number, as text without control characters."""
    values = np.ravel(data[()])
    if data.attrs.get("MATLAB_class", b"char") not in (b"char", "char"):
        return str(int(values[0]))
    return "".join(chr(int(value)) for value in values if int(value) >= 32).strip()


def _supplied_folds(root: Path) -> tuple[dict[int, int], list[Finding]]:
    """Fold of every file, by its number."""
    places = sorted(root.rglob(_FOLDS))
    if not places:
        return {}, [Finding("DATA_MISSING", f"{_FOLDS} is not there; the set's own five folds are not known.")]
    try:
        with h5py.File(places[0], "r") as file:
            values = np.ravel(file["cvind"][()])
        return {number: int(fold) for number, fold in enumerate(values, 1)}, []
    except (OSError, KeyError, ValueError, TypeError):
        sentence = f"{_FOLDS} cannot be read; the set's own five folds are not known."
        return {}, [Finding("DATA_DAMAGED", sentence, relative(places[0], root))]
