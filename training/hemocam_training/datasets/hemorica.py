"""Hemorica."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from hemocam_training.datasets.labels import UNKNOWN, Labels, contradict, labels_of, labels_of_mask, union
from hemocam_training.datasets.layout import base_folder, inside, pseudonym, relative, summed_up
from hemocam_training.datasets.nifti_files import recoded
from hemocam_training.datasets.records import Dataset, Finding, Found, Scan, ScanRecord, SliceRecord
from hemocam_training.datasets.tables import read_table, whole_number, yes_or_no
from hemocam_training.errors import DataRefused
from HemoCAMLib.ct.head_ct import AIR_HU
from HemoCAMLib.subtypes import SUBTYPES


@dataclass(frozen=True)
class Hemorica(Dataset):
    """372 scans with labels and masks of slices, as HU arrays beside a table.

    How the download is laid out is not published; columns and places are options. A column that the table lacks is
    unknown, except for those of patient and slice. Positions and pixel sizes are not stored, so there is no geometry.

    Attributes:
        table: CSV file below the root.
        patient, slice, any, iph, ivh, sah, sdh, edh: its columns.
        image, mask: places of a slice's arrays, with ``{patient}`` and ``{slice}``.
        mask_codes: values in masks, such as ``EDH=1,IPH=2``; empty: above 0 is hemorrhage of any kind.
    """

    table: str = "labels.csv"
    patient: str = "patient_name"
    slice: str = "slice_number"
    any: str = "hemorrhage_binary"
    iph: str = "IPH"
    ivh: str = "IVH"
    sah: str = "SAH"
    sdh: str = "SDH"
    edh: str = "EPH"
    image: str = "images/{patient}_{slice}.npy"
    mask: str = "masks/{patient}_{slice}.npy"
    mask_codes: str = ""

    name: ClassVar[str] = "hemorica"
    title: ClassVar[str] = "Hemorica"
    layout: ClassVar[str] = "labels.csv, images/<patient>_<slice>.npy in HU, masks/<patient>_<slice>.npy; see options"
    terms: ClassVar[str] = "that of its publication"
    identities: ClassVar[str] = name

    def find(self, root: Path, processes: int = 1) -> Found:
        base = base_folder(root, (self.table,), self.layout)
        table = read_table(base / self.table, (self.patient, self.slice))
        columns = {"any": self.any, "IPH": self.iph, "IVH": self.ivh, "SAH": self.sah, "SDH": self.sdh, "EDH": self.edh}
        present = {name: column for name, column in columns.items() if column in table.columns}
        if not present:
            wanted = ", ".join(columns.values())
            raise DataRefused("DATA_TABLE", f"The table has none of the columns {wanted}.", "Name them as options.")
        labels: defaultdict[str, dict[int, Labels]] = defaultdict(dict)
        unread, twice, odd = [], [], []
        for row in table.to_dict("records"):
            patient, number = row[self.patient], whole_number(row[self.slice])
            if not patient or number is None:
                unread.append(f"{patient}/{row[self.slice]}")
                continue
            named = {name: yes_or_no(row[column]) for name, column in present.items()}
            odd += [f"{patient}_{number}"] if contradict(named) else []
            settled = labels_of(named)
            if labels[patient].setdefault(number, settled) != settled:
                twice.append(f"{patient}_{number}")
                labels[patient][number] = UNKNOWN
        findings = summed_up("DATA_LABELS", "{count} rows name no patient and slice; they were left out.", unread)
        findings += summed_up("DATA_LABELS", "{count} slices are labelled twice and differently; they count as unknown."
                              " The first is {first}.", twice)  # fmt: skip
        findings += summed_up("DATA_LABELS", "{count} slices have a subtype but no hemorrhage; they count as bleeding."
                              " The first is {first}.", odd)  # fmt: skip
        records, missing = [], []
        for patient in sorted(labels):
            record, lost = self._record(patient, labels[patient], base, root)
            missing += lost
            records += [record] if record.files else []
        findings += summed_up("DATA_MISSING", "{count} slices of the table are not there; the first is {first}.",
                              missing)  # fmt: skip
        return Found(tuple(records), tuple(findings))

    def _record(self, patient: str, labels: dict[int, Labels], base: Path, root: Path) -> tuple[ScanRecord, list[str]]:
        files, masks, missing = [], [], []
        of_slices: dict[str, Labels] = {}
        for number in sorted(labels):
            image = self._place(self.image, patient, number, base)
            if image is None:
                missing.append(f"{patient}_{number}")
                continue
            mask = self._place(self.mask, patient, number, base)
            files.append(relative(image, root))
            masks.append(relative(mask, root) if mask else "")
            of_slices[str(number)] = labels[number]
        # A column called patient_name may hold one.
        own = patient if any(letter.isdigit() for letter in patient) else pseudonym(self.identities, patient)
        record = ScanRecord(
            dataset=self.name,
            identities=self.identities,
            patient=own,
            study=own,
            series=own,
            files=tuple(files),
            mask_files=tuple(masks) if any(masks) else (),
            slice_labels=of_slices,
        )
        return record, missing

    def _place(self, pattern: str, patient: str, number: int, base: Path) -> Path | None:
        path = inside(base, pattern.replace("{patient}", patient).replace("{slice}", str(number)))
        return path if path is not None and path.is_file() else None

    def load(self, record: ScanRecord, root: Path) -> Scan:
        codes = parse_codes(self.mask_codes)
        kind = "subtypes" if codes else "any"
        slices, images, masks, findings = [], [], [], []
        mask_files = record.mask_files or ("",) * len(record.files)
        for (number, labels), file, mask_file in zip(
            record.slice_labels.items(), record.files, mask_files, strict=True
        ):
            try:
                hu = _read_slice(root / file, images[0].shape if images else None)
            except DataRefused as error:
                findings.append(Finding("DATA_DAMAGED", f"{error.message} It was left out of its scan.", file))
                continue
            mask = np.zeros(hu.shape, np.uint8)
            if mask_file:
                try:
                    mask = recoded(_load(root / mask_file, hu.shape), codes)
                except DataRefused as error:
                    findings.append(Finding("DATA_MASK", f"{error.message} It counts as empty.", mask_file))
            elif record.mask_files and labels[0] is not False:
                findings.append(Finding("DATA_MISSING", "The slice has no mask; it counts as empty.", file))
            origin = "reader"
            if labels == UNKNOWN and mask_file:
                labels, origin = labels_of_mask(mask, kind), "mask"
            images.append(hu)
            masks.append(mask)
            slices.append(SliceRecord(number, file, 0, labels, origin if labels != UNKNOWN else ""))
        if not images:
            raise DataRefused("DATA_DAMAGED", "None of the slices of this scan can be read.", "Copy them again.")
        return Scan(
            replace(record, labels=union(one.labels for one in slices)),
            tuple(slices),
            np.stack(images),
            None,
            np.stack(masks) if record.mask_files else None,
            kind if record.mask_files else "",
            findings=tuple(findings),
        )


def parse_codes(text: str) -> dict[int, int] | None:
    """``EDH=1,IPH=2`` to value in the file → our label; None where empty.

    Raises:
        DataRefused: ``DATA_OPTION``.
    """
    if not text.strip():
        return None
    labels = {subtype.name: subtype.label for subtype in SUBTYPES}
    codes: dict[int, int] = {}
    for part in text.split(","):
        name, _, value = part.partition("=")
        number = whole_number(value)
        if name.strip() not in labels or number is None:
            raise DataRefused("DATA_OPTION", f"“{part.strip()}” is not a subtype and its value.", "Write IPH=2,EDH=1.")
        codes[number] = labels[name.strip()]
    return codes


def _read_slice(path: Path, shape: tuple[int, ...] | None) -> NDArray[np.int16]:
    values = _load(path, shape)
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        raise DataRefused("DATA_DAMAGED", "The slice holds values that are not numbers.")
    if float(values.min()) >= 0 and float(values.max()) <= 255:
        raise DataRefused("DATA_DAMAGED", "The slice is not in Hounsfield units: nothing has the value of air.")
    return np.clip(np.rint(values), AIR_HU, 32767).astype(np.int16)


def _load(path: Path, shape: tuple[int, ...] | None) -> NDArray[np.generic]:
    try:
        values = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise DataRefused("DATA_DAMAGED", "The array cannot be read.", detail=type(error).__name__) from error
    if not isinstance(values, np.ndarray) or values.ndim != 2 or values.size == 0 or values.dtype.kind not in "biuf":
        raise DataRefused("DATA_DAMAGED", "The array is not one slice of numbers.")
    if shape is not None and values.shape != shape:
        raise DataRefused("DATA_DAMAGED", "The array has another size than the scan's first slice.")
    found: NDArray[np.generic] = values
    return found
