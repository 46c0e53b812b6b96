"""One subject-hierarchy folder that holds everything of a result, beside the CT; deleting it undoes the result."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from HemoCAMLib.scene.bridge import Node, Scene, nodes_of, observe_nodes

#: Attribute of every node of a result: what it is.
ROLE = "HemoCAM.role"

#: Attribute of the folder item.
FOLDER = "HemoCAM.result"


def add_folder(volume_node: Node, name: str) -> int:
    """A new folder under the study of a volume, or at the top where the volume is in none.

    Returns:
        item of the folder.
    """
    hierarchy = volume_node.GetScene().GetSubjectHierarchyNode()
    item = hierarchy.GetItemByDataNode(volume_node)
    parent = hierarchy.GetItemParent(item) if item != hierarchy.GetInvalidItemID() else hierarchy.GetSceneItemID()
    folder = int(hierarchy.CreateFolderItem(parent, hierarchy.GenerateUniqueItemName(name)))
    hierarchy.SetItemAttribute(folder, FOLDER, "1")
    return folder


def put_into(folder: int, node: Node, role: str) -> None:
    """Moves a node under the folder and says what it is."""
    node.SetAttribute(ROLE, role)
    hierarchy = node.GetScene().GetSubjectHierarchyNode()
    item = hierarchy.GetItemByDataNode(node)
    if item == hierarchy.GetInvalidItemID():
        hierarchy.CreateItem(folder, node)
    else:
        hierarchy.SetItemParent(item, folder)


def folder_of(node: Node) -> int | None:
    """The folder that a node of a result lies under, wherever the user moved that; None where it is in none."""
    hierarchy = node.GetScene().GetSubjectHierarchyNode()
    item = hierarchy.GetItemByDataNode(node)
    while item not in (hierarchy.GetInvalidItemID(), hierarchy.GetSceneItemID()):
        item = hierarchy.GetItemParent(item)
        if hierarchy.HasItemAttribute(item, FOLDER):
            return int(item)
    return None


def remove_folder(scene: Scene, folder: int) -> None:
    """Removes a folder with all its nodes and what belongs to them alone."""
    hierarchy = scene.GetSubjectHierarchyNode()
    nodes = nodes_of(lambda found: hierarchy.GetDataNodesInBranch(folder, found))
    belongings = [belonging for node in nodes for belonging in belongings_of(node)]
    # One by one: removed as a branch, nodes that look after others confuse the hierarchy's own look-up.
    for node in nodes:
        scene.RemoveNode(node)
    hierarchy.RemoveItem(folder, True, True)
    remove_unused(scene, belongings)


def belongings_of(node: Node) -> list[Node]:
    """Display and storage nodes of a node: of no use without it."""
    found = []
    if node.IsA("vtkMRMLDisplayableNode"):
        found += [node.GetNthDisplayNode(index) for index in range(node.GetNumberOfDisplayNodes())]
    if node.IsA("vtkMRMLStorableNode"):
        found += [node.GetNthStorageNode(index) for index in range(node.GetNumberOfStorageNodes())]
    return [belonging for belonging in found if belonging is not None]


def remove_unused(scene: Scene, nodes: Iterable[Node]) -> None:
    """Removes those nodes that no other node of the scene refers to any more."""
    for node in nodes:
        if node.GetScene() is scene and not _is_referred_to(scene, node.GetID()):
            scene.RemoveNode(node)


def _is_referred_to(scene: Scene, node_id: str) -> bool:
    count = scene.GetNumberOfNodeReferences()
    return any(scene.GetNthReferencedID(index) == node_id for index in range(count))


class BelongingsWatch:
    """Takes display and storage nodes of a result away when its nodes are deleted, whoever deletes them.

    Slicer leaves them behind when a folder is deleted in the data tree. One watch a scene is enough; it does nothing
    while the scene closes.

    Args:
        scene: to watch until :meth:`stop`.
        later: calls a function once the present event is over, such as a single-shot timer of 0 ms: nodes that are
            removed in the middle of a removal confuse the subject hierarchy.
    """

    def __init__(self, scene: Scene, later: Callable[[Callable[[], None]], object]) -> None:
        self._scene = scene
        self._later = later
        self._left: list[Node] = []
        self._tags = [observe_nodes(scene, scene.NodeAboutToBeRemovedEvent, self, "remember")]

    def stop(self) -> None:
        """Ends the watch."""
        for tag in self._tags:
            self._scene.RemoveObserver(tag)
        self._tags = []

    def remember(self, node: Node) -> None:
        """A node is about to go: what belongs to it goes after it."""
        if self._scene.IsClosing() or not node.GetAttribute(ROLE):
            return
        belongings = belongings_of(node)
        if belongings and not self._left:
            self._later(self.remove_left)
        self._left += belongings

    def remove_left(self) -> None:
        """Removes what was left behind and is of no use to another node."""
        left, self._left = self._left, []
        remove_unused(self._scene, left)
