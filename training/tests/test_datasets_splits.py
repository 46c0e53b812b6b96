from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pytest
from hemocam_training.datasets import ScanIndex, dataset_named
from hemocam_training.datasets.index import SCAN_LABELS, SCHEMA
from hemocam_training.datasets.labels import Labels, labels_of
from hemocam_training.errors import DataRefused
from hemocam_training.splits import Split, patient_strata, split_by_fractions, split_into_folds, supplied_folds
from hypothesis import given, settings
from hypothesis import strategies as st

from HemoCAMLib.errors import UsageError
from HemoCAMLib.subtypes import CLASS_NAMES, SUBTYPE_NAMES

Patients = Sequence[tuple[str, Labels]]


def index_of(patients: Patients, dataset: str = "rsna-2019", fold: Sequence[int | None] | None = None) -> ScanIndex:
    """An index with a scan of two slices for every patient named; a patient named twice has two studies."""
    kind = dataset_named(dataset)
    rows = []
    for number, (patient, labels) in enumerate(patients):
        empty = {
            field.name: "" if pa.types.is_string(field.type) else b"" if pa.types.is_binary(field.type) else None
            for field in SCHEMA
        }
        for index in range(2):
            rows.append(
                empty
                | {
                    "dataset": dataset,
                    "identities": kind.identities,
                    "patient": patient,
                    "study": f"ID_{number}",
                    "series": f"ID_{number}",
                    "slice": str(index),
                    "slice_index": index,
                    "fold": fold[number] if fold else None,
                    **dict(zip(SCAN_LABELS, labels, strict=True)),
                    **dict(zip(CLASS_NAMES, labels, strict=True)),
                }
            )
    return ScanIndex(pa.Table.from_pylist(rows, SCHEMA))


def labels_drawn() -> st.SearchStrategy[Labels]:
    some = st.dictionaries(st.sampled_from(CLASS_NAMES), st.sampled_from([True, False, None]))
    return some.map(labels_of)


def patients_drawn(fewest: int) -> st.SearchStrategy[Patients]:
    """Some patients, the first of them with a second study each."""
    several = st.lists(labels_drawn(), min_size=fewest, max_size=60)
    again = st.lists(labels_drawn(), max_size=fewest)
    return st.tuples(several, again).map(
        lambda drawn: [(f"ID_{number}", labels) for part in drawn for number, labels in enumerate(part)]
    )


@given(patients=patients_drawn(5), folds=st.integers(2, 5), seed=st.integers(0, 2**31))
@settings(deadline=None, max_examples=25)
def test_every_patient_is_in_exactly_one_fold_and_the_same_seed_gives_the_same_folds(
    patients: Patients, folds: int, seed: int
) -> None:
    index = index_of(patients)
    split = split_into_folds([index], folds, seed)
    dealt = Counter(patient for part in split.parts.values() for patient in part)
    assert set(dealt) == {f"rsna-2019/{name}" for name, _ in patients}
    assert set(dealt.values()) == {1}
    assert all(split.parts.values())
    assert split == split_into_folds([index], folds, seed)
    assert sum(len(split.rows(index, part)) for part in split.parts) == len(index)


@given(patients=patients_drawn(20), seed=st.integers(0, 2**31))
@settings(deadline=None, max_examples=15)
def test_parts_have_their_share_of_the_patients(patients: Patients, seed: int) -> None:
    split = split_by_fractions([index_of(patients)], {"train": 0.7, "tune": 0.15, "test": 0.15}, seed)
    total = len({name for name, _ in patients})
    for part, share in (("train", 0.7), ("tune", 0.15), ("test", 0.15)):
        assert abs(len(split.parts[part]) / total - share) < 0.07


def test_folds_have_equal_shares_of_every_subtype() -> None:
    patients = []
    for number in range(200):
        shown = {name: number % period == 0 for name, period in zip(SUBTYPE_NAMES, (2, 3, 4, 5, 20), strict=True)}
        patients.append((f"ID_{number}", labels_of(shown)))
    index = index_of(patients)
    strata = patient_strata([index])
    split = split_into_folds([index], 5, seed=3)
    for name in (*SUBTYPE_NAMES, "none"):
        counts = [sum(name in strata[patient] for patient in part) for part in split.parts.values()]
        assert max(counts) - min(counts) <= 2, (name, counts)
    assert {len(part) for part in split.parts.values()} <= {39, 40, 41}


def test_parts_have_their_share_of_every_subtype() -> None:
    patients = []
    for number in range(200):
        shown = {name: number % period == 0 for name, period in zip(SUBTYPE_NAMES, (2, 3, 4, 5, 20), strict=True)}
        patients.append((f"ID_{number}", labels_of(shown)))
    index = index_of(patients)
    strata = patient_strata([index])
    for seed in range(5):
        split = split_by_fractions([index], {"train": 0.7, "tune": 0.15, "test": 0.15}, seed)
        for name in (*SUBTYPE_NAMES, "none"):
            total = sum(name in found for found in strata.values())
            for part, share in (("train", 0.7), ("tune", 0.15), ("test", 0.15)):
                count = sum(name in strata[patient] for patient in split.parts[part])
                assert abs(count - share * total) <= max(1.5, 0.04 * total), (seed, name, part, count)


