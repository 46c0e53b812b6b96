"""The panel: its parts, and what happens to the scene and to the module passed on to them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import qt
import slicer

from HemoCAMLib.panel.analysis import Analysis
from HemoCAMLib.panel.batch import Batch
from HemoCAMLib.panel.batch_part import BatchPart
from HemoCAMLib.panel.compare_part import ComparePart
from HemoCAMLib.panel.heat_map_part import HeatMapPart
from HemoCAMLib.panel.input_part import InputPart
from HemoCAMLib.panel.keep_part import KeepPart
from HemoCAMLib.panel.parts import Common
from HemoCAMLib.panel.result_choice import ResultChoice
from HemoCAMLib.panel.result_part import ResultPart
from HemoCAMLib.panel.run_part import RunPart
from HemoCAMLib.panel.space_part import SpacePart
from HemoCAMLib.panel.threshold_part import ThresholdPart
from HemoCAMLib.panel.views import Views
from HemoCAMLib.panel.worker_host import end_application_worker
from HemoCAMLib.scene import BelongingsWatch

#: Nodes come and go in crowds.
_GATHER_MS = 50


class Panel:
    """Puts the parts together.

    Args:
        widget: the loaded .ui file.
        ui: its named children.
        logic: HemoCAMLogic.
        bind_parameters: connects the widgets to the scene's parameters and gives these.
        release_parameters: lets go of them.
    """

    def __init__(
        self,
        widget: Any,
        ui: Any,
        logic: Any,
        bind_parameters: Callable[[], Any],
        release_parameters: Callable[[], None],
    ) -> None:
        self.ui = ui
        self._widget = widget
        self._bind, self._release = bind_parameters, release_parameters
        self._scene = slicer.mrmlScene
        self.choice = ResultChoice(self._scene)
        self.common = Common(ui, logic, self.choice, Views(), bind_parameters(), widget)
        self.input = InputPart(self.common)
        self.keep = KeepPart(self.common)
        self.thresholds = ThresholdPart(self.common, self.input, self.keep.may_replace, self.keep.watch.pause)
        self.heat_map = HeatMapPart(self.common)
        self.result = ResultPart(self.common, self.heat_map)
        self.space = SpacePart(self.common)
        self.compare = ComparePart(self.common, self.result.go_to_slice)
        self.run = RunPart(
            self.common, self.input, self.thresholds.changes_for_analysis, self._on_started, self._on_ended
        )
        self.batch = BatchPart(self.common, lambda: self.run.settings, lambda: self.run.may_start)
        self.batch.apply_button.connect("clicked()", self._on_batch)
        self._parts = (
            self.input,
            self.keep,
            self.thresholds,
            self.heat_map,
            self.result,
            self.space,
            self.compare,
            self.run,
            self.batch,
        )
        self._gather = qt.QTimer()
        self._gather.setSingleShot(True)
        self._gather.setInterval(_GATHER_MS)
        self._gather.connect("timeout()", self._on_scene_changed)
        scene = self._scene
        self._tags = [
            scene.AddObserver(scene.StartCloseEvent, self._on_closing),
            scene.AddObserver(scene.EndCloseEvent, self._on_closed),
            scene.AddObserver(scene.NodeAddedEvent, self._on_nodes),
            scene.AddObserver(scene.NodeRemovedEvent, self._on_nodes),
            scene.AddObserver(scene.EndImportEvent, self._on_imported),
        ]
        self._belongings = BelongingsWatch(scene, lambda work: qt.QTimer.singleShot(0, work))
        slicer.app.connect("aboutToQuit()", self.close)
        self.choice.refresh()

    @property
    def parameters(self) -> Any:
        """What the panel keeps in the scene."""
        return self.common.parameters

    def enter(self) -> None:
        """The module is shown."""
        if self.common.parameters is None:
            self.common.parameters = self._bind()
        for part in self._parts:
            part.enter()

    def exit(self) -> None:
        """Another module is shown; an analysis goes on."""
        for part in self._parts:
            part.exit()

    def close(self) -> None:
        """The module goes, or the application ends: no process, no timer and no observer is left."""
        if self._scene is None:
            return
        scene, self._scene = self._scene, None
        slicer.app.disconnect("aboutToQuit()", self.close)
        for tag in self._tags:
            scene.RemoveObserver(tag)
        self._belongings.stop()
        self._gather.stop()
        for part in reversed(self._parts):
            part.close()
        end_application_worker()
        self._release()
        self._widget.setMRMLScene(None)

    def _on_started(self, handle: Analysis) -> None:
        self.choice.choose(handle.shown)
        assert handle.shown is not None
        self.result.show(handle.shown, largest=False)

    def _on_ended(self, handle: Analysis) -> None:
        if handle.state == "done":
            self.input.ask_for_maps()
        if handle.shown is not None and handle.shown.is_open:
            self.choice.choose(handle.shown)
            if handle.state == "done":
                self.result.show(handle.shown, largest=True)

    def _on_batch(self) -> None:
        """There is one worker: while several scans are analysed the button for one rests."""
        if self.batch.batch is not None:
            self.batch.batch.connect("changed", self._on_batch_changed)
            self.batch.batch.connect("finished", self._on_batch_changed)
            self._on_batch_changed(self.batch.batch)

    def _on_batch_changed(self, batch: Batch) -> None:
        self.run.others_run = batch.busy
        self.run.update()

    def _on_closing(self, *_: Any) -> None:
        for part in reversed(self._parts):
            part.scene_closing()
        self._release()
        self.common.parameters = None

    def _on_closed(self, *_: Any) -> None:
        self._take_parameters()

    def _on_imported(self, *_: Any) -> None:
        if not self._scene.IsClosing():
            self._take_parameters()

    def _take_parameters(self) -> None:
        self.common.parameters = self._bind()
        for part in self._parts:
            part.parameters_changed()
        self._on_scene_changed()

    def _on_nodes(self, *_: Any) -> None:
        if not self._scene.IsClosing():
            self._gather.start()

    def _on_scene_changed(self) -> None:
        if self._scene is None or self._scene.IsClosing():
            return
        self.choice.refresh()
        for part in self._parts:
            part.scene_changed()
