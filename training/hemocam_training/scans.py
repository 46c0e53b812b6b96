"""A network on whole scans: the same stacks, maps and masks as at inference."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from HemoCAMLib.ct.geometry import SliceGeometry
from HemoCAMLib.mask.brain_mask import BrainMask
from HemoCAMLib.mask.relabel import label_scan
from HemoCAMLib.mask.settings import MaskSettings
from HemoCAMLib.model.calibration import class_probabilities
from HemoCAMLib.model.metadata import BundleMetadata
from HemoCAMLib.model.stacks import SliceStacker
from HemoCAMLib.subtypes import SUBTYPES

BATCH = 4


@dataclass(frozen=True, eq=False)
class ScanMaps:
    """What the network says of one scan.

    Attributes:
        probabilities: [slice, class] float32, any first.
        local_logits: [slice, class, h, w] float32.
    """

    probabilities: NDArray[np.float32]
    local_logits: NDArray[np.float32]


def scan_maps(network: nn.Module, hu: NDArray[np.int16], metadata: BundleMetadata) -> ScanMaps:
    """Probabilities, calibrated as the bundle says, and local logits of every slice [slice, row, column]."""
    stacker = SliceStacker(np.maximum(hu, -1024), metadata.stack_settings)
    network.eval()
    logits, maps = [], []
    with torch.inference_mode():
        for start in range(0, len(hu), BATCH):
            stacks = stacker.stacks(range(start, min(start + BATCH, len(hu))))
            x = torch.from_numpy(stacks).contiguous(memory_format=torch.channels_last)
            local = network.head.local_logits(network.trunk(x))
            maps.append(local.numpy())
            logits.append(network.head.pool(local).numpy())
    probabilities = class_probabilities(np.concatenate(logits), metadata.subtypes, metadata.calibration)
    return ScanMaps(probabilities, np.concatenate(maps))


def scan_labels(
    found: ScanMaps, hu: NDArray[np.int16], geometry: SliceGeometry, brain: BrainMask, settings: MaskSettings
) -> NDArray[np.uint8]:
    """[slice, row, column] labels after gates, thresholds and removal of small lesions."""
    maps, gates = found.local_logits[:, -len(SUBTYPES) :], found.probabilities[:, -len(SUBTYPES) :]
    inside = [brain.slice(index, hu[index]) for index in range(len(hu))]
    return np.stack(list(label_scan(maps.swapaxes(0, 1), gates.T, inside, geometry, settings, hu)))
