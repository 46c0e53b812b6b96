"""Which activation maps a command line asks for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from HemoCAMLib.run.map_settings import MapSettings


def map_from_options(method: str, layers: Sequence[str], fusion: str, explain: str) -> dict[str, Any]:
    """The ``map`` of an analysis job.

    Args:
        method: empty for the default.
        layers: none for the method's natural place.
        fusion: empty with one layer.
        explain: ``called`` or ``all``.

    Raises:
        UsageError: ``USAGE_MAP_SETTINGS``.

    >>> map_from_options("layer-cam", ["[-3]"], "", "called")["layers"]
    ['[-3]']
    """
    named = {"method": method} if method else {}
    return MapSettings.from_dict({**named, "layers": list(layers), "fusion": fusion, "explain": explain}).as_dict()
