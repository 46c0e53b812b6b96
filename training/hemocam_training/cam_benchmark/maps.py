"""Maps of many methods at many layers for the same slices, each with what it cost."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from hemocam_training.cam_benchmark.slices import BenchmarkSlice
from HemoCAMLib.cam import Explainer
from HemoCAMLib.errors import ModelRefused
from HemoCAMLib.model.stacks import StackSettings
from HemoCAMLib.subtypes import CLASS_NAMES


@dataclass(frozen=True, eq=False)
class SliceMaps:
    """What one method says of one slice at one layer.

    Attributes:
        position: of the slice in the list that was asked for.
        classes: names, "any" first, the ones that the slice shows.
        maps: [class, h, w] float32, signed and unscaled.
        milliseconds: the layer's trunk and the method together, for all these classes.
    """

    position: int
    classes: list[str]
    maps: NDArray[np.float32]
    milliseconds: float


def slice_maps(
    network: nn.Module, settings: StackSettings, method: str, layer: str, slices: Sequence[BenchmarkSlice]
) -> Iterator[SliceMaps]:
    """Maps of the classes that each slice shows, slice by slice; nothing where the layer has no such map.

    Args:
        network: from a bundle, its classes in the order of :data:`~HemoCAMLib.subtypes.CLASS_NAMES`.
        settings: of its input.
        method: name in the registry of :mod:`HemoCAMLib.cam`.
        layer: preset or module name.
        slices: which.
    """
    explainer = Explainer(network, [layer])
    for position, one in enumerate(slices):
        stack = torch.from_numpy(one.stack(settings)[None]).contiguous(memory_format=torch.channels_last)
        classes = one.classes
        start = time.perf_counter()
        try:
            maps = explainer.run(stack).maps(method, [CLASS_NAMES.index(name) for name in classes])
        except ModelRefused as error:
            if error.code == "MODEL_NO_CLOSED_FORM":
                return
            raise
        milliseconds = 1000 * (time.perf_counter() - start)
        yield SliceMaps(position, classes, maps.values[0].float().cpu().numpy(), milliseconds)
