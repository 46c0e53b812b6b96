"""From slice stacks to logits and activation maps, by the method that the run asks for. Worker side."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from HemoCAMLib.cam import Explainer, LayerPass, maps
from HemoCAMLib.errors import WorkerFailed
from HemoCAMLib.mask import MaskSettings
from HemoCAMLib.mask.settings import NEVER_CALLED
from HemoCAMLib.model.calibration import Calibration
from HemoCAMLib.model.registry import Network
from HemoCAMLib.run.compute import Compute
from HemoCAMLib.run.map_settings import LOCAL_LOGIT, MapSettings
from HemoCAMLib.run.slice_desk import Maps
from HemoCAMLib.subtypes import SUBTYPE_NAMES

#: Local logits are stored as float16; beyond this they would become infinite.
LARGEST_LOGIT = 6e4


class SliceMapper:
    """A network and a way to make maps, ready for batches.

    Args:
        network: in evaluation mode, on its device.
        classes: of the model, in the order of its logits.
        settings: method and layers.
        mask: whose gates say which classes are looked at.
        compute: device and precision.
        trunk: what runs in place of ``network.trunk`` where maps need no gradient; it takes stacks in the usual order
            of their values, torch's own is faster with channels last.
        calibration: of the model's probabilities, which the gates are meant for.

    Raises:
        UsageError: there is no such method, layer or fusion (``USAGE_CAM_*``).
        ModelRefused: the network cannot be cut at the layer.
    """

    def __init__(
        self,
        network: Network,
        classes: Sequence[str],
        settings: MapSettings,
        mask: MaskSettings,
        compute: Compute,
        trunk: Callable[[Tensor], Tensor] | None = None,
        calibration: Calibration | None = None,
    ) -> None:
        self._network, self._settings, self._compute = network, settings, compute
        self._trunk = trunk or network.trunk
        self._layout = torch.channels_last if trunk is None else torch.contiguous_format
        gates = dict(zip(SUBTYPE_NAMES, mask.class_thresholds, strict=True))
        self._gates = None if settings.explain == "all" else [gates.get(name, NEVER_CALLED) for name in classes]
        self._logit_gates = self._gates
        if self._gates is not None and calibration is not None:
            named = zip(classes, self._gates, strict=True)
            # A hair lower: a slice that is called must have its map, whatever rounding says.
            self._logit_gates = [calibration.uncalibrated(name, gate) * (1 - 1e-6) for name, gate in named]
        self._explainer: Explainer | None = None
        if not settings.is_default:
            layers = list(settings.layers) or None
            self._explainer = Explainer(cast(nn.Module, network), layers, half=compute.half_type)

    def record(self, classes: Sequence[str]) -> dict[str, Any]:
        """What ``result.json`` says of the maps: method, layers as module names, and which maps were made.

        ``explained_above`` is None where every class has a map in every slice; else maps exist above these
        probabilities, and are not a number elsewhere.
        """
        if self._explainer is None:
            return {**self._settings.as_dict(), "layers": [self._network.map_layer], "explained_above": None}
        gates = None if self._gates is None else dict(zip(classes, self._gates, strict=True))
        return {**self._settings.as_dict(), "layers": list(self._explainer.layers), "explained_above": gates}

    def __call__(self, stacks: Tensor) -> tuple[NDArray[np.float32], Maps]:
        """Class logits [N, C] and maps [N, C, h, w] of slice stacks [N, 3, H, W].

        Raises:
            WorkerFailed: ``WORKER_NOT_FINITE``.
        """
        stacks = stacks.to(self._compute.device).contiguous(memory_format=self._layout)
        logits, values = self._local(stacks) if self._explainer is None else self._explained(self._explainer, stacks)
        if not np.isfinite(logits).all():
            raise WorkerFailed(
                "WORKER_NOT_FINITE",
                "The network gave values that are not numbers for this scan.",
                "Choose precision float32; if it is chosen already, the model is damaged.",
            )
        return logits, values

    def _local(self, stacks: Tensor) -> tuple[NDArray[np.float32], Maps]:
        """From the very pass that classifies."""
        with torch.inference_mode():
            with self._compute.autocast():
                activations = self._trunk(stacks)
            layer_pass = LayerPass.from_head(activations.float(), self._network.head)
            local_logits = maps(LOCAL_LOGIT, layer_pass).clamp(-LARGEST_LOGIT, LARGEST_LOGIT)
            return layer_pass.logits.float().cpu().numpy(), local_logits.half().cpu().numpy()

    def _explained(self, explainer: Explainer, stacks: Tensor) -> tuple[NDArray[np.float32], Maps]:
        explanation = explainer.run(stacks)
        found = explanation.maps(self._settings.method, gates=self._logit_gates, fusion=self._settings.fusion or None)
        # Single precision: gradients at early layers are too small for half.
        values: NDArray[np.float32] = found.values.detach().float().cpu().numpy()
        values[~found.wanted.numpy()] = np.nan
        return explanation.logits.detach().float().cpu().numpy(), values
