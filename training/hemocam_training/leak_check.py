"""Is anything that a model is evaluated on among what it was trained on?"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from hemocam_training.datasets.fingerprint import matching_slices
from hemocam_training.datasets.index import ScanIndex, joined
from hemocam_training.errors import LeakFound

#: Scans share a study by their looks where this many slices of theirs, or all that can be compared, are the same.
LEAST_SLICES = 3
#: A DICOM UID is unique in the world; other study names only within their dataset.
_UID = re.compile(r"[0-9]+(\.[0-9]+){3,}")

ScanKey = tuple[str, str, str]


@dataclass(frozen=True)
class SharedScan:
    """A scan of the evaluation that training has seen.

    Attributes:
        evaluation: dataset, study and series.
        training: those of a scan that it is shared with.
        by: ``study``, ``patient``, ``file`` or ``image``, the surest way in which that showed.
        slices: number of slices that are the same, where that was found by file or image.
    """

    evaluation: ScanKey
    training: ScanKey
    by: str
    slices: int = 0


@dataclass(frozen=True)
class LeakReport:
    """What training and evaluation have in common.

    Attributes:
        training_scans, evaluation_scans: how many were compared.
        shared: scans of the evaluation that training has seen, each once.
        training_seen: all scans of the training that are shared, to leave out of it.
        not_recognisable: scans of the evaluation without one slice that could be compared by its looks.
    """

    training_scans: int
    evaluation_scans: int
    shared: tuple[SharedScan, ...]
    training_seen: frozenset[ScanKey]
    not_recognisable: int

    @property
    def counts(self) -> dict[str, int]:
        """Shared scans by how that showed."""
        found = Counter(one.by for one in self.shared)
        return {way: found[way] for way in ("study", "patient", "file", "image")}

    @property
    def sentence(self) -> str:
        """The outcome in words."""
        if not self.shared:
            return f"None of {self.evaluation_scans} evaluation scans is among {self.training_scans} training scans."
        told = ", ".join(f"{count} by {way}" for way, count in self.counts.items() if count)
        return f"{len(self.shared)} of {self.evaluation_scans} evaluation scans were trained on ({told})."

    def refuse(self) -> None:
        """Raises where there is a leak.

        Raises:
            LeakFound: ``TRAIN_LEAK``.
        """
        if self.shared:
            raise LeakFound(
                "TRAIN_LEAK",
                self.sentence,
                "Leave these patients out of the training (check-leak --clean-training) or out of the evaluation.",
                ", ".join("/".join(one.evaluation) for one in self.shared[:20]),
            )

    def as_dict(self) -> dict[str, object]:
        """For JSON."""
        return {
            "leak": bool(self.shared),
            "training_scans": self.training_scans,
            "evaluation_scans": self.evaluation_scans,
            "not_recognisable": self.not_recognisable,
            "counts": self.counts,
            "shared": [asdict(one) for one in self.shared],
        }


def check_leak(training: ScanIndex | Sequence[ScanIndex], evaluation: ScanIndex) -> LeakReport:
    """Compare what a model was trained on with what it is to be evaluated on.

    Scans are the same by StudyInstanceUID, or the dataset's own study name where datasets share one; by patient; by
    a file with the same content; and by fingerprints of their slices, which find a study again that was converted,
    turned or renamed.
    """
    trained = training if isinstance(training, ScanIndex) else joined(training)
    studies, patients, files = _Places(), _Places(), _Places()
    keys = trained.scan_keys
    for key, study, patient, content in zip(
        keys, _study_keys(trained), trained.patient_keys, trained.strings("sha256"), strict=True
    ):
        studies.put(study, key)
        patients.put(patient, key)
        files.put(content, key)
    asked = evaluation.scan_keys
    prints = evaluation.table.column("fingerprint").to_pylist()
    found: dict[ScanKey, SharedScan] = {}
    seen: set[ScanKey] = set()
    by_file: defaultdict[ScanKey, Counter[ScanKey]] = defaultdict(Counter)
    for key, study, patient, content in zip(
        asked, _study_keys(evaluation), evaluation.patient_keys, evaluation.strings("sha256"), strict=True
    ):
        for way, places, name in (("study", studies, study), ("patient", patients, patient)):
            if places.get(name):
                seen |= places.get(name)
                found.setdefault(key, SharedScan(key, min(places.get(name)), way))
        by_file[key].update(files.get(content))
    by_image = _by_image(keys, trained.table.column("fingerprint").to_pylist(), asked, prints)
    for way, pairs in (("file", by_file), ("image", by_image)):
        for key, others in pairs.items():
            seen |= set(others)
            if others:
                other, slices = min(others.items(), key=lambda one: (-one[1], one[0]))
                found.setdefault(key, SharedScan(key, other, way, slices))
    recognisable = {key for key, one in zip(asked, prints, strict=True) if one}
    return LeakReport(
        training_scans=len(set(keys)),
        evaluation_scans=len(set(asked)),
        shared=tuple(found[key] for key in sorted(found)),
        training_seen=frozenset(seen),
        not_recognisable=len(set(asked) - recognisable),
    )


def without_shared(training: ScanIndex, report: LeakReport) -> ScanIndex:
    """A training index without the patients of shared scans."""
    keys, patients = training.scan_keys, training.patient_keys
    shared = {patient for key, patient in zip(keys, patients, strict=True) if key in report.training_seen}
    return training.where([patient not in shared for patient in patients])


class _Places:
    """Scans by something that they have."""

    def __init__(self) -> None:
        self._scans: defaultdict[str, set[ScanKey]] = defaultdict(set)

    def put(self, name: str, key: ScanKey) -> None:
        self._scans[name].add(key)

    def get(self, name: str) -> set[ScanKey]:
        return self._scans.get(name, set())


def _study_keys(index: ScanIndex) -> list[str]:
    pairs = zip(index.strings("identities"), index.strings("study"), strict=True)
    return [study if _UID.fullmatch(study) else f"{own}/{study}" for own, study in pairs]


def _by_image(
    keys: Sequence[ScanKey], known: Sequence[bytes], asked: Sequence[ScanKey], looked_for: Sequence[bytes]
) -> dict[ScanKey, Counter[ScanKey]]:
    """By evaluation scan the training scans that look the same, with the number of slices that do."""
    matches: defaultdict[tuple[ScanKey, ScanKey], set[int]] = defaultdict(set)
    for there, here, _ in matching_slices(known, looked_for):
        matches[asked[here], keys[there]].add(here)
    comparable = Counter(key for key, one in zip(asked, looked_for, strict=True) if one)
    found: defaultdict[ScanKey, Counter[ScanKey]] = defaultdict(Counter)
    for (here_key, there_key), slices in matches.items():
        if len(slices) >= min(LEAST_SLICES, comparable[here_key]):
            found[here_key][there_key] = len(slices)
    return found
