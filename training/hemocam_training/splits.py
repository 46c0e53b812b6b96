"""Parts of datasets by patient: no patient is in two, and every part has its share of each subtype."""

from __future__ import annotations

import json
import warnings
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.model_selection import StratifiedGroupKFold

from hemocam_training.datasets.index import ScanIndex, scan_labels
from hemocam_training.datasets.labels import Labels, union
from hemocam_training.errors import DataRefused
from HemoCAMLib.errors import UsageError
from HemoCAMLib.subtypes import CLASS_NAMES

VERSION = 1
#: Training, tuning of thresholds, and test.
USUAL_FRACTIONS = {"train": 0.7, "tune": 0.15, "test": 0.15}
#: A split by fractions is put together from this many small folds at most.
_FINEST = 20


@dataclass(frozen=True)
class Split:
    """Patients by part.

    Attributes:
        parts: by name of the part the keys of its patients (see :attr:`ScanIndex.patient_keys`), sorted.
        indexes: (name of the dataset, checksum) of what was split.
        seed: the same seed and indexes give the same split; None for folds that a dataset supplies.
    """

    parts: Mapping[str, tuple[str, ...]]
    indexes: tuple[tuple[str, str], ...]
    seed: int | None

    def __post_init__(self) -> None:
        seen: dict[str, str] = {}
        for part, patients in self.parts.items():
            for patient in patients:
                if seen.setdefault(patient, part) != part:
                    raise DataRefused(
                        "TRAIN_SPLIT_OVERLAP",
                        f"A patient is in both parts {seen[patient]} and {part} of the split.",
                        "Make the split again; every patient belongs to one part.",
                    )

    def rows(self, index: ScanIndex, *parts: str) -> ScanIndex:
        """The rows of an index that are in these parts.

        Raises:
            DataRefused: ``TRAIN_SPLIT_OTHER_INDEX``: the index is not one that was split, or was changed since.
            UsageError: ``USAGE_SPLIT_PART``: there is no such part.
        """
        if index.checksum not in {checksum for _, checksum in self.indexes}:
            raise DataRefused(
                "TRAIN_SPLIT_OTHER_INDEX",
                "The split was made of another index, or the index was changed since.",
                "Make the split again.",
            )
        unknown = [part for part in parts if part not in self.parts]
        if unknown:
            raise UsageError(
                "USAGE_SPLIT_PART", f"The split has no part {unknown[0]}.", f"It has: {', '.join(self.parts)}."
            )
        wanted = {patient for part in parts for patient in self.parts[part]}
        return index.where([patient in wanted for patient in index.patient_keys])

    def write(self, path: Path) -> None:
        """Write the split as JSON.

        Raises:
            UsageError: ``USAGE_CANNOT_WRITE``.
        """
        content = {
            "hemocam_split": VERSION,
            "seed": self.seed,
            "indexes": [{"dataset": name, "checksum": checksum} for name, checksum in self.indexes],
            "parts": {part: list(patients) for part, patients in self.parts.items()},
        }
        partial = path.with_name(path.name + ".partial")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            partial.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
            partial.replace(path)
        except OSError as error:
            raise UsageError(
                "USAGE_CANNOT_WRITE", "The split cannot be written.", "Choose a folder that can be written to."
            ) from error

    @classmethod
    def read(cls, path: Path) -> Split:
        """A split from its file.

        Raises:
            DataRefused: ``TRAIN_SPLIT``, ``TRAIN_SPLIT_OVERLAP``.
        """
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            parts, indexes, seed = _content(content)
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise DataRefused(
                "TRAIN_SPLIT", f"{path.name} is not a split.", "Write one with hemocam-train split.", str(error)
            ) from error
        return cls(parts, indexes, seed)


def _content(content: Any) -> tuple[dict[str, tuple[str, ...]], tuple[tuple[str, str], ...], int | None]:
    if content["hemocam_split"] != VERSION:
        raise ValueError("another version")
    parts = {str(part): tuple(map(str, patients)) for part, patients in content["parts"].items()}
    indexes = tuple((str(one["dataset"]), str(one["checksum"])) for one in content["indexes"])
    return parts, indexes, None if content["seed"] is None else int(content["seed"])


def split_by_fractions(
    indexes: Sequence[ScanIndex], fractions: Mapping[str, float] | None = None, seed: int = 0
) -> Split:
    """Parts of given sizes, stratified by subtype; a patient of several datasets is one patient.

    Args:
        indexes: of one or more datasets.
        fractions: share of the patients by part; they add up to 1.
        seed: of the order in which patients are dealt out.

    Raises:
        UsageError: ``USAGE_SPLIT``: the fractions make no sense.
        DataRefused: ``TRAIN_FEW_PATIENTS``.
    """
    wanted = dict(fractions or USUAL_FRACTIONS)
    if len(wanted) < 2 or min(wanted.values()) <= 0 or abs(sum(wanted.values()) - 1) > 1e-6:
        raise UsageError(
            "USAGE_SPLIT", "The parts of the split do not add up to the whole.", "Give at least two that add up to 1."
        )
    strata = patient_strata(indexes)
    _refuse_few(strata, len(wanted))
    dealt = _deal(strata, min(_FINEST, len(strata)), seed)
    place = _merge(strata, dealt, wanted)
    parts = {part: tuple(sorted(one for one, fold in dealt.items() if place[fold] == part)) for part in wanted}
    empty = [part for part, patients in parts.items() if not patients]
    if empty:
        raise UsageError(
            "USAGE_SPLIT", f"No patient is left for the part {empty[0]}.", "Give larger parts or more patients."
        )
    return Split(parts, _named(indexes), seed)