def test_another_seed_gives_another_split() -> None:
    index = index_of([(f"ID_{number}", labels_of({"any": number % 2 == 0})) for number in range(40)])
    assert split_into_folds([index], 5, 1) != split_into_folds([index], 5, 2)


def test_the_order_of_scans_does_not_matter() -> None:
    patients = [(f"ID_{number}", labels_of({"any": number % 3 == 0})) for number in range(30)]
    one, other = (split_into_folds([index_of(order)], 5, 4).parts for order in (patients, patients[::-1]))
    assert one == other


def test_a_patient_of_two_datasets_is_one_patient() -> None:
    rsna = index_of([(f"ID_{number}", labels_of({"any": True})) for number in range(10)])
    bhsd = index_of([(f"ID_{number}", labels_of({"any": True})) for number in range(5, 15)], "bhsd")
    other = index_of([("ID_5", labels_of({"any": True}))], "cq500")
    split = split_into_folds([rsna, bhsd, other], 5)
    assert sum(len(part) for part in split.parts.values()) == 16
    for part in split.parts:
        keys = set(split.rows(rsna, part).patient_keys) | set(split.rows(bhsd, part).patient_keys)
        assert keys <= set(split.parts[part])


def test_supplied_folds_are_kept_and_refused_where_they_share_a_patient() -> None:
    labels = labels_of({})
    split = supplied_folds(index_of([("a", labels), ("b", labels), ("a", labels)], fold=[1, 2, 1]))
    assert split.parts == {"fold-1": ("rsna-2019/a",), "fold-2": ("rsna-2019/b",)}
    with pytest.raises(DataRefused) as refused:
        supplied_folds(index_of([("a", labels), ("a", labels)], fold=[1, 2]))
    assert refused.value.code == "TRAIN_SPLIT_OVERLAP"
    with pytest.raises(DataRefused) as refused:
        supplied_folds(index_of([("a", labels), ("b", labels)], fold=[1, None]))
    assert refused.value.code == "TRAIN_NO_FOLDS"


def test_a_split_comes_back_from_its_file(tmp_path: Path) -> None:
    split = split_by_fractions([index_of([(f"ID_{number}", labels_of({})) for number in range(20)])])
    split.write(tmp_path / "split.json")
    assert Split.read(tmp_path / "split.json") == split


def test_a_split_file_with_a_patient_in_two_parts_is_refused(tmp_path: Path) -> None:
    split = split_by_fractions([index_of([(f"ID_{number}", labels_of({})) for number in range(20)])])
    path = tmp_path / "split.json"
    split.write(path)
    content = json.loads(path.read_text())
    content["parts"]["test"].append(content["parts"]["train"][0])
    path.write_text(json.dumps(content))
    with pytest.raises(DataRefused) as refused:
        Split.read(path)
    assert refused.value.code == "TRAIN_SPLIT_OVERLAP"


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"hemocam_split": 9}', '{"hemocam_split": 1, "parts": [1]}'])
def test_what_is_no_split_is_refused_in_a_sentence(tmp_path: Path, text: str) -> None:
    (tmp_path / "split.json").write_text(text)
    with pytest.raises(DataRefused, match="is not a split"):
        Split.read(tmp_path / "split.json")


def test_a_split_does_not_apply_to_an_index_whose_labels_were_changed() -> None:
    patients = [(f"ID_{number}", labels_of({"any": False})) for number in range(20)]
    split = split_by_fractions([index_of(patients)])
    changed = index_of([*patients[:-1], ("ID_19", labels_of({"any": True}))])
    with pytest.raises(DataRefused) as refused:
        split.rows(changed, "train")
    assert refused.value.code == "TRAIN_SPLIT_OTHER_INDEX"
    with pytest.raises(UsageError):
        split.rows(index_of(patients), "tain")


@pytest.mark.parametrize("fractions", [{"train": 1.0}, {"train": 0.5, "test": 0.4}, {"train": 1.2, "test": -0.2}])
def test_fractions_that_are_no_division_are_refused(fractions: dict[str, float]) -> None:
    with pytest.raises(UsageError):
        split_by_fractions([index_of([(f"ID_{number}", labels_of({})) for number in range(20)])], fractions)


def test_too_few_patients_are_refused() -> None:
    with pytest.raises(DataRefused) as refused:
        split_into_folds([index_of([("a", labels_of({})), ("b", labels_of({}))])], 3)
    assert refused.value.code == "TRAIN_FEW_PATIENTS"
