"""OpenVINO in torch's place: the same activations, probabilities and masks, and words where it cannot be used."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from synthetic_head import head_hu
from typer.testing import CliRunner

import HemoCAMLib as hc
from HemoCAMLib.cam import LayerPass, maps
from HemoCAMLib.cli.app import app
from HemoCAMLib.errors import Cancelled, UsageError
from HemoCAMLib.model import BundleMetadata, find_model
from HemoCAMLib.model.half_precision import HalfPrecision
from HemoCAMLib.model.openvino_trunk import OpenVinoTrunk, import_openvino, is_installed
from HemoCAMLib.model.registry import Network, build_network, load_network
from HemoCAMLib.run import compute as compute_module
from HemoCAMLib.run.compute import Compute, choose_compute, unchecked_precision
from HemoCAMLib.run.folder import RunFolder
from HemoCAMLib.run.job import AnalyzeJob
from HemoCAMLib.run.networks import NetworkCache
from HemoCAMLib.run.pipeline import run_analysis

pytestmark = pytest.mark.skipif(not is_installed(), reason="OpenVINO is not installed (extra “openvino”)")

ROOT = Path(__file__).resolve().parents[2]

#: Largest difference relative to the largest value.
TOLERANCE = {"float32": 1e-3, "bfloat16": 0.1}


def needs_bfloat16() -> None:
    if "BF16" not in import_openvino().Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        pytest.skip("this CPU has no bfloat16")


def relative_difference(found: torch.Tensor, expected: torch.Tensor) -> float:
    assert found.shape == expected.shape
    return float((found - expected).abs().max() / expected.abs().max())


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_activations_logits_and_local_logits_agree_with_torch(precision: str) -> None:
    if precision == "bfloat16":
        needs_bfloat16()
    bundle = find_model()
    network = load_network(bundle)
    size = bundle.metadata.input_size
    stacks = torch.rand(3, 3, *size, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        expected = network.trunk(stacks)
        found = OpenVinoTrunk(network, size, batch_size=3, precision=precision, threads=1)(stacks)
        assert found.dtype == torch.float32
        ours, theirs = (LayerPass.from_head(activations, network.head) for activations in (found, expected))
        assert relative_difference(found, expected) <= TOLERANCE[precision]
        assert relative_difference(ours.logits, theirs.logits) <= TOLERANCE[precision]
        local = [maps("local-logit", layer_pass) for layer_pass in (ours, theirs)]
        assert relative_difference(*local) <= TOLERANCE[precision]


ARCHITECTURES = {
    "lse-unet": {"encoder": "test_resnet", "r": 3.0, "decoder_channels": [8, 8, 12, 16]},
    "timm-classifier": {"encoder": "test_efficientnet"},
}


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_stacks_that_are_not_square_and_batches_that_are_not_full_agree_with_torch(name: str) -> None:
    torch.manual_seed(0)
    network = build_network(name, ARCHITECTURES[name], 6).eval().requires_grad_(False)
    trunk = OpenVinoTrunk(network, (64, 96), batch_size=4, precision="float32", threads=1)
    for count in (4, 1, 3, 4):
        stacks = torch.randn(count, 3, 64, 96).contiguous(memory_format=torch.channels_last)
        untouched = stacks.clone()
        assert relative_difference(trunk(stacks), network.trunk(stacks)) <= TOLERANCE["float32"]
        assert torch.equal(stacks, untouched)


def test_what_was_computed_stays_when_the_next_batch_comes() -> None:
    network = build_network("timm-classifier", ARCHITECTURES["timm-classifier"], 6).eval().requires_grad_(False)
    trunk = OpenVinoTrunk(network, (64, 64), batch_size=1, precision="float32", threads=1)
    first, second = torch.randn(2, 1, 3, 64, 64)
    kept = trunk(first)
    before = kept.clone()
    trunk(second)
    assert torch.equal(kept, before)
    assert torch.equal(trunk(first), before)


class OtherTrunk(torch.nn.Module):
    """A network's trunk that does something unusual."""

    def __init__(self, act: object) -> None:
        super().__init__()
        self.trunk = act


def test_a_network_that_computes_something_else_there_is_refused() -> None:
    network: Network = OtherTrunk(lambda stacks: stacks * torch.rand_like(stacks))  # type: ignore[assignment]
    with pytest.raises(UsageError, match="same activations") as caught:
        OpenVinoTrunk(network, (8, 8), batch_size=2, precision="float32", threads=1)
    assert caught.value.code == "USAGE_BACKEND"


def test_a_network_that_cannot_be_translated_is_refused() -> None:
    network: Network = OtherTrunk(lambda stacks: torch.linalg.eigvals(stacks).real)  # type: ignore[assignment]
    with pytest.raises(UsageError, match="cannot run this model") as caught:
        OpenVinoTrunk(network, (8, 8), batch_size=2, precision="float32", threads=1)
    assert caught.value.code == "USAGE_BACKEND"


