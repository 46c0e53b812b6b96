"""The run of one scan through one network, slice by slice. Worker side."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from types import TracebackType
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from HemoCAMLib.cam import maps
from HemoCAMLib.ct import HeadCT
from HemoCAMLib.errors import Cancelled, WorkerFailed
from HemoCAMLib.mask import BrainMask, ComponentAccumulator, MaskSettings, label_slice
from HemoCAMLib.measure import Measurer, MidlinePlane
from HemoCAMLib.model import ModelBundle
from HemoCAMLib.model.registry import Network
from HemoCAMLib.model.stacks import SliceStacker
from HemoCAMLib.run.compute import Compute, ran_out_of_memory
from HemoCAMLib.run.folder import GrowingArray, RunFolder
from HemoCAMLib.run.label_file import RawLabels, write_labels_nrrd
from HemoCAMLib.run.networks import NetworkCache
from HemoCAMLib.run.protocol import Message
from HemoCAMLib.run.record import MAP_METHOD, ClassOrder, model_record, result_record, slice_record
from HemoCAMLib.run.reporter import Reporter
from HemoCAMLib.run.state import RunState

#: Local logits are stored as float16; beyond this they would become infinite.
LARGEST_LOGIT = 6e4


class ScanRun:
    """A scan, a model and settings that are all known, on their way into the run folder.

    Slices that a former process has written are kept; use as a context manager.
    """

    def __init__(
        self,
        folder: RunFolder,
        ct: HeadCT,
        brain: BrainMask,
        bundle: ModelBundle,
        settings: MaskSettings,
        state: RunState,
        networks: NetworkCache,
        reporter: Reporter,
    ) -> None:
        self._folder = folder
        self._ct = ct
        self._brain = brain
        self._bundle = bundle
        self._settings = settings
        self._state = state
        self._networks = networks
        self._reporter = reporter
        self._classes = ClassOrder(bundle.metadata.subtypes)
        self._compute = Compute(**state.compute)
        self._network = self._load()
        with reporter.timed("brain_mask"):
            self._measurer = Measurer(ct.geometry, MidlinePlane.from_brain(brain, ct.geometry))
        self._stacker = SliceStacker(ct.slices, bundle.metadata.stack_settings)
        self._labels = RawLabels(folder.raw_labels_path, ct.shape)
        self._count = (len(bundle.metadata.subtypes), ct.shape[0])
        self._probabilities = GrowingArray(folder.probabilities_path, self._count, "<f4", fill=np.nan)
        self._activation: GrowingArray | None = None

    def __enter__(self) -> ScanRun:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for file in (self._labels, self._probabilities, self._activation):
            if file is not None:
                file.close()

    def analyse(self, cancelled: Callable[[], bool]) -> None:
        """Runs the network over all slices that are still missing, batch by batch."""
        total = self._ct.shape[0]
        first = index = self._first_missing()
        if first:
            self._announce_kept(first)
        started_s = time.monotonic()
        while index < total:
            stop_if(cancelled)
            batch = range(index, min(index + self._compute.batch_size, total))
            if self._analyse_batch(batch):
                index = batch.stop
                per_slice_s = (time.monotonic() - started_s) / (index - first)
                self._reporter.progress("analysing", index / total, per_slice_s * (total - index))

    def _first_missing(self) -> int:
        """First slice to analyse; batches are cut where they were before, so the numbers agree to the last bit."""
        for index in range(self._ct.shape[0]):
            if np.isnan(self._probabilities.read(index)).any():
                return index - index % self._compute.batch_size
        return self._ct.shape[0]

    def _announce_kept(self, count: int) -> None:
        self._reporter.notice("WORKER_RESUMED", f"Going on after {count} slices that were already analysed.")
        self._reporter.emit({"event": "slices", "slices": [self._slice_record(index) for index in range(count)]})

    def _analyse_batch(self, batch: range) -> bool:
        """Analyses and stores one batch; False where memory ran out and a smaller one must be tried."""
        with self._reporter.timed("stacks"):
            stacks = torch.from_numpy(self._stacker.stacks(batch))
        try:
            with self._reporter.timed("network"):
                logits, local_logits = self._forward(stacks)
        except RuntimeError as error:
            if not ran_out_of_memory(error):
                raise
            self._fall_back()
            return False
        probabilities = (1 / (1 + np.exp(-logits.astype(np.float64)))).astype(np.float32)
        with self._reporter.timed("masks"):
            for row, index in enumerate(batch):
                self._store(index, probabilities[row], local_logits[row])
        self._reporter.emit({"event": "slices", "slices": [self._slice_record(index) for index in batch]})
        return True

    def _forward(self, stacks: torch.Tensor) -> tuple[NDArray[np.float32], NDArray[np.float16]]:
        """Class logits [N, C] and local logits [N, C, h, w], from one pass."""
        with torch.inference_mode():
            stacks = stacks.to(self._compute.device).contiguous(memory_format=torch.channels_last)
            with self._compute.autocast():
                activations = self._network.trunk(stacks)
            activations = activations.float()
            head = self._network.head
            local_logits = maps(MAP_METHOD, activations, head).clamp(-LARGEST_LOGIT, LARGEST_LOGIT)
            logits: NDArray[np.float32] = head(activations).float().cpu().numpy()
            if not np.isfinite(logits).all():
                raise WorkerFailed(
                    "WORKER_NOT_FINITE",
                    "The network gave values that are not numbers for this scan.",
                    "Choose precision float32; if it is chosen already, the model is damaged.",
                )
            return logits, local_logits.half().cpu().numpy()

    def _store(self, index: int, probabilities: NDArray[np.float32], local_logits: NDArray[np.float16]) -> None:
        """Writes one slice; its probabilities last, because they mark it as analysed."""
        if self._activation is None:
            shape = (*self._count, *local_logits.shape[1:])
            self._activation = GrowingArray(self._folder.activation_path, shape, "<f2")
        # From the stored half-precision values, so that a later change of thresholds starts from the same maps.
        labels = label_slice(
            self._classes.subtype_maps(local_logits),
            self._classes.subtype_probabilities(probabilities),
            self._brain.slice(index, self._ct.slices[index]),
            self._settings,
        )
        self._activation.write(index, local_logits)
        self._labels.write(index, labels)
        self._probabilities.write(index, probabilities)

    def _fall_back(self) -> None:
        smaller = self._compute.smaller()
        if smaller is None:
            raise WorkerFailed(
                "WORKER_MEMORY", "The computer ran out of memory.", "Close other programs or choose a smaller batch."
            )
        self._compute, sentence = smaller
        self._reporter.notice("WORKER_OUT_OF_MEMORY", sentence)
        self._state = replace(self._state, compute=self._compute.to_dict())
        self._state.save(self._folder)
        self._network = self._load()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    def _load(self) -> Network:
        self._compute.apply()
        with self._reporter.timed("load_model"):
            network = self._networks.get(self._bundle, self._compute.device)
        self._reporter.emit({"event": "model", **model_record(self._bundle), **self._compute.to_dict()})
        return network

    def finish(self) -> dict[str, Any]:
        """Removes small components, measures, writes ``labels.nrrd``; gives the content of ``result.json``."""
        self._reporter.progress("measuring", 1.0)
        total = self._ct.shape[0]
        with self._reporter.timed("components"):
            components = ComponentAccumulator(self._ct.geometry, self._settings.minimum_volume_ml)
            for index in range(total):
                components.add(index, self._labels.read(index))
            components.finish()
        with self._reporter.timed("measure"):
            for index in range(total):
                labels = components.filter(index, self._labels.read(index))
                self._labels.write(index, labels)
                self._measurer.add(index, labels)
            measurements = self._measurer.finish()
        with self._reporter.timed("write"):
            write_labels_nrrd(self._folder.labels_path, self._labels.read, self._ct.shape, self._ct.grid)
        slices = [self._slice_record(index, area) for index, area in enumerate(measurements.area_mm2)]
        return result_record(self._ct, self._bundle, self._settings, self._compute.to_dict(), slices, measurements)

    def _slice_record(self, index: int, area_mm2: dict[str, float] | None = None) -> Message:
        if area_mm2 is None:
            area_mm2 = self._measurer.slice_area_mm2(self._labels.read(index))
        probability = self._classes.probabilities(self._probabilities.read(index))
        return slice_record(self._ct.geometry, index, probability, area_mm2)


def stop_if(cancelled: Callable[[], bool]) -> None:
    """Raises Cancelled where the user asked for it."""
    if cancelled():
        raise Cancelled("CANCELLED", "The analysis was cancelled.")
