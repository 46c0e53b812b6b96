"""The command line: exit codes, what is printed where, and how it starts and ends."""

from __future__ import annotations

import io
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from rich.console import Console

import HemoCAMLib
from HemoCAMLib.cli import main
from HemoCAMLib.cli.mask_option import parse_mask
from HemoCAMLib.cli.packages import Package
from HemoCAMLib.cli.progress import ProgressView
from HemoCAMLib.cli.streams import messages
from HemoCAMLib.errors import UsageError
from HemoCAMLib.sample import write_sample
from HemoCAMLib.subtypes import SUBTYPE_NAMES

ROOT = Path(__file__).resolve().parents[2]


def hemocam(*arguments: str | Path, **options: object) -> subprocess.CompletedProcess[str]:
    """The command in a process of its own, as a shell starts it."""
    command = [sys.executable, "-m", "HemoCAMLib", *map(str, arguments)]
    settings = {"capture_output": True, "text": True, "cwd": ROOT, "timeout": 300, **options}
    return subprocess.run(command, check=False, **settings)  # type: ignore[call-overload]


@pytest.fixture(scope="module")
def scan(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A few slices of the sample, so that an analysis takes seconds."""
    folder = write_sample(tmp_path_factory.mktemp("sample")).scan
    for path in sorted(folder.iterdir())[8:]:
        path.unlink()
    return folder


def test_the_version_needs_neither_numpy_nor_torch() -> None:
    script = (
        "import sys; from HemoCAMLib.cli import main; code = main(['--version']);"
        "print(code, sorted({'numpy', 'SimpleITK', 'scipy', 'pydicom', 'torch'} & set(sys.modules)))"
    )
    answer = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=ROOT, check=True)
    assert answer.stdout.splitlines() == [f"hemocam {HemoCAMLib.__version__}", "0 []"]


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["--help"], 0),
        (["analyze", "--help"], 0),
        (["dance"], 2),
        (["analyze", "scan", "--out", "OUT", "--fast"], 2),
        (["analyze", "."], 2),
        (["analyze", ".", "--out", "OUT", "--batch-size", "many"], 2),
        (["analyze", ".", "--out", "OUT", "--device", "abacus"], 2),
        (["analyze", ".", "--out", "OUT", "--mask", "threshold=high"], 2),
        (["analyze", "nowhere", "--out", "OUT"], 3),
        (["analyze", "n" * 5000, "--out", "OUT"], 3),
        (["analyze", ".", "--out", "OUT", "--model", "nobody"], 4),
        (["models", "show", "nobody"], 4),
        (["models", "verify", "."], 4),
    ],
)
def test_every_refusal_has_its_exit_code_and_one_sentence(
    arguments: list[str], code: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    assert main([str(out) if argument == "OUT" else argument for argument in arguments]) == code
    printed = capsys.readouterr()
    assert "Traceback" not in printed.err
    if code:
        assert printed.out == ""
        assert "Error: " in printed.err
        assert not out.exists(), "a refusal leaves no folder behind"


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["analyze", "nowhere", "--out", "OUT"], "CT_NOT_FOUND"),
        (["analyze", ".", "--out", "OUT", "--model", "nobody"], "MODEL_NOT_FOUND"),
        (["analyze", ".", "--out", "OUT", "--mask", "shape=round"], "USAGE_MASK_SETTINGS"),
        (["analyze", ".", "--unknown"], "USAGE_COMMAND_LINE"),
    ],
)
def test_an_error_with_json_is_one_object_on_standard_output(
    arguments: list[str], code: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main([*(str(tmp_path / "run") if argument == "OUT" else argument for argument in arguments), "--json"])
    error = json.loads(capsys.readouterr().out)["error"]
    assert error["code"] == code
    assert error["message"]


def test_what_nobody_foresaw_is_one_sentence_and_a_log(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*, as_json: bool) -> None:
        raise ZeroDivisionError("of all things")

    monkeypatch.setattr("HemoCAMLib.cli.models.list_models", fail)
    assert main(["models", "list"]) == 5
    printed = capsys.readouterr()
    log = Path(re.search(r"(\S+\.log)", printed.err)[1])  # type: ignore[index]
    assert "Traceback" not in printed.err + printed.out
    assert "ZeroDivisionError: of all things" in log.read_text(encoding="utf-8")
    log.unlink()
    assert main(["--debug", "models", "list"]) == 5
    assert "ZeroDivisionError: of all things" in capsys.readouterr().err


def test_a_keyboard_interrupt_before_the_analysis_is_a_cancel(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*, as_json: bool) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("HemoCAMLib.cli.models.list_models", interrupt)
    assert main(["models", "list"]) == 130


def test_mask_settings_can_be_said_shortly() -> None:
    assert parse_mask(["per_image"]) == {"scale": "per_image"}
    assert parse_mask(["threshold=0.4"]) == {"mask_thresholds": dict.fromkeys(SUBTYPE_NAMES, 0.4)}
    assert parse_mask(["threshold=0.4,threshold.sah=0.2"])["mask_thresholds"]["SAH"] == 0.2
    assert parse_mask(["gate.EDH=0.7", "minimum_volume_ml = 0.2"]) == {
        "class_thresholds": {"EDH": 0.7},
        "minimum_volume_ml": 0.2,
    }
    for wrong in ("treshold=1", "gate.ABC=1", "gate", "gate=", "scale=huge"):
        with pytest.raises(UsageError):
            parse_mask([wrong])


def test_versions_compare_as_numbers() -> None:
    assert Package("torch", "worker", "2.4", "2.13.0+cpu").fits
    assert not Package("torch", "worker", "2.4", "2.3.1").fits
    assert not Package("torch", "worker", "2.4", None).fits


def test_models_are_listed_shown_and_verified(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "list", "--json"]) == 0
    (model, *_) = json.loads(capsys.readouterr().out)["models"]
    assert main(["models", "list"]) == 0
    assert model["name"] in capsys.readouterr().out
    assert main(["models", "show", model["name"]]) == 0
    assert model["weights_sha256"] in re.sub(r"\s", "", capsys.readouterr().out)
    assert main(["models", "show", model["path"], "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["hemocam"]["weights_sha256"] == model["weights_sha256"]
    assert main(["models", "verify"]) == 0
    assert "intact" in capsys.readouterr().out


def test_the_doctor_reports_devices_without_importing_torch_itself(capsys: pytest.CaptureFixture[str]) -> None:
    torch_was_there = "torch" in sys.modules
    assert main(["doctor", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["ready"] is True
    assert found["torch"]["devices"][-1]["name"] == "cpu"
    assert found["torch"]["milliseconds_per_slice"]["cpu"]["float32"] > 0
    assert found["machine"]["cores"] >= 1
    assert all(package["fits"] for package in found["packages"])
    assert ("torch" in sys.modules) == torch_was_there


def test_an_analysis_prints_pure_json_and_no_control_characters(scan: Path, tmp_path: Path) -> None:
    out = tmp_path / "Ergebnis für Ärzte 結果"
    answer = hemocam("analyze", scan, "--out", out, "--json", "--threads", "1")
    assert answer.returncode == 0, answer.stderr
    assert json.loads(answer.stdout) == json.loads((out / "result.json").read_text(encoding="utf-8"))
    assert "Analysing" in answer.stderr
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f]", answer.stderr)


def test_a_reader_that_goes_away_is_no_error(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "HemoCAMLib", "models", "show", "--json"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=ROOT)
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    said = process.stderr.read()
    process.stderr.close()
    assert (process.wait(timeout=60), said) == (0, b"")


@pytest.mark.skipif(os.name == "nt", reason="needs POSIX signals")
def test_ctrl_c_cancels_and_the_same_command_goes_on(scan: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    command = [sys.executable, "-m", "HemoCAMLib", "analyze", str(scan), "--out", str(out), "--batch-size", "1"]
    # A shell that runs the tests in the background has SIGINT ignored, and children inherit that.
    process = subprocess.Popen(
        [*command, "--threads", "1"],
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    assert process.stderr is not None
    deadline = time.monotonic() + 120
    while not (out / "activation.npy").exists():
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < deadline
        time.sleep(0.005)
    process.send_signal(signal.SIGINT)
    said = process.stderr.read()
    process.stderr.close()
    assert process.wait(timeout=60) == 130, said
    assert "Traceback" not in said
    assert not (out / "result.json").exists()
    finished = hemocam(*command[3:], "--threads", "1")
    assert finished.returncode == 0, finished.stderr
    assert "already analysed" in finished.stderr
    assert "Volume" in finished.stdout


def test_progress_is_one_line_a_stage_where_there_is_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    view = ProgressView(messages())
    with view:
        view.on_event({"event": "progress", "stage": "reading", "fraction": 0.5, "seconds_left": None})
        view.on_event({"event": "input", "slices": 2})
        view.on_event({"event": "slices", "slices": [{"index": 0, "area_mm2": {"any": 3.0}}]})
        view.on_event({"event": "notice", "code": "X", "message": "Said [aloud]."})
        view.on_event({"event": "progress", "stage": "measuring", "fraction": 1.0, "seconds_left": None})
        view.on_event({"event": "slices", "slices": [{"index": 1, "area_mm2": {"any": 0.0}}]})
    printed = capsys.readouterr().err.splitlines()
    stages = ["Starting the analysis process …", "Reading the scan …", "Preparing the slices …", "Analysing slices …"]
    assert printed == [*stages, "Said [aloud].", "Measuring …"]


def test_in_a_terminal_a_bar_counts_slices_and_those_with_hemorrhage() -> None:
    stream = io.StringIO()
    view = ProgressView(Console(file=stream, force_terminal=True, width=100))
    with view:
        view.on_event({"event": "input", "slices": 4})
        view.on_event({"event": "slices", "slices": [{"index": i, "area_mm2": {"any": float(i)}} for i in range(2)]})
        view.on_event({"event": "progress", "stage": "analysing", "fraction": 0.5, "seconds_left": 65.0})
    assert "2/4, hemorrhage in 1, 1 min 05 s left" in stream.getvalue()
