"""Class activation maps. Worker side."""

from HemoCAMLib.cam.registry import CamMethod, maps, method_names, register_method

__all__ = ["CamMethod", "maps", "method_names", "register_method"]
