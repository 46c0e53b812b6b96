"""Class activation maps. Worker side."""

from HemoCAMLib.cam.layer_pass import CamMethod, LayerPass
from HemoCAMLib.cam.registry import find_method, maps, method_names, register_method

__all__ = ["CamMethod", "LayerPass", "find_method", "maps", "method_names", "register_method"]