def test_a_cpu_without_bfloat16_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(import_openvino().Core, "get_property", lambda *_: ["FP32", "INT8"])
    network: Network = OtherTrunk(torch.relu)  # type: ignore[assignment]
    with pytest.raises(UsageError) as caught:
        OpenVinoTrunk(network, (8, 8), batch_size=2, precision="bfloat16", threads=1)
    assert caught.value.code == "USAGE_PRECISION"


NOTHING_IS_SENT = """
import socket, sys
asked = []
def refuse(*arguments, **named):
    asked.append(arguments)
    raise OSError("no network")
socket.socket.connect = socket.getaddrinfo = refuse
import torch
from HemoCAMLib.model.openvino_trunk import OpenVinoTrunk
class Network:
    def trunk(self, stacks):
        return torch.relu(stacks - 0.5)
trunk = OpenVinoTrunk(Network(), (8, 8), batch_size=2, precision="float32", threads=1)
trunk(torch.rand(2, 3, 8, 8))
import openvino.tools.ovc.telemetry_utils as telemetry
print(telemetry.tm.__name__, len(asked), [name for name in sys.modules if name.startswith("openvino_telemetry.")])
"""


def test_nothing_is_reported_to_anybody_and_nothing_is_left_in_the_home_folder(tmp_path: Path) -> None:
    # In its own way the package writes ~/intel and sends an event when it is imported; a set CI would hide that.
    variables = {name: value for name, value in os.environ.items() if name != "CI"}
    variables |= {"HOME": str(tmp_path), "LOCALAPPDATA": str(tmp_path), "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", NOTHING_IS_SENT]
    answer = subprocess.run(command, capture_output=True, text=True, env=variables, timeout=120, check=False)
    assert answer.stdout.splitlines()[-1] == "openvino.tools.ovc.telemetry_stub 0 []", answer.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.fixture(scope="module")
