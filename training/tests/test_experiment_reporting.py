from __future__ import annotations

import csv
import json
import re
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pytest
from hemocam_training.cli import main
from hemocam_training.experiments.bootstrap import Estimate, bootstrap_means, bootstrap_ratios, bootstrap_statistic
from hemocam_training.experiments.catalogue import experiment_named
from hemocam_training.experiments.reporting import MeanSd, Report, Section, Table, figure_of, mean_sd, write_report
from hemocam_training.experiments.reporting.figures import styled
from scipy.stats import bootstrap as scipy_bootstrap


def test_a_bootstrap_of_one_row_a_patient_is_scipys() -> None:
    values = np.random.default_rng(1).gamma(2, 1, 40)
    patients = [f"p{k}" for k in range(40)]
    found = bootstrap_statistic(lambda rows: float(values[rows].mean()), patients, draws=500, seed=3)
    expected = scipy_bootstrap((values,), np.mean, n_resamples=500, random_state=np.random.default_rng(3))
    assert found.value == pytest.approx(values.mean())
    assert (found.low, found.high) == pytest.approx(tuple(expected.confidence_interval))


def test_rows_of_a_patient_stay_together() -> None:
    values = np.repeat(np.random.default_rng(2).normal(0, 1, 25), 8)
    patients = np.repeat(np.arange(25), 8).tolist()
    by_patient = bootstrap_statistic(lambda rows: float(values[rows].mean()), patients, draws=3000, method="percentile")
    # Eight equal rows a patient count as one: the standard error is that of 25 values, not of 200.
    expected = 2 * 1.96 * values[::8].std() / np.sqrt(25)
    assert by_patient.high - by_patient.low == pytest.approx(expected, rel=0.06)


def test_ratios_are_the_slow_percentile_bootstrap_done_at_once() -> None:
    rng = np.random.default_rng(5)
    patients = rng.integers(0, 20, 90).tolist()
    above, below = rng.random((90, 2)), rng.random((90, 2)) + 1
    fast = bootstrap_ratios(above, below, patients, draws=4000)
    for measure, estimate in enumerate(fast):
        slow = bootstrap_statistic(
            lambda rows, m=measure: float(above[rows, m].sum() / below[rows, m].sum()),  # type: ignore[misc]
            patients,
            draws=4000,
            method="percentile",
        )
        assert estimate.value == pytest.approx(slow.value)
        assert (estimate.low, estimate.high) == pytest.approx((slow.low, slow.high), abs=0.004)


def test_an_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    rng = np.random.default_rng(7)
    covered = 0
    for trial in range(200):
        values = rng.normal(0, 1, 40)
        estimate = bootstrap_means(values, list(range(40)), draws=400, seed=trial)[0]
        covered += estimate.low <= 0 <= estimate.high
    assert 0.88 <= covered / 200 <= 0.99


def test_where_there_is_no_interval_none_is_given() -> None:
    assert np.isnan(bootstrap_means([0.5, 0.7], ["a", "a"])[0].low)
    assert np.isnan(bootstrap_statistic(lambda rows: 1.0, ["a", "a"]).low)
    same = bootstrap_statistic(lambda rows: 2.0, ["a", "b", "c"], draws=50)
    assert (same.value, same.low, same.high) == (2, 2, 2)
    nothing = bootstrap_ratios([[0.0], [0.0]], [[0.0], [0.0]], "ab")[0]
    assert np.isnan([nothing.value, nothing.low, nothing.high]).all()


def test_draws_without_a_value_are_left_out() -> None:
    positive = np.array([True, False, False, False, True, False, False, False])
    scores = np.arange(8.0)

    def difference(rows: np.ndarray) -> float:  # type: ignore[type-arg]
        shown = positive[rows]
        return float(scores[rows][shown].mean() - scores[rows][~shown].mean()) if shown.any() else float("nan")

    found = bootstrap_statistic(difference, list("aabbccdd"), draws=500)
    assert found.low < found.value < found.high


