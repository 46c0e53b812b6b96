"""Statistics over patients against published examples and closed form; tables of cases; the command."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import nibabel
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from HemoCAMLib.cli import main
from HemoCAMLib.errors import UsageError
from HemoCAMLib.measure.agreement import compare_cases, read_cases, write_cohort
from HemoCAMLib.measure.agreement.statistics import Bootstrap, bland_altman, concordance, icc_2_1

#: Four judges, six targets: table 2 of Shrout and Fleiss, Psychol Bull 1979.
SHROUT_FLEISS = np.array([[9, 2, 5, 8], [6, 1, 3, 2], [8, 4, 6, 8], [7, 1, 2, 6], [10, 5, 6, 9], [6, 2, 4, 7]])


def test_icc_is_that_of_the_published_example() -> None:
    icc = icc_2_1(SHROUT_FLEISS)
    assert icc.value == pytest.approx(0.2898, abs=5e-5)
    # The interval of this table as psych's and pingouin's manuals print it.
    assert (icc.low, icc.high) == pytest.approx((0.019, 0.761), abs=5e-4)


@settings(max_examples=50, deadline=None)
# What is left after rows and columns is rounding, 1e-32: it must not be taken for disagreement.
@example(pairs=[(0.0, 0.0), (0.0, 0.0), (0.0, 0.0)], shift=0.95)
@given(st.lists(st.tuples(st.floats(0, 200), st.floats(-20, 20)), min_size=3, max_size=20), st.floats(-30, 30))
def test_icc_follows_from_the_variances_of_two_raters(pairs: list[tuple[float, float]], shift: float) -> None:
    truth = np.array([pair[0] for pair in pairs])
    prediction = truth + np.array([pair[1] for pair in pairs]) + shift
    n = truth.size
    mean_square = np.var((truth + prediction) / 2, ddof=1) * 2
    error = np.var(prediction - truth, ddof=1) / 2
    between_raters = n * (prediction.mean() - truth.mean()) ** 2 / 2
    below = mean_square + error + 2 * (between_raters - error) / n
    if below < 1e-6:
        return
    icc = icc_2_1(np.stack([prediction, truth], axis=1))
    assert icc.value == pytest.approx((mean_square - error) / below, rel=1e-6, abs=1e-9)
    if icc.low is not None and icc.high is not None:
        assert icc.low <= icc.value + 1e-9
        assert icc.value <= icc.high + 1e-9


def test_concordance_of_a_shifted_and_scaled_line_has_a_closed_form() -> None:
    truth = np.array([1.0, 2.0, 3.0, 4.0, 5.0])
    # Perfect correlation: 2 a s² / (s² + a² s² + shift²) with s² = 2 and a mean shift of 1 + (a - 1) 3.
    assert concordance(truth + 1, truth).value == pytest.approx(4 / 5)
    assert concordance(2 * truth, truth).value == pytest.approx(2 * 2 * 2 / (2 + 8 + 9))
    assert concordance(truth, truth).value == 1
    assert concordance(-truth, truth).value == pytest.approx(-4 / (4 + 36))
    assert concordance([3.0, 3.0], [3.0, 3.0]).value is None


def test_the_interval_of_concordance_covers_the_truth_as_often_as_it_says() -> None:
    rng = np.random.default_rng(2)
    # A bivariate normal with correlation 0.8 and no shift has the concordance 0.8.
    covariance = [[1.0, 0.8], [0.8, 1.0]]
    hits = 0
    for _ in range(400):
        pair = concordance(*rng.multivariate_normal([0, 0], covariance, 60).T)
        assert pair.low is not None
        assert pair.high is not None
        hits += pair.low <= 0.8 <= pair.high
    assert 0.92 < hits / 400 < 0.98


def test_bland_altman_is_mean_and_deviation_of_the_differences() -> None:
    difference = np.array([-1.0, 0.0, 2.0, 3.0])
    result = bland_altman(difference + 10, np.full(4, 10.0))
    sd = np.sqrt(10 / 3)
    assert (result.bias.value, result.sd) == pytest.approx((1, sd))
    assert result.upper_limit.value == pytest.approx(1 + 1.959964 * sd)
    assert result.bias.high == pytest.approx(1 + 3.182446 * sd / 2)
    # Bland and Altman 1999: the variance of a limit is s² (1/n + 1.96² / (2 (n - 1))).
    around = 3.182446 * sd * np.sqrt(1 / 4 + 1.959964**2 / 6)
    assert result.upper_limit.high == pytest.approx(1 + 1.959964 * sd + around)
    assert bland_altman([1.0], [2.0]).lower_limit.value is None


def test_the_bootstrap_draws_patients_and_repeats_itself() -> None:
    values = np.concatenate([np.full(50, 0.0), np.full(50, 1.0)])

    def mean(rows: np.ndarray) -> float:
        return float(values[rows].mean())

    by_scan = Bootstrap([str(index) for index in range(100)], seed=1).interval(mean)
    assert by_scan == Bootstrap([str(index) for index in range(100)], seed=1).interval(mean)
    assert by_scan.low == pytest.approx(0.5 - 1.96 * 0.05, abs=0.02)
    # Two patients of fifty scans each: the mean can be anything from 0 to 1.
    by_patient = Bootstrap(["a"] * 50 + ["b"] * 50, seed=1).interval(mean)
    assert (by_patient.low, by_patient.high) == (0, 1)
    assert Bootstrap(["a"] * 100).interval(mean).low is None


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """Six scans of three patients, and one case whose truth is missing."""
    rng = np.random.default_rng(0)
    lines = ["prediction,truth,patient,map"]
    for number in range(6):
        truth = np.zeros((6, 32, 32), np.uint8)
        size = int(rng.integers(4, 12))
        truth[1:4, 8 : 8 + size, 10:20] = 1
        truth[2:5, 22:28, 10:20] = 4 if number % 2 else 0
        for name, labels in (("t", truth), ("Secret^Person", np.roll(truth, 1, axis=1 + number % 2))):
            image = nibabel.Nifti1Image(np.ascontiguousarray(labels.T), np.diag([-0.5, -0.5, 5, 1]))
            nibabel.save(image, tmp_path / f"{name}{number}.nii.gz")
        lines.append(f"Secret^Person{number}.nii.gz,t{number}.nii.gz,Secret^Person {number // 2},hemocam")
    lines.append("t0.nii.gz,nowhere.nii.gz,Secret^Person 0,")
    path = tmp_path / "cases.csv"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8-sig")
    return path


def test_a_table_gives_one_row_a_case_and_structure_and_goes_on_after_a_refusal(table: Path, tmp_path: Path) -> None:
    cohort = compare_cases(read_cases(table))
    assert [(failed.number, failed.error["code"]) for failed in cohort.failed] == [(7, "TRUTH_NOT_FOUND")]
    iph = [row for row in cohort.rows if row["structure"] == "IPH"]
    assert [row["patient"] for row in iph] == [1, 1, 2, 2, 3, 3]
    summary = cohort.summaries["IPH"]
    assert summary.means["dice"].value == pytest.approx(np.mean([row["dice"] for row in iph]))
    assert (summary.cases, summary.counts["hausdorff_mm"]) == (6, 6)
    assert cohort.summaries["SDH"].counts["dice"] == 3
    assert cohort.summaries["EDH"].means["dice"].value is None
    tp, fp, fn = (sum(row[key] for row in iph) for key in ("true_positive", "false_positive", "false_negative"))
    assert summary.pooled_dice.value == pytest.approx(2 * tp / (2 * tp + fp + fn))
    assert summary.icc.value == pytest.approx(1)
    files = write_cohort(cohort, tmp_path / "out")
    assert "figures/volume_IPH.svg" in files
    assert "figures/volume_EDH.png" not in files
    for name in files:
        assert b"Secret" not in (tmp_path / "out" / name).read_bytes()
    json.loads((tmp_path / "out" / "cohort.json").read_text(encoding="utf-8"))
    with (tmp_path / "out" / "cases.csv").open(encoding="utf-8") as file:
        assert len(list(csv.DictReader(file))) == 36
    assert "| 7 | The truth was not found" in (tmp_path / "out" / "cohort.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "text", ["", "prediction,truth\n", "a,b\n1,2\n", "prediction,truth\nx,\n", "prediction,truth,map\na,b,nobody\n"]
)
def test_a_table_that_is_none_is_refused_at_once(text: str, tmp_path: Path) -> None:
    path = tmp_path / "cases.csv"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(UsageError):
        read_cases(path)


def test_the_command_compares_a_table_and_tells_by_its_exit_code(
    table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["compare", "--table", str(table), "--out", str(tmp_path / "out"), "--json"]) == 3
    assert json.loads(capsys.readouterr().out)["failed"][0]["number"] == 7
    table.write_text("\n".join(table.read_text(encoding="utf-8-sig").splitlines()[:-1]), encoding="utf-8")
    assert main(["compare", "--table", str(table)]) == 0
    printed = capsys.readouterr()
    assert "Concordance" in printed.out
    assert "Case 6 of 6" in printed.err


def test_the_command_compares_a_pair(table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pair = [str(table.with_name("Secret^Person1.nii.gz")), str(table.with_name("t1.nii.gz"))]
    out = tmp_path / "one"
    assert main(["compare", *pair, "--map", "hemocam", "--out", str(out)]) == 0
    printed = capsys.readouterr().out
    assert "both empty" in printed
    assert sorted(path.name for path in out.iterdir()) == [
        "agreement.json",
        "agreement_lesions.csv",
        "agreement_slices.csv",
    ]
    assert all("Secret" not in path.read_text(encoding="utf-8") for path in out.iterdir())
    with (out / "agreement_slices.csv").open(encoding="utf-8") as file:
        assert len(list(csv.DictReader(file))) == 6 * 6
    assert main(["compare", *pair, "--map", "bhsd", "--overlap-only", "--json"]) == 0
    fields = json.loads(capsys.readouterr().out)
    assert "hausdorff_mm" not in fields["structures"]["IPH"]
    assert fields["truth"]["mapping"] == {"1": "EDH", "4": "SAH"}


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["compare"], 2),
        (["compare", "a"], 2),
        (["compare", "a", "b", "--table", "c"], 2),
        (["compare", "--table", "nowhere.csv"], 2),
        (["compare", "nowhere", "nowhere"], 3),
    ],
)
def test_the_command_refuses_in_one_sentence(
    arguments: list[str], code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == code
    assert "Traceback" not in capsys.readouterr().err
