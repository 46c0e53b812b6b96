"""The run of one scan through one network, batch by batch. Worker side."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from types import TracebackType
from typing import Any

import torch

from HemoCAMLib.ct import HeadCT
from HemoCAMLib.errors import Cancelled, out_of_memory
from HemoCAMLib.mask import MaskSettings
from HemoCAMLib.model import ModelBundle, SliceStacker
from HemoCAMLib.model.calibration import class_probabilities
from HemoCAMLib.run.compute import Compute, ran_out_of_memory
from HemoCAMLib.run.folder import RunFolder
from HemoCAMLib.run.map_settings import MapSettings
from HemoCAMLib.run.networks import NetworkCache
from HemoCAMLib.run.record import ClassOrder, model_record, result_record
from HemoCAMLib.run.reporter import Reporter
from HemoCAMLib.run.slice_desk import SliceDesk
from HemoCAMLib.run.slice_maps import SliceMapper
from HemoCAMLib.run.state import RunState


class ScanRun:
    """A scan, a model and settings that are all known, on their way into the run folder.

    Slices that a former process has written are kept; use as a context manager.
    """

    def __init__(
        self,
        folder: RunFolder,
        ct: HeadCT,
        bundle: ModelBundle,
        settings: MaskSettings,
        maps: MapSettings,
        state: RunState,
        networks: NetworkCache,
        reporter: Reporter,
    ) -> None:
        self._folder = folder
        self._ct = ct
        self._bundle = bundle
        self._settings = settings
        self._maps = maps
        self._state = state
        self._networks = networks
        self._reporter = reporter
        self._compute = Compute(**state.compute)
        self._stacker = SliceStacker(ct.slices, bundle.metadata.stack_settings)
        self._desk = SliceDesk(folder, ct, ClassOrder(bundle.metadata.subtypes), settings, reporter)
        self._quality = self._desk.assess(bundle.metadata.training_range)
        self._mapper: SliceMapper

    def __enter__(self) -> ScanRun:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._desk.close()

    def analyse(self, cancelled: Callable[[], bool]) -> None:
        """Runs the network over all slices that are still missing, batch by batch."""
        self._mapper = self._load()
        total = self._ct.shape[0]
        first = index = self._first_to_analyse()
        if first:
            self._reporter.notice("WORKER_RESUMED", f"Going on after {first} slices that were already analysed.")
            self._desk.keep(first)
        started_s = time.monotonic()
        while index < total:
            stop_if(cancelled)
            batch = range(index, min(index + self._compute.batch_size, total))
            if self._analyse_batch(batch):
                index = batch.stop
                per_slice_s = (time.monotonic() - started_s) / (index - first)
                self._reporter.progress("analysing", index / total, per_slice_s * (total - index))

    def finish(self) -> dict[str, Any]:
        """Measures and writes what is left; gives the content of ``result.json`` without its timing."""
        self._reporter.progress("measuring", 1.0)
        slices, measurements, warnings = self._desk.finish()
        ct = replace(self._ct, warnings=(*self._ct.warnings, *warnings))
        return result_record(
            ct,
            self._bundle,
            self._settings,
            self._mapper.record(self._bundle.metadata.subtypes),
            self._compute.to_dict(),
            slices,
            measurements,
            self._quality.result(),
            self._desk.midline,
        )

    def _first_to_analyse(self) -> int:
        """Batches are cut where they were before, so that a resumed run gives the same numbers to the last bit."""
        missing = self._desk.first_missing()
        return missing if missing == self._ct.shape[0] else missing - missing % self._compute.batch_size

    def _analyse_batch(self, batch: range) -> bool:
        """Analyses one batch; False where memory ran out and a smaller one must be tried."""
        with self._reporter.timed("stacks"):
            stacks = torch.from_numpy(self._stacker.stacks(batch))
        try:
            with self._reporter.timed("network"):
                logits, maps = self._mapper(stacks)
        except RuntimeError as error:
            if not ran_out_of_memory(error):
                raise
            self._fall_back()
            return False
        metadata = self._bundle.metadata
        probabilities = class_probabilities(logits, metadata.subtypes, metadata.calibration)
        with self._reporter.timed("wait_for_masks"):
            self._desk.take(batch.start, probabilities, maps)
        return True

    def _fall_back(self) -> None:
        smaller = self._compute.smaller()
        if smaller is None:
            raise out_of_memory()
        self._compute, sentence = smaller
        self._reporter.notice("WORKER_OUT_OF_MEMORY", sentence)
        self._state = replace(self._state, compute=self._compute.to_dict())
        self._state.save(self._folder)
        self._mapper = self._load()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    def _load(self) -> SliceMapper:
        self._compute.apply()
        with self._reporter.timed("load_model"):
            network = self._networks.get(self._bundle, self._compute.device)
            openvino = self._compute.backend == "openvino"
            trunk = self._networks.openvino_trunk(self._bundle, self._compute) if openvino else None
            metadata = self._bundle.metadata
            mapper = SliceMapper(
                network, metadata.subtypes, self._maps, self._settings, self._compute, trunk, metadata.calibration
            )
        self._reporter.emit({"event": "model", **model_record(self._bundle), **self._compute.to_dict()})
        return mapper


def stop_if(cancelled: Callable[[], bool]) -> None:
    """Raises Cancelled where the user asked for it."""
    if cancelled():
        raise Cancelled("CANCELLED", "The analysis was cancelled.")