def table() -> Table:
    rows = [
        {"method": "grad_cam & co", "dice": Estimate(0.5, 0.4, 0.6), "f1": MeanSd(0.9, 0.01), "slices": 7},
        {"method": "<b>|x|", "dice": Estimate(0.25), "f1": mean_sd([]), "slices": None},
    ]
    return Table("scores", "Scores, 100 %", rows, {"f1": "F1"}, "A note_", {"dice": 2}, {"dice": "max"})


def test_a_table_is_written_for_machines_and_for_readers(tmp_path: Path) -> None:
    files = {path.suffix: path.read_text(encoding="utf-8") for path in table().write(tmp_path)}
    lines = list(csv.DictReader(files[".csv"].splitlines()))
    assert lines[0] == {
        "method": "grad_cam & co", "dice": "0.5", "dice_low": "0.4", "dice_high": "0.6", "f1_mean": "0.9",
        "f1_sd": "0.01", "slices": "7",
    }  # fmt: skip
    assert lines[1]["dice_low"] == ""
    assert "| method | dice | F1 | slices |" in files[".md"]
    assert "**0.50 (0.40–0.60)**" in files[".md"]
    assert "<b>\\|x\\| | 0.25 | – | – |" in files[".md"]
    assert "\\textbf{0.50 (0.40–0.60)}" in files[".tex"]
    assert "grad\\_cam \\& co" in files[".tex"]
    assert "\\caption{Scores, 100 \\%}" in files[".tex"]
    assert files[".tex"].index("A note\\_") < files[".tex"].index("\\end{table}")
    assert re.search(r"\\begin\{tabular\}\{lrrr\}\n\\toprule", files[".tex"])


def test_a_page_holds_everything_and_says_what_a_quick_run_is(tmp_path: Path) -> None:
    with styled():
        canvas, axis = plt.subplots(figsize=(3, 2))
        axis.plot([0, 1], [0, 1])
        figure = figure_of(canvas, "line", "A line", "caption <i>")
    report = Report(
        "Title", "Why?", ["Ten phantoms."], [Section("Part", ["Text & text."], [table()], [figure])], ["Small."],
        {"epochs": 3, "layers": ["[-1]"]}, quick=True,
    )  # fmt: skip
    page = write_report(report, tmp_path).read_text(encoding="utf-8")
    assert "Not a result." in page
    assert "&lt;b&gt;|x|" in page
    assert "<b>|x|" not in page
    assert "data:image/png;base64,iVBOR" in page
    assert "caption &lt;i&gt;" in page
    assert (tmp_path / "figures" / "line.png").read_bytes().startswith(b"\x89PNG")
    assert (tmp_path / "settings.yaml").read_text(encoding="utf-8") == "epochs: 3\nlayers:\n- '[-1]'\n"
    assert json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))["tables"] == ["tables/scores.csv"]
    with pytest.raises(ValueError, match="share a name"):
        write_report(
            Report("T", "", [], [Section("A", tables=[table(), table()])], [], {}, quick=False), tmp_path / "b"
        )


def test_the_command_lists_experiments_and_refuses_what_it_does_not_know(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["experiments", "--json"]) == 0
    names = [one["name"] for one in json.loads(capsys.readouterr().out)]
    assert names[:2] == ["cam-benchmark", "cam-versus-mask"]
    for name in names:
        for quick in (True, False):
            assert experiment_named(name).configuration(quick=quick).is_file()
    assert main(["experiment", "cam-benchmrk", "--out", str(tmp_path)]) == 2
    assert "Did you mean cam-benchmark?" in capsys.readouterr().err
    (tmp_path / "index.html").write_text("", encoding="utf-8")
    assert main(["experiment", "cam-benchmark", "--out", str(tmp_path)]) == 2
    (tmp_path / "bad.yaml").write_text("fit: {los: 3}\n", encoding="utf-8")
    arguments = ["experiment", "cam-benchmark", "--out", str(tmp_path / "x"), "--config", str(tmp_path / "bad.yaml")]
    assert main(arguments) == 2
    assert "Did you mean loss?" in capsys.readouterr().err
