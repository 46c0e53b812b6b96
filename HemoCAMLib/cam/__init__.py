"""Class activation maps. Worker side."""

from HemoCAMLib.cam.explainer import ClassMaps, Explainer, Explanation
from HemoCAMLib.cam.layer_pass import CamMethod, LayerPass
from HemoCAMLib.cam.layers import layer_presets
from HemoCAMLib.cam.registry import find_method, maps, method_names, register_method
from HemoCAMLib.cam.scaling import scaled

__all__ = [
    "CamMethod",
    "ClassMaps",
    "Explainer",
    "Explanation",
    "LayerPass",
    "find_method",
    "layer_presets",
    "maps",
    "method_names",
    "register_method",
    "scaled",
]
