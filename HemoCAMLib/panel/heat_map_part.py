"""The part of the panel that chooses the heat map over the CT."""

from __future__ import annotations

from typing import Any

from slicer.i18n import tr as _

from HemoCAMLib.panel.parts import Common, Part
from HemoCAMLib.scene.bridge import Node
from HemoCAMLib.subtypes import SUBTYPE_NAMES, subtype_named


class HeatMapPart(Part):
    """Shows the map of one subtype at a time; that of the largest bleed until the user chooses another one.

    Args:
        common: what the parts share.
    """

    def __init__(self, common: Common) -> None:
        super().__init__(common)
        self._asked = False
        self._of = ""
        self.ui.heatMapSelector.connect("activated(int)", self._on_chosen)
        self.ui.heatMapOpacitySlider.connect("valueChanged(double)", self._on_opacity)
        common.choice.connect(self.update)
        self.update()

    @property
    def chosen(self) -> Node | None:
        """The map that is to be shown; None for none."""
        current = self.common.choice.current
        return None if current is None else current.heat_maps.get(self._name)

    def update(self) -> None:
        """Another result was chosen, or this one got on."""
        current = self.common.choice.current
        of = "" if current is None else str(current.record_node.GetID())
        if of != self._of:
            self._of, self._asked = of, False
        self.ui.heatMapSelector.setEnabled(current is not None)
        self.follow()

    def follow(self) -> None:
        """Maps come while an analysis runs, and go when it ends."""
        selector, current = self.ui.heatMapSelector, self.common.choice.current
        maps = {} if current is None else current.heat_maps
        names = ["", *(name for name in SUBTYPE_NAMES if name in maps)]
        if names == [str(selector.itemData(index) or "") for index in range(selector.count)]:
            return
        before = self._name
        selector.clear()
        for name in names:
            selector.addItem(subtype_named(name).title if name else _("No heat map"), name)
        if before not in names or not (self._asked or before):
            first = names[1] if len(names) > 1 else ""
            selector.currentIndex = names.index(first)
        else:
            selector.currentIndex = names.index(before)
        if self._name != before:
            self._show()

    def show(self, *, choose: bool) -> None:
        """Brings the map into the slice views.

        Args:
            choose: take that of the largest volume, unless the user has chosen one.
        """
        current = self.common.choice.current
        if choose and not self._asked and current is not None:
            volumes = current.record.result.get("volume_ml") or {}
            names = sorted(current.heat_maps, key=lambda name: float(volumes.get(name, 0.0)))
            if names:
                self.ui.heatMapSelector.currentIndex = self.ui.heatMapSelector.findData(names[-1])
        self._show()

    @property
    def _name(self) -> str:
        return str(self.ui.heatMapSelector.currentData or "")

    @property
    def _opacity(self) -> float:
        return float(self.ui.heatMapOpacitySlider.value)

    def _show(self) -> None:
        current = self.common.choice.current
        if current is not None:
            self.common.views.show_volume(current.volume, self.chosen, self._opacity)

    def _on_chosen(self, *_args: Any) -> None:
        self._asked = True
        self._show()

    def _on_opacity(self, *_args: Any) -> None:
        if self.chosen is not None:
            self.common.views.set_opacity(self._opacity)
