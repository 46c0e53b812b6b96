"""Contenders in processes of their own, measured in turns.

Each contender is a child process with its own memory; the parent asks it for one round of one task at a time, so
that whatever else the machine does hits all of them alike. All of them, also those that are not ours, run in the
worker's environment: ratios come from the way maps are made, not from settings of the maths libraries.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import json
import os
import statistics
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from bench_memory import peak_mb, resident_mb

from HemoCAMLib.run.process import worker_environment

#: Milliseconds per slice of one round.
Task = Callable[[], float]

#: A contender that holds more than this gives it back between its rounds, so that all fit in memory side by side.
LARGE_MB = 2500


@dataclass
class Measured:
    """What the rounds of one task gave.

    Attributes:
        rounds_ms: milliseconds per slice of each round.
        peak_mb: highest resident memory of the process in its first round, in MB (of the device on a GPU).
        beyond_mb: the same beyond what the process held before it.
        failure: last line of the error where the task failed.
    """

    rounds_ms: list[float] = field(default_factory=list)
    peak_mb: float = 0.0
    beyond_mb: float = 0.0
    failure: str = ""

    @property
    def ms(self) -> float | None:
        """Median; the first of several rounds warms up and does not count."""
        counted = self.rounds_ms[1:] or self.rounds_ms
        return statistics.median(counted) if counted else None


class Contender:
    """A child process that runs this file's :func:`serve` from another script.

    Args:
        script: the benchmark; called with ``--contender`` and the specification as JSON.
        specification: plain values that say what to build.
        environment: variables beside those of the worker; None removes one.
    """

    def __init__(
        self, script: str, specification: Mapping[str, Any], environment: Mapping[str, str | None] | None = None
    ) -> None:
        # Without the safe path, so that the script finds its neighbours.
        variables: dict[str, str | None] = {**worker_environment(), "PYTHONSAFEPATH": None, **(environment or {})}
        self._process = subprocess.Popen(
            [sys.executable, script, "--contender", json.dumps(specification)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={name: value for name, value in variables.items() if value is not None},
        )
        self.measured: dict[str, Measured] = {}
        answer = self._answer()
        self.failure = "" if answer is None else str(answer.get("failure", ""))

    def round(self, task: str) -> None:
        """One more round of a task; nothing more is asked for once it has failed."""
        measured = self.measured.setdefault(task, Measured(failure=self.failure))
        if measured.failure:
            return
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps({"task": task, "first": not measured.rounds_ms}) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            measured.failure = "the process ended"
            return
        answer = self._answer()
        if answer is None or "failure" in answer:
            measured.failure = answer["failure"] if answer else "the process ended"
            return
        measured.rounds_ms.append(answer["ms"])
        if "peak_mb" in answer:
            measured.peak_mb, measured.beyond_mb = answer["peak_mb"], answer["beyond_mb"]

    def close(self) -> None:
        """Ends the process."""
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        self._process.wait()

    def _answer(self) -> dict[str, Any] | None:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        return json.loads(line) if line else None


def serve(specification: Mapping[str, Any], build: Callable[[Mapping[str, Any]], Mapping[str, Task]]) -> None:
    """The child's side: builds the tasks, then runs a round of one whenever the parent asks, until its input ends."""
    answers = os.fdopen(os.dup(1), "w")
    # Whatever a library prints must not stand between the answers; progress bars of peers go nowhere.
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    torch.set_num_threads(core_count())
    try:
        tasks = build(specification)
        _say(answers, {"ready": True})
    except Exception:
        _say(answers, {"failure": traceback.format_exc(limit=0).strip()})
        return
    for line in sys.stdin:
        request = json.loads(line)
        try:
            _say(answers, _one_round(tasks[request["task"]], request["first"], specification.get("device", "cpu")))
        except Exception as error:
            _say(answers, {"failure": f"{type(error).__name__}: {str(error).strip().splitlines()[0][:100]}"})


def _one_round(task: Task, first: bool, device: str) -> dict[str, float]:
    if not first:
        answer = {"ms": task()}
    elif device == "cpu":
        give_back_memory()
        forget_peak()
        before = resident_mb(os.getpid())
        answer = {"ms": task()}
        peak = peak_mb(os.getpid())
        answer |= {"peak_mb": peak, "beyond_mb": peak - before}
    else:
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated() / 2**20
        answer = {"ms": task()}
        peak = torch.cuda.max_memory_allocated() / 2**20
        answer |= {"peak_mb": peak, "beyond_mb": peak - before}
    if resident_mb(os.getpid()) > LARGE_MB:
        give_back_memory()
    return answer


def timed_ms(action: Callable[[], object], device: str = "cpu") -> float:
    """Milliseconds of one call, the device's work included."""
    if device != "cpu":
        torch.cuda.synchronize()
    started_s = time.perf_counter()
    action()
    if device != "cpu":
        torch.cuda.synchronize()
    return 1000 * (time.perf_counter() - started_s)


def core_count() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def give_back_memory() -> None:
    """Returns freed memory to the system, which the worker's environment otherwise keeps."""
    gc.collect()
    if sys.platform == "linux":
        ctypes.CDLL(None).malloc_trim(0)


def forget_peak() -> None:
    """Starts the peak of this process anew at what it holds now; on Linux only."""
    if sys.platform == "linux":
        Path("/proc/self/clear_refs").write_text("5")


def _say(stream: Any, answer: Mapping[str, Any]) -> None:
    stream.write(json.dumps(answer) + "\n")
    stream.flush()
