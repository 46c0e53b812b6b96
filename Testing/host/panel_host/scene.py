"""The scene and the logics of the modules, all of them real: what slicer-core has of the application."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import slicer

SLICE_COLORS = {"Red": (0.95, 0.31, 0.25), "Green": (0.43, 0.69, 0.29), "Yellow": (0.93, 0.84, 0.30)}


class Scene:
    """A new scene with the nodes that the application puts into it, and its logics by module name."""

    def __init__(self, cache_directory: Path) -> None:
        self.scene = slicer.vtkMRMLScene()
        crosshair = slicer.vtkMRMLCrosshairNode()
        crosshair.SetCrosshairName("default")
        self.scene.AddNode(crosshair)
        selection = slicer.vtkMRMLSelectionNode()
        selection.SetSingletonTag("Singleton")
        self.scene.AddNode(selection)
        self.application_logic = slicer.vtkSlicerApplicationLogic()
        self.application_logic.SetMRMLScene(self.scene)
        self.application_logic.GetColorLogic().SetMRMLScene(self.scene)
        self.application_logic.GetColorLogic().AddDefaultColorNodes()
        slicer.vtkMRMLSliceNode.AddDefaultSliceOrientationPresets(self.scene, True)
        self._cache = slicer.vtkCacheManager()
        self._cache.SetRemoteCacheDirectory(str(cache_directory))
        data_io = slicer.vtkDataIOManager()
        data_io.SetCacheManager(self._cache)
        self.scene.SetCacheManager(self._cache)
        self.scene.SetDataIOManager(data_io)
        self.logics: dict[str, Any] = {"colors": self.application_logic.GetColorLogic()}
        for module, class_name in (
            ("volumes", "vtkSlicerVolumesLogic"),
            ("segmentations", "vtkSlicerSegmentationsModuleLogic"),
            ("subjecthierarchy", "vtkSlicerSubjectHierarchyModuleLogic"),
            ("tables", "vtkSlicerTablesLogic"),
            ("plots", "vtkSlicerPlotsLogic"),
            ("transforms", "vtkSlicerTransformLogic"),
        ):
            if hasattr(slicer, class_name):
                self.logics[module] = self._logic(class_name, module)
        self.slice_logics = {name: self._slice_logic(name, color) for name, color in SLICE_COLORS.items()}

    def _logic(self, class_name: str, module: str) -> Any:
        logic = getattr(slicer, class_name)()
        logic.SetMRMLApplicationLogic(self.application_logic)
        logic.SetMRMLScene(self.scene)
        self.application_logic.SetModuleLogic(module.capitalize(), logic)
        return logic

    def _slice_logic(self, name: str, color: tuple[float, float, float]) -> Any:
        logic = slicer.vtkMRMLSliceLogic()
        logic.SetMRMLScene(self.scene)
        logic.AddSliceNode(name)
        logic.GetSliceNode().SetLayoutColor(*color)
        return logic

    def close(self) -> None:
        """Release everything; a scene that stays alive keeps its observers."""
        self.scene.Clear(True)
        for logic in (*self.slice_logics.values(), *self.logics.values()):
            logic.SetMRMLScene(None)
        self.application_logic.SetMRMLScene(None)
        self.slice_logics.clear()
        self.logics.clear()


class CoreIOManager:
    """`slicer.app.coreIOManager()`: volumes, label volumes, segmentations and scenes, by Slicer's own logics."""

    def __init__(self, scene: Scene) -> None:
        self._scene = scene

    def fileType(self, path: str) -> str:
        return "SceneFile" if Path(path).suffix in (".mrml", ".mrb") else "VolumeFile"

    def loadNodes(self, kind: str, properties: dict[str, Any], loaded: Any, messages: Any) -> bool:
        path = str(properties["fileName"])
        if kind == "SceneFile":
            return self._load_scene(path, messages)
        if kind == "VolumeFile":
            name = properties.get("name", Path(path).name.split(".")[0])
            options = 1 if properties.get("labelmap") else 0
            node = self._scene.logics["volumes"].AddArchetypeVolume(path, name, options)
        elif kind == "SegmentationFile":
            node = self._scene.logics["segmentations"].LoadSegmentationFromFile(path, True, properties.get("name"))
        else:
            raise NotImplementedError(f"the host reads no {kind}")
        if node is not None:
            loaded.AddItem(node)
        return node is not None

    def _load_scene(self, path: str, messages: Any) -> bool:
        if path.endswith(".mrb"):
            return bool(self._scene.scene.ReadFromMRB(path, False, messages))
        self._scene.scene.SetURL(path)
        return bool(self._scene.scene.Import(messages))

    def fileWriterFileType(self, node: Any) -> str:
        return str(node.GetClassName())

    def saveNodes(self, kind: str, properties: dict[str, Any], messages: Any) -> bool:
        path = str(properties["fileName"])
        if kind == "SceneFile":
            scene = self._scene.scene
            if path.endswith(".mrb"):
                return bool(scene.WriteToMRB(path, None, messages))
            scene.SetURL(path)
            return bool(scene.Commit(path, messages))
        node = self._scene.scene.GetNodeByID(properties["nodeID"])
        storage = node.GetStorageNode() or (node.AddDefaultStorageNode(path) and None) or node.GetStorageNode()
        storage.SetFileName(path)
        return bool(storage.WriteData(node))
