"""Other thresholds for a finished run, at the speed of a slider: from its stored maps, without the network."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray

from HemoCAMLib.ct import SliceGeometry
from HemoCAMLib.errors import InputRefused
from HemoCAMLib.mask import KeptSlices, MaskSettings, label_scan
from HemoCAMLib.measure import MeasuredSlice, Measurements, Measurer, MidlinePlane
from HemoCAMLib.panel.analysis_result import AnalysisResult
from HemoCAMLib.run.record import ClassOrder, measurement_record
from HemoCAMLib.run.relabel_run import relabel_settings
from HemoCAMLib.run.result import Result
from HemoCAMLib.run.source import scan_of_run
from HemoCAMLib.scene.node_hu import hu_of_node
from HemoCAMLib.scene.record import write_record
from HemoCAMLib.scene.steps import Steps, finish, in_background


class LiveThresholds:
    """Keeps a run's maps at hand and brings its nodes to other mask settings as often as asked.

    Labels, volumes and sides are those that :func:`HemoCAMLib.run.relabel_run.relabel` gives for the same settings. The
    run folder is left as it is; the settings are stored with the result in the scene.

    >>> live = LiveThresholds(result)  # doctest: +SKIP
    >>> live.apply({"class_thresholds": {"SDH": 0.3}})  # doctest: +SKIP
    >>> result.volume_ml["SDH"]  # doctest: +SKIP

    Args:
        result: complete, with its run folder at hand.

    Raises:
        WorkerFailed: ``WORKER_INCOMPLETE``, the run folder is gone or damaged.
    """

    def __init__(self, result: AnalysisResult) -> None:
        self._result = result
        self._run = result.run
        self._geometry = result.shown.record.geometry
        midline = self._run.fields.get("midline")
        self._midline = MidlinePlane.from_dict(midline) if midline else None
        self._stored: _Stored | None = None
        self._hu: Any = None
        self._measured: dict[int, tuple[NDArray[np.uint8], MeasuredSlice]] = {}

    @property
    def run(self) -> Result:
        """The run as it was analysed."""
        return self._run

    @property
    def analysed(self) -> MaskSettings:
        """The settings of the analysis."""
        return MaskSettings.from_dict(self._run.fields["settings"]["mask"])

    @property
    def current(self) -> MaskSettings:
        """The settings of what the scene shows."""
        return MaskSettings.from_dict(self._result.settings["mask"])

    def apply(self, changes: Mapping[str, Any]) -> bool:
        """Shows the run with other mask settings.

        Args:
            changes: of the settings of the analysis, as in :meth:`MaskSettings.changed`; none gives the analysis back.
                A refinement reads the scan when it is first asked for, which takes a second.

        Returns:
            False where the result is no longer in a scene.

        Raises:
            UsageError: a setting makes no sense, or the run has no maps that it would need.
            InputRefused: a refinement needs the scan, and neither its files nor its volume node have it.
        """
        return finish(self.apply_steps(changes))

    def apply_steps(self, changes: Mapping[str, Any]) -> Steps[bool]:
        """The same in small steps, segments first, numbers after them.

        Given up in the middle, as a slider does that has moved on, it leaves segments and numbers of two settings for
        the next call to put right.
        """
        shown = self._result.shown
        if not shown.is_open:
            return False
        settings = relabel_settings(self._run, changes)
        labels = yield from self._labels_steps(settings)
        if not (yield from shown.show_segments_steps(labels)):
            return False
        measured = yield from self._measured_steps(labels)
        slices = [
            {**entry, "area_mm2": {name: round(value, 3) for name, value in area_mm2.items()}}
            for entry, area_mm2 in zip(self._run.slices, measured.area_mm2, strict=True)
        ]
        numbers = measurement_record(measured)
        if not shown.show_numbers(numbers, slices):
            return False
        fields = {**shown.record.result, **numbers, "slices": slices}
        fields["settings"] = {**fields["settings"], "mask": settings.as_dict()}
        write_record(shown.record_node, replace(shown.record, result=fields))
        return True

    def labels(self, settings: MaskSettings) -> tuple[NDArray[np.uint8], Measurements]:
        """[slice, row, column] labels and what is measured on them, without showing anything."""
        labels = finish(self._labels_steps(settings))
        return labels, finish(self._measured_steps(labels))

    def _labels_steps(self, settings: MaskSettings) -> Steps[NDArray[np.uint8]]:
        assert self._geometry is not None
        if self._stored is None:
            self._stored = yield from in_background(_Stored, self._run)
        if settings.refinement is not None and self._hu is None:
            try:
                scan = yield from in_background(scan_of_run, self._run)
                self._hu = scan.slices
            except InputRefused:
                self._hu = hu_of_node(self._result.shown)
        hu = self._hu if settings.refinement is not None else None
        # Lesions are told from specks when all slices are labelled, so the first slice takes as long as all.
        asked = self._stored.asked = object()
        labels = yield from in_background(self._stored.labels, asked, self._geometry, settings, hu)
        assert labels is not None
        return labels

    def _measured_steps(self, labels: NDArray[np.uint8]) -> Steps[Measurements]:
        assert self._geometry is not None
        measurer = Measurer(self._geometry, self._midline)
        for index, plane in enumerate(labels):
            if not plane.any():
                continue
            before = self._measured.get(index)
            if before is None or not np.array_equal(before[0], plane):
                before = self._measured[index] = (plane, measurer.measure_slice(index, plane))
                yield
            measurer.add_slice(before[1])
        return measurer.finish()


class _Stored:
    """The arrays of a run that labels are made from."""

    def __init__(self, run: Result) -> None:
        classes = ClassOrder(run.classes)
        self.maps = np.stack([classes.subtype_maps(plane) for plane in np.moveaxis(run.activation, 1, 0)], 1)
        self.probabilities = np.stack([classes.subtype_probabilities(column) for column in run.probabilities.T], axis=1)
        self.brain = run.brain
        #: Whose labels are wanted: a slider that moves on asks again while its last question still waits.
        self.asked: object = None
        self._kept = KeptSlices()
        self._one_at_a_time = Lock()

    def labels(
        self, asked: object, geometry: SliceGeometry, settings: MaskSettings, hu: Any
    ) -> NDArray[np.uint8] | None:
        """[slice, row, column]; None where :attr:`asked` is another by now."""
        with self._one_at_a_time:
            if asked is not self.asked:
                return None
            labels = np.zeros((self.maps.shape[1], *self.brain[0].shape), np.uint8)
            planes = label_scan(self.maps, self.probabilities, self.brain, geometry, settings, hu, self._kept)
            for index, plane in enumerate(planes):
                if plane.any():
                    labels[index] = plane
            return labels
