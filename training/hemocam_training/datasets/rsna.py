"""RSNA Intracranial Hemorrhage Detection 2019."""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import pandas as pd
import pydicom

from hemocam_training.datasets.dicom_files import read_dicom_files
from hemocam_training.datasets.labels import UNKNOWN, Labels, contradict, labels_of, union
from hemocam_training.datasets.layout import base_folder, files_in, in_processes, relative, summed_up
from hemocam_training.datasets.records import Dataset, Finding, Found, Scan, ScanRecord, SliceRecord
from hemocam_training.errors import DataRefused
from HemoCAMLib.ct.reader import quiet_pydicom

TABLE, IMAGES = "stage_2_train.csv", "stage_2_train"
#: Pseudonyms of this dataset, which others made from it keep.
IDENTITIES = "rsna-2019"
_ID = re.compile(r"ID_[0-9a-zA-Z]+")
_CLASSES = {
    "any": "any",
    "intraparenchymal": "IPH",
    "intraventricular": "IVH",
    "subarachnoid": "SAH",
    "subdural": "SDH",
    "epidural": "EDH",
}
_TAGS = ["PatientID", "StudyInstanceUID", "SeriesInstanceUID"]


@dataclass(frozen=True)
class Rsna2019(Dataset):
    """Slices with labels of readers. What the published files are known for:

    - The table is long, one row per image and class, and four images are in it twice.
    - One file has fewer pixels than its header says.
    - Files carry no SliceThickness, InstanceNumber, GantryDetectorTilt or PixelPaddingValue: order, extents and tilt
      come from positions and orientations.
    - Some are unsigned with an intercept above -100 and hold 12-bit numbers below zero as large positive ones;
      :mod:`HemoCAMLib.ct.stored_values` reads them.
    """

    name: ClassVar[str] = "rsna-2019"
    title: ClassVar[str] = "RSNA Intracranial Hemorrhage Detection 2019"
    layout: ClassVar[str] = f"{TABLE} and {IMAGES}/ID_*.dcm"
    terms: ClassVar[str] = "RSNA's rules for the competition's data: non-commercial and academic use"
    identities: ClassVar[str] = IDENTITIES

    def find(self, root: Path, processes: int = 1) -> Found:
        base = base_folder(root, (TABLE, IMAGES), self.layout)
        labels, findings = read_labels(base / TABLE)
        files = files_in(base / IMAGES, (".dcm",))
        if not files:
            raise DataRefused("DATA_LAYOUT", f"No DICOM file is in {IMAGES}.", f"Expected: {self.layout}")
        present = {path.stem for path in files}
        findings += summed_up(
            "DATA_MISSING",
            f"{{count}} images that {TABLE} names are not in {IMAGES}; the first is {{first}}.",
            set(labels) - present,
        )
        findings += summed_up(
            "DATA_UNLABELLED", f"{{count}} files have no row in {TABLE}; the first is {{first}}.", present - set(labels)
        )
        series: defaultdict[tuple[str, str, str], list[Path]] = defaultdict(list)
        for path, found in zip(files, in_processes(_identity, files, processes, chunk=256), strict=True):
            if isinstance(found, str):
                findings.append(Finding("DATA_DAMAGED", f"The file was left out: {found}.", relative(path, root)))
            else:
                series[found].append(path)
        return Found(tuple(self._record(key, series[key], labels, root) for key in sorted(series)), tuple(findings))

    def _record(
        self, key: tuple[str, str, str], paths: list[Path], labels: dict[str, Labels], root: Path
    ) -> ScanRecord:
        patient, study, one = key
        of_slices = {path.stem: labels.get(path.stem, UNKNOWN) for path in paths}
        return ScanRecord(
            dataset=self.name,
            identities=self.identities,
            patient=patient,
            study=study,
            series=one,
            files=tuple(relative(path, root) for path in paths),
            labels=union(of_slices.values()),
            slice_labels=of_slices,
        )

    def load(self, record: ScanRecord, root: Path) -> Scan:
        scan = read_dicom_files([root / name for name in record.files])
        slices = tuple(
            SliceRecord(path.stem, relative(path, root), 0, labels, "reader" if labels != UNKNOWN else "")
            for path in scan.files
            for labels in [record.slice_labels.get(path.stem, UNKNOWN)]
        )
        findings = [
            Finding("DATA_DAMAGED", f"The file was left out of its scan: {why}.", relative(path, root))
            for path, why in scan.damaged
        ]
        findings += [
            Finding(
                "DATA_LEFT_OUT",
                "The file was left out of its scan: a copy, or of another orientation or size.",
                relative(path, root),
            )
            for path in scan.left_out
        ]
        head = scan.head
        return Scan(record, slices, head.hu, head.geometry, warnings=tuple(head.warnings), findings=tuple(findings))


