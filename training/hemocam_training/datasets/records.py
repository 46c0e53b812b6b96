"""The one shape that every dataset is brought into."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from hemocam_training.datasets.labels import UNKNOWN, Labels
from HemoCAMLib.ct.geometry import SliceGeometry
from HemoCAMLib.ct.head_ct import ScanWarning


@dataclass(frozen=True)
class Finding:
    """Something missing, damaged or odd in a dataset, told and not hidden.

    Attributes:
        code: ``DATA_MISSING``, ``DATA_DAMAGED``, ``DATA_LEFT_OUT``, ``DATA_UNLABELLED``, ``DATA_LABELS``,
            ``DATA_MASK``, ``DATA_NAME``.
        sentence: what was found and what became of it.
        file: relative to the dataset's folder; empty where it is about several.
    """

    code: str
    sentence: str
    file: str = ""


@dataclass(frozen=True)
class ScanRecord:
    """One series of a dataset, found but not yet decoded.

    Attributes:
        dataset: name in the registry.
        identities: whose pseudonyms ``patient`` and ``study`` are; datasets made from the same scans share it.
        patient: the dataset's own pseudonym, never a name.
        study: the same for the study; a StudyInstanceUID where there is one.
        series: the same for the series.
        files: relative to the dataset's folder, with forward slashes; empty for what is computed.
        mask_files: one for the scan or one per file; empty where there is none.
        labels: of the scan as a whole.
        slice_labels: of single slices, by their identity.
        category: another class of the scan, such as the kind of a tumour.
        fold: fold that the dataset supplies, from 1.
    """

    dataset: str
    identities: str
    patient: str
    study: str
    series: str
    files: tuple[str, ...] = ()
    mask_files: tuple[str, ...] = ()
    labels: Labels = UNKNOWN
    slice_labels: Mapping[str, Labels] = field(default_factory=dict)
    category: str = ""
    fold: int | None = None


@dataclass(frozen=True)
class SliceRecord:
    """One slice.

    Attributes:
        identity: SOP instance UID, slice number or file name, as the dataset names it; unique within the series.
        file: where it is stored, relative to the dataset's folder.
        plane: which plane of the file as stored, from 0.
        labels: what it shows.
        labels_from: ``reader``, ``mask`` or ``scan`` (what follows from the scan's labels); empty where unknown.
    """

    identity: str
    file: str
    plane: int
    labels: Labels = UNKNOWN
    labels_from: str = ""


@dataclass(frozen=True, eq=False)
class Scan:
    """One series, decoded.

    Attributes:
        record: what it is.
        slices: one per slice of ``hu``.
        hu: [slice, row, column] int16 in HU, feet to head, front to back, right to left where the file says how it
            lies; the intensities as stored where ``modality`` is not CT.
        geometry: true positions; None where the dataset does not tell them.
        mask: [slice, row, column] uint8 on the grid of ``hu``, or None.
        mask_kind: ``subtypes`` (labels of :mod:`HemoCAMLib.subtypes`), ``any`` or ``tumour`` (0 and 1).
        modality: ``CT`` or ``MR``.
        warnings: what the reader of the scan found and handled.
        findings: files of this scan that had to be left out, and the like.
    """

    record: ScanRecord
    slices: tuple[SliceRecord, ...]
    hu: NDArray[np.int16]
    geometry: SliceGeometry | None
    mask: NDArray[np.uint8] | None = None
    mask_kind: str = ""
    modality: str = "CT"
    warnings: tuple[ScanWarning, ...] = ()
    findings: tuple[Finding, ...] = ()


@dataclass(frozen=True)
class Found:
    """What a dataset's folder holds."""

    records: tuple[ScanRecord, ...]
    findings: tuple[Finding, ...] = ()


class Dataset(ABC):
    """A dataset's layout: what lies where, and how it is read. Fields of the subclasses are its options.

    Attributes:
        name: in the registry and on the command line.
        title: full name.
        layout: what has to lie below the root.
        identities: whose pseudonyms its patients and studies have.
        terms: licence, as far as known.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    layout: ClassVar[str]
    terms: ClassVar[str]
    identities: ClassVar[str]

    @abstractmethod
    def find(self, root: Path, processes: int = 1) -> Found:
        """Every scan below the root, in a fixed order, and what is missing; pixels are not decoded.

        Raises:
            DataRefused: ``DATA_LAYOUT``, ``DATA_TABLE``: there is nothing to go by.
        """

    @abstractmethod
    def load(self, record: ScanRecord, root: Path) -> Scan:
        """One scan, decoded.

        Raises:
            HemoCAMError: the scan cannot be used at all.
        """
