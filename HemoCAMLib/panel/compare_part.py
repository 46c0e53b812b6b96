"""The part of the panel that holds a result against ground truth."""

from __future__ import annotations

import math
from typing import Any

import qt
from slicer.i18n import tr as _

from HemoCAMLib.errors import HemoCAMError
from HemoCAMLib.measure.agreement import Agreement
from HemoCAMLib.measure.agreement.agreement import WHY_EMPTY
from HemoCAMLib.measure.agreement.mapping import NONE
from HemoCAMLib.panel.analysis_result import AnalysisResult
from HemoCAMLib.panel.comparison import Comparison, compare_steps
from HemoCAMLib.panel.parts import Common, Part
from HemoCAMLib.panel.stepper import Stepper
from HemoCAMLib.panel.strip import StripRow
from HemoCAMLib.panel.strip_widget import StripWidget
from HemoCAMLib.panel.words import BAD, WARNING, colored, error_sentence, millilitres, plain
from HemoCAMLib.scene import guess_mapping_steps
from HemoCAMLib.scene.bridge import Node
from HemoCAMLib.scene.overlap import OVERLAP_SEGMENTS
from HemoCAMLib.subtypes import ANY, SUBTYPES

#: Shown as a row of the table each: field of ``agreement.json``.
_FIGURES = (
    "dice",
    "iou",
    "precision",
    "recall",
    "hausdorff95_mm",
    "mean_surface_distance_mm",
    "prediction_ml",
    "truth_ml",
    "difference_ml",
    "difference_percent",
)