def split_into_folds(indexes: Sequence[ScanIndex], folds: int = 5, seed: int = 0) -> Split:
    """Folds of a cross validation, ``fold-1`` and so on, stratified by subtype.

    Raises:
        UsageError: ``USAGE_SPLIT``.
        DataRefused: ``TRAIN_FEW_PATIENTS``.
    """
    if folds < 2:
        raise UsageError("USAGE_SPLIT", "A cross validation needs at least two folds.", "Five are usual.")
    strata = patient_strata(indexes)
    _refuse_few(strata, folds)
    dealt = _deal(strata, folds, seed)
    parts = {
        f"fold-{number + 1}": tuple(sorted(patient for patient, fold in dealt.items() if fold == number))
        for number in range(folds)
    }
    return Split(parts, _named(indexes), seed)


def supplied_folds(index: ScanIndex) -> Split:
    """The folds that a dataset comes with.

    Raises:
        DataRefused: ``TRAIN_NO_FOLDS``, or ``TRAIN_SPLIT_OVERLAP`` where the dataset puts a patient into two.
    """
    folds = index.table.column("fold").to_pylist()
    if any(fold is None for fold in folds):
        raise DataRefused(
            "TRAIN_NO_FOLDS", "The dataset does not supply folds for all its scans.", "Let folds be made instead."
        )
    parts: defaultdict[int, set[str]] = defaultdict(set)
    for fold, patient in zip(folds, index.patient_keys, strict=True):
        parts[fold].add(patient)
    return Split({f"fold-{fold}": tuple(sorted(parts[fold])) for fold in sorted(parts)}, _named([index]), None)


def patient_strata(indexes: Sequence[ScanIndex]) -> dict[str, frozenset[str]]:
    """By patient, in order: what any scan of the patient shows; ``none`` where all are known to be clear."""
    labels: defaultdict[str, list[Labels]] = defaultdict(list)
    categories: defaultdict[str, set[str]] = defaultdict(set)
    for index in indexes:
        of_scans = scan_labels(index)
        patients = dict(zip(index.scan_keys, index.patient_keys, strict=True))
        for key, patient in patients.items():
            labels[patient].append(of_scans[key])
        for patient, category in zip(index.patient_keys, index.strings("category"), strict=True):
            categories[patient] |= {category} if category else set()
    strata = {}
    for patient in sorted(labels):
        whole = union(labels[patient])
        shown = {name for name, present in zip(CLASS_NAMES, whole, strict=True) if present}
        clear = {"none"} if whole[0] is False else set()
        strata[patient] = frozenset(shown | clear | categories[patient])
    return strata


def _deal(strata: Mapping[str, frozenset[str]], folds: int, seed: int) -> dict[str, int]:
    """Fold of every patient.

    StratifiedGroupKFold balances one class per row; a patient gets a row for each finding, and one for being there,
    so that folds have equally many patients and of each finding the same share.
    """
    rows = [(patient, name) for patient, names in strata.items() for name in ("", *sorted(names))]
    patients, classes = [patient for patient, _ in rows], [name for _, name in rows]
    splitter = StratifiedGroupKFold(folds, shuffle=True, random_state=seed)
    dealt: dict[str, int] = {}
    with warnings.catch_warnings():
        # A finding in fewer patients than folds cannot be in all of them.
        warnings.filterwarnings("ignore", message="The least populated class")
        for fold, (_, chosen) in enumerate(splitter.split(np.zeros(len(rows)), classes, patients)):
            dealt |= {patients[row]: fold for row in chosen}
    return dealt


def _merge(
    strata: Mapping[str, frozenset[str]], dealt: Mapping[str, int], fractions: Mapping[str, float]
) -> dict[int, str]:
    """Part of every fold: of the parts with room for its patients the one that lacks most of what it holds.

    Largest folds go first, so the small ones fill what is left.
    """
    held: defaultdict[int, Counter[str]] = defaultdict(Counter)
    for patient, fold in dealt.items():
        held[fold].update(("", *strata[patient]))
    total = sum(held.values(), Counter[str]())
    given = {part: Counter[str]() for part in fractions}

    def need(part: str, fold: int) -> float:
        missing = {name: 1 - given[part][name] / (fractions[part] * total[name]) for name in held[fold]}
        return sum(missing[name] * count / total[name] for name, count in held[fold].items())

    def room(part: str, fold: int) -> float:
        return fractions[part] * total[""] - given[part][""] - held[fold][""] / 2

    place = {}
    for fold in sorted(held, key=lambda one: (-held[one][""], one)):
        open_parts = [part for part in fractions if room(part, fold) >= 0]
        if open_parts:
            place[fold] = max(open_parts, key=lambda part: need(part, fold))
        else:
            place[fold] = max(fractions, key=lambda part: room(part, fold))
        given[place[fold]].update(held[fold])
    return place


def _refuse_few(strata: Mapping[str, frozenset[str]], parts: int) -> None:
    if len(strata) < parts:
        raise DataRefused(
            "TRAIN_FEW_PATIENTS",
            f"{len(strata)} patients cannot be divided into {parts} parts.",
            "Use more data or fewer parts.",
        )


def _named(indexes: Sequence[ScanIndex]) -> tuple[tuple[str, str], ...]:
    return tuple((index.dataset_name, index.checksum) for index in indexes)
