"""Which maps a model can make, asked of the worker."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from HemoCAMLib.cam.registry import method_names
from HemoCAMLib.run.conversation import Conversation
from HemoCAMLib.run.describe import describe_model
from HemoCAMLib.run.process import worker_command, worker_environment


def test_a_model_has_the_engines_methods_and_its_own_layers(tiny_bundle: Path) -> None:
    described = describe_model(str(tiny_bundle))
    assert set(described["methods"]) == set(method_names()) - {"seg-grad-cam", "seg-hires-grad-cam"}
    assert described["layers"][0] == "[-1]"
    assert len(described["layers"]) == len(described["modules"]) > 2


def test_the_worker_describes_between_runs_and_survives_a_model_that_is_none(tiny_bundle: Path, tmp_path: Path) -> None:
    worker = subprocess.Popen(
        worker_command(sys.executable),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=worker_environment(),
    )
    assert worker.stdin is not None
    assert worker.stdout is not None
    for model in (tmp_path / "none", tiny_bundle):
        worker.stdin.write(json.dumps({"command": "describe", "model": str(model)}).encode() + b"\n")
    worker.stdin.flush()
    events = (json.loads(line) for line in worker.stdout)
    described = (event for event in events if event["event"] == "description")
    none, tiny = next(described), next(described)
    worker.stdin.close()
    assert worker.wait(60) == 0
    assert none["methods"] == none["layers"] == []
    assert "grad-cam" in tiny["methods"]
    assert tiny["layers"][0] == "[-1]"


def test_a_description_is_no_end_of_a_run() -> None:
    sent: list[bytes] = []
    seen: list[dict[str, object]] = []
    talk = Conversation(sent.append, lambda: None, seen.append)
    talk.analyze("run")
    talk.describe("a model")
    talk.bytes_received(b'{"event": "description", "model": "a model", "methods": []}\n')
    assert talk.busy
    assert seen[-1]["event"] == "description"
    assert json.loads(sent[-1]) == {"command": "describe", "model": "a model"}
