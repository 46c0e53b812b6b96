"""What a run computes on, and what it does when memory runs out."""

from __future__ import annotations

import pytest
import torch

from HemoCAMLib.errors import UsageError
from HemoCAMLib.run.compute import Compute, choose_compute, ran_out_of_memory
from HemoCAMLib.run.job import AnalyzeJob


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
    former = {"device": "cpu", "precision": "float32", "batch_size": 3, "threads": 1}
    assert choose_compute(AnalyzeJob("a"), former).to_dict() == former
    assert choose_compute(AnalyzeJob("a", batch_size=7), former).batch_size == 7


def test_a_choice_from_another_machine_does_not_matter():
    absent = "cuda" if not torch.cuda.is_available() else "mps"
    assert choose_compute(AnalyzeJob("a"), {"device": absent}).device != absent


def test_float16_on_a_cpu_is_refused():
    with pytest.raises(UsageError, match="float16"):
        choose_compute(AnalyzeJob("a", device="cpu", precision="float16"))
