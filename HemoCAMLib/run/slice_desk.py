"""What is done with a slice once the network has spoken: labels, files, events. Worker side.

It needs one core and the network leaves gaps on all of them, so it runs in a thread beside the network:
the brain mask is found while the first batches are computed, and a batch is labelled and written while the
next one is.
"""

from __future__ import annotations

from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from HemoCAMLib.ct import HeadCT, ScanWarning
from HemoCAMLib.mask import BrainMask, ComponentAccumulator, MaskSettings, find_brain, label_slice
from HemoCAMLib.mask.refine import Outcome, refine_slice
from HemoCAMLib.measure import Measurements, Measurer, MidlinePlane
from HemoCAMLib.quality import Assessment, TrainingRange, assess, measure_scan
from HemoCAMLib.run.brain_file import BrainFile
from HemoCAMLib.run.folder import GrowingArray, RunFolder
from HemoCAMLib.run.label_file import RawLabels, write_labels_nrrd
from HemoCAMLib.run.protocol import Message
from HemoCAMLib.run.record import ClassOrder, slice_record
from HemoCAMLib.run.refinement_log import RefinementLog
from HemoCAMLib.run.reporter import Reporter
from HemoCAMLib.subtypes import SUBTYPES

#: Half precision for local logits, single for every other method.
Maps = NDArray[np.float16] | NDArray[np.float32]

#: Batches that may wait to be labelled; more would only hold memory.
LARGEST_BACKLOG = 2

#: Without it an empty label map would look like a normal scan.
NO_BRAIN = ScanWarning(
    "CT_NO_BRAIN", "No space enclosed by the skull was found, so nothing could be marked; only probabilities are given."
)


