"""What a fitted network says of cached slices: probabilities, and the map of every subtype from the same pass."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from hemocam_training.learning.augmentation import windowed
from hemocam_training.shards import SliceShards
from HemoCAMLib.cam import Explainer
from HemoCAMLib.subtypes import CLASS_NAMES, SUBTYPES

BATCH = 8
#: Numbers of the subtypes among the network's classes.
SUBTYPE_CLASSES = tuple(range(len(CLASS_NAMES) - len(SUBTYPES), len(CLASS_NAMES)))


@dataclass(frozen=True, eq=False)
class Predictions:
    """Of every slice of some shards.

    Attributes:
        probabilities: [slice, class] float32, any first.
        maps: [slice, subtype, h, w] float16, signed; on disk.
    """

    probabilities: NDArray[np.float32]
    maps: NDArray[np.float16]


def predictions(network: nn.Module, slices: SliceShards, method: str, layer: str, folder: Path) -> Predictions:
    """Of every slice; what the folder holds already is not computed again.

    Args:
        network: fitted, its classes any and the subtypes.
        slices: which.
        method: of the activation maps; ``local-logit`` gives the input of the LSE pooling, which is what Grad-CAM is
            there but for a factor.
        layer: name or preset.
        folder: for ``probabilities.npy``, written last, and ``maps.npy``.
    """
    done, held = folder / "probabilities.npy", folder / "maps.npy"
    if not done.exists():
        folder.mkdir(parents=True, exist_ok=True)
        np.save(done, _computed(network, slices, method, layer, held))
    return Predictions(np.load(done), np.load(held, mmap_mode="r"))


def _computed(network: nn.Module, slices: SliceShards, method: str, layer: str, held: Path) -> NDArray[np.float32]:
    explainer = Explainer(network, [layer])
    found: list[NDArray[np.float32]] = []
    maps: Any = None
    for first in range(0, len(slices), BATCH):
        indices = np.arange(first, min(first + BATCH, len(slices)))
        explanation = explainer.run(windowed(slices.stacks_hu(indices)))
        values = explanation.maps(method, SUBTYPE_CLASSES).values.numpy()
        if maps is None:
            shape = (len(slices), *values.shape[1:])
            maps = np.lib.format.open_memmap(held, "w+", np.float16, shape)
        # Only a map's own largest value counts, and float16 would lose the small gradients of some methods.
        peaks = np.abs(values).max(axis=(2, 3), keepdims=True)
        maps[indices] = values / np.where(peaks > 0, peaks, 1)
        found.append(torch.sigmoid(explanation.logits.float()).numpy())
    maps.flush()
    return np.concatenate(found)