def scan(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return hc.write_sample(tmp_path_factory.mktemp("sample")).scan


@pytest.fixture(scope="module")
def worker() -> Iterator[hc.PlainWorker]:
    with hc.PlainWorker() as worker:
        yield worker


def test_the_sample_gets_the_same_masks_and_millilitres(scan: Path, worker: hc.PlainWorker, tmp_path: Path) -> None:
    by_torch, by_openvino = (
        hc.analyze(scan, tmp_path / name, worker=worker, backend=name, device="cpu", threads=1)
        for name in ("torch", "openvino")
    )
    assert [result.fields["settings"]["backend"] for result in (by_torch, by_openvino)] == ["torch", "openvino"]
    np.testing.assert_allclose(by_openvino.probabilities, by_torch.probabilities, atol=1e-4)
    for label in np.unique(by_torch.labels)[1:]:
        one, other = by_torch.labels == label, by_openvino.labels == label
        assert 2 * (one & other).sum() / (one.sum() + other.sum()) >= 0.999
    assert by_torch.volume_ml["total"] > 10
    assert by_openvino.volume_ml == pytest.approx(by_torch.volume_ml, abs=0.01)


def test_half_precision_with_openvino_is_checked_as_such(scan: Path, tiny_bundle: Path) -> None:
    needs_bfloat16()
    arguments = ["models", "check-precision", str(tiny_bundle), "--scans", str(scan), "--backend", "openvino", "--json"]
    answer = CliRunner().invoke(app, arguments)
    assert answer.exit_code == 0, answer.output
    found = json.loads(answer.stdout[answer.stdout.index("{") :])["half_precision"]
    assert (found["backend"], found["dtype"]) == ("openvino", "bfloat16")
    assert 0 < found["largest_probability_change"] < 0.2


def _prepared(path: Path, bundle: Path, **settings: object) -> RunFolder:
    folder = RunFolder(path)
    affine = np.diag([-3.4, -3.4, 5.0, 1.0])
    positions = tuple(map(tuple, affine.tolist()))
    folder.prepare(AnalyzeJob(ijk_to_ras=positions, model=str(bundle), batch_size=3, threads=1, **settings))  # type: ignore[arg-type]
    np.save(folder.input_array_path, head_hu())
    return folder


def test_a_run_that_was_cut_off_goes_on_with_openvino_to_the_same_bits(tiny_bundle: Path, tmp_path: Path) -> None:
    networks = NetworkCache()
    whole = _prepared(tmp_path / "whole", tiny_bundle, backend="openvino")
    run_analysis(whole, whole.read_job(), networks, lambda event: None)
    cut = _prepared(tmp_path / "cut", tiny_bundle, backend="openvino")
    answers = iter([False, False])
    with pytest.raises(Cancelled):
        run_analysis(cut, cut.read_job(), networks, lambda event: None, lambda: next(answers, True))
    assert not cut.is_complete
    # Asked again without a wish, by a process that starts anew.
    again = _prepared(tmp_path / "cut", tiny_bundle)
    events: list[dict[str, object]] = []
    run_analysis(again, again.read_job(), NetworkCache(), events.append)
    assert "WORKER_RESUMED" in [event.get("code") for event in events if event["event"] == "notice"]
    assert again.read_json(again.result_path)["settings"]["backend"] == "openvino"
    for name in ("probabilities.npy", "activation.npy", "brain.npy", "labels.nrrd"):
        assert (again.path / name).read_bytes() == (whole.path / name).read_bytes(), name


def test_the_compiled_trunk_is_kept_until_the_model_or_the_choice_changes(
    tiny_bundle: Path, other_tiny_bundle: Path
) -> None:
    networks = NetworkCache()
    bundle, other = find_model(str(tiny_bundle)), find_model(str(other_tiny_bundle))
    choice = Compute("cpu", "float32", 4, 1, "openvino")
    trunk = networks.openvino_trunk(bundle, choice)
    assert networks.openvino_trunk(bundle, choice) is trunk
    assert networks.openvino_trunk(bundle, replace(choice, batch_size=2)) is not trunk
    assert networks.openvino_trunk(bundle, replace(choice, threads=2)) is not trunk
    stacks = torch.rand(1, 3, *other.metadata.input_size)
    found = networks.openvino_trunk(other, choice)(stacks)
    expected = load_network(other).trunk(stacks)
    assert relative_difference(found, expected) <= TOLERANCE["float32"]


def test_auto_is_torch_so_that_two_computers_give_the_same() -> None:
    assert choose_compute(AnalyzeJob("a", device="cpu")).backend == "torch"


def test_openvino_computes_on_the_cpu_and_goes_on_where_it_began() -> None:
    chosen = choose_compute(AnalyzeJob("a", backend="openvino"))
    assert (chosen.device, chosen.precision, chosen.backend) == ("cpu", "float32", "openvino")
    assert choose_compute(AnalyzeJob("a"), chosen.to_dict()) == chosen
    assert choose_compute(AnalyzeJob("a", backend="torch"), chosen.to_dict()).backend == "torch"
    smaller = chosen.smaller()
    assert smaller is not None
    assert smaller[0].backend == "openvino"


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"backend": "tensorflow"}, "Unknown backend"),
        ({"backend": "openvino", "device": "cuda"}, "CPU only"),
        ({"backend": "openvino", "map": {"method": "layer-cam"}}, "layer-cam"),
    ],
)
def test_a_wish_that_openvino_cannot_fulfil_is_refused_at_once(settings: dict[str, object], said: str) -> None:
    with pytest.raises(UsageError, match=said) as caught:
        AnalyzeJob.from_dict({"input": "a", **settings})
    assert caught.value.code == "USAGE_BACKEND"


def test_openvino_that_is_not_installed_is_named_with_what_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compute_module, "is_installed", lambda: False)
    with pytest.raises(UsageError, match=r"pip install \"hemocam\[openvino\]\"") as caught:
        choose_compute(AnalyzeJob("a", backend="openvino"))
    assert caught.value.code == "USAGE_BACKEND"
    former = Compute("cpu", "float32", 4, 1, "openvino").to_dict()
    assert choose_compute(AnalyzeJob("a"), former).backend == "torch"


def test_a_check_of_half_precision_counts_for_the_back_end_that_was_checked() -> None:
    metadata = find_model().metadata
    record = HalfPrecision("bfloat16", "cpu", metadata.weights_sha256, 3, 0.001, 0.1, 0.01)
    chosen = Compute("cpu", "bfloat16", 4, 1, "openvino")
    checked_in_torch = replace(metadata, half_precision=(record,))
    assert "with OpenVINO" in unchecked_precision(chosen, checked_in_torch)
    assert unchecked_precision(replace(chosen, backend="torch"), checked_in_torch) == ""
    checked = replace(metadata, half_precision=(replace(record, backend="openvino"),))
    assert unchecked_precision(chosen, checked) == ""
    assert BundleMetadata.from_dict(checked.to_dict()) == checked


def test_a_record_from_before_there_were_back_ends_is_one_of_torch() -> None:
    metadata = find_model().metadata
    record = HalfPrecision("bfloat16", "cpu", metadata.weights_sha256, 3, 0.001, 0.1, 0.01)
    described = replace(metadata, half_precision=(record,)).to_dict()
    del described["hemocam"]["half_precision"][0]["backend"]
    assert BundleMetadata.from_dict(described).half_precision == (record,)
