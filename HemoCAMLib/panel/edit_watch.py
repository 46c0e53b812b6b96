"""Follows a segmentation that the user corrects: the tables of its result are measured anew after every stroke."""

from __future__ import annotations

from typing import Any

import qt
import slicer

from HemoCAMLib.measure import Measurements, MidlinePlane
from HemoCAMLib.panel.stepper import Stepper
from HemoCAMLib.scene import SceneResult, Steps, corrected_steps, measure_steps, refresh_tables

#: After the last change this long nothing happens: strokes follow each other.
QUIET_MS = 400

#: Attribute of a segmentation that was changed by hand.
EDITED = "HemoCAM.edited"


class EditWatch:
    """Watches the segmentation of one result at a time."""

    def __init__(self) -> None:
        self._shown: SceneResult | None = None
        self._tags: list[tuple[Any, int]] = []
        self._paused = 0
        self._stepper = Stepper()
        self._quiet = qt.QTimer()
        self._quiet.setSingleShot(True)
        self._quiet.setInterval(QUIET_MS)
        self._quiet.connect("timeout()", self._measure)

    def watch(self, shown: SceneResult | None) -> None:
        """Follows a result's segmentation from now on; None follows none."""
        self.stop()
        self._shown = shown
        if shown is None:
            return
        segmentation = shown.segmentation.GetSegmentation()
        events = slicer.vtkSegmentation
        for event in (events.SourceRepresentationModified, events.SegmentAdded, events.SegmentRemoved):
            self._tags.append((segmentation, segmentation.AddObserver(event, self._on_change)))

    def stop(self) -> None:
        """Follows nothing any more."""
        self._quiet.stop()
        self._stepper.cancel()
        for caller, tag in self._tags:
            caller.RemoveObserver(tag)
        self._tags, self._shown = [], None

    def pause(self, paused: bool) -> None:
        """While paused, changes are the program's own."""
        self._paused += 1 if paused else -1
        self._paused = max(self._paused, 0)

    @property
    def busy(self) -> bool:
        """Whether a change was seen that is not measured yet."""
        return self._stepper.busy or bool(self._quiet.isActive())

    def _on_change(self, *_: Any) -> None:
        if not self._paused and self._shown is not None and self._shown.is_open:
            self._shown.segmentation.SetAttribute(EDITED, "1")
            self._quiet.start()

    def _measure(self) -> None:
        if self._shown is not None and self._shown.is_open:
            self._stepper.start(_measured_steps(self._shown), self._on_measured)

    def _on_measured(self, measurements: Measurements) -> None:
        if self._shown is not None:
            refresh_tables(self._shown, measurements)


def is_edited(shown: SceneResult) -> bool:
    """Whether a result's segmentation was changed by hand since its masks were made."""
    return bool(shown.segmentation.GetAttribute(EDITED))


def forget_edits(shown: SceneResult) -> None:
    """Its masks were made anew."""
    shown.segmentation.RemoveAttribute(EDITED)


def _measured_steps(shown: SceneResult) -> Steps[Measurements]:
    midline = shown.record.result.get("midline")
    segmentation = yield from corrected_steps(shown)
    return (yield from measure_steps(segmentation, MidlinePlane.from_dict(midline) if midline else None))
