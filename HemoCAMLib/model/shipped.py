"""Models by name: those that ship with HemoCAM, or any other by its path. Host side."""

from __future__ import annotations

import os
from pathlib import Path

from HemoCAMLib.errors import ModelRefused
from HemoCAMLib.model.bundle import ModelBundle
from HemoCAMLib.model.bundle_source import METADATA_MEMBER
from HemoCAMLib.resources import resource_folder


def shipped_models() -> list[ModelBundle]:
    """The models in ``Resources/models``, by folder name.

    Raises:
        ModelRefused: one of them is damaged.
        UsageError: the installation lacks the folder.
    """
    return [ModelBundle.open(path) for path in _shipped_paths()]


def find_model(name_or_path: str | os.PathLike[str] | None = None) -> ModelBundle:
    """A model by the name of one that ships, by path, or the first that ships where nothing is asked for.

    A bare name is looked up among those that ship, then in the working directory; anything else is the path of a
    folder or a zip.

    Raises:
        ModelRefused: ``MODEL_NOT_FOUND``, and those of :meth:`ModelBundle.open`.
    """
    wanted = os.fspath(name_or_path) if name_or_path is not None else ""
    if Path(wanted).name != wanted:
        return ModelBundle.open(wanted)
    paths = _shipped_paths()
    if not wanted:
        if not paths:
            raise ModelRefused("MODEL_NOT_FOUND", "No model ships with this installation.", "Give the path of a model.")
        return ModelBundle.open(paths[0])
    for path in paths:
        if wanted == path.name.removesuffix(".zip"):
            return ModelBundle.open(path)
    if not _exists(wanted):
        names = ", ".join(path.name.removesuffix(".zip") for path in paths) or "none"
        raise ModelRefused(
            "MODEL_NOT_FOUND",
            f"There is no model called {wanted[:80]!r}.",
            f"Models that ship: {names}. Any other model is given by the path of its folder or zip file.",
        )
    return ModelBundle.open(wanted)


def _shipped_paths() -> list[Path]:
    folder = resource_folder("models")
    return sorted(path for path in folder.iterdir() if path.suffix == ".zip" or (path / METADATA_MEMBER).is_file())


def _exists(path: str) -> bool:
    try:
        return Path(path).exists()
    except (OSError, ValueError):
        return False
