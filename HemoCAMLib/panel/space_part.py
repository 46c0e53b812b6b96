"""The part of the panel that shows a result in 3-D: surfaces follow the masks when these have come to rest."""

from __future__ import annotations

from typing import Any

import qt

from HemoCAMLib.panel.parts import Common, Part
from HemoCAMLib.panel.stepper import Stepper
from HemoCAMLib.scene.surfaces import drop_surfaces, surface_steps

#: Masks that a slider moves have come to rest when nothing happened for this long.
_QUIET_MS = 700


class SpacePart(Part):
    """Makes surfaces while a 3-D view is there to draw them.

    Args:
        common: what the parts share.
    """

    def __init__(self, common: Common) -> None:
        super().__init__(common)
        self._stepper = Stepper()
        self._table: tuple[Any, int] | None = None
        self._quiet = qt.QTimer()
        self._quiet.setSingleShot(True)
        self._quiet.setInterval(_QUIET_MS)
        self._quiet.connect("timeout()", self.make)
        self.ui.show3DCheck.connect("toggled(bool)", self._on_toggled)
        common.choice.connect(self.update)

    def update(self) -> None:
        """Follows the volumes of the chosen result: they change whenever its masks do."""
        self._forget()
        complete = self.common.choice.complete
        tables = [] if complete is None else complete.nodes("volumes")
        if tables:
            self._table = (tables[0], tables[0].AddObserver("ModifiedEvent", lambda *_: self._quiet.start()))
            self._quiet.start()

    def make(self) -> None:
        """Makes what surfaces are missing."""
        complete = self.common.choice.complete
        if complete is not None and self.ui.show3DCheck.checked and self.common.views.has_space:
            self._stepper.start(surface_steps(complete.segmentation), lambda made: None)

    def scene_closing(self) -> None:
        self._forget()

    def close(self) -> None:
        self._forget()

    def _forget(self) -> None:
        self._quiet.stop()
        self._stepper.cancel()
        if self._table is not None:
            node, tag = self._table
            node.RemoveObserver(tag)
            self._table = None

    def _on_toggled(self, shown: bool) -> None:
        complete = self.common.choice.complete
        if shown:
            self.make()
        elif complete is not None:
            self._stepper.cancel()
            drop_surfaces(complete.segmentation)
