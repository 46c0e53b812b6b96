"""The worker killed at random moments: nothing is lost and nothing changes."""

from __future__ import annotations

import os
import random
import signal
import threading

import pytest

import HemoCAMLib as hc

KILLS = 10


@pytest.mark.slow
def test_a_run_killed_at_ten_random_moments_gives_the_same_bits_each_time(tmp_path):
    scan = hc.write_sample(tmp_path / "sample").scan
    with hc.PlainWorker() as worker:
        reference = hc.analyze(scan, tmp_path / "reference", worker=worker)
        duration_s = reference.fields["timing_s"]["total"]
        moments_s = [random.Random(seed).uniform(0.05, duration_s) for seed in range(KILLS)]
        interrupted = 0
        for number, moment_s in enumerate(moments_s):
            out = tmp_path / f"run{number}"
            worker.start()
            timer = threading.Timer(moment_s, os.kill, (worker.pid, signal.SIGKILL))
            timer.start()
            try:
                result = hc.analyze(scan, out, worker=worker)
            except hc.WorkerFailed as error:
                assert error.code == "WORKER_KILLED"
                interrupted += 1
                result = hc.analyze(scan, out, worker=worker)
            finally:
                timer.cancel()
                timer.join()
            for name in ("probabilities.npy", "activation.npy", "brain.npy", "labels.nrrd"):
                assert (out / name).read_bytes() == (reference.folder / name).read_bytes(), (name, moment_s)
            kept = {key: value for key, value in result.fields.items() if key != "timing_s"}
            assert kept == {key: value for key, value in reference.fields.items() if key != "timing_s"}
    assert interrupted >= KILLS // 2
