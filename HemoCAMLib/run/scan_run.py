"""The run of one scan through one network, batch by batch. Worker side."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from types import TracebackType
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from HemoCAMLib.cam import LayerPass, maps
from HemoCAMLib.ct import HeadCT
from HemoCAMLib.errors import Cancelled, WorkerFailed, out_of_memory
from HemoCAMLib.mask import MaskSettings
from HemoCAMLib.model import ModelBundle, SliceStacker
from HemoCAMLib.model.registry import Network
from HemoCAMLib.run.compute import Compute, ran_out_of_memory
from HemoCAMLib.run.folder import RunFolder
from HemoCAMLib.run.networks import NetworkCache
from HemoCAMLib.run.record import MAP_METHOD, ClassOrder, model_record, result_record
from HemoCAMLib.run.reporter import Reporter
from HemoCAMLib.run.slice_desk import SliceDesk
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
        bundle: ModelBundle,
        settings: MaskSettings,
        state: RunState,
        networks: NetworkCache,
        reporter: Reporter,
    ) -> None:
        self._folder = folder
        self._ct = ct
        self._bundle = bundle
        self._settings = settings
        self._state = state
        self._networks = networks
        self._reporter = reporter
        self._compute = Compute(**state.compute)
        self._stacker = SliceStacker(ct.slices, bundle.metadata.stack_settings)
        self._desk = SliceDesk(
            folder, ct, ClassOrder(bundle.metadata.subtypes), settings, bundle.metadata.training_range, reporter
        )
        self._network: Network

    def __enter__(self) -> ScanRun:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._desk.close()

    def analyse(self, cancelled: Callable[[], bool]) -> None:
        """Runs the network over all slices that are still missing, batch by batch."""
        self._network = self._load()
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
            ct, self._bundle, self._settings, self._compute.to_dict(), slices, measurements, self._desk.quality
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
                logits, local_logits = self._forward(stacks)
        except RuntimeError as error:
            if not ran_out_of_memory(error):
                raise
            self._fall_back()
            return False
        probabilities = (1 / (1 + np.exp(-logits.astype(np.float64)))).astype(np.float32)
        with self._reporter.timed("wait_for_masks"):
            self._desk.take(batch.start, probabilities, local_logits)
        return True

    def _forward(self, stacks: torch.Tensor) -> tuple[NDArray[np.float32], NDArray[np.float16]]:
        """Class logits [N, C] and local logits [N, C, h, w], from one pass."""
        with torch.inference_mode():
            stacks = stacks.to(self._compute.device).contiguous(memory_format=torch.channels_last)
            with self._compute.autocast():
                activations = self._network.trunk(stacks)
            activations = activations.float()
            head = self._network.head
            local_logits = maps(MAP_METHOD, LayerPass.from_head(activations, head))
            local_logits = local_logits.clamp(-LARGEST_LOGIT, LARGEST_LOGIT)
            logits: NDArray[np.float32] = head(activations).float().cpu().numpy()
            if not np.isfinite(logits).all():
                raise WorkerFailed(
                    "WORKER_NOT_FINITE",
                    "The network gave values that are not numbers for this scan.",
                    "Choose precision float32; if it is chosen already, the model is damaged.",
                )
            return logits, local_logits.half().cpu().numpy()

    def _fall_back(self) -> None:
        smaller = self._compute.smaller()
        if smaller is None:
            raise out_of_memory()
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


def stop_if(cancelled: Callable[[], bool]) -> None:
    """Raises Cancelled where the user asked for it."""
    if cancelled():
        raise Cancelled("CANCELLED", "The analysis was cancelled.")
