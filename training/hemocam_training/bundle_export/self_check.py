"""Does the bundle, read back as a user's program reads it, say what the checkpoint says?"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from hemocam_training.bundle_export.checkpoint import Checkpoint
from hemocam_training.errors import DataRefused
from hemocam_training.phantoms import make_phantom
from hemocam_training.seeds import VALIDATION_SEED
from HemoCAMLib.cam import LayerPass, maps
from HemoCAMLib.mask import MaskSettings
from HemoCAMLib.model.bundle import ModelBundle
from HemoCAMLib.model.registry import build_network, load_network
from HemoCAMLib.model.stacks import SliceStacker
from HemoCAMLib.model.state import checked_state
from HemoCAMLib.run.compute import Compute
from HemoCAMLib.run.map_settings import LOCAL_LOGIT, MapSettings
from HemoCAMLib.run.slice_maps import SliceMapper

#: Largest differences that are accepted. Maps are stored in half precision, and batch normalisation is folded.
LOGIT_BOUND, MAP_BOUND, HALF_PROBABILITY_BOUND = 1e-3, 2e-3, 0.02
SLICES = 6


@dataclass(frozen=True)
class SelfCheck:
    """Largest differences between bundle and checkpoint on slices of a phantom.

    Attributes:
        logits: of class logits, the checkpoint's weights rounded as the bundle stores them; relative to their largest
            size, or 1.
        maps: of local logits, likewise.
        probabilities: against the checkpoint's own weights: what storing in half precision costs.
        slices: that were compared.
    """

    logits: float
    maps: float
    probabilities: float
    slices: int

    @property
    def passed(self) -> bool:
        """Whether all stay within their bounds."""
        within = self.logits <= LOGIT_BOUND and self.maps <= MAP_BOUND
        return within and self.probabilities <= HALF_PROBABILITY_BOUND

    def as_dict(self) -> dict[str, Any]:
        """Plain values, ``passed`` among them."""
        sizes = {name: float(f"{value:.3g}") for name, value in asdict(self).items() if name != "slices"}
        return {**sizes, "slices": self.slices, "passed": self.passed}


def check_bundle(bundle: ModelBundle, checkpoint: Checkpoint, seed: int = VALIDATION_SEED) -> SelfCheck:
    """Compare logits and maps on slices of a phantom.

    The bundle goes the way of an analysis: read from disk, batch normalisation folded, maps by
    :class:`~HemoCAMLib.run.slice_maps.SliceMapper`. The checkpoint's network is built anew and run as it was trained.

    Raises:
        DataRefused: ``TRAIN_EXPORT_DIFFERS``.
    """
    hu = _head(seed)
    stacker = SliceStacker(hu, bundle.metadata.stack_settings)
    stacks = torch.from_numpy(stacker.stacks(np.linspace(2, len(hu) - 3, SLICES).astype(int).tolist()))
    logits, found_maps = _as_analysed(bundle, stacks)
    own = _run(_network(checkpoint, checkpoint.weights), stacks)
    rounded = _run(_network(checkpoint, bundle.read_weights()), stacks)
    checked = SelfCheck(
        logits=_apart(logits, rounded[0]),
        maps=_apart(found_maps.astype(np.float32), rounded[1]),
        probabilities=float(np.abs(_sigmoid(logits) - _sigmoid(own[0])).max()),
        slices=SLICES,
    )
    if not checked.passed:
        raise DataRefused(
            "TRAIN_EXPORT_DIFFERS",
            "The bundle does not give the numbers of the checkpoint.",
            "Store it in full precision (half: false in the description), or report this as an error of HemoCAM.",
            str(checked.as_dict()),
        )
    return checked


@lru_cache(maxsize=1)
def _head(seed: int) -> NDArray[np.int16]:
    hu: NDArray[np.int16] = np.maximum(make_phantom(seed, 256, 256).hu, np.int16(-1024))
    return hu


def _as_analysed(bundle: ModelBundle, stacks: Tensor) -> tuple[NDArray[np.float32], NDArray[Any]]:
    metadata = bundle.metadata
    settings = MaskSettings.from_metadata(metadata.hemocam_fields())
    compute = Compute("cpu", "float32", SLICES, torch.get_num_threads())
    mapper = SliceMapper(load_network(bundle), metadata.subtypes, MapSettings(), settings, compute)
    return mapper(stacks)


def _network(checkpoint: Checkpoint, weights: Any) -> nn.Module:
    network = build_network(checkpoint.architecture, checkpoint.arguments, len(checkpoint.classes))
    network.load_state_dict(checked_state(weights, network.state_dict()))
    return network.eval()


def _run(network: Any, stacks: Tensor) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Class logits and local logits as the training sees them."""
    with torch.inference_mode():
        activations = network.trunk(stacks)
        logits: NDArray[np.float32] = network(stacks).float().numpy()
        local = maps(LOCAL_LOGIT, LayerPass.from_head(activations.float(), network.head))
    return logits, local.numpy()


def _apart(one: NDArray[np.float32], other: NDArray[np.float32]) -> float:
    return float(np.abs(one - other).max() / max(1.0, float(np.abs(other).max())))


def _sigmoid(logits: NDArray[np.float32]) -> NDArray[np.float64]:
    probability: NDArray[np.float64] = 1 / (1 + np.exp(-logits.astype(np.float64)))
    return probability
