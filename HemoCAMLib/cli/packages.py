"""The packages that HemoCAM stands on, and whether this installation has them."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass
from importlib import metadata
from typing import Any

#: Lower bounds by side of the process boundary; the same as in pyproject.toml, which Slicer's copy lacks.
MINIMUM_VERSIONS: dict[str, dict[str, str]] = {
    "host": {
        "numpy": "1.26",
        "scipy": "1.11",
        "SimpleITK": "2.3",
        "pydicom": "3.0.1",
        "scikit-image": "0.22",
        "typer": "0.20",
        "rich": "13",
    },
    "worker": {"torch": "2.4", "torchvision": "0.19", "timm": "1.0.20", "safetensors": "0.4"},
    "openvino": {"openvino": "2025.0"},
}

#: Extras that an analysis can do without, and what they are for.
OPTIONAL = {"openvino": "--backend openvino, on some CPUs faster"}


@dataclass(frozen=True)
class Package:
    """One distribution.

    Attributes:
        name: as on the package index.
        side: ``host`` or ``worker``, or the name of an extra.
        minimum: oldest version that works.
        version: the installed one, None where it is missing.
    """

    name: str
    side: str
    minimum: str
    version: str | None

    @property
    def fits(self) -> bool:
        return self.version is not None and _order(self.version) >= _order(self.minimum)

    @property
    def purpose(self) -> str:
        """What an optional package is for; empty where no analysis runs without it."""
        return OPTIONAL.get(self.side, "")

    def as_dict(self) -> dict[str, Any]:
        return {**asdict(self), "fits": self.fits, "optional": bool(self.purpose)}


def installed_packages() -> list[Package]:
    """All packages that HemoCAM needs or can make use of, without importing any."""
    return [
        Package(name, side, minimum, _version(name))
        for side, packages in MINIMUM_VERSIONS.items()
        for name, minimum in packages.items()
    ]


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _order(version: str) -> tuple[int, ...]:
    """The release numbers of a version, for comparing.

    >>> _order("2.13.0+cpu") > _order("2.4")
    True
    """
    release = re.match(r"\d+(\.\d+)*", version)
    return tuple(int(number) for number in release.group().split(".")) if release else ()
