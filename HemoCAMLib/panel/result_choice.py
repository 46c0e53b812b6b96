"""The results of the scene, and the one that the panel is about. Knows of no widget."""

from __future__ import annotations

from collections.abc import Callable

from HemoCAMLib.scene import SceneResult
from HemoCAMLib.scene.bridge import Scene


class ResultChoice:
    """Which result all parts of the panel show.

    Args:
        scene: where results are looked for.
    """

    def __init__(self, scene: Scene) -> None:
        self._scene = scene
        self._current: SceneResult | None = None
        self._listeners: list[Callable[[], None]] = []
        self._shown_id = ""

    @property
    def current(self) -> SceneResult | None:
        """The chosen result; None where there is none or it was deleted."""
        if self._current is not None and not self._current.is_open:
            self._current = None
        return self._current

    @property
    def complete(self) -> SceneResult | None:
        """The chosen result where its analysis was finished."""
        current = self.current
        return current if current is not None and current.record.state == "complete" else None

    def results(self) -> list[SceneResult]:
        """All results of the scene, oldest first."""
        if self._scene.IsClosing():
            return []
        return SceneResult.in_scene(self._scene)

    def connect(self, changed: Callable[[], None]) -> None:
        """Calls a function whenever another result is chosen, or the chosen one changed its state."""
        self._listeners.append(changed)

    def choose(self, result: SceneResult | None) -> None:
        """Makes a result the one that the panel is about, and tells everybody, also where it is the same."""
        self._current = result
        self._shown_id = "" if result is None else str(result.record_node.GetID())
        for listener in self._listeners:
            listener()

    def choose_by_id(self, record_id: str) -> None:
        """The same by the ID of the record's node."""
        node = self._scene.GetNodeByID(record_id) if record_id else None
        self.choose(None if node is None else SceneResult(node))

    def refresh(self) -> None:
        """Follows the scene: a result that is gone makes room for the newest that is left."""
        if self._scene.IsClosing():
            self.choose(None)
            return
        current = self.current
        if current is None:
            left = self.results()
            if left or self._shown_id:
                self.choose(left[-1] if left else None)