class ComparePart(Part):
    """Truth, what its labels mean, the figures, and where the two differ.

    Args:
        common: what the parts share.
        go_to_slice: brings a slice of the run into view.
    """

    def __init__(self, common: Common, go_to_slice: Any) -> None:
        super().__init__(common)
        ui = self.ui
        self._stepper = Stepper()
        self._guessed_for = ""
        self._targets: dict[str, Any] = {}
        self.comparison: Comparison | None = None
        self.structure = ANY
        self.strip = StripWidget(go_to_slice)
        self.strip.toolTip = _(
            "Slice by slice: agreement, what HemoCAM marks, what the truth marks. Click to go there."
        )
        ui.agreementStripFrame.layout().addWidget(self.strip)
        ui.agreementStripFrame.setMinimumHeight(0)
        ui.truthSelector.connect("currentNodeChanged(vtkMRMLNode*)", self._on_truth)
        ui.compareApplyButton.connect("clicked()", self.compare)
        ui.overlapCheck.connect("toggled(bool)", self._on_overlap)
        ui.agreementTable.connect("cellClicked(int,int)", self._on_cell)
        table = ui.mappingTable
        table.setColumnCount(2)
        table.setHorizontalHeaderLabels((_("In the truth"), _("means")))
        table.verticalHeader().hide()
        table.horizontalHeader().setSectionResizeMode(qt.QHeaderView.Stretch)
        common.choice.connect(self.update)
        self._clear()
        self.update()

    @property
    def truth(self) -> Node | None:
        """The chosen truth."""
        return self.ui.truthSelector.currentNode()

    @property
    def mapping(self) -> dict[str, str]:
        """What each label of the truth means; those that are left open are left out."""
        chosen = {name: str(box.currentData or "") for name, box in self._targets.items()}
        return {name: target for name, target in chosen.items() if target}

    def update(self) -> None:
        """Another result was chosen: what was compared before is another one's."""
        self._clear()
        self._allow()

    def scene_closing(self) -> None:
        self._stepper.cancel()
        self._clear()

    def scene_changed(self) -> None:
        self._on_truth()

    def close(self) -> None:
        self._stepper.cancel()

    def compare(self) -> None:
        """Compares the result as it is now."""
        complete, truth = self.common.choice.complete, self.truth
        if complete is None or truth is None:
            return
        steps = compare_steps(
            AnalysisResult(complete),
            truth,
            self.mapping or None,
            structure=self.structure,
            overlap=bool(self.ui.overlapCheck.checked),
        )
        self._stepper.start(steps, self._show, self._on_refused)
        self._allow()

    def _on_refused(self, error: HemoCAMError) -> None:
        self._clear()
        self.ui.compareNoteLabel.text = colored(error_sentence(error), BAD)
        self._allow()

    def _allow(self) -> None:
        button, complete = self.ui.compareApplyButton, self.common.choice.complete
        button.setEnabled(complete is not None and self.truth is not None and not self._stepper.busy)
        if complete is None:
            button.toolTip = _("Analyse a scan or open a finished run first.")
        elif self.truth is None:
            button.toolTip = _("Choose a truth first.")
        else:
            button.toolTip = _("Dice, distances and volumes, per subtype, all together and per slice.")

    def _on_truth(self, *_: Any) -> None:
        truth = self.truth
        truth_id = "" if truth is None else str(truth.GetID())
        if truth_id == self._guessed_for:
            return
        self._guessed_for = truth_id
        self._stepper.cancel()
        self._clear()
        self._fill_mapping({})
        if truth is not None:
            self._stepper.start(guess_mapping_steps(truth), self._on_guessed, self._on_no_labels)
        self._allow()

    def _on_guessed(self, guessed: dict[str, str | None]) -> None:
        self._fill_mapping(guessed)
        self._allow()

    def _on_no_labels(self, error: HemoCAMError) -> None:
        self.ui.mappingNoteLabel.text = colored(error_sentence(error), BAD)

    def _fill_mapping(self, guessed: dict[str, str | None]) -> None:
        table = self.ui.mappingTable
        self._targets = {}
        table.setRowCount(0)
        table.setRowCount(len(guessed))
        for row, (name, target) in enumerate(guessed.items()):
            table.setItem(row, 0, qt.QTableWidgetItem(name))
            box = qt.QComboBox()
            for title, value in _target_titles():
                box.addItem(title, value)
            box.currentIndex = max(box.findData(target or ""), 0)
            box.toolTip = _("What this label of the truth means.")
            box.connect("currentIndexChanged(int)", self._say_unclear)
            table.setCellWidget(row, 1, box)
            self._targets[name] = box
        table.setVisible(bool(guessed))
        height = table.horizontalHeader().height + sum(table.rowHeight(n) for n in range(len(guessed))) + 4
        table.setFixedHeight(min(height, 180))
        self._say_unclear()

    def _say_unclear(self, *_args: Any) -> None:
        """Which labels are still open; those are refused by the comparison."""
        unclear = [name for name, box in self._targets.items() if not box.currentData]
        self.ui.mappingNoteLabel.text = (
            colored(_("Say what these mean: {names}.").format(names=plain(", ".join(unclear))), WARNING)
            if unclear
            else ""
        )

    def _clear(self) -> None:
        self.comparison = None
        self.structure = ANY
        self.ui.agreementTable.setVisible(False)
        self.ui.agreementStripFrame.setVisible(False)
        self.ui.agreementStripLabel.text = ""
        self.ui.compareNoteLabel.text = ""

    def _show(self, comparison: Comparison) -> None:
        self.comparison = comparison
        self._allow()
        self.ui.compareNoteLabel.text = "<br>".join(colored(plain(note), WARNING) for note in comparison.notes)
        self._show_figures(comparison.agreement)
        self._show_slices(comparison.agreement)
        self._legend()

    def _show_figures(self, agreement: Agreement) -> None:
        table = self.ui.agreementTable
        structures: dict[str, Any] = agreement.to_dict()["structures"]
        table.clear()
        table.setColumnCount(len(structures))
        table.setRowCount(len(_FIGURES))
        table.setHorizontalHeaderLabels(tuple(_("All") if name == ANY else name for name in structures))
        table.setVerticalHeaderLabels(_figure_titles())
        for column, fields in enumerate(structures.values()):
            for row, figure in enumerate(_FIGURES):
                item = qt.QTableWidgetItem(_figure_text(figure, fields.get(figure)))
                item.setTextAlignment(int(qt.Qt.AlignRight | qt.Qt.AlignVCenter))
                if fields["empty"]:
                    item.setToolTip(_empty_text(str(fields["empty"])))
                table.setItem(row, column, item)
        table.resizeRowsToContents()
        table.horizontalHeader().setSectionResizeMode(qt.QHeaderView.Stretch)
        table.setVisible(True)
        height = table.horizontalHeader().height + sum(table.rowHeight(n) for n in range(len(_FIGURES))) + 4
        table.setFixedHeight(height)

    def _show_slices(self, agreement: Agreement) -> None:
        slices = agreement.structures[self.structure].slices
        colors = {subtype.name: subtype.color_rgb for subtype in SUBTYPES}
        own = colors.get(self.structure, (70, 70, 70))
        largest = max((max(entry.prediction_mm2, entry.truth_mm2) for entry in slices), default=0.0) or 1.0
        dice = [math.nan if entry.overlap.dice is None else float(entry.overlap.dice) for entry in slices]
        rows = [
            StripRow("Dice", (46, 139, 87), dice),
            StripRow("ours", own, [entry.prediction_mm2 / largest for entry in slices]),
            StripRow("truth", own, [entry.truth_mm2 / largest for entry in slices]),
        ]
        self.strip.show_rows(rows, len(slices))
        self.ui.agreementStripFrame.setVisible(True)

    def _legend(self) -> None:
        assert self.comparison is not None
        name = _("All") if self.structure == ANY else self.structure
        parts = [_("Slices of: {structure}.").format(structure=name)]
        if self.comparison.overlap is not None:
            parts += [
                f'<span style="color:rgb{color}">■</span> {_overlap_title(segment)}'
                for _label, segment, _title, color in OVERLAP_SEGMENTS
            ]
        self.ui.agreementStripLabel.text = " ".join(parts)

    def _on_overlap(self, shown: bool) -> None:
        comparison = self.comparison
        if comparison is None:
            return
        if comparison.overlap is None or comparison.overlap.GetScene() is None:
            if shown:
                self.compare()
            return
        comparison.overlap.GetDisplayNode().SetVisibility(bool(shown))

    def _on_cell(self, row: int, column: int) -> None:
        """A column is a structure: its slices and its overlap."""
        if self.comparison is None:
            return
        structure = list(self.comparison.agreement.structures)[column]
        if structure != self.structure:
            self.structure = structure
            self.compare()


