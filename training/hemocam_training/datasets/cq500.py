"""CQ500."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import ClassVar

import numpy as np

from hemocam_training.datasets.dicom_files import read_dicom_files, read_headers
from hemocam_training.datasets.labels import UNKNOWN, Labels, contradict, labels_of, of_every_slice
from hemocam_training.datasets.layout import base_folder, in_processes, relative, summed_up
from hemocam_training.datasets.records import Dataset, Finding, Found, Scan, ScanRecord, SliceRecord
from hemocam_training.datasets.tables import read_table, yes_or_no
from hemocam_training.errors import DataRefused
from HemoCAMLib.ct.dicom_folder import list_files
from HemoCAMLib.ct.dicom_series import Series, group_series

TABLE = "reads.csv"
_COLUMNS = {"any": "ICH", "IPH": "IPH", "IVH": "IVH", "SAH": "SAH", "SDH": "SDH", "EDH": "EDH"}
_READERS = ("R1", "R2", "R3")
_NUMBER = re.compile(r"CQ500[-_ ]?CT[-_ ]?0*(\d+)", re.IGNORECASE)
#: Names of series with contrast agent; “4cc sec 150cc” is how it was injected.
_ENHANCED = re.compile(r"\b(post|cect|oral|iv|contrast|c|\d+cc)\b", re.IGNORECASE)
_PLAIN = re.compile(r"\b(pre|plain|non)\b", re.IGNORECASE)
_FEWEST_SLICES = 8


@dataclass(frozen=True)
class Cq500(Dataset):
    """491 studies read by three; the reference is their majority. Labels are of the study, not of slices.

    A study has several series (thin, 5 mm, bone, with contrast agent): the unenhanced axial one with a soft kernel is
    taken whose slices are closest to ``thickness_mm``. Padding of -2000 becomes -3024 after the rescale and is air.

    Attributes:
        thickness_mm: wanted slice thickness.
    """

    thickness_mm: float = 5.0

    name: ClassVar[str] = "cq500"
    title: ClassVar[str] = "CQ500"
    layout: ClassVar[str] = f"{TABLE} and one folder per study, CQ500CT0 CQ500CT0/Unknown Study/CT …/*.dcm"
    terms: ClassVar[str] = "CC BY-NC-SA 4.0"
    identities: ClassVar[str] = name

    def find(self, root: Path, processes: int = 1) -> Found:
        base = base_folder(root, (TABLE,), self.layout)
        labels, findings = read_majority(base / TABLE)
        studies = _study_folders(base)
        if not studies:
            raise DataRefused("DATA_LAYOUT", "No folder of a study was found.", f"Expected: {self.layout}")
        findings += summed_up("DATA_MISSING", f"{{count}} studies of {TABLE} are not there; the first is {{first}}.",
                              (_name(number) for number in set(labels) - set(studies)))  # fmt: skip
        findings += summed_up("DATA_UNLABELLED", f"{{count}} studies are not in {TABLE}; the first is {{first}}.",
                              (_name(number) for number in set(studies) - set(labels)))  # fmt: skip
        numbers = sorted(studies)
        select = partial(_select, root=root, thickness_mm=self.thickness_mm)
        records = []
        for number, found in zip(numbers, in_processes(select, [studies[n] for n in numbers], processes), strict=True):
            if isinstance(found, Finding):
                findings.append(found)
                continue
            study, series, files, left_out = found
            findings += left_out
            records.append(
                ScanRecord(
                    dataset=self.name,
                    identities=self.identities,
                    patient=_name(number),
                    study=study or _name(number),
                    series=series,
                    files=files,
                    labels=labels.get(number, UNKNOWN),
                )
            )
        return Found(tuple(records), tuple(findings))

    def load(self, record: ScanRecord, root: Path) -> Scan:
        scan = read_dicom_files([root / name for name in record.files], record.series)
        implied = of_every_slice(record.labels)
        slices = tuple(
            SliceRecord(uid, relative(path, root), 0, implied, "scan" if implied != UNKNOWN else "")
            for uid, path in zip(scan.head.source.sop_instance_uids, scan.files, strict=True)
        )
        findings = tuple(
            Finding("DATA_DAMAGED", f"The file was left out of its scan: {why}.", relative(path, root))
            for path, why in scan.damaged
        )
        return Scan(
            record, slices, scan.head.hu, scan.head.geometry, warnings=tuple(scan.head.warnings), findings=findings
        )


def read_majority(path: Path) -> tuple[dict[int, Labels], list[Finding]]:
    """Labels by study number: what two of three readers saw; unknown where fewer than two agree."""
    table = read_table(path, ("name", *(f"{reader}:{column}" for reader in _READERS for column in _COLUMNS.values())))
    labels: dict[int, Labels] = {}
    unread, odd = [], []
    for row in table.to_dict("records"):
        match = _NUMBER.search(row["name"])
        if match is None:
            unread.append(row["name"])
            continue
        named: dict[str, bool | None] = {}
        for name, column in _COLUMNS.items():
            votes = [yes_or_no(row[f"{reader}:{column}"]) for reader in _READERS]
            named[name] = True if votes.count(True) >= 2 else False if votes.count(False) >= 2 else None
        if contradict(named):
            odd.append(row["name"])
        labels[int(match[1])] = labels_of(named)
    findings = summed_up("DATA_LABELS", "{count} rows name no study of CQ500; they were left out.", unread)
    findings += summed_up(
        "DATA_LABELS",
        "{count} studies have a subtype but not ICH by majority; they count as bleeding. The first is {first}.",
        odd,
    )
    return labels, findings


def select_series(series: list[Series], thickness_mm: float) -> Series | None:
    """The unenhanced axial series whose slices are closest to the wanted thickness; None where there is none.

    What the header leaves open is taken from the name of the series' folder, such as ``CT POST CONTRAST THIN``.
    """
    usable = [
        one
        for one in series
        if one.first.is_ct
        and not one.is_localizer
        and not one.is_photograph
        and not one.derived
        and one.plane == "axial"
        and len(one.headers) >= _FEWEST_SLICES
        and not one.contrast
        and not named_enhanced(one.first.path.parent.name)
        and one.kernel != "bone"
        and "bone" not in one.first.path.parent.name.lower()
    ]
    return min(
        usable,
        key=lambda one: (
            -one.of_head,
            abs(_thickness(one) - thickness_mm),
            one.kernel != "soft",
            -len(one.headers),
            one.uid,
        ),
        default=None,
    )


def named_enhanced(name: str) -> bool:
    """Whether the name of a series' folder tells of contrast agent.

    >>> [named_enhanced(name) for name in ("CT POST CONTRAST-2", "CT C THIN", "CT 4cc sec 150cc D3D on", "CT ORAL IV")]
    [True, True, True, True]
    >>> [named_enhanced(name) for name in ("CT PRE CONTRAST 5MM STD", "CT Thin Plain", "CT 0.625mm", "CT 5mm-3")]
    [False, False, False, False]
    """
    return bool(_ENHANCED.search(name)) and not _PLAIN.search(name)


def _thickness(series: Series) -> float:
    if series.thickness_mm is not None:
        return series.thickness_mm
    cosines = series.first.orientation
    places = [header.position_mm for header in series.headers]
    if cosines is None or len(places) < 2 or any(place is None for place in places):
        return float("inf")
    offsets = np.sort(np.stack([place for place in places if place is not None]) @ np.cross(cosines[:3], cosines[3:]))
    return float(np.median(np.diff(offsets)))


def _study_folders(base: Path) -> dict[int, Path]:
    """Folders of studies by number, in the base or one folder below (parts are unpacked as qct01, qct02, …)."""
    inner = [path for path in base.iterdir() if path.is_dir()]
    outer = [path for path in inner if not _NUMBER.match(path.name)]
    deeper = [path for folder in outer for path in folder.iterdir() if path.is_dir()]
    found: dict[int, Path] = {}
    for path in sorted(inner + deeper):
        match = _NUMBER.match(path.name)
        if match is not None:
            found.setdefault(int(match[1]), path)
    return found


def _name(number: int) -> str:
    return f"CQ500-CT-{number}"


Selected = tuple[str, str, tuple[str, ...], list[Finding]]


def _select(folder: Path, root: Path, thickness_mm: float) -> Selected | Finding:
    """Study, series and files of a study's folder, with its damaged files."""
    headers, damaged = read_headers(list_files(folder))
    chosen = select_series(group_series(headers), thickness_mm)
    where = relative(folder, root)
    if chosen is None:
        sentence = "The study was left out: it has no axial series without contrast agent and with a soft kernel."
        return Finding("DATA_LEFT_OUT", sentence, where)
    files = tuple(sorted({relative(header.path, root) for header in chosen.headers}))
    place = chosen.first.path.parent
    findings = [
        Finding("DATA_DAMAGED", f"The file was left out of its scan: {why}.", relative(path, root))
        for path, why in damaged
        if path.parent == place
    ]
    return chosen.first.study_uid, chosen.uid, files, findings
