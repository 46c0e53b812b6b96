"""What all parts of the panel have in common."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from HemoCAMLib.panel.result_choice import ResultChoice
from HemoCAMLib.panel.views import Views


@dataclass
class Common:
    """What the parts of the panel share.

    Attributes:
        ui: the named widgets of the .ui file.
        logic: HemoCAMLogic.
        choice: the result that the panel is about.
        views: of the application.
        parameters: what the panel keeps in the scene; None while a scene closes.
        window: parent of dialogs.
    """

    ui: Any
    logic: Any
    choice: ResultChoice
    views: Views
    parameters: Any
    window: Any


class Part:
    """One part of the panel; the panel calls these, and each part overrides what it needs.

    Args:
        common: what the parts share.
    """

    def __init__(self, common: Common) -> None:
        self.common = common
        self.ui = common.ui

    def enter(self) -> None:
        """The module is shown."""

    def exit(self) -> None:
        """Another module is shown."""

    def scene_closing(self) -> None:
        """The scene is about to be emptied."""

    def scene_changed(self) -> None:
        """Nodes came or went."""

    def parameters_changed(self) -> None:
        """A scene was closed or loaded: the parameters are others, and the widgets show them."""

    def close(self) -> None:
        """The module goes."""
