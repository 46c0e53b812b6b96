"""Scans with what is known of them, from phantom seeds or from the index of a prepared dataset, in one shape."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from itertools import groupby
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from hemocam_training import phantoms
from hemocam_training.datasets.index import ScanIndex
from hemocam_training.datasets.preparation import file_sha256
from hemocam_training.datasets.records import Dataset, Finding, ScanRecord
from hemocam_training.errors import DataRefused
from hemocam_training.phantoms import make_phantom
from HemoCAMLib.ct.geometry import SliceGeometry
from HemoCAMLib.subtypes import CLASS_NAMES, SUBTYPES

#: Below this labelled area in a slice a reader may or may not call it; such labels do not count.
MINIMAL_AREA_MM2 = 20.0

#: A label as a number: yes, no, unknown.
YES, NO, UNKNOWN = 1, 0, -1


@dataclass(frozen=True, eq=False)
class LabelledScan:
    """One scan, decoded, with its labels.

    Attributes:
        patient: key as in :attr:`ScanIndex.patient_keys`, so that splits and sets from the same patients agree.
        study, series: pseudonyms; of a phantom its seed.
        slices: [slice] identity of each slice within the series.
        hu: [slice, row, column] int16, canonical; intensities as stored where ``modality`` is not CT.
        geometry: true positions; None where the dataset does not tell them.
        labels: [slice, class] int8, 1 yes, 0 no, -1 unknown, in the order of CLASS_NAMES.
        labels_from: [slice] ``reader``, ``mask``, ``scan`` or empty.
        mask: [slice, row, column] uint8 or None.
        mask_kind: ``subtypes``, ``any`` or ``tumour``; empty without a mask.
        category: another class of the scan.
        fold: that the dataset supplies, 0 for none.
        modality: ``CT`` or ``MR``.
        findings: what had to be left out.
    """

    patient: str
    study: str
    series: str
    slices: tuple[str, ...]
    hu: NDArray[np.int16]
    geometry: SliceGeometry | None
    labels: NDArray[np.int8]
    labels_from: tuple[str, ...]
    mask: NDArray[np.uint8] | None = None
    mask_kind: str = ""
    category: str = ""
    fold: int = 0
    modality: str = "CT"
    findings: tuple[Finding, ...] = ()

    @property
    def areas_mm2(self) -> NDArray[np.float64]:
        """[slice, class] area that the mask marks; not a number where no mask or no geometry tells it."""
        areas = np.full((len(self.hu), len(CLASS_NAMES)), np.nan)
        if self.mask is not None and self.geometry is not None and self.mask_kind in ("subtypes", "any"):
            areas[:, 0] = np.count_nonzero(self.mask, axis=(1, 2)) * self.geometry.pixel_area_mm2
            if self.mask_kind == "subtypes":
                for subtype in SUBTYPES:
                    pixels = np.count_nonzero(self.mask == subtype.label, axis=(1, 2))
                    areas[:, subtype.label] = pixels * self.geometry.pixel_area_mm2
        return areas

    @property
    def target_and_known(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """See :func:`target_and_known`."""
        from_mask = np.array([origin == "mask" for origin in self.labels_from])
        return target_and_known(self.labels, self.areas_mm2, from_mask)


def target_and_known(
    labels: NDArray[np.int8],
    areas_mm2: NDArray[np.floating[Any]],
    from_mask: NDArray[np.bool_],
    minimal_area_mm2: float = MINIMAL_AREA_MM2,
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """What a network is to learn, and what of it counts.

    A label that is unknown does not count, and neither does one that a mask gave to a lesion so small that a reader
    may or may not call it.

    Args:
        labels: [slice, class] 1, 0 or -1.
        areas_mm2: [slice, class]; not a number where it is not known.
        from_mask: [slice] whether the labels come from a mask.
        minimal_area_mm2: least area of a lesion whose label counts.

    Returns:
        target and known, [slice, class] float32, 0 or 1.
    """
    small = from_mask[:, None] & (labels == YES) & (np.nan_to_num(areas_mm2, nan=np.inf) < minimal_area_mm2)
    target = (labels == YES) & ~small
    known = (labels != UNKNOWN) & ~small
    return target.astype(np.float32), known.astype(np.float32)


class ScanSource(Protocol):
    """Scans by number. A source travels to other processes, so it holds no pixels."""

    def __len__(self) -> int: ...

    def load(self, number: int) -> LabelledScan:
        """One scan, decoded.

        Raises:
            HemoCAMError: it cannot be used.
        """

    def describe(self) -> dict[str, Any]:
        """What the scans are, as plain values: the same for the same scans."""


@dataclass(frozen=True)
class PhantomSource:
    """Phantoms by seed.

    Attributes:
        first_seed: of the set.
        count: number of heads.
        noise: whether scanner noise is drawn.
        size: rows and columns, a divisor of 512.
        mixtures: what bleeds, phantom after phantom in turn; empty leaves it to chance.
        templates: folder of head templates, see :func:`~hemocam_training.phantoms.make_phantom`.
    """

    first_seed: int
    count: int
    noise: bool = True
    size: int = 512
    mixtures: tuple[tuple[str, ...], ...] = ()
    templates: Path | None = None

    def __post_init__(self) -> None:
        if self.first_seed < 0 or self.count < 1 or self.size < 16 or 512 % self.size:
            raise DataRefused(
                "DATA_OPTION", "There is no such set of phantoms.", "Give count ≥ 1 and a size that divides 512."
            )

    def __len__(self) -> int:
        return self.count

    @property
    def seeds(self) -> range:
        return range(self.first_seed, self.first_seed + self.count)

    def load(self, number: int) -> LabelledScan:
        seed = self.seeds[number]
        subtypes = self.mixtures[number % len(self.mixtures)] if self.mixtures else None
        phantom = make_phantom(seed, self.size, self.size, subtypes, noise=self.noise, templates=self.templates)
        count, name = len(phantom.hu), str(seed)
        return LabelledScan(
            patient=f"phantoms/{name}",
            study=name,
            series=name,
            slices=tuple(map(str, range(count))),
            hu=phantom.hu if self.noise else phantom.noise_free,
            geometry=phantom.geometry,
            labels=phantom.slice_labels.astype(np.int8),
            labels_from=("mask",) * count,
            mask=phantom.labels,
            mask_kind="subtypes",
        )

    def describe(self) -> dict[str, Any]:
        told: dict[str, Any] = {
            "kind": "phantoms",
            "dataset": "phantoms",
            "first_seed": self.first_seed,
            "scans": self.count,
            "noise": self.noise,
            "matrix": self.size,
            "templates": templates_checksum(self.templates) if self.templates is not None else None,
            "generator": generator_checksum(),
        }
        return {**told, "mixtures": [list(one) for one in self.mixtures]} if self.mixtures else told


@lru_cache(maxsize=1)
def generator_checksum() -> str:
    """Of the code that draws phantoms: the same seed gives the same phantom only with the same code."""
    folder = Path(phantoms.__file__).parent
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*.py")):
        digest.update(path.read_bytes().replace(b"\r\n", b"\n"))
    return digest.hexdigest()[:16]


def templates_checksum(folder: Path) -> str:
    """Of the names and sizes of the files in a folder of head templates: other heads, other phantoms."""
    files = sorted((path.relative_to(folder).as_posix(), path.stat().st_size) for path in folder.rglob("*.nii*"))
    return hashlib.sha256(repr(files).encode()).hexdigest()[:16]


@dataclass(frozen=True, eq=False)
class IndexSource:
    """The scans of an index, read from the dataset's folder. Labels are those of the index.

    Attributes:
        index: of a prepared dataset, or a part of one.
        root: the dataset's folder.
        check_files: compare each file with the checksum in the index before it is used.
    """

    index: ScanIndex
    root: Path
    check_files: bool = True
    _scans: tuple[tuple[ScanRecord, int, int], ...] = field(init=False, repr=False)
    _dataset: Dataset = field(init=False, repr=False)

    def __post_init__(self) -> None:
        counts = [sum(1 for _ in rows) for _, rows in groupby(self.index.scan_keys)]
        starts = np.cumsum([0, *counts]).tolist()
        scans = tuple((one, start, n) for one, start, n in zip(self.index.records(), starts, counts, strict=False))
        object.__setattr__(self, "_scans", scans)
        object.__setattr__(self, "_dataset", self.index.open_dataset())

    def __len__(self) -> int:
        return len(self._scans)

    def load(self, number: int) -> LabelledScan:
        record, start, count = self._scans[number]
        rows = {row["slice"]: row for row in self.index.table.slice(start, count).to_pylist()}
        if self.check_files:
            self._check(rows.values())
        scan = self._dataset.load(record, self.root)
        kept = [index for index, one in enumerate(scan.slices) if one.identity in rows]
        if len(kept) != len(rows):
            raise DataRefused(
                "DATA_CHANGED", "The scan has lost slices since it was prepared.", "Prepare the dataset again."
            )
        of_slices = [rows[scan.slices[index].identity] for index in kept]
        whole = len(kept) == len(scan.slices)
        return LabelledScan(
            patient=f"{record.identities}/{record.patient}",
            study=record.study,
            series=record.series,
            slices=tuple(str(row["slice"]) for row in of_slices),
            hu=scan.hu if whole else scan.hu[kept],
            geometry=scan.geometry if whole else _part(scan.geometry, kept),
            labels=np.array([[_number(row[name]) for name in CLASS_NAMES] for row in of_slices], np.int8),
            labels_from=tuple(row["labels_from"] or "" for row in of_slices),
            mask=scan.mask if whole or scan.mask is None else scan.mask[kept],
            mask_kind=scan.mask_kind,
            category=record.category or "",
            fold=record.fold or 0,
            modality=scan.modality,
            findings=scan.findings,
        )

    def _check(self, rows: Any) -> None:
        for name, wanted in {(row["file"], row["sha256"]) for row in rows if row["file"]}:
            if not (self.root / name).is_file():
                raise DataRefused("DATA_MISSING", "A file of the scan is not there.", "Check the dataset's folder.")
            if file_sha256(self.root / name) != wanted:
                raise DataRefused(
                    "DATA_CHANGED", "A file of the scan was changed since it was prepared.", "Prepare it again."
                )

    def describe(self) -> dict[str, Any]:
        return {
            "kind": "index",
            "dataset": self.index.dataset_name,
            "options": dict(self.index.options),
            "index_checksum": self.index.checksum,
            "scans": len(self),
            "slices": len(self.index),
        }


def _number(label: bool | None) -> int:
    return UNKNOWN if label is None else int(label)


def _part(geometry: SliceGeometry | None, kept: Sequence[int]) -> SliceGeometry | None:
    """Positions of some slices; their extents then reach to the next slice that was kept."""
    return None if geometry is None else replace(geometry, positions_mm=geometry.positions_mm[list(kept)])


def source_differences(first: Mapping[str, Any], second: Mapping[str, Any]) -> list[str]:
    """Names of what two descriptions disagree about."""
    return sorted(name for name in {*first, *second} if first.get(name) != second.get(name))
