"""Maps of many methods at one layer for the same slices, each with what it cost."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from hemocam_training.experiments.cam_benchmark.slices import BenchmarkSlice
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
    explainer: Explainer, settings: StackSettings, methods: Mapping[str, int], slices: Sequence[BenchmarkSlice]
) -> dict[str, list[SliceMaps]]:
    """Maps of the classes that each slice shows; the trunk runs once a slice for all methods.

    Args:
        explainer: of one layer of a network whose classes are :data:`~HemoCAMLib.subtypes.CLASS_NAMES`.
        settings: of the network's input.
        methods: names in the registry of :mod:`HemoCAMLib.cam`, each with its step: 1 for every slice.
        slices: which.

    Returns:
        By method; without those that the layer has no map for.
    """
    found: dict[str, list[SliceMaps]] = defaultdict(list)
    refused: set[str] = set()
    for position, one in enumerate(slices):
        stack = torch.from_numpy(one.stack(settings)[None]).contiguous(memory_format=torch.channels_last)
        classes = one.classes
        numbers = [CLASS_NAMES.index(name) for name in classes]
        start = time.perf_counter()
        explanation = explainer.run(stack)
        trunk = time.perf_counter() - start
        for method, step in methods.items():
            if position % step or method in refused:
                continue
            start = time.perf_counter()
            try:
                maps = explanation.maps(method, numbers).values[0].float().cpu().numpy()
            except ModelRefused as error:
                if error.code != "MODEL_NO_CLOSED_FORM":
                    raise
                refused.add(method)
                continue
            milliseconds = 1000 * (time.perf_counter() - start + trunk)
            found[method].append(SliceMaps(position, classes, maps, milliseconds))
    return dict(found)
