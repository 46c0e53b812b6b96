"""A run folder as a text in the scene: what goes in comes out, and nothing else is ever written."""

from __future__ import annotations

import base64
import io
import zipfile
from pathlib import Path

import pytest

from HemoCAMLib.scene import run_archive
from HemoCAMLib.scene.run_archive import packed, unpack


def make_run(folder: Path) -> Path:
    folder.mkdir()
    (folder / "result.json").write_text("{}", encoding="utf-8")
    (folder / "activation.npy").write_bytes(bytes(range(256)) * 40)
    (folder / "input.npy").write_bytes(b"the scan")
    return folder


def zipped(files: dict[str, bytes]) -> str:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return base64.b64encode(buffer.getvalue()).decode()


def test_a_run_is_packed_without_the_scan_and_comes_out_as_it_was(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    text = packed(run)
    assert text.isascii()
    assert unpack(text, tmp_path / "again")
    assert (tmp_path / "again" / "activation.npy").read_bytes() == (run / "activation.npy").read_bytes()
    assert sorted(path.name for path in (tmp_path / "again").iterdir()) == ["activation.npy", "result.json"]


def test_an_unfinished_or_too_large_run_is_not_packed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = make_run(tmp_path / "run")
    monkeypatch.setattr(run_archive, "LARGEST_BYTES", 1000)
    assert packed(run) == ""
    monkeypatch.undo()
    (run / "result.json").unlink()
    assert packed(run) == ""


@pytest.mark.parametrize("text", ["", "no base64!", base64.b64encode(b"no zip").decode(), zipped({"job.json": b"{}"})])
def test_a_damaged_text_gives_no_run(tmp_path: Path, text: str) -> None:
    assert not unpack(text, tmp_path / "out")


def test_only_the_files_of_a_run_are_written(tmp_path: Path) -> None:
    text = zipped({"result.json": b"{}", "../escaped.txt": b"x", "worker.py": b"x", "sub/job.json": b"{}"})
    assert unpack(text, tmp_path / "a" / "out")
    assert [path.name for path in (tmp_path / "a" / "out").iterdir()] == ["result.json"]
    assert not (tmp_path / "a" / "escaped.txt").exists()


def test_an_archive_that_swells_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = packed(make_run(tmp_path / "run"))
    monkeypatch.setattr(run_archive, "LARGEST_BYTES", 1000)
    assert not unpack(text, tmp_path / "out")
    assert not (tmp_path / "out").exists()
