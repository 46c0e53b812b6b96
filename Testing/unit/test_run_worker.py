"""The worker as a real process: runs, refusals, cancel, kill and resume."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

import HemoCAMLib as hc
from HemoCAMLib.ct import read_head_ct
from HemoCAMLib.mask import MaskSettings, find_brain, label_scan
from HemoCAMLib.run.aio import AsyncWorker
from HemoCAMLib.run.folder import RunFolder
from HemoCAMLib.run.job import AnalyzeJob
from HemoCAMLib.run.process import worker_environment
from HemoCAMLib.run.record import ClassOrder
from HemoCAMLib.run.result import RESULT_SCHEMA

FILES_THAT_MUST_AGREE = ("probabilities.npy", "activation.npy", "brain.npy", "labels.nrrd")


def simple_head(slices: int = 12, size: int = 128) -> np.ndarray:
    """A ball of brain in a shell of bone with a bright clot, int16 HU [slice, row, column]."""
    z, y, x = np.meshgrid(
        np.linspace(-0.6, 0.9, slices), np.linspace(-1.25, 1.25, size), np.linspace(-1.45, 1.45, size), indexing="ij"
    )
    radius = np.sqrt(x**2 + y**2 + z**2)
    noise = np.random.default_rng(0).normal(0, 3, radius.shape)
    head = np.select([radius < 0.88, radius < 1.0, radius < 1.06], [32 + noise, 1000, 10 + noise], -1000)
    head[((x - 0.3) ** 2 + y**2 + z**2) < 0.04] = 65
    return head.astype(np.int16)


@pytest.fixture(scope="module")
def scan(tmp_path_factory) -> Path:
    image = sitk.GetImageFromArray(simple_head())
    image.SetSpacing((1.6, 1.6, 7.0))
    path = tmp_path_factory.mktemp("scan") / "Schädel.nii.gz"
    sitk.WriteImage(image, str(path))
    return path


@pytest.fixture(scope="module")
def worker():
    with hc.PlainWorker() as worker:
        yield worker


@pytest.fixture(scope="module")
def reference(scan, tiny_bundle, worker, tmp_path_factory) -> hc.Result:
    """An undisturbed run with small batches; its result is what every disturbed run must give."""
    out = tmp_path_factory.mktemp("reference")
    return hc.analyze(scan, out, model=str(tiny_bundle), batch_size=2, threads=1, worker=worker)


def assert_same(result: hc.Result, reference: hc.Result) -> None:
    for name in FILES_THAT_MUST_AGREE:
        assert (result.folder / name).read_bytes() == (reference.folder / name).read_bytes(), name
    without_time = [{k: v for k, v in r.fields.items() if k != "timing_s"} for r in (result, reference)]
    assert without_time[0] == without_time[1]


def test_a_run_leaves_everything_that_the_contract_names(reference):
    fields = reference.fields
    assert fields["schema"] == RESULT_SCHEMA
    assert fields["input"]["slices"] == 12
    assert set(fields["volume_ml"]) == {"IPH", "IVH", "SAH", "SDH", "EDH", "total"}
    assert [entry["index"] for entry in reference.slices] == list(range(12))
    assert set(reference.slices[0]["probability"]) == {"IPH", "IVH", "SAH", "SDH", "EDH", "any"}
    assert reference.activation.shape[:2] == reference.probabilities.shape == (6, 12)
    assert reference.activation.dtype == np.float16
    assert len(reference.brain) == 12
    assert not list(reference.folder.glob("*.part*"))
    events = [json.loads(line) for line in (reference.folder / "events.jsonl").read_text().splitlines()]
    kinds = [event["event"] for event in events]
    assert kinds[-1] == "done"
    assert kinds.count("slices") == 6
    assert {"model", "input", "progress"} <= set(kinds)


def test_stored_maps_and_brain_masks_give_the_labels_again_without_the_network(scan, reference):
    ct = read_head_ct(scan)
    classes = ClassOrder(reference.classes)
    labels = label_scan(
        classes.subtype_maps(reference.activation),
        np.array([classes.subtype_probabilities(column) for column in reference.probabilities.T]).T,
        reference.brain,
        ct.geometry,
        MaskSettings.from_dict(reference.fields["settings"]["mask"]),
    )
    np.testing.assert_array_equal(ct.grid.to_stored(np.stack(list(labels))), reference.labels)
    brain = find_brain(ct.slices, ct.geometry)
    for index, hu in enumerate(ct.slices):
        np.testing.assert_array_equal(reference.brain[index], brain.slice(index, hu))


def test_volumes_are_the_labels_counted_with_true_extents(reference):
    labels = reference.labels
    voxel_ml = 1.6 * 1.6 * np.array([entry["extent_mm"] for entry in reference.slices]) / 1000
    for value, name in enumerate(("IPH", "IVH", "SAH", "SDH", "EDH"), start=1):
        expected = ((labels == value).sum(axis=(1, 2)) * voxel_ml).sum()
        assert reference.volume_ml[name] == pytest.approx(expected, abs=1e-4)


def test_the_probability_is_that_of_the_stored_maps_pooled(reference, tiny_bundle):
    local = reference.activation.astype(np.float64)
    pooled = np.log(np.exp(3.0 * local).mean(axis=(2, 3))) / 3.0
    np.testing.assert_allclose(reference.probabilities, 1 / (1 + np.exp(-pooled)), atol=2e-3)


def test_a_warm_worker_neither_imports_nor_loads_again_and_gives_the_same_result(
    scan, tiny_bundle, worker, reference, tmp_path
):
    pid = worker.pid
    again = hc.analyze(scan, tmp_path / "run", model=str(tiny_bundle), batch_size=2, threads=1, worker=worker)
    assert worker.pid == pid
    assert again.fields["timing_s"]["load_model"] < 0.02
    assert_same(again, reference)


def test_an_array_with_its_affine_gives_what_the_file_gives(scan, tiny_bundle, worker, reference, tmp_path):
    image = sitk.ReadImage(str(scan))
    lps_to_ras = np.diag([-1.0, -1.0, 1.0, 1.0])
    affine = np.eye(4)
    affine[:3, :3] = np.array(image.GetDirection()).reshape(3, 3) * np.array(image.GetSpacing())
    affine[:3, 3] = image.GetOrigin()
    result = hc.analyze(
        sitk.GetArrayFromImage(image),
        tmp_path / "run",
        ijk_to_ras=lps_to_ras @ affine,
        model=str(tiny_bundle),
        batch_size=2,
        threads=1,
        worker=worker,
    )
    assert result.volume_ml == reference.volume_ml
    np.testing.assert_array_equal(result.labels, reference.labels)


def test_a_run_that_was_killed_goes_on_and_gives_the_same_bits(scan, tiny_bundle, reference, tmp_path):
    killed = RunFolder(tmp_path / "run")
    with hc.PlainWorker() as worker:
        seen = []

        def kill_after_two_batches(event):
            seen.append(event["event"])
            if event["event"] == "slices" and seen.count("slices") == 2:
                os.kill(worker.pid, signal.SIGKILL)

        with pytest.raises(hc.WorkerFailed) as caught:
            hc.analyze(
                scan, killed.path, model=str(tiny_bundle), batch_size=2, threads=1, worker=worker,
                on_event=kill_after_two_batches,
            )  # fmt: skip
        assert caught.value.code == "WORKER_KILLED"
        assert not killed.is_complete
        events = []
        resumed = hc.analyze(
            scan, killed.path, model=str(tiny_bundle), threads=1, worker=worker, on_event=events.append
        )
    notices = [event["code"] for event in events if event["event"] == "notice"]
    assert notices == ["WORKER_RESUMED"]
    assert_same(resumed, reference)


def test_slices_of_another_model_are_not_kept(scan, tiny_bundle, other_tiny_bundle, worker, tmp_path):
    out = RunFolder(tmp_path / "run")
    calls = []
    with pytest.raises(hc.Cancelled):
        hc.analyze(
            scan, out.path, model=str(tiny_bundle), batch_size=2, threads=1, worker=worker, on_event=calls.append,
            cancelled=lambda: any(event["event"] == "slices" for event in calls),
        )  # fmt: skip
    events = []
    result = hc.analyze(
        scan, out.path, model=str(other_tiny_bundle), overwrite=True, threads=1, worker=worker, on_event=events.append
    )
    assert not [event for event in events if event["event"] == "notice"]
    assert np.isfinite(result.probabilities).all()


def test_a_cancel_stops_within_one_batch_and_the_worker_stays_usable(scan, tiny_bundle, worker, reference, tmp_path):
    events, pid = [], worker.pid
    with pytest.raises(hc.Cancelled):
        hc.analyze(
            scan, tmp_path / "run", model=str(tiny_bundle), batch_size=2, threads=1, worker=worker,
            on_event=events.append, cancelled=lambda: any(event["event"] == "slices" for event in events),
        )  # fmt: skip
    assert not (tmp_path / "run" / "result.json").exists()
    result = hc.analyze(scan, tmp_path / "run", model=str(tiny_bundle), batch_size=2, threads=1, worker=worker)
    assert worker.pid == pid
    assert_same(result, reference)


def test_a_cancel_that_follows_the_command_at_once_is_not_lost(scan, tiny_bundle, worker, tmp_path):
    with pytest.raises(hc.Cancelled):
        hc.analyze(scan, tmp_path / "run", model=str(tiny_bundle), worker=worker, cancelled=lambda: True)


def test_a_worker_that_hangs_is_killed_after_the_grace(scan, tiny_bundle, tmp_path):
    with hc.PlainWorker(cancel_grace_s=0.5) as worker:
        worker.start()

        stopped = threading.Event()

        def stop(event):
            if event["event"] == "input":
                os.kill(worker.pid, signal.SIGSTOP)
                stopped.set()

        started_s = time.monotonic()
        with pytest.raises(hc.Cancelled):
            hc.analyze(
                scan, tmp_path / "run", model=str(tiny_bundle), worker=worker, on_event=stop,
                cancelled=stopped.is_set,
            )  # fmt: skip
        assert time.monotonic() - started_s < 60


def test_a_worker_dies_with_its_parent(scan, tiny_bundle, tmp_path):
    script = (
        "import sys, HemoCAMLib as hc\nw = hc.PlainWorker(); w.start(); print(w.pid, flush=True); sys.stdin.read()\n"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=worker_environment()
    )
    pid = int(parent.stdout.readline())
    parent.kill()
    parent.wait()
    parent.stdin.close()
    parent.stdout.close()
    deadline_s = time.monotonic() + 30
    while time.monotonic() < deadline_s and _alive(pid):
        time.sleep(0.1)
    assert not _alive(pid)


def test_what_is_refused_comes_back_with_its_code_and_without_a_traceback(tiny_bundle, worker, scan, tmp_path):
    with pytest.raises(hc.InputRefused) as caught:
        hc.analyze(tmp_path / "nothing here", tmp_path / "a", model=str(tiny_bundle), worker=worker)
    assert caught.value.code == "CT_NOT_FOUND"
    with pytest.raises(hc.ModelRefused) as caught:
        hc.analyze(scan, tmp_path / "b", model=str(tmp_path / "no model"), worker=worker)
    assert caught.value.code == "MODEL_NOT_FOUND"
    with pytest.raises(hc.UsageError) as caught:
        hc.analyze(scan, tmp_path / "c", model=str(tiny_bundle), mask={"colour": 1}, worker=worker)
    assert caught.value.code == "USAGE_MASK_SETTINGS"
    assert "Traceback" not in (tmp_path / "c" / "worker.log").read_text()


def test_two_workers_do_not_write_to_one_folder(scan, tiny_bundle, worker, tmp_path):
    folder = RunFolder(tmp_path / "run")
    folder.prepare(AnalyzeJob(str(scan), model=str(tiny_bundle)))
    with folder.lock(), pytest.raises(hc.WorkerFailed) as caught:
        worker.run(folder.path)
    assert caught.value.code == "WORKER_FOLDER_LOCKED"


def test_commands_that_make_no_sense_are_passed_over(worker, reference):
    worker.start()
    worker._write(b'\xff\xfe\n[]\n{"command": "dance"}\n{"command": "analyze"}\n')
    assert worker.pid is not None
    time.sleep(0.2)
    assert _alive(worker.pid)


def test_an_asyncio_loop_drives_the_worker_and_stays_responsive(scan, tiny_bundle, reference, tmp_path):
    ticks = []

    async def tick():
        while True:
            ticks.append(time.monotonic())
            await asyncio.sleep(0.01)

    async def main():
        folder = RunFolder(tmp_path / "run")
        folder.prepare(AnalyzeJob(str(scan), model=str(tiny_bundle), batch_size=2, threads=1))
        events = []
        ticking = asyncio.create_task(tick())
        async with AsyncWorker() as worker:
            await worker.run(folder.path, events.append)
            cancelled = RunFolder(tmp_path / "cancelled")
            cancelled.prepare(AnalyzeJob(str(scan), model=str(tiny_bundle), batch_size=2, threads=1))
            task = asyncio.create_task(worker.run(cancelled.path))
            await asyncio.sleep(0.05)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        ticking.cancel()
        return events

    events = asyncio.run(main())
    assert events[-1]["event"] == "done"
    assert max(np.diff(ticks)) < 0.5
    assert not (tmp_path / "cancelled" / "result.json").exists()
    assert_same(hc.Result.load(tmp_path / "run"), reference)


def test_an_error_in_a_callback_comes_through_and_leaves_no_run_behind(scan, tiny_bundle, tmp_path):
    def fail(event):
        if event["event"] == "input":
            raise ZeroDivisionError

    with hc.PlainWorker() as worker:
        with pytest.raises(ZeroDivisionError):
            hc.analyze(scan, tmp_path / "run", model=str(tiny_bundle), worker=worker, on_event=fail)
        pid = worker.pid
        assert pid is None or not _alive(pid)


def test_callbacks_happen_in_the_callers_thread(scan, tiny_bundle, worker, tmp_path):
    threads = set()
    hc.analyze(
        scan, tmp_path / "run", model=str(tiny_bundle), worker=worker,
        on_event=lambda event: threads.add(threading.current_thread()),
    )  # fmt: skip
    assert threads == {threading.current_thread()}


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    status = Path(f"/proc/{pid}/stat")
    # A process that nobody has waited for yet is dead all the same.
    return not (status.exists() and status.read_text().rsplit(")", 1)[1].split()[0] == "Z")
