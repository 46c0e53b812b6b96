"""Models: bundles on disk (host side), and the networks they describe (worker side, imported by their own names).

Nothing here imports torch; :mod:`HemoCAMLib.model.registry` and what it imports does.
"""

from HemoCAMLib.model.bundle import ModelBundle, write_bundle
from HemoCAMLib.model.metadata import BundleMetadata
from HemoCAMLib.model.shipped import find_model, shipped_models
from HemoCAMLib.model.stacks import SliceStacker, StackSettings

__all__ = [
    "BundleMetadata",
    "ModelBundle",
    "SliceStacker",
    "StackSettings",
    "find_model",
    "shipped_models",
    "write_bundle",
]
