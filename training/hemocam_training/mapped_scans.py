"""Scans with what a bundle's network says of them, made by the code that analyses them, kept on disk.

Masks can then be made, compared and tuned without running the network again.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from hemocam_training.errors import DataRefused
from hemocam_training.scan_sources import LabelledScan, ScanSource
from HemoCAMLib.ct.geometry import SliceGeometry
from HemoCAMLib.errors import HemoCAMError
from HemoCAMLib.mask import MaskSettings, find_brain
from HemoCAMLib.model.bundle import ModelBundle
from HemoCAMLib.model.calibration import Calibration, class_probabilities
from HemoCAMLib.model.registry import load_network
from HemoCAMLib.model.stacks import SliceStacker
from HemoCAMLib.run.compute import CPU_BATCH, Compute
from HemoCAMLib.run.map_settings import MapSettings
from HemoCAMLib.run.record import ClassOrder
from HemoCAMLib.run.slice_maps import SliceMapper
from HemoCAMLib.subtypes import CLASS_NAMES

#: Pixels and slices of a scan whose dataset does not tell them; its volumes are not given.
ASSUMED_FIELD_MM, ASSUMED_STEP_MM = 230.0, 5.0


@dataclass(frozen=True, eq=False)
class MappedScan:
    """One scan, its truth as far as known, and what the network says.

    Attributes:
        patient, series: of the scan.
        hu: [slice, row, column] int16.
        truth: [slice, row, column] uint8, or None.
        mask_kind: ``subtypes``, ``any`` or empty.
        brain: [slice, row, column] bool, where hemorrhage can be.
        logits: [slice, class] float32, in the order of CLASS_NAMES; not a number for a class that the model lacks.
        local_logits: [subtype, slice, h, w] float16, as a run folder keeps them.
        target, known: [slice, class] 0 or 1.
        geometry: positions and spacing; usual ones where ``has_geometry`` is False.
        has_geometry: whether the dataset tells them.
    """

    patient: str
    series: str
    hu: NDArray[np.int16]
    truth: NDArray[np.uint8] | None
    mask_kind: str
    brain: NDArray[np.bool_]
    logits: NDArray[np.float32]
    local_logits: NDArray[np.float16]
    target: NDArray[np.float32]
    known: NDArray[np.float32]
    geometry: SliceGeometry
    has_geometry: bool

    @property
    def voxel_ml(self) -> NDArray[np.float64]:
        """[slice] volume of a voxel in each slice."""
        volumes: NDArray[np.float64] = self.geometry.extents_mm * self.geometry.pixel_area_mm2 / 1000
        return volumes

    def probabilities(self, calibration: Calibration | None) -> NDArray[np.float32]:
        """[slice, class] in the order of CLASS_NAMES, as an analysis gives them.

        A class that the model lacks is 0, but ``any``, which is that of at least one subtype then.
        """
        found = class_probabilities(self.logits, CLASS_NAMES, calibration)
        without_any = np.isnan(found[:, 0])
        found = np.nan_to_num(found)
        found[without_any, 0] = 1 - np.prod(1 - found[without_any, 1:], axis=1)
        return found


class MapStore:
    """Maps of one bundle, made when they are first asked for.

    What is stored is filed under the weights, the input and the source, so another model or set never reads it.

    Args:
        bundle: whose network and stacks.
        folder: that keeps maps between programs; None for one that goes with this object.
        threads: of torch on the CPU.
        device: ``cpu`` or ``cuda``.

    Attributes:
        bundle: as given.
        left_out: why, by number of the scan.
    """

    def __init__(
        self, bundle: ModelBundle, folder: Path | None = None, *, threads: int = 1, device: str = "cpu"
    ) -> None:
        self.bundle = bundle
        self.left_out: dict[int, str] = {}
        self._temporary = tempfile.TemporaryDirectory(prefix="hemocam-maps-") if folder is None else None
        self._folder = Path(self._temporary.name) if self._temporary else folder or Path()
        self._threads, self._device = threads, device
        self._mapper: SliceMapper | None = None

    def scans(self, source: ScanSource) -> Iterator[MappedScan]:
        """Every scan of a source that can be used, in order; the others are told in :attr:`left_out`.

        Raises:
            DataRefused: ``DATA_EMPTY``: none can.
        """
        used = 0
        for number in range(len(source)):
            try:
                scan = self.scan(source, number)
            except DataRefused as error:
                self.left_out[number] = error.message
                continue
            used += 1
            yield scan
        if not used:
            raise DataRefused("DATA_EMPTY", "No scan can be used.", "Check the dataset with hemocam-train prepare.")

    def scan(self, source: ScanSource, number: int) -> MappedScan:
        """One scan.

        Raises:
            DataRefused: it cannot be read, or is no head CT.
        """
        path = self._place(source) / f"{number:06d}.npz"
        if not path.exists():
            try:
                mapped = self.mapped(source.load(number))
            except DataRefused:
                raise
            except HemoCAMError as error:
                raise DataRefused(error.code, error.message, error.advice, error.detail) from error
            path.parent.mkdir(parents=True, exist_ok=True)
            _save(path, mapped)
        return _load(path)

    def _place(self, source: ScanSource) -> Path:
        metadata = self.bundle.metadata
        question = {
            "weights": metadata.weights_sha256,
            "input": [*metadata.input_size, metadata.window_center_hu, metadata.window_width_hu, metadata.mean,
                      metadata.std],
            "layer": metadata.map_layer,
            "source": source.describe(),
        }  # fmt: skip
        text = json.dumps(question, sort_keys=True)
        return self._folder / hashlib.sha256(text.encode()).hexdigest()[:20]

    def mapped(self, scan: LabelledScan) -> MappedScan:
        """One scan that is at hand; it is not stored.

        Raises:
            HemoCAMError: it is no head CT.
        """
        if scan.modality != "CT":
            raise DataRefused("DATA_MODALITY", "The scan is no CT.", "Evaluate on head CT.")
        geometry = scan.geometry or _usual_geometry(scan.hu.shape)
        hu = np.maximum(scan.hu, -1024)
        brain = find_brain(hu, geometry)
        logits, maps = self._network_outputs(hu)
        order = ClassOrder(self.bundle.metadata.subtypes)
        rows = {name: row for row, name in enumerate(self.bundle.metadata.subtypes)}
        target, known = scan.target_and_known
        return MappedScan(
            patient=scan.patient,
            series=scan.series,
            hu=hu,
            truth=scan.mask if scan.mask_kind in ("subtypes", "any") else None,
            mask_kind=scan.mask_kind if scan.mask_kind in ("subtypes", "any") else "",
            brain=np.stack([brain.slice(index, image) for index, image in enumerate(hu)]),
            logits=np.stack(
                [logits[:, rows[n]] if n in rows else np.full(len(hu), np.nan, np.float32) for n in CLASS_NAMES], axis=1
            ),
            local_logits=np.stack([order.subtype_maps(one) for one in maps], axis=1).astype(np.float16),
            target=target,
            known=known,
            geometry=geometry,
            has_geometry=scan.geometry is not None,
        )

    def _network_outputs(self, hu: NDArray[np.int16]) -> tuple[NDArray[np.float32], NDArray[np.float16]]:
        """Logits [slice, class] and local logits [slice, class, h, w]."""
        mapper = self._mapper or self._loaded()
        stacker = SliceStacker(hu, self.bundle.metadata.stack_settings)
        batches = [range(start, min(start + CPU_BATCH, len(hu))) for start in range(0, len(hu), CPU_BATCH)]
        found: list[Any] = [mapper(torch.from_numpy(stacker.stacks(batch))) for batch in batches]
        return np.concatenate([logits for logits, _ in found]), np.concatenate([maps for _, maps in found])

    def _loaded(self) -> SliceMapper:
        metadata = self.bundle.metadata
        compute = Compute(self._device, "float32", CPU_BATCH, self._threads)
        compute.apply()
        network = load_network(self.bundle, self._device)
        settings = MaskSettings.from_metadata(metadata.hemocam_fields())
        self._mapper = SliceMapper(network, metadata.subtypes, MapSettings(), settings, compute)
        return self._mapper


def _usual_geometry(shape: tuple[int, ...]) -> SliceGeometry:
    slices, rows, columns = shape
    positions = np.zeros((slices, 3))
    positions[:, 2] = np.arange(slices) * ASSUMED_STEP_MM
    spacing = ASSUMED_FIELD_MM / max(rows, columns)
    return SliceGeometry(positions, np.array([1.0, 0, 0]), np.array([0, 1.0, 0]), (spacing, spacing), ASSUMED_STEP_MM)


def _save(path: Path, scan: MappedScan) -> None:
    partial = path.with_suffix(".partial")
    truth: dict[str, Any] = {} if scan.truth is None else {"truth": scan.truth}
    with partial.open("wb") as file:
        np.savez(
            file,
            patient=np.array(scan.patient),
            series=np.array(scan.series),
            mask_kind=np.array(scan.mask_kind),
            hu=scan.hu,
            **truth,
            brain=np.packbits(scan.brain, axis=-1),
            logits=scan.logits,
            local_logits=scan.local_logits,
            target=scan.target,
            known=scan.known,
            positions_mm=scan.geometry.positions_mm,
            directions=np.stack([scan.geometry.row_direction, scan.geometry.column_direction]),
            pixel_spacing_mm=np.array(scan.geometry.pixel_spacing_mm),
            slice_thickness_mm=np.array(scan.geometry.slice_thickness_mm or np.nan),
            has_geometry=np.array(scan.has_geometry),
        )
    partial.replace(path)


def _load(path: Path) -> MappedScan:
    with np.load(path, allow_pickle=False) as held:
        row, column = held["directions"]
        down, across = held["pixel_spacing_mm"].tolist()
        thickness = float(held["slice_thickness_mm"])
        return MappedScan(
            patient=str(held["patient"]),
            series=str(held["series"]),
            hu=held["hu"],
            truth=held.get("truth"),
            mask_kind=str(held["mask_kind"]),
            brain=np.unpackbits(held["brain"], axis=-1, count=held["hu"].shape[-1]).astype(bool),
            logits=held["logits"],
            local_logits=held["local_logits"],
            target=held["target"],
            known=held["known"],
            geometry=SliceGeometry(
                held["positions_mm"], row, column, (down, across), None if np.isnan(thickness) else thickness
            ),
            has_geometry=bool(held["has_geometry"]),
        )
