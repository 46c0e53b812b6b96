"""The part of the panel that runs an analysis: one button for start and cancel, progress, log, and how it ended."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import slicer
from slicer.i18n import tr as _

from HemoCAMLib.errors import HemoCAMError
from HemoCAMLib.panel.analysis import Analysis
from HemoCAMLib.panel.dependencies import ensure_dependencies, find_missing, install_torch_extension
from HemoCAMLib.panel.input_part import InputPart
from HemoCAMLib.panel.log_window import LogWindow
from HemoCAMLib.panel.parts import Common, Part
from HemoCAMLib.panel.words import (
    BAD,
    WARNING,
    colored,
    duration,
    error_sentence,
    plain,
    progress_text,
    quality_text,
    state_sentence,
)

#: The progress bar's maximum.
_FULL = 1000

#: Failures after which a run can go on where it stopped.
_GOES_ON = ("WORKER_KILLED", "WORKER_DIED")


class RunPart(Part):
    """Starts, follows and ends one analysis at a time.

    Args:
        common: what the parts share.
        chosen: volume, model and options.
        mask_changes: gives the mask settings of the sliders for a model, as ``analyze`` takes them.
        started: called when an analysis shows its first nodes.
        ended: called when one is over.
    """

    def __init__(
        self,
        common: Common,
        chosen: InputPart,
        mask_changes: Callable[[], dict[str, Any]],
        started: Callable[[Analysis], None],
        ended: Callable[[Analysis], None],
    ) -> None:
        super().__init__(common)
        self._chosen, self._mask_changes = chosen, mask_changes
        self._started, self._ended = started, ended
        self.handle: Analysis | None = None
        self._began_s = 0.0
        self._announced = False
        self._log: LogWindow | None = None
        self._asked: tuple[str, dict[str, Any]] | None = None
        self.others_run = False
        ui = self.ui
        ui.applyButton.connect("clicked()", self.on_apply)
        ui.dependencyButton.connect("clicked()", self._on_install)
        ui.logButton.connect("clicked()", self._on_log)
        ui.progressBar.setRange(0, _FULL)
        chosen.connect(self.update)
        self.update()

    @property
    def running(self) -> bool:
        """Whether an analysis is under way."""
        return self.handle is not None and not self.handle.finished

    def on_apply(self) -> None:
        """Analyse, or Cancel while an analysis runs."""
        if self.running:
            assert self.handle is not None
            self.handle.cancel()
            self.ui.applyButton.setEnabled(False)
            self.ui.applyButton.text = _("Cancelling...")
            return
        if not self._chosen.refusal:
            try:
                self.analyze()
            except HemoCAMError as error:
                self.ui.statusLabel.text = colored(error_sentence(error), BAD)

    @property
    def settings(self) -> dict[str, Any]:
        """Keyword arguments of ``logic.analyze`` but for the volume."""
        model, parameters = self._chosen.model, self.common.parameters
        assert model is not None
        return {
            "model": model.key,
            "device": parameters.device,
            "mask": self._mask_changes(),
            "map": self._chosen.map_settings,
            "allowGaps": parameters.allowGaps,
        }

    @property
    def may_start(self) -> bool:
        """Whether nothing else runs and everything is installed; asks before it installs."""
        return not self.running and self._chosen.model is not None and self._installed()

    def analyze(self) -> None:
        """Begins the analysis of the chosen volume."""
        if not self._installed():
            return
        self._began_s = time.monotonic()
        self._announced = False
        volume, settings = self._chosen.volume, self.settings
        assert volume is not None
        asked = (str(volume.GetID()), settings)
        folder = self._folder_to_go_on(asked)
        self._asked = asked
        handle = self.common.logic.analyze(volume, wait=False, runFolder=folder, **settings)
        self.handle = handle
        handle.connect("state", self._on_change)
        handle.connect("progress", self._on_change)
        handle.connect("slices", self._on_slices)
        handle.connect("finished", self._on_finished)
        self._on_change(handle)

    def _folder_to_go_on(self, asked: tuple[str, dict[str, Any]]) -> Path | None:
        """Of the last run, where it stopped half-way at the same task; its unfinished result makes room."""
        handle = self.handle
        if handle is None or asked != self._asked:
            return None
        code = "" if handle.error is None else handle.error.code
        if handle.state != "cancelled" and code not in _GOES_ON:
            return None
        if handle.shown is not None and handle.shown.is_open:
            handle.shown.remove()
        return handle.run_folder

    def update(self) -> None:
        """Brings button, bar and sentence to the state of things."""
        ui, handle = self.ui, self.handle
        if self.running:
            assert handle is not None
            ui.applyButton.text = _("Cancel")
            ui.applyButton.setEnabled(handle.state != "completing")
            ui.applyButton.toolTip = _("Stop after the slices in hand; what was found stays.")
        else:
            refusal = self._chosen.refusal
            ui.applyButton.text = _("Analyse")
            ui.applyButton.setEnabled(not refusal)
            ui.applyButton.toolTip = refusal or _("Find hemorrhage in this scan.")
        if self.others_run and not self.running:
            ui.applyButton.setEnabled(False)
            ui.applyButton.toolTip = _("Several scans are being analysed.")
        ui.progressBar.setVisible(self.running)
        ui.logButton.setEnabled(handle is not None)

    def enter(self) -> None:
        self._look_for_packages()

    def scene_closing(self) -> None:
        self._give_up()

    def close(self) -> None:
        self._give_up()
        if self._log is not None:
            self._log.close()

    def _give_up(self) -> None:
        handle, self.handle = self.handle, None
        if handle is not None:
            handle.abandon()
        self.ui.statusLabel.text = ""
        self.update()

    def _on_change(self, handle: Analysis) -> None:
        if handle is not self.handle:
            return
        if handle.shown is not None and not self._announced and handle.state == "running":
            self._announced = True
            self._started(handle)
        if handle.state == "running" and handle.slice_count:
            self.ui.progressBar.setValue(_FULL * handle.slices_done // handle.slice_count)
        elif handle.state == "completing":
            self.ui.progressBar.setValue(_FULL)
        elif not handle.finished:
            self.ui.progressBar.setValue(0)
        self.ui.progressBar.format = progress_text(handle)
        self._say(handle)
        self.update()

    def _on_slices(self, handle: Analysis) -> None:
        self._on_change(handle)

    def _on_finished(self, handle: Analysis) -> None:
        if handle is not self.handle:
            return
        self._say(handle)
        self.update()
        self._ended(handle)

    def _say(self, handle: Analysis) -> None:
        sentences = [state_sentence(handle)]
        if handle.state == "done":
            took = duration(time.monotonic() - self._began_s)
            sentences = [_("Finished in {time} on {device}.").format(time=took, device=str(handle.device).upper())]
        quality = quality_text(handle.quality)
        if quality:
            sentences.append(quality)
        sentences += [colored(plain(notice), WARNING) for notice in handle.notices]
        self.ui.statusLabel.text = "<br>".join(sentences)

    def say(self, text: str, *, bad: bool = False) -> None:
        """Shows a sentence under the button."""
        self.ui.statusLabel.text = colored(plain(text), BAD) if bad else plain(text)

    def _look_for_packages(self) -> None:
        """Says what an analysis lacks; everything else works without."""
        missing = find_missing()
        self.ui.dependencyButton.setVisible(bool(missing))
        if missing and self.handle is None:
            self.ui.statusLabel.text = colored(plain(missing.sentence), WARNING)

    def _installed(self) -> bool:
        try:
            ensure_dependencies()
        except HemoCAMError as error:
            self.ui.statusLabel.text = colored(error_sentence(error), BAD)
            return False
        self.ui.dependencyButton.setVisible(False)
        return True

    def _on_install(self) -> None:
        missing = find_missing()
        try:
            if missing.torch and not missing.extension:
                install_torch_extension()
                self.ui.statusLabel.text = _("The extension is installed. Restart Slicer, then press Analyse.")
                return
            ensure_dependencies()
        except HemoCAMError as error:
            self.ui.statusLabel.text = colored(error_sentence(error), BAD)
            return
        self.ui.statusLabel.text = ""
        self._look_for_packages()

    def _on_log(self) -> None:
        if self.handle is None:
            return
        if self._log is None:
            self._log = LogWindow(slicer.util.mainWindow() or self.common.window)
        self._log.show_run(self.handle.run_folder)
