"""Where the files that ship with HemoCAM lie: model bundles, the recipe of the sample scan, terminology."""

from __future__ import annotations

from pathlib import Path

from HemoCAMLib.errors import UsageError


def resource_folder(name: str) -> Path:
    """A folder of ``Resources``, in a source checkout, in Slicer's module folder or in an installed package.

    Args:
        name: folder inside ``Resources``, such as ``models``.

    Raises:
        UsageError: the installation lacks it (``USAGE_INSTALLATION``).

    >>> resource_folder("models").name
    'models'
    """
    package = Path(__file__).resolve().parent
    # A wheel carries Resources inside the package (setup.py); in a checkout and in Slicer they lie side by side.
    for root in (package / "Resources", package.parent / "Resources"):
        if (root / name).is_dir():
            return root / name
    raise UsageError(
        "USAGE_INSTALLATION",
        f"This installation of HemoCAM lacks its folder Resources/{name}.",
        "Install HemoCAM again.",
    )
