"""The models that can be chosen: those that ship, and those that the user added from files. Knows of no widget."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from slicer.i18n import tr as _

from HemoCAMLib.errors import HemoCAMError
from HemoCAMLib.model import BundleMetadata, ModelBundle, shipped_models
from HemoCAMLib.model.bundle_source import METADATA_MEMBER
from HemoCAMLib.panel.words import BAD, colored, error_sentence, plain
from HemoCAMLib.subtypes import SUBTYPE_NAMES


@dataclass(frozen=True)
class ModelEntry:
    """One model of the list.

    Attributes:
        key: name of one that ships, path of another: what an analysis is told.
        metadata: its description.
        ships: whether it came with HemoCAM.
    """

    key: str
    metadata: BundleMetadata
    ships: bool

    @property
    def title(self) -> str:
        """Name and version."""
        return f"{self.metadata.name} {self.metadata.version}"


class ModelList:
    """Models by key; those that were added are remembered as paths and left out while they cannot be read.

    Args:
        stored_paths: of the models that were added before.
        store_paths: remembers them.
    """

    def __init__(self, stored_paths: Sequence[str], store_paths: Callable[[list[str]], None]) -> None:
        self._paths = list(stored_paths)
        self._store = store_paths
        self.problems: list[str] = []

    def entries(self) -> list[ModelEntry]:
        """All that can be read now, those that ship first."""
        self.problems = []
        found = []
        try:
            found += [
                ModelEntry(bundle.path.name.removesuffix(".zip"), bundle.metadata, True) for bundle in shipped_models()
            ]
        except HemoCAMError as error:
            self.problems.append(error_sentence(error))
        for path in self._paths:
            try:
                found.append(ModelEntry(path, ModelBundle.open(path).metadata, False))
            except HemoCAMError as error:
                self.problems.append(f"{plain(Path(path).name)}: {error_sentence(error)}")
        return found

    def add(self, chosen: str) -> ModelEntry:
        """Adds a bundle.

        Args:
            chosen: a zip, or any file or folder of an unpacked bundle.

        Raises:
            ModelRefused: it is none, is damaged, or its weights are not those of its description.
        """
        path = bundle_path(Path(chosen))
        bundle = ModelBundle.open(path)
        bundle.verify()
        key = str(path.absolute())
        if key not in self._paths:
            self._paths.append(key)
            self._store(list(self._paths))
        return ModelEntry(key, bundle.metadata, False)

    def forget(self, key: str) -> None:
        """Takes a model that was added out of the list; its file stays."""
        if key in self._paths:
            self._paths.remove(key)
            self._store(list(self._paths))


def bundle_path(chosen: Path) -> Path:
    """The bundle that a file belongs to: the zip itself, or the folder with ``configs/metadata.json`` above it."""
    for folder in (chosen, *chosen.parents[:3]):
        if folder.is_dir() and (folder / METADATA_MEMBER).is_file():
            return folder
    return chosen


def card(metadata: BundleMetadata) -> str:
    """What the model says about itself, as rich text."""
    rows: list[tuple[str, str]] = [
        (_("What it is"), plain(metadata.description)),
        (_("Meant for"), plain(metadata.intended_use)),
        (_("Reads"), ", ".join(name for name in metadata.subtypes)),
        (_("Network"), plain(f"{metadata.architecture} ({metadata.input_size[0]} × {metadata.input_size[1]})")),
        (_("Trained on"), "; ".join(_training(source) for source in metadata.training_data)),
        (_("Made by"), plain(metadata.authors)),
        (_("Licence"), plain(metadata.copyright)),
    ]
    figures = _figures(metadata.metrics)
    if figures:
        rows.append((_("Measured"), figures))
    unknown = [name for name in SUBTYPE_NAMES if name not in metadata.subtypes]
    if unknown:
        rows.append((_("Does not know"), colored(", ".join(unknown), BAD)))
    return "".join(f"<p style='margin:0 0 4px 0'><b>{name}:</b> {text}</p>" for name, text in rows if text)


def _training(source: Any) -> str:
    return plain(f"{source.get('name', '?')} ({source.get('licence', '?')})")


def _figures(metrics: Any) -> str:
    """Dice and AUROC of a test set, where the bundle has them in the usual place."""
    for name, table in metrics.items():
        if not isinstance(table, dict):
            continue
        lines = []
        for key, title in (("auroc", "AUROC"), ("dice_pooled", "Dice")):
            values = table.get(key)
            if isinstance(values, dict):
                shown = ", ".join(f"{subtype} {value:.2f}" for subtype, value in values.items())
                lines.append(f"{title}: {plain(shown)}")
        if lines:
            return f"{plain(str(name).replace('_', ' '))}: " + "; ".join(lines)
    return ""
