"""A folder of DICOM files to the one series that is to be read, with the reason in words."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass

import numpy as np

from HemoCAMLib.ct.dicom_header import SliceHeader
from HemoCAMLib.ct.head_ct import ScanWarning
from HemoCAMLib.errors import InputRefused

#: Slices of one series are parallel within this cosine (0.5 degrees).
_PARALLEL = 0.99996

#: Philips names.
_BONE_NAMES = frozenset({"YC", "YD", "YE", "D", "L"})
_SOFT_NAMES = frozenset({"A", "B", "C", "UA", "UB", "UC", "EB"})


@dataclass(frozen=True, eq=False)
class Series:
    """Slices that belong together: one series, one image size, one orientation."""

    headers: list[SliceHeader]

    @property
    def first(self) -> SliceHeader:
        return self.headers[0]

    @property
    def uid(self) -> str:
        return self.first.series_uid

    @property
    def plane(self) -> str:
        """``axial``, ``coronal``, ``sagittal`` or ``unknown``; a tilted gantry is still axial."""
        cosines = self.first.orientation
        if cosines is None:
            return "unknown"
        normal = np.abs(np.cross(cosines[:3], cosines[3:]))
        return ("sagittal", "coronal", "axial")[int(normal.argmax())]

    @property
    def is_localizer(self) -> bool:
        return any(header.is_localizer for header in self.headers)

    @property
    def is_photograph(self) -> bool:
        """Colour images and screen captures, such as dose reports."""
        grey = self.first.photometric == "MONOCHROME2" and self.first.samples == 1
        return not grey or "SCREEN SAVE" in " ".join(self.first.image_type) or "DOSE_INFO" in self.first.image_type

    @property
    def contrast(self) -> bool:
        return any(header.contrast for header in self.headers)

    @property
    def kernel(self) -> str:
        return "bone" if self.first.described_as_bone else kernel_kind(self.first.kernel)

    @property
    def thickness_mm(self) -> float | None:
        known = [header.thickness_mm for header in self.headers if header.thickness_mm]
        return float(np.median(known)) if known else None

    @property
    def derived(self) -> bool:
        return bool({"MPR", "REFORMATTED", "PROJECTION IMAGE", "MIP", "MINIP", "AVERAGE"} & set(self.first.image_type))

    @property
    def of_head(self) -> int:
        """2 where the body part is the head, 1 where it is not said, 0 where it is another."""
        part = self.first.body_part
        if any(word in part for word in ("HEAD", "BRAIN", "SKULL", "CRANI", "NEURO")):
            return 2
        return 0 if part else 1

    def describe(self) -> str:
        """In words, without anything typed by a person."""
        kernel = {"soft": "soft-tissue kernel", "bone": "bone kernel"}.get(self.kernel, "kernel not known")
        thickness = f"{self.thickness_mm:g} mm, " if self.thickness_mm else ""
        contrast = "with contrast agent, " if self.contrast else ""
        slices = "1 slice" if len(self.headers) == 1 else f"{len(self.headers)} slices"
        return f"{self.plane}, {kernel}, {thickness}{contrast}{slices}"


def kernel_kind(kernel: str) -> str:
    """``soft``, ``bone`` or ``unknown`` from the ConvolutionKernel (0018,1210), whose names are the vendors' own.

    >>> [kernel_kind(name) for name in ("H31s", "H60s", "STANDARD", "BONEPLUS", "UB", "FC68", "FC30", "Hr69h")]
    ['soft', 'bone', 'soft', 'bone', 'soft', 'soft', 'bone', 'bone']
    """
    name = kernel.upper().strip()
    if siemens := re.match(r"^[A-Z]{1,2}(\d{2})[A-Z]?(\\.*|\s.*|_.*)?$", name):
        number = int(siemens.group(1))
        if name.startswith("FC"):
            return "bone" if 30 <= number <= 39 or 50 <= number <= 59 or 80 <= number <= 86 else "soft"
        return "bone" if number >= 55 else "soft"
    if any(word in name for word in ("BONE", "EDGE", "LUNG", "SHARP")) or name in _BONE_NAMES:
        return "bone"
    if name.startswith(("STAND", "STND", "STD", "SOFT", "SMOOTH", "BRAIN", "HEAD")) or name in _SOFT_NAMES:
        return "soft"
    return "unknown"


def group_series(headers: list[SliceHeader]) -> list[Series]:
    """Slices by study, series, image size, kind and orientation (within half a degree)."""
    groups: dict[tuple[object, ...], list[list[SliceHeader]]] = {}
    for header in headers:
        key = (
            header.study_uid,
            header.series_uid,
            header.rows,
            header.columns,
            header.is_localizer,
            header.photometric,
        )
        bundles = groups.setdefault(key, [])
        for bundle in bundles:
            if _parallel(bundle[0], header):
                bundle.append(header)
                break
        else:
            bundles.append([header])
    return [Series(bundle) for bundles in groups.values() for bundle in bundles]


def _parallel(one: SliceHeader, other: SliceHeader) -> bool:
    if one.orientation is None or other.orientation is None:
        return one.orientation is other.orientation
    a, b = one.orientation, other.orientation
    return bool(a[:3] @ b[:3] > _PARALLEL and a[3:] @ b[3:] > _PARALLEL)


@dataclass(frozen=True, eq=False)
class Choice:
    """The series that is read, why, and what the user should know about the others."""

    series: Series
    reason: str
    warnings: tuple[ScanWarning, ...]


def choose_series(headers: list[SliceHeader], series_uid: str | None) -> Choice:
    """The best series for finding hemorrhage: unenhanced, axial, soft-tissue kernel, thinnest, most slices.

    Raises:
        InputRefused: ``CT_NOT_CT``, ``CT_NO_IMAGE``, ``CT_SERIES_NOT_FOUND``.
    """
    if not headers:
        raise no_image()
    ct = [header for header in headers if header.is_ct]
    if not ct:
        raise InputRefused(
            "CT_NOT_CT",
            f"The images are not CT{_modalities(headers)}.",
            "Choose the folder of the head CT.",
        )
    candidates = [series for series in group_series(ct) if not series.is_localizer and not series.is_photograph]
    if series_uid is not None:
        candidates = [series for series in candidates if series.uid == series_uid]
        if not candidates:
            raise InputRefused(
                "CT_SERIES_NOT_FOUND",
                "The folder holds no CT series with the series UID that was asked for.",
                "Leave the series UID out to let the best series be chosen.",
                ", ".join(sorted({header.series_uid for header in ct})),
            )
    if not candidates:
        raise no_image("Only localizers, reports or screen captures were found.")
    ranked = sorted(candidates, key=_rank)
    best = ranked[0]
    return Choice(best, _reason(best, ranked[1:], series_uid is not None), _study_warning(best, ranked))


def _rank(series: Series) -> tuple[object, ...]:
    enough = len(series.headers) >= 8
    return (
        -series.of_head,
        not enough,
        series.plane != "axial",
        series.derived,
        series.contrast,
        {"soft": 0, "unknown": 1, "bone": 2}[series.kernel],
        -len(series.headers) if series.thickness_mm is None else 0,
        series.thickness_mm or 1e9,
        -len(series.headers),
        series.uid,
    )


def _reason(best: Series, others: list[Series], asked: bool) -> str:
    if not others:
        return ""
    if asked:
        return f"The series that was asked for: {best.describe()}."
    left = "; ".join(
        f"{times} x {text}" if times > 1 else text
        for text, times in Counter(series.describe() for series in others).items()
    )
    return (
        f"Chosen out of {len(others) + 1} CT series: {best.describe()} "
        f"(unenhanced before enhanced, axial before reformatted, soft-tissue kernel before bone kernel, "
        f"then the thinnest). Not taken: {left}."
    )


def _study_warning(best: Series, ranked: list[Series]) -> tuple[ScanWarning, ...]:
    warnings = []
    studies = {series.first.study_uid for series in ranked}
    if len(studies) > 1:
        warnings.append(
            ScanWarning(
                "CT_SEVERAL_STUDIES",
                f"The folder holds {len(studies)} examinations, possibly of several patients; one of them was read.",
            )
        )
    if best.contrast:
        warnings.append(
            ScanWarning(
                "CT_CONTRAST", "The scan was made with contrast agent, whose brightness can be mistaken for blood."
            )
        )
    if best.kernel == "bone":
        warnings.append(
            ScanWarning("CT_BONE_KERNEL", "The scan was reconstructed with a bone kernel, whose noise can hide blood.")
        )
    return tuple(warnings)


def _modalities(headers: list[SliceHeader]) -> str:
    known = sorted({header.modality for header in headers if re.fullmatch(r"[A-Z]{2,16}", header.modality)})
    return f" but {', '.join(known)}" if known else ""


def no_image(found: str = "") -> InputRefused:
    return InputRefused(
        "CT_NO_IMAGE",
        f"No CT image was found here. {found}".strip(),
        "Choose a folder of DICOM files, or a NIfTI or NRRD file.",
    )