class SliceDesk:
    """Takes the network's output batch by batch and keeps the run folder's arrays; use from one thread.

    Args:
        folder: run folder; slices that it holds already are kept.
        ct: the scan.
        classes: class order of the model.
        settings: of the masks.
        reporter: takes events; they may come from the desk's own thread.
    """

    def __init__(
        self,
        folder: RunFolder,
        ct: HeadCT,
        classes: ClassOrder,
        settings: MaskSettings,
        reporter: Reporter,
    ) -> None:
        self._folder = folder
        self._ct = ct
        self._classes = classes
        self._settings = settings
        self._reporter = reporter
        self._labels = RawLabels(folder.raw_labels_path, ct.shape)
        self._probabilities = GrowingArray(folder.probabilities_path, (classes.count, ct.shape[0]), "<f4", fill=np.nan)
        self._activation: GrowingArray | None = None
        self._brain_file = BrainFile(folder.brain_path, ct.shape)
        refinement = settings.refinement
        self._refinement_log = RefinementLog(folder.refinement_path, ct.shape[0]) if refinement else None
        self._components = ComponentAccumulator(
            ct.geometry, settings.minimum_volume_ml, refinement.smallest_height if refinement else 0.0
        )
        self._thread = ThreadPoolExecutor(1)
        self._waiting: deque[Future[None]] = deque()
        self._brain: Future[tuple[BrainMask, MidlinePlane | None]] = self._thread.submit(self._find_brain)

    def close(self) -> None:
        """Writes what waits, then lets go of thread and files."""
        self._thread.shutdown(wait=True)
        for file in (self._labels, self._probabilities, self._activation, self._brain_file, self._refinement_log):
            if file is not None:
                file.close()

    def first_missing(self) -> int:
        """Index of the first slice that the run folder does not hold; the number of slices where it holds all."""
        for index in range(self._ct.shape[0]):
            if np.isnan(self._probabilities.read(index)).any():
                return index
        return self._ct.shape[0]

    def keep(self, count: int) -> None:
        """Takes over the first slices of the folder, which a former process analysed, and sends their event."""
        self._waiting.append(self._thread.submit(self._measure, range(count)))

    def take(self, first: int, probabilities: NDArray[np.float32], maps: Maps) -> None:
        """Hands over a batch, to be labelled and written in order; waits where too many wait already.

        Args:
            first: index of the batch's first slice.
            probabilities: [N, class].
            maps: [N, class, h, w], local logits or maps of another method; not a number where none was made.
        """
        self._waiting.append(self._thread.submit(self._write_batch, first, probabilities, maps))
        self._settle(LARGEST_BACKLOG)

    def assess(self, training_range: TrainingRange) -> Future[Assessment]:
        """How the scan compares with what the model was trained on; sends its event when it is known."""
        return self._thread.submit(self._assess, training_range)

    @property
    def midline(self) -> MidlinePlane | None:
        """The plane that sides are told by; None stands for the middle of the image. Waits for the brain mask."""
        return self._brain.result()[1]

    def finish(self) -> tuple[list[Message], Measurements, tuple[ScanWarning, ...]]:
        """Waits for all batches, removes small and flat lesions, measures and writes ``labels.nrrd``.

        Returns:
            the records of all slices, the measurements, and warnings that only the masks could give.
        """
        with self._reporter.timed("wait_for_masks"):
            self._settle(0)
            brain, _ = self._brain.result()
        with self._reporter.timed("measure"):
            self._components.finish()
            measurements = self._measurer.finish(self._components.kept_regions)
        with self._reporter.timed("write"):
            write_labels_nrrd(self._folder.labels_path, self._kept_labels, self._ct.shape, self._ct.grid)
        records = [self._record(index, area_mm2) for index, area_mm2 in enumerate(measurements.area_mm2)]
        refinement_warnings = self._refinement_log.warnings() if self._refinement_log else ()
        return records, measurements, (*((NO_BRAIN,) if brain.is_empty else ()), *refinement_warnings)

    def _kept_labels(self, index: int) -> NDArray[np.uint8]:
        """A slice's final labels. The unfiltered ones stay on disk: a run killed here must find them whole."""
        labels = self._labels.read(index)
        return self._components.filter(index, labels) if self._components.changes(index) else labels

    def _settle(self, backlog: int) -> None:
        """Waits until at most that many batches are unwritten; raises what went wrong with one."""
        while len(self._waiting) > backlog:
            self._waiting.popleft().result()

    def _find_brain(self) -> tuple[BrainMask, MidlinePlane | None]:
        slices = (self._ct.slices[index] for index in range(self._ct.shape[0]))
        with self._reporter.timed("brain_mask"):
            brain = find_brain(slices, self._ct.geometry)
            midline = MidlinePlane.from_brain(brain, self._ct.geometry)
        if brain.is_empty:
            self._reporter.notice(NO_BRAIN.code, NO_BRAIN.message)
        return brain, midline

    def _assess(self, training_range: TrainingRange) -> Assessment:
        brain, _ = self._brain.result()
        with self._reporter.timed("quality"):
            found = assess(measure_scan(self._ct.slices, self._ct.geometry, brain), training_range)
        self._reporter.emit({"event": "quality", **found.as_dict()})
        return found

    def _write_batch(self, first: int, probabilities: NDArray[np.float32], maps: Maps) -> None:
        brain, _ = self._brain.result()
        with self._reporter.timed("masks"):
            for row in range(len(probabilities)):
                self._write_slice(first + row, probabilities[row], maps[row], brain)
        self._measure(range(first, first + len(probabilities)))

    def _measure(self, indices: range) -> None:
        """Measures slices that are written, and sends their event."""
        records = []
        with self._reporter.timed("measure_slices"):
            for index in indices:
                labels = self._labels.read(index)
                self._components.add(index, labels)
                self._measurer.add(index, labels)
                records.append(self._record(index, self._measurer.slice_area_mm2(labels)))
        self._reporter.emit({"event": "slices", "slices": records})

    def _write_slice(self, index: int, probabilities: NDArray[np.float32], maps: Maps, brain: BrainMask) -> None:
        """Writes one slice; its probabilities last, because they mark it as analysed."""
        if self._activation is None:
            shape = (*self._probabilities.shape, *maps.shape[1:])
            self._activation = GrowingArray(self._folder.activation_path, shape, maps.dtype.str)
        inside = brain.slice(index, self._ct.slices[index])
        labels, outcomes = self._label(index, probabilities, maps, inside)
        self._brain_file.write(index, inside)
        self._activation.write(index, maps)
        self._labels.write(index, labels)
        if self._refinement_log:
            self._refinement_log.write(index, outcomes)
        self._probabilities.write(index, probabilities)

    def _label(
        self,
        index: int,
        probabilities: NDArray[np.float32],
        maps: Maps,
        inside: NDArray[np.bool_],
    ) -> tuple[NDArray[np.uint8], tuple[Outcome, ...]]:
        """Labels of one slice, and what refinement did to each subtype."""
        nothing = (Outcome.NONE,) * len(SUBTYPES)
        by_subtype = self._classes.subtype_probabilities(probabilities)
        if not self._settings.calls_any(by_subtype):
            return self._no_labels, nothing
        # From the values as they are stored, so that a later change of thresholds starts from the same maps.
        labels = label_slice(self._classes.subtype_maps(maps), by_subtype, inside, self._settings)
        if self._settings.refinement is None or not labels.any():
            return labels, nothing
        refined = refine_slice(
            labels, self._ct.slices[index], inside, self._ct.geometry.pixel_spacing_mm, self._settings.refinement
        )
        return refined.labels, refined.outcomes

    @cached_property
    def _no_labels(self) -> NDArray[np.uint8]:
        return np.zeros(self._ct.shape[1:], np.uint8)

    @cached_property
    def _measurer(self) -> Measurer:
        return Measurer(self._ct.geometry, self.midline)

    def _record(self, index: int, area_mm2: dict[str, float]) -> Message:
        probability = self._classes.probabilities(self._probabilities.read(index))
        record = slice_record(self._ct.geometry, index, probability, area_mm2)
        return {**record, "refinement": self._refinement_log.record(index)} if self._refinement_log else record