def read_labels(path: Path) -> tuple[dict[str, Labels], list[Finding]]:
    """Labels by image from the long table, each image once.

    Raises:
        DataRefused: ``DATA_TABLE``.
    """
    try:
        table = pd.read_csv(path, usecols=["ID", "Label"], dtype={"ID": str, "Label": "float64"})
    except FileNotFoundError as error:
        raise DataRefused("DATA_TABLE", f"The table {path.name} is not there.", "Copy it beside the images.") from error
    except (OSError, ValueError) as error:
        raise DataRefused(
            "DATA_TABLE", f"The table {path.name} is not one of ID and Label.", "Copy it again.", type(error).__name__
        ) from error
    parts = table["ID"].fillna("").str.rsplit("_", n=1, expand=True).reindex(columns=[0, 1])
    table = table.assign(image=parts[0], kind=parts[1].map(_CLASSES))
    strange = table["kind"].isna() | ~table["Label"].isin([0.0, 1.0])
    findings = summed_up(
        "DATA_LABELS", "{count} rows of the table were left out: no class or no label.", table["ID"][strange].dropna()
    )
    table = table[~strange]
    once = table.drop_duplicates(["image", "kind", "Label"])
    torn = once.duplicated(["image", "kind"], keep=False)
    findings += summed_up(
        "DATA_LABELS",
        "{count} images are labelled twice and differently; what differs counts as unknown. The first is {first}.",
        set(once["image"][torn]),
    )
    findings += summed_up(
        "DATA_LABELS",
        "{count} images are in the table twice with the same labels; each counts once. The first is {first}.",
        set(table["image"][table.duplicated(["image", "kind"])]) - set(once["image"][torn]),
    )
    wide = once[~torn].pivot(index="image", columns="kind", values="Label")
    # An image all of whose rows differ still is in the table.
    wide = wide.reindex(wide.index.union(pd.Index(once["image"].unique()))).reindex(columns=list(_CLASSES.values()))
    labels, odd = {}, []
    names = [str(name) for name in wide.columns]
    for image, row in zip(wide.index, wide.to_numpy(), strict=True):
        named = {name: None if value != value else bool(value) for name, value in zip(names, row, strict=True)}
        labels[str(image)] = labels_of(named)
        if contradict(named):
            odd.append(str(image))
    findings += summed_up(
        "DATA_LABELS",
        "{count} images have a subtype but not the class any; they count as bleeding. The first is {first}.",
        odd,
    )
    return labels, findings


def _identity(path: Path) -> tuple[str, str, str] | str:
    """Patient, study and series of a file, or why it cannot be used."""
    try:
        with quiet_pydicom():
            data = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=_TAGS)
            found = tuple(str(data.get(keyword, "")).strip() for keyword in _TAGS)
    except Exception as error:  # pydicom raises many kinds on broken bytes
        return f"its header cannot be read ({type(error).__name__})"
    if not all(_ID.fullmatch(one) for one in found):
        return "its patient, study and series are not pseudonyms of this dataset"
    patient, study, series = found
    return patient, study, series
