"""Phantoms with what a network says of them, kept on disk, so that masks are compared without running it again."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hemocam_training.phantoms import make_phantom
from hemocam_training.scans import scan_maps
from HemoCAMLib.ct.geometry import SliceGeometry
from HemoCAMLib.mask.brain_mask import find_brain
from HemoCAMLib.model.registry import Network
from HemoCAMLib.model.stacks import StackSettings
from HemoCAMLib.subtypes import SUBTYPES


@dataclass(frozen=True, eq=False)
class StoredScan:
    """One scan, its truth and its maps.

    Attributes:
        hu: [slice, row, column] int16.
        truth: [slice, row, column] uint8 labels.
        brain: [slice, row, column] bool, where hemorrhage can be.
        probabilities: [5, slice] float32 in the order of the subtypes.
        local_logits: [5, slice, h, w] float16, as a run folder keeps them.
        geometry: true positions and spacing.
    """

    hu: NDArray[np.int16]
    truth: NDArray[np.uint8]
    brain: NDArray[np.bool_]
    probabilities: NDArray[np.float32]
    local_logits: NDArray[np.float16]
    geometry: SliceGeometry

    @property
    def voxel_ml(self) -> NDArray[np.float64]:
        """[slice] volume of a voxel in each slice."""
        volumes: NDArray[np.float64] = self.geometry.extents_mm * self.geometry.pixel_area_mm2 / 1000
        return volumes


def stored_phantom(folder: Path, seed: int, network: Network, settings: StackSettings) -> StoredScan:
    """The phantom of a seed with this network's maps; made where ``folder`` lacks it.

    The folder belongs to one network: nothing checks that it is still the same.
    """
    path = folder / f"{seed}.npz"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        phantom = make_phantom(seed)
        found = scan_maps(network, phantom.hu, settings)
        brain = find_brain(phantom.hu, phantom.geometry)
        partial = folder / f"{seed}.partial"
        with partial.open("wb") as file:
            np.savez(
                file,
                hu=phantom.hu,
                truth=phantom.labels,
                brain=np.packbits([brain.slice(index, hu) for index, hu in enumerate(phantom.hu)], axis=-1),
                probabilities=found.probabilities[:, -len(SUBTYPES) :].T,
                local_logits=found.local_logits[:, -len(SUBTYPES) :].swapaxes(0, 1).astype(np.float16),
                positions_mm=phantom.geometry.positions_mm,
                directions=np.stack([phantom.geometry.row_direction, phantom.geometry.column_direction]),
                pixel_spacing_mm=np.array(phantom.geometry.pixel_spacing_mm),
            )
        partial.rename(path)
    return load_scan(path)


def load_scan(path: Path) -> StoredScan:
    """A scan that :func:`stored_phantom` wrote."""
    with np.load(path, allow_pickle=False) as held:
        row, column = held["directions"]
        down, across = held["pixel_spacing_mm"].tolist()
        return StoredScan(
            hu=held["hu"],
            truth=held["truth"],
            brain=np.unpackbits(held["brain"], axis=-1, count=held["hu"].shape[-1]).astype(bool),
            probabilities=held["probabilities"],
            local_logits=held["local_logits"],
            geometry=SliceGeometry(held["positions_mm"], row, column, (down, across)),
        )
