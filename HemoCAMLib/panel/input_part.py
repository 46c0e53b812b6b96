"""The part of the panel that says what is analysed: the CT and what is to know about it, the model, the options."""

from __future__ import annotations

import json
from typing import Any

import qt
import slicer
from slicer.i18n import tr as _

from HemoCAMLib.errors import HemoCAMError
from HemoCAMLib.panel.application import file_of_uid, modality_of
from HemoCAMLib.panel.dependencies import find_missing
from HemoCAMLib.panel.model_list import ModelEntry, ModelList, card
from HemoCAMLib.panel.parts import Common, Part
from HemoCAMLib.panel.stepper import Stepper
from HemoCAMLib.panel.words import BAD, colored, error_sentence, notes_text
from HemoCAMLib.panel.worker_host import application_worker
from HemoCAMLib.run.map_settings import LOCAL_LOGIT
from HemoCAMLib.scene import AnalysisInput, InputNote, analysis_input_steps
from HemoCAMLib.scene.bridge import Node
from HemoCAMLib.scene.result_folder import ROLE

#: Settings: paths of models that were added, and the model that was chosen last.
MODELS, MODEL = "HemoCAM/Models", "HemoCAM/Model"

#: A refusal that the user can overrule.
GAPS = "CT_MISSING_SLICES"


