from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from dataset_writers import patient_head, rsna_rows, write_lines, write_nifti, write_rsna_series
from hemocam_training.cli import main
from hemocam_training.datasets import DATASETS, ScanIndex, dataset_named, prepare
from hemocam_training.errors import LeakFound
from hemocam_training.leak_check import check_leak, without_shared

from HemoCAMLib.errors import HemoCAMError


@pytest.fixture(scope="module")
def rsna_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four patients as DICOM; the second one was scanned with a tilted gantry, the third has the rescale defect."""
    root = tmp_path_factory.mktemp("rsna")
    lines = ["ID,Label"]
    for number in range(1, 5):
        names = write_rsna_series(
            root / "stage_2_train",
            patient_head(number),
            patient=f"ID_p{number}",
            study=f"ID_s{number}",
            series=f"ID_t{number}",
            wrapped=number == 3,
        )
        lines += [row for name in names for row in rsna_rows(name, *(["subdural"] if number % 2 else []))]
    write_lines(root / "stage_2_train.csv", lines)
    return root


@pytest.fixture(scope="module")
def rsna(rsna_root: Path) -> ScanIndex:
    return prepare(dataset_named("rsna-2019"), rsna_root)


def instance_index(root: Path, *heads: np.ndarray, **options: object) -> ScanIndex:
    """Heads as a dataset of its own, whose names have nothing to do with those of others."""
    for number, head in enumerate(heads, 1):
        write_nifti(root / f"train_2/data/{number:03d}.nii.gz", head, **options)  # type: ignore[arg-type]
    return prepare(dataset_named("instance-2022"), root)


def test_a_study_of_rsna_is_recognised_in_bhsd_by_its_name(rsna: ScanIndex, tmp_path: Path) -> None:
    write_nifti(tmp_path / "label_192/images/ID_p2_ID_s2.nii.gz", patient_head(50))
    write_nifti(tmp_path / "label_192/images/ID_p9_ID_s9.nii.gz", patient_head(51))
    report = check_leak(rsna, prepare(dataset_named("bhsd"), tmp_path))
    assert report.counts == {"study": 1, "patient": 0, "file": 0, "image": 0}
    assert report.shared[0].training == ("rsna-2019", "ID_s2", "ID_t2")
    with pytest.raises(LeakFound) as refused:
        report.refuse()
    assert isinstance(refused.value, HemoCAMError)
    assert refused.value.code == "TRAIN_LEAK"
    assert "1 of 2 evaluation scans were trained on (1 by study)" in str(refused.value)


def test_another_study_of_a_patient_that_was_trained_on_is_a_leak(rsna: ScanIndex, tmp_path: Path) -> None:
    write_nifti(tmp_path / "label_192/images/ID_p2_ID_other.nii.gz", patient_head(50))
    report = check_leak(rsna, prepare(dataset_named("bhsd"), tmp_path))
    assert report.counts["patient"] == 1


@pytest.mark.parametrize("number", [1, 3])
@pytest.mark.parametrize("flip", [(), (0, 1, 2), (1,)])
def test_a_renamed_and_converted_study_is_recognised_by_its_images(
    rsna: ScanIndex, tmp_path: Path, number: int, flip: tuple[int, ...]
) -> None:
    rounding = np.random.default_rng(0).integers(-1, 2, (9, 64, 60))
    converted = np.rot90(patient_head(number) + rounding, axes=(1, 2)) if not flip else patient_head(number) + rounding
    evaluation = instance_index(tmp_path, converted, patient_head(60), flip=flip)
    report = check_leak(rsna, evaluation)
    assert [(one.by, one.evaluation[1], one.training[1]) for one in report.shared] == [
        ("image", "train-001", f"ID_s{number}")
    ]
    assert report.shared[0].slices >= 3


def test_a_few_slices_of_a_study_are_enough(rsna: ScanIndex, tmp_path: Path) -> None:
    report = check_leak(rsna, instance_index(tmp_path, patient_head(4)[2:6]))
    assert report.counts["image"] == 1


def test_a_copy_of_a_file_is_recognised(tmp_path: Path) -> None:
    first = instance_index(tmp_path / "a", patient_head(1))
    path = tmp_path / "b/label_192/images/ID_x_ID_y.nii.gz"
    path.parent.mkdir(parents=True)
    path.write_bytes((tmp_path / "a/train_2/data/001.nii.gz").read_bytes())
    report = check_leak(first, prepare(dataset_named("bhsd"), tmp_path / "b"))
    assert report.counts["file"] == 1


def test_the_same_number_in_two_datasets_is_no_leak(tmp_path: Path) -> None:
    write_nifti(tmp_path / "p/ct_scans/001.nii", patient_head(1))
    columns = "Intraventricular,Intraparenchymal,Subarachnoid,Epidural,Subdural"
    write_lines(
        tmp_path / "p/hemorrhage_diagnosis_raw_ct.csv",
        [f"PatientNumber,SliceNumber,{columns},No_Hemorrhage", "1,1,0,0,0,0,0,1"],
    )
    one = prepare(dataset_named("physionet-ct-ich"), tmp_path / "p")
    report = check_leak(one, instance_index(tmp_path / "i", patient_head(2)))
    assert not report.shared
    report.refuse()
    assert "None of 1 evaluation scans is among 1 training scans" in report.sentence


def test_folders_of_two_hospitals_share_patients_unless_they_are_named(tmp_path: Path) -> None:
    for number in (1, 2):
        write_nifti(tmp_path / f"{number}" / "001.nii.gz", patient_head(number))
        write_lines(tmp_path / f"{number}" / "labels.csv", ["file,patient,any", "001.nii.gz,7,1"])
    one, other = (prepare(dataset_named("nifti-folder"), tmp_path / f"{number}") for number in (1, 2))
    assert check_leak(one, other).counts["patient"] + check_leak(one, other).counts["study"] == 1
    named = prepare(dataset_named("nifti-folder", {"collection": "second"}), tmp_path / "2")
    assert not check_leak(one, named).shared


def test_leaving_out_the_shared_patients_makes_the_training_clean(rsna: ScanIndex, tmp_path: Path) -> None:
    evaluation = instance_index(tmp_path, patient_head(1), patient_head(4), patient_head(60))
    report = check_leak([rsna], evaluation)
    assert len(report.shared) == 2
    clean = without_shared(rsna, report)
    assert set(clean.strings("patient")) == {"ID_p2", "ID_p3"}
    assert not check_leak(clean, evaluation).shared


def test_scans_that_show_too_little_are_counted(rsna: ScanIndex, tmp_path: Path) -> None:
    evaluation = instance_index(tmp_path, patient_head(60))
    blank = evaluation.table.set_column(
        evaluation.table.schema.get_field_index("fingerprint"), "fingerprint", [[b""] * len(evaluation)]
    )
    assert check_leak(rsna, ScanIndex(blank)).not_recognisable == 1
    assert check_leak(rsna, evaluation).not_recognisable == 0


# The command line


def run_json(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, dict]:  # type: ignore[type-arg]
    capsys.readouterr()
    code = main([*map(str, arguments), "--json"])
    return code, json.loads(capsys.readouterr().out)


def test_from_folder_to_split_and_leak_check_on_the_command_line(
    rsna_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    index, other, split = tmp_path / "rsna.parquet", tmp_path / "other.parquet", tmp_path / "split.json"
    code, told = run_json(capsys, "prepare", "rsna-2019", "-r", rsna_root, "-o", index, "--processes", 1)
    assert (code, told["patients"], told["scans"], told["slices"]) == (0, 4, 4, 36)
    code, told = run_json(capsys, "split", index, "-o", split, "--part", "train=0.5", "--part", "test=0.5")
    assert (code, told["parts"]["train"]["patients"], told["parts"]["test"]["SDH"]) == (0, 2, 1)
    code, told = run_json(capsys, "check-leak", "-t", index, "-e", index, "--split", split)
    assert (code, told["leak"]) == (0, False)
    instance_index(tmp_path / "i", patient_head(1)).write(other)
    code, told = run_json(capsys, "check-leak", "-t", index, "-e", other)
    assert (code, told["leak"], told["counts"]["image"]) == (6, True, 1)
    clean = tmp_path / "clean.parquet"
    code, told = run_json(capsys, "check-leak", "-t", index, "-e", other, "--clean-training", clean)
    assert (code, told["leak"]) == (0, True)
    assert run_json(capsys, "check-leak", "-t", clean, "-e", other)[1]["leak"] is False


def test_a_leak_is_one_sentence_and_its_own_exit_code(
    rsna: ScanIndex, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rsna.write(tmp_path / "a.parquet")
    assert main(["check-leak", "-t", str(tmp_path / "a.parquet"), "-e", str(tmp_path / "a.parquet")]) == 6
    told = " ".join(capsys.readouterr().err.split())
    assert "4 of 4 evaluation scans were trained on" in told
    assert "[TRAIN_LEAK]" in told


def test_what_is_asked_wrongly_is_refused_before_anything_is_read(
    rsna_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    there = tmp_path / "there.parquet"
    there.touch()
    code, told = run_json(capsys, "prepare", "rsna-2019", "-r", rsna_root, "-o", there)
    assert (code, told["error"]["code"]) == (2, "USAGE_FILE_EXISTS")
    code, told = run_json(capsys, "prepare", "rsna", "-r", rsna_root, "-o", tmp_path / "x")
    assert (code, told["error"]["code"]) == (2, "USAGE_DATASET")
    code, told = run_json(capsys, "prepare", "bhsd", "-r", tmp_path, "-o", tmp_path / "x", "--set", "a")
    assert (code, told["error"]["code"]) == (2, "USAGE_OPTION")
    code, told = run_json(capsys, "prepare", "bhsd", "-r", tmp_path, "-o", tmp_path / "x")
    assert (code, told["error"]["code"]) == (3, "DATA_LAYOUT")
    code, told = run_json(capsys, "split", there, "-o", tmp_path / "s.json")
    assert (code, told["error"]["code"]) == (3, "DATA_INDEX")


def test_every_dataset_is_listed_with_its_layout(capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    assert main(["datasets", "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)
    assert [one["name"] for one in listed] == list(DATASETS)
    assert all(one["layout"] and one["terms"] for one in listed)
    assert main(["datasets"]) == 0
    assert "stage_2_train.csv" in capsys.readouterr().out


def test_the_command_starts_as_a_program_without_torch(tmp_path: Path) -> None:
    script = (
        "import sys\n"
        "class Block:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name.split('.')[0] == 'torch':\n"
        "            raise ImportError('torch is blocked')\n"
        "sys.meta_path.insert(0, Block())\n"
        "from hemocam_training.cli import main\n"
        f"code = main(['prepare', 'bhsd', '--root', {str(tmp_path)!r}, '--out', {str(tmp_path / 'x')!r}])\n"
        "sys.exit(code)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert done.returncode == 3, done.stderr
    assert "label_192" in done.stderr
