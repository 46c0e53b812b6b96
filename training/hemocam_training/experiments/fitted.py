"""Networks that an experiment trains, and what they say of slices."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from hemocam_training.learning.augmentation import windowed
from hemocam_training.learning.config import FitConfig
from hemocam_training.learning.fit import fit, load_fitted
from hemocam_training.learning.slices import SliceSource

_BATCH = 16


def fitted_network(
    config: FitConfig, out: Path, train: SliceSource, validation: SliceSource | None = None, *, best: bool = False
) -> nn.Module:
    """A network trained with these settings, in evaluation mode.

    A training that the folder holds is not repeated where it came to its end, and goes on where it was cut short, so
    an experiment can be.

    Args:
        config: settings.
        out: folder of this training alone.
        train: slices to learn from.
        validation: slices that are looked at; None for none.
        best: weights of the check with the best score instead of the last ones.
    """
    fit(config, out, resume=True, train=train, validation=validation)
    return load_fitted(out, best=best)[0]


def logits_of(network: nn.Module, slices: SliceSource) -> NDArray[np.float32]:
    """[slice, class] logits of every slice, between its neighbours, without chance changes."""
    network.eval()
    device = next(network.parameters()).device
    found = []
    with torch.inference_mode():
        for indices in np.array_split(np.arange(len(slices)), max(1, -(-len(slices) // _BATCH))):
            stacks = windowed(slices.stacks_hu(indices, np.zeros(indices.size, bool))).to(device)
            found.append(network(stacks.contiguous(memory_format=torch.channels_last)).float().cpu().numpy())
    return np.concatenate(found)
