"""The part of the panel with gates and thresholds: sliders whose masks follow at once, without the network."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import qt
from slicer.i18n import tr as _

from HemoCAMLib.errors import HemoCAMError
from HemoCAMLib.mask import MaskSettings
from HemoCAMLib.mask.settings import MASK_THRESHOLD_LIMIT
from HemoCAMLib.panel.analysis_result import AnalysisResult
from HemoCAMLib.panel.input_part import InputPart
from HemoCAMLib.panel.parts import Common, Part
from HemoCAMLib.panel.stepper import Stepper
from HemoCAMLib.panel.threshold_presets import (
    PAPER_MASK_THRESHOLDS,
    RULES,
    as_shown,
    own_settings,
    own_thresholds,
    rule_title,
    unless_rounded,
)
from HemoCAMLib.panel.thresholds import LiveThresholds
from HemoCAMLib.panel.words import WARNING, colored, error_sentence
from HemoCAMLib.scene import SceneResult
from HemoCAMLib.scene.run_archive import ARCHIVE
from HemoCAMLib.subtypes import SUBTYPE_NAMES

#: Movements of a slider within this time are taken as one.
_GATHER_MS = 20


class ThresholdPart(Part):
    """Sliders for one result, or for the next analysis where there is none.

    Args:
        common: what the parts share.
        chosen: the model, whose own thresholds are the start.
        may_replace: asked before the masks of a result are made anew; False where corrections by hand would be lost.
        replacing: told True before nodes change by a slider, False after.
    """

    def __init__(
        self,
        common: Common,
        chosen: InputPart,
        may_replace: Callable[[SceneResult], bool],
        replacing: Callable[[bool], None],
    ) -> None:
        super().__init__(common)
        self._chosen, self._may_replace, self._replacing = chosen, may_replace, replacing
        self._stepper = Stepper()
        self._live: LiveThresholds | None = None
        self._live_of = ""
        self._base: MaskSettings | None = None
        self._model_key = ""
        self._quiet = True
        self._gather = qt.QTimer()
        self._gather.setSingleShot(True)
        self._gather.setInterval(_GATHER_MS)
        self._gather.connect("timeout()", self.apply)
        ui = self.ui
        for title, scale in ((_("Absolute"), "absolute"), (_("Per image, 0 to 255 (the paper's)"), "per_image")):
            ui.scaleSelector.addItem(title, scale)
        for rule in RULES:
            ui.ruleSelector.addItem(rule_title(rule), rule)
        for slider in (*self._gate_sliders.values(), *self._mask_sliders.values()):
            slider.connect("valueChanged(double)", self._on_moved)
        ui.minimumVolumeSpin.connect("valueChanged(double)", self._on_moved)
        ui.refinementCheck.connect("toggled(bool)", self._on_moved)
        ui.scaleSelector.connect("activated(int)", self._on_scale)
        ui.ruleSelector.connect("activated(int)", self._on_rule)
        ui.modelThresholdsButton.connect("clicked()", self._on_model_thresholds)
        ui.paperThresholdsButton.connect("clicked()", self._on_paper)
        ui.runThresholdsButton.connect("clicked()", self._on_run_thresholds)
        common.choice.connect(self.update)
        chosen.connect(self._on_model)
        self.update()

    @property
    def settings(self) -> MaskSettings:
        """What the widgets say, on top of what they were set to."""
        base = self._base or self._of_model()
        scale = str(self.ui.scaleSelector.currentData)
        former: Any = base.as_dict()
        changes: dict[str, Any] = {
            "class_thresholds": as_shown(self._gate_sliders, former["class_thresholds"]),
            "mask_thresholds": as_shown(self._mask_sliders, former["mask_thresholds"] if scale == base.scale else {}),
            "scale": scale,
            "minimum_volume_ml": unless_rounded(self.ui.minimumVolumeSpin, base.minimum_volume_ml),
        }
        rule = str(self.ui.ruleSelector.currentData)
        if rule != base.rule.name:
            changes["rule"] = {"name": rule}
        if not self.ui.refinementCheck.checked:
            changes["refinement"] = None
        elif base.refinement is None:
            own = self._of_model().refinement
            changes["refinement"] = "hysteresis" if own is None else own.as_dict()
        return base.changed(changes)

    def changes_for_analysis(self) -> dict[str, Any]:
        """The mask settings of the next analysis, as changes of its model's own.

        Thresholds that were made for another model mean nothing for this one.
        """
        model = self._chosen.model
        if model is None or self._model_key != model.key:
            self._show_model()
            return {}
        own, wanted = self._of_model().as_dict(), self.settings.as_dict()
        method = self._chosen.map_settings["method"]
        if method != "local-logit":
            # Their scale is per image, whatever the sliders were for.
            wanted = {name: value for name, value in wanted.items() if name not in ("scale", "mask_thresholds")}
        return {name: value for name, value in wanted.items() if own[name] != value and name != "map_values"}

    def update(self) -> None:
        """Sets the sliders to what the chosen result was made with, or to the model's own."""
        self._stepper.cancel()
        self._gather.stop()
        complete = self.common.choice.complete
        shown_id = "" if complete is None else str(complete.record_node.GetID())
        if shown_id != self._live_of:
            self._live = None
            self._live_of = shown_id
        self.ui.runThresholdsButton.setEnabled(complete is not None)
        if complete is not None:
            record = complete.record
            self._model_key = str(record.settings.get("model") or "")
            try:
                self._show(MaskSettings.from_dict(record.result["settings"]["mask"]))
            except HemoCAMError as error:
                self._show_model()
                self._on_refused(error)
                return
            self._say_what_they_do(complete)
        else:
            self._show_model()
            self.ui.thresholdNoteLabel.text = _("For the next analysis. Once there is a result, it follows at once.")

    def scene_closing(self) -> None:
        self._stepper.cancel()
        self._gather.stop()
        self._live, self._live_of = None, ""

    def parameters_changed(self) -> None:
        self.update()

    def close(self) -> None:
        self.scene_closing()

    @property
    def _gate_sliders(self) -> dict[str, Any]:
        return {name: getattr(self.ui, f"gate{name}Slider") for name in SUBTYPE_NAMES}

    @property
    def _mask_sliders(self) -> dict[str, Any]:
        return {name: getattr(self.ui, f"mask{name}Slider") for name in SUBTYPE_NAMES}

    def apply(self) -> None:
        """Brings the result to what the sliders say."""
        complete = self.common.choice.complete
        if complete is None:
            return
        try:
            settings = self.settings
            if settings.as_dict() == complete.record.result["settings"]["mask"]:
                return
            if not self._may_replace(complete):
                self.update()
                return
            if self._live is None:
                self._live = self.common.logic.thresholds(AnalysisResult(complete))
        except HemoCAMError as error:
            self._on_refused(error)
            return
        self._replacing(True)
        self._stepper.start(self._live.apply_steps(settings.as_dict()), self._on_applied, self._on_not_made)

    @property
    def busy(self) -> bool:
        """Whether masks are being made."""
        return self._stepper.busy or bool(self._gather.isActive())

    def _on_applied(self, shown: bool) -> None:
        self._replacing(False)
        complete = self.common.choice.complete
        if complete is not None:
            self._say_what_they_do(complete)

    def _on_not_made(self, error: HemoCAMError) -> None:
        self._replacing(False)
        self._on_refused(error)

    def _on_refused(self, error: HemoCAMError) -> None:
        self.ui.thresholdNoteLabel.text = colored(error_sentence(error), WARNING)

    def _say_what_they_do(self, complete: SceneResult) -> None:
        if complete.find_run_folder() is None and not complete.nodes(ARCHIVE):
            text = _("The run folder of this result is not on this computer, so its thresholds cannot be moved.")
            self.ui.thresholdNoteLabel.text = colored(text, WARNING)
            return
        self.ui.thresholdNoteLabel.text = _("Masks and volumes follow at once; the network does not run again.")

    def _on_moved(self, *_: Any) -> None:
        if not self._quiet:
            self._gather.start()

    def _on_scale(self, *_: Any) -> None:
        """Another scale comes with the model's thresholds for it."""
        scale = str(self.ui.scaleSelector.currentData)
        model = self._chosen.model
        thresholds = own_thresholds(None if model is None else model.metadata, scale)
        self._limit(scale)
        self._quiet = True
        for name, slider in self._mask_sliders.items():
            slider.value = thresholds[name]
        self._quiet = False
        self._gather.start()

    def _on_rule(self, *_: Any) -> None:
        fixed = str(self.ui.ruleSelector.currentData) == "fixed"
        for slider in self._mask_sliders.values():
            slider.setEnabled(fixed)
        if not self._quiet:
            self._gather.start()

    def _on_model(self) -> None:
        """Another model was chosen: with no result in view the sliders are for it."""
        if self.common.choice.complete is None:
            self._show_model()

    def _on_model_thresholds(self) -> None:
        model = self._chosen.model
        if model is not None:
            self._model_key = model.key
            map_values = "local-logit" if self._base is None else self._base.map_values
            self._set(own_settings(model.metadata, map_values))

    def _on_run_thresholds(self) -> None:
        complete = self.common.choice.complete
        if complete is None:
            return
        try:
            if self._live is None:
                self._live = self.common.logic.thresholds(AnalysisResult(complete))
            analysed = self._live.analysed
        except HemoCAMError as error:
            self._on_refused(error)
            return
        self._set(analysed)

    def _on_paper(self) -> None:
        gates = self._of_model().as_dict()["class_thresholds"]
        base = self._base or self._of_model()
        changes = {
            "scale": "per_image",
            "mask_thresholds": PAPER_MASK_THRESHOLDS,
            "class_thresholds": gates,
            "rule": "fixed",
            "refinement": None,
        }
        self._set(base.changed(changes))

    def _set(self, settings: MaskSettings) -> None:
        self._show(settings)
        self._gather.start()

    def _show_model(self) -> None:
        model = self._chosen.model
        if model is not None:
            self._model_key = model.key
            self._show(self._of_model())

    def _show(self, settings: MaskSettings) -> None:
        """Brings the widgets to some settings without making masks."""
        self._quiet = True
        self._base = settings
        fields: dict[str, Any] = settings.as_dict()
        ui = self.ui
        ui.scaleSelector.currentIndex = ui.scaleSelector.findData(settings.scale)
        ui.ruleSelector.currentIndex = ui.ruleSelector.findData(settings.rule.name)
        self._limit(settings.scale)
        for name in SUBTYPE_NAMES:
            self._gate_sliders[name].value = fields["class_thresholds"][name]
            self._mask_sliders[name].value = fields["mask_thresholds"][name]
        ui.minimumVolumeSpin.value = settings.minimum_volume_ml
        ui.refinementCheck.checked = settings.refinement is not None
        self._on_rule()
        self._quiet = False

    def _limit(self, scale: str) -> None:
        """The range of the mask sliders: probabilities, or shares of 255."""
        was, self._quiet = self._quiet, True
        absolute = scale == "absolute"
        for slider in self._mask_sliders.values():
            slider.decimals = 2 if absolute else 0
            slider.singleStep = 0.01 if absolute else 1.0
            slider.maximum = MASK_THRESHOLD_LIMIT[scale]
        self._quiet = was

    def _of_model(self) -> MaskSettings:
        model = self._chosen.model
        return own_settings(None if model is None else model.metadata)
