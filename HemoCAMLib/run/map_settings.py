"""Which activation maps a run makes. Host side: what the names mean is known to :mod:`HemoCAMLib.cam`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from HemoCAMLib.errors import UsageError
from HemoCAMLib.mask.settings import MapValues

#: The map made by default: its sigmoid is the absolute scale, its positive part the paper's map, and it costs nothing.
LOCAL_LOGIT = "local-logit"

EXPLAIN = ("called", "all")


@dataclass(frozen=True)
class MapSettings:
    """Method and layers of the maps.

    Attributes:
        method: name of a method, such as ``hires-cam`` or ``gradcam:ShapleyCAM``.
        layers: module names or presets such as ``[-3]``; none for the method's natural place.
        fusion: ``mean``, ``max`` or ``product`` where there are several layers; else empty.
        explain: ``called`` makes maps of the subtypes above their gate, ``all`` of every class in every slice, so that
            gates can be lowered later.

    Raises:
        UsageError: ``USAGE_MAP_SETTINGS``.
    """

    method: str = LOCAL_LOGIT
    layers: tuple[str, ...] = ()
    fusion: str = ""
    explain: str = "called"

    def __post_init__(self) -> None:
        texts = (self.method, self.fusion, *self.layers)
        if not all(isinstance(text, str) and len(text) <= 200 for text in texts) or not self.method:
            raise _refused("Method, layers and fusion of the maps must be names.")
        if self.explain not in EXPLAIN:
            raise _refused("Maps are made for the classes “called” or for “all”.")
        if len(self.layers) > 1 and not self.fusion:
            raise _refused("Maps of several layers need a way to be fused: mean, max or product.")
        if self.method == LOCAL_LOGIT and (self.layers or self.fusion):
            raise _refused("Local logits exist at the model's own map layer only.")

    @property
    def is_default(self) -> bool:
        """Whether the maps come from the very pass that classifies."""
        return self.method == LOCAL_LOGIT

    @property
    def values(self) -> MapValues:
        """What the maps' values are, as :class:`~HemoCAMLib.mask.settings.MaskSettings` needs to know."""
        return "local-logit" if self.is_default else "signed"

    def as_dict(self) -> dict[str, Any]:
        """Plain values; :meth:`from_dict` reads them back."""
        return {**asdict(self), "layers": list(self.layers)}

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> MapSettings:
        """The settings of a job.

        Raises:
            UsageError: ``USAGE_MAP_SETTINGS``, an unknown field or an impossible value.

        >>> MapSettings.from_dict({"method": "layer-cam", "layers": ["[-3]"]}).values
        'signed'
        """
        unknown = set(fields) - set(cls.__dataclass_fields__)
        layers = fields.get("layers", ())
        if unknown or isinstance(layers, str) or not isinstance(layers, list | tuple):
            raise _refused(f"The map settings cannot be read: {', '.join(sorted(map(str, unknown))) or 'layers'}.")
        return cls(**{**fields, "layers": tuple(layers)})


def _refused(message: str) -> UsageError:
    return UsageError("USAGE_MAP_SETTINGS", message, "Correct the settings of the maps and try again.")