def _target_titles() -> list[tuple[str, str]]:
    titles = [(_("(say what it is)"), "")]
    titles += [(f"{subtype.name}: {subtype.title}", subtype.name) for subtype in SUBTYPES]
    return [*titles, (_("Hemorrhage of any kind"), ANY), (_("No hemorrhage"), NONE)]


def _figure_titles() -> tuple[str, ...]:
    return (
        _("Dice"),
        _("IoU"),
        _("Precision"),
        _("Recall"),
        _("Hausdorff 95 %, mm"),
        _("Surface distance, mm"),
        _("HemoCAM, mL"),
        _("Truth, mL"),
        _("Difference, mL"),
        _("Difference, %"),
    )


def _figure_text(figure: str, value: float | None) -> str:
    if value is None or math.isnan(value):
        return "–"
    if figure in ("prediction_ml", "truth_ml"):
        return millilitres(value)
    if figure.startswith("difference"):
        return f"{value:+.1f}"
    return f"{value:.1f}" if figure.endswith("_mm") else f"{value:.2f}"


def _empty_text(which: str) -> str:
    texts: dict[str, str] = {
        WHY_EMPTY["both"]: _("Neither marks any: they agree, and figures of overlap are not defined."),
        WHY_EMPTY["prediction"]: _("HemoCAM marks none."),
        WHY_EMPTY["truth"]: _("The truth marks none."),
    }
    return texts.get(which, "")


def _overlap_title(segment: str) -> str:
    titles: dict[str, str] = {"both": _("both"), "prediction": _("HemoCAM only"), "truth": _("truth only")}
    return titles[segment]
