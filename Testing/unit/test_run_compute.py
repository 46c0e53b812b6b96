"""What a run computes on, and what it does when memory runs out."""

from __future__ import annotations

import threading

import numpy as np
import pytest
import torch
from synthetic_head import head_hu

from HemoCAMLib.errors import ModelRefused, UsageError, WorkerFailed
from HemoCAMLib.model.registry import load_network
from HemoCAMLib.run.compute import Compute, choose_compute, ran_out_of_memory
from HemoCAMLib.run.folder import RunFolder
from HemoCAMLib.run.job import AnalyzeJob
from HemoCAMLib.run.pipeline import run_analysis
from HemoCAMLib.run.result import Result


def test_memory_that_runs_out_halves_the_batch_down_to_one_and_then_goes_to_the_cpu():
    compute, steps = Compute("cuda", "bfloat16", 8, 2), []
    while (smaller := compute.smaller()) is not None:
        compute, sentence = smaller
        steps.append((compute.device, compute.batch_size))
        assert "ran out of memory" in sentence
    assert steps == [("cuda", 4), ("cuda", 2), ("cuda", 1), ("cpu", 4), ("cpu", 2), ("cpu", 1)]
    assert compute.precision == "float32"


def test_the_cpu_allocators_own_failure_is_recognised():
    with pytest.raises(RuntimeError) as caught:
        torch.empty(1 << 60, dtype=torch.uint8)
    assert ran_out_of_memory(caught.value)
    assert ran_out_of_memory(torch.cuda.OutOfMemoryError("CUDA out of memory"))
    assert not ran_out_of_memory(RuntimeError("shapes do not match"))


def test_a_device_that_is_not_there_is_refused_in_words():
    missing = "cuda" if not torch.cuda.is_available() else "mps"
    with pytest.raises(UsageError, match="not available"):
        choose_compute(AnalyzeJob("a", device=missing))


def test_an_unfinished_runs_choice_is_kept_where_the_job_leaves_it_open():
    former = {"device": "cpu", "precision": "float32", "batch_size": 3, "threads": 1, "backend": "torch"}
    assert choose_compute(AnalyzeJob("a"), former).to_dict() == former
    assert choose_compute(AnalyzeJob("a", batch_size=7), former).batch_size == 7


def test_a_choice_from_another_machine_does_not_matter():
    absent = "cuda" if not torch.cuda.is_available() else "mps"
    assert choose_compute(AnalyzeJob("a"), {"device": absent}).device != absent


def test_float16_on_a_cpu_is_refused():
    with pytest.raises(UsageError, match="float16"):
        choose_compute(AnalyzeJob("a", device="cpu", precision="float16"))


class SmallMemory:
    """Networks on a computer whose memory holds only so many slices at a time."""

    def __init__(self, slices: int) -> None:
        self.slices = slices

    def holds(self, bundle):
        return False

    def get(self, bundle, device):
        network = load_network(bundle, device)
        trunk = network.trunk

        def limited(stacks):
            if len(stacks) > self.slices:
                torch.empty(1 << 60, dtype=torch.uint8)
            return trunk(stacks)

        network.trunk = limited
        return network


def _run(path, tiny_bundle, slices):
    folder = RunFolder(path)
    affine = np.diag([-3.4, -3.4, 5.0, 1.0])
    folder.prepare(AnalyzeJob(ijk_to_ras=tuple(map(tuple, affine.tolist())), model=str(tiny_bundle), batch_size=8))
    np.save(folder.input_array_path, head_hu())
    events = []
    run_analysis(folder, folder.read_job(), SmallMemory(slices), events.append)
    return Result.load(path), [event["message"] for event in events if event["event"] == "notice"]


def test_a_run_that_is_short_of_memory_says_so_goes_on_and_finds_the_same(tiny_bundle, tmp_path):
    plenty, silence = _run(tmp_path / "plenty", tiny_bundle, 8)
    short, notices = _run(tmp_path / "short", tiny_bundle, 2)
    assert silence == []
    assert [notice.rsplit(" ", 1)[1] for notice in notices] == ["4.", "2."]
    np.testing.assert_allclose(short.probabilities, plenty.probabilities, atol=1e-5)
    assert short.fields["settings"]["batch_size"] == 2


def test_a_run_that_has_no_memory_even_for_one_slice_fails_in_words(tiny_bundle, tmp_path):
    with pytest.raises(WorkerFailed, match="ran out of memory"):
        _run(tmp_path / "none", tiny_bundle, 0)


class DamagedModel(SmallMemory):
    """Networks none of which can be loaded."""

    def get(self, bundle, device):
        raise ModelRefused("MODEL_CHECKSUM", "The model is damaged.")


def test_a_model_that_cannot_be_loaded_leaves_no_thread_behind(tiny_bundle, tmp_path):
    folder = RunFolder(tmp_path / "run")
    affine = np.diag([-3.4, -3.4, 5.0, 1.0])
    folder.prepare(AnalyzeJob(ijk_to_ras=tuple(map(tuple, affine.tolist())), model=str(tiny_bundle)))
    np.save(folder.input_array_path, head_hu())
    before = threading.active_count()
    with pytest.raises(ModelRefused) as caught:
        run_analysis(folder, folder.read_job(), DamagedModel(0), lambda event: None)
    # The raised error's frames keep the run alive, as they would in a warm worker's log.
    assert caught.value.code == "MODEL_CHECKSUM"
    assert threading.active_count() == before
