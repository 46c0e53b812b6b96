"""A network's trunk in OpenVINO, on some CPUs faster than in torch: for maps that need no gradient. Worker side.

Everything happens in memory: no file is written, nothing is downloaded, nothing is reported to anybody.
"""

from __future__ import annotations

import importlib.util
import sys
from typing import Any

import torch
from torch import Tensor, nn

from HemoCAMLib.errors import UsageError
from HemoCAMLib.model.registry import Network

#: Hints by the names that a run uses for its precision.
PRECISION_HINTS = {"float32": "f32", "bfloat16": "bf16"}

#: Largest difference from torch's activations, relative to the largest of them, that one slice of noise may show. It
#: finds translations that went wrong, not rounding: through an untrained EfficientNetV2-S noise comes out of torch
#: itself 2 % away from double precision.
TOLERANCE = {"float32": 0.05, "bfloat16": 1.0}

ADVICE = "Choose the back end torch."


def is_installed() -> bool:
    """Whether the package is there; it is not imported."""
    return importlib.util.find_spec("openvino") is not None


def import_openvino() -> Any:
    """The package ``openvino``, without its telemetry.

    Raises:
        ImportError: it is not installed.
    """
    # Its import, and each translation of a network, are reported to its makers unless the user has opted out; where
    # this package of theirs cannot be imported, it takes a stand-in of its own that sends nothing.
    sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]
    import openvino

    return openvino


class TrunkModule(nn.Module):
    """The trunk of a network as a module of its own, which translators need."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network

    def forward(self, stacks: Tensor) -> Tensor:
        """Slice stacks [N, 3, H, W] to activations A [N, K, h, w]."""
        return self.network.trunk(stacks)


class OpenVinoTrunk:
    """``network.trunk``, translated and compiled for this CPU; call it with slice stacks.

    It is compiled for one number of slices, because fixed shapes run faster than open ones; what is left at the end of
    a scan is filled up with zeros, which costs less than compiling again.

    Args:
        network: in evaluation mode, float32, on the CPU; its weights are shared, not copied.
        input_size: rows and columns of the stacks.
        batch_size: most slices of a call.
        precision: ``float32`` or ``bfloat16``, of the inner products; activations are float32 in both.
        threads: CPU threads.

    Raises:
        UsageError: the network cannot be translated, or computes something else then (``USAGE_BACKEND``), or this
            CPU does not have the precision (``USAGE_PRECISION``).
    """

    def __init__(
        self, network: Network, input_size: tuple[int, int], *, batch_size: int, precision: str, threads: int
    ) -> None:
        openvino = import_openvino()
        core = openvino.Core()
        if precision == "bfloat16" and "BF16" not in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
            raise UsageError("USAGE_PRECISION", "OpenVINO has no bfloat16 on this CPU.", "Choose float32.")
        hints = {
            "INFERENCE_PRECISION_HINT": PRECISION_HINTS[precision],
            "INFERENCE_NUM_THREADS": threads,
            "PERFORMANCE_HINT": "LATENCY",
        }
        self._batch_size = batch_size
        noise = torch.rand(1, 3, *input_size, generator=torch.Generator().manual_seed(0))
        module = TrunkModule(network).eval()
        try:
            with torch.no_grad():
                expected = module(noise)
                # Traced here without torch's own check, which runs the network twice more; ours comes next.
                traced = torch.jit.trace(module, noise, check_trace=False)  # type: ignore[no-untyped-call]
                model = openvino.convert_model(traced, example_input=noise)
            model.reshape([batch_size, *noise.shape[1:]])
            self._compiled = core.compile_model(model, "CPU", hints)
            found = self(noise)
        except MemoryError:
            raise
        except Exception as error:
            raise UsageError(
                "USAGE_BACKEND", "OpenVINO cannot run this model's network.", ADVICE, f"{type(error).__name__}: {error}"
            ) from error
        difference = float((found - expected).abs().max() / expected.abs().max())
        if not difference <= TOLERANCE[precision]:
            raise UsageError(
                "USAGE_BACKEND",
                "OpenVINO does not give the same activations as torch for this model.",
                ADVICE,
                f"they differ by {difference:.2g} of the largest",
            )

    def __call__(self, stacks: Tensor) -> Tensor:
        """Slice stacks [N, 3, H, W] to activations A [N, K, h, w], float32; N is at most the batch size."""
        count = len(stacks)
        if count < self._batch_size:
            stacks = torch.cat([stacks, stacks.new_zeros(self._batch_size - count, *stacks.shape[1:])])
        return torch.from_numpy(self._compiled(stacks.contiguous().numpy())[0])[:count]
