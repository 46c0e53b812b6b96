"""The panel: its parts, and what they have in common."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import slicer


class Panel:
    """Puts the parts of the panel together and passes on what happens to the scene and to the module.

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
        self.parameters: Any = bind_parameters()

    def enter(self) -> None:
        """The module is shown."""

    def exit(self) -> None:
        """Another module is shown."""

    def close(self) -> None:
        """The module goes."""
        self._release()
        self._widget.setMRMLScene(None)