class InputPart(Part):
    """Chooses the volume and the model, and says at once what speaks against an analysis.

    Args:
        common: what the parts share.
    """

    def __init__(self, common: Common) -> None:
        super().__init__(common)
        self._stepper = Stepper()
        self._notes: tuple[InputNote, ...] = ()
        self._looked_at = ""
        self._listeners: list[Any] = []
        self._models = ModelList(_stored_models(), _store_models)
        self._entries: list[ModelEntry] = []
        self._described = ""
        ui = self.ui
        ui.inputSelector.connect("currentNodeChanged(vtkMRMLNode*)", self._on_volume)
        ui.modelSelector.connect("currentIndexChanged(int)", self._on_model)
        ui.addModelButton.connect("clicked()", self._on_add_model)
        ui.removeModelButton.connect("clicked()", self._on_forget_model)
        ui.allowGapsCheck.connect("toggled(bool)", self._on_gaps)
        ui.optionsBox.connect("toggled(bool)", self._on_options)
        self._fill_models(str(slicer.util.settingsValue(MODEL, "") or ""))
        self.scene_changed()

    @property
    def volume(self) -> Node | None:
        """The chosen CT."""
        return self.ui.inputSelector.currentNode()

    @property
    def model(self) -> ModelEntry | None:
        """The chosen model."""
        index = self.ui.modelSelector.currentIndex
        return self._entries[index] if 0 <= index < len(self._entries) else None

    @property
    def refusal(self) -> str:
        """Why the chosen volume cannot be analysed; empty where it can."""
        if self.volume is None:
            return str(_("Choose a CT volume first."))
        if self.model is None:
            return str(_("There is no model. Add one."))
        allowed = (GAPS,) if self.ui.allowGapsCheck.checked else ()
        return next((note.message for note in self._notes if note.refused and note.code not in allowed), "")

    @property
    def map_settings(self) -> dict[str, Any]:
        """Method and layer as :class:`~HemoCAMLib.run.map_settings.MapSettings` takes them."""
        method = str(self.ui.mapMethodSelector.currentData or LOCAL_LOGIT)
        layer = str(self.ui.mapLayerSelector.currentData or "")
        settings: dict[str, Any] = {"method": method, "layers": [layer] if layer and method != LOCAL_LOGIT else []}
        if self.ui.explainAllCheck.checked:
            settings["explain"] = "all"
        return settings

    def connect(self, changed: Any) -> None:
        """Calls a function when the volume, what is known about it, or the model changed."""
        self._listeners.append(changed)

    def show_maps(self, methods: list[str], layers: list[str]) -> None:
        """Fills the lists of map methods and layers.

        Args:
            methods: names that the engine knows for this model.
            layers: names of the model's layers, the deepest first; empty where only its own is known.
        """
        for selector, entries, first in (
            (self.ui.mapMethodSelector, [name for name in methods if name != LOCAL_LOGIT], LOCAL_LOGIT),
            (self.ui.mapLayerSelector, layers, ""),
        ):
            before = selector.currentData
            selector.clear()
            selector.addItem(_map_title(first), first)
            for name in entries:
                selector.addItem(_map_title(name), name)
            selector.currentIndex = max(selector.findData(before), 0)

    def scene_closing(self) -> None:
        self._stepper.cancel()

    def scene_changed(self) -> None:
        """Heat maps are volumes too; they are not offered as CT."""
        scene = slicer.mrmlScene
        if not scene.IsClosing():
            volumes = slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode")
            hidden = [node.GetID() for node in volumes if node.GetAttribute(ROLE)]
            self.ui.inputSelector.sortFilterProxyModel().hiddenNodeIDs = hidden
        self._on_volume()

    def close(self) -> None:
        self._stepper.cancel()

    def _tell(self) -> None:
        for listener in self._listeners:
            listener()

    def _on_volume(self, *_: Any) -> None:
        volume = self.volume
        looked_at = "" if volume is None else str(volume.GetID())
        if looked_at == self._looked_at:
            return
        self._looked_at = looked_at
        self._notes = ()
        self.ui.inputNotesLabel.text = ""
        self._stepper.cancel()
        if volume is not None:
            steps = analysis_input_steps(volume, file_of_uid(), modality_of(volume))
            self._stepper.start(steps, self._on_input, self._on_refused)
        self._tell()

    def _on_input(self, chosen: AnalysisInput) -> None:
        self._show_notes(chosen.notes)

    def _on_refused(self, error: HemoCAMError) -> None:
        self._show_notes((InputNote(error.code, f"{error.message} {error.advice}".strip(), refused=True),))

    def _show_notes(self, notes: tuple[InputNote, ...]) -> None:
        self._notes = notes
        self.ui.inputNotesLabel.text = notes_text(notes)
        self._tell()

    def ask_for_maps(self) -> None:
        """Asks the worker which methods and layers the chosen model has; it answers when it has time."""
        entry = self.model
        if entry is not None and self._described != entry.key:
            application_worker().describe(entry.key, self._on_description)

    def _on_description(self, event: dict[str, Any]) -> None:
        entry = self.model
        if entry is not None and event["model"] == entry.key and event["methods"]:
            self._described = entry.key
            self.show_maps(event["methods"], event["layers"])

    def _on_options(self, opened: bool) -> None:
        """The lists are the engine's, which is asked where it can be started."""
        if opened and not find_missing():
            self.ask_for_maps()

    def _on_gaps(self, *_: Any) -> None:
        self._tell()

    def _fill_models(self, key: str) -> None:
        selector = self.ui.modelSelector
        self._entries = self._models.entries()
        was = selector.blockSignals(True)
        selector.clear()
        for entry in self._entries:
            selector.addItem(entry.title if entry.ships else _("{title} (added)").format(title=entry.title))
        keys = [entry.key for entry in self._entries]
        selector.currentIndex = keys.index(key) if key in keys else (0 if keys else -1)
        selector.blockSignals(was)
        self._on_model()

    def _on_model(self, *_: Any) -> None:
        entry = self.model
        if entry is None or entry.key != self._described:
            self._described = ""
            self.show_maps([LOCAL_LOGIT], [])
            self._on_options(bool(self.ui.optionsBox.checked))
        self.ui.removeModelButton.setEnabled(entry is not None and not entry.ships)
        problems = "<br>".join(colored(problem, BAD) for problem in self._models.problems)
        self.ui.modelCardLabel.text = "<br>".join(filter(None, [problems, card(entry.metadata) if entry else ""]))
        if entry is not None:
            qt.QSettings().setValue(MODEL, entry.key)
        self._tell()

    def _on_add_model(self) -> None:
        chosen = qt.QFileDialog.getOpenFileName(
            self.common.window, _("Add a model"), "", _("Model bundles (*.zip metadata.json)")
        )
        if not chosen:
            return
        try:
            entry = self._models.add(chosen)
        except HemoCAMError as error:
            slicer.util.errorDisplay(error_sentence(error), parent=self.common.window)
            return
        self._fill_models(entry.key)

    def _on_forget_model(self) -> None:
        entry = self.model
        if entry is not None and not entry.ships:
            self._models.forget(entry.key)
            self._fill_models("")


def _map_title(name: str) -> str:
    if name == LOCAL_LOGIT:
        return str(_("Local logits (the model's own)"))
    return name or str(_("The model's own"))


def _stored_models() -> list[str]:
    try:
        stored = json.loads(str(slicer.util.settingsValue(MODELS, "[]") or "[]"))
    except ValueError:
        return []
    return [str(path) for path in stored] if isinstance(stored, list) else []


def _store_models(paths: list[str]) -> None:
    qt.QSettings().setValue(MODELS, json.dumps(paths))
