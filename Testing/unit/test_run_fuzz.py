"""Damaged scans and damaged models through the whole engine: a clear refusal or a complete result."""

from __future__ import annotations

import shutil
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from damage import damaged_inputs

import HemoCAMLib as hc

LONGEST_S = 30.0


def outcome(scan: Path, out: Path, model: Path, worker: hc.PlainWorker) -> str:
    """``done``, or the code of the refusal; a complete result is checked."""
    try:
        result = hc.analyze(scan, out, model=str(model), threads=1, worker=worker)
    except (hc.InputRefused, hc.ModelRefused) as refusal:
        assert refusal.message.endswith(".")
        assert not (out / "result.json").exists()
        return refusal.code
    assert len(result.slices) == result.fields["input"]["slices"]
    assert np.isfinite(result.probabilities).all()
    assert result.labels.max() <= 5
    return "done"


@pytest.mark.slow
def test_three_hundred_damaged_scans_end_in_a_refusal_or_a_result(tmp_path, tiny_bundle):
    outcomes: Counter[str] = Counter()
    with hc.PlainWorker() as worker:
        worker.start()
        pid = worker.pid
        for number, damaged in enumerate(damaged_inputs(tmp_path / "in", 300, seed=2026)):
            started_s = time.monotonic()
            outcomes[outcome(damaged.path, tmp_path / "out", tiny_bundle, worker)] += 1
            # The first run waits for the imports of a cold worker.
            assert number == 0 or time.monotonic() - started_s < LONGEST_S, damaged.name
            log = tmp_path / "out" / "worker.log"
            assert "Traceback" not in log.read_text(errors="replace"), damaged.name
            shutil.rmtree(tmp_path / "out")
        assert worker.pid == pid
    print(dict(outcomes))
    assert sum(outcomes.values()) == 300
    assert 100 < 300 - outcomes["done"] < 300
